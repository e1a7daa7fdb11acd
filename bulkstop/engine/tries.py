"""What follows a try of a call: its end, another try at some time, or one after its account has rested.

Nothing here sleeps, and the clock is an argument: whoever makes the calls does what is decided.
"""

import math
from typing import NamedTuple

from bulkstop.engine.retry import Retry
from bulkstop.model import Attempt, RetryHint

THROTTLES = 20
"""Times in a row that a call is refused for its number before it ends as throttled; pauses double, so with nothing
stated by the service that is 4 minutes on average, and with a wait stated that many times the wait."""


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
    ) -> "Settle | RetryAt | Rest":
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

    def reconsider(self, attempt: Attempt, now: float, retry: Retry) -> "Settle | RetryAt":
        """Return what follows once a list has said what the last try came to; that one is counted already."""
        delay_s = retry.delay_s(self.attempts, attempt)
        return Settle(self) if delay_s is None else RetryAt(self, now + delay_s)

    def asks_for_renewal(self, attempt: Attempt) -> bool:
        """Tell whether a try failed for its token, and would for the first time be made again with another."""
        return attempt.again is RetryHint.NOW and not self.is_renewed

    def counted(self, attempt: Attempt) -> "Tries":
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
