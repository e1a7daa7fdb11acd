"""A Result is a line, JSON or CSV, both ways."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, BinaryIO, NamedTuple

import orjson

from bulkstop.errors import OutputError
from bulkstop.model import CampaignType, Outcome, Result

COLUMNS = tuple(field.name for field in fields(Result))
"""The keys of a result line, in order."""

_FORMULA = ("=", "+", "-", "@", "\t")
"""First characters that make a spreadsheet run a cell (https://owasp.org/www-community/attacks/CSV_Injection)."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_TYPES = {kind.value: kind for kind in CampaignType}
_NUMBERS = (("http_status", int), ("attempts", int), ("line", int), ("latency_ms", (int, float)))
_KEYS = frozenset(COLUMNS)
_TEXTS = _KEYS - {name for name, _ in _NUMBERS} - {"row"}
REASON_CHARS = 120
"""How much is said about a line that is no result."""
_CELL_CHARS = 131_072
"""The longest cell that the csv module reads unless told."""


class Line(NamedTuple):
    """A line of a result file: its number from 1, its bytes, and the result; None for the header of a CSV file."""

    number: int
    raw: bytes
    result: Result | None


def is_csv(path: str) -> bool:
    """Tell whether a result file of this name holds CSV."""
    return path.lower().endswith(".csv")


def to_json(result: Result) -> bytes:
    """Write a result as one JSON object and a newline; ids and messages cannot start a second line."""
    try:
        return orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE, default=_plain)
    except TypeError:  # half a surrogate pair or a huge integer in `row`: a line all the same
        cells = {name: getattr(result, name) for name in COLUMNS}
        return json.dumps(cells, default=_plain, separators=(",", ":"), skipkeys=True).encode() + b"\n"


def to_csv(result: Result) -> bytes:
    r"""Write a result as one CSV record on one line.

    A cell that a spreadsheet would run as a formula gets a leading `'`, and a line break in one is written `\n`.
    """
    return _record([_csv_cell(getattr(result, name)) for name in COLUMNS])


def csv_header() -> bytes:
    """Write the header record of a CSV result file."""
    return _record(list(COLUMNS))


def from_json(line: bytes) -> Result:
    """Read what `to_json` wrote; raises ValueError for anything else."""
    try:
        cells = orjson.loads(line)
    except orjson.JSONDecodeError:
        cells = _parse(line)  # half a surrogate pair, which the other one refuses
    if not isinstance(cells, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error for whatever is no result line
    return _result(cells)


def from_csv(line: bytes) -> Result:
    """Read what `to_csv` wrote, line breaks as it wrote them; raises ValueError or csv.Error for anything else."""
    if b"\0" in line:
        raise ValueError("holds a NUL")
    cells = _cells(line.decode())
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells instead of {len(COLUMNS)}")
    return _result({name: _value(name, cell) for name, cell in zip(COLUMNS, cells, strict=True)})


def read_lines(file: BinaryIO, name: str) -> Iterator[Line]:
    """Yield the lines of a result file called `name`; a last one that was torn off in mid-write is left out.

    Raises OutputError, with the number of the line, for a line that no run has written.
    """
    read = from_csv if is_csv(name) else from_json
    for number, raw in enumerate(file, start=1):
        if not raw.endswith(b"\n") or not raw.strip(b"\0\n"):  # a power failure leaves zeros where lines should be
            if file.read(1):
                raise OutputError(f"{name} line {number}: is no result line; what stands after it would be lost")
            return
        if number == 1 and raw == csv_header() and is_csv(name):
            yield Line(number, raw, None)
            continue
        try:
            result = read(raw)
        except (ValueError, csv.Error) as error:
            why = " ".join(str(error).split())[:REASON_CHARS]
            raise OutputError(f"{name} line {number}: is no result line ({why}); give another file") from None
        yield Line(number, raw, result)


def as_cell(text: str) -> str:
    r"""Give a text as a CSV file keeps it: line breaks are `\r` and `\n`, so that a record stays on one line.

    A NUL is `\0`, so that one in a file is always the trace of a power failure.
    """
    one_line = text.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "\\0")
    return one_line.encode(errors="replace").decode()


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return json.dumps(value, default=_plain, separators=(",", ":"), skipkeys=True)
    if not isinstance(value, str):
        return str(value)
    text = as_cell(value)
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


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


_READ_AS: dict[str, Callable[[str], Any]] = {
    "http_status": int,
    "attempts": int,
    "latency_ms": float,
    "line": int,
    "row": _parse,
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
    if name in _READ_AS:
        return _READ_AS[name](cell)
    return cell[1:] if re.match(r"'['=+\-@\t]", cell) else cell


def _result(cells: dict[str, Any]) -> Result:
    if cells.keys() != _KEYS:
        odd = sorted(cells.keys() ^ _KEYS)
        raise ValueError(f"its keys are not those of a result line: {', '.join(map(repr, odd))[:80]}")
    if not all(isinstance(cells[name], str | None) for name in _TEXTS):
        raise ValueError("a text in it is none")
    if not all(cells[name] is None or _is_number(cells[name], kinds) for name, kinds in _NUMBERS):
        raise ValueError("a number in it is none")
    if not isinstance(cells["row"], dict | None):
        raise ValueError("its row is no object")  # noqa: TRY004 - as above
    outcome, kind = _OUTCOMES.get(cells["outcome"]), cells["campaign_type"]
    if outcome is None or (kind is not None and kind not in _TYPES):
        raise ValueError("its outcome or campaign_type is unknown")
    cells["campaign_id"] = cells["campaign_id"] or ""
    cells["attempts"] = cells["attempts"] or 0
    return Result(**(cells | {"outcome": outcome, "campaign_type": _TYPES.get(kind)}))


def _is_number(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
