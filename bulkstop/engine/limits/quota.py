"""How many calls an account may make: exact rolling windows, and other limits with the same face."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from bulkstop.engine.limits.estimate import Departures, Places
from bulkstop.model import Allowance, Limit, PaceFinding

DECREASE = 0.7
INCREASE = 0.1
"""AIMD (https://en.wikipedia.org/wiki/Additive_increase/multiplicative_decrease): a throttled window leaves 0.7 of
the limit; each window of it that ends untroubled gives 0.1 back. Somebody else then uses the account as well, and
these are about the shares at which the two find each other within some windows."""


class Quota(Protocol):
    """Says when the next call of an account may leave, on a monotonic clock in seconds."""

    def ready_at(self) -> float:
        """Return the time from which a call may leave; inf while only an answer can free a place."""
        ...

    def take(self, now: float) -> None:
        """Use one place, for a call that leaves now."""
        ...

    def give_back(self, taken_at: float) -> None:
        """Put back the place that was taken at that time: its call never left."""
        ...

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Note a call's answer: refused for its number, `failed` for another reason (or none came), or good."""
        ...

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Note what an answer says of the limit, before it is noted as answered; no wait is longer than `most_s`."""
        ...

    def note_unavailable(self, sent_at: float) -> bool:
        """Tell whether a 503 is taken for a refusal; `answered` is told then that it was one."""
        ...

    def finding(self) -> PaceFinding | None:
        """Return why calls leave more slowly than the quota lets them; None where they do not."""
        ...

    def remember(self, wall_s: float) -> str | None:
        """Return what is learnt of the service as a short text, for another process; `wall_s` is in unix seconds."""
        ...

    def recall(self, text: str, wall_s: float) -> None:
        """Begin with what another process has learnt, unless it is old or of no sense."""
        ...

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return what its calls take, as it is now; an answer takes `latency_s`."""
        ...


class LearnsNothing:
    """What a quota has that paces its calls without a word of the service's: nothing is learnt, and nothing kept."""

    __slots__ = ()

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Do nothing."""

    def note_unavailable(self, sent_at: float) -> bool:
        """Take none for a refusal."""
        return False

    def finding(self) -> PaceFinding | None:
        """Return none."""
        return None

    def remember(self, wall_s: float) -> str | None:
        """Return none: nothing is learnt."""
        return None

    def recall(self, text: str, wall_s: float) -> None:
        """Do nothing."""


class NoQuota(LearnsNothing):
    """Every call may leave at once."""

    def ready_at(self) -> float:
        """Return the beginning of time."""
        return -math.inf

    def take(self, now: float) -> None:
        """Do nothing."""

    def give_back(self, taken_at: float) -> None:
        """Do nothing."""

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return none."""
        return []


class RollingWindow(LearnsNothing):
    """A log of the last calls: in no window of the given length does the server see more than the limit.

    A sliding-window log, not a token bucket: a bucket of burst 60 that refills at 1/s lets about 120 calls into one
    rolling minute. A place is taken when a call leaves and ages from when it was answered: the server counted the
    call some time between the two, and only so is the window exact whatever the network does.

    When the server throttles all the same, somebody else uses the account: the limits shrink and recover (AIMD).
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
        """Tell which part of its limits is in use, 1 unless the server has throttled."""
        return self._share

    def ready_at(self) -> float:
        """Return the time at which every window has a free place; inf while only an answer can free one."""
        ready_at = -math.inf
        for limit in self._limits:  # and no max() of a generator: this is asked twice for each call
            if (free_at := self._free_at(limit)) > ready_at:
                ready_at = free_at
        return ready_at

    def has_places(self, count: int, now: float) -> bool:
        """Tell whether so many calls could leave now."""
        return all(self._free_at(limit, count) <= now for limit in self._limits)

    def take(self, now: float) -> None:
        """Use one place."""
        self._in_flight += 1

    def give_back(self, taken_at: float) -> None:
        """Free one place that was not used."""
        self._in_flight -= 1

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Let one place age from now on; a throttled one counts as well, for all that is known of the server."""
        self._in_flight -= 1
        self._answered.append(now)
        if throttled:
            self._shrink(now, sent_at)
        elif self._share < 1.0 and not failed:  # an error proves nothing about the limit
            self._grow(now)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return a place for each call of each limit; one in flight counts as if half its way was behind it."""
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
        if sent_at > self._shrunk_at:  # else it left before the last decrease, and is the same event
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
    """Spreads the calls over the windows: one leaves an even share of the tightest window after the other."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._interval_s = max(limit.window_s / limit.calls for limit in limits)
        self._next = self._before = self._taken_at = -math.inf

    def ready_at(self) -> float:
        """Return the time of the next call; a call that is late moves those after it (a limit forgets lateness)."""
        return self._next

    def take(self, now: float) -> None:
        """Move the next call one interval on."""
        self._taken_at, self._before = now, self._next
        self._next = max(self._next, now) + self._interval_s

    def give_back(self, taken_at: float) -> None:
        """Move the next call back, unless others have left since: they would be followed too soon."""
        if taken_at == self._taken_at:
            self._next, self._taken_at = self._before, -math.inf

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Do nothing."""

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the one place, taken until the next call may leave."""
        return [Places(1, self._interval_s, (self._next,))]


class AllOf:
    """Several limits at once: a call leaves when every one of them lets it."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self._quotas = tuple(quotas)

    def ready_at(self) -> float:
        """Return the latest of the times."""
        return max(quota.ready_at() for quota in self._quotas)

    def take(self, now: float) -> None:
        """Use a place of each."""
        for quota in self._quotas:
            quota.take(now)

    def give_back(self, taken_at: float) -> None:
        """Free the place of each."""
        for quota in self._quotas:
            quota.give_back(taken_at)

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Tell each."""
        for quota in self._quotas:
            quota.answered(now, sent_at, throttled=throttled, failed=failed)

    def note_allowance(
        self, now: float, sent_at: float, said: Allowance | None, *, throttled: bool = False, most_s: float = math.inf
    ) -> None:
        """Tell each."""
        for quota in self._quotas:
            quota.note_allowance(now, sent_at, said, throttled=throttled, most_s=most_s)

    def note_unavailable(self, sent_at: float) -> bool:
        """Take it for one if any does; each is told."""
        answers = [quota.note_unavailable(sent_at) for quota in self._quotas]
        return any(answers)

    def finding(self) -> PaceFinding | None:
        """Return the first that any has."""
        return next(filter(None, (quota.finding() for quota in self._quotas)), None)

    def remember(self, wall_s: float) -> str | None:
        """Return what the first has that has learnt something."""
        return next(filter(None, (quota.remember(wall_s) for quota in self._quotas)), None)

    def recall(self, text: str, wall_s: float) -> None:
        """Tell each."""
        for quota in self._quotas:
            quota.recall(text, wall_s)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return those of each."""
        return [places for quota in self._quotas for places in quota.places(now, latency_s)]


def min_duration_s(calls: int, limits: Sequence[Limit]) -> float:
    """Return the seconds from the first to the last of `calls` calls when every window is used to its limit.

    Under one limit of c calls the n-th call leaves floor((n - 1) / c) windows after the first. Under several, each call
    leaves one window after the call c before it, for whichever limit that is latest.
    """
    return Departures([Places(limit.calls, limit.window_s) for limit in limits], calls).leave(calls)
