"""The times at which the requests of a load test are due: arithmetic on a rate, without a clock or a sleep."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

SLACK = 1e-6
"""The rounding error allowed in a sum of products: 1.1 s at 100/s are 110.00000000000001 requests."""
SPIKE_SHARE = 0.2
"""The share of the test that a spike takes by default."""


class Stage(NamedTuple):
    """A period in which the rate changes linearly from one value to another, in requests per second."""

    from_rate: float
    to_rate: float
    length_s: float

    @property
    def requests(self) -> float:
        """The number of requests due in it, not rounded; inf for a stage without end."""
        return (self.from_rate + self.to_rate) / 2 * self.length_s

    def at(self, requests: float) -> float:
        """Return the seconds after which `requests` are due; the rate must not be zero throughout."""
        if not requests:
            return 0.0
        # The root of from_rate*t + slope/2*t^2 = requests, in the form that stays exact for a zero or small slope.
        slope = (self.to_rate - self.from_rate) / self.length_s
        return 2 * requests / (self.from_rate + math.sqrt(max(0.0, self.from_rate**2 + 2 * slope * requests)))


class Schedule:
    """The times at which requests are due, in seconds from the beginning.

    The n-th is due when the integral of the rate reaches n. A time depends on its number alone, not on when an earlier
    request was sent: a schedule remembers lateness, while a limit forgets it. It ends with its stages, or after `count`
    requests if that is sooner. Raises ValueError for a schedule without an end or without requests.
    """

    def __init__(self, stages: Sequence[Stage], count: int | None = None) -> None:
        self._stages = tuple(each for each in stages if each.length_s > 0)
        if any(min(each.from_rate, each.to_rate) < 0 for each in self._stages):
            raise ValueError("a rate is not below zero")
        self._starts_s = [0.0, *accumulate(each.length_s for each in self._stages)]
        self._before = [0.0, *accumulate(each.requests for each in self._stages)]
        total = self._before[-1]
        if not total > SLACK:
            raise ValueError("at this rate nothing is sent in this time")
        if math.isinf(total) and count is None:
            raise ValueError("it would never end: give a time or a number of requests")
        self._count = math.ceil(total - SLACK) if count is None else math.ceil(min(count, total - SLACK))

    def __len__(self) -> int:
        """Return the number of requests."""
        return self._count

    def __iter__(self) -> Iterator[float]:
        """Yield all times in order."""
        return self.every()

    def every(self, first: int = 0, step: int = 1) -> Iterator[float]:
        """Yield in order the time of every `step`-th request, from number `first` on."""
        return map(self.at, range(first, self._count, step))

    def at(self, number: int) -> float:
        """Return the time of a request, counted from 0."""
        return self._time_of(number)

    def _time_of(self, requests: float) -> float:
        """Return when a number of requests, not rounded, is due."""
        place = min(bisect_right(self._before, requests), len(self._stages)) - 1
        return self._starts_s[place] + self._stages[place].at(requests - self._before[place])

    def at_random(self) -> "RandomSchedule":
        """Return a schedule with the same rates and number of requests, at random times."""
        return RandomSchedule(self._stages, self._count)

    @property
    def first_rate(self) -> float:
        """The rate at the beginning, or the highest one if that is zero."""
        return self._stages[0].from_rate or self.peak

    @property
    def peak(self) -> float:
        """The highest rate of the schedule."""
        return max(max(each.from_rate, each.to_rate) for each in self._stages)

    @property
    def course(self) -> list[tuple[float, float]]:
        """The rate over time, as the corners of a line: seconds since the beginning, and the rate there."""
        corners = []
        for start_s, each in zip(self._starts_s, self._stages, strict=False):
            length_s = min(each.length_s, self.length_s - start_s)
            if length_s > 0:
                share = length_s / each.length_s
                last = each.from_rate + (each.to_rate - each.from_rate) * share
                corners += [(start_s, each.from_rate), (start_s + length_s, last)]
        return corners

    @property
    def length_s(self) -> float:
        """The seconds until the stages end, or until the last request is due if that is sooner."""
        return self._starts_s[-1] if self._count >= self._before[-1] - SLACK else self.at(self._count)


class RandomSchedule(Schedule):
    """A schedule of the same rates whose requests are due independently of each other: a Poisson process.

    It has the same number of requests over the same time. The number due in one second varies, but a seed makes the
    times of two runs equal.
    """

    def __init__(self, stages: Sequence[Stage], count: int | None = None, seed: int = 0) -> None:
        super().__init__(stages, count)
        self._seed = seed

    def every(self, first: int = 0, step: int = 1) -> Iterator[float]:
        """Yield in order the time of every `step`-th request, from number `first` on."""
        draw, total = Random(self._seed).random, min(float(self._count), self._before[-1])  # noqa: S311 - not a secret
        left = total
        for number in range(self._count):
            # The minimum of that many uniform values in the remaining range.
            left *= draw() ** (1 / (self._count - number))
            if number >= first and (number - first) % step == 0:
                yield self._time_of(total - left)


def constant(rate: float, length_s: float | None = None, count: int | None = None) -> Schedule:
    """Return a schedule of one rate."""
    return Schedule([Stage(rate, rate, math.inf if length_s is None else length_s)], count)


def ramp(from_rate: float, to_rate: float, length_s: float | None = None, count: int | None = None) -> Schedule:
    """Return a schedule whose rate changes linearly; without a length, `count` determines it."""
    if length_s is None and count is not None and from_rate + to_rate > 0:
        length_s = 2 * count / (from_rate + to_rate)
    if length_s is None:
        raise ValueError("a ramp has an end: give a time or a number of requests")
    return Schedule([Stage(from_rate, to_rate, length_s)], count)


def steps(rates: Sequence[float], step_s: float, count: int | None = None) -> Schedule:
    """Return a schedule that holds each rate for `step_s`, in order."""
    return Schedule([Stage(rate, rate, step_s) for rate in rates], count)


def spike(
    rate: float, peak: float, length_s: float, spike_s: float | None = None, count: int | None = None
) -> Schedule:
    """Return a schedule of one rate that rises to `peak` in the middle, for `spike_s` or a fifth of the time."""
    spike_s = SPIKE_SHARE * length_s if spike_s is None else spike_s
    if spike_s > length_s:
        raise ValueError("the spike is longer than the whole")
    around_s = (length_s - spike_s) / 2
    return Schedule([Stage(rate, rate, around_s), Stage(peak, peak, spike_s), Stage(rate, rate, around_s)], count)


class Arrivals(Protocol):
    """Says when the next request is due, on the clock passed to `begin`."""

    due_at: float
    """The time of the next request: in the past if it may be sent at once, inf if none is left."""

    def begin(self, now: float) -> None:
        """Start the schedule at `now`; no request is due earlier."""
        ...

    def take(self, now: float) -> float:
        """Remove the next request and return when it was due."""
        ...

    def overdue(self, upto: float) -> list[float]:
        """Remove all requests with fixed times up to `upto`, and return those times."""
        ...


class OpenModel:
    """An open model: requests have fixed times, whatever became of the earlier ones."""

    def __init__(self, times_s: Iterable[float]) -> None:
        self.due_at = math.inf
        self._times_s = iter(times_s)
        self._began = 0.0

    def begin(self, now: float) -> None:
        """Start the schedule at `now`."""
        self._began = now
        self.due_at = now + next(self._times_s, math.inf)

    def take(self, now: float) -> float:
        """Return when the next request was due, however long ago, and move on."""
        due_at, self.due_at = self.due_at, self._began + next(self._times_s, math.inf)
        return due_at

    def overdue(self, upto: float) -> list[float]:
        """Return the times up to `upto` of requests that were not taken."""
        due_at = []
        while self.due_at <= upto and self.due_at < math.inf:
            due_at.append(self.take(upto))
        return due_at


class ClosedModel:
    """A closed model: a request is due as soon as an earlier one is answered; `count` in all, or endless."""

    def __init__(self, count: float = math.inf) -> None:
        self.due_at = math.inf
        self._left = count

    def begin(self, now: float) -> None:
        """Make the first request due."""
        if self._left > 0:
            self.due_at = now

    def take(self, now: float) -> float:
        """Return `now`, the time at which the request is due."""
        self._left -= 1
        if self._left <= 0:
            self.due_at = math.inf
        return now

    def overdue(self, upto: float) -> list[float]:
        """Return no times: a request is due when there is a place for it."""
        return []
