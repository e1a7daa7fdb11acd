"""The counts of results, for the progress, the summary and the exit code."""

import heapq
import re
from collections import Counter
from dataclasses import dataclass

from bulkstop.model import DONE, FAILED, HELD_BACK, LEFT, Outcome, Result, ScheduleState
from bulkstop.text import shorten

SLOWEST = 3
LATEST = 200
"""The approximate number of responses in the mean latency."""

FAILURES_SHOWN = 5
REASONS_KEPT = 100
"""The most failure reasons that are counted separately; no summary shows more."""
_OWN_WORDS = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")
"""The parts of reasons that differ between rows that failed alike: quoted values and numbers."""


@dataclass(slots=True)
class FailureGroup:
    """Rows that failed alike, with the first of them."""

    first: Result
    count: int = 0

    def describe(self) -> str:
        """Return their number, outcome and reason, and the place of the first."""
        first = self.first
        status = "" if first.http_status is None else f" (HTTP {first.http_status})"
        why = shorten(first.error or first.message or "")
        reason = f": {why}" if why and why != f"HTTP {first.http_status}" else ""
        place = f"{first.source} line {first.line}" if first.source and first.line else ""
        named = ", ".join(filter(None, (shorten(first.campaign_id), place)))
        example = f"; {'the first is ' if self.count > 1 else ''}{named}" if named else ""
        return f"{self.count:,} {first.outcome}{status}{reason}{example}"


class Stats:
    """Counts results by outcome and keeps the few slowest; adding one takes about a microsecond."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.schedules: Counter[str] = Counter()
        self.late = 0
        """The campaigns that were stopped after their `stop_at`."""
        self.attempts = 0
        self.latency_ms = 0.0
        """The mean of the latest responses; 0 before the first."""
        self._answered = self._tried = 0
        self._failures: dict[tuple[Outcome, int | None, str], FailureGroup] = {}
        self._slowest: list[tuple[float, str]] = []

    def add(self, result: Result) -> None:
        """Count one result."""
        self.outcomes[result.outcome] += 1
        self.attempts += result.attempts
        if result.stop_at is not None:
            self.late += result.is_late
        self._tried += result.attempts > 0
        if result.schedule is not None and (state := ScheduleState.of(result.schedule)):
            self.schedules[state] += 1
        if result.outcome in FAILED:
            self._note_failure(result)
        if result.latency_ms is not None:
            self._answered += 1
            self.latency_ms += (result.latency_ms - self.latency_ms) / min(self._answered, LATEST)
            self._keep(result.latency_ms, result.campaign_id)

    @property
    def lines(self) -> int:
        """The number of results."""
        return self.outcomes.total()

    @property
    def done(self) -> int:
        """The campaigns that are proven not to run."""
        return self._count(DONE)

    @property
    def failed(self) -> int:
        """The rows that are not proven to be stopped although that was tried, or could not be tried."""
        return self._count(FAILED)

    @property
    def held_back(self) -> int:
        """The rows not sent on purpose."""
        return self._count(HELD_BACK)

    @property
    def left(self) -> int:
        """The campaigns left to a later run: not sent, or cut off in flight."""
        return self._count(LEFT)

    @property
    def sent(self) -> int:
        """The campaigns that were sent and have ended."""
        return self.lines - self.held_back - self.left - self.outcomes[Outcome.INVALID]

    @property
    def sent_failed(self) -> int:
        """The campaigns that were sent and failed."""
        return self.failed - self.outcomes[Outcome.INVALID]

    @property
    def schedules_failed(self) -> int:
        """The stopped campaigns whose recurring schedule could not be disabled, and may start them again."""
        return self.schedules[ScheduleState.FAILED]

    @property
    def calls_each(self) -> float:
        """The mean calls per campaign: its attempts, and one for its schedule."""
        schedules = self.schedules[ScheduleState.DISABLED] + self.schedules[ScheduleState.FAILED]
        return max(1.0, (self.attempts + schedules) / max(1, self._tried))

    @property
    def failure_groups(self) -> list[FailureGroup]:
        """Return the largest groups of failed rows, by outcome and reason."""
        return sorted(self._failures.values(), key=lambda each: -each.count)[:FAILURES_SHOWN]

    @property
    def other_failures(self) -> int:
        """The failed rows in none of these groups."""
        return self.failed - sum(each.count for each in self.failure_groups)

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """Return the longest latencies in milliseconds, each with its campaign id; longest first."""
        return sorted(self._slowest, reverse=True)

    def _count(self, outcomes: frozenset[Outcome]) -> int:
        return sum(self.outcomes[outcome] for outcome in outcomes)

    def _note_failure(self, result: Result) -> None:
        reason = _OWN_WORDS.sub("?", result.error or result.message or "")
        key = (result.outcome, result.http_status, reason)
        if key in self._failures or len(self._failures) < REASONS_KEPT:
            self._failures.setdefault(key, FailureGroup(result)).count += 1

    def _keep(self, latency_ms: float, campaign_id: str) -> None:
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, (latency_ms, campaign_id))
        elif latency_ms > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (latency_ms, campaign_id))
