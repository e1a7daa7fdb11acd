"""When requests are due: pure arithmetic, so that each promise is tested for any rate and length."""

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.engine.load.arrivals import ClosedModel, OpenModel, Schedule, Stage, constant, ramp, spike, steps

rates = st.floats(0.1, 2000)
stretches = st.lists(
    st.builds(Stage, st.one_of(st.just(0.0), rates), st.one_of(st.just(0.0), rates), st.floats(0.1, 5)),
    min_size=1,
    max_size=4,
).filter(lambda found: sum(stretch.requests for stretch in found) > 0.01)


def due_before(schedule: list[Stage], t: float) -> float:
    """Sum the rate up over the time, stretch by stretch: what a schedule is defined by."""
    total = 0.0
    for stretch in schedule:
        part = min(stretch.length_s, max(0.0, t))
        slope = (stretch.to_rate - stretch.from_rate) / stretch.length_s
        total += stretch.from_rate * part + slope * part**2 / 2
        t -= stretch.length_s
    return total


def test_whole_numbers() -> None:
    """500/s for 30 s are 15,000 requests, and 100/s for 1.1 s are 110, though 1.1 is no binary fraction."""
    assert len(constant(500, 30)) == 15_000
    assert len(constant(100, 1.1)) == 110
    assert len(ramp(10, 1000, 20)) == 10_100
    assert len(steps([100, 200, 400], 20)) == 14_000


@given(parts=stretches)
@example([Stage(0.0, 100.0, 1.1), Stage(0.0, 0.0, 1.0)])  # 55.00000000000001 requests, then none
def test_any_shape(parts: list[Stage]) -> None:
    """Times begin at 0 or later, never go back, end with the stretches, and each is when the rate has come to n."""
    schedule = Schedule(parts)
    times = list(schedule)
    end_s = sum(part.length_s for part in parts)
    assert times == [schedule.at(n) for n in range(len(schedule))]
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    assert times[0] >= 0
    assert times[-1] <= end_s * 1.000001
    assert schedule.length_s == pytest.approx(end_s)
    for n in range(0, len(times), max(1, len(times) // 50)):
        assert due_before(parts, times[n]) == pytest.approx(n, rel=1e-6, abs=1e-4)
    assert len(times) == math.ceil(sum(part.requests for part in parts) - 1e-6)


@given(parts=stretches, share=st.floats(0, 1))
def test_count_ends_it(parts: list[Stage], share: float) -> None:
    """A number of requests ends a schedule earlier, and changes none of its times."""
    whole = Schedule(parts)
    count = max(1, int(share * len(whole)))
    cut = Schedule(parts, count)
    assert list(cut) == list(whole)[:count]
    assert cut.length_s <= whole.length_s


def test_count_alone() -> None:
    """A number of requests is enough to end a constant rate, or to say how long a ramp takes."""
    assert constant(10, count=25).length_s == pytest.approx(2.5)
    rising = ramp(0, 100, count=500)
    assert len(rising) == 500
    assert rising.length_s == pytest.approx(10)


@pytest.mark.parametrize(
    ("schedule", "course"),
    [
        (constant(10, 5), [(0, 10), (5, 10)]),
        (ramp(10, 1000, 20), [(0, 10), (20, 1000)]),
        (ramp(1000, 0, 2), [(0, 1000), (2, 0)]),
        (ramp(10, 50, 4.0, count=40), [(0, 10), (2, 30)]),
        (steps([100, 0, 400], 2), [(0, 100), (2, 100), (2, 0), (4, 0), (4, 400), (6, 400)]),
        (spike(100, 1000, 10), [(0, 100), (4, 100), (4, 1000), (6, 1000), (6, 100), (10, 100)]),
        (spike(100, 1000, 10, 8), [(0, 100), (1, 100), (1, 1000), (9, 1000), (9, 100), (10, 100)]),
    ],
)
def test_course(schedule: Schedule, course: list[tuple[float, float]]) -> None:
    """A rate is constant, rises, falls to zero, changes in steps or jumps in the middle, and ends with the schedule."""
    assert list(itertools.chain(*schedule.course)) == pytest.approx(list(itertools.chain(*course)))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: constant(10), "never end"),
        (lambda: constant(0, 10), "nothing is sent"),
        (lambda: constant(1, 0.0), "nothing is sent"),
        (lambda: ramp(10, 20), "an end"),
        (lambda: ramp(0, 0, 10), "nothing is sent"),
        (lambda: spike(1, 10, 5, 6), "longer than the whole"),
        (lambda: Schedule([Stage(-1, 10, 5)]), "below zero"),
    ],
)
def test_no_schedule(make: object, why: str) -> None:
    """A schedule that is empty or endless is refused."""
    assert callable(make)
    with pytest.raises(ValueError, match=why):
        make()


@given(rate=rates, late_s=st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_lateness_is_remembered(rate: float, late_s: list[float]) -> None:
    """Late requests do not move later ones: each has its own time, start + n/rate."""
    arrivals = OpenModel(constant(rate, count=len(late_s)))
    arrivals.begin(100.0)
    taken = [arrivals.take(arrivals.due_at + late) for late in late_s]
    assert taken == pytest.approx([100 + n / rate for n in range(len(late_s))])
    assert arrivals.due_at == math.inf


@pytest.mark.parametrize("arrivals", [OpenModel(constant(1, 1)), ClosedModel(1)])
def test_nothing_is_due_before_the_beginning(arrivals: OpenModel | ClosedModel) -> None:
    """Before the beginning no request is sent."""
    assert arrivals.due_at == math.inf


def test_closed_model() -> None:
    """Without a schedule a request is due whenever it is requested, until the number is reached."""
    arrivals, endless, none = ClosedModel(2), ClosedModel(), ClosedModel(0)
    for each in (arrivals, endless, none):
        each.begin(5.0)
    assert (arrivals.due_at, arrivals.take(7.0)) == (5.0, 7.0)
    assert (arrivals.due_at, arrivals.take(9.5)) == (5.0, 9.5)
    assert [endless.take(now) for now in range(1000)] == list(range(1000))
    assert (arrivals.due_at, endless.due_at, none.due_at) == (math.inf, 5.0, math.inf)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_divided(processes: int) -> None:
    """The requests of a schedule, divided between several, are all of them, each once and at its time."""
    schedule = ramp(10, 100, 2)
    parts = [list(schedule.every(first, processes)) for first in range(processes)]
    assert sorted(each for part in parts for each in part) == list(schedule)
    assert {len(part) for part in parts} <= {len(schedule) // processes, len(schedule) // processes + 1}


@given(rate=st.floats(1, 500), length_s=st.floats(1, 20), step=st.integers(1, 4))
def test_at_random(rate: float, length_s: float, step: int) -> None:
    """At random times as many are due in the same time, in order and the same in each run; processes divide them."""
    even = constant(rate, length_s)
    schedule = even.at_random()
    times_s = list(schedule)
    assert len(times_s) == len(schedule) == len(even)
    assert times_s == sorted(times_s) == list(even.at_random())
    assert 0 <= times_s[0] <= times_s[-1] <= length_s + 1e-6
    assert sorted(t for first in range(step) for t in schedule.every(first, step)) == times_s


def test_random_times_follow_the_rate() -> None:
    """Gaps vary as much as their mean, as those of callers who know nothing of each other; a ramp stays a ramp."""
    times_s = list(constant(1000, 20).at_random())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.001, rel=0.01)
    assert math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) == pytest.approx(mean, rel=0.05)
    rising = list(ramp(0, 1000, 20).at_random())
    assert sum(t < 10 for t in rising) == pytest.approx(len(rising) / 4, rel=0.05)


def test_overdue() -> None:
    """Due requests that nobody took are returned once; a closed model has none."""
    arrivals = OpenModel(iter([0.0, 1.0, 2.0, 3.0]))
    arrivals.begin(10.0)
    arrivals.take(10.0)
    assert arrivals.overdue(12.0) == [11.0, 12.0]
    assert arrivals.due_at == 13.0
    closed = ClosedModel(5)
    closed.begin(10.0)
    assert closed.overdue(12.0) == []
