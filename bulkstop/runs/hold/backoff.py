"""Exponential back-off for campaigns whose stop failed and that still run."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

LONGEST_S = 900.0
"""Longest interval in seconds, unless the looks are further apart."""
MOST_DOUBLED = 32
"""Number of failures after which the interval is no longer doubled; it has reached the longest long before."""


class _Failed(NamedTuple):
    times: int
    due: float


class Backoff(Generic[K]):
    """Campaigns whose stops failed; each is sent again after 1, 2, 4 … looks.

    A look takes `every_s` seconds of the clock `now`; one that comes up to half of that too early counts as on time.
    """

    def __init__(self, every_s: float, now: Callable[[], float]) -> None:
        self._every_s = every_s
        self._longest_s = max(every_s, LONGEST_S)
        self._now = now
        self._failed: dict[K, _Failed] = {}

    def note_failed(self, key: K) -> None:
        """Note a failed stop."""
        before = self._failed.get(key)
        times = 1 if before is None else min(before.times + 1, MOST_DOUBLED)
        wait_s = min(self._every_s * 2 ** (times - 1), self._longest_s)
        self._failed[key] = _Failed(times, self._now() + wait_s - self._every_s / 2)

    def is_due(self, key: K) -> bool:
        """Return whether a campaign may be sent now."""
        failed = self._failed.get(key)
        return failed is None or self._now() >= failed.due

    def forget(self, keys: Iterable[K]) -> None:
        """Forget the failures of these campaigns, so that they are sent as soon as they are seen again."""
        for key in keys:
            self._failed.pop(key, None)

    @property
    def keys(self) -> frozenset[K]:
        """The campaigns with failed stops."""
        return frozenset(self._failed)
