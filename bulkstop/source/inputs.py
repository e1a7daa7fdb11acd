"""Resolves the name of an input to what is known before it is read."""

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from bulkstop.errors import InputError
from bulkstop.source.forms.format import Format, FormatOrigin, form_of_name, parse_format
from bulkstop.text import replace_controls
from bulkstop.text.faults import explain_os

STDIN = "-"
"""The name of standard input."""
MOST_BYTES = 2 * 10**9
"""Default limit of the unpacked bytes of an input, about ten million rows."""


@dataclass(frozen=True, slots=True)
class Input:
    """An existing input: its name, the name that is shown, and the format that was given or that its name tells.

    `form` is None if neither tells it; the content need not match the format of the name.
    """

    name: str
    label: str
    form: Format | None
    form_from: FormatOrigin

    def of_member(self, label: str) -> "Input":
        """Return the input of a packed list, whose name may tell its format."""
        is_typed = self.form is not None and self.form_from is FormatOrigin.OPTION
        if label == self.label or is_typed:
            return replace(self, label=label)
        return replace(self, label=label, form=form_of_name(label), form_from=FormatOrigin.NAME)


def resolve_input(name: str, fmt: str | None) -> Input:
    """Return the input of this name; raises InputError if it does not exist."""
    label = replace_controls(name)
    typed = None if fmt is None else parse_format(fmt)
    if name == STDIN:
        return Input(name, label, typed, FormatOrigin.OPTION)
    _refuse_absent(name, label)
    if typed:
        return Input(name, label, typed, FormatOrigin.OPTION)
    return Input(name, label, form_of_name(name), FormatOrigin.NAME)


def _refuse_absent(name: str, label: str) -> None:
    # Every name is checked before the first row is read, so that a mistake in the last one does not cost a whole pass.
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {explain_os(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{label}: is a directory; name the files in it")
