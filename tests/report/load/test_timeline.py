"""The timeline of a run: bounded, and its figures are those of the requests."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.intervals import Intervals
from bulkstop.report.load.timeline import MOST, Point, Timeline, choose_width
from tests.loads import interval


def spans(points: list[Point]) -> list[tuple[float, float, int]]:
    """Return when points begin and end, and how many requests they have."""
    return [(point.start_s, point.end_s, sum(point.outcomes.values())) for point in points]


def longest_ms(point: Point) -> float | None:
    """Return the longest latency of a point."""
    return point.latency_ms[-1] if point.latency_ms else None


def test_points_are_kept() -> None:
    """A point holds what its interval held, also when that is used again; a time without answers is a point as well."""
    timeline = Timeline()
    intervals = Intervals(timeline.add)
    for at, latency_s in ((0.5, 0.1), (1.5, 0.2), (1.6, 3.00001), (3.2, 0.4)):
        intervals.add(at, Outcome.STOPPED, latency_s, latency_s / 2)
    intervals.close(4.0)
    points = timeline.points()
    assert spans(points) == [(0.0, 1.0, 1), (1.0, 2.0, 2), (2.0, 3.0, 0), (3.0, 4.0, 1)]
    assert points[1].latency_ms == pytest.approx((200, 3000, 3000, 3000.01), rel=1e-3)
    assert points[1].service_ms == pytest.approx((100, 1500, 1500, 1500.005), rel=1e-3)
    assert (points[1].latency_ms[-1], points[1].outcomes) == (3000.01, {Outcome.STOPPED: 2})  # type: ignore[index]
    assert (points[2].latency_ms, points[2].service_ms) == (None, None)


def test_short_end() -> None:
    """A last point that is much shorter than the others belongs to the one before it: its rate would be chance."""
    timeline = Timeline()
    for each in (interval(0.0, 0.1), interval(1.0, 0.1), interval(2.0, 0.7, length_s=0.01)):
        timeline.add(each)
    points = timeline.points()
    assert spans(points) == [(0.0, 1.0, 1), (1.0, 2.01, 2)]
    assert longest_ms(points[-1]) == 700
    assert spans(timeline.points()) == spans(points)  # to ask changes nothing
    timeline.add(interval(2.0, 0.8))
    assert spans(timeline.points()) == [(0.0, 1.0, 1), (1.0, 2.0, 1), (2.0, 3.0, 2)]


@settings(max_examples=40)
@given(
    places=st.lists(st.integers(0, 60), min_size=1, max_size=60, unique=True).map(sorted),
    most=st.integers(1, 8),
    width_s=st.sampled_from([1, 2, 5]),
)
def test_bounded_and_exact(places: list[int], most: int, width_s: int) -> None:
    """Points get wider and not many; none of the requests is lost, and each point has the figures of its own."""
    timeline = Timeline(width_s, most)
    for place in places:
        timeline.add(interval(float(place), 0.001 * (place + 1), 0.002))
    points = [point for point in timeline.points() if point.outcomes]
    assert sum(point.outcomes[Outcome.STOPPED] for point in points) == 2 * len(places)
    assert len(points) <= most + max(1, most // 2) * len(bin(60 // most))
    for point in points:
        times = Histogram()
        for place in places:
            if point.start_s <= place < point.end_s:
                times.add(interval(float(place), 0.001 * (place + 1), 0.002).latency)
        assert longest_ms(point) == times.max_us / 1e3
        assert point.latency_ms[0] == pytest.approx(times.at(50)[0] * 1e3, abs=1e-4)  # type: ignore[index]
    assert all(one.end_s <= other.start_s for one, other in pairwise(points))
    assert (points[0].start_s, points[-1].end_s) == (places[0], places[-1] + 1)


def test_length_that_nobody_knew() -> None:
    """Each time that a run takes twice as long there are half as many more points, and no more."""
    timeline, second = Timeline(most=20), interval(0.0, 0.1)
    for number in range(640):
        timeline.add(second._replace(start_s=float(number)))
    assert (len(timeline.points()), timeline.width_s) == (20 + 5 * 10, 32)


@pytest.mark.parametrize(
    ("length_s", "width_s"), [(None, 1), (0.5, 1), (MOST, 1), (MOST + 1, 2), (3600, 5), (86_400, 120), (1e9, 3600)]
)
def test_width(length_s: float | None, width_s: float) -> None:
    """A point covers as few seconds as the length of the run allows."""
    assert choose_width(length_s) == width_s
