"""Measures a short run of the search for a limit, and the pause after it; both can be ended."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

from bulkstop.engine.load.generator import Sample
from bulkstop.model import Outcome
from bulkstop.report.load.metrics import Metrics
from bulkstop.runs.load.backlog import Backlog
from bulkstop.runs.load.recorder import NOWHERE, Recorder


class Watch(Recorder):
    """Measures the requests of a short run, and ends it when too many are throttled."""

    def __init__(self, metrics: Metrics, most_throttled: float, length_s: float) -> None:
        super().__init__(metrics, NOWHERE)
        self.backlog = Backlog(length_s)
        self.cut_short = False
        self.wait_until, self.longest_wait_s = -math.inf, 0.0
        self.first_refused_s, self.last_refused_s, self.last_taken_s = math.inf, -math.inf, -math.inf
        """When throttled and accepted requests were sent, in seconds since the beginning."""
        self.end: Callable[[], None] = lambda: None
        self._most_throttled = most_throttled

    @property
    def throttled(self) -> int:
        """The number of throttled requests."""
        return self.metrics.outcomes[Outcome.THROTTLED]

    @property
    def taken(self) -> int:
        """The number of accepted requests."""
        return self.metrics.requests - self.throttled

    def note(self, sample: Sample) -> None:
        """Record a request."""
        super().note(sample)
        self.backlog.add(sample.intended_s, sample.ended_s - sample.intended_s)
        if sample.attempt.outcome is Outcome.THROTTLED:
            self.first_refused_s = min(self.first_refused_s, sample.started_s)
            self.last_refused_s = max(self.last_refused_s, sample.started_s)
        else:
            self.last_taken_s = max(self.last_taken_s, sample.started_s)
        retry_after_s = sample.attempt.retry_after_s
        if retry_after_s is not None:
            self.longest_wait_s = max(self.longest_wait_s, retry_after_s)
            self.wait_until = max(self.wait_until, time.monotonic() + retry_after_s)
        if not self.cut_short and self.throttled > self._most_throttled:
            self.cut_short = True
            self.end()


class Rest:
    """A pause with the methods of a pool, so that a signal can end it."""

    in_flight = 0

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self.drain = self.abort = self._over.set

    async def take(self, seconds: float) -> None:
        """Wait for some seconds, or until the pause is ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
