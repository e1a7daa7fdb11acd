"""The course of a run as points with figures, for charts over time."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.intervals import Interval

MOST = 1000
"""The most points that a screen has room for; after it, each doubling of the time adds half as many."""
WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""The possible seconds per point, for runs of any length."""
PERCENTILES = (50.0, 90.0, 99.0)
FIGURES = ("p50", "p90", "p99", "max")
"""The figures of a point's times, in milliseconds."""


class Point(NamedTuple):
    """The requests answered in some seconds of a run; the figures are None without any."""

    start_s: float
    length_s: float
    outcomes: Mapping[Outcome, int]
    latency_ms: tuple[float, ...] | None = None
    service_ms: tuple[float, ...] | None = None

    @property
    def end_s(self) -> float:
        """The time of its end."""
        return self.start_s + self.length_s


def choose_width(length_s: float | None) -> float:
    """Return how many seconds a point stands for; the fewest if the length of the run is unknown."""
    fitting = (width for width in WIDTHS_S if (length_s or 0.0) <= width * MOST)
    return float(next(fitting, WIDTHS_S[-1]))


class Timeline:
    """Keeps the figures of each `width_s` of a run, whose intervals arrive in order.

    After `most` points the next ones are twice as wide, and again after half as many more. The last two can still grow:
    the one being filled, and the one before it, which absorbs a short one at the end.
    """

    def __init__(self, width_s: float = WIDTHS_S[0], most: int = MOST) -> None:
        self.width_s = width_s
        self._more = max(1, most // 2)
        self._doubles_at = most
        self._points: list[Point] = []
        self._growing: list[Interval] = []
        self._end_s = 0.0

    def add(self, interval: Interval) -> None:
        """Add an interval, whose histograms may be overwritten afterwards."""
        if interval.start_s < self._end_s:
            self._growing[-1] = self._growing[-1].merge(interval)
            return
        if len(self._points) + len(self._growing) >= self._doubles_at:
            self.width_s, self._doubles_at = 2 * self.width_s, self._doubles_at + self._more
        if len(self._growing) > 1:
            self._points.append(_summarize(self._growing.pop(0)))
        self._growing.append(_copy(interval))
        self._end_s = (interval.start_s // self.width_s + 1) * self.width_s

    def points(self) -> list[Point]:
        """Return all points in order; a time without responses is a point too, so that no line crosses it."""
        growing = self._growing
        if len(growing) > 1 and growing[1].length_s < self.width_s / 2:
            growing = [_copy(growing[0]).merge(growing[1])]
        return list(_fill_gaps([*self._points, *map(_summarize, growing)]))


def _copy(interval: Interval) -> Interval:
    return interval._replace(
        outcomes=copy(interval.outcomes), latency=copy(interval.latency), service=copy(interval.service)
    )


def _summarize(interval: Interval) -> Point:
    figures = _figures(interval.latency), _figures(interval.service)
    return Point(interval.start_s, interval.length_s, interval.outcomes, *figures)


def _figures(times: Histogram) -> tuple[float, ...] | None:
    return tuple(round(value * 1e3, 4) for value in (*times.at(*PERCENTILES), times.max_s)) if len(times) else None


def _fill_gaps(points: Sequence[Point]) -> Iterator[Point]:
    upto_s = 0.0
    for point in points:
        if (silent_s := point.start_s - upto_s) > point.length_s / 2:
            yield Point(upto_s, silent_s, {})
        yield point
        upto_s = point.end_s
