"""Whether 503 means that too much came at once, or that a service is ill: slower calls tell.

nginx's `limit_req` answers 503 where others answer 429, and so does a backend that is broken. Slowing down helps with
the first and costs time with the second. So in the midst of good answers 503 is taken for a limit, until it goes on at
half the rate: that no limit does that a call in two keeps.
"""

from collections import deque
from enum import StrEnum
from http import HTTPStatus

from bulkstop.engine.limits.quota import Quota
from bulkstop.model import Attempt, Outcome, RetryHint

MIDST = 10
"""With as many answers in a row that are 503, the service is down: that is nothing that a slower pace helps against."""
FAULTS = 2
CLEAN, CLEAN_AFTER_FAULT = 4, 12
"""At half the rate so many 503 are a fault, and so many other answers without one, or with one among them, a limit. One
backend of three that is broken passes for a limit one time in five; then 503 goes on, and it is tried again."""
RELAPSE_ANSWERS, RELAPSE_SHARE = 20, 0.2
"""When 503 is so much of so many answers although it was found to be a limit, it is looked at anew."""


class Meaning(StrEnum):
    """What 503 of a service means."""

    UNKNOWN = "unknown"
    LIMIT = "limit"
    FAULT = "fault"


class Overload:
    """What the answers of a service have told of its 503, over all accounts of a run."""

    def __init__(self) -> None:
        self.meaning = Meaning.UNKNOWN
        self._recent: deque[bool] = deque(maxlen=RELAPSE_ANSWERS)
        self._faults = self._clean = 0

    def note_unavailable(self, *, is_slowed: bool) -> bool:
        """Note a 503, to a call that left at half the rate if `is_slowed`; return whether it is taken for a limit."""
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
        """Note any other answer."""
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
    """Return an attempt as it is, but for a 503 that its account's quota takes for a refusal: that one as throttled."""
    if attempt.http_status != HTTPStatus.SERVICE_UNAVAILABLE or attempt.again is not RetryHint.LATER:
        return attempt
    if not quota.note_unavailable(sent_at):
        return attempt
    error = "HTTP 503 in the midst of good answers, taken for a rate limit"
    return attempt._replace(outcome=Outcome.THROTTLED, again=RetryHint.THROTTLED, error=error)
