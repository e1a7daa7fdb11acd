"""The search for the highest rate that holds: arithmetic on the results of earlier rates, without a clock or a call."""

import math
from enum import StrEnum

WITHIN = 0.05
"""The lowest rate that gave way is at most this share above the highest that held."""
FALL = 1 + WITHIN * 0.95
"""The first step down from a rate that held only for the shorter time; rounding stays within the bound."""
TRIES = 3
"""How often a rate is tried if this machine was late, which may be chance."""
DIGITS = 4


class TrialResult(StrEnum):
    """The result of a trial; `late` means that this machine could not send the rate, whatever the service can do.

    `unclear` means that the rate must be repeated, because earlier requests still counted or a pause may have slowed
    it; `used up` is a trial whose only purpose was to use up what the service had saved; `behind` is the time in which
    single requests were sent until the service had caught up.
    """

    HELD = "held"
    GAVE_WAY = "gave way"
    LATE = "late"
    UNCLEAR = "unclear"
    USED_UP = "used up"
    BEHIND = "behind"


class RateSearch:
    """Doubles the rate until one does not hold, bisects the gap (in the logarithm) until it is small, and confirms.

    `rate` is the next to try, twice as long if `is_long`; None at the end. The limit is between `low`, the highest that
    held, and `high`, the lowest that did not; `low` is None if nothing held down to `bottom`, and `high` is None if all
    held up to `top`. `is_confirmed` once `low` has held for the longer time; if it does not, it gave way, and from then
    on all trials take the longer time. `by_machine` means that `high` was `late`.
    """

    def __init__(self, start: float, *, bottom: float, top: float) -> None:
        if not 0 < start <= top:
            raise ValueError("the search begins above zero, and not above its end")
        self.rate: float | None = start
        self.low: float | None = None
        self.high: float | None = None
        self.is_long = self.is_confirmed = self.by_machine = False
        self._bottom, self._top = min(bottom, start), top
        self._fall = 2.0
        self._late = 0
        self._all_long = False

    def extend_down(self, bottom: float) -> None:
        """Lower the bottom of the search: trials that take longer are meaningful for slower rates as well."""
        self._bottom = min(self._bottom, bottom)

    def forget_held(self) -> None:
        """Discard `low`, because it held for too short a time."""
        if self.high is not None and self.low is not None:
            self.low, self.is_confirmed, self._fall = None, False, 2.0
            self._choose()

    def refute(self) -> None:
        """Treat the rate that was found as one that gave way, and continue below it."""
        if self.rate is not None or self.low is None:
            raise ValueError("nothing was found")
        self._lower(self.low, by_machine=False)
        self._choose()

    def record(self, trial: TrialResult) -> None:
        """Record the result of `rate`, and choose the next."""
        if self.rate is None:
            raise ValueError("the search has ended")
        if trial in (TrialResult.UNCLEAR, TrialResult.USED_UP):
            return
        if trial is TrialResult.LATE and self._late < TRIES - 1:
            self._late += 1
            return
        self._late = 0
        if trial is TrialResult.HELD:
            self.low, self.is_confirmed = self.rate, self.is_long
        else:
            self._lower(self.rate, by_machine=trial is TrialResult.LATE)
        self._choose()

    def _choose(self) -> None:
        self.rate = self._next()
        self.is_long = self._all_long or self.rate == self.low

    def _lower(self, rate: float, *, by_machine: bool) -> None:
        """Set the limit below a rate; if that held before, rates below it are uncertain too."""
        self.high, self.by_machine = rate, by_machine
        if self._all_long and self.low is None:
            self._fall = min(2.0, self._fall**2)
        elif self.low is not None and self.low >= rate:
            self.low, self.is_confirmed, self._all_long, self._fall = None, False, True, FALL

    def _next(self) -> float | None:
        if self.low is None:
            assert self.high is not None, "something was tried"  # noqa: S101 - a programming error
            return None if self.high <= self._bottom else max(self._bottom, _round(self.high / self._fall))
        if self.high is None and self.low < self._top:
            return min(2 * self.low, self._top)
        if self.high is not None and self.high > (1 + WITHIN) * self.low:
            return _round(math.sqrt(self.low * self.high))
        return None if self.is_confirmed else self.low


def _round(rate: float) -> float:
    return float(f"{rate:.{DIGITS}g}")
