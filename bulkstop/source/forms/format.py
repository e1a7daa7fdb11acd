"""The format of an input: the one given, else that of its name if it fits, else that of its content."""

from enum import StrEnum
from pathlib import PurePath

from bulkstop.errors import InputError
from bulkstop.text import printable


class Format(StrEnum):
    """The format of an input; the values are those of the option `format`."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    TXT = "txt"
    XLSX = "xlsx"


class FormatOrigin(StrEnum):
    """The origin of an input's format."""

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
"""Endings of packed files, which do not tell the format."""
CHOICE = "|".join(Format)


def parse_format(text: str) -> Format:
    """Return the format of an option; raises InputError for an unknown one."""
    try:
        return Format(text)
    except ValueError:
        raise InputError(f" {printable(text)}: there is no such form; give {CHOICE}", setting="format") from None


def form_of_name(name: str) -> Format | None:
    """Return the format that a name tells, without the endings of packings; None if it tells none."""
    path = PurePath(name.lower())
    while path.suffix in PACKINGS:
        path = path.with_suffix("")
    return ENDINGS.get(path.suffix)
