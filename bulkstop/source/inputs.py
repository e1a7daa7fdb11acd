"""From the name of an input to what is known of it before it is read."""

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from bulkstop.errors import InputError
from bulkstop.source.forms.format import Format, FormatOrigin, form_of_name, parse_format
from bulkstop.text import replace_controls
from bulkstop.text.faults import explain_os

STDIN = "-"
"""The name that stands for standard input."""
MOST_BYTES = 2 * 10**9
"""What is read of an input, unpacked, unless it is said: about ten million rows."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is known to be there: its name, the name that is shown, the form that was typed or its name tells.

    `form` is None where nothing tells it before it is read; what its name tells need not fit its content.
    """

    name: str
    label: str
    form: Format | None
    form_from: FormatOrigin

    def of_member(self, label: str) -> "Input":
        """Return what is known of a list that was packed in this input, whose name may tell its form."""
        is_typed = self.form is not None and self.form_from is FormatOrigin.OPTION
        if label == self.label or is_typed:
            return replace(self, label=label)
        return replace(self, label=label, form=form_of_name(label), form_from=FormatOrigin.NAME)


def resolve_input(name: str, fmt: str | None) -> Input:
    """Return the input of this name, or raise InputError when it is not there."""
    label = replace_controls(name)
    typed = None if fmt is None else parse_format(fmt)
    if name == STDIN:
        return Input(name, label, typed, FormatOrigin.OPTION)
    _refuse_absent(name, label)
    if typed:
        return Input(name, label, typed, FormatOrigin.OPTION)
    return Input(name, label, form_of_name(name), FormatOrigin.NAME)


def _refuse_absent(name: str, label: str) -> None:
    # Every name is looked at before the first row is read: a slip in the last one should not cost the whole pass.
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {explain_os(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{label}: is a directory; name the files in it")
