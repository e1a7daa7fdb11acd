"""Ends a load test early when a condition holds for its last seconds."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bulkstop.engine.load.generator import Sample
from bulkstop.model import Attempt
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.runs.host import every

EVERY_S = 1.0
SECONDS = 10
"""Seconds of requests that the conditions are checked against, so that a service that fails late is noticed soon."""
LEAST_REQUESTS = 20
"""Least requests that a condition is checked against; for a rate, requests in flight count, too."""


class RecentRequests:
    """Counts the requests of the last seconds, and calls `end` once a condition is true."""

    def __init__(self, conditions: Sequence[Threshold], now: Callable[[], float] = time.monotonic) -> None:
        self.verdict: Verdict | None = None
        """The condition that became true, and what was measured."""
        self.end: Callable[[], object] = lambda: None
        self.in_flight: Callable[[], int] = lambda: 0
        self._conditions, self._clock = conditions, now
        self._first_at = math.inf
        self._now, self._reported_s = Metrics(), 0.0
        self._is_reported, self._answered = False, set[int]()
        self._seconds = deque[tuple[Metrics, float]](maxlen=SECONDS)

    def count(self, sample: Sample, attempt: Attempt) -> None:
        """Count a request."""
        if self._first_at == math.inf:
            self._first_at = self._clock()
        self._now.add(
            attempt.outcome,
            latency_s=sample.ended_s - sample.intended_s,
            service_s=sample.ended_s - sample.started_s,
            late_s=sample.late_s,
            held_s=sample.held_s,
            answered=attempt.http_status is not None,
        )

    def add(self, metrics: Metrics, number: int, length_s: float) -> None:
        """Add the counts of a process; `length_s` is the time of its report, divided by the number of processes."""
        self._is_reported = True
        if number in self._answered:
            self._reported_s += length_s
        elif metrics.due:  # its first responses came in a part of this time only
            self._first_at = min(self._first_at, self._clock())
            self._answered.add(number)
        self._now.merge(metrics)

    def judge(self) -> None:
        """Begin another second, and check the conditions against those before it."""
        self._seconds.append((self._now, self._counted_s()))
        self._now, self._reported_s = Metrics(), 0.0
        recent = Metrics()
        for second, _ in self._seconds:
            recent.merge(second)
        recent.elapsed_s, recent.sending_s = 0.0, sum(length_s for _, length_s in self._seconds)
        if self._first_at == math.inf and len(self._seconds) == SECONDS:
            recent.sending_s = SECONDS * EVERY_S
        elif recent.sending_s < EVERY_S:
            recent.sending_s = 0.0  # too short a time for a rate
        if self.verdict is None:
            verdicts = (each.judge(recent) for each in self._conditions if self._has_enough(recent, each))
            self.verdict = next((verdict for verdict in verdicts if verdict.held), None)
            if self.verdict is not None:
                self.end()

    def _has_enough(self, recent: Metrics, condition: Threshold) -> bool:
        """Return whether there are enough requests to check a condition."""
        return recent.due + (self.in_flight() if condition.is_rate else 0) >= LEAST_REQUESTS

    def _counted_s(self) -> float:
        """Return the seconds of this interval in which requests were counted: those since the first response."""
        if self._is_reported or self._first_at == math.inf:
            return self._reported_s
        return min(EVERY_S, self._clock() - self._first_at)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Check the conditions every second within the block."""

        def judge() -> float:
            self.judge()
            return EVERY_S

        with every(judge, EVERY_S):
            yield


def watch_recent(conditions: Sequence[Threshold]) -> RecentRequests | None:
    """Return a counter of recent requests; None without conditions, so that counting costs nothing."""
    return RecentRequests(conditions) if conditions else None
