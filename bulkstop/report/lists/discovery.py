"""The campaigns that run now, as a list for `stop`."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from bulkstop.errors import BulkstopError
from bulkstop.model import CampaignType, ListedCampaign, Scope
from bulkstop.text import format_duration, replace_controls

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

    rows: tuple[tuple[Scope, ListedCampaign], ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0
    elapsed_s: float = 0.0
    fault: BulkstopError | None = None
    signum: int | None = None


def format_discovery(discovery: Discovery, output: str) -> str:
    """Say in one line what was found, and where the list is."""
    types = Counter(scope.campaign_type for scope, _ in discovery.rows)
    counts = ", ".join(f"{types[kind]:,} {kind}" for kind in CampaignType)
    recurring = sum(item.recurs is True for _, item in discovery.rows)
    again = f"; {recurring:,} recurring: a stop does not end their schedule" if recurring else ""
    where = "standard output" if output == "-" else output
    many = f"{len(discovery.rows):,} campaigns ({counts})" if discovery.rows else "no campaign fits; an empty list"
    calls = f"{discovery.calls:,} calls in {format_duration(discovery.elapsed_s)}"
    return f"{many}{again}; {calls}; written to {where}"


def to_csv(rows: Iterable[tuple[Scope, ListedCampaign]]) -> bytes:
    """Write the list as CSV, header included, each campaign on a line of its own.

    Ids stand there as they are, else `stop` would call for others. Any other cell that a spreadsheet would run as a
    formula gets a leading `'`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for scope, item in rows:
        ids, others = _list_cells(scope, item)
        writer.writerow([*ids, *map(_safe_cell, others)])
    return text.getvalue().encode()


def to_jsonl(rows: Iterable[tuple[Scope, ListedCampaign]]) -> bytes:
    """Write the list as JSON lines, all values as they are but for control characters."""
    keyed = (dict(zip(COLUMNS, [*ids, *others], strict=True)) for ids, others in (_list_cells(*row) for row in rows))
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in keyed)


def _list_cells(scope: Scope, item: ListedCampaign) -> tuple[list[object], list[object]]:
    """Return the cells of a row in the order of COLUMNS: the ids, which nobody may touch, and the others."""
    ids: list[object] = [item.campaign_id, scope.campaign_type, scope.account_id, scope.stream_id, scope.iid]
    return ids, [_show(item.name), _show(item.status), item.priority, item.recurs, _show(item.updated_at)]


def _show(text: str | None) -> str | None:
    return None if text is None else replace_controls(text)


def _safe_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
