"""The campaigns that run now, as a list for `stop`."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from bulkstop.errors import BulkstopError
from bulkstop.model import CampaignType, ListedCampaign, Scope
from bulkstop.text import format_count, format_duration
from bulkstop.text.cells import escape_cell, escape_json_line, to_cell

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
    many = (
        f"{format_count(len(discovery.rows), 'campaign')} ({counts})"
        if discovery.rows
        else "no campaign fits; an empty list"
    )
    calls = f"{format_count(discovery.calls, 'call')} in {format_duration(discovery.elapsed_s)}"
    return f"{many}{again}; {calls}; written to {where}"


def to_csv(rows: Iterable[tuple[Scope, ListedCampaign]]) -> bytes:
    """Write the list as CSV, header included, each campaign on a line of its own.

    What does not print is escaped; `stop` reads the ids and names that the service has. Ids that begin as formulas do
    stand there as they are; any other cell that a spreadsheet would run is marked as text by a `'`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for scope, item in rows:
        campaign_id, *ids = _list_ids(scope, item)
        writer.writerow([escape_cell(campaign_id), *ids, *map(_to_cell, _list_others(item))])
    return text.getvalue().encode()


def to_jsonl(rows: Iterable[tuple[Scope, ListedCampaign]]) -> bytes:
    """Write the list as JSON lines, all values as they are; what does not print is escaped."""
    keyed = (dict(zip(COLUMNS, [*_list_ids(*row), *_list_others(row[1])], strict=True)) for row in rows)
    return b"".join(map(_to_json, keyed))


def _list_ids(scope: Scope, item: ListedCampaign) -> list[str]:
    return [item.campaign_id, scope.campaign_type, scope.account_id, scope.stream_id, scope.iid]


def _list_others(item: ListedCampaign) -> list[object]:
    return [item.name, item.status, item.priority, item.recurs, item.updated_at]


def _to_json(row: dict[str, object]) -> bytes:
    try:
        return escape_json_line(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    except TypeError:  # half a surrogate pair
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _to_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_cell(value) if isinstance(value, str) else value
