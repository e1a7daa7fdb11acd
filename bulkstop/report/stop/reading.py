"""The reading of a run's inputs: facts, with views of them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bulkstop.text import SHOWN_CHARS, format_count, printable, shorten

USUAL_ENCODINGS = frozenset({"utf-8", "ascii"})
OBVIOUS_IDS = frozenset({"campaign_id", "campaignid", "id", "_id"})
"""The names of an id column that need no remark."""
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
NAMES_SHOWN = 5
_MET = {
    "comments": ("comment skipped", "comments skipped"),
    "drawn_lines": ("table border line skipped", "table border lines skipped"),
    "lines_above_header": ("line above the header skipped", "lines above the header skipped"),
    "repeated_headers": ("repeated header skipped", "repeated headers skipped"),
    "blank_rows": ("blank row skipped", "blank rows skipped"),
    "cp1252_lines": ("line that is not UTF-8 read as Windows-1252", "lines that are not UTF-8 read as Windows-1252"),
    "rows_with_extra_cells": ("row with more cells than the header", "rows with more cells than the header"),
    "rows_cleaned": ("id cleaned", "ids cleaned"),
    "lines_with_several_ids": ("line with several ids", "lines with several ids"),
    "more_pages": ("saved answer says that more pages follow", "saved answers say that more pages follow"),
}
"""The possible irregularities, in words; what makes a row unusable is reported with the row."""


@dataclass(frozen=True, slots=True)
class Met:
    """An irregularity: how often it occurred, and the line, the text and the interpretation of the first."""

    times: int
    line: int
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """How an input was read: its format, and what showed that; the name of each column by meaning.

    `not_taken` are other columns that could have the ids; `is_filled` if settings supply what no column has.
    """

    name: str
    form: str
    form_from: str
    packing: str | None
    encoding: str
    delimiter: str | None
    sheet: str | None
    has_header: bool
    columns: Mapping[str, str]
    carried: tuple[str, ...]
    not_taken: tuple[str, ...]
    is_filled: bool
    met: Mapping[str, Met]


def format_reading(of: ReadingFacts) -> str | None:
    """Return what is not obvious about how an input was read; None if all is."""
    said = list(_say(of))
    return printable(f"{of.name}: {'; '.join(said)}") if said else None


def reading_to_json(of: ReadingFacts) -> dict[str, Any]:
    """Return it as JSON values; every key is always present."""
    return asdict(of)


def describe_form(of: ReadingFacts) -> str:
    """Return the format of an input, and what showed it unless that is its name."""
    by = {"content": ", by its content", "option": ", as --format says"}.get(of.form_from, "")
    return f"{of.form}{f' ({of.packing})' if of.packing else ''}{by}"


def _say(of: ReadingFacts) -> Iterator[str]:
    endings = of.packing.split(", ") if of.packing else []
    is_packed_otherwise = any(f".{ending}" not in of.name.lower() for ending in endings)
    if of.form_from == "content" or is_packed_otherwise:
        yield describe_form(of)
    if of.encoding and of.encoding not in USUAL_ENCODINGS:
        yield f"encoding {of.encoding}"
    if of.delimiter in DELIMITERS:
        yield f"cells end at {DELIMITERS[of.delimiter]}"
    if of.sheet is not None:
        yield f"sheet {shorten(of.sheet)!r}"
    yield from _say_columns(of)
    yield from _say_met(of.met)


def _say_columns(of: ReadingFacts) -> Iterator[str]:
    if not of.has_header:
        yield ", ".join(("no header", *(f"{field} from {name}" for field, name in of.columns.items())))
    elif (name := of.columns.get("campaign_id")) is not None and (of.not_taken or name.lower() not in OBVIOUS_IDS):
        yield f"ids from {name!r}" + (f", not from {_list(of.not_taken)}" if of.not_taken else "")
    if of.is_filled and of.carried:
        yield f"columns not used: {_list(of.carried)}"


def _say_met(met: Mapping[str, Met]) -> Iterator[str]:
    for kind, each in met.items():
        if kind not in _MET:
            continue
        before = each.before[:SHOWN_CHARS] + "\u2026" * (len(each.before) > SHOWN_CHARS)
        as_example = f": {before!r} is {each.after}" if before else ""
        where = f" (first line {each.line}{as_example})" if each.line else ""
        yield f"{format_count(each.times, *_MET[kind])}{where}"


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(repr(shorten(name)) for name in names[:NAMES_SHOWN]) + more
