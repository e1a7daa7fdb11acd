"""Models of how services count calls; each limiter is a function of the call times, so that it works with any clock.

Times are seconds after the first call; `phase` is the elapsed share of a window at that time. All limiters of one limit
permit the same rate in the long run, but different bursts. benchmarks/limiter_lab.py serves them on a socket,
tests/engine/limits calls them in virtual time.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bulkstop.model import Limit

ROUNDING = 1e-9


class Limiter(Protocol):
    """Decides on calls with non-decreasing times."""

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        ...

    def ready_at(self, now: float) -> float:
        """Return the first time from `now` on at which a call is admitted, if none comes before it."""
        ...


class SlidingLog:
    """Remembers each admitted call for one window."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._log: deque[float] = deque()

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        is_let_through = self.ready_at(now) <= now
        if is_let_through:
            self._log.append(now)
        return is_let_through

    def ready_at(self, now: float) -> float:
        """Return when the oldest call in the way has left the window."""
        while self._log and self._log[0] <= now - self._limit.window_s + ROUNDING:
            self._log.popleft()
        return now if len(self._log) < self._limit.calls else self._log[0] + self._limit.window_s


class FixedWindow:
    """Counts from zero in each window of the clock."""

    def __init__(self, limit: Limit, phase: float = 0.0) -> None:
        self._limit, self._phase = limit, phase
        self._number = self._count = 0

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        is_let_through = self.ready_at(now) <= now
        self._count += is_let_through
        return is_let_through

    def ready_at(self, now: float) -> float:
        """Return `now`, or the beginning of the next window."""
        number = math.floor(now / self._limit.window_s + self._phase + ROUNDING)
        if number != self._number:
            self._number, self._count = number, 0
        return now if self._count < self._limit.calls else (number + 1 - self._phase) * self._limit.window_s


class SlidingCounter:
    """Adds the last window's count, weighted by the share of it in a rolling window, to this window's.

    HAProxy's `http_req_rate` counts in this way, including refused calls, and rounds the sum down (`rounds_down`).
    """

    def __init__(
        self, limit: Limit, phase: float = 0.0, *, counts_refused: bool = False, rounds_down: bool = False
    ) -> None:
        self._limit, self._phase, self._counts_refused = limit, phase, counts_refused
        self._most = limit.calls + (1 - 1e-6 if rounds_down else 0)
        self._number = self._count = self._last = 0

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        is_let_through = self.ready_at(now) <= now
        self._count += is_let_through or self._counts_refused
        return is_let_through

    def ready_at(self, now: float) -> float:
        """Return when the share of the last window is small enough for one more call."""
        passed = now / self._limit.window_s + self._phase
        self._move_on(math.floor(passed + ROUNDING))
        part = _find_part(self._count, self._last, self._most)
        if part > 1:
            part = 1 + _find_part(0, self._count, self._most)
        return now if self._number + part <= passed + ROUNDING else self._at(self._number + part)

    def _at(self, windows: float) -> float:
        return (windows - self._phase) * self._limit.window_s

    def _move_on(self, number: int) -> None:
        if number != self._number:
            self._last = self._count if number == self._number + 1 else 0
            self._number, self._count = number, 0


def _find_part(count: int, last: int, most: float) -> float:
    """Return the share of a window that must pass before one more call; above 1 if none fits in it."""
    if count + 1 > most:
        return math.inf
    return max(0.0, 1 - (most - count - 1) / last) if last else 0.0


class Gcra:
    """The generic cell rate algorithm: admits one call per window / calls, and a burst at once.

    nginx's `limit_req` with `burst=B nodelay` admits B + 1 at once. With a burst as large as the limit it is a token
    bucket.
    """

    def __init__(self, limit: Limit, burst: int) -> None:
        self._interval_s = limit.window_s / limit.calls
        self._early_s = (burst - 1) * self._interval_s
        self._arrives_at = -math.inf

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        is_let_through = self.ready_at(now) <= now
        if is_let_through:
            self._arrives_at = max(self._arrives_at, now) + self._interval_s
        return is_let_through

    def ready_at(self, now: float) -> float:
        """Return when the next call is early by no more than the burst permits."""
        at = self._arrives_at - self._early_s
        return now if at <= now + ROUNDING else at


class Halving:
    """Applies the limit for some time, then half of it, in turn; each limiter counts only its own calls."""

    def __init__(self, whole: Limiter, half: Limiter, every_s: float) -> None:
        self._limiters = (whole, half)
        self._every_s = every_s

    def call(self, now: float) -> bool:
        """Count a call and return whether it is admitted."""
        return self._limiters[self._turn(now) % 2].call(now)

    def ready_at(self, now: float) -> float:
        """Return when the current limit admits a call, or the other one begins."""
        turn = self._turn(now)
        return min(self._limiters[turn % 2].ready_at(now), (turn + 1) * self._every_s)

    def _turn(self, now: float) -> int:
        return math.floor(now / self._every_s)


def _make_gcra(part: float) -> Callable[[Limit, float], Limiter]:
    return lambda limit, phase: Gcra(limit, max(1, int(limit.calls * part)))


LIMITERS: dict[str, Callable[[Limit, float], Limiter]] = {
    "sliding log": lambda limit, phase: SlidingLog(limit),
    "fixed window": FixedWindow,
    "sliding counter": SlidingCounter,
    "sliding counter, refused count": lambda limit, phase: SlidingCounter(limit, phase, counts_refused=True),
    "token bucket": _make_gcra(1),
    "GCRA, burst 1": lambda limit, phase: Gcra(limit, 1),
    "GCRA, burst 1/10": _make_gcra(1 / 10),
    "GCRA, burst 1/4": _make_gcra(1 / 4),
    "GCRA, burst 1/2": _make_gcra(1 / 2),
}
"""Limiters by name; each is made from a limit and a phase."""


def find_fastest_s(limiter: Limiter, quota: Limit, calls: int, began_s: float = 0.0) -> float:
    """Return the seconds from the first to the last call of the fastest client, which begins at `began_s`.

    The client knows the limiter, and keeps the documented quota in every rolling window: it sends each call at the
    first moment that both admit.
    """
    log, now = SlidingLog(quota), began_s
    for _ in range(calls):
        while (at := max(log.ready_at(now), limiter.ready_at(now))) > now:
            now = at
        log.call(now)
        limiter.call(now)
    return now - began_s
