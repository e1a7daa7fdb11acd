"""The campaigns that run now, as a list for `stop`."""

import csv
import io
import json
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from bulkstop.errors import BulkstopError
from bulkstop.impact import is_normal
from bulkstop.model import CampaignType, ListedCampaign, Scope
from bulkstop.report.lists import calling_hours
from bulkstop.report.lists.calling_hours import HoursFound, StopCells
from bulkstop.report.verdict import format_done, format_not_complete, format_not_expected
from bulkstop.text import format_count, format_duration, printable
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
    "dialing_mode",
    "execution_type",
    "instance_updated_at",
    "messages_sent",
)
"""The columns of the file; `stop` reads the first six and `priority`, and copies the others into its results.

The copied ones tell it which campaigns do the most harm.
"""
PROFILE = "profile"
"""An additional column, if campaigns are reached with the credentials of named profiles."""
UNTOLD = "no state"
"""Replaces the state of a campaign without one in the list."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The campaigns that were found, each once, and `notes` for a person, a line each.

    With a `fault`, or if a signal (`signum`) ended it, the list was not read completely and must not be used.
    `left_out` counts the other campaigns of the service's list by state; it is None if only some states were requested,
    because the others are then unknown.
    """

    rows: tuple[tuple[Scope, ListedCampaign], ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0
    elapsed_s: float = 0.0
    fault: BulkstopError | None = None
    signum: int | None = None
    left_out: Mapping[str, int] | None = None
    unread: tuple[str, ...] = ()
    """The parts of the lists that were not read, a line each."""
    failed: tuple[str, ...] = ()
    """The lists of targets that could not be read completely, and why, a line each; the others were."""
    is_doubtful: bool = False
    """Whether a list that was read completely may lack campaigns nevertheless; a note says why."""
    hours: HoursFound | None = None
    """The calling hours of these campaigns, if they were requested."""

    @property
    def exit_code(self) -> int:
        """The exit code: 0 if the lists were read completely, 1 if campaigns may be missing."""
        if self.signum is not None:
            return 128 + self.signum
        return 3 if self.fault is not None else 1 if self.failed or self.is_doubtful or self.has_unknown else 0

    @property
    def has_unknown(self) -> bool:
        """Whether calling hours were requested and some are unknown."""
        return self.hours is not None and bool(self.hours.faults)

    @property
    def sendable(self) -> int:
        """The campaigns that `stop` would send: not those with unknown calling hours."""
        return len(self.rows) - (len(self.hours.faults) if self.hours is not None else 0)

    @property
    def is_usable(self) -> bool:
        """Whether there is a list to write."""
        return self.signum is None and self.fault is None

    @property
    def has_profiles(self) -> bool:
        """Whether any campaign is reached with the credentials of a named profile."""
        return any(scope.profile for scope, _ in self.rows)


class Expected(NamedTuple):
    """How many campaigns were expected, and in how many lists of the service they were looked for."""

    least: int
    most: int
    lists: int

    def holds(self, discovery: Discovery) -> bool:
        """Return whether that many were found."""
        return self.least <= len(discovery.rows) <= self.most

    def describe(self, discovery: Discovery) -> str:
        """Return what was found in how many lists, and what was expected if that differs."""
        what = describe_count(discovery) if discovery.rows else "no campaign"
        where = f"{what} in {format_count(self.lists, 'list')}"
        if self.holds(discovery):
            return f"{where}, as expected"
        many = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        return f"{where}, and not the {many} expected"


def format_verdict(discovery: Discovery, output: str, expected: Expected | None = None) -> str:
    """Return one line that says what was found and where the list is, or why there is none."""
    if discovery.signum is not None:
        return format_not_complete(f"ended by {signal.Signals(discovery.signum).name}; nothing was written")
    if discovery.fault is not None:
        why = printable(str(discovery.fault))
        return format_not_complete(f"the list could not be read completely; {why}; nothing was written")
    recurring = sum(item.recurs is True for _, item in discovery.rows)
    again = f"; {recurring:,} recurring: a stop does not end their schedule" if recurring else ""
    rest = describe_rest(discovery)
    where = "standard output" if output == "-" else output
    count = describe_count(discovery) if expected is None or discovery.failed else expected.describe(discovery)
    hours = "" if discovery.hours is None else f"; stop_at for {discovery.hours.known:,} of {len(discovery.rows):,}"
    what = f"{count}; {rest}{again}{hours}; {describe_calls(discovery)}"
    if discovery.failed:
        many = format_count(len(discovery.failed), "list")
        return format_not_complete(f"{many} could not be read; {what}; written to {where}")
    if discovery.is_doubtful:
        return format_not_complete(f"more may run than was found, as noted; {what}; written to {where}")
    if discovery.has_unknown:
        return format_not_complete(f"calling hours are not known, as noted; {what}; written to {where}")
    if expected is not None and not expected.holds(discovery):
        return format_not_expected(f"{what}; written to {where}")
    return format_done(f"{what}; written to {where}")


def describe_count(discovery: Discovery) -> str:
    """Return how many campaigns of each type were found."""
    if not discovery.rows:
        return "no campaign matches; the list is empty"
    types = Counter(scope.campaign_type for scope, _ in discovery.rows)
    counts = ", ".join(f"{types[kind]:,} {kind}" for kind in CampaignType)
    return f"{format_count(len(discovery.rows), 'campaign')} ({counts})"


def describe_rest(discovery: Discovery) -> str:
    """Return how many campaigns of the service's list are not in this one, by state, the most first."""
    if discovery.left_out is None:
        return "nothing else was asked for"
    counts = sorted(discovery.left_out.items(), key=lambda each: -each[1])
    seen = " of what was read" if discovery.unread else ""
    return f"left out{seen}: {', '.join(f'{number:,} {printable(state)}' for state, number in counts) or 'none'}"


def describe_calls(discovery: Discovery) -> str:
    """Return how many calls it took, and how long."""
    return f"{format_count(discovery.calls, 'call')} in {format_duration(discovery.elapsed_s)}"


def discovery_to_json(discovery: Discovery) -> dict[str, object]:
    """Return the facts as JSON values, every key always present; the list has the campaigns themselves."""
    items = [item for _, item in discovery.rows]
    types = Counter(item.campaign_type for item in items)
    return {
        "campaigns": len(items),
        "types": {kind.value: types[kind] for kind in CampaignType},
        "states": dict(Counter(item.status or UNTOLD for item in items)),
        "left_out": None if discovery.left_out is None else dict(discovery.left_out),
        "recurring": sum(item.recurs is True for item in items),
        "not_normal": [
            {"campaign_id": item.campaign_id, "name": item.name, "execution_type": item.execution_type}
            for item in items
            if not is_normal(item.execution_type)
        ],
        "calls": discovery.calls,
        "elapsed_s": round(discovery.elapsed_s, 3),
        "notes": list(discovery.notes),
        "not_looked_at": list(discovery.unread),
        "not_read": list(discovery.failed),
        "calling_hours": None if discovery.hours is None else discovery.hours.to_json(),
        "fault": None if discovery.fault is None else printable(str(discovery.fault)),
        "exit_code": discovery.exit_code,
    }


def to_csv(rows: Iterable[tuple[Scope, ListedCampaign]], stops: Sequence[StopCells] | None = None) -> bytes:
    """Return the list as CSV with a header, one line per campaign; `stops` has the stop times in the same order.

    Unprintable characters are escaped; `stop` restores the service's ids and names. Ids that begin like formulas stay
    unchanged; any other cell that a spreadsheet would run is marked as text by a `'`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    every = list(rows)
    with_profiles = any(scope.profile for scope, _ in every)
    times: Sequence[tuple[str | None, ...]] = [()] * len(every) if stops is None else stops
    named = () if stops is None else calling_hours.COLUMNS
    writer.writerow((*COLUMNS, *named, *((PROFILE,) if with_profiles else ())))
    for (scope, item), stop in zip(every, times, strict=True):
        campaign_id, *ids = _list_ids(scope, item)
        profile = [_to_cell(scope.profile or "")] if with_profiles else []
        writer.writerow([escape_cell(campaign_id), *ids, *map(_to_cell, _list_others(item)), *stop, *profile])
    return text.getvalue().encode()


def to_jsonl(rows: Iterable[tuple[Scope, ListedCampaign]], stops: Sequence[StopCells] | None = None) -> bytes:
    """Return the list as JSON lines with all values unchanged; unprintable characters are escaped."""
    every = list(rows)
    times = [{}] * len(every) if stops is None else [stop._asdict() for stop in stops]
    return b"".join(
        to_json_line(list_values(scope, item) | stop) for (scope, item), stop in zip(every, times, strict=True)
    )


def list_values(scope: Scope, item: ListedCampaign) -> dict[str, object]:
    """Return a campaign's values by column; the profile only if it was reached with one."""
    profile = {PROFILE: scope.profile} if scope.profile else {}
    return dict(zip(COLUMNS, [*_list_ids(scope, item), *_list_others(item)], strict=True)) | profile


def _list_ids(scope: Scope, item: ListedCampaign) -> list[str]:
    return [item.campaign_id, scope.campaign_type, scope.account_id, scope.stream_id, scope.iid]


def _list_others(item: ListedCampaign) -> list[object]:
    return [item.name, item.status, item.priority, item.recurs, item.updated_at, *_list_harm(item)]


def _list_harm(item: ListedCampaign) -> list[object]:
    return [item.dialing_mode, item.execution_type, item.instance_updated_at, item.messages_sent]


def list_carried(item: ListedCampaign) -> dict[str, object]:
    """Return the values of a campaign's row that `stop` copies into its result, beside those that it reads."""
    told = [item.status, item.recurs, item.updated_at, *_list_harm(item)]
    return dict(zip((each for each in COLUMNS[6:] if each != "priority"), told, strict=True))


def to_json_line(row: Mapping[str, object]) -> bytes:
    """Return a row of a list as one JSON object; unprintable characters are escaped."""
    try:
        return escape_json_line(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    except TypeError:  # half a surrogate pair
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _to_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_cell(value) if isinstance(value, str) else value
