"""What was measured, one second after the other: what a histogram log and a chart over time are made of."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram

EVERY_S = 1.0


class Interval(NamedTuple):
    """The requests that were answered in some seconds; the histograms hold good only until the next interval."""

    start_s: float
    length_s: float
    outcomes: Counter[Outcome]
    latency: Histogram
    service: Histogram

    def merge(self, other: "Interval") -> "Interval":
        """Add what another has counted to what this one holds; return the interval of both."""
        self.outcomes.update(other.outcomes)
        self.latency.add(other.latency)
        self.service.add(other.service)
        start_s = min(self.start_s, other.start_s)
        end_s = max(self.start_s + self.length_s, other.start_s + other.length_s)
        return self._replace(start_s=start_s, length_s=end_s - start_s)


class Intervals:
    """Counts requests by the second of their answer, and tells of each second that had any when it is over."""

    def __init__(self, tell: Callable[[Interval], object], every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._number = 0
        self._now = Interval(0.0, every_s, Counter(), Histogram(), Histogram())

    def add(self, ended_s: float, outcome: Outcome, latency_s: float, service_s: float) -> None:
        """Count a request; answers come in their order."""
        if ended_s >= self._now.start_s + self._every_s:
            self.close(ended_s)
        self._now.outcomes[outcome] += 1
        self._now.latency.record(latency_s)
        self._now.service.record(service_s)

    def close(self, at_s: float) -> None:
        """Tell of what was counted last, up to `at_s`, and begin the interval in which that is."""
        now = self._now
        if now.outcomes:
            self._tell(now._replace(length_s=min(self._every_s, max(at_s - now.start_s, 0.001))))
            now.outcomes.clear()
            now.latency.clear()
            now.service.clear()
        self._now = now._replace(start_s=at_s // self._every_s * self._every_s)


class IntervalMerger:
    """Adds up the intervals of several who count at the same time; tells of each when all have passed it, in order."""

    def __init__(self, tell: Callable[[Interval], object], counting: int, every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._passed_s = [0.0] * counting
        self._waiting: dict[float, Interval] = {}

    def add(self, interval: Interval) -> None:
        """Count what one of them has counted; its histograms are taken over."""
        own = self._waiting.get(interval.start_s)
        self._waiting[interval.start_s] = interval if own is None else own.merge(interval)

    def passed(self, number: int, upto_s: float) -> None:
        """Know that the one of this number, from 0, has told all up to then; inf when it will tell no more."""
        self._passed_s[number] = upto_s
        last_s = min(self._passed_s) - self._every_s
        for start_s in sorted(start_s for start_s in self._waiting if start_s <= last_s):
            self._tell(self._waiting.pop(start_s))
