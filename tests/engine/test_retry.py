"""Which failure is tried again, and how long it waits."""

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, Retry
from bulkstop.model import Attempt, Outcome, RetryHint
from tests.engine.parts import BUSY, throttled

outcomes = st.sampled_from(Outcome)
stated = st.none() | st.floats(0, 1e9)


def ceiling_s(tries: int) -> float:
    """Return the documented upper end of the n-th wait."""
    return float(min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** (tries - 1)))


@given(outcomes, st.integers(1, 50), stated)
def test_only_what_says_so_is_tried_again(outcome: Outcome, tries: int, retry_after_s: float | None) -> None:
    """`again` decides, not the outcome; NOW and THROTTLED cost no try, so nothing is decided about them here."""
    for again in RetryHint:
        delay_s = Retry(100).delay_s(tries, Attempt(outcome, again, retry_after_s=retry_after_s))
        assert (delay_s is not None) == (again is RetryHint.LATER)


@given(st.integers(1, 200))
def test_back_off_is_full_jitter(tries: int) -> None:
    """The n-th wait lies in 0 .. min(cap, base * 2^(n-1)), however large n is."""
    delay_s = Retry(1_000).delay_s(tries, BUSY)
    assert delay_s is not None
    assert 0 <= delay_s <= ceiling_s(tries)


@pytest.mark.parametrize("tries", [1, 3, 7, 12])
def test_the_jitter_fills_its_whole_range(tries: int) -> None:
    """Waits are spread from none to the ceiling, so that campaigns that failed together do not return together."""
    random.seed(7)
    parts = [(Retry(20).delay_s(tries, BUSY) or 0.0) / ceiling_s(tries) for _ in range(300)]
    assert min(parts) < 0.05
    assert max(parts) > 0.95
    assert 0.4 < sum(parts) / len(parts) < 0.6


@given(st.integers(1, 9), st.floats(0, 1e9), st.floats(0, 1e6))
def test_a_stated_wait_is_the_least_and_is_capped(tries: int, retry_after_s: float, cap_s: float) -> None:
    """Retry-After is never undercut, but one beyond the cap waits the cap: no server can park a run for hours."""
    delay_s = Retry(10, max_retry_after_s=cap_s).delay_s(tries, BUSY._replace(retry_after_s=retry_after_s))
    assert delay_s is not None
    least_s = min(retry_after_s, cap_s)
    assert least_s <= delay_s <= max(least_s, ceiling_s(tries))


@given(st.integers(1, 12), stated)
def test_tries_are_bounded(attempts: int, retry_after_s: float | None) -> None:
    """With N attempts there are N-1 waits and not one more."""
    retry, attempt = Retry(attempts), BUSY._replace(retry_after_s=retry_after_s)
    waits = [retry.delay_s(tries, attempt) for tries in range(1, attempts + 3)]
    assert [wait is not None for wait in waits] == [True] * (attempts - 1) + [False] * 3


@given(st.integers(1, 100), stated)
def test_a_throttled_account_rests_as_told(event: int, retry_after_s: float | None) -> None:
    """A stated wait is kept to, capped; without one the rest backs off from event to event."""
    rest_s = Retry().pause_s(event, throttled(retry_after_s), paced=False)
    if retry_after_s:
        assert rest_s == min(retry_after_s, 120.0)
    else:
        assert 0 <= rest_s <= ceiling_s(event)


def test_calls_refused_together_add_no_rest() -> None:
    """Without a stated wait only the first refusal of an event makes the account rest, and none makes a paced one."""
    assert Retry().pause_s(0, throttled(None), paced=False) == 0.0
    assert Retry().pause_s(5, throttled(None), paced=True) == 0.0


def test_a_run_without_failures_does_not_load_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is paid for by the first failure that deserves another try, not by every start."""
    monkeypatch.setitem(sys.modules, "tenacity", None)  # an import of it now fails
    assert Retry().delay_s(1, Attempt(Outcome.STOPPED)) is None
    with pytest.raises(ImportError):
        Retry().delay_s(1, BUSY)
