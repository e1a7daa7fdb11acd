"""The meaning of a 503: too many calls, or a broken service; slower calls tell which.

nginx's `limit_req` answers 503 where others answer 429, and so does a broken backend. Slowing down helps with the first
and wastes time with the second. So a 503 among good responses is taken for a limit until it continues at half the rate,
because no limit refuses calls at half its rate.
"""

from collections import deque
from enum import StrEnum
from http import HTTPStatus

from bulkstop.engine.limits.quota import Quota
from bulkstop.model import Attempt, Outcome, RetryHint

MIDST = 10
"""After this many 503 in a row the service is down, and a slower pace does not help."""
FAULTS = 2
CLEAN, CLEAN_AFTER_FAULT = 4, 12
"""At half the rate, FAULTS responses of 503 mean a fault; this many others without a 503, or with one, mean a limit.
One broken backend of three passes for a limit one time in five; then 503 continues, and the test is repeated."""
RELAPSE_ANSWERS, RELAPSE_SHARE = 20, 0.2
"""A limit is tested again if 503 is this share of so many responses."""


class Meaning(StrEnum):
    """The meaning of a service's 503."""

    UNKNOWN = "unknown"
    LIMIT = "limit"
    FAULT = "fault"


class Overload:
    """What the responses of a service show about its 503, over all accounts of a run."""

    def __init__(self) -> None:
        self.meaning = Meaning.UNKNOWN
        self._recent: deque[bool] = deque(maxlen=RELAPSE_ANSWERS)
        self._faults = self._clean = 0

    def note_unavailable(self, *, is_slowed: bool) -> bool:
        """Note a 503 to a call, sent at half the rate if `is_slowed`; return whether it counts as a limit."""
        is_amid_good = not all(list(self._recent)[-MIDST:])
        self._recent.append(True)
        if self.meaning is Meaning.LIMIT and self._has_relapsed():
            self._look_anew()
        if self.meaning is Meaning.UNKNOWN and is_slowed:
            self._faults += 1
            if self._faults >= FAULTS:
                self.meaning = Meaning.FAULT
        return is_amid_good and self.meaning is not Meaning.FAULT

    def note_available(self, *, is_slowed: bool) -> None:
        """Note any other response."""
        self._recent.append(False)
        if self.meaning is Meaning.UNKNOWN and is_slowed:
            self._clean += 1
            if self._clean >= (CLEAN_AFTER_FAULT if self._faults else CLEAN):
                self.meaning = Meaning.LIMIT

    def _has_relapsed(self) -> bool:
        return len(self._recent) == RELAPSE_ANSWERS and sum(self._recent) >= RELAPSE_SHARE * RELAPSE_ANSWERS

    def _look_anew(self) -> None:
        self.meaning = Meaning.UNKNOWN
        self._faults = self._clean = 0
        self._recent.clear()
        self._recent.append(False)


def read_unavailable(attempt: Attempt, quota: Quota, sent_at: float) -> Attempt:
    """Return the attempt, as throttled if it is a 503 that its account's quota takes for a refusal."""
    if attempt.http_status != HTTPStatus.SERVICE_UNAVAILABLE or attempt.again is not RetryHint.LATER:
        return attempt
    if not quota.note_unavailable(sent_at):
        return attempt
    error = "HTTP 503 in the midst of good answers, taken for a rate limit"
    return attempt._replace(outcome=Outcome.THROTTLED, again=RetryHint.THROTTLED, error=error)
