"""The measurements second by second, for a histogram log and a chart over time."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram

EVERY_S = 1.0


class Interval(NamedTuple):
    """The requests answered in some seconds; the histograms are valid only until the next interval."""

    start_s: float
    length_s: float
    outcomes: Counter[Outcome]
    latency: Histogram
    service: Histogram

    def merge(self, other: "Interval") -> "Interval":
        """Add another's counts to this one's, and return the interval of both."""
        self.outcomes.update(other.outcomes)
        self.latency.add(other.latency)
        self.service.add(other.service)
        start_s = min(self.start_s, other.start_s)
        end_s = max(self.start_s + self.length_s, other.start_s + other.length_s)
        return self._replace(start_s=start_s, length_s=end_s - start_s)


class Intervals:
    """Counts requests by the second of their response, and reports each second that had any when it is over."""

    def __init__(self, tell: Callable[[Interval], object], every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._number = 0
        self._now = Interval(0.0, every_s, Counter(), Histogram(), Histogram())

    def add(self, ended_s: float, outcome: Outcome, latency_s: float, service_s: float) -> None:
        """Count a request; responses must arrive in order."""
        if ended_s >= self._now.start_s + self._every_s:
            self.close(ended_s)
        self._now.outcomes[outcome] += 1
        self._now.latency.record(latency_s)
        self._now.service.record(service_s)

    def close(self, at_s: float) -> None:
        """Report the last counts up to `at_s`, and start the interval that contains it."""
        now = self._now
        if now.outcomes:
            self._tell(now._replace(length_s=min(self._every_s, max(at_s - now.start_s, 0.001))))
            now.outcomes.clear()
            now.latency.clear()
            now.service.clear()
        self._now = now._replace(start_s=at_s // self._every_s * self._every_s)


class IntervalMerger:
    """Merges the intervals of several concurrent generators; reports each, in order, when all have passed it."""

    def __init__(self, tell: Callable[[Interval], object], counting: int, every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._passed_s = [0.0] * counting
        self._waiting: dict[float, Interval] = {}

    def add(self, interval: Interval) -> None:
        """Add an interval and take over its histograms."""
        own = self._waiting.get(interval.start_s)
        self._waiting[interval.start_s] = interval if own is None else own.merge(interval)

    def passed(self, number: int, upto_s: float) -> None:
        """Note that generator `number`, from 0, has reported everything up to `upto_s`; inf if it reports no more."""
        self._passed_s[number] = upto_s
        last_s = min(self._passed_s) - self._every_s
        for start_s in sorted(start_s for start_s in self._waiting if start_s <= last_s):
            self._tell(self._waiting.pop(start_s))
