"""The remaining calls in responses set the pace: models of services in virtual time."""

import heapq
import itertools
import math
from typing import NamedTuple, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.pacing.auto import AutoPacer
from bulkstop.engine.pacing.headroom import DISTRUST_WINDOWS, SILENT_ANSWERS, Headroom
from bulkstop.model import Allowance, Limit

STATED = Limit(20, 5.0)
LATENCY_S = 0.1


class Service(Protocol):
    """Counts a call, and tells whether it lets it through, and what it says of its limit."""

    def __call__(self, at: float) -> tuple[bool, Allowance | None]:
        """Take a call that arrives now."""
        ...


class Bucket:
    """The generic cell rate algorithm at the stated rate: so many at once; its time is until all is as at first."""

    def __init__(self, depth: int) -> None:
        self._depth, self._interval_s = depth, STATED.window_s / STATED.calls
        self._full_at = -math.inf

    def __call__(self, at: float) -> tuple[bool, Allowance]:
        """Take a call."""
        full_at = max(self._full_at, at)
        is_let_through = full_at - at <= (self._depth - 1) * self._interval_s + 1e-9
        self._full_at = full_at = full_at + self._interval_s if is_let_through else full_at
        used = math.ceil((full_at - at) / self._interval_s - 1e-9)
        return is_let_through, Allowance(max(0, self._depth - used), float(math.ceil(full_at - at)), self._depth)


class FixedWindow:
    """Counts anew when a window begins; each answer has what is left of it."""

    def __init__(self, calls: int, *, has_window: bool = True) -> None:
        self._calls, self._has_window = calls, has_window
        self._window, self._count = -1, 0

    def __call__(self, at: float) -> tuple[bool, Allowance]:
        """Take a call."""
        window = int((at + 2.0) // STATED.window_s)
        if window != self._window:
            self._window, self._count = window, 0
        is_let_through = self._count < self._calls
        self._count += is_let_through
        reset_s = float(math.ceil((window + 1) * STATED.window_s - at - 2.0))
        window_s = STATED.window_s if self._has_window else None
        return is_let_through, Allowance(self._calls - self._count, reset_s, self._calls, window_s)


class SlidingCounter:
    """Counts this window and a part of the last one, and says that all is free when this one ends."""

    def __init__(self) -> None:
        self._window, self._count, self._before = 0, 0, 0

    def __call__(self, at: float) -> tuple[bool, Allowance]:
        """Take a call."""
        window, passed = divmod((at + 2.0) / STATED.window_s, 1)
        if window != self._window:
            self._before = self._count if self._window == window - 1 else 0
            self._window, self._count = int(window), 0
        counted = self._before * (1 - passed) + self._count
        is_let_through = counted + 1 <= STATED.calls
        self._count += is_let_through
        left = max(0, int(STATED.calls - counted - is_let_through))
        return is_let_through, Allowance(left, float(math.ceil((1 - passed) * STATED.window_s)), STATED.calls)


class Course(NamedTuple):
    """The course of a run: when calls were sent, how many were refused, and when the last was admitted."""

    left: list[float]
    refused: int
    took_s: float


def run(service: Service, calls: int, *, most_s: float = math.inf, hears: bool = True) -> Course:
    """Send calls as a lane does until this many are admitted; an answer takes LATENCY_S."""
    pacer, now, order = AutoPacer([STATED]), 0.0, itertools.count()
    events: list[tuple[float, int, float, tuple[bool, Allowance | None] | None]] = []
    left: list[float] = []
    done = refused = 0
    while done < calls:
        ready_at = max(now, pacer.ready_at()) if len(left) < calls + refused else math.inf
        if not events or ready_at < events[0][0]:
            assert ready_at < math.inf, "nothing is in flight, and nothing may leave"
            now = ready_at
            pacer.take(now)
            left.append(now)
            heapq.heappush(events, (now + LATENCY_S / 2, next(order), now, None))
            continue
        now, _, sent_at, answer = heapq.heappop(events)
        if answer is None:
            heapq.heappush(events, (now + LATENCY_S / 2, next(order), sent_at, service(now)))
            continue
        is_let_through, said = answer
        pacer.note_allowance(now, sent_at, said if hears else None, throttled=not is_let_through, most_s=most_s)
        pacer.answered(now, sent_at, throttled=not is_let_through)
        done, refused = done + is_let_through, refused + (not is_let_through)
    return Course(left, refused, now)


@pytest.mark.parametrize("depth", [2, 5, 10])
def test_shape_is_learnt_without_a_refusal(depth: int) -> None:
    """A service that takes a small burst refuses nothing where it says what is left, and is used in full."""
    course = run(Bucket(depth), 240)
    assert course.refused == 0
    assert course.took_s <= 1.05 * (240 - depth) * STATED.window_s / STATED.calls
    assert run(Bucket(depth), 240, hears=False).refused > 0


@pytest.mark.parametrize("has_window", [True, False], ids=["window", "no-window"])
def test_lower_limit_is_kept(has_window: bool) -> None:
    """A limit that is half of what is stated is kept without a refusal, and used in full."""
    course = run(FixedWindow(10, has_window=has_window), 120)
    assert course.refused == 0
    assert course.took_s <= 1.05 * 12 * STATED.window_s
    assert run(FixedWindow(10), 120, hears=False).refused > 5


def test_policy_alone_is_kept() -> None:
    """A service that says only how it counts is kept to that, to the call: no window of it has more."""
    log: list[float] = []

    def service(at: float) -> tuple[bool, Allowance]:
        log.append(at)
        return sum(each > at - STATED.window_s for each in log) <= 10, Allowance(None, None, 10, STATED.window_s)

    assert run(service, 60).refused == 0


def test_places_that_come_back_one_by_one_are_used() -> None:
    """A sliding counter says that nothing is left until its window ends; it is found out that there is before."""
    course = run(SlidingCounter(), 240)
    assert course.took_s <= 1.25 * 11 * STATED.window_s
    assert course.refused <= 12


@pytest.mark.parametrize(
    "said",
    [
        None,
        Allowance(19, 5.0, 20, 5.0),
        Allowance(1000, 60.0, 1000, 60.0),
        Allowance(40, 5.0),
        Allowance(None, None, 200, 10.0),
    ],
)
def test_more_than_is_stated_changes_nothing(said: Allowance | None) -> None:
    """The stated quota is the most that is sent, and what a service says beyond that moves no call."""
    silent = run(lambda at: (True, None), 60)
    assert run(lambda at: (True, said), 60) == silent


@pytest.mark.parametrize(("most_s", "rests_until"), [(math.inf, 30.05), (12.0, 12.05)], ids=["whole", "cut"])
def test_nothing_leaves_before_the_reset(most_s: float, rests_until: float) -> None:
    """With nothing left a lane waits until the reset in the response, but no longer than allowed.

    Then one call probes.
    """
    answers = iter([Allowance(0, 30.0), *[None] * 9])
    course = run(lambda at: (True, next(answers)), 10, most_s=most_s)
    assert course.left[:2] == [0.0, pytest.approx(rests_until)]
    assert course.left[2] >= rests_until + LATENCY_S


def test_no_more_are_in_flight_than_remain() -> None:
    """Calls are sent while fewer are in flight than remain, for any order of their answers."""
    headroom = _noted(Allowance(3, 9.0), now=1.0)
    assert [headroom.ready_at(in_flight) for in_flight in range(4)] == [-math.inf] * 3 + [math.inf]
    _note(headroom, Allowance(5, 9.0), sent_at=0.5, now=1.1)  # it left before the other was answered: it counts less
    assert headroom.ready_at(3) == math.inf
    _note(headroom, Allowance(1, 9.0), sent_at=0.5, now=1.2)
    assert (headroom.ready_at(0), headroom.ready_at(1)) == (-math.inf, math.inf)
    _note(headroom, Allowance(5, 9.0), sent_at=1.3, now=1.4)
    assert headroom.ready_at(4) == -math.inf


def test_service_that_is_wrong_is_not_believed() -> None:
    """A service that refuses a call though it says that it takes more is not believed again for some windows."""
    headroom = _noted(Allowance(3, 9.0), now=1.0)
    _note(headroom, Allowance(3, 9.0), now=2.0, is_refused=True)
    assert headroom.ready_at(9) == -math.inf
    until = 2.0 + DISTRUST_WINDOWS * STATED.window_s
    _note(headroom, Allowance(0, 9.0), now=until - 0.1)
    assert headroom.ready_at(9) == -math.inf
    _note(headroom, Allowance(0, 9.0), now=until)
    assert headroom.ready_at(9) == math.inf


def test_what_is_not_said_again_is_forgotten() -> None:
    """A response without such headers used a place too; after several of them no call is delayed."""
    headroom = _noted(Allowance(3, 9.0, 4, 5.0), now=1.0)
    for number in range(1, SILENT_ANSWERS):
        _note(headroom, None, now=1.0 + number)
        assert (headroom.ready_at(2 - number), headroom.ready_at(3 - number)) == (-math.inf, math.inf)
        assert headroom.interval_s == 1.25
    _note(headroom, None, now=9.0)
    assert (headroom.ready_at(9), headroom.interval_s) == (-math.inf, 0.0)


def test_forecast_knows_the_rest() -> None:
    """When calls will leave is computed with the places of the service's own limit, and with its rest."""
    headroom = _noted(Allowance(0, 9.0, 4, 5.0), now=1.0)
    window, rest = headroom.places(2.0, LATENCY_S)
    assert (window.size, window.hold_s, len(window.taken_until)) == (4, 5.0 + LATENCY_S, 1)
    assert rest.taken_until == (9.95,)


COUNTS = st.none() | st.integers(0, 3) | st.integers(0, 10**9)
ALLOWANCES = st.none() | st.builds(
    Allowance,
    COUNTS,
    st.none() | st.floats(0, 1e8),
    st.none() | st.integers(1, 10**9),
    st.none() | st.floats(1e-9, 1e8, exclude_min=True),
)


@given(st.lists(st.tuples(ALLOWANCES, st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_no_wait_is_longer_than_it_may_be(answers: list[tuple[Allowance | None, bool, int]]) -> None:
    """For any response, without calls in flight the next call is sent within the longest wait, and none raises."""
    pacer, now = AutoPacer([STATED]), 0.0
    for said, throttled, more in answers:
        for _ in range(more + 1):
            pacer.take(now)
        for number in range(more + 1):
            sent_at, now = now, now + LATENCY_S
            pacer.note_allowance(now, sent_at, said, throttled=throttled and number == 0, most_s=7.0)
            pacer.answered(now, sent_at, throttled=throttled and number == 0)
        assert pacer._headroom.ready_at(0) <= now + 7.0
        assert pacer.ready_at() < math.inf


def _note(
    headroom: Headroom, said: Allowance | None, *, now: float, sent_at: float | None = None, is_refused: bool = False
) -> None:
    headroom.note(
        now,
        now - LATENCY_S if sent_at is None else sent_at,
        said,
        is_refused=is_refused,
        is_binding=True,
        in_flight=1,
        refill_s=None,
        most_s=math.inf,
    )


def _noted(said: Allowance, *, now: float) -> Headroom:
    headroom = Headroom([STATED])
    _note(headroom, said, now=now)
    return headroom
