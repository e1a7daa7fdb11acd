"""Over which time a service counts calls, as far as its refusals tell: arithmetic on when requests left."""

import math
from typing import NamedTuple

FINENESS = 1.05
"""The times that are looked at are this far apart; a longer one than the true one is on the safe side."""
SHORTEST_S = 1e-3


class Sent(NamedTuple):
    """Requests that were taken: the first at `begin_s`, `number` of them, `every_s` seconds apart."""

    begin_s: float
    every_s: float
    number: int

    @property
    def last_s(self) -> float:
        """When the last one left."""
        return self.begin_s + (self.number - 1) * self.every_s

    def count_up_to(self, at_s: float) -> int:
        """Count those that left by then."""
        return min(self.number, max(0, math.floor((at_s - self.begin_s) / self.every_s + 1e-6) + 1))


class Refusals:
    """Remembers what was taken, and tells how far back a refusal must look.

    A service that allows so many calls in any window refuses one only if with it more were in the window than ever
    before. The shortest window of which that is true is the least over which it counts.
    """

    def __init__(self) -> None:
        self._sent: list[Sent] = []

    def record(self, sent: Sent) -> None:
        """Remember requests that were taken."""
        if sent.number > 0:
            self._sent.append(sent)

    def find_window_s(self, refused_s: float) -> float:
        """Return the least time over which the service counts, if it refused a request that left at `refused_s`."""
        if not self._sent:
            return 0.0
        reach_s = refused_s - self._sent[0].begin_s + SHORTEST_S
        window_s = SHORTEST_S
        while window_s < reach_s:
            if self._count(refused_s - window_s, refused_s - 1e-9) + 1 > self._most(window_s):
                return window_s
            window_s *= FINENESS
        return reach_s

    def _count(self, after_s: float, up_to_s: float) -> int:
        return sum(each.count_up_to(up_to_s) - each.count_up_to(after_s) for each in self._sent)

    def _most(self, window_s: float) -> int:
        """Return the most that were taken in a window of this length, which begins or ends where requests did."""
        ends = [each.last_s for each in self._sent]
        ends += [each.begin_s + window_s - 1e-6 for each in self._sent if each.begin_s + window_s < ends[-1]]
        return max(self._count(end_s - window_s, end_s) for end_s in ends)
