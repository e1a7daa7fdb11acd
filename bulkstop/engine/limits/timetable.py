"""When calls leave that have a time by which they are to be answered: as late as their limits let them."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from bulkstop.engine.limits.estimate import Departures, Places
from bulkstop.engine.limits.quota import LearnsNothing, Quota

LEAD_S = 5.0
"""How long before its time a call leaves at the latest, so that it is answered by then."""


def plan_backwards(moments: Sequence[float], places: Sequence[Places], lead_s: float = LEAD_S) -> "array[float]":
    """Return when each call leaves at the latest, so that all are made by their moments, which are sorted.

    In no window of the limits there are more of them than it has places. What is planned before the present cannot be
    met by these limits.
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
    """Return the limits with the steps in which their calls leave where a service refuses bursts."""
    slowest = max(places, key=lambda each: each.interval_s, default=None)
    return [*places, *([] if slowest is None else [Places(1, slowest.interval_s)])]


def find_late(moments: Sequence[float], places: Sequence[Places], now: float) -> list[bool]:
    """Tell of each call whether it cannot leave by its moment, however soon each of them leaves."""
    if not places:
        return [moment < now for moment in moments]
    departures = Departures(places, min(len(moments), 1), now=now)
    return [departures.leave(1) > moment for moment in moments]


class Timetable:
    """When the calls of an account that have a time leave, by the text of it; in unix seconds.

    Those of the same time leave one after another; `left` says how many have not left yet.
    """

    def __init__(self, moments: Mapping[str, Sequence[float]]) -> None:
        self._leaves = {text: iter(times) for text, times in moments.items()}
        self._first = {text: times[0] for text, times in moments.items()}
        self._all = sorted(at for times in moments.values() for at in times)
        self.left: Callable[[], int] = lambda: 0

    def leave_at(self, text: str) -> float:
        """Return when the next call of this time may leave."""
        return next(self._leaves[text], self._first[text])

    def count_due(self, until: float) -> int:
        """Return how many calls will want to leave before this time, and have not yet."""
        return max(0, bisect_left(self._all, until) - (len(self._all) - self.left()))


class Reserve(LearnsNothing):
    """Holds calls that have no time back where those that have one will need the places of their limits."""

    def __init__(self, quota: Quota, timetable: Timetable, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._quota, self._timetable, self._now, self._wall = quota, timetable, now, wall

    def ready_at(self) -> float:
        """Return the beginning of time, or that at which to look again."""
        now = self._now()
        for each in self._quota.places(now, 0.0):
            taken = sum(until > now for until in each.taken_until)
            if taken + self._timetable.count_due(self._wall() + each.hold_s) >= each.size:
                return now + min(1.0, each.hold_s)
        return -math.inf

    def take(self, now: float) -> None:
        """Do nothing: the quota counts the call."""

    def give_back(self, taken_at: float) -> None:
        """Do nothing."""

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return none of its own."""
        return []
