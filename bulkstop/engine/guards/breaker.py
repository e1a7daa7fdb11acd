"""A circuit breaker over the calls of a run: while the service is down, only probes are sent.

https://martinfowler.com/bliki/CircuitBreaker.html; time is a parameter, and there is one probe at a time.
"""

import math
from collections.abc import Callable

from bulkstop.errors import GuardError
from bulkstop.events import BreakerClosed, BreakerOpened, Observe, ignore
from bulkstop.model import Outcome
from bulkstop.naming import name_setting
from bulkstop.text import shorten

DOWN = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT, Outcome.SERVER_ERROR})
"""The outcomes when the service is down; any other response, even a refusal, shows that it works."""

UNANSWERED = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT})
"""The outcomes of a call without a response."""


class Breaker:
    """Opens after `threshold` outcomes of DOWN in a row; then sends one probe at a time until one succeeds.

    The pause before a probe is `first_pause_s`; each failed probe doubles it, up to `longest_pause_s`. The last probe
    is sent after `bound_s` of being open; if it fails too, `fault` is set. That time is measured by `awake_s`, a clock
    in seconds that may stop while the machine sleeps, unlike the clock of the calls.

    Only a probe proves that the service is back. Responses to calls that were sent before the breaker opened, or before
    the probe that closed it, are ignored: a service that shuts down still completes the calls it has begun, and
    timeouts of an outage arrive after it.

    A lasting failure, such as an expired certificate, sets `fault` at once if no call was answered before. Later it
    counts as an outage: a certificate that changes during a run that worked is usually fixed meanwhile.
    """

    def __init__(
        self,
        threshold: float = 10,
        first_pause_s: float = 1.0,
        longest_pause_s: float = 30.0,
        bound_s: float = 300.0,
        observe: Observe = ignore,
        awake_s: Callable[[], float] | None = None,
    ) -> None:
        if threshold < 1 or not 0 < first_pause_s <= longest_pause_s or bound_s <= 0:
            raise ValueError("a breaker opens at 1 failure or more, and pauses and its bound are above 0 s")
        self.is_open = False
        self.has_answered = False
        self.fault: GuardError | None = None
        self._threshold = threshold
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._bound_s = bound_s
        self._observe = observe
        self._awake_s = awake_s
        self._in_row = 0
        self._opened_at = -math.inf
        self._pause_s = first_pause_s
        self._next_at = -math.inf
        self._probe: float | None = None  # when the probe was sent, which identifies it: nothing else is sent meanwhile
        self._works_since = -math.inf

    def ready_at(self) -> float:
        """Return when a call may be sent: -inf when closed, else the time of the next probe; inf while one is out."""
        if not self.is_open:
            return -math.inf
        return self._next_at if self._probe is None and self.fault is None else math.inf

    def left(self, now: float) -> None:
        """Note that a call is sent; while the breaker is open, the first one that is due becomes the probe."""
        if self.is_open and self._probe is None and now >= self._next_at:
            self._probe = now

    def unleft(self, sent_at: float) -> None:
        """Undo `left`: the call was not sent, or its response is lost; if it was the probe, another may be sent."""
        if self._probe == sent_at:
            self._probe = None

    def lets_leave(self, sent_at: float) -> bool:
        """Return whether a call drawn at `sent_at` and delayed since may still be sent."""
        return not self.is_open or self._probe == sent_at

    def answered(
        self, now: float, sent_at: float, outcome: Outcome, error: str | None = None, *, is_lasting: bool = False
    ) -> None:
        """Note the outcome of a call sent at `sent_at`; a lasting failure is one that waiting does not cure."""
        self.has_answered = self.has_answered or outcome not in UNANSWERED
        if is_lasting and not self.has_answered:
            self.fault = GuardError(error or str(outcome))
        if self.is_open:
            if self._probe == sent_at:
                self._probed(now, sent_at, outcome, error)
        elif sent_at >= self._works_since:
            self._in_row = self._in_row + 1 if outcome in DOWN else 0
            if self._in_row >= self._threshold:
                self._open(now, outcome, error)

    def _open(self, now: float, outcome: Outcome, error: str | None) -> None:
        self._observe(BreakerOpened(int(self._in_row), outcome.value, error, self._first_pause_s))
        self.is_open = True
        self._opened_at = self._read_awake(now)
        self._pause_s = self._first_pause_s
        self._wait(now)

    def _probed(self, now: float, sent_at: float, outcome: Outcome, error: str | None) -> None:
        self._probe = None
        down_s = self._read_awake(now) - self._opened_at
        if outcome not in DOWN:
            self._observe(BreakerClosed(round(down_s, 3)))
            self.is_open = False
            self._in_row = 0
            self._works_since = sent_at
        elif down_s >= self._bound_s:
            self.fault = self._given_up(down_s, outcome, error)
        else:
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
            self._wait(now)

    def _wait(self, now: float) -> None:
        self._next_at = now + min(self._pause_s, self._opened_at + self._bound_s - self._read_awake(now))

    def _read_awake(self, now: float) -> float:
        return now if self._awake_s is None else self._awake_s()

    def _given_up(self, down_s: float, outcome: Outcome, error: str | None) -> GuardError:
        last = f"{outcome} ({shorten(error)})" if error else str(outcome)
        return GuardError(
            f" {self._bound_s:g}s: every probe has failed for {down_s:,.0f} s, the last with {last}; "
            f"nothing more was sent: go on with {name_setting('resume', True)} when that is mended",
            setting="max_outage_s",
        )
