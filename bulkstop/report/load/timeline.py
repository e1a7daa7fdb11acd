"""What was measured over the whole of a run, in at most a thousand points: what charts over time are drawn from."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.intervals import Interval

MOST = 1000
"""More points than this no screen has room for."""
WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Of so many seconds a point is; a run of any length has one that fits."""


class Times(NamedTuple):
    """The durations of some requests, packed: a histogram as text, a hundredth of its size, and the longest."""

    text: str
    max_us: int

    @classmethod
    def of(cls, histogram: Histogram) -> "Times":
        """Pack a histogram."""
        return cls(histogram.encode(), histogram.max_us)

    def histogram(self) -> Histogram:
        """Unpack it: nothing is lost."""
        return Histogram.decode(self.text, self.max_us)

    def with_(self, other: "Times") -> "Times":
        """Count both, as exactly as if they had been one."""
        both = self.histogram()
        both.add(other.histogram())
        return Times.of(both)


class Point(NamedTuple):
    """The requests that were answered in some seconds of a run."""

    start_s: float
    length_s: float
    outcomes: Mapping[Outcome, int]
    latency: Times
    service: Times

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.start_s + self.length_s

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    def with_(self, other: "Point") -> "Point":
        """Return one point for both."""
        start_s = min(self.start_s, other.start_s)
        return Point(
            start_s,
            max(self.end_s, other.end_s) - start_s,
            Counter(self.outcomes) + Counter(other.outcomes),
            self.latency.with_(other.latency),
            self.service.with_(other.service),
        )


def choose_width(length_s: float | None) -> float:
    """Return how many seconds a point is to stand for; where the length of a run is not known, the fewest."""
    fitting = (width for width in WIDTHS_S if (length_s or 0.0) <= width * MOST)
    return float(next(fitting, WIDTHS_S[-1]))


class Timeline:
    """Keeps what was answered in each `width_s` of a run; intervals of several processes add up.

    With more than `most` points the width doubles. To join all neighbours takes seconds, in which nothing could be
    sent on time; so each interval that comes joins one pair.
    """

    def __init__(self, width_s: float = WIDTHS_S[0], most: int = MOST) -> None:
        self.width_s = width_s
        self._most = most
        self._points: dict[int, Point] = {}
        self._narrower: list[Point] = []

    def add(self, interval: Interval) -> None:
        """Count what an interval holds, which may be overwritten after it."""
        times = Times.of(interval.latency), Times.of(interval.service)
        self._put(Point(interval.start_s, interval.length_s, dict(interval.outcomes), *times))
        self._widen(2)
        if len(self._points) > self._most:
            self._widen(len(self._narrower))
            self._double()

    def points(self) -> list[Point]:
        """Return all points in their order; one at the end that is short belongs to the one before it."""
        self._widen(len(self._narrower))
        while len(self._points) > self._most:
            self._double()
            self._widen(len(self._narrower))
        found = [self._points[place] for place in sorted(self._points)]
        if len(found) > 1 and found[-1].length_s < self.width_s / 2:
            last = found.pop()
            found[-1] = found[-1].with_(last)
        return found

    def _double(self) -> None:
        self._narrower = [self._points[place] for place in sorted(self._points, reverse=True)]
        self._points = {}
        self.width_s *= 2

    def _put(self, point: Point) -> None:
        place = int(point.start_s // self.width_s)
        there = self._points.get(place)
        self._points[place] = point if there is None else there.with_(point)

    def _widen(self, number: int) -> None:
        for _ in range(min(number, len(self._narrower))):
            self._put(self._narrower.pop())
