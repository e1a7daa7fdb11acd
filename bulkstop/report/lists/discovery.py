"""The campaigns that run now, as a list for `stop`."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from bulkstop.model import Group, Listed
from bulkstop.text import replace_controls

COLUMNS = (
    "campaign_id",
    "campaign_type",
    "account_id",
    "stream_id",
    "iid",
    "name",
    "status",
    "priority",
    "recurring",
    "updated_at",
)
"""The columns of the file; `stop` reads the first six and `priority`, and carries the others into its results."""
FORMULA = ("=", "+", "-", "@", "\t", "'")
"""First characters of a cell that a spreadsheet would run (and of one that is marked as text)."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, each campaign once, and what a person must know of it: `notes`, a line each.

    With a `fault`, or when a signal (`signum`) ended it, the list was not read to its end, and is not to be used.
    """

    rows: tuple[tuple[Group, Listed], ...]
    notes: tuple[str, ...]
    calls: int
    fault: str | None = None
    signum: int | None = None


def to_csv(rows: Iterable[tuple[Group, Listed]]) -> bytes:
    """Write the list as CSV, header included, each campaign on a line of its own.

    Ids stand there as they are, else `stop` would call for others. Any other cell that a spreadsheet would run as a
    formula gets a leading `'`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group, item in rows:
        ids, others = _cells(group, item)
        writer.writerow([*ids, *map(_safe_cell, others)])
    return text.getvalue().encode()


def to_jsonl(rows: Iterable[tuple[Group, Listed]]) -> bytes:
    """Write the list as JSON lines, all values as they are but for control characters."""
    keyed = (dict(zip(COLUMNS, [*ids, *others], strict=True)) for ids, others in (_cells(*row) for row in rows))
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in keyed)


def _cells(group: Group, item: Listed) -> tuple[list[object], list[object]]:
    """Give the cells of a row in the order of COLUMNS: the ids, which nobody may touch, and the others."""
    ids: list[object] = [item.campaign_id, group.campaign_type, group.account_id, group.stream_id, group.iid]
    return ids, [_shown(item.name), _shown(item.status), item.priority, item.recurs, _shown(item.updated_at)]


def _shown(text: str | None) -> str | None:
    return None if text is None else replace_controls(text)


def _safe_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
