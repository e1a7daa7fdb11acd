"""What follows a try: every kind of answer, at a time that is an argument."""

import random

import pytest

from bulkstop.engine.retry import BACKOFF_BASE_S, THROTTLES, Rest, Retry, RetryAt, Settle, Tries
from bulkstop.model import Attempt, Outcome, RetryHint
from tests.engine.parts import BUSY, CLAIM, RENEWED, STOPPED, throttled

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
    """With nothing stated a refusal of the same event adds no rest, nor does one that an account finds its limit by."""
    assert Tries().after(throttled(), NOW, Retry(), event=event, is_paced=is_paced) == Rest(Tries(throttles=1), NOW)


def test_throttled_for_ever() -> None:
    """The last refusal of too many ends the call, and the account rests all the same."""
    step: Settle | RetryAt | Rest = Rest(Tries(), NOW)
    for _ in range(THROTTLES):
        assert isinstance(step, Rest)
        step = step.tries.after(throttled(7.0), NOW, Retry())
    assert step == Settle(Tries(throttles=THROTTLES), NOW + 7.0)


def test_reconsidered() -> None:
    """What a list makes of the last try is decided without counting that one twice."""
    runs = CLAIM._replace(again=RetryHint.LATER, retry_after_s=3.0)
    assert Tries(attempts=1).reconsider(runs, NOW, Retry(2)) == RetryAt(Tries(attempts=1), NOW + 3.0)
    assert Tries(attempts=2).reconsider(runs, NOW, Retry(2)) == Settle(Tries(attempts=2))
