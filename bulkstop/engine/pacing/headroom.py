"""The allowance that a service states in its responses, as a limit beside the stated quota.

It only makes a pace stricter: a service that accepts more than the quota changes nothing. The remaining calls were
counted together with the call whose response states them. Calls counted later are still in flight, or their responses
would state less. So calls may be sent while fewer are in flight than remain, in whatever order responses arrive.

When none remain, nothing is sent before the stated time, or, if places come back one by one, only at an even pace.
"""

import math
from collections.abc import Sequence

from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.model import Allowance, Limit

DISTRUST_WINDOWS = 10
"""A service that refused a call although it had stated an allowance is ignored for this many windows."""
SILENT_ANSWERS = 3
"""After this many responses in a row without an allowance, the last one is forgotten."""
GRADUAL_REFILLS = 2
"""After places came back early this often, the service is taken to refill gradually; once may be a call that it did not
count."""
ROUNDED_S = 1.0
"""A stated time may be too long by this much: most services round their seconds up."""


class Headroom:
    """The calls that a service says it accepts and until when, and the window that it counts in.

    `stated` are the limits that are kept anyway; `in_flight` counts the calls without a response so far.
    """

    def __init__(self, stated: Sequence[Limit]) -> None:
        self._stated = tuple(stated)
        self._window_s = min(limit.window_s for limit in stated)
        self._distrusted_until = -math.inf
        self._remaining: int | None = None
        self._noted_at = self._counted_at = self._resets_at = -math.inf
        self._refill_s: float | None = None
        self._silent_answers = 0
        self._limit: Limit | None = None
        self._window: RollingWindow | None = None
        self._answered_at, self._most_s = -math.inf, math.inf
        self._refills = 0
        self._last = (0, math.inf, -math.inf)  # of the last response: what remained, its time, its reset

    @property
    def interval_s(self) -> float:
        """The seconds between two evenly spaced calls by the service's own limit; 0 if it states none."""
        return 0.0 if self._limit is None else min(self._window_s, self._limit.window_s / self._limit.calls)

    @property
    def is_gradual(self) -> bool:
        """Whether places come back one by one before the stated time, as with a sliding window."""
        return self._refills >= GRADUAL_REFILLS

    def ready_at(self, in_flight: int) -> float:
        """Return when one more call may be sent; inf if only a response can tell."""
        ready_at = -math.inf
        if self._window is not None and ((ready_at := self._window.ready_at()) < math.inf or not in_flight):
            ready_at = min(ready_at, self._answered_at + self._most_s)
        if self._remaining is None or in_flight < self._remaining:
            return ready_at
        if self._refill_s is not None:
            return max(ready_at, self._counted_at + (in_flight + 1 - self._remaining) * self._refill_s)
        return math.inf if in_flight else max(ready_at, self._resets_at)

    def take(self, now: float) -> None:
        """Count a call that is sent."""
        if self._window is not None:
            self._window.take(now)

    def give_back(self, taken_at: float) -> None:
        """Remove a call that was not sent from the count."""
        if self._window is not None:
            self._window.give_back(taken_at)

    def answered(self, now: float, sent_at: float) -> None:
        """Start the age of a call's place now."""
        self._answered_at = now
        if self._window is not None:
            self._window.answered(now, sent_at, throttled=False)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return the places of the service's own limit, and the one that is taken until it accepts more."""
        places = [] if self._window is None else self._window.places(now, latency_s)
        if self._remaining == 0 and self._refill_s is None and self._resets_at > now:
            places.append(Places(1, self.interval_s or latency_s, (self._resets_at,)))
        return places

    def watch_refill(self, now: float, sent_at: float, remaining: int, reset_s: float | None) -> None:
        """Note whether an accepted call left no fewer calls than before, ahead of the stated time."""
        before, noted_at, resets_at = self._last
        if noted_at <= sent_at < resets_at - ROUNDED_S and remaining >= before:
            self._refills += 1
        self._last = remaining, now, (sent_at + now) / 2 + (reset_s or 0.0)

    def note(
        self,
        now: float,
        sent_at: float,
        said: Allowance | None,
        *,
        is_refused: bool,
        is_binding: bool,
        in_flight: int,
        refill_s: float | None,
        most_s: float,
    ) -> None:
        """Note the allowance in a response if it `is_binding`; its call is still counted as in flight.

        A place comes back every `refill_s` seconds, or all do at the stated time, but within `most_s` at the latest.
        """
        self._most_s = most_s
        if now < self._distrusted_until:
            return
        if is_refused and (said.remaining if said is not None else self._remaining):
            self._forget()
            self._distrusted_until = now + DISTRUST_WINDOWS * self._window_s
        elif said is None:
            self._note_silence()
        else:
            self._silent_answers = 0
            self._note_limit(now, said, in_flight)
            is_newer = sent_at >= self._noted_at
            if said.remaining is None or not is_binding:
                self._remaining = None if is_newer else self._remaining
            elif is_newer or self._remaining is None or said.remaining < self._remaining:
                self._remaining, self._refill_s = said.remaining, refill_s
                self._noted_at, self._counted_at = now, (sent_at + now) / 2
                self._resets_at = self._counted_at + min(said.reset_s or 0.0, most_s)

    def _note_limit(self, now: float, said: Allowance, in_flight: int) -> None:
        limit = Limit(said.limit, said.window_s) if said.limit and said.window_s else None
        if limit is not None and any(_holds(stated, limit) for stated in self._stated):
            limit = None
        if limit != self._limit:
            self._limit = limit
            self._window = None if limit is None else RollingWindow([limit])
            for _ in range(in_flight):
                self.take(now)

    def _note_silence(self) -> None:
        self._silent_answers += 1
        if self._silent_answers >= SILENT_ANSWERS:
            self._forget()
        elif self._remaining is not None:
            self._remaining = max(0, self._remaining - 1)

    def _forget(self) -> None:
        self._remaining = self._limit = self._window = None
        self._silent_answers = 0


def _holds(stated: Limit, said: Limit) -> bool:
    """Return whether keeping one limit implies keeping the other."""
    return stated.calls * math.ceil(said.window_s / stated.window_s) <= said.calls
