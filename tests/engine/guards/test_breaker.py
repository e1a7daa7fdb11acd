"""The breaker: when it opens, who may ask again, and when it gives up; time is a number here."""

import math
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkstop.engine.guards.breaker import DOWN, Breaker
from bulkstop.errors import GuardError
from bulkstop.events import BreakerClosed, BreakerOpened, Event
from bulkstop.model import Outcome

GOOD = Outcome.STOPPED
BAD = Outcome.CONNECTION_ERROR


def answer_all(breaker: Breaker, outcomes: Iterable[Outcome], now: float = 0.0) -> Breaker:
    """Let calls leave and be answered one after the other, at one time."""
    for outcome in outcomes:
        breaker.left(now)
        breaker.answered(now, now, outcome)
    return breaker


def opened(threshold: int = 3, bound_s: float = 300.0) -> Breaker:
    """Make a breaker that has opened at 0 s."""
    return answer_all(Breaker(threshold, bound_s=bound_s), [BAD] * threshold)


def probe(breaker: Breaker, outcome: Outcome, took_s: float = 0.0) -> float:
    """Send the next probe when it is due; return the time of its answer."""
    sent_at = breaker.ready_at()
    assert sent_at < math.inf
    breaker.left(sent_at)
    breaker.answered(sent_at + took_s, sent_at, outcome, "refused")
    return sent_at + took_s


def test_a_run_begins_closed() -> None:
    """Calls leave at once, any number of them together."""
    breaker = Breaker()
    for _ in range(100):
        assert breaker.ready_at() == -math.inf
        breaker.left(0.0)


def test_its_course_is_observed() -> None:
    """Observers get the opening with its reason, and the closing with its duration."""
    events: list[Event] = []
    breaker = answer_all(Breaker(2, observe=events.append), [BAD, BAD])
    probe(breaker, BAD)
    answered_at = probe(breaker, GOOD, took_s=0.5)
    assert events == [BreakerOpened(2, "connection_error", None, 1.0), BreakerClosed(answered_at)]


@pytest.mark.parametrize("outcome", [Outcome.CONNECTION_ERROR, Outcome.TIMEOUT, Outcome.SERVER_ERROR])
def test_failures_in_a_row_open_it(outcome: Outcome) -> None:
    """The tenth call in a row without a usable answer opens it, the ninth does not; a second later one may ask."""
    breaker = answer_all(Breaker(), [outcome] * 9)
    assert breaker.ready_at() == -math.inf
    answer_all(breaker, [outcome], now=5.0)
    assert breaker.is_open
    assert breaker.ready_at() == 6.0


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - DOWN))
def test_any_other_answer_shows_that_the_service_works(outcome: Outcome) -> None:
    """A refusal, a throttling or a 404 breaks the row as a success does."""
    breaker = answer_all(Breaker(), [BAD, outcome] * 50 + [BAD] * 9)
    assert breaker.ready_at() == -math.inf


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - DOWN))
def test_any_other_answer_to_a_probe_closes_it(outcome: Outcome) -> None:
    """After it calls leave freely, and it takes a full row to open it again."""
    breaker = opened(threshold=3)
    now = probe(breaker, outcome)
    assert breaker.ready_at() == -math.inf
    answer_all(breaker, [BAD] * 2, now)
    assert not breaker.is_open
    answer_all(breaker, [BAD], now)
    assert breaker.is_open


def test_one_probe_at_a_time() -> None:
    """While a probe is out only its answer can tell, however long it takes."""
    breaker = opened()
    assert breaker.ready_at() == 1.0
    breaker.left(1.0)
    assert breaker.ready_at() == math.inf
    breaker.answered(31.0, 1.0, Outcome.TIMEOUT)
    assert breaker.ready_at() == 33.0


def test_a_probe_that_did_not_leave_is_made_up_for() -> None:
    """If the quota's store says no to the probe, another call may be it at once."""
    breaker = opened()
    breaker.left(1.0)
    breaker.unleft(1.0)
    assert breaker.ready_at() == 1.0
    breaker.left(1.5)
    assert breaker.ready_at() == math.inf


def test_only_what_is_due_is_a_probe() -> None:
    """A call that is sent too early proves nothing, and delays no probe."""
    breaker = answer_all(opened(), [GOOD], now=0.5)
    assert breaker.ready_at() == 1.0
    breaker.left(1.0)
    answer_all(breaker, [GOOD], now=1.5)
    assert breaker.ready_at() == math.inf


def test_a_call_from_before_that_did_not_leave_is_not_the_probe() -> None:
    """A call that was drawn before it opened and goes back to its lane lets no second probe out."""
    breaker = Breaker(2)
    breaker.left(0.0)
    answer_all(breaker, [BAD, BAD], now=0.5)
    breaker.left(1.5)
    breaker.unleft(0.0)
    assert breaker.ready_at() == math.inf


def test_pauses_double_up_to_the_longest() -> None:
    """Probes that fail at once leave 1, 2, 4, 8, 16, 30, 30 s apart; after a good one it begins again with 1 s."""
    breaker = opened()
    times = [0.0, *(probe(breaker, BAD) for _ in range(7))]
    assert [after - before for before, after in pairwise(times)] == [1, 2, 4, 8, 16, 30, 30]
    now = probe(breaker, GOOD)
    answer_all(breaker, [BAD] * 3, now)
    assert breaker.ready_at() == now + 1.0


def test_a_pause_begins_with_the_answer() -> None:
    """A probe that takes 10 s to fail is followed by a full pause."""
    breaker = opened()
    assert probe(breaker, Outcome.TIMEOUT, took_s=10.0) == 11.0
    assert breaker.ready_at() == 13.0


def test_a_long_outage_ends_the_run() -> None:
    """The last probe leaves when the bound is reached; if it fails, nothing more leaves, and the line says it all."""
    breaker, now = opened(bound_s=100.0), 0.0
    while breaker.fault is None:
        assert now < 100.0
        now = probe(breaker, Outcome.SERVER_ERROR)
    assert now == 100.0
    assert isinstance(breaker.fault, GuardError)
    assert str(breaker.fault) == (
        "max_outage_s 100s: every probe has failed for 100 s, the last with server_error (refused); "
        "nothing more was sent: go on with resume=True when that is mended"
    )
    assert breaker.ready_at() == math.inf


def test_the_last_probe_may_save_the_run() -> None:
    """A service that is back at the bound is used."""
    breaker = opened(bound_s=1.5)
    assert probe(breaker, BAD) == 1.0
    assert probe(breaker, GOOD) == 1.5
    assert (breaker.ready_at(), breaker.fault) == (-math.inf, None)


def test_the_bound_is_for_one_outage() -> None:
    """An outage that is over is not added to the next one."""
    breaker = opened(bound_s=10.0)
    probe(breaker, BAD)
    now = probe(breaker, GOOD)
    answer_all(breaker, [BAD] * 3, now)
    while now < 10.0:
        now = probe(breaker, BAD)
        assert breaker.fault is None
    assert probe(breaker, BAD) == 13.0
    assert breaker.fault is not None


def test_a_server_that_writes_into_the_message_is_held_off() -> None:
    """The service's text cannot forge a line."""
    breaker = opened(bound_s=1.0)
    breaker.left(1.0)
    breaker.answered(1.0, 1.0, BAD, "no\r\n\x1b[31mroute")
    assert str(breaker.fault).isprintable()
    assert "connection_error (no\ufffd\ufffd\ufffd[31mroute)" in str(breaker.fault)


@pytest.mark.parametrize("late", [GOOD, BAD, Outcome.THROTTLED])
def test_a_late_answer_is_no_probe(late: Outcome) -> None:
    """While the breaker is open, earlier calls neither close it, nor lengthen the pause, nor count as the probe."""
    breaker = opened()
    breaker.answered(0.5, 0.0, late)
    assert breaker.ready_at() == 1.0
    breaker.left(1.0)
    breaker.answered(1.5, 0.0, late)
    assert breaker.is_open
    assert breaker.ready_at() == math.inf
    breaker.answered(2.0, 1.0, BAD)
    assert breaker.ready_at() == 4.0


def test_late_timeouts_do_not_open_it_again() -> None:
    """When an outage is over, the timeouts of its first moments still come in; they tell of the time before."""
    breaker = opened()
    now = probe(breaker, GOOD)
    for _ in range(64):
        breaker.answered(now + 29.0, 0.0, Outcome.TIMEOUT)
    assert breaker.ready_at() == -math.inf
    answer_all(breaker, [BAD] * 2, now + 29.5)
    breaker.answered(now + 29.6, 0.0, GOOD)
    answer_all(breaker, [BAD], now + 29.7)
    assert breaker.is_open


@pytest.mark.parametrize(
    "numbers", [(0, 1.0, 30.0, 300.0), (1, 0.0, 30.0, 300.0), (1, 31.0, 30.0, 300.0), (1, 1.0, 30.0, 0.0)]
)
def test_a_breaker_that_could_not_work_is_refused(numbers: tuple[int, float, float, float]) -> None:
    """Without a pause probes would have no name, and without a bound no end."""
    with pytest.raises(ValueError, match="a breaker opens at"):
        Breaker(*numbers)


class Broken(RuleBasedStateMachine):
    """Calls at any concurrency, answers in any order and time: a log kept by hand says what must hold."""

    @initialize(
        threshold=st.integers(1, 5), concurrency=st.sampled_from([1, 8, 64]), bound_s=st.sampled_from([3.0, 60.0])
    )
    def begin(self, threshold: int, concurrency: int, bound_s: float) -> None:
        """Start a run."""
        self.breaker = Breaker(threshold, first_pause_s=1.0, longest_pause_s=4.0, bound_s=bound_s)
        self.threshold, self.concurrency, self.bound_s = threshold, concurrency, bound_s
        self.now = 0.0
        self.calls: list[tuple[float, bool]] = []  # each with whether it is a probe
        self.down_since: float | None = None
        self.pause_s = 1.0
        self.probe_at = -math.inf
        self.works_since = -math.inf
        self.in_row = 0

    @precondition(lambda self: len(self.calls) < self.concurrency and self.breaker.ready_at() <= self.now)
    @rule(count=st.integers(1, 64))
    def send(self, count: int) -> None:
        """Send as many calls as may leave, up to `count`."""
        for _ in range(count):
            if len(self.calls) < self.concurrency and self.breaker.ready_at() <= self.now:
                assert self.down_since is None or self.now >= self.probe_at
                self.breaker.left(self.now)
                self.calls.append((self.now, self.down_since is not None))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 63), fails=st.booleans())
    def answer(self, which: int, fails: bool) -> None:
        """Answer one of the calls."""
        sent_at, is_probe = self.calls.pop(which % len(self.calls))
        self.breaker.answered(self.now, sent_at, BAD if fails else GOOD)
        if self.down_since is None:
            self._answered_closed(sent_at, fails=fails)
        elif is_probe:
            self._answered_probe(sent_at, fails=fails)

    def _answered_closed(self, sent_at: float, *, fails: bool) -> None:
        if sent_at >= self.works_since:
            self.in_row = self.in_row + 1 if fails else 0
        if self.in_row == self.threshold:
            self.down_since, self.pause_s, self.probe_at = self.now, 1.0, min(self.now + 1.0, self.now + self.bound_s)
            self.calls = [(at, False) for at, _ in self.calls]

    def _answered_probe(self, sent_at: float, *, fails: bool) -> None:
        assert self.down_since is not None
        if fails:
            self.pause_s = min(4.0, 2 * self.pause_s)
            self.probe_at = min(self.now + self.pause_s, self.down_since + self.bound_s)
            assert (self.breaker.fault is not None) == (self.now >= self.down_since + self.bound_s)
        else:
            self.down_since, self.in_row, self.works_since = None, 0, sent_at

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 63))
    def take_back(self, which: int) -> None:
        """Let one of the calls not leave after all."""
        sent_at, _ = self.calls.pop(which % len(self.calls))
        self.breaker.unleft(sent_at)

    @rule(seconds=st.sampled_from([0.25, 1.0, 8.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @invariant()
    def one_probe(self) -> None:
        """Check that at most one probe is in flight, and none when the breaker is closed."""
        probes = sum(is_probe for _, is_probe in self.calls)
        assert probes <= (self.down_since is not None)

    @invariant()
    def agrees(self) -> None:
        """Agree with the log on when the next call may leave."""
        if self.down_since is None:
            expected = -math.inf
        elif self.breaker.fault is not None or any(is_probe for _, is_probe in self.calls):
            expected = math.inf
        else:
            expected = self.probe_at
        assert self.breaker.ready_at() == expected
        assert self.breaker.is_open == (self.down_since is not None)


TestBroken = Broken.TestCase
TestBroken.settings = settings(max_examples=80, stateful_step_count=50)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=60), st.integers(1, 12))
def test_it_opens_at_the_first_full_row_and_not_before(outcomes: list[Outcome], threshold: int) -> None:
    """For any responses, it opens exactly when the first full row of failures is complete."""
    breaker, seen = Breaker(threshold), ""
    for outcome in outcomes:
        answer_all(breaker, [outcome])
        seen += "x" if outcome is BAD else "."
        assert breaker.is_open == ("x" * threshold in seen)


def test_a_lasting_failure() -> None:
    """A permanent failure ends the run at once, unless an earlier call was answered: then it is an outage."""
    breaker = Breaker()
    breaker.answered(0.0, 0.0, BAD, "the certificate has expired", is_lasting=True)
    assert str(breaker.fault) == "the certificate has expired"
    worked = answer_all(Breaker(2), [Outcome.SERVER_ERROR])
    for _ in range(2):
        worked.answered(0.0, 0.0, BAD, "the certificate has expired", is_lasting=True)
    assert (worked.fault, worked.is_open) == (None, True)
