"""How many calls an account may make: exact rolling windows."""

import math
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from bulkstop.model import Limit


class Quota(Protocol):
    """Says when the next call may leave; a store shared between processes has this same face."""

    def ready_at(self) -> float:
        """Give the clock time from which `take` is allowed; inf while only an answer can free a place."""
        ...

    def take(self, now: float) -> None:
        """Use one place, for a call that leaves now."""
        ...

    def give_back(self, now: float) -> None:
        """Say that the call of the longest-used place was answered."""
        ...


class NoQuota:
    """Every call may leave at once."""

    def ready_at(self) -> float:
        """Give the beginning of time."""
        return -math.inf

    def take(self, now: float) -> None:
        """Do nothing."""

    def give_back(self, now: float) -> None:
        """Do nothing."""


class RollingWindow:
    """A log of the last calls: in no window of the given length does the server see more than the limit.

    A sliding-window log, not a token bucket: a bucket of burst 60 that refills at 1/s lets about 120 calls into one
    rolling minute. A place is taken when a call leaves and ages from when it was answered: the server counted the
    call some time between the two, and only so is the window exact whatever the network does.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        self._in_flight = 0
        self._answered: deque[float] = deque(maxlen=max(limit.calls for limit in self._limits))

    def ready_at(self) -> float:
        """Give the time at which every window has a free place; inf while only an answer can free one."""
        return max(self._free_at(limit) for limit in self._limits)

    def take(self, now: float) -> None:
        """Use one place."""
        self._in_flight += 1

    def give_back(self, now: float) -> None:
        """Let one place age from now on."""
        self._in_flight -= 1
        self._answered.append(now)

    def _free_at(self, limit: Limit) -> float:
        if self._in_flight >= limit.calls:
            return math.inf
        room = limit.calls - self._in_flight
        if len(self._answered) < room:
            return -math.inf
        return self._answered[-room] + limit.window_s


def least_s(calls: int, limits: Sequence[Limit]) -> float:
    """Give the seconds from the first to the last of `calls` calls when every window is used to its limit.

    Under one limit of c calls the n-th call leaves floor((n - 1) / c) windows after the first. Under several, each call
    leaves one window after the call c before it, for whichever limit that is latest; blocks that fit every limit leave
    together.
    """
    block = math.gcd(*(limit.calls for limit in limits))
    if calls < 1 or not block:
        return 0.0
    leaves = array("d")
    for _ in range(0, calls, block):
        before = ((len(leaves) - limit.calls // block, limit.window_s) for limit in limits)
        leaves.append(max((leaves[n] + window_s for n, window_s in before if n >= 0), default=0.0))
    return leaves[-1]
