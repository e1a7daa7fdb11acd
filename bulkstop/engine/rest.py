"""How long an account waits, whichever of its calls was throttled."""

import math


class AccountRest:
    """The time before which no call of an account is sent, shared by everything that calls for the account.

    Times are those of one monotonic clock in seconds.
    """

    def __init__(self) -> None:
        self.until = -math.inf
        self._throttled_at = -math.inf
        self._events = 0  # throttlings since the last accepted call

    def extend(self, until: float) -> None:
        """Send nothing of this account before `until`."""
        self.until = max(self.until, until)

    def count_throttled(self, now: float, sent_at: float) -> int:
        """Return the number of this throttling in a row, 0 if it belongs to the last one.

        A call sent before the last throttling was known was refused for the same reason, not for a new one.
        """
        if sent_at <= self._throttled_at:
            return 0
        self._throttled_at = now
        self._events += 1
        return self._events

    def note_let_through(self, sent_at: float) -> None:
        """Note a call that was not throttled; if it was sent after the last throttling, that ends the row."""
        if sent_at > self._throttled_at:
            self._events = 0
