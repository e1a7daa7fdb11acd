"""Completes the value of an option in a shell, with file names or with the words that it accepts."""

import re
from typing import TYPE_CHECKING

import click
from click.types import StringParamType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_FILES = re.compile(r"\[?(FILE|INPUT|RESULTS|STORE)\b")
_WORDS = re.compile(r"[a-z0-9-]+(\|[a-z0-9-]+)+|[A-Z]+\d+(\|[A-Z]+\d+)+")
"""Matches `voice|sms` and `HS256|RS256`, but not `N|N%`."""


def names_file(metavar: str) -> bool:
    """Return whether the value of an option with this metavar is a file."""
    return _FILES.match(metavar) is not None


def complete_by(metavar: str, incomplete: str) -> "list[CompletionItem]":
    """Return the completions for a metavar: files, or the accepted words that begin with `incomplete`."""
    from click.shell_completion import CompletionItem  # only completion needs it

    if names_file(metavar):
        return [CompletionItem(incomplete, type="file")]
    words = metavar.split("|") if _WORDS.fullmatch(metavar) else []
    return [CompletionItem(word) for word in words if word.lower().startswith(incomplete.lower())]


class FileName(StringParamType):
    """An option type for file names, which a shell completes."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Offer files."""
        return complete_by("FILE", incomplete)
