"""The quota, the latency and the failures of the service."""

import math
from collections import deque
from hashlib import blake2b

from bulkstop.simulator.rate_limits import WindowState


def share(seed: int, *what: object) -> float:
    """Return a pseudo-random number in [0, 1) for this seed and thing, the same in every process and order."""
    return int.from_bytes(_digest(seed, what), "big") / 2**64


def latency_s(median_ms: float, sigma: float, seed: int, *what: object) -> float:
    """Return the latency of a response in seconds: the median, or with a sigma a log-normal draw around it."""
    if not sigma or not median_ms:
        return median_ms / 1000
    # Box-Muller; 1 - share is in (0, 1], where the logarithm is finite.
    radius = math.sqrt(-2 * math.log(1 - share(seed, "radius", *what)))
    normal = radius * math.cos(2 * math.pi * share(seed, "angle", *what))
    return median_ms / 1000 * math.exp(sigma * normal)


class RollingQuota:
    """An exact sliding-window log per account: no window, wherever it starts, has more admitted calls than allowed.

    Each window is half open: a call counts for `window_s` seconds from its own instant, the last one excluded. A
    refused call does not count.
    """

    def __init__(self, windows: tuple[tuple[int, float], ...]) -> None:
        self._windows = windows
        self._accounts: dict[str, tuple[deque[float], ...]] = {}

    def admit(self, account_id: str, at_s: float) -> bool:
        """Return whether the account may make a call now, and count it if so."""
        logs = self._accounts.get(account_id)
        if logs is None:
            logs = tuple(deque(maxlen=calls) for calls, _ in self._windows)
            self._accounts[account_id] = logs
        for log, (calls, window_s) in zip(logs, self._windows, strict=True):
            # The deque drops its oldest entry on append, so its head is the call that must have left the window.
            if len(log) == calls and at_s - log[0] < window_s:
                return False
        for log in logs:
            log.append(at_s)
        return True

    def states(self, account_id: str, at_s: float) -> list[WindowState]:
        """Return how much of each window the account has left."""
        logs = self._accounts.get(account_id) or ((),) * len(self._windows)
        states = []
        for log, (calls, window_s) in zip(logs, self._windows, strict=True):
            counted = [each for each in log if at_s - each < window_s]
            reset_s = counted[0] + window_s - at_s if counted else 0.0
            states.append(WindowState(calls, window_s, calls - len(counted), reset_s))
        return states


class Failures:
    """Failures on demand: of a share of all calls, and of the first call of a share of the campaigns."""

    def __init__(self, *, rate: float, first_rate: float, seed: int) -> None:
        self._rate = rate
        self._first_rate = first_rate
        self._seed = seed
        self._failed_first: set[str] = set()

    def strike(self, operation: str, campaign_id: str | None, attempt: int) -> bool:
        """Return whether this call fails; the first query for a campaign is its first call."""
        if campaign_id is not None and self._strikes_first(campaign_id):
            return True
        return self._rate > 0 and share(self._seed, "failure", operation, campaign_id, attempt) < self._rate

    def _strikes_first(self, campaign_id: str) -> bool:
        if not self._first_rate or campaign_id in self._failed_first:
            return False
        if share(self._seed, "first", campaign_id) >= self._first_rate:
            return False
        self._failed_first.add(campaign_id)
        return True


def _digest(seed: int, what: tuple[object, ...]) -> bytes:
    return blake2b(repr((seed, *map(str, what))).encode(), digest_size=8).digest()
