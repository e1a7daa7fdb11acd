"""When nothing may leave because the service is down: a circuit breaker over the calls of a run.

https://martinfowler.com/bliki/CircuitBreaker.html; time is a parameter, and one probe at a time asks again.
"""

import math
from collections.abc import Callable

from bulkstop.errors import GuardError
from bulkstop.events import BreakerClosed, BreakerOpened, Observe, ignore
from bulkstop.model import Outcome
from bulkstop.naming import name_setting
from bulkstop.text import shorten

DOWN = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT, Outcome.SERVER_ERROR})
"""The answers that a service gives which is down; any other one, a refusal too, shows that it works."""

UNANSWERED = frozenset({Outcome.CONNECTION_ERROR, Outcome.TIMEOUT})
"""What a call has come to that nobody answered."""


class Breaker:
    """Opens at `threshold` such answers in a row; then one probe at a time leaves until one shows that it works.

    The pause before a probe is `first_pause_s`, doubled with each that fails, up to `longest_pause_s`. The last one
    leaves when it has been open for `bound_s`; if that fails too, `fault` is set. That is counted by `awake_s`, a clock
    in seconds, where the one of the calls goes on while the machine sleeps.

    Only a probe says whether the service is back. A call that left before the breaker opened and is answered while it
    is open, or after the probe that closed it left, tells of the time before: a service that shuts down still answers
    what it has begun, and the timeouts of an outage come in when it is over. Such answers change nothing.

    A lasting failure, such as a certificate that has expired, sets `fault` at once while nobody has answered yet. Later
    it is an outage like any other: a certificate that changes under a run that worked is most often mended meanwhile.
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
        self._probe: float | None = None  # when the probe left: nothing else leaves while it is out, so it has a name
        self._works_since = -math.inf

    def ready_at(self) -> float:
        """Return when a call may leave: -inf when closed, else the next probe's; inf while one is out."""
        if not self.is_open:
            return -math.inf
        return self._next_at if self._probe is None and self.fault is None else math.inf

    def left(self, now: float) -> None:
        """Note that a call leaves; while it is open only one that was due is the probe."""
        if self.is_open and self._probe is None and now >= self._next_at:
            self._probe = now

    def unleft(self, sent_at: float) -> None:
        """Undo `left`: the call was not sent, or its answer is lost; if it was the probe, another may go."""
        if self._probe == sent_at:
            self._probe = None

    def answered(
        self, now: float, sent_at: float, outcome: Outcome, error: str | None = None, *, is_lasting: bool = False
    ) -> None:
        """Note the answer to a call that left at `sent_at`; a lasting failure is none that passes by itself."""
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
