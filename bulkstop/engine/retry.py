"""What follows a try of a call: its end, another try at some time, or one after its account has rested.

Nothing here sleeps, and the clock is an argument. tenacity's own loop would sleep inside the worker that made the try,
which then is lost to the rest (5 % failures with 1 s of back-off cost a third of the throughput). So its strategies are
asked as arithmetic, and whoever makes the calls does the waiting.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from bulkstop.model import Attempt, RetryHint

if TYPE_CHECKING:
    import tenacity

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0
THROTTLES = 20
"""Times in a row that a call is refused for its number before it ends as throttled; pauses double, so that is 4 minutes
on average, and more where the service states longer ones."""


class Retry:
    """At most `attempts` tries, with full-jitter exponential back-off between them.

    The n-th wait is uniform in 0 .. min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2^(n-1)) seconds ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/); a time that the service states is
    the least wait, up to `max_retry_after_s`.
    """

    def __init__(self, attempts: int = 5, *, max_retry_after_s: float = 120.0) -> None:
        self._attempts = attempts
        self._max_retry_after_s = max_retry_after_s
        self._policy: tenacity.BaseRetrying | None = None

    @property
    def most_stated_s(self) -> float:
        """The longest time for which the service may ask to be left alone."""
        return self._max_retry_after_s

    def delay_s(self, tries: int, attempt: Attempt) -> float | None:
        """Return the seconds to wait after try number `tries`, or None when there is no further try."""
        if attempt.again is not RetryHint.LATER:
            return None  # the usual case needs no tenacity, whose import costs a short run about 30 ms
        policy, state = self._ask(tries, attempt)
        if policy.stop(state) or not policy.retry(state):
            return None
        return max(float(policy.wait(state)), self._stated_s(attempt))

    def pause_s(self, event: int, attempt: Attempt, *, paced: bool) -> float:
        """Return the seconds for which an account rests after being throttled for the `event`-th time in a row.

        It is the longer of the time that the service states and a back-off: one that always states a millisecond would
        else use up all tries within a second. There is no back-off for calls of the same event (0), nor for an account
        that is `paced` by what it is told.
        """
        stated_s = self._stated_s(attempt)
        if paced or not event:
            return stated_s
        policy, state = self._ask(event, attempt)
        return max(stated_s, float(policy.wait(state)))

    def _stated_s(self, attempt: Attempt) -> float:
        return min(attempt.retry_after_s or 0.0, self._max_retry_after_s)

    def _ask(self, tries: int, attempt: Attempt) -> tuple[tenacity.BaseRetrying, tenacity.RetryCallState]:
        import tenacity

        policy = self._policy or self._make_policy()
        state = tenacity.RetryCallState(policy, None, (), {})
        state.attempt_number = tries
        state.set_result(attempt)
        return policy, state

    def _make_policy(self) -> tenacity.BaseRetrying:
        import tenacity

        self._policy = tenacity.Retrying(
            # A whitelist of results; a predicate over exceptions would swallow cancellation.
            retry=tenacity.retry_if_result(lambda attempt: attempt.again is RetryHint.LATER),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_random_exponential(multiplier=BACKOFF_BASE_S, max=BACKOFF_CAP_S),
        )
        return self._policy


class Tries(NamedTuple):
    """The tries that one call has had; throttled ones, and the one that only renewed the token, cost no attempt."""

    attempts: int = 0
    throttles: int = 0
    is_renewed: bool = False

    def after(
        self,
        attempt: Attempt,
        now: float,
        retry: Retry,
        *,
        event: int = 0,
        is_paced: bool = False,
        may_renew: bool = True,
    ) -> Settle | RetryAt | Rest:
        """Return what follows an answer that came `now`.

        `event` is which throttling in a row of the account a refusal is, 0 for one that belongs to the last one;
        an account that `is_paced` finds its limit by being refused.
        """
        if attempt.again is RetryHint.NO and not self.attempts and not self.is_renewed and not self.throttles:
            return AT_ONCE
        if may_renew and self.asks_for_renewal(attempt):
            return RetryAt(Tries(self.attempts, self.throttles, is_renewed=True), now)
        tries = self.counted(attempt)
        if attempt.again is not RetryHint.THROTTLED:
            return tries.reconsider(attempt, now, retry)
        until = now + retry.pause_s(event, attempt, paced=is_paced)
        return Rest(tries, until) if tries.throttles < THROTTLES else Settle(tries, until)

    def reconsider(self, attempt: Attempt, now: float, retry: Retry) -> Settle | RetryAt:
        """Return what follows once a list has said what the last try came to; that one is counted already."""
        delay_s = retry.delay_s(self.attempts, attempt)
        return Settle(self) if delay_s is None else RetryAt(self, now + delay_s)

    def asks_for_renewal(self, attempt: Attempt) -> bool:
        """Tell whether a try failed for its token, and would for the first time be made again with another."""
        return attempt.again is RetryHint.NOW and not self.is_renewed

    def counted(self, attempt: Attempt) -> Tries:
        """Return the tries with one more, which ended like that."""
        is_throttled = attempt.again is RetryHint.THROTTLED
        return Tries(self.attempts + (not is_throttled), self.throttles + is_throttled, self.is_renewed)


class Settle(NamedTuple):
    """No try follows; if it was throttled the account rests all the same."""

    tries: Tries
    rests_until: float = -math.inf


class RetryAt(NamedTuple):
    """The call is tried again at a time; its account goes on."""

    tries: Tries
    at: float


class Rest(NamedTuple):
    """No call of the account leaves before a time, and then this one is tried again."""

    tries: Tries
    rests_until: float


AT_ONCE = Settle(Tries(attempts=1))
"""What follows nearly every try, as it is the only one; made once, since a run has millions of them."""
