"""Which failure deserves another try, and when: tenacity's strategies, asked as arithmetic.

tenacity's own loop would sleep inside the worker that made the try, which then is lost to the rest (5 % failures
with 1 s of back-off cost a third of the throughput). So its strategies decide here and the pool does the waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkstop.model import Attempt, RetryHint

if TYPE_CHECKING:
    import tenacity

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0


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

        It is the time that the service states, else a back-off; none for calls of the same event (0), nor for an
        account that is `paced` by what it is told.
        """
        stated_s = self._stated_s(attempt)
        if stated_s or paced or not event:
            return stated_s
        policy, state = self._ask(event, attempt)
        return float(policy.wait(state))

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
