"""Ends a run at every moment: each line says what is known, and nothing is left behind."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.lanes import Lane
from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.engine.pool import CANCELLED, Pool
from bulkstop.engine.readback import NOT_READ_BACK
from bulkstop.engine.results import CUT_OFF, NOT_TRIED, NOT_TRIED_AGAIN
from bulkstop.errors import BulkstopError, CredentialsError, OutputError, QuotaError
from bulkstop.model import Attempt, Campaign, Limit, Outcome, Result, RetryHint, Send
from tests.engine.parts import (
    AT_REST,
    BUSY,
    CLAIM,
    RENEWED,
    RUNS,
    STOPPED,
    Ask,
    Job,
    Lists,
    Reply,
    Service,
    accounts,
    always,
    by_account,
    campaigns,
    claim_with,
    now_s,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
STALE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404: the list decides")
LIMITS = [Limit(3, 5)]
ROWS = accounts(["a", "b"], 4)


# --- what ends a run, and what has to be true of it then ------------------------------------------------------------

Act = Callable[[Pool, "asyncio.Task[None]"], object]


def cancel(pool: Pool, task: "asyncio.Task[None]") -> None:
    """Cancel the task that runs the pool."""
    task.cancel()


def drain(pool: Pool, task: "asyncio.Task[None]") -> None:
    """Wait for what is in flight."""
    pool.drain()


def abort(pool: Pool, task: "asyncio.Task[None]") -> None:
    """Cut off what is in flight."""
    pool.abort()


ENDS: dict[str, dict[int, Act]] = {
    "cancel": {0: cancel},
    "cancel-twice": {0: cancel, 1: cancel},
    "cancel-and-later-again": {0: cancel, 3: cancel},
    "drain": {0: drain},
    "abort": {0: abort},
    "abort-twice": {0: abort, 1: abort},
    "drain-abort": {0: drain, 1: abort},
    "abort-cancel": {0: abort, 1: cancel},
    "drain-cancel": {0: drain, 2: cancel},
    "cancel-abort": {0: cancel, 1: abort},
}
"""The ends of a run: acts, each so many rounds of the loop after the first."""


@dataclass(slots=True, eq=False)
class Sent:
    """A call as the pool made it: its answer, or what came out of it instead."""

    campaign: Campaign
    began_s: float
    answer: Attempt | None = None
    fault: BaseException | None = None


class Counted(RollingWindow):
    """A window that counts what is done to it."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self.counts = Counter[str]()

    def take(self, now: float) -> None:
        """Count a place that was taken."""
        self.counts["taken"] += 1
        super().take(now)

    def give_back(self, taken_at: float) -> None:
        """Count a place that was given back."""
        self.counts["given back"] += 1
        super().give_back(taken_at)

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Count a place whose call was answered."""
        self.counts["answered"] += 1
        super().answered(now, sent_at, throttled=throttled, failed=failed)


@dataclass(frozen=True, slots=True)
class World:
    """The environment of a run: `send` serves its calls, `claim` counts those of account a, and `report` may fail."""

    send: Send
    claim: Ask | None = None
    report: Callable[["Scene", Result], None] = lambda scene, result: None
    lists: Lists | None = None  # with them refused groups and claims wait for what they say
    cleaning_s: float = 0.0  # how long a call takes to end after it was cut off


class Scene:
    """A pool in a world, and all that it did there."""

    def __init__(self, world: World) -> None:
        self.calls: list[Sent] = []
        self.offered: list[Result] = []
        self.written: list[Result] = []
        self.acted: list[tuple[float, Act]] = []
        self.windows = {name: Counted() for name in "ab"}
        self.task: asyncio.Task[None] | None = None
        self.ended_s = 0.0
        self.claim = claim_with(world.claim)
        self._world = world
        random.seed(3)  # the waits between tries are drawn
        self.pool = Job(
            by_account(ROWS),
            self._send,
            concurrency=3,
            report=self._write,
            make_lane=lambda name, own: Lane(name, own, self.windows[name], self.claim if name == "a" else None),
            scopes=None if world.lists is None else ScopeBreaker(can_list=True),
            lists=world.lists,
        ).pool

    async def run(self, begun: Callable[[], None] = lambda: None) -> None:
        """Run the pool in its own task until its end; call `begun` after its first step."""
        self.task = asyncio.create_task(self.pool.run())
        await asyncio.sleep(0)  # a task that was never begun has nothing to report
        begun()
        await asyncio.wait([self.task])
        self.ended_s = now_s()

    def end(self, act: "Act") -> None:
        """Do what ends the run, and note when."""
        assert self.task is not None
        self.acted.append((now_s(), act))
        act(self.pool, self.task)

    async def _send(self, campaign: Campaign) -> Attempt:
        call = Sent(campaign, now_s())
        self.calls.append(call)
        try:
            call.answer = await self._world.send(campaign)
        except BaseException as fault:
            call.fault = fault
            raise
        return call.answer

    def _write(self, results: Sequence[Result]) -> None:
        self.offered += results
        for result in results:
            self._world.report(self, result)
        self.written += results

    def outcomes(self) -> Counter[Outcome]:
        """Count the outcomes."""
        return Counter(result.outcome for result in self.offered)

    def check(self) -> None:
        """Check that every line exists and is true, that the end came at once, and that no place stays taken."""
        self._check_reports()
        self._check_end()
        for one in ROWS:
            line = next(result for result in self.offered if result.campaign_id == one.campaign_id)
            calls = [call for call in self.calls if call.campaign is one]
            assert said(line) in (expected(calls), *expected_of_lists(calls)), (line, calls)
        assert self.pool.in_flight == 0
        readings = 0 if self._world.lists is None else self._world.lists.finished
        assert self.pool.calls == readings + sum(not isinstance(call.fault, BulkstopError) for call in self.calls)
        for window in self.windows.values():
            assert window.counts["taken"] == window.counts["answered"] + window.counts["given back"]
            assert window.ready_at() < float("inf"), "a place is never freed"
        assert self.claim is None or not self.claim.in_use, "a place of the store is never freed"
        assert self.task is not None
        assert self.task.cancelled() or self.task.exception() is self.pool.fault

    def _check_end(self) -> None:
        if self.acted:
            assert all(call.began_s <= self.acted[0][0] for call in self.calls), "a call left after the end"
        cut_s = [at for at, act in self.acted if act is not drain]
        if cut_s:
            assert self.ended_s <= cut_s[0] + self._world.cleaning_s

    def _check_reports(self) -> None:
        assert Counter(result.campaign_id for result in self.offered) == Counter(one.campaign_id for one in ROWS)
        lost = [result for result in self.offered if result not in self.written]
        assert self.pool.unwritten == [result for result in lost if result.outcome is not Outcome.NOT_SENT]
        if lost:
            assert self.pool.fault is not None


Said = tuple[Outcome, str | None, int, bool, bool]


def said(line: Result) -> Said:
    """Return what a line says of the calls: outcome, error, tries, and whether it has a beginning and an end."""
    return line.outcome, line.error, line.attempts, line.started_at is not None, line.finished_at is not None


def expected(calls: Sequence[Sent]) -> Said:
    """Say, from its calls alone, what the line of a campaign has to say; only first calls fail here."""
    answers = [call.answer for call in calls if call.answer is not None and call.answer.again is not RetryHint.NOW]
    tries = sum(answer.again is not RetryHint.THROTTLED for answer in answers)
    if calls and calls[-1].fault is not None and not isinstance(calls[-1].fault, BulkstopError):
        return Outcome.UNKNOWN, CUT_OFF, tries + 1, True, True
    if not answers:
        return Outcome.NOT_SENT, NOT_TRIED, 0, False, False
    last = answers[-1]
    if last.again is RetryHint.NO:
        return last.outcome, last.error, tries, True, True
    return last.outcome, f"{last.error}; {NOT_TRIED_AGAIN}", max(1, tries), True, False


def expected_of_lists(calls: Sequence[Sent]) -> list[Said]:
    """Say what the line of a campaign may say besides, when its last answer is one of which a list decides."""
    last = calls[-1].answer if calls else None
    tries = sum(call.answer is not None for call in calls)
    if last is CLAIM:
        told = f"{last.error}; the list has it as "
        return [
            (Outcome.ALREADY_STOPPED, f"{told}Stopped", tries, True, True),
            (Outcome.UNCONFIRMED, f"{last.error}; {NOT_READ_BACK}", tries, True, False),
            (Outcome.UNCONFIRMED, f"{told}Active; {NOT_TRIED_AGAIN}", tries, True, False),
        ]
    if last is STALE:
        return [(last.outcome, last.error, tries, True, False)]
    return []


# --- worlds ---------------------------------------------------------------------------------------------------------


def a_mixed_service() -> Service:
    """Return a service with calls, renewals, waits for quota, for another attempt, and pauses."""
    script = {1: RENEWED, 2: BUSY, 3: throttled(3.0), 4: GONE}
    return Service(
        lambda one, call: Reply(one.line % 3 / 4, script.get(one.line, STOPPED) if call == 1 else STOPPED),
    )


def retries() -> World:
    """Let calls be renewed, retried and throttled."""
    return World(a_mixed_service().send)


def a_shared_store() -> World:
    """Let calls of one account be claimed from a store that takes its time and now and then says to wait."""
    asked = 0

    async def claim() -> float:
        nonlocal asked
        asked += 1
        wait_s = 1.0 if asked % 3 == 2 else 0.0
        await asyncio.sleep(0.25)
        return wait_s

    return World(a_mixed_service().send, claim)


def a_store_that_breaks() -> World:
    """Let the store end the run after a few calls."""
    asked = 0

    async def claim() -> float:
        nonlocal asked
        asked += 1
        lost = asked == 4
        await asyncio.sleep(0.25)
        if lost:
            raise QuotaError("the store is gone")
        return 0.0

    return World(a_mixed_service().send, claim)


def a_renewal() -> World:
    """Let the first token be refused to all who used it, and one renewal serve them."""
    lock = asyncio.Lock()
    token = 0

    async def send(one: Campaign) -> Attempt:
        nonlocal token
        used = token
        await asyncio.sleep(0.25)
        if used:
            return STOPPED
        async with lock:
            if not token:
                await asyncio.sleep(0.5)
                token += 1
        return RENEWED

    return World(send)


def a_renewal_that_fails() -> World:
    """Let the credentials end while others are being tried."""

    def reply(one: Campaign, call: int) -> Reply:
        return Reply(one.line / 4, BUSY if call == 1 and one.line < 3 else STOPPED if call == 1 else gone)

    gone = CredentialsError("the token expired")
    return World(Service(reply).send)


def slow_cleaning() -> World:
    """Let a call that is cut off take a while to close its connection."""
    service = a_mixed_service()

    async def send(one: Campaign) -> Attempt:
        try:
            return await service.send(one)
        except asyncio.CancelledError:
            await asyncio.sleep(0.75)
            raise

    return World(send, cleaning_s=0.75)


def deaf_calls() -> World:
    """Let a cancelled call answer, as if it had not been cancelled."""
    service = a_mixed_service()

    async def send(one: Campaign) -> Attempt:
        try:
            return await service.send(one)
        except asyncio.CancelledError:
            return STOPPED

    return World(send)


def a_full_disk() -> World:
    """Make writing fail from the moment at which the run is ended."""

    def report(scene: Scene, result: Result) -> None:
        if scene.acted:
            raise OutputError("out.jsonl: no space left on device")

    return World(a_mixed_service().send, report=report)


def lists_that_decide() -> World:
    """Let one account's claims be read back, of which every other one runs, and the other's rows all be stale."""
    service = Service(
        lambda one, call: Reply(
            one.line % 3 / 4, STALE if one.account_id == "b" else CLAIM if call == 1 or one.line == 4 else STOPPED
        )
    )
    lists = Lists(
        lambda of, number: {f"cd-a-{line}": RUNS if line % 2 else AT_REST for line in range(5)}, latency_s=0.75
    )
    return World(service.send, lists=lists)


WORLDS: list[Callable[[], World]] = [
    retries,
    a_shared_store,
    a_store_that_breaks,
    a_renewal,
    a_renewal_that_fails,
    slow_cleaning,
    deaf_calls,
    a_full_disk,
    lists_that_decide,
]


# --- the end at every moment ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faults() -> Iterator[list[list[Mapping[str, Any]]]]:
    """Collect the errors of every loop; an unretrieved exception of a task is reported only at its collection."""
    found: list[list[Mapping[str, Any]]] = []
    yield found
    gc.collect()
    assert not [fault for of_loop in found for fault in of_loop]


@pytest.mark.full
@pytest.mark.parametrize("acts", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("world", WORLDS)
def test_the_end_at_any_round_of_the_loop_costs_no_line(
    world: Callable[[], World], acts: dict[int, Act], faults: list[list[Mapping[str, Any]]]
) -> None:
    """Cancelled, drained or aborted before any step of the run: one true line a row, and no task or exception left."""
    for step in range(1, 500):
        loop = VirtualLoop()
        scene, _ = run(ended_at(step, acts, world, loop), loop=loop)
        faults.append(loop.faults)
        scene.check()
        if not scene.acted:
            break
    else:
        raise AssertionError("the run never ended by itself")
    assert step > 15


async def ended_at(step: int, acts: dict[int, Act], world: Callable[[], World], loop: VirtualLoop) -> Scene:
    """Run a scene that is ended before the given round of the loop."""
    scene = Scene(world())

    def begun() -> None:
        for later, act in acts.items():
            loop.at_step(loop.step + step + later, partial(scene.end, act))

    await scene.run(begun)
    return scene


@pytest.mark.parametrize("act", [cancel, drain, abort])
@pytest.mark.parametrize("place", ["send", "answer", "claim", "claimed", "report"])
@pytest.mark.parametrize("world", [a_shared_store, a_full_disk, deaf_calls])
def test_the_end_from_within_any_call_costs_no_line(world: Callable[[], World], place: str, act: Act) -> None:
    """An end that falls between two steps of the same round, or into the writing of a line, loses none either."""
    for number in range(1, 100):
        scene = ended_within(place, number, act, world())
        scene.check()
        if not scene.acted:
            break
    else:
        raise AssertionError("the run never ended by itself")
    assert number > 4


def ended_within(place: str, number: int, act: Act, world: World) -> Scene:
    """Run a scene that is ended from within the n-th call of a place."""
    met = Counter[str]()

    def meet(where: str) -> None:
        met[where] += 1
        if where == place and met[where] == number:
            scene.end(act)

    async def send(one: Campaign) -> Attempt:
        meet("send")
        attempt = await world.send(one)
        meet("answer")
        return attempt

    async def claim() -> float:
        meet("claim")
        wait_s = 0.0 if world.claim is None else await world.claim()
        meet("claimed")
        return wait_s

    def report(scene: Scene, result: Result) -> None:
        meet("report")
        world.report(scene, result)

    scene = Scene(World(send, claim, report))
    run(scene.run())
    return scene


@pytest.mark.parametrize("after_s", [0.0, 5.0])
def test_a_cancellation_is_not_tried_again(after_s: float) -> None:
    """Retries do not swallow the end: a cancelled run makes no further call and ends as cancelled, at once."""
    service = always(BUSY, 10.0)

    async def main() -> bool:
        task = asyncio.create_task(job.pool.run())
        asyncio.get_running_loop().call_later(after_s, task.cancel)
        await asyncio.wait([task])
        return task.cancelled()

    job = Job(campaigns(3), service.send, concurrency=2)
    assert run(main()) == (True, after_s)
    assert len(service.log) == 2
    assert job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 1}


# --- cancellations that nobody asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_call_that_is_cancelled_from_within_costs_its_line_alone(concurrency: int) -> None:
    """A library's stray cancellation makes that campaign unknown; no worker dies of it, and the rest is stopped."""
    service = Service(
        lambda one, call: Reply(0.5, asyncio.CancelledError("stray") if one.line <= 3 else STOPPED),
    )
    job = Job(campaigns(10), service.send, concurrency=concurrency)
    run(job.pool.run())
    assert job.outcomes() == {Outcome.UNKNOWN: 3, Outcome.STOPPED: 7}


@pytest.mark.parametrize("asked", [1, 3])
def test_a_store_that_is_cancelled_from_within_ends_the_run(asked: int) -> None:
    """The run is not left waiting for a worker that died of it: it drains, says why, and every row has its line."""
    answers = iter(range(1, 100))

    async def claim() -> float:
        await asyncio.sleep(0.25)
        if next(answers) == asked:
            raise asyncio.CancelledError
        return 0.0

    scene = Scene(World(always(STOPPED, 0.5).send, claim))
    run(scene.run())
    scene.check()
    assert str(scene.pool.fault) == CANCELLED
    assert scene.outcomes()[Outcome.NOT_SENT] > 0


def test_a_report_that_is_cancelled_from_within_ends_the_run() -> None:
    """A cancellation raised within a report is kept separate: its result is kept, and the run drains."""

    def report(scene: Scene, result: Result) -> None:
        if result.line in {2, 4}:
            raise asyncio.CancelledError

    scene = Scene(World(always(STOPPED, 0.5).send, report=report))
    run(scene.run())
    scene.check()
    assert str(scene.pool.fault) == CANCELLED
    assert scene.outcomes() == {Outcome.STOPPED: 3, Outcome.NOT_SENT: 5}


def test_an_interrupt_out_of_a_call_cuts_the_others_off() -> None:
    """An interrupt of the whole process passes, and each row still has its line: in flight is unknown."""
    service = Service(lambda one, call: Reply(0.25 * one.line, KeyboardInterrupt() if one.line == 2 else STOPPED))
    job = Job(campaigns(10), service.send, concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        run(job.pool.run())
    job.check()
    assert job.outcomes() == {Outcome.STOPPED: 1, Outcome.UNKNOWN: 4, Outcome.NOT_SENT: 5}
    assert job.pool.in_flight == 0
