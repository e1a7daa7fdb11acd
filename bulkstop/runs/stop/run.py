"""Carry out a plan: send every campaign, report each row once; the run can be observed and steered meanwhile."""

import asyncio
import heapq
import math
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.estimate import Stored
from bulkstop.engine.pool import Pool
from bulkstop.engine.shutdown import Shutdown
from bulkstop.engine.steering.delivery import Delivery
from bulkstop.engine.steering.early_end import EarlyEnd
from bulkstop.engine.steering.stream import Stream
from bulkstop.engine.tasks import start_task
from bulkstop.errors import BulkstopError, OutputError, SettingsError, unforeseen
from bulkstop.events import Event, FellBehind, Observe, Resting, RunBegan, RunEnded, Warned
from bulkstop.model import Limit, OnResult, Outcome, Report, Result, Wait, WaitReason
from bulkstop.outbox import Outbox, keep_up, make_room
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.snapshot import RunState, Snapshot
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.host import LOOK_AT_CLOCK_S, every
from bulkstop.runs.options import read_rate
from bulkstop.runs.parts import Parts
from bulkstop.runs.stop.forecast import CallCost, forecast_left_s
from bulkstop.runs.stop.work import Work, make_work
from bulkstop.runs.wiring import check_accounts, check_size, find_end, plan_waves
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.runs.notify import RunNotices
    from bulkstop.runs.stop.precheck import KnownStates

WATCH_EVERY_S = 1.0
"""How soon a run notices that its results have no place any more."""
LOOK_AGAIN_S = 0.25
"""How soon a run notices that another run of its engine has freed a place in the quota."""
FORECAST_S = 1.0
"""How soon the end is computed anew."""
STORED_ACCOUNTS = 100
"""Accounts, those with the most campaigns, of which a store is asked what it knows."""
UNREAD_S = 5.0
"""How long nobody reads what is written before somebody is told that nothing is sent."""
BEHIND_S = 5.0
"""How soon to look again whether a run is behind; somebody is told when it is so twice in a row."""
EVENTS_KEPT = 10_000
"""Events that nobody has taken yet; the oldest go first."""


class Prepared(NamedTuple):
    """A plan, and where its results go: `report` writes them, `watch` raises when they have no place any more.

    `end` closes what they are written to, and returns the summary with what went wrong in doing so. While one of the
    `outboxes` is full nothing leaves. `fault` says why the plan does not hold the whole list.
    """

    plan: Plan
    report: Report = lambda results: None
    watch: Callable[[], None] = lambda: None
    end: Callable[[StopSummary], StopSummary] = lambda summary: summary
    outboxes: Sequence[Outbox[Any]] = ()
    fault: BulkstopError | None = None


Prepare = Callable[[str], AbstractAsyncContextManager[Prepared]]
"""Plans a run of that id; what it opens is closed when the run has ended."""


class Run:
    """One run of a plan: whoever starts it observes and steers it by this.

    Awaiting it starts it and returns its Summary; so does iterating over its results. When whoever awaits it is
    cancelled the run is aborted, every row still has its result, and `summary` says how it ended. The methods that
    steer may be called from any thread; the others belong to its event loop.
    """

    def __init__(
        self,
        parts: Parts,
        prepare: Prepare,
        on_result: OnResult | None = None,
        *,
        run_id: str | None = None,
        ending: EarlyEnd | None = None,
        observe: Observe = log_event,
        make_notices: "Callable[[str], RunNotices | None] | None" = None,
    ) -> None:
        self.id = run_id or str(uuid.uuid4())
        self._notices = None if make_notices is None else make_notices(self.id)
        self._behind_looks = 0
        self.state = RunState.PLANNED
        self.summary: StopSummary | None = None
        self.stats = Stats()
        self._parts = parts
        self._prepare = prepare
        self._accounts = parts.accounts.of_run(rests=self._note_rest)
        self._ending = ending or EarlyEnd()
        self._delivery = Delivery(on_result, self._ending, self.abort)
        self._observer = observe
        self._events: list[Stream[Event]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[StopSummary] | None = None
        self._waiters = 0
        self._began = time.monotonic()
        self._plan: Plan | None = None
        self._work: Work | None = None
        self._outboxes: Sequence[Outbox[Any]] = ()
        self._watch: Callable[[], None] = lambda: None
        self._is_paused = False
        self._is_unread = False
        self._behind: dict[str, int] = {}
        self._draining_since = 0.0
        self._rate: tuple[Limit, ...] = ()
        self._ends_at = math.inf
        self._is_out_of_time = False
        self._stored: dict[str, Stored] = {}
        self._forecast_at = -math.inf
        self._ends_in: float | None = None

    def __await__(self) -> Generator[None, None, StopSummary]:
        """Start the run unless it has been, and return how it ended."""
        return self._wait().__await__()

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Start the run unless it has been, and give each result from now on; leaving the loop early drains it."""
        results = self._delivery.iterate()
        if self.state is RunState.ENDED:
            results.close()
        self.start()
        try:
            async for result in results:
                yield result
        except (asyncio.CancelledError, GeneratorExit) as left:
            results.close()
            self._end_early(is_cut=isinstance(left, asyncio.CancelledError))
            await self.settle()
            raise
        await self._wait()

    def start(self) -> "asyncio.Task[StopSummary]":
        """Start the run unless it has been; it goes on while its engine is open."""
        self._parts.check_usable()
        if self._task is None:
            self._parts.runs.add(self)
            self._task = start_task(self.execute())
            self._task.add_done_callback(self._be_done)
        return self._task

    async def settle(self) -> None:
        """Wait for the end of the run if it has been started; when this task is cancelled meanwhile, it is aborted."""
        cancelled: asyncio.CancelledError | None = None
        self._waiters += 1
        while self._task is not None and not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:  # whoever cancels twice waits for the lines, too
                cancelled = error
                self._end_early(is_cut=True)
        self._waiters -= 1
        if cancelled is not None:
            raise cancelled

    async def execute(self, *, progress: Progress | None = None, shutdown: Shutdown | None = None) -> StopSummary:
        """Send every campaign and report each row once, whatever ends the run.

        `shutdown` is told what to end. Raises a BulkstopError for what keeps the run from starting, and what
        `on_result` raises; what else ends it later stands in the summary. When it is cancelled it is aborted first.
        """
        self._loop, settings = asyncio.get_running_loop(), self._parts.settings
        self._parts.runs.add(self)
        try:
            async with self._prepare(self.id) as prepared:
                plan, self._outboxes, self._watch = prepared.plan, prepared.outboxes, prepared.watch
                self._plan = plan
                self._ends_at = find_end(settings)
                check_size(settings, plan.listed)
                check_accounts(settings, plan.accounts)
                self._accounts.note_first(plan)
                plan_waves(settings, plan.to_send)
                self._began = time.monotonic()
                self.state = RunState.PAUSED if self._is_paused else RunState.RUNNING
                self._observe(_run_began(self.id, plan, settings))
                await self._send_all(prepared, shutdown, progress)
        except BaseException as fault:
            if self._notices is not None and self.summary is None:
                self._notices.refuse(fault)
            raise
        finally:
            self._end()
        if self._delivery.error is not None:
            raise self._delivery.error
        assert self.summary is not None  # noqa: S101 - else it has raised
        return self.summary

    def pause(self) -> None:
        """Let nothing leave until `resume`; what is in flight is waited for."""
        self._steer(self._set_paused, True)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._steer(self._set_paused, False)

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for, and every other row is reported as not sent."""
        self._steer(self._end_early, False)

    def abort(self) -> None:
        """Let nothing more leave, and cut off what is in flight; each of those campaigns is reported as unknown."""
        self._steer(self._end_early, True)

    def set_rate(self, rate: str | Limit | None) -> None:
        """Let each account make at most so many calls (`30/m`) from now on, beside its quota; None ends that.

        Raises SettingsError for what is not a rate.
        """
        try:
            limit = read_rate(rate)
        except ValueError as error:
            raise SettingsError(f": {error}", setting="rate") from None
        self._steer(self._set_rate, () if limit is None else (limit,))

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return self._work.pool.in_flight if self._work else 0

    def snapshot(self) -> Snapshot:
        """Return how the run stands at this moment."""
        plan, now = self._plan, elapsed_s()
        wait, left_s, until_s = self._find_wait(now), self._forecast_left_s(now), self._ends_at - time.time()
        is_late = left_s is not None and left_s > until_s
        waits_s = wait.until - now if wait and wait.until < math.inf else None
        if wait and wait.reason is WaitReason.LIST:
            waits_s = left_s  # nothing else is left to do
        return Snapshot(
            run_id=self.id,
            state=self.state,
            rows=plan.rows if plan else 0,
            to_send=plan.to_send if plan else 0,
            sent=self.stats.sent,
            done=self.stats.done,
            failed=self.stats.sent_failed,
            in_flight=self.in_flight,
            elapsed_s=time.monotonic() - self._began,
            left_s=max(0.0, until_s) if is_late else left_s,
            waits_for=wait.reason if wait else None,
            waits_s=waits_s,
            answered=self._work.pool.lanes.answered if self._work else 0,
            ends_at_deadline=is_late,
            pace=self._work.pool.lanes.find_pace() if self._work else None,
        )

    def _find_wait(self, now: float) -> Wait | None:
        """Say why nothing leaves right now, if that is so."""
        if any(outbox.is_full for outbox in self._outboxes):
            return Wait(WaitReason.READER, math.inf)
        if self._work is None:
            return Wait(WaitReason.LIST, math.inf) if self.state is RunState.RUNNING else None
        return self._work.pool.lanes.find_wait(now)

    def _forecast_left_s(self, now: float) -> float | None:
        """Return the seconds until the end, which are computed anew after a while."""
        if self._work is None or self.state is not RunState.RUNNING:
            return 0.0 if self.state is RunState.ENDED else None
        if now >= self._forecast_at + FORECAST_S:
            pool = self._work.pool
            # While all campaigns wait for their list there is no line yet.
            cost = CallCost(self.stats.latency_ms / 1000 or pool.latency_s, self.stats.calls_each)
            left_s = forecast_left_s(pool.lanes, now, cost, self._stored, pool.find_list_work)
            self._forecast_at, self._ends_in = now, left_s
        return None if self._ends_in is None else max(0.0, self._ends_in - (now - self._forecast_at))

    def events(self) -> AsyncIterator[Event]:
        """Give what happens in the run from this call on, until it has ended; iterate beside whoever awaits it."""
        events = Stream[Event](EVENTS_KEPT)
        if self.state is RunState.ENDED:
            events.close()
        self._events.append(events)
        return events

    async def _wait(self) -> StopSummary:
        """Wait for the end of the run, and return its summary or raise what it raised."""
        task = self.start()
        await self.settle()
        return task.result()

    def _end(self) -> None:
        self._parts.runs.discard(self)
        self.state = RunState.ENDED
        if self.summary is not None:
            self._observe(_run_ended(self.summary))
        self._delivery.close()
        for events in self._events:
            events.close()

    def _be_done(self, task: "asyncio.Task[StopSummary]") -> None:
        """End a run that was cancelled before its first step; say what it raised if nobody waits for it."""
        if self.state is not RunState.ENDED:
            self._end()
        if not task.cancelled() and (error := task.exception()) is not None and not self._waiters:
            self._observe(Warned(f"the run ended with {type(error).__name__}: {error}"))

    def _steer(self, act: Callable[..., None], *args: object) -> None:
        """Do it in the loop of the run, whichever thread this is."""
        loop = self._loop
        if loop is None or _running_loop() is loop:
            act(*args)
        else:
            with suppress(RuntimeError):  # the loop is closed, so the run has ended
                loop.call_soon_threadsafe(act, *args)

    def _set_paused(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        if self.state in (RunState.RUNNING, RunState.PAUSED):
            self.state = RunState.PAUSED if is_paused else RunState.RUNNING
        if self._work is not None:
            self._work.pool.pause() if is_paused else self._work.pool.resume()

    def _end_early(self, is_cut: bool) -> None:
        if self.state is RunState.ENDED:
            return
        self._ending.abort() if is_cut else self._ending.drain()
        self._delivery.lift()
        if is_cut:
            for outbox in self._outboxes:
                outbox.hurry()
        if self._work is not None:
            self.state = RunState.DRAINING
            self._work.pool.abort() if is_cut else self._work.pool.drain()

    def _set_rate(self, limits: tuple[Limit, ...]) -> None:
        self._rate = limits
        if self._work is not None:
            self._work.pool.set_rate(limits)

    async def _get_ready(self, plan: Plan) -> "KnownStates | None":
        """Get what is needed before the first stop; whoever ends the run meanwhile does not wait for it."""
        async with self._ending.cuts_off():
            if plan.to_send and not self._ending.is_drained:
                await self._parts.check_credentials()  # a run without credentials changes nothing
                known = await self._read_lists(plan)
                largest = heapq.nlargest(STORED_ACCOUNTS, plan.accounts, key=plan.accounts.__getitem__)
                self._stored = await self._accounts.read_stored(largest, elapsed_s)
                return known
        return None

    async def _read_lists(self, plan: Plan) -> "KnownStates | None":
        settings = self._parts.settings
        if not (settings.only_running or settings.disable_schedule):
            return None
        from bulkstop.runs.stop.precheck import read_known_states  # seldom wanted

        return await read_known_states(
            plan, settings, self._parts.perform, self._accounts, self._observe, self._ends_at
        )

    async def _send_all(self, prepared: Prepared, shutdown: Shutdown | None, progress: Progress | None) -> None:
        plan, settings = prepared.plan, self._parts.settings

        def report(results: Sequence[Result]) -> None:
            prepared.report(results)
            for result in results:
                self.stats.add(result)
                self._delivery.give(result)
            if shutdown is not None:
                shutdown.lines += len(results)

        known = await self._get_ready(plan)
        if shutdown is not None:
            shutdown.attach(self)
        for result in plan.held_results():
            report([replace(result, run_id=self.id)])
            if (room := self._make_room()) is not None:
                await room
            if self._delivery.is_behind and (finishing := self._delivery.keep_up()) is not None:
                async with self._ending.cuts_off(by_drain=False):
                    await finishing
        work = self._work = make_work(
            plan,
            self._parts,
            self._accounts,
            known,
            report,
            self.id,
            self._observe,
            self._keep_up,
            self._make_room,
            self._look_at_clock,
        )
        self._apply_steering()
        with (
            every(self._look_at_clock, self._look_at_clock()),
            _watched(prepared.watch, self) as fault_seen,
            _show_progress(progress, self),
            every(self._look_again, LOOK_AGAIN_S),
            every(self._warn_if_unread, UNREAD_S),
            every(self._hurry_readers, WATCH_EVERY_S),
            every(self._look_whether_behind, BEHIND_S),
        ):
            fault, cancelled = await _work_through(work.pool)
            if cancelled is not None:
                self._end_early(is_cut=True)
            await self._delivery.finish(settings.concurrency)
            for outbox in self._outboxes:
                await outbox.flush()
        summary = StopSummary(
            self.stats,
            plan.rows,
            work.pool.calls + (known.calls if known else 0),
            time.monotonic() - self._began,
            self.id,
            signum=shutdown.signum if shutdown else None,
            out_of_time=self._is_out_of_time,
            fault=prepared.fault or fault or fault_seen() or self._delivery.fault(),
            unwritten=tuple(work.pool.unwritten),
            settled=dict(plan.settled),
            ended=None if shutdown and shutdown.signum else self._ending.kind,
        )
        self.summary = _forgive_hang_up(prepared.end(summary))
        if cancelled is not None:
            raise cancelled

    def _keep_up(self) -> Awaitable[None] | None:
        """Return what waits until a place may send again: its line is written, and taken in; None when that is so."""
        written, taken_in = keep_up(self._outboxes), self._delivery.keep_up()
        return taken_in if written is None else self._wait_until(written, taken_in)

    async def _wait_until(self, written: Awaitable[None], taken_in: Awaitable[None] | None) -> None:
        """Wait for both; raises OutputError when it cannot be written."""
        await written
        self._watch()
        if taken_in is not None:
            await taken_in

    def _make_room(self) -> Awaitable[None] | None:
        """Return what waits until there is room for more lines; None when there is."""
        return make_room(self._outboxes)

    @property
    def is_read(self) -> bool:
        """Tell whether nothing of what the run writes waits for its reader."""
        return all(outbox.is_idle for outbox in self._outboxes)

    def _look_at_clock(self) -> float:
        """Drain the run when the time to finish by has come; return the seconds after which to look again."""
        left_s = self._ends_at - time.time()
        if left_s <= 0 and not self._is_out_of_time:
            self._is_out_of_time = True
            self.drain()
        return LOOK_AT_CLOCK_S if left_s <= 0 else min(left_s, LOOK_AT_CLOCK_S)

    def _look_again(self) -> float:
        if len(self._parts.runs) > 1 and self._work is not None:
            self._work.pool.look_again()
        return LOOK_AGAIN_S

    def _warn_if_unread(self) -> float:
        """Tell observers that nothing is sent because of a reader, once for as long as that lasts."""
        behind = {outbox.name: outbox.pieces for outbox in self._outboxes if outbox.is_behind}
        is_unread = bool(behind) and behind == self._behind
        if is_unread and not self._is_unread:
            self._observe(Warned(f"{next(iter(behind))} is full: nothing more is sent until somebody reads it"))
        self._behind, self._is_unread = behind, is_unread
        return UNREAD_S

    def _look_whether_behind(self) -> float:
        """Tell observers once that the run will not be done in time; nobody is asked where nobody is told."""
        if self._notices is not None and self._ends_at < math.inf and self._behind_looks < 2:
            left_s = self._forecast_left_s(elapsed_s())
            ends_at = time.time() + (left_s or 0.0)
            self._behind_looks = self._behind_looks + 1 if ends_at > self._ends_at else 0
            if self._behind_looks == 2 and self._plan is not None:
                left = max(0, self._plan.to_send - self.stats.sent)
                self._observe(FellBehind(self.id, ends_at, self._ends_at, left))
        return BEHIND_S

    def _hurry_readers(self) -> float:
        """Wait for no reader that takes nothing once the grace is over of a run that has ended early."""
        if self._work is not None and self._work.pool.is_draining:
            self._draining_since = self._draining_since or time.monotonic()
            if time.monotonic() - self._draining_since >= self._parts.settings.grace_s:
                for outbox in self._outboxes:
                    outbox.hurry()
        return WATCH_EVERY_S

    def _apply_steering(self) -> None:
        """Do to the pool what was asked for before there was one."""
        if self._rate:
            self._set_rate(self._rate)
        if self._is_paused:
            self._set_paused(True)
        if self._ending.is_drained:
            self._end_early(is_cut=False)

    def _observe(self, event: Event) -> None:
        self._observer(event)
        if self._notices is not None:
            self._notices.observe(event)
        for events in self._events:
            events.put(event)

    def _note_rest(self, seconds: float, _: str) -> None:
        """Tell observers that nothing is stopped for a while, as the lists come first."""
        self._observe(Resting(round(seconds, 1), "the lists are read first, within the quota"))


def _forgive_hang_up(summary: StopSummary) -> StopSummary:
    """Return the summary of a run that the end of its terminal has ended, without the fault that this caused."""
    if summary.signum == signal.SIGHUP and summary.unread and isinstance(summary.fault, OutputError):
        return replace(summary, fault=None)
    return summary


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _run_began(run_id: str, plan: Plan, settings: Settings) -> RunBegan:
    quota = " ".join(map(str, settings.quota)) or "none"
    return RunBegan(run_id, settings.host, plan.rows, plan.to_send, len(plan.accounts), quota)


def _run_ended(summary: StopSummary) -> RunEnded:
    outcomes = {each.value: count for each in Outcome if (count := summary.stats.outcomes[each])}
    elapsed_s = round(summary.elapsed_s, 3)
    return RunEnded(summary.run_id, summary.reason, summary.exit_code, summary.calls, elapsed_s, outcomes)


async def _work_through(pool: Pool) -> tuple[BulkstopError | None, asyncio.CancelledError | None]:
    """Return what ended the work early, and whether this task was cancelled meanwhile."""
    try:
        await pool.run()
    except BulkstopError as fault:
        return fault, None
    except asyncio.CancelledError as cancelled:
        return None, cancelled
    except Exception as error:  # noqa: BLE001 - whatever it is, what was answered is told
        return BulkstopError(unforeseen(error)), None
    return None, None


@contextmanager
def _watched(watch: Callable[[], None], run: Run) -> Iterator[Callable[[], BulkstopError | None]]:
    """Drain the run when `watch` says so, also while it waits; the block is given a way to ask for what was said."""
    faults: list[BulkstopError] = []

    def look() -> float:
        try:
            watch()
        except BulkstopError as fault:
            faults.append(fault)
            run.drain()
        return WATCH_EVERY_S

    with every(look, look()):
        yield lambda: faults[0] if faults else None


@contextmanager
def _show_progress(progress: Progress | None, run: Run) -> Iterator[None]:
    """Show the state of the run now and then; a timer, because a run may wait for minutes without a result."""
    if progress is None:
        yield
        return

    def show() -> float:
        if run.is_read:  # what nobody looks at must not pile up, nor hold a stop back
            progress.show(run.snapshot())
        return progress.every_s

    try:
        with every(show, progress.every_s):
            yield
    finally:
        progress.close()
