"""The times by which the campaigns of a plan are to be stopped, by account."""

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bulkstop.source.due.stop_at import StopTime

NEVER = math.inf
"""The moment of a campaign without a time, which comes last in its account."""


class TimeOfAccount(NamedTuple):
    """A moment in unix seconds, the zone in its rows, and the number of campaigns of an account that have it."""

    at: float
    zone: str
    campaigns: int


class StopTimes:
    """The moment and zone of each campaign to send, in the order of the lanes; 10 bytes each.

    An account has entries from its first campaign with a time on.
    """

    def __init__(self) -> None:
        self._moments: dict[str, array[float]] = {}
        self._zones: dict[str, array[int]] = {}
        self._names: dict[str, int] = {"": 0}

    def __bool__(self) -> bool:
        """Return whether any campaign has a time."""
        return bool(self._moments)

    @property
    def accounts(self) -> list[str]:
        """The accounts with a campaign that has a time."""
        return list(self._moments)

    def add(self, account_id: str, stop: StopTime | None, before: int) -> None:
        """Add the next campaign of an account, after `before` others; the call may be omitted until one has a time."""
        if account_id not in self._moments:
            if stop is None:
                return
            self._moments[account_id] = array("d", [NEVER]) * before
            self._zones[account_id] = array("H", [0]) * before
        at, zone = (NEVER, "") if stop is None else stop
        self._moments[account_id].append(at)
        self._zones[account_id].append(self._names.setdefault(zone, len(self._names)))

    def sort(self, account_id: str, order: Sequence[int]) -> None:
        """Reorder the campaigns of an account."""
        if account_id in self._moments:
            moments, zones = self._moments[account_id], self._zones[account_id]
            self._moments[account_id] = array("d", (moments[i] for i in order))
            self._zones[account_id] = array("H", (zones[i] for i in order))

    def sort_by_time(self, account_id: str) -> list[int]:
        """Sort the campaigns of an account by time, the earliest first, and return that order.

        Campaigns of one moment keep their order.
        """
        moments = self._moments[account_id]
        order = sorted(range(len(moments)), key=moments.__getitem__)
        self.sort(account_id, order)
        return order

    def moments(self, account_id: str) -> Sequence[float]:
        """Return the moments of the campaigns of an account that have a time, sorted."""
        moments = self._moments.get(account_id, array("d"))
        return moments[: len(moments) - self.count_without(account_id)]

    def zones(self, account_id: str) -> Iterable[str]:
        """Return the zones of these moments."""
        names = list(self._names)
        return map(names.__getitem__, self._zones.get(account_id, ()))

    def count_without(self, account_id: str) -> int:
        """Return the number of campaigns without a time of an account in which others have one."""
        return self._moments[account_id].count(NEVER) if account_id in self._moments else 0
