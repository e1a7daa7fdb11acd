"""The timeline of a run: bounded, and exact however often neighbours were joined."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import Histogram
from bulkstop.report.load.intervals import Intervals
from bulkstop.report.load.timeline import MOST, Point, Timeline, Times, choose_width
from tests.loads import interval


def spans(points: list[Point]) -> list[tuple[float, float, int]]:
    """Return when points begin and end, and how many requests they have."""
    return [(point.start_s, point.end_s, point.requests) for point in points]


def test_points_are_kept() -> None:
    """A point holds what its interval held, also when the interval is used again for the next second."""
    timeline = Timeline()
    intervals = Intervals(timeline.add)
    for at, latency_s in ((0.5, 0.1), (1.5, 0.2), (1.6, 3.00001), (3.2, 0.4)):
        intervals.add(at, Outcome.STOPPED, latency_s, latency_s / 2)
    intervals.close(4.0)
    points = timeline.points()
    assert spans(points) == [(0.0, 1.0, 1), (1.0, 2.0, 2), (3.0, 4.0, 1)]
    assert points[1].latency.histogram().max_s == 3.00001
    assert points[1].service.histogram().max_s == 1.500005
    assert points[1].outcomes == {Outcome.STOPPED: 2}


def test_of_several_processes() -> None:
    """Intervals of the same second add up, in whatever order they come."""
    timeline = Timeline()
    for each in (interval(1.0, 0.1), interval(0.0, 0.2), interval(1.0, 0.5, 0.6), interval(0.0, 0.3)):
        timeline.add(each)
    assert spans(timeline.points()) == [(0.0, 1.0, 2), (1.0, 2.0, 3)]
    assert timeline.points()[1].latency.histogram().max_s == 0.6


def test_short_end() -> None:
    """A last point that is much shorter than the others belongs to the one before it: its rate would be chance."""
    timeline = Timeline()
    for each in (interval(0.0, 0.1), interval(1.0, 0.1), interval(2.0, 0.7, length_s=0.01)):
        timeline.add(each)
    points = timeline.points()
    assert spans(points) == [(0.0, 1.0, 1), (1.0, 2.01, 2)]
    assert points[-1].latency.histogram().max_s == 0.7
    assert spans(timeline.points()) == spans(points)  # to ask changes nothing


@settings(max_examples=40)
@given(places=st.lists(st.integers(0, 60), min_size=1, max_size=60, unique=True).map(sorted), most=st.integers(1, 8))
def test_bounded_and_exact(places: list[int], most: int) -> None:
    """There are never more points than allowed, and none of what they hold is lost or counted twice."""
    timeline, whole = Timeline(most=most), Histogram()
    for place in places:
        timeline.add(interval(float(place), 0.001 * (place + 1), 0.002))
        whole.add(interval(float(place), 0.001 * (place + 1), 0.002).latency)
    points = timeline.points()
    assert len(points) <= most
    assert sum(point.requests for point in points) == 2 * len(places)
    merged = Histogram()
    for point in points:
        merged.add(point.latency.histogram())
    assert (merged.encode(), merged.max_us) == (whole.encode(), whole.max_us)
    ends = [edge for point in points for edge in (point.start_s, point.end_s)]
    assert ends == sorted(ends)
    assert ends[0] == places[0]
    assert ends[-1] == places[-1] + 1


def test_joining_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a run, a second of it joins at most two pairs: to join all at once would hold requests up."""
    joined = 0

    def with_(times: Times, other: Times) -> Times:
        nonlocal joined
        joined += 1
        return times

    monkeypatch.setattr(Times, "with_", with_)
    timeline, packed = Timeline(most=20), interval(0.0, 0.1)
    for second in range(200):
        joined = 0
        timeline.add(packed._replace(start_s=float(second)))
        assert joined <= 2 * 2  # of latency and service each
    assert len(timeline.points()) <= 20


@pytest.mark.parametrize(
    ("length_s", "width_s"), [(None, 1), (0.5, 1), (MOST, 1), (MOST + 1, 2), (3600, 5), (86_400, 120), (1e9, 3600)]
)
def test_width(length_s: float | None, width_s: float) -> None:
    """A point stands for as few seconds as a run of that length allows."""
    assert choose_width(length_s) == width_s
