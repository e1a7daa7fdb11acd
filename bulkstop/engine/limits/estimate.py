"""The times at which calls will be sent, computed from the calls in the windows and from the time of a response.

A call takes a place of every limit, and each place is free again some time later. So the n-th call is sent when the
last of its places is free; this describes a rolling window, an even pace and workers that wait for responses alike.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

STEPS = 1024
"""Calls that are simulated one by one. Beyond them time advances by whole cycles of the binding limit, and if that has
more places than half of this, several calls are simulated as one."""


class Places(NamedTuple):
    """A limit as `size` places, each taken by a call for `hold_s`; `taken_until` says when used ones are free.

    With `is_shared` a store may know of other calls that use its places.
    """

    size: int
    hold_s: float
    taken_until: tuple[float, ...] = ()
    is_shared: bool = False

    @property
    def interval_s(self) -> float:
        """The mean interval between calls at the full rate of the limit."""
        return self.hold_s / self.size


class Stored(NamedTuple):
    """The times of the calls that a store had counted when it was asked at `at`, from all its users."""

    at: float
    times: tuple[float, ...]


class Workers(NamedTuple):
    """The concurrency: `limit` calls in flight now, one more with each response, up to `most`; `busy` are in use."""

    limit: float = math.inf
    most: float = math.inf
    busy: int = 0


class Departures:
    """Computes when the next calls of an account, `calls` in all, are sent: each as soon as there is a place.

    A response takes `latency_s`; 0 means unknown, and then the concurrency causes no delay. Of many calls
    `calls_a_step` are simulated as one.
    """

    def __init__(
        self,
        places: Sequence[Places],
        calls: int,
        *,
        now: float = 0.0,
        latency_s: float = 0.0,
        workers: Workers | None = None,
    ) -> None:
        self._at = now
        held = [each for each in places if each.hold_s > 0]
        busiest = max((each for each in held), key=lambda each: each.interval_s, default=None)
        most = 0 if busiest is None else busiest.size
        self.calls_a_step = 1 if calls <= STEPS else max(1, math.ceil(most / (STEPS // 2)))
        self._queues = [_Queue(each, self.calls_a_step) for each in held]
        if workers is not None and latency_s > 0 and workers.most < math.inf:
            self._queues.append(_worker_queue(workers, self.calls_a_step, now, latency_s))
        self._binding = max(self._queues, key=lambda each: each.hold_s / each.size, default=None)

    def leave(self, calls: int, not_before: float = -math.inf) -> float:
        """Send `calls` more, and return when the last of them is sent."""
        self._at = max(self._at, not_before)
        steps = math.ceil(calls / self.calls_a_step)
        if self._binding is None or steps < 1:
            return self._at
        size, hold_s = self._binding.size, self._binding.hold_s
        cycles = max(0, math.ceil((steps - STEPS) / size))
        for _ in range(steps - cycles * size):
            self._step()
        if cycles:
            self._at += cycles * hold_s
            for queue in self._queues:
                queue.shift(cycles * hold_s)
        return self._at

    def leave_in_turn(self, calls: int, not_before: float, answer_s: float) -> float:
        """Send `calls` more, each after the response to the one before; return when the last response arrives."""
        at = not_before
        for before in range(0, calls, self.calls_a_step):
            step = min(self.calls_a_step, calls - before)
            at = self.leave(step, at) + step * answer_s
        return at

    def _step(self) -> None:
        at = self._at
        for queue in self._queues:
            if not queue.free and queue.until[0] > at:
                at = queue.until[0]
        for queue in self._queues:
            queue.take(at)
        self._at = at


class _Queue:
    """The places of a limit, ordered by when they are free; each response makes it larger by `grows`."""

    __slots__ = ("free", "grows", "hold_s", "size", "until")

    def __init__(self, places: Places, calls_a_step: int, grows: int = 0) -> None:
        self.size = max(1, round(places.size / calls_a_step))
        # A size rounded to whole steps keeps the mean rate this way.
        self.hold_s = places.hold_s * (self.size * calls_a_step / places.size)
        taken = sorted(places.taken_until)[calls_a_step - 1 :: calls_a_step]
        self.until = deque(taken[max(0, len(taken) - self.size) :])
        self.free = self.size - len(self.until)
        self.grows = grows

    def take(self, at: float) -> None:
        if self.free:
            self.free -= 1
        else:
            self.until.popleft()
        self.until.append(at + self.hold_s)
        if self.grows:
            self.grows -= 1
            self.size += 1
            self.until.append(at + self.hold_s)

    def shift(self, seconds: float) -> None:
        self.until = deque(each + seconds for each in self.until)


def _worker_queue(workers: Workers, calls_a_step: int, now: float, latency_s: float) -> _Queue:
    """Return the places of the workers; responses to calls in flight arrive evenly within one latency."""
    most = math.ceil(workers.most)
    limit = most if calls_a_step > 1 else max(1, int(min(workers.limit, most)))
    busy = min(workers.busy, limit)
    until = tuple(now + latency_s * (number + 1) / busy for number in range(busy))
    hold_s = latency_s * limit / workers.most if limit == most else latency_s  # a fraction of a worker is a slower one
    return _Queue(Places(limit, hold_s, until), calls_a_step, grows=most - limit)


def add_stored(places: Sequence[Places], stored: Stored | None, latency_s: float = 0.0) -> list[Places]:
    """Return the places with the store's calls added; it had counted this process's own calls made before `at`."""
    return [each if stored is None or not each.is_shared else _add(each, stored, latency_s) for each in places]


def _add(places: Places, stored: Stored, latency_s: float) -> Places:
    window_s = places.hold_s - latency_s
    own = tuple(until for until in places.taken_until if until - window_s > stored.at)
    return places._replace(taken_until=(*(at + window_s for at in stored.times), *own))


def count_leaving(seconds: float, calls: int, places: Sequence[Places]) -> int:
    """Return how many of `calls` calls can be sent within `seconds` from now."""
    low, high = 0, calls
    while low < high:
        middle = (low + high + 1) // 2
        fits = Departures(places, middle).leave(middle) <= seconds
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
