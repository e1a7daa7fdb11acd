"""Which failure is tried again, and how long it waits."""

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, THROTTLES, Rest, Retry, RetryAt, Settle, Tries
from bulkstop.model import Attempt, Outcome, RetryHint
from tests.engine.parts import BUSY, CLAIM, RENEWED, STOPPED, throttled

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
    """A stated wait, within the cap, is the minimum; the other waits still grow from event to event."""
    rest_s = Retry().pause_s(event, throttled(retry_after_s), paced=False)
    least_s = min(retry_after_s or 0.0, 120.0)
    assert least_s <= rest_s <= max(least_s, ceiling_s(event))


@pytest.mark.parametrize("stated_s", [None, 0.0, 0.001, 0.3])
def test_a_tiny_stated_wait_does_not_end_a_call(stated_s: float | None) -> None:
    """All refusals that end a call as throttled take minutes, also where each states a millisecond to wait."""
    random.seed(3)
    rests_s = [Retry().pause_s(event, throttled(stated_s), paced=False) for event in range(1, THROTTLES + 1)]
    assert sum(rests_s) > 120


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


# --- what follows a try -----------------------------------------------------------------------------------------------

NOW = 100.0
GONE = Attempt(Outcome.NOT_FOUND, http_status=404)


@pytest.mark.parametrize("attempt", [STOPPED, GONE, CLAIM])
def test_what_no_try_changes_is_settled(attempt: Attempt) -> None:
    """An answer that another try cannot change ends the call after this attempt."""
    assert Tries().after(attempt, NOW, Retry()) == Settle(Tries(attempts=1))


def test_a_failure_that_may_pass() -> None:
    """It is tried again after a back-off, or the wait that is stated, until the attempts are used up."""
    random.seed(1)
    first = Tries().after(BUSY, NOW, Retry(2))
    assert isinstance(first, RetryAt)
    assert NOW <= first.at <= NOW + BACKOFF_BASE_S
    assert first.tries == Tries(attempts=1)
    assert Tries().after(BUSY._replace(retry_after_s=9.0), NOW, Retry(2)) == RetryAt(Tries(attempts=1), NOW + 9.0)
    assert first.tries.after(BUSY, NOW, Retry(2)) == Settle(Tries(attempts=2))


def test_a_renewed_token() -> None:
    """It is tried once more at once, which costs no attempt; a second refusal, or one that may not be renewed, ends."""
    step = Tries(attempts=1).after(RENEWED, NOW, Retry())
    assert step == RetryAt(Tries(attempts=1, is_renewed=True), NOW)
    assert step.tries.after(RENEWED, NOW, Retry()) == Settle(Tries(attempts=2, is_renewed=True))
    assert Tries().after(RENEWED, NOW, Retry(), may_renew=False) == Settle(Tries(attempts=1))


def test_a_throttled_call() -> None:
    """The account rests as long as is stated and then the call is tried again; that costs no attempt."""
    assert Tries(attempts=1).after(throttled(7.0), NOW, Retry(1), event=1) == Rest(Tries(1, throttles=1), NOW + 7.0)


@pytest.mark.parametrize(("event", "is_paced"), [(0, False), (3, True)])
def test_no_rest_of_its_own(event: int, is_paced: bool) -> None:
    """Without a stated wait, a refusal of the same event adds no wait, nor does one that finds an account's limit."""
    assert Tries().after(throttled(), NOW, Retry(), event=event, is_paced=is_paced) == Rest(Tries(throttles=1), NOW)


def test_throttled_for_ever() -> None:
    """The last of too many refusals ends the call, and the account still backs off."""
    step: Settle | RetryAt | Rest = Rest(Tries(), NOW)
    for _ in range(THROTTLES):
        assert isinstance(step, Rest)
        step = step.tries.after(throttled(7.0), NOW, Retry())
    assert step == Settle(Tries(throttles=THROTTLES), NOW + 7.0)


def test_reconsidered() -> None:
    """The decision of a list about the last attempt does not count that attempt twice."""
    runs = CLAIM._replace(again=RetryHint.LATER, retry_after_s=3.0)
    assert Tries(attempts=1).reconsider(runs, NOW, Retry(2)) == RetryAt(Tries(attempts=1), NOW + 3.0)
    assert Tries(attempts=2).reconsider(runs, NOW, Retry(2)) == Settle(Tries(attempts=2))
