"""The rows of a result file that need a retry, as a list for `stop`."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from bulkstop.report.lists.discovery import to_json_line
from bulkstop.text.cells import escape_cell, to_cell

COLUMNS = ("campaign_id", "campaign_type", "account_id", "stream_id", "iid", "priority", "name")
"""The columns of the list; the rows' other columns follow."""
AS_THEY_ARE = frozenset(COLUMNS) - {"campaign_id", "name"}
"""Columns that `stop` reads without unescaping."""


def to_csv(rows: Iterable[Mapping[str, object]], others: Sequence[str]) -> Iterator[bytes]:
    """Yield the list as CSV, header first; the columns `others` follow the known ones.

    Ids stay unchanged; any other cell that a spreadsheet would run is marked as text by a `'`.
    """
    columns = (*COLUMNS, *others)
    yield _record(columns)
    for row in rows:
        yield _record([_to_cell(name, row.get(name)) for name in columns])


def to_jsonl(rows: Iterable[Mapping[str, object]], others: Sequence[str]) -> Iterator[bytes]:
    """Yield the list as JSON lines with all values of the rows."""
    columns = (*COLUMNS, *others)
    for row in rows:
        yield to_json_line({name: row[name] for name in columns if row.get(name) is not None})


def _record(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="replace")


def _to_cell(column: str, value: object) -> object:
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if column in AS_THEY_ARE:
        return text
    if column == "campaign_id":
        return escape_cell(text)
    return text if column != "name" and text.startswith("'") else to_cell(text)
