"""Results folded into counts: what the progress, the summary and the exit code are made of."""

import heapq
from collections import Counter

from bulkstop.model import DONE, FAILED, HELD_BACK, LEFT, Outcome, Result, ScheduleState

SLOWEST = 3
LATEST = 200
"""So many answers, about, the mean latency is of."""


class Stats:
    """Counts results by outcome and keeps the few slowest; adding one costs about a microsecond."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.schedules: Counter[str] = Counter()
        self.attempts = 0
        self.latency_ms = 0.0
        """The mean of the latest answers; 0 before the first."""
        self._answered = self._tried = 0
        self._slowest: list[tuple[float, str]] = []

    def add(self, result: Result) -> None:
        """Count one result."""
        self.outcomes[result.outcome] += 1
        self.attempts += result.attempts
        self._tried += result.attempts > 0
        if result.schedule is not None and (state := ScheduleState.of(result.schedule)):
            self.schedules[state] += 1
        if result.latency_ms is not None:
            self._answered += 1
            self.latency_ms += (result.latency_ms - self.latency_ms) / min(self._answered, LATEST)
            self._keep(result.latency_ms, result.campaign_id)

    @property
    def lines(self) -> int:
        """All results."""
        return self.outcomes.total()

    @property
    def done(self) -> int:
        """Campaigns that are proven not to run."""
        return self._count(DONE)

    @property
    def failed(self) -> int:
        """Rows that are not proven to be stopped though it was tried, or could not be tried."""
        return self._count(FAILED)

    @property
    def held_back(self) -> int:
        """Rows not sent on purpose."""
        return self._count(HELD_BACK)

    @property
    def left(self) -> int:
        """Campaigns that a later run has to stop: not sent, or cut off in flight."""
        return self._count(LEFT)

    @property
    def sent(self) -> int:
        """Campaigns that were sent and have ended."""
        return self.lines - self.held_back - self.left - self.outcomes[Outcome.INVALID]

    @property
    def sent_failed(self) -> int:
        """Campaigns that were sent and failed."""
        return self.failed - self.outcomes[Outcome.INVALID]

    @property
    def schedules_failed(self) -> int:
        """Stopped campaigns whose recurring schedule was to be disabled, and may start them again."""
        return self.schedules[ScheduleState.FAILED]

    @property
    def calls_each(self) -> float:
        """The calls that a campaign took in the mean: its tries, and one for its schedule."""
        schedules = self.schedules[ScheduleState.DISABLED] + self.schedules[ScheduleState.FAILED]
        return max(1.0, (self.attempts + schedules) / max(1, self._tried))

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """The longest latencies in milliseconds, each with its campaign id; longest first."""
        return sorted(self._slowest, reverse=True)

    def _count(self, outcomes: frozenset[Outcome]) -> int:
        return sum(self.outcomes[outcome] for outcome in outcomes)

    def _keep(self, latency_ms: float, campaign_id: str) -> None:
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, (latency_ms, campaign_id))
        elif latency_ms > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (latency_ms, campaign_id))
