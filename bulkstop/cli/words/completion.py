"""What a shell offers for the value of an option: the names of files, or the words that there are."""

import re
from typing import TYPE_CHECKING

import click
from click.types import StringParamType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_FILES = re.compile(r"\[?(FILE|INPUT|RESULTS|STORE)\b")
_WORDS = re.compile(r"[a-z0-9-]+(\|[a-z0-9-]+)+|[A-Z]+\d+(\|[A-Z]+\d+)+")
"""As in `voice|sms` and `HS256|RS256`; `N|N%` is none."""


def names_file(metavar: str) -> bool:
    """Tell whether a value with this metavar names a file."""
    return _FILES.match(metavar) is not None


def complete_by(metavar: str, incomplete: str) -> "list[CompletionItem]":
    """Return what a shell offers where a help page has this metavar: its files, or each word that begins like this."""
    from click.shell_completion import CompletionItem  # only a shell needs it

    if names_file(metavar):
        return [CompletionItem(incomplete, type="file")]
    words = metavar.split("|") if _WORDS.fullmatch(metavar) else []
    return [CompletionItem(word) for word in words if word.lower().startswith(incomplete.lower())]


class FileName(StringParamType):
    """A text that names a file, which a shell completes."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Offer files."""
        return complete_by("FILE", incomplete)
