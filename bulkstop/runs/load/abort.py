"""Whether a load test is to be ended early: its last seconds, held against conditions."""

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
"""The conditions are held against the requests of so many seconds: a service that breaks late is known soon."""
LEAST_REQUESTS = 20
"""Fewer requests than these say nothing."""


class RecentRequests:
    """Counts the requests of the last seconds, and calls `end` once the first of the conditions comes true."""

    def __init__(self, conditions: Sequence[Threshold]) -> None:
        self.verdict: Verdict | None = None
        """The condition that came true, and what was measured then."""
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
        """Count what a process has counted."""
        self._now.merge(metrics)

    def judge(self) -> None:
        """Begin another second, and hold those before it against the conditions."""
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
        """Judge every second meanwhile."""

        def judge() -> float:
            self.judge()
            return EVERY_S

        with every(judge, EVERY_S):
            yield


def watch_recent(conditions: Sequence[Threshold]) -> RecentRequests | None:
    """Return what counts recent requests; None where there is no condition, so that counting them costs nothing."""
    return RecentRequests(conditions) if conditions else None
