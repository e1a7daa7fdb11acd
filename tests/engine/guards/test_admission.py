"""The failure cap and the waves under any order of answers: decided by counting, so no test needs a loop."""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkstop.engine.guards.admission import FAILURES, Admission, parse_waves
from bulkstop.errors import BulkstopError, GuardError
from bulkstop.events import Event, WavePassed
from bulkstop.model import FailureCap, Outcome
from bulkstop.text import shorten

CONCURRENCIES = (1, 8, 64)
GOOD = Outcome.STOPPED
BAD = Outcome.SERVER_ERROR

caps = st.builds(FailureCap, st.integers(1, 30)) | st.builds(
    lambda percent, sample: FailureCap(share=percent / 100, sample=max(sample, math.ceil(100 / percent))),
    st.integers(1, 100),
    st.integers(1, 150),
)


def most(cap: FailureCap, settled: int) -> int:
    """Return the exact number of failures that a cap allows, worked out in whole numbers."""
    if cap.share is None:
        assert cap.count is not None
        return cap.count
    return math.floor(Fraction(round(cap.share * 100), 100) * max(settled, cap.sample))


class Run:
    """A run of `total` campaigns: what may leave is sent at once, and answers come in an order drawn at random."""

    def __init__(
        self,
        admission: Admission,
        total: int,
        concurrency: int,
        outcome: Callable[[int], Outcome],
        seed: int = 0,
    ) -> None:
        self.admission = admission
        self.left = total
        self.sent = self.settled = self.failed = 0
        self.now = 0.0
        self.under_way: list[int] = []
        self._concurrency = concurrency
        self._outcome = outcome
        self._random = random.Random(seed)

    def steps(self) -> Iterator[None]:
        """Continue until nothing is left or may continue, and yield after each response."""
        while True:
            self._fill()
            if not self.under_way:
                return
            self._answer()
            yield

    def to_its_end(self) -> "Run":
        """Continue to the end."""
        for _ in self.steps():
            pass
        return self

    def _fill(self) -> None:
        while self.left and len(self.under_way) < self._concurrency:
            ready_at = self.admission.ready_at()
            if ready_at > self.now and (self.under_way or ready_at == math.inf):
                return
            self.now = max(self.now, ready_at)
            self.admission.admit()
            self.left -= 1
            self.sent += 1
            self.under_way.append(self.sent)

    def _answer(self) -> None:
        number = self.under_way.pop(self._random.randrange(len(self.under_way)))
        self.now += 0.125
        outcome = self._outcome(number)
        self.settled += 1
        self.failed += outcome in FAILURES
        self.admission.settled(outcome, self.now, f"cd-{number}", f"error {number}")


def fails_after(number: int) -> Callable[[int], Outcome]:
    """Return a service that succeeds for some campaigns and then always fails."""
    return lambda campaign: GOOD if campaign <= number else BAD


# --- the cap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("count", [1, 2, 10, 64, 100])
def test_a_service_that_fails_after_100_calls_gets_exactly_the_cap_wrong(count: int, concurrency: int) -> None:
    """The cap is used up to its last failure and never exceeded, for any concurrency and order of responses."""
    for seed in range(5):
        run = Run(Admission(FailureCap(count)), 1000, concurrency, fails_after(100), seed).to_its_end()
        assert (run.failed, run.sent) == (count, 100 + count)
        assert run.admission.fault is not None


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize(("percent", "failed"), [(1, 1), (10, 11), (29, 40), (50, 99), (90, 891)])
def test_a_share_is_used_up_to_its_last_failure_too(percent: int, failed: int, concurrency: int) -> None:
    """With n% the run ends at the first number of failures that is n% of all that have ended, rounded down."""
    run = Run(
        Admission(FailureCap(share=percent / 100)), 5000, concurrency, fails_after(100), seed=percent
    ).to_its_end()
    assert run.failed == failed == math.floor(Fraction(percent, 100) * run.settled)


@pytest.mark.full
@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@settings(max_examples=60)
@given(caps, st.integers(1, 400), st.randoms(use_true_random=False))
def test_failures_never_exceed_the_cap(concurrency: int, cap: FailureCap, total: int, script: random.Random) -> None:
    """For any order of responses, there are never more failures than the cap allows at that time."""
    likely = script.random()
    outcomes = [BAD if script.random() < likely else GOOD for _ in range(total)]
    run = Run(Admission(cap), total, concurrency, lambda number: outcomes[number - 1], script.randrange(10**6))
    for _ in run.steps():
        assert run.failed <= most(cap, run.settled)
        assert run.failed + len(run.under_way) <= most(cap, run.settled)
    if run.left:
        assert run.failed == most(cap, run.settled)
        assert run.admission.fault is not None
    else:
        assert run.settled == total


def test_far_from_the_cap_nothing_is_held_back() -> None:
    """A cap well above the concurrency does not lower it."""
    run = Run(Admission(FailureCap(100)), 500, 64, lambda number: GOOD)
    seen = {len(run.under_way) + 1 for _ in run.steps() if run.left}
    assert seen == {64}


def test_a_share_is_of_a_least_sample() -> None:
    """The first campaign may fail under 10%: the share is taken of 100 campaigns until more than that have ended."""
    admission = Admission(FailureCap(share=0.1))
    for number in range(9):
        admission.admit()
        admission.settled(BAD, 0.0, str(number))
    assert admission.fault is None
    assert admission.ready_at() == -math.inf


@given(st.integers(1, 100), st.integers(0, 10**7))
def test_a_share_is_counted_in_whole_percents_exactly(percent: int, settled: int) -> None:
    """29% of 100 are 29, although 0.29 * 100 is less in floating point."""
    cap = FailureCap(share=percent / 100)
    assert cap.allows(settled) == percent * max(settled, 100) // 100


def test_what_is_under_way_counts_as_failed_until_it_is_known() -> None:
    """With a cap of 2, two may be under way; a good end lets the next one go, a bad one does not."""
    admission = Admission(FailureCap(2))
    admission.admit()
    admission.admit()
    assert admission.ready_at() == math.inf
    admission.settled(GOOD, 1.0, "a")
    assert admission.ready_at() == -math.inf
    admission.admit()
    admission.settled(BAD, 2.0, "b")
    assert admission.ready_at() == math.inf
    assert admission.fault is None


def test_a_campaign_that_is_never_sent_gives_its_place_back() -> None:
    """A campaign that was admitted and withdrawn neither failed nor ended."""
    admission = Admission(FailureCap(1))
    admission.admit()
    admission.released()
    assert admission.ready_at() == -math.inf
    assert admission.fault is None


@pytest.mark.parametrize("outcome", sorted(Outcome))
def test_what_counts_as_a_failure(outcome: Outcome) -> None:
    """A failure is what the contract says, except a row that was never sent; a call that was cut off is none."""
    admission = Admission(FailureCap(1))
    admission.admit()
    admission.settled(outcome, 0.0, "a")
    fails = {"unconfirmed", "not_found", "rejected", "unauthorized", "throttled", "server_error"}
    fails |= {"timeout", "connection_error"}
    assert (admission.fault is not None) == (outcome in fails)


def test_the_fault_of_a_cap_says_all_of_it() -> None:
    """The one line names the option, the counts, the first failure and what to do; later failures change nothing."""
    run = Run(Admission(FailureCap(2)), 10, 1, fails_after(3)).to_its_end()
    fault = run.admission.fault
    assert isinstance(fault, GuardError)
    assert isinstance(fault, BulkstopError)
    assert str(fault) == (
        "max_failures 2: 2 of 5 campaigns failed, the first cd-4: server_error (error 4); "
        "nothing more was sent: read the result lines, correct the cause, then go on with resume=True"
    )
    run.admission.settled(BAD, 9.0, "late")
    assert run.admission.fault is fault


def test_the_fault_of_a_share_tells_of_the_sample() -> None:
    """A share reached by 10 of 10 is reported as 10% of at least 100, because that decided."""
    few = Run(Admission(FailureCap(share=0.1)), 50, 1, fails_after(0)).to_its_end()
    assert str(few.admission.fault).startswith("max_failures 10% (of at least 100): 10 of 10 campaigns failed, ")
    many = Run(Admission(FailureCap(share=0.025)), 5000, 1, fails_after(2000)).to_its_end()
    assert str(many.admission.fault).startswith("max_failures 2.5%: 51 of 2,051 campaigns failed, the first cd-2001")


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "either a number of failures or a share"),
        ({"count": 1, "share": 0.1}, "either a number of failures or a share"),
        ({"count": 0}, "give at least 1"),
        ({"share": 0.005}, "give at least 1%"),
        ({"share": 0.01, "sample": 50}, "give at least 2%"),
        ({"share": 0.0}, "above 0%"),
        ({"share": 1.01}, "at most 100%"),
    ],
)
def test_a_cap_that_lets_nothing_leave_is_refused(given_: dict[str, float], said: str) -> None:
    """A cap that prevents every call is reported as an invalid setting."""
    with pytest.raises(ValueError, match=said):
        FailureCap(**given_)  # type: ignore[arg-type]


def test_without_cap_and_waves_all_is_admitted() -> None:
    """A run without guards continues after any failures."""
    run = Run(Admission(), 50, 8, fails_after(0)).to_its_end()
    assert (run.failed, run.admission.fault) == (50, None)


# --- waves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True).map(sorted),
    st.sampled_from([0.0, 0.25, 60.0]),
    st.integers(0, 10**6),
)
def test_waves_never_overlap(concurrency: int, waves: list[int], soak_s: float, seed: int) -> None:
    """No campaign of a wave is under way before the last of the one before has ended and the soak is over."""
    admission, ended_at = Admission(waves=waves, soak_s=soak_s), dict.fromkeys(waves, math.inf)
    run = Run(admission, waves[-1], concurrency, lambda number: GOOD, seed)
    for _ in run.steps():
        for end in waves:
            if run.settled == end:
                ended_at[end] = run.now
            assert run.settled >= end or run.sent <= end
        begun = [end for end in waves[:-1] if run.sent > end]
        assert all(run.now >= ended_at[end] + soak_s for end in begun)
    assert run.settled == waves[-1]
    assert admission.fault is None
    assert admission.wave == len(waves)


def test_the_soak_is_a_time_to_wake_at() -> None:
    """While a wave is under way only an end can tell; when it has passed the answer is when its soak is over."""
    events: list[Event] = []
    admission = Admission(waves=[1, 3], soak_s=60.0, observe=events.append)
    assert admission.ready_at() == -math.inf
    admission.admit()
    assert admission.ready_at() == math.inf
    admission.settled(GOOD, 5.0, "a")
    assert admission.ready_at() == 65.0
    assert admission.wave == 2
    assert events == [WavePassed(1, 2, ended=1, failed=0, soak_s=60.0)]


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_a_failed_wave_ends_the_run(concurrency: int) -> None:
    """Without a cap one failure ends a wave at once: nothing more of it is admitted, and nothing of the next."""
    run = Run(Admission(waves=[1, 100, 1000], soak_s=60.0), 1000, concurrency, fails_after(50), seed=3)
    steps = run.steps()
    while run.admission.fault is None:
        next(steps)
    sent_by_then = run.sent
    for _ in steps:
        pass
    assert run.sent == sent_by_then <= 100
    said = str(run.admission.fault)
    assert said.startswith("waves: wave 2 of 3 did not pass: 1 of its first ")
    assert "go on with resume=True" in said


def test_a_canary_that_fails_is_named() -> None:
    """After one campaign the run is over, and the line says which it was and why."""
    run = Run(Admission(waves=[1, 10]), 10, 8, fails_after(0)).to_its_end()
    assert run.sent == 1
    assert str(run.admission.fault).startswith(
        "waves: wave 1 of 2 did not pass: 1 of its first 1 campaign failed, the first cd-1: server_error (error 1); "
    )


def test_the_last_wave_is_not_judged() -> None:
    """A wave delays the next one; in the last wave, single failures end nothing."""
    run = Run(Admission(waves=[1, 100]), 100, 8, fails_after(50)).to_its_end()
    assert (run.settled, run.failed, run.admission.fault) == (100, 50, None)


def test_with_a_cap_a_wave_may_have_failures() -> None:
    """Some failures below the cap let a wave pass, and count on in the next one."""
    bad = {3, 30}
    run = Run(
        Admission(FailureCap(3), waves=[10, 100]), 100, 8, lambda number: BAD if number in bad else GOOD
    ).to_its_end()
    assert (run.settled, run.failed, run.admission.fault) == (100, 2, None)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_with_a_cap_a_wave_that_fails_as_a_whole_does_not_pass(concurrency: int) -> None:
    """A canary of one that fails has failed, although one failure is far below the cap."""
    run = Run(Admission(FailureCap(share=0.1), waves=[1, 100]), 100, concurrency, fails_after(0)).to_its_end()
    assert run.sent == 1
    assert "wave 1 of 2 did not pass: 1 of its first 1 " in str(run.admission.fault)
    later = Run(Admission(FailureCap(50), waves=[5, 8, 100]), 100, concurrency, fails_after(5)).to_its_end()
    assert later.sent == 8
    assert "wave 2 of 3 did not pass: 3 of its first 3 " in str(later.admission.fault)


def test_each_wave_is_judged_by_itself() -> None:
    """A failure in a passed wave neither hides that all of the next one failed, nor is named as its first."""
    bad = {3, 6, 7, 8}
    run = Run(
        Admission(FailureCap(50), waves=[5, 8, 100]), 100, 1, lambda number: BAD if number in bad else GOOD
    ).to_its_end()
    assert "wave 2 of 3 did not pass: 3 of its first 3 campaigns failed, the first cd-6: " in str(run.admission.fault)


def test_a_cap_that_is_reached_in_a_wave_says_so() -> None:
    """The line names the option that ended the run, and the wave it ended in."""
    run = Run(Admission(FailureCap(2), waves=[1, 10, 100]), 100, 1, fails_after(3)).to_its_end()
    assert run.failed == 2
    assert str(run.admission.fault).startswith("max_failures 2: 2 of 5 campaigns failed in wave 2 of 3, the first cd-4")


def test_a_wave_is_filled_up_for_what_was_never_sent() -> None:
    """A campaign that is taken out is no canary: the next one takes its place in the wave."""
    admission = Admission(waves=[1, 5], soak_s=9.0)
    admission.admit()
    admission.released()
    assert admission.ready_at() == -math.inf
    admission.admit()
    admission.settled(GOOD, 1.0, "a")
    assert admission.ready_at() == 10.0


def test_the_last_wave_has_no_end() -> None:
    """A list that proves longer than it was counted is still sent to its end."""
    run = Run(Admission(waves=[2, 4]), 9, 2, lambda number: GOOD).to_its_end()
    assert run.settled == 9


# --- both, in any order of events -----------------------------------------------------------------------------------


class Guarded(RuleBasedStateMachine):
    """Admissions, ends, take-backs and time in any order; a second count by hand says what must hold."""

    @initialize(
        cap=st.none() | caps,
        waves=st.lists(st.integers(1, 40), max_size=4, unique=True).map(sorted),
        soak_s=st.sampled_from([0.0, 2.0]),
    )
    def begin(self, cap: FailureCap | None, waves: list[int], soak_s: float) -> None:
        """Start a run."""
        self.admission = Admission(cap, waves=waves, soak_s=soak_s)
        self.cap, self.waves, self.soak_s = cap, waves, soak_s
        self.now = self.all_ended_at = 0.0
        self.under_way = self.settled = self.failed = 0
        self.ended: list[bool] = []

    @precondition(lambda self: self.admission.ready_at() <= self.now)
    @rule()
    def admit(self) -> None:
        """Begin a campaign; what it must not break is checked here, before it."""
        begun = self.settled + self.under_way
        if begun in self.waves[:-1]:
            assert self.under_way == 0
            assert self.now >= self.all_ended_at + self.soak_s
            if self.cap is None:
                assert not any(self.ended)
        self.admission.admit()
        self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(fails=st.booleans())
    def end(self, fails: bool) -> None:
        """End one of those under way."""
        self.under_way -= 1
        self.settled += 1
        self.failed += fails
        self.ended.append(fails)
        self.all_ended_at = self.now
        self.admission.settled(BAD if fails else GOOD, self.now, f"cd-{self.settled}")

    @precondition(lambda self: self.under_way)
    @rule()
    def take_out(self) -> None:
        """Take one back that was never sent."""
        self.under_way -= 1
        self.admission.released()

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @invariant()
    def cap_holds(self) -> None:
        """Failures stay within the cap even if all that is under way fails."""
        if self.cap is not None:
            assert self.failed + self.under_way <= most(self.cap, self.settled)

    @invariant()
    def never_stuck(self) -> None:
        """With nothing under way either the next one may begin, now or at a stated time, or the run has ended."""
        if not self.under_way:
            ready_at = self.admission.ready_at()
            assert (ready_at == math.inf) == (self.admission.fault is not None)

    @invariant()
    def a_fault_has_a_reason(self) -> None:
        """End a run for a failure, and not without one."""
        if self.admission.fault is not None:
            assert self.failed
            assert self.admission.ready_at() == math.inf


TestGuarded = Guarded.TestCase
TestGuarded.settings = settings(max_examples=80, stateful_step_count=50)


# --- waves as they are written --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "total", "sizes"),
    [
        ("1,10%,100%", 1000, [1, 100, 1000]),
        (" 1 , 10% , 100% ", 1000, [1, 100, 1000]),
        ("1,10%,100%", 5, [1, 2, 5]),
        ("1,10%,100%", 2, [1, 2]),
        ("1,10%,100%", 1, [1]),
        ("1,10%,100%", 0, []),
        ("5,100,100%", 60, [5, 60]),
        ("100%", 7, [7]),
        ("10", 10, [10]),
        ("29%,100%", 100, [29, 100]),
        ("12.5%,100%", 1000, [125, 1000]),
        ("10%,100%", 19, [1, 19]),
    ],
)
def test_waves_as_numbers_of_campaigns(text: str, total: int, sizes: list[int]) -> None:
    """Numbers and percentages become the campaigns that each wave ends at."""
    assert parse_waves(text, total) == sizes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,10%", "the last wave ends at 100 of 1,000 campaigns; end with 100%"),
        ("10,5,100%", "'5' is not more than the wave before"),
        ("10%,10%,100%", "'10%' is not more than the wave before"),
        ("0,100%", "'0': a wave has at least one campaign"),
        ("0%,100%", "'0%': a wave has at least one campaign"),
        ("1,101%", "'101%': a wave has .* at most 100%"),
        ("one,100%", "'one' is neither a number of campaigns nor a percentage"),
        ("1,,100%", "'' is neither"),
        ("", "'' is neither"),
        ("-1,100%", "'-1' is neither"),
        ("1.5,100%", "'1.5' is neither"),
        ("\u0661,100%", "is neither"),
        ("nan%,100%", "is neither"),
    ],
)
def test_waves_that_make_no_sense(text: str, said: str) -> None:
    """Waves that cannot be read, do not rise, or do not cover the list are refused with the reason."""
    with pytest.raises(ValueError, match=said):
        parse_waves(text, 1000)


@given(
    st.lists(st.integers(1, 500), max_size=3, unique=True).map(sorted),
    st.lists(st.integers(1, 99), max_size=3, unique=True).map(sorted),
    st.integers(0, 2000),
)
def test_waves_always_rise_and_cover_the_list(numbers: list[int], percents: list[int], total: int) -> None:
    """For any length of the list, each wave ends after the one before, and the last one has the rest."""
    sizes = parse_waves(",".join([*map(str, numbers), *(f"{percent}%" for percent in percents), "100%"]), total)
    assert sizes == sorted(set(sizes))
    assert all(1 <= size <= total for size in sizes)
    assert sizes[-1:] == [total][: min(total, 1)]
    assert len(sizes) <= len(numbers) + len(percents) + 1


# --- what others wrote ----------------------------------------------------------------------------------------------


@given(st.text(max_size=400))
def test_foreign_text_is_safe_in_a_message(text: str) -> None:
    """No control character, terminal escape, line break or half surrogate gets through, and no flood of text."""
    assert shorten(text).isprintable()
    assert len(shorten(text)) <= 201
    shorten(text).encode()


def test_a_hostile_id_is_safe_in_the_fault() -> None:
    """An id cannot forge a second line or move a terminal's cursor."""
    admission = Admission(FailureCap(1))
    admission.admit()
    admission.settled(BAD, 0.0, "cd-\x1b[2J\r\n1", "HTTP 500\n\u202eevil")
    assert str(admission.fault).isprintable()
    assert "cd-\ufffd[2J\ufffd\ufffd1: server_error (HTTP 500\ufffd\ufffdevil)" in str(admission.fault)
