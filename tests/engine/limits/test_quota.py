"""Rolling windows: never more than the limit, and never less than it allows."""

import heapq
import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.engine.limits.estimate import Places, count_leaving
from bulkstop.engine.limits.quota import (
    DECREASE,
    AllOf,
    EvenPacer,
    NoQuota,
    RollingWindow,
    min_duration_s,
)
from bulkstop.model import Limit

# Eighths of a second are exact in binary, so "exactly at the end of the window" can be hit and is.
eighths = st.integers(0, 64).map(lambda n: n / 8)
limits = st.lists(
    st.builds(Limit, st.integers(1, 8), st.integers(1, 96).map(lambda n: n / 8)),
    min_size=1,
    max_size=3,
)
calls = st.lists(st.tuples(eighths | st.just(0.0), eighths | st.just(0.0), st.integers(0, 4)), min_size=1, max_size=60)


def arrivals(given_limits: Sequence[Limit], wishes: Sequence[tuple[float, float, int]]) -> list[float]:
    """Make calls as early as the window lets them leave; each arrives at some quarter of its way there and back."""
    window, now, answers, seen = RollingWindow(given_limits), 0.0, list[float](), list[float]()
    for gap_s, latency_s, quarter in wishes:
        due = now + gap_s
        while max(due, window.ready_at()) > now or (answers and answers[0] <= now):
            step = max(due, window.ready_at())
            if answers and answers[0] <= step:
                now = max(now, heapq.heappop(answers))
                window.answered(now, now, throttled=False)
            else:
                now = step
        window.take(now)
        seen.append(now + latency_s * quarter / 4)
        heapq.heappush(answers, now + latency_s)
    return sorted(seen)


@given(limits, calls)
def test_no_window_of_the_server_ever_holds_more_than_the_limit(
    given_limits: list[Limit], wishes: list[tuple[float, float, int]]
) -> None:
    """Wherever between leaving and answer the server counts a call, no rolling window is ever overfull."""
    seen = arrivals(given_limits, wishes)
    for limit in given_limits:
        for earlier, later in zip(seen, seen[limit.calls :], strict=False):
            assert later - earlier >= limit.window_s


@given(limits, st.integers(1, 60))
def test_calls_answered_at_once_leave_as_early_as_the_limits_allow(given_limits: list[Limit], count: int) -> None:
    """Without latency no call could have left any earlier, so the throughput is the greatest possible."""
    left = arrivals(given_limits, [(0.0, 0.0, 0)] * count)
    for number, at in enumerate(left):
        bounds = [left[number - limit.calls] + limit.window_s for limit in given_limits if number >= limit.calls]
        assert at == max(bounds, default=0.0)


@given(limits, st.integers(1, 60))
@example([Limit(7, 3.625)], 8)
def test_least_s_is_what_a_run_without_latency_takes(given_limits: list[Limit], count: int) -> None:
    """The duration in the plan is exact, with one window as with several."""
    assert min_duration_s(count, given_limits) == arrivals(given_limits, [(0.0, 0.0, 0)] * count)[-1]


@pytest.mark.parametrize(
    ("count", "given_limits", "seconds"),
    [
        (0, [Limit(60, 60)], 0.0),
        (1, [Limit(60, 60)], 0.0),
        (60, [Limit(60, 60)], 0.0),
        (61, [Limit(60, 60)], 60.0),
        (1_000, [Limit(60, 60)], 960.0),
        (10_000, [Limit(60, 60)], 9_960.0),
        (10_000, [], 0.0),
        # 1,800 in the first hour; then the minute's limit counts again, from the full hour on.
        (1_801, [Limit(60, 60), Limit(1_800, 3_600)], 3_600.0),
        (3_600, [Limit(60, 60), Limit(1_800, 3_600)], 3_600.0 + 29 * 60),
    ],
)
def test_least_s_of_known_cases(count: int, given_limits: list[Limit], seconds: float) -> None:
    """The least time of a list can be checked by hand."""
    assert min_duration_s(count, given_limits) == seconds


def test_a_call_without_an_answer_keeps_its_place() -> None:
    """While every place is in flight, only an answer frees one, however long that takes."""
    window = RollingWindow([Limit(2, 10)])
    window.take(0.0)
    window.take(0.0)
    assert window.ready_at() == math.inf
    window.answered(500.0, 0.0, throttled=False)
    assert window.ready_at() == 510.0


def test_the_tightest_window_decides() -> None:
    """With several windows a call leaves when the last of them has a place."""
    window = RollingWindow([Limit(1, 1), Limit(2, 100)])
    for now in (0.0, 1.0):
        assert window.ready_at() <= now
        window.take(now)
        window.answered(now, now, throttled=False)
    assert window.ready_at() == 100.0


def test_a_bucket_would_let_twice_as_many_through() -> None:
    """After a minute without calls still only 60 leave at once, and the next 60 a whole minute later."""
    seen = arrivals([Limit(60, 60)], [(60.0, 0.0, 0)] + [(0.0, 0.0, 0)] * 119)
    assert seen == [60.0] * 60 + [120.0] * 60


def test_without_a_quota_nothing_waits() -> None:
    """Without a quota there is no limit, after any number of calls."""
    quota = NoQuota()
    for _ in range(1_000):
        quota.take(5.0)
    quota.answered(6.0, 5.0, throttled=False)
    assert quota.ready_at() == -math.inf


def test_a_throttled_window_shrinks_once_an_event_and_recovers() -> None:
    """Calls refused together shrink the limit once, a new refusal again; untroubled windows bring it back."""
    window = RollingWindow([Limit(10, 60)])
    for _ in range(10):
        window.take(0.0)
    for _ in range(10):
        window.answered(1.0, 0.0, throttled=True)
    assert window.share == DECREASE
    window.take(61.0)
    window.answered(61.0, 61.0, throttled=True)
    assert window.share == pytest.approx(DECREASE**2)
    for minute in range(2, 10):
        window.take(minute * 61.0)
        window.answered(minute * 61.0, minute * 61.0, throttled=False)
    assert window.share == 1.0


def test_a_shrunk_window_lets_fewer_through() -> None:
    """Seven of ten leave in the window after a refusal, and never none."""
    window = RollingWindow([Limit(10, 60)])
    window.take(0.0)
    window.answered(0.0, 0.0, throttled=True)
    left = 0
    while window.ready_at() <= 61.0:
        window.take(61.0)
        left += 1
    assert left == 7
    for _ in range(left):
        window.answered(61.0, 61.0, throttled=False)
    for second in range(100, 200):
        window.take(second)
        window.answered(second, second, throttled=True)
    assert window.ready_at() < math.inf


def test_even_spreads_and_forgets_lateness() -> None:
    """Calls leave an interval apart; after a pause there is no burst to catch up."""
    even = EvenPacer([Limit(60, 60), Limit(30, 60)])
    even.take(0.0)
    assert even.ready_at() == 2.0
    even.take(100.0)
    assert even.ready_at() == 102.0
    even.give_back(100.0)
    assert even.ready_at() == 2.0
    even.give_back(0.0)
    assert even.ready_at() == 2.0


def test_all_of_waits_for_each() -> None:
    """The strictest of several limits decides, and a call that is not sent frees its place in each."""
    both = AllOf([RollingWindow([Limit(1, 60)]), EvenPacer([Limit(1, 5)])])
    both.take(0.0)
    assert both.ready_at() == math.inf
    both.give_back(0.0)
    assert both.ready_at() == -math.inf
    both.take(0.0)
    both.answered(1.0, 0.0, throttled=False)
    assert both.ready_at() == 61.0


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 60), (59.9, 60), (60.0, 120), (3_600.0, 1_000)])
def test_fit_in_is_what_least_s_allows(seconds: float, calls: int) -> None:
    """The calls that fit are those that can be sent in that time, at most all."""
    assert count_leaving(seconds, 1_000, [Places(60, 60)]) == calls
