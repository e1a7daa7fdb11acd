"""Which form an input has: what is typed, else what fits its name, else what its content shows."""

from enum import StrEnum
from pathlib import PurePath

from bulkstop.errors import InputError
from bulkstop.text import printable


class Format(StrEnum):
    """What the rows of an input look like; the values are those of the option `format`."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    TXT = "txt"
    XLSX = "xlsx"


class FormatOrigin(StrEnum):
    """What the form of an input was taken from."""

    OPTION = "option"
    NAME = "name"
    CONTENT = "content"


ENDINGS = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), Format.CSV),
    ".json": Format.JSON,
    **dict.fromkeys((".jsonl", ".ndjson"), Format.JSONL),
    **dict.fromkeys((".txt", ".lst", ".list", ".ids"), Format.TXT),
    **dict.fromkeys((".xlsx", ".xlsm"), Format.XLSX),
}
PACKINGS = (".gz", ".zst", ".bz2", ".xz", ".zip")
"""Endings that say nothing of the form."""
CHOICE = "|".join(Format)


def parse_format(text: str) -> Format:
    """Read the option; raises InputError for a form that there is not."""
    try:
        return Format(text)
    except ValueError:
        raise InputError(f" {printable(text)}: there is no such form; give {CHOICE}", setting="format") from None


def form_of_name(name: str) -> Format | None:
    """Return the form that a name tells, whatever it is packed in; None when it tells none."""
    path = PurePath(name.lower())
    while path.suffix in PACKINGS:
        path = path.with_suffix("")
    return ENDINGS.get(path.suffix)
