"""Ends a load test early when a condition holds for its last seconds."""

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
"""Least requests that a condition is checked against."""


class RecentRequests:
    """Counts the requests of the last seconds, and calls `end` once a condition is true."""

    def __init__(self, conditions: Sequence[Threshold]) -> None:
        self.verdict: Verdict | None = None
        """The condition that became true, and what was measured."""
        self.end: Callable[[], object] = lambda: None
        self._conditions = conditions
        self._now = Metrics()
        self._seconds = deque[Metrics](maxlen=SECONDS)

    def count(self, sample: Sample, attempt: Attempt) -> None:
        """Count a request."""
        self._now.add(
            attempt.outcome,
            latency_s=sample.ended_s - sample.intended_s,
            service_s=sample.ended_s - sample.started_s,
            late_s=sample.late_s,
            held_s=sample.held_s,
            answered=attempt.http_status is not None,
        )

    def add(self, metrics: Metrics) -> None:
        """Add the counts of a process."""
        self._now.merge(metrics)

    def judge(self) -> None:
        """Begin another second, and check the conditions against those before it."""
        self._seconds.append(self._now)
        self._now = Metrics()
        recent = Metrics()
        for second in self._seconds:
            recent.merge(second)
        recent.sending_s = len(self._seconds) * EVERY_S
        if self.verdict is not None or recent.due < LEAST_REQUESTS:
            return
        verdicts = (condition.judge(recent) for condition in self._conditions)
        self.verdict = next((verdict for verdict in verdicts if verdict.held), None)
        if self.verdict is not None:
            self.end()

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
