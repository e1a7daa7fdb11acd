"""A Result as a line, JSON or CSV, written and read."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import orjson

from bulkstop.errors import OutputError
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.text import format_count, printable
from bulkstop.text.cells import escape_json_line, from_cell, to_cell
from bulkstop.text.faults import explain_csv, explain_json
from bulkstop.version import __version__

COLUMNS = tuple(field.name for field in fields(Result))
"""The keys of a result line, in order."""
ESSENTIAL = ("campaign_id", "outcome", "source", "line")
"""The keys without which a line cannot be assigned to a row; any other that an older version did not write is null."""

_RUNS_IN_JSON = re.compile(r"([;|]\s*)([=+\-@])")
"""The starts of formulas in a cell of JSON, for spreadsheets whose delimiter is not the comma."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_TYPES = {kind.value: kind for kind in CampaignType}
_NUMBERS = (("http_status", int), ("attempts", int), ("line", int), ("latency_ms", (int, float)))
_KEYS = frozenset(COLUMNS)
_TEXTS = _KEYS - {name for name, _ in _NUMBERS} - {"row"}
REASON_CHARS = 120
"""The most characters of an explanation why a line is not a result."""
_CELL_CHARS = 131_072
"""The default limit of the csv module for one cell."""


class NewerLineError(ValueError):
    """A line has a word that only a newer version can know."""

    def __init__(self, key: str, word: str) -> None:
        shown = printable(word[:40])
        super().__init__(f"has the {key} {shown!r}, which bulkstop {__version__} does not know; use a newer version")


class Line(NamedTuple):
    """A line of a result file: its number from 1, its bytes, and its result; None for a CSV header."""

    number: int
    raw: bytes
    result: Result | None


def is_csv(path: str) -> bool:
    """Return whether a result file of this name is CSV."""
    return path.lower().endswith(".csv")


def to_json(result: Result) -> bytes:
    """Return a result as one JSON object and a newline; unprintable characters, line ends included, are escaped."""
    try:
        return escape_json_line(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE, default=_plain))
    except TypeError:  # half a surrogate pair or a huge integer in `row`; the row still gets its line
        cells = {name: getattr(result, name) for name in COLUMNS}
        return json.dumps(cells, default=_plain, separators=(",", ":"), skipkeys=True).encode() + b"\n"


def to_csv(result: Result, columns: Sequence[str] = COLUMNS) -> bytes:
    r"""Return a result as one CSV line in these columns; an unknown column stays empty.

    A cell that a spreadsheet would run as a formula gets a `'` before it, unprintable characters are escaped as in
    JSON, and a line break is written `\n`.
    """
    return _record([_csv_cell(getattr(result, name) if name in _KEYS else None) for name in columns])


def csv_header(columns: Sequence[str] = COLUMNS) -> bytes:
    """Return the header of a CSV result file."""
    return _record(list(columns))


def read_header(line: bytes) -> tuple[str, ...] | None:
    """Return the columns in the first line of a CSV result file of any version; None if it is not a header."""
    try:
        names = tuple(_cells(line.decode()))
    except (ValueError, csv.Error):
        return None
    return names if set(ESSENTIAL) <= set(names) and len(set(names)) == len(names) else None


def from_json(line: bytes) -> Result:
    """Return the result that `to_json` wrote; raises ValueError for anything else."""
    try:
        cells = orjson.loads(line)
    except orjson.JSONDecodeError:
        cells = _parse(line)  # half a surrogate pair, which the first parser rejects
    if not isinstance(cells, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error for whatever is not a result line
    return _result(cells)


def from_csv(line: bytes, columns: Sequence[str] = COLUMNS) -> Result:
    """Return the result that `to_csv` wrote, with its line breaks escaped; raises ValueError or csv.Error otherwise."""
    if b"\0" in line:
        raise ValueError("holds a NUL")
    cells = _cells(line.decode())
    if len(cells) != len(columns):
        raise ValueError(f"{format_count(len(cells), 'cell')} instead of {len(columns)}")
    return _result({name: _value(name, cell) for name, cell in zip(columns, cells, strict=True)})


def read_lines(file: BinaryIO, name: str) -> Iterator[Line]:
    """Yield the lines of a result file called `name`, without a last one that was torn in mid-write.

    A missing key is null, and an unknown one stays only in the line's bytes: another version wrote it. CSV is read by
    its header. Raises OutputError with the line number for a line that no run has written, and for an outcome that only
    a newer version knows.
    """
    read: Callable[[bytes], Result] = from_csv if is_csv(name) else from_json
    for number, raw in enumerate(file, start=1):
        if not raw.endswith(b"\n") or not raw.strip(b"\0\n"):  # a power failure leaves zeros where lines should be
            if file.read(1):
                raise OutputError(f"{name} line {number}: is not a result line; the lines after it would be lost")
            return
        if number == 1 and is_csv(name) and (columns := read_header(raw)):
            read = partial(from_csv, columns=columns)
            yield Line(number, raw, None)
            continue
        try:
            result = read(raw)
        except NewerLineError as error:
            raise OutputError(f"{name} line {number}: {error}") from None
        except (ValueError, csv.Error) as error:
            if number == 1 and is_csv(name):
                raise OutputError(f"{name} line 1: is not the header of a result file; give another file") from None
            raise OutputError(
                f"{name} line {number}: is not a result line ({_explain(error)}); give another file"
            ) from None
        yield Line(number, raw, result)


def _explain(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return explain_json(error)
    if isinstance(error, csv.Error):
        return explain_csv(error)
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)[:REASON_CHARS]


def as_cell(text: str) -> str:
    r"""Return a text as a CSV file keeps it: line breaks are `\r` and `\n`, so that a record stays on one line.

    A NUL is `\0`, so a NUL byte in a file always shows a power failure.
    """
    return text.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "\\0")


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return _RUNS_IN_JSON.sub(_escape_sign, json.dumps(value, default=_plain, separators=(",", ":"), skipkeys=True))
    if not isinstance(value, str):
        return str(value)
    return to_cell(as_cell(value))


def _escape_sign(match: re.Match[str]) -> str:
    return f"{match[1]}\\u{ord(match[2]):04x}"


def _record(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode(errors="replace")


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _parse(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


_NUMBER_OF: dict[str, Callable[[str], float]] = {
    "http_status": int,
    "attempts": int,
    "latency_ms": float,
    "line": int,
}


def _cells(record: str) -> list[str]:
    """Return the cells of a CSV record; raises the csv module's global limit no further than needed."""
    if len(record) <= _CELL_CHARS:
        return next(csv.reader([record], strict=True), [])
    usual = csv.field_size_limit(len(record))
    try:
        return next(csv.reader([record], strict=True), [])
    finally:
        csv.field_size_limit(usual)


def _value(name: str, cell: str) -> Any:
    if not cell:
        return None
    if name == "row":
        return _parse(cell)
    if name in _NUMBER_OF:
        try:
            return _NUMBER_OF[name](cell)
        except ValueError:
            raise ValueError(f"its {name} is not a number") from None
    return from_cell(cell)


def _result(cells: dict[str, Any]) -> Result:
    if cells.keys() != _KEYS:
        cells = _fit(cells)
    if not all(isinstance(cells[name], str | None) for name in _TEXTS):
        raise ValueError("a text in it is not written as JSON has it")
    if not all(cells[name] is None or _is_number(cells[name], kinds) for name, kinds in _NUMBERS):
        raise ValueError("a number in it is not written as JSON has it")
    if not isinstance(cells["row"], dict | None):
        raise ValueError("its row is not an object")  # noqa: TRY004 - as above
    outcome, kind = _OUTCOMES.get(cells["outcome"]), cells["campaign_type"]
    if outcome is None:
        raise NewerLineError("outcome", cells["outcome"]) if cells["outcome"] else ValueError("it has no outcome")
    if kind is not None and kind not in _TYPES:
        raise NewerLineError("campaign_type", kind)
    cells["campaign_id"] = cells["campaign_id"] or ""
    cells["attempts"] = cells["attempts"] or 0
    return Result(**(cells | {"outcome": outcome, "campaign_type": _TYPES.get(kind)}))


def _fit(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the keys that this version knows; a missing one is null."""
    if missing := [name for name in ESSENTIAL if name not in cells]:
        raise ValueError(f"it has no {', '.join(missing)}")
    return {name: cells.get(name) for name in COLUMNS}


def _is_number(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
