"""How services count requests, without a clock of their own: the limiters that the search for a limit is tried at."""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

Limiter = Callable[[float], bool]
"""Takes a request at a time, or refuses it."""


class Make(Protocol):
    """Makes a limiter of so many calls in a window; `phase_s` moves windows that begin at fixed times."""

    def __call__(self, calls: int, window_s: float, phase_s: float = 0.0) -> Limiter:
        """Make it."""


def sliding_log(calls: int, window_s: float, phase_s: float = 0.0) -> Limiter:
    """Take a call if fewer than `calls` were taken in the window before it."""
    log = deque[float](maxlen=calls)

    def take(now_s: float) -> bool:
        if len(log) == calls and now_s - log[0] < window_s:
            return False
        log.append(now_s)
        return True

    return take


def fixed_window(calls: int, window_s: float, phase_s: float = 0.0) -> Limiter:
    """Take so many calls in each window, which all begin at fixed times."""
    number, taken = -1, 0

    def take(now_s: float) -> bool:
        nonlocal number, taken
        current = math.floor((now_s + phase_s) / window_s)
        taken = (taken if current == number else 0) + 1
        number = current
        if taken <= calls:
            return True
        taken = calls
        return False

    return take


def sliding_counter(calls: int, window_s: float, phase_s: float = 0.0) -> Limiter:
    """Weigh the last fixed window by how much of it is still in sight."""
    number, taken, before = -1, 0, 0

    def take(now_s: float) -> bool:
        nonlocal number, taken, before
        current, passed = divmod((now_s + phase_s) / window_s, 1.0)
        if current != number:
            number, taken, before = int(current), 0, taken if current == number + 1 else 0
        if taken + before * (1 - passed) + 1 > calls + 1e-9:
            return False
        taken += 1
        return True

    return take


def bucket(share: float) -> Make:
    """Make leaky buckets that let this share of the calls of a window through at once, at least one."""

    def make(calls: int, window_s: float, phase_s: float = 0.0) -> Limiter:
        every_s, burst, due_s = window_s / calls, max(1, math.floor(calls * share)), -math.inf

        def take(now_s: float) -> bool:
            nonlocal due_s
            if max(due_s, now_s) - now_s > (burst - 1) * every_s + 1e-9:
                return False
            due_s = max(due_s, now_s) + every_s
            return True

        return take

    return make
