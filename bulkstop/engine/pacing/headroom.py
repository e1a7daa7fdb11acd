"""What a service says in its answers that it still takes, as a limit beside those that are stated.

It only ever makes a pace stricter: a service that says that it takes more than is stated changes nothing. What remains
was counted together with the call whose answer says it. Calls that were counted later are still in flight, or their
answers would say less. So calls may leave while fewer are in flight than remain, in whatever order answers come.

When none remain, nothing leaves before the time that the service says, or, where its places come back one by one, not
faster than evenly.
"""

import math
from collections.abc import Sequence

from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.model import Allowance, Limit

DISTRUST_WINDOWS = 10
"""For so many windows a service is not believed that has refused a call of those that it said it would take."""
SILENT_ANSWERS = 3
"""After so many answers in a row that say nothing, what was said before is forgotten."""
GRADUAL_REFILLS = 2
"""So often places came back before their time, until that is taken for the way in which a service counts: it may also
be that one call was not counted."""
ROUNDED_S = 1.0
"""A time that is told may be as much too long: most services round their seconds up."""


class Headroom:
    """How many calls a service says that it takes until when, and over which time it counts.

    `stated` are the limits that are kept anyway; `in_flight` counts the calls that have no answer yet.
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
        self._last = (0, math.inf, -math.inf)  # what remained in the last answer, when that came, when it is to reset

    @property
    def interval_s(self) -> float:
        """The seconds between two calls that come evenly, as far as the service says; 0 where it does not."""
        return 0.0 if self._limit is None else min(self._window_s, self._limit.window_s / self._limit.calls)

    @property
    def is_gradual(self) -> bool:
        """Whether places come back one by one before the time that the service says, as with a sliding window."""
        return self._refills >= GRADUAL_REFILLS

    def ready_at(self, in_flight: int) -> float:
        """Return the time from which one more may leave; inf while only an answer can tell."""
        ready_at = -math.inf
        if self._window is not None and ((ready_at := self._window.ready_at()) < math.inf or not in_flight):
            ready_at = min(ready_at, self._answered_at + self._most_s)
        if self._remaining is None or in_flight < self._remaining:
            return ready_at
        if self._refill_s is not None:
            return max(ready_at, self._counted_at + (in_flight + 1 - self._remaining) * self._refill_s)
        return math.inf if in_flight else max(ready_at, self._resets_at)

    def take(self, now: float) -> None:
        """Count a call that leaves."""
        if self._window is not None:
            self._window.take(now)

    def give_back(self, taken_at: float) -> None:
        """Forget a call that never left."""
        if self._window is not None:
            self._window.give_back(taken_at)

    def answered(self, now: float, sent_at: float) -> None:
        """Let the place of a call age from now on."""
        self._answered_at = now
        if self._window is not None:
            self._window.answered(now, sent_at, throttled=False)

    def places(self, now: float, latency_s: float) -> list[Places]:
        """Return those of the service's own limit, and the one that is taken until it takes more."""
        places = [] if self._window is None else self._window.places(now, latency_s)
        if self._remaining == 0 and self._refill_s is None and self._resets_at > now:
            places.append(Places(1, self.interval_s or latency_s, (self._resets_at,)))
        return places

    def watch_refill(self, now: float, sent_at: float, remaining: int, reset_s: float | None) -> None:
        """Note whether a call that was let through left no fewer than there were before, and that before the time."""
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
        """Note what an answer says, if it `is_binding`; the call it is about is one of those in flight.

        A place comes back each `refill_s` seconds, or all do when the service says, but no later than in `most_s`.
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
    """Tell whether who keeps one limit keeps the other as well."""
    return stated.calls * math.ceil(said.window_s / stated.window_s) <= said.calls
