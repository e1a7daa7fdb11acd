"""The step after an attempt: the end, a retry at some time, or a retry after the account has waited.

Nothing here sleeps, and the clock is an argument. tenacity's own loop would sleep in the worker that made the attempt,
which could then do nothing else (5 % failures with 1 s of back-off cost a third of the throughput). So its strategies
only compute waits, and the caller does the waiting.
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
"""A call ends as throttled after this many throttlings in a row; pauses double, so that takes 4 minutes on average, and
longer if the service states longer pauses."""


class Retry:
    """At most `attempts` attempts, with full-jitter exponential back-off between them.

    The n-th wait is uniform in 0 .. min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2^(n-1)) seconds ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/); a time stated by the service is the
    minimum, up to `max_retry_after_s`.
    """

    def __init__(self, attempts: int = 5, *, max_retry_after_s: float = 120.0) -> None:
        self._attempts = attempts
        self._max_retry_after_s = max_retry_after_s
        self._policy: tenacity.BaseRetrying | None = None

    @property
    def most_stated_s(self) -> float:
        """The longest wait that the service may ask for."""
        return self._max_retry_after_s

    def delay_s(self, tries: int, attempt: Attempt) -> float | None:
        """Return the seconds to wait after attempt number `tries`; None if there is no further attempt."""
        if attempt.again is not RetryHint.LATER:
            return None  # the usual case does without tenacity, whose import takes about 30 ms
        policy, state = self._ask(tries, attempt)
        if policy.stop(state) or not policy.retry(state):
            return None
        return max(float(policy.wait(state)), self._stated_s(attempt))

    def pause_s(self, event: int, attempt: Attempt, *, paced: bool) -> float:
        """Return the seconds that an account waits after its `event`-th throttling in a row.

        It is the longer of the stated time and a back-off: otherwise a service that always states a millisecond would
        use up all attempts within a second. There is no back-off for calls of the same event (0), nor for an account
        that is `paced` by throttling.
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
            # A whitelist of results: a predicate over exceptions would swallow cancellation.
            retry=tenacity.retry_if_result(lambda attempt: attempt.again is RetryHint.LATER),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_random_exponential(multiplier=BACKOFF_BASE_S, max=BACKOFF_CAP_S),
        )
        return self._policy


class Tries(NamedTuple):
    """The requests made for one call; throttled ones, and the one that only renewed the token, are no attempts."""

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
        """Return what follows a response that arrived `now`.

        `event` is the number of the account's throttling in a row, 0 if it belongs to the last one; an account that
        `is_paced` finds its limit by being throttled.
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
        """Return what follows once a list has decided the last attempt, which is counted already."""
        delay_s = retry.delay_s(self.attempts, attempt)
        return Settle(self) if delay_s is None else RetryAt(self, now + delay_s)

    def asks_for_renewal(self, attempt: Attempt) -> bool:
        """Return whether an attempt failed because of its token and may be repeated once with a new one."""
        return attempt.again is RetryHint.NOW and not self.is_renewed

    def counted(self, attempt: Attempt) -> Tries:
        """Return the tries with this attempt added."""
        is_throttled = attempt.again is RetryHint.THROTTLED
        return Tries(self.attempts + (not is_throttled), self.throttles + is_throttled, self.is_renewed)


class Settle(NamedTuple):
    """There is no further attempt; after a throttling the account waits nevertheless."""

    tries: Tries
    rests_until: float = -math.inf


class RetryAt(NamedTuple):
    """The call is repeated at `at`; its account continues meanwhile."""

    tries: Tries
    at: float


class Rest(NamedTuple):
    """No call of the account is sent before `rests_until`; then this one is repeated."""

    tries: Tries
    rests_until: float


AT_ONCE = Settle(Tries(attempts=1))
"""The step after most attempts, which are the only ones; made once, because a run has millions."""
