"""Limiters as services have them: told when a call arrives, each says whether it lets it in. Calls arrive in order.

Of each the mean rate is `calls` in `window_s`; what they take at once differs. `phase_s` is by how much a window has
begun before time 0.
"""

import math
from collections import deque


class SlidingLog:
    """Lets in as many calls in any window as the limit says."""

    def __init__(self, calls: int, window_s: float) -> None:
        self._calls, self._window_s = calls, window_s
        self._let_in = deque[float]()

    def permits(self, now: float) -> bool:
        """Tell whether a call would be let in."""
        while self._let_in and self._let_in[0] <= now - self._window_s:
            self._let_in.popleft()
        return len(self._let_in) < self._calls

    def __call__(self, now: float) -> bool:
        """Let a call in, or not."""
        if not self.permits(now):
            return False
        self._let_in.append(now)
        return True


class FixedWindow:
    """Counts from the beginning of each window."""

    def __init__(self, calls: int, window_s: float, phase_s: float = 0.0) -> None:
        self._calls, self._window_s, self._phase_s = calls, window_s, phase_s
        self._number, self._count = 0, 0

    def permits(self, now: float) -> bool:
        """Tell whether a call would be let in."""
        number = math.floor((now + self._phase_s) / self._window_s)
        if number != self._number:
            self._number, self._count = number, 0
        return self._count < self._calls

    def __call__(self, now: float) -> bool:
        """Let a call in, or not."""
        is_in = self.permits(now)
        self._count += is_in
        return is_in


class SlidingCounter:
    """Counts this window and the part of the last one that is less than a window ago, as HAProxy and many gateways do.

    Where it `counts_refused` a call that is not let in counts as well.
    """

    def __init__(self, calls: int, window_s: float, phase_s: float = 0.0, *, counts_refused: bool = False) -> None:
        self._calls, self._window_s, self._phase_s = calls, window_s, phase_s
        self._counts_refused = counts_refused
        self._number, self._count, self._before = 0, 0, 0

    def permits(self, now: float) -> bool:
        """Tell whether a call would be let in."""
        windows = (now + self._phase_s) / self._window_s
        number = math.floor(windows)
        if number != self._number:
            self._before = self._count if number == self._number + 1 else 0
            self._number, self._count = number, 0
        return self._count + self._before * (1 - (windows - number)) + 1 <= self._calls + 1e-9

    def __call__(self, now: float) -> bool:
        """Let a call in, or not."""
        is_in = self.permits(now)
        self._count += is_in or self._counts_refused
        return is_in


class Gcra:
    """The generic cell rate algorithm: `burst` calls at once, and one in each step. A token bucket is the same."""

    def __init__(self, calls: int, window_s: float, burst: int) -> None:
        self._step_s, self._burst = window_s / calls, burst
        self._full_until = -math.inf

    def permits(self, now: float) -> bool:
        """Tell whether a call would be let in."""
        return max(self._full_until, now) - now <= (self._burst - 1) * self._step_s + 1e-9

    def __call__(self, now: float) -> bool:
        """Let a call in, or not."""
        if not self.permits(now):
            return False
        self._full_until = max(self._full_until, now) + self._step_s
        return True
