"""A Result is a line, JSON or CSV, both ways."""

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
"""The keys without which a line says nothing of any row; another one that a version did not write yet is null."""

_RUNS_IN_JSON = re.compile(r"([;|]\s*)([=+\-@])")
"""What a spreadsheet might run in a cell of JSON, where it takes another delimiter than the comma."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_TYPES = {kind.value: kind for kind in CampaignType}
_NUMBERS = (("http_status", int), ("attempts", int), ("line", int), ("latency_ms", (int, float)))
_KEYS = frozenset(COLUMNS)
_TEXTS = _KEYS - {name for name, _ in _NUMBERS} - {"row"}
REASON_CHARS = 120
"""How much is said about a line that is not a result."""
_CELL_CHARS = 131_072
"""The longest cell that the csv module reads unless told."""


class NewerLineError(ValueError):
    """A line has a word that only a newer version can know."""

    def __init__(self, key: str, word: str) -> None:
        shown = printable(word[:40])
        super().__init__(f"has the {key} {shown!r}, which bulkstop {__version__} does not know; use a newer version")


class Line(NamedTuple):
    """A line of a result file: its number from 1, its bytes, and the result; None for the header of a CSV file."""

    number: int
    raw: bytes
    result: Result | None


def is_csv(path: str) -> bool:
    """Tell whether a result file of this name holds CSV."""
    return path.lower().endswith(".csv")


def to_json(result: Result) -> bytes:
    """Write a result as one JSON object and a newline; what does not print is escaped, line ends among it."""
    try:
        return escape_json_line(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE, default=_plain))
    except TypeError:  # half a surrogate pair or a huge integer in `row`: a line all the same
        cells = {name: getattr(result, name) for name in COLUMNS}
        return json.dumps(cells, default=_plain, separators=(",", ":"), skipkeys=True).encode() + b"\n"


def to_csv(result: Result, columns: Sequence[str] = COLUMNS) -> bytes:
    r"""Write a result as one CSV record on one line, in these columns; a column that is not its own stays empty.

    What a spreadsheet would run as a formula gets a `'` before it, what does not print is escaped as in JSON, and a
    line break is written `\n`.
    """
    return _record([_csv_cell(getattr(result, name) if name in _KEYS else None) for name in columns])


def csv_header(columns: Sequence[str] = COLUMNS) -> bytes:
    """Write the header record of a CSV result file."""
    return _record(list(columns))


def read_header(line: bytes) -> tuple[str, ...] | None:
    """Read the columns of a CSV result file of any version from its first line; None if that is not a header."""
    try:
        names = tuple(_cells(line.decode()))
    except (ValueError, csv.Error):
        return None
    return names if set(ESSENTIAL) <= set(names) and len(set(names)) == len(names) else None


def from_json(line: bytes) -> Result:
    """Read what `to_json` wrote; raises ValueError for anything else."""
    try:
        cells = orjson.loads(line)
    except orjson.JSONDecodeError:
        cells = _parse(line)  # half a surrogate pair, which the other one refuses
    if not isinstance(cells, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error for whatever is no result line
    return _result(cells)


def from_csv(line: bytes, columns: Sequence[str] = COLUMNS) -> Result:
    """Read what `to_csv` wrote, line breaks as it wrote them; raises ValueError or csv.Error for anything else."""
    if b"\0" in line:
        raise ValueError("holds a NUL")
    cells = _cells(line.decode())
    if len(cells) != len(columns):
        raise ValueError(f"{format_count(len(cells), 'cell')} instead of {len(columns)}")
    return _result({name: _value(name, cell) for name, cell in zip(columns, cells, strict=True)})


def read_lines(file: BinaryIO, name: str) -> Iterator[Line]:
    """Yield the lines of a result file called `name`; a last one that was torn off in mid-write is left out.

    A key that a line lacks is null, and one that is unknown stays in its bytes alone: another version wrote it. CSV is
    read by its header. Raises OutputError, with the number of the line, for a line that no run has written, and for one
    with an outcome that only a newer version knows.
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
    r"""Give a text as a CSV file keeps it: line breaks are `\r` and `\n`, so that a record stays on one line.

    A NUL is `\0`, so that one in a file is always the trace of a power failure.
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
    """Read a CSV record; the limit of the csv module, which is everybody's, is raised no longer than that takes."""
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
    """Return the values of the keys that this version knows; what is not there is null."""
    if missing := [name for name in ESSENTIAL if name not in cells]:
        raise ValueError(f"it has no {', '.join(missing)}")
    return {name: cells.get(name) for name in COLUMNS}


def _is_number(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
