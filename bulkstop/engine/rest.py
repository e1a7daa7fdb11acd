"""How long an account rests, whichever of its calls was told to wait."""

import logging
import math

from bulkstop.model import Attempt

_LOG = logging.getLogger("bulkstop.engine")


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


def log_throttled(account_id: str, rest_s: float, attempt: Attempt, *, is_paced: bool) -> None:
    """Log that an account rests because a call was refused, if it rests at all."""
    if rest_s <= 0:
        return
    said = {"account_id": account_id, "rest_s": round(rest_s, 3), "error": attempt.error}
    level = logging.INFO if is_paced else logging.WARNING  # so it finds its limit
    _LOG.log(level, "account_throttled", extra={"fields": said})
