"""How long an account rests, whichever of its calls was told to wait."""

import math


class AccountRest:
    """The time before which no call of an account leaves; all that make calls for the account share it.

    Times are those of one monotonic clock in seconds.
    """

    def __init__(self) -> None:
        self.until = -math.inf
        self._throttled_at = -math.inf
        self._events = 0  # throttlings since the last call that was let through

    def extend(self, until: float) -> None:
        """Let nothing of this account leave before `until`."""
        self.until = max(self.until, until)

    def count_throttled(self, now: float, sent_at: float) -> int:
        """Return which throttling in a row a refused call is, 0 if it belongs to the last one.

        Calls that left before the last one was known were refused for the same reason, not for a new one.
        """
        if sent_at <= self._throttled_at:
            return 0
        self._throttled_at = now
        self._events += 1
        return self._events

    def note_let_through(self, sent_at: float) -> None:
        """Note a call that was not refused; one that left after the last throttling ends the row."""
        if sent_at > self._throttled_at:
            self._events = 0
