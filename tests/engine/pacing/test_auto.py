"""With any way of counting, a limit is used and hardly ever exceeded: limiter models in virtual time."""

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import pytest
from limiter_models import LIMITERS, Gcra, Halving, Limiter, SlidingLog, find_fastest_s

from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.engine.limits.windows import SAFETY_MARGIN, add_safety_margin
from bulkstop.engine.pacing.auto import SLACK, AutoPacer
from bulkstop.engine.pacing.overload import Meaning, Overload, read_unavailable
from bulkstop.model import Attempt, Limit, Outcome, RetryHint

PHASES = 8
QUICK, STATED = Limit(20, 5.0), Limit(60, 60.0)


@dataclass
class World:
    """An account at a service, in virtual time: calls leave as the quota lets them, and are answered after a while."""

    limiter: Callable[[float], bool]
    latency_s: float = 0.003
    jitter_s: float = 0.004
    seed: int = 1
    concurrency: int = 32
    other_every_s: float = math.inf
    is_ill: Callable[[int], bool] = lambda number: False
    let_in: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    refused: int = 0
    other: Counter[bool] = field(default_factory=Counter)
    ended_s: float = 0.0

    def run(self, quota: AutoPacer | RollingWindow, calls: float, until_s: float = math.inf) -> "World":
        """Make this many calls, each repeated until it is admitted."""
        rnd, order, due = random.Random(self.seed), count(), list[tuple[float, int, str, float]]()
        left, in_flight, looks_at = calls, 0, 0.0

        def at(when: float, what: str, sent_at: float = 0.0) -> None:
            heapq.heappush(due, (when, next(order), what, sent_at))

        def way_s() -> float:
            return (self.latency_s + rnd.random() * self.jitter_s) / 2

        at(0.0, "look")
        if self.other_every_s < math.inf:
            at(self.other_every_s * rnd.random(), "other")
        while len(self.let_in) < calls:
            now, _, what, sent_at = heapq.heappop(due)
            if now > until_s:
                break
            if what == "other":
                self.other[self.limiter(now)] += 1
                at(now + self.other_every_s * (0.99 + 0.02 * rnd.random()), "other")
                continue
            if what == "arrives":
                self.arrived.append(now)
                is_ill = self.is_ill(len(self.arrived))
                at(now + way_s(), "let in" if self.limiter(now) and not is_ill else "refused", sent_at)
            elif what != "look":
                in_flight -= 1
                is_in = what == "let in"
                if is_in:
                    self.let_in.append(now)
                else:
                    self.refused, left = self.refused + 1, left + 1
                quota.answered(now, sent_at, throttled=not is_in)
            while left and in_flight < self.concurrency and (ready_at := quota.ready_at()) <= now:
                quota.take(now)
                left, in_flight = left - 1, in_flight + 1
                at(now + way_s(), "arrives", now)
            else:
                if left and in_flight < self.concurrency and not now < looks_at <= ready_at < math.inf:
                    looks_at = ready_at
                    at(ready_at, "look")
            self.ended_s = now
        return self

    @property
    def wasted(self) -> float:
        """The part of the calls that was refused."""
        return self.refused / len(self.arrived)

    def most_in(self, window_s: float) -> int:
        """Return how many calls arrived in the window that had most."""
        most, window = 0, deque[float]()
        for now in sorted(self.arrived):
            window.append(now)
            while window[0] <= now - window_s:
                window.popleft()
            most = max(most, len(window))
        return most


def pacer(limit: Limit) -> AutoPacer:
    """Return the pace of an account, as a run has it."""
    return AutoPacer([add_safety_margin(limit)])


@pytest.mark.parametrize("limit", [QUICK, STATED], ids=str)
@pytest.mark.parametrize("name", LIMITERS)
def test_alone(name: str, limit: Limit) -> None:
    """Six windows take at most 1.10 of the least time, at most 3 % is refused, and the quota is kept."""
    times, refused, calls = 0.0, 0.0, 6 * limit.calls
    for phase in range(PHASES):
        make = partial(LIMITERS[name], limit, phase / PHASES)
        world = World(make().call, seed=phase).run(pacer(limit), calls)
        times += world.ended_s / find_fastest_s(make(), limit, calls)
        refused += world.wasted
        assert world.most_in(limit.window_s) <= limit.calls
    assert times / PHASES <= 1.10
    assert refused / PHASES <= 0.03


@pytest.mark.parametrize("limit", [QUICK, STATED], ids=str)
def test_nothing_is_lost_where_whole_bursts_are_taken(limit: Limit) -> None:
    """A sliding log is used to 0.98 of what it permits, and none is refused."""
    world = World(SlidingLog(limit).call).run(pacer(limit), 20 * limit.calls)
    assert world.refused == 0
    assert 19 * limit.window_s / world.ended_s >= 0.98


@pytest.mark.parametrize("limit", [QUICK, STATED], ids=str)
@pytest.mark.parametrize(
    "name", [each for each in LIMITERS if each not in ("GCRA, burst 1", "sliding counter, refused count")]
)
def test_a_second_client(name: str, limit: Limit) -> None:
    """Beside one that takes a third, 0.90 of the rest is used, and about 5 % is refused."""
    windows, used, refused = 30, 0.0, 0.0
    for phase in range(PHASES):
        limiter = LIMITERS[name](limit, phase / PHASES)
        world = World(limiter.call, seed=phase, other_every_s=3 * limit.window_s / limit.calls)
        world.run(pacer(limit), math.inf, windows * limit.window_s)
        used += len(world.let_in) / (windows * limit.calls * 2 / 3)
        refused += world.wasted
    assert used / PHASES >= 0.90
    assert refused / PHASES <= 0.053


@pytest.mark.parametrize("limit", [QUICK, STATED], ids=str)
@pytest.mark.parametrize("name", LIMITERS)
def test_a_limit_that_is_halved_and_comes_back(name: str, limit: Limit) -> None:
    """In phases of ten windows 0.85 of what is permitted is used; where a refused call counts, it is used as well."""
    make, half, used = LIMITERS[name], Limit(limit.calls // 2, limit.window_s), 0.0
    for phase in range(PHASES):
        halving = Halving(make(limit, phase / PHASES), make(half, phase / PHASES), 10 * limit.window_s)
        world = World(halving.call, seed=phase).run(pacer(limit), math.inf, 60 * limit.window_s)
        used += len(world.let_in) + (world.refused if name == "sliding counter, refused count" else 0)
    assert used / PHASES / (60 * limit.calls * 0.75) >= 0.85


def test_what_was_refused_is_told() -> None:
    """A burst tells how many are taken at once; from there calls leave evenly at the full rate."""
    quota = pacer(QUICK)
    assert quota.finding() is None
    world = World(Gcra(QUICK, 6).call).run(quota, 60)
    assert world.refused == 1
    finding = quota.finding()
    assert finding is not None
    assert (finding.at_once, finding.share) == (6, 1.0)
    assert finding.interval_s == pytest.approx(0.25 * (1 + SAFETY_MARGIN) * (1 + SLACK))


@pytest.mark.parametrize(
    ("limiter", "every_s", "steady"),
    [
        (SlidingLog(Limit(12, 5.0)), math.inf, range(11, 13)),
        (Gcra(Limit(12, 5.0), 2), math.inf, range(10, 14)),
        (SlidingLog(QUICK), 1.3, None),
    ],
    ids=["a lower limit", "a lower limit without bursts", "others"],
)
def test_why_it_is_slow(limiter: Limiter, every_s: float, steady: range | None) -> None:
    """If each window admits as many calls the limit is lower; otherwise something else also uses the account."""
    quota = pacer(QUICK)
    World(Bursts(limiter, every_s)).run(quota, math.inf, 200.0)
    finding = quota.finding()
    assert finding is not None
    assert finding.share < 1
    assert finding.steady is None if steady is None else finding.steady in steady


class Bursts:
    """A limiter with another client, which makes three calls at a time, at unpredictable times."""

    def __init__(self, limiter: Limiter, every_s: float) -> None:
        self._limiter, self._every_s = limiter, every_s
        self._random = random.Random(3)
        self._next = self._random.expovariate(1 / every_s) if every_s < math.inf else math.inf

    def __call__(self, now: float) -> bool:
        """Let a call in, or not."""
        while self._next <= now:
            for _ in range(3):
                self._limiter.call(self._next)
            self._next += self._random.expovariate(1 / self._every_s)
        return self._limiter.call(now)


def test_a_place_that_was_not_used() -> None:
    """Given back, it is as if it had not been taken, in a burst as in even steps."""
    quota = pacer(Limit(1, 5.0))
    quota.take(0.0)
    quota.give_back(0.0)
    assert quota.ready_at() == -math.inf
    quota.take(0.0)
    quota.answered(0.1, 0.0, throttled=True)
    ready_at = quota.ready_at()
    quota.take(ready_at)
    quota.give_back(ready_at)
    assert quota.ready_at() <= ready_at


def test_several_windows() -> None:
    """Each of several windows is kept, also where even steps would leave faster than the longest lets them."""
    limits = [Limit(20, 5.0), Limit(60, 60.0)]
    world = World(Gcra(QUICK, 2).call).run(AutoPacer(limits), 150)
    assert world.most_in(60.0) == 60
    assert world.refused <= 2


def unavailable(quota: AutoPacer, sent_at: float) -> RetryHint:
    """Tell how a 503 is taken."""
    attempt = Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, 503)
    return read_unavailable(attempt, quota, sent_at).again


def answer(quota: AutoPacer, is_503: Callable[[int], bool], calls: int) -> list[RetryHint]:
    """Make calls one after the other, and tell how each 503 was taken."""
    taken, now = list[RetryHint](), 0.0
    for number in range(calls):
        now = max(now, quota.ready_at())
        quota.take(now)
        again = unavailable(quota, now) if is_503(number) else None
        if again is not None:
            taken.append(again)
        quota.answered(now + 0.01, now, throttled=again is RetryHint.THROTTLED, failed=again is RetryHint.LATER)
        now += 0.01
    return taken


def test_503_as_a_limit() -> None:
    """Among successes a 503 is treated as a limit: the account slows down, and without another one it was a limit."""
    overload = Overload()
    quota, gcra = AutoPacer([QUICK], overload), Gcra(QUICK, 5)
    now, taken = 0.0, list[RetryHint]()
    for _ in range(60):
        now = max(now, quota.ready_at())
        quota.take(now)
        is_503 = not gcra.call(now)
        again = unavailable(quota, now) if is_503 else None
        quota.answered(now, now, throttled=again is RetryHint.THROTTLED)
        taken += [again] if again else []
    assert set(taken) == {RetryHint.THROTTLED}
    assert len(taken) <= 2
    assert overload.meaning is Meaning.LIMIT


def test_503_of_an_ill_backend() -> None:
    """Persistent 503 at half the rate is a fault: attempts are counted, and calls are sent in bursts again."""
    overload = Overload()
    quota = AutoPacer([QUICK], overload)
    taken = answer(quota, lambda number: number % 3 == 2, 60)
    assert overload.meaning is Meaning.FAULT
    assert taken[:2].count(RetryHint.THROTTLED) == 2
    assert set(taken[3:]) == {RetryHint.LATER}
    assert quota.finding() is None


def test_503_of_a_service_that_is_down() -> None:
    """Without a good answer among the last ten it is no limit."""
    assert set(answer(AutoPacer([QUICK]), lambda number: True, 5)) == {RetryHint.LATER}
    assert answer(AutoPacer([QUICK]), lambda number: number > 0, 30)[12:] == 17 * [RetryHint.LATER]


def test_another_fault_is_none() -> None:
    """A 500, or a 503 that is throttled by its words, is left as it is."""
    for attempt in (
        Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, 500),
        Attempt(Outcome.THROTTLED, RetryHint.THROTTLED, 503),
    ):
        assert read_unavailable(attempt, pacer(QUICK), 0.0) is attempt


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_what_was_learnt_is_handed_on(share: float) -> None:
    """Another process begins evenly where one had to, and no call of it is refused; the rate rises again."""
    first = pacer(QUICK)
    World(Gcra(Limit(int(20 * share), 5.0), 2).call).run(first, math.inf, 100.0)
    note = first.remember(1_764_000_000.0)
    assert note is not None
    second = pacer(QUICK)
    second.recall(note, 1_764_000_030.0)
    found, known = second.finding(), first.finding()
    assert found is not None
    assert known is not None
    assert found.at_once == known.at_once
    assert found.share == pytest.approx(known.share, abs=0.001)
    assert World(Gcra(QUICK, 2).call).run(second, 120).refused == 0
    after = second.finding()
    assert after is not None
    assert after.share == 1.0


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"at_once": 0, "share": 1, "at": 1764000000}',
        '{"at_once": 2, "share": 0, "at": 1764000000}',
        '{"at_once": 2, "share": NaN, "at": 1764000000}',
        '{"at_once": 1e999, "share": 1, "at": 1764000000}',
        '{"at_once": 2, "share": 1, "at": 1763990000}',
        '{"at_once": "many", "share": 1, "at": 1764000000}',
    ],
)
def test_a_note_of_no_use(note: str) -> None:
    """An old or invalid note is ignored."""
    quota = pacer(QUICK)
    quota.recall(note, 1_764_000_000.0)
    assert quota.finding() is None
    assert quota.remember(0.0) is None


def test_refused_for_hours() -> None:
    """After any number of refusals in a row, the account calls again within a few windows."""
    quota, now = pacer(QUICK), 0.0
    for _ in range(3000):
        now = max(now, quota.ready_at())
        quota.take(now)
        quota.answered(now + 0.01, now, throttled=True)
        assert quota.ready_at() - now <= 3 * QUICK.window_s
    assert World(SlidingLog(QUICK).call).run(quota, 20).ended_s <= now + 4 * QUICK.window_s
