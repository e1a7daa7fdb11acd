"""The stop times that follow from campaigns' calling hours: facts, and views of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bulkstop.text import format_count, format_duration, printable

COLUMNS = ("stop_at", "timezone")
"""The columns of a list for calling hours; `stop` reads both."""
UNKNOWN = "unknown"
"""The value of an unknown time: `stop` rejects it, and does not send such a row."""
NAMED = 5
"""The campaigns that a note names; the others are counted."""
FAULTS_NAMED = 20
"""The campaigns with unknown calling hours for which a note says why."""


class StopCells(NamedTuple):
    """One campaign's cells in these columns; None is an empty cell."""

    stop_at: str | None = None
    timezone: str | None = None


class HoursCost(NamedTuple):
    """The cost of reading the calling hours of a list: calls, campaigns, and the least time in seconds."""

    calls: int
    campaigns: int
    least_s: float

    def describe(self) -> str:
        """Return it as one line, for display before the first of these calls."""
        known = self.campaigns - self.calls
        before = f"; {known:,} unchanged since the last time" if known else ""
        least = f", at least {format_duration(self.least_s)} with the quota" if self.least_s >= 1 else ""
        return f"calling hours of {format_count(self.campaigns, 'campaign')}: {_count_calls(self.calls)}{least}{before}"


@dataclass(frozen=True, slots=True)
class HoursFound:
    """The cells of all campaigns of a list, in its order, and notes for a person, with campaign ids.

    `faults` are the campaigns with unknown calling hours, one line each that begins with the id.
    """

    cells: tuple[StopCells, ...]
    calls: int = 0
    without: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def known(self) -> int:
        """The number of campaigns with a time."""
        return len(self.cells) - len(self.without) - len(self.faults)

    def notes(self) -> Iterator[str]:
        """Yield the notes for a person, one line each."""
        for fault in self.faults[:FAULTS_NAMED]:
            yield printable(f"calling hours of {fault}")
        if self.faults:
            more = f" ({len(self.faults) - FAULTS_NAMED:,} more like these)" if self.faults[FAULTS_NAMED:] else ""
            many = format_count(len(self.faults), "campaign has", "campaigns have")
            yield f"{many} {COLUMNS[0]} {UNKNOWN!r}{more}: `stop` sends them nothing until you write a time there"
        if self.without:
            yield f"without calling hours, so `stop` stops them at once: {_name(self.without)}"
        if self.several:
            yield f"several windows on a day, of which the last end counts: {_name(self.several)}"
        if self.later:
            yield f"no more calling hours today, so {COLUMNS[0]} is on the next day that has some: {_name(self.later)}"

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON values; every key is always present."""
        return {
            "known": self.known,
            "calls": self.calls,
            "without": list(self.without),
            "several_windows": list(self.several),
            "later_day": list(self.later),
            "unknown": [printable(each) for each in self.faults],
        }


def _count_calls(calls: int) -> str:
    return format_count(calls, "call") if calls else "no call"


def _name(campaign_ids: Sequence[str]) -> str:
    named = ", ".join(map(printable, campaign_ids[:NAMED]))
    return f"{named} and {len(campaign_ids) - NAMED:,} more" if campaign_ids[NAMED:] else named
