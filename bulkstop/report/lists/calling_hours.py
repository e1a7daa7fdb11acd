"""By when campaigns are to be stopped, as their calling hours say: facts, and views of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bulkstop.text import format_count, format_duration, printable

COLUMNS = ("stop_at", "timezone")
"""The columns that a list has of calling hours; `stop` reads both."""
UNKNOWN = "unknown"
"""What stands as a time where nobody knows it: `stop` takes it for no time and sends such a row nothing."""
NAMED = 5
"""Campaigns that a note names; the others are counted."""
FAULTS_NAMED = 20
"""Campaigns whose calling hours are not known, and of which a note says why."""


class StopCells(NamedTuple):
    """What stands of one campaign in these columns; None is an empty cell."""

    stop_at: str | None = None
    timezone: str | None = None


class HoursCost(NamedTuple):
    """What it takes to have the calling hours of a list: calls now, of how many campaigns, in seconds at the least."""

    calls: int
    campaigns: int
    least_s: float

    def describe(self) -> str:
        """Say it in one line, before the first of these calls is made."""
        known = self.campaigns - self.calls
        before = f"; {known:,} unchanged since the last time" if known else ""
        least = f", at least {format_duration(self.least_s)} with the quota" if self.least_s >= 1 else ""
        return f"calling hours of {format_count(self.campaigns, 'campaign')}: {_count_calls(self.calls)}{least}{before}"


@dataclass(frozen=True, slots=True)
class HoursFound:
    """The cells of all campaigns of a list, in its order, and what a person must know of them, by their ids.

    `faults` are those of which nobody knows the calling hours, a line each, which begins with the id.
    """

    cells: tuple[StopCells, ...]
    calls: int = 0
    without: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def known(self) -> int:
        """How many campaigns have a time."""
        return len(self.cells) - len(self.without) - len(self.faults)

    def notes(self) -> Iterator[str]:
        """Yield what a person must know, a line each."""
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
        """Return the facts as JSON values, every key always there."""
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
