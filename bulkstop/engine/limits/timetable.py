"""The sending times of calls with a deadline: as late as their limits permit."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from bulkstop.engine.limits.estimate import Departures, Places
from bulkstop.engine.limits.quota import LearnsNothing, Quota

LEAD_S = 5.0
"""A call is sent at least this long before its deadline, so that it is answered in time."""


def plan_backwards(moments: Sequence[float], places: Sequence[Places], lead_s: float = LEAD_S) -> "array[float]":
    """Return the latest time to send each call so that all meet their deadlines, which are sorted.

    No window of the limits has more of these calls than places. A time in the past means that the limits are too tight.
    """
    leaves = array("d", bytes(8 * len(moments)))
    latest = math.inf
    for place in range(len(moments) - 1, -1, -1):
        latest = min(latest, moments[place] - lead_s)
        for each in places:
            if place + each.size < len(moments):
                latest = min(latest, leaves[place + each.size] - each.hold_s)
        leaves[place] = latest
    return leaves


def spread_evenly(places: Sequence[Places]) -> list[Places]:
    """Return the limits with the even pace added that a service enforces if it refuses bursts."""
    slowest = max(places, key=lambda each: each.interval_s, default=None)
    return [*places, *([] if slowest is None else [Places(1, slowest.interval_s)])]


def find_late(moments: Sequence[float], places: Sequence[Places], now: float) -> list[bool]:
    """Return for each call whether it misses its deadline even if all are sent as soon as possible."""
    if not places:
        return [moment < now for moment in moments]
    departures = Departures(places, min(len(moments), 1), now=now)
    return [departures.leave(1) > moment for moment in moments]


class Timetable:
    """The sending times of an account's calls with deadlines, by the deadline's text; in unix seconds.

    Calls of one deadline are sent in turn; `left` returns how many were not sent yet.
    """

    def __init__(self, moments: Mapping[str, Sequence[float]]) -> None:
        self._leaves = {text: iter(times) for text, times in moments.items()}
        self._first = {text: times[0] for text, times in moments.items()}
        self._all = sorted(at for times in moments.values() for at in times)
        self.left: Callable[[], int] = lambda: 0

    def leave_at(self, text: str) -> float:
        """Return when the next call of a deadline may be sent."""
        return next(self._leaves[text], self._first[text])

    def count_due(self, until: float) -> int:
        """Return how many calls are due before `until` and not sent yet."""
        return max(0, bisect_left(self._all, until) - (len(self._all) - self.left()))


class Reserve(LearnsNothing):
    """Delays calls without a deadline if those with one will need the places of their limits."""

    def __init__(self, quota: Quota, timetable: Timetable, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._quota, self._timetable, self._now, self._wall = quota, timetable, now, wall

    def ready_at(self) -> float:
        """Return -inf, or the time of the next look."""
        now = self._now()
        for each in self._quota.places(now, 0.0):
            taken = sum(until > now for until in each.taken_until)
            if taken + self._timetable.count_due(self._wall() + each.hold_s) >= each.size:
                return now + min(1.0, each.hold_s)
        return -math.inf

    def take(self, now: float) -> None:
        """Do nothing, because the quota counts the call."""

    def give_back(self, taken_at: float) -> None:
        """Do nothing."""

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return no places of its own."""
        return []
