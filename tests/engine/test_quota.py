"""Rolling windows: never more than the limit, and never less than it allows."""

import heapq
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.quota import NoQuota, RollingWindow, least_s
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
                window.give_back(now)
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
def test_least_s_is_what_a_run_without_latency_takes(given_limits: list[Limit], count: int) -> None:
    """The duration in the plan is exact, with one window as with several."""
    assert least_s(count, given_limits) == arrivals(given_limits, [(0.0, 0.0, 0)] * count)[-1]


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
    assert least_s(count, given_limits) == seconds


def test_a_call_without_an_answer_keeps_its_place() -> None:
    """While every place is in flight, only an answer frees one, however long that takes."""
    window = RollingWindow([Limit(2, 10)])
    window.take(0.0)
    window.take(0.0)
    assert window.ready_at() == math.inf
    window.give_back(500.0)
    assert window.ready_at() == 510.0


def test_the_tightest_window_decides() -> None:
    """With several windows a call leaves when the last of them has a place."""
    window = RollingWindow([Limit(1, 1), Limit(2, 100)])
    for now in (0.0, 1.0):
        assert window.ready_at() <= now
        window.take(now)
        window.give_back(now)
    assert window.ready_at() == 100.0


def test_a_bucket_would_let_twice_as_many_through() -> None:
    """After a minute without calls still only 60 leave at once, and the next 60 a whole minute later."""
    seen = arrivals([Limit(60, 60)], [(60.0, 0.0, 0)] + [(0.0, 0.0, 0)] * 119)
    assert seen == [60.0] * 60 + [120.0] * 60


def test_without_a_quota_nothing_waits() -> None:
    """No quota is the absence of every limit, whatever was taken."""
    quota = NoQuota()
    for _ in range(1_000):
        quota.take(5.0)
    quota.give_back(6.0)
    assert quota.ready_at() == -math.inf
