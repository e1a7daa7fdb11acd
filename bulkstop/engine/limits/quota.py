"""The quota of an account: exact rolling windows, and other limits with the same interface."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from bulkstop.engine.limits.estimate import Departures, Places
from bulkstop.model import Allowance, Limit, PaceFinding

DECREASE = 0.7
INCREASE = 0.1
"""AIMD (https://en.wikipedia.org/wiki/Additive_increase/multiplicative_decrease): a throttled window leaves 0.7 of the
limit; each such window that ends untroubled adds 0.1. Then another client uses the account too, and with these shares
the two adapt to each other within some windows."""


class Quota(Protocol):
    """Decides when the next call of an account may be sent, on a monotonic clock in seconds."""

    def ready_at(self) -> float:
        """Return when a call may be sent; inf if only a response can free a place."""
        ...

    def take(self, now: float) -> None:
        """Use one place for a call sent now."""
        ...

    def give_back(self, taken_at: float) -> None:
        """Return the place taken at `taken_at`: its call was not sent."""
        ...

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Note the response to a call: throttled, `failed` for another reason (or none arrived), or good."""
        ...

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Note the allowance in a response, before `answered`; no wait is longer than `most_s`."""
        ...

    def note_unavailable(self, sent_at: float) -> bool:
        """Return whether a 503 counts as a refusal; then `answered` is called with `throttled`."""
        ...

    def finding(self) -> PaceFinding | None:
        """Return why calls are slower than the quota permits; None if they are not."""
        ...

    def remember(self, wall_s: float) -> str | None:
        """Return what was learnt of the service as a short text for another process; `wall_s` is in unix seconds."""
        ...

    def recall(self, text: str, wall_s: float) -> None:
        """Start from what another process has learnt, unless the text is old or invalid."""
        ...

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the places that its calls take, as of now; a response takes `latency_s`."""
        ...


class LearnsNothing:
    """The part of a quota that ignores what the service says: it learns and keeps nothing."""

    __slots__ = ()

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Do nothing."""

    def note_unavailable(self, sent_at: float) -> bool:
        """Return False: a 503 is no refusal."""
        return False

    def finding(self) -> PaceFinding | None:
        """Return None."""
        return None

    def remember(self, wall_s: float) -> str | None:
        """Return None: nothing is learnt."""
        return None

    def recall(self, text: str, wall_s: float) -> None:
        """Do nothing."""


class NoQuota(LearnsNothing):
    """Permits every call at once."""

    def ready_at(self) -> float:
        """Return -inf."""
        return -math.inf

    def take(self, now: float) -> None:
        """Do nothing."""

    def give_back(self, taken_at: float) -> None:
        """Do nothing."""

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return no places."""
        return []


class RollingWindow(LearnsNothing):
    """A log of the last calls: in no window of the given length does the server receive more than the limit.

    It is a sliding-window log because a token bucket of burst 60 that refills at 1/s admits about 120 calls in a
    rolling minute. A place is taken when its call is sent and ages from its response: the server counted the call some
    time between the two, so only this is exact on any network.

    If the server throttles nevertheless, another client uses the account: the limits shrink and recover (AIMD).
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        self._in_flight = 0
        self._answered: deque[float] = deque(maxlen=max(limit.calls for limit in self._limits))
        self._share = 1.0
        self._shrunk_at = -math.inf
        self._grown_at = -math.inf

    @property
    def share(self) -> float:
        """The part of its limits in use; 1 unless the server has throttled."""
        return self._share

    def ready_at(self) -> float:
        """Return when every window has a free place; inf if only a response can free one."""
        ready_at = -math.inf
        for limit in self._limits:  # a loop rather than max() over a generator, because this runs twice per call
            if (free_at := self._free_at(limit)) > ready_at:
                ready_at = free_at
        return ready_at

    def has_places(self, count: int, now: float) -> bool:
        """Return whether `count` calls could be sent at `now`."""
        return all(self._free_at(limit, count) <= now for limit in self._limits)

    def take(self, now: float) -> None:
        """Use one place."""
        self._in_flight += 1

    def give_back(self, taken_at: float) -> None:
        """Return one place that was not used."""
        self._in_flight -= 1

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Start the age of one place now; throttled calls count as well, as the server may count them."""
        self._in_flight -= 1
        self._answered.append(now)
        if throttled:
            self._shrink(now, sent_at)
        elif self._share < 1.0 and not failed:  # an error proves nothing about the limit
            self._grow(now)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return a place for each call of each limit; a call in flight counts as half answered."""
        in_flight = (now + latency_s / 2,) * self._in_flight
        return [
            Places(
                max(1, int(limit.calls * self._share)),
                limit.window_s + latency_s,
                tuple(at + limit.window_s for at in (*self._answered, *in_flight) if at + limit.window_s > now),
                is_shared=True,
            )
            for limit in self._limits
        ]

    def _shrink(self, now: float, sent_at: float) -> None:
        if sent_at > self._shrunk_at:  # calls sent before the last decrease belong to the same event
            self._share *= DECREASE
            self._shrunk_at = self._grown_at = now

    def _grow(self, now: float) -> None:
        if now - self._grown_at >= self._limits[0].window_s:
            self._share = min(1.0, self._share + INCREASE)
            self._grown_at = now

    def _free_at(self, limit: Limit, count: int = 1) -> float:
        room = max(1, int(limit.calls * self._share)) - self._in_flight - (count - 1)
        if room <= 0:
            return math.inf
        if len(self._answered) < room:
            return -math.inf
        return self._answered[-room] + limit.window_s


class EvenPacer(LearnsNothing):
    """Spreads calls evenly over the tightest window."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._interval_s = max(limit.window_s / limit.calls for limit in limits)
        self._next = self._before = self._taken_at = -math.inf

    def ready_at(self) -> float:
        """Return when the next call may be sent; a late call delays those after it (a limit forgets lateness)."""
        return self._next

    def take(self, now: float) -> None:
        """Move the next call by one interval."""
        self._taken_at, self._before = now, self._next
        self._next = max(self._next, now) + self._interval_s

    def give_back(self, taken_at: float) -> None:
        """Undo `take`, unless other calls were sent since: the next would follow them too soon."""
        if taken_at == self._taken_at:
            self._next, self._taken_at = self._before, -math.inf

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return one place, taken until the next call may be sent."""
        return [Places(1, self._interval_s, (self._next,))]


class AllOf:
    """Several limits at once: a call may be sent when all of them permit it."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self._quotas = tuple(quotas)

    def ready_at(self) -> float:
        """Return the latest of their times."""
        return max(quota.ready_at() for quota in self._quotas)

    def take(self, now: float) -> None:
        """Use a place of each limit."""
        for quota in self._quotas:
            quota.take(now)

    def give_back(self, taken_at: float) -> None:
        """Return the place of each limit."""
        for quota in self._quotas:
            quota.give_back(taken_at)

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Pass it to each limit."""
        for quota in self._quotas:
            quota.answered(now, sent_at, throttled=throttled, failed=failed)

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Pass it to each limit."""
        for quota in self._quotas:
            quota.note_allowance(now, sent_at, said, throttled=throttled, most_s=most_s)

    def note_unavailable(self, sent_at: float) -> bool:
        """Pass it to each limit; return True if any counts it as a refusal."""
        answers = [quota.note_unavailable(sent_at) for quota in self._quotas]
        return any(answers)

    def finding(self) -> PaceFinding | None:
        """Return the first finding of any limit."""
        return next(filter(None, (quota.finding() for quota in self._quotas)), None)

    def remember(self, wall_s: float) -> str | None:
        """Return what the first limit with something to remember has learnt."""
        return next(filter(None, (quota.remember(wall_s) for quota in self._quotas)), None)

    def recall(self, text: str, wall_s: float) -> None:
        """Pass it to each limit."""
        for quota in self._quotas:
            quota.recall(text, wall_s)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the places of each limit."""
        return [places for quota in self._quotas for places in quota.places(now, latency_s)]


def min_duration_s(calls: int, limits: Sequence[Limit]) -> float:
    """Return the seconds from the first to the last of `calls` calls if every window is used fully.

    Under one limit of c calls the n-th call is sent floor((n - 1) / c) windows after the first. Under several, each
    call is sent one window after the call c before it, by the limit for which that is latest.
    """
    return Departures([Places(limit.calls, limit.window_s) for limit in limits], calls).leave(calls)
