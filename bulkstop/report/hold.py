"""The end of a hold, as facts and as text: whether matching campaigns run, and what came back."""

import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bulkstop.model import Outcome
from bulkstop.report.stop.summary import StopSummary
from bulkstop.report.verdict import format_done, format_not_stopped_at_all
from bulkstop.text import format_count, printable

NAMED = 5
"""The campaigns that a verdict names; the others are counted."""


@dataclass(frozen=True, slots=True)
class HoldStops(StopSummary):
    """The stops of a hold; as they do not show what runs at the end, `code` is the hold's own exit code."""

    code: int = 1

    @property
    def exit_code(self) -> int:
        """The exit code of the hold, unless its results could not be saved."""
        return 3 if self.fault is not None else self.code


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """The end of a hold: its stops, the number of looks, the sightings it handled, and what runs at the end.

    `running` is None if nobody looked, or if that failed: `unread` says why. `left_alone` are the running ones that
    came back too often. An `early` end is one before the given time.
    """

    stops: StopSummary
    looks: int
    sightings: int
    running: tuple[str, ...] | None = None
    left_alone: tuple[str, ...] = ()
    unread: str | None = None
    early: int | None = None
    campaigns: Mapping[Outcome, int] = field(default_factory=dict)
    """The number of campaigns per outcome, each counted by its last sighting that was handled."""

    @property
    def exit_code(self) -> int:
        """The exit code: whether anything runs at the end, unless the hold was ended before."""
        if self.stops.fault is not None:
            return 3
        if self.early is not None:
            return 128 + self.early
        if self.stops.out_of_time and self.stops.stats.left:
            return 4
        return 0 if self.running == () and self.unread is None else 1

    @property
    def verdict(self) -> str:
        """Return one line that says whether matching campaigns run."""
        if self.exit_code == 0:
            many = format_count(self.sightings, "sighting")
            return format_done(f"no matching campaign runs; {many} in {format_count(self.looks, 'look')}")
        return format_not_stopped_at_all("; ".join(self._list_reasons()))

    def _list_reasons(self) -> Sequence[str]:
        reasons = [printable(str(self.stops.fault))] if self.stops.fault else []
        if self.early is not None:
            reasons.append(f"ended by {signal.Signals(self.early).name} before its time")
        if self.exit_code == 4:
            reasons.append("ended at --finish-by before all were sent")
        if self.running:
            many = format_count(len(self.running), "campaign still runs", "campaigns still run")
            reasons.append(f"{many}: {_name_some(self.running)}")
        if self.left_alone:
            many = format_count(
                len(self.left_alone),
                "campaign is not stopped again because it",
                "campaigns are not stopped again because they",
            )
            reasons.append(f"{many} came back too often: {_name_some(self.left_alone)}")
        if self.unread is not None:
            reasons.append(f"more may run: {self.unread}")
        elif self.running is None:
            reasons.append("what runs now was not checked")
        return reasons


def _name_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(map(printable, names[:NAMED]))}{more}"


def count_campaigns(latest: Iterable[Outcome]) -> Mapping[Outcome, int]:
    """Count campaigns by the outcome of their last sighting."""
    counts = Counter(latest)
    return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}


def format_campaigns(campaigns: Mapping[Outcome, int]) -> str:
    """Return the counts of campaigns by outcome; rows of earlier sightings are out of date."""
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in campaigns.items())
    return f"{sum(campaigns.values()):,}, each by its latest sighting: {counts}" if counts else "none"
