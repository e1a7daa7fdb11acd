"""Executes a plan: sends every campaign, reports each row once, and can be observed and steered meanwhile."""

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
"""Seconds between two checks that results can still be written."""
LOOK_AGAIN_S = 0.25
"""Seconds between two checks whether another run of the engine has freed a place in the quota."""
FORECAST_S = 1.0
"""Seconds until the end is computed again."""
STORED_ACCOUNTS = 100
"""Most accounts, those with the most campaigns, whose calls are read from a store."""
UNREAD_S = 5.0
"""Seconds without a reader of the results after which a warning says that nothing is sent."""
BEHIND_S = 5.0
"""Seconds between two checks whether a run is behind; it is reported after two in a row."""
EVENTS_KEPT = 10_000
"""Most events that wait for an observer; the oldest are dropped."""


class Prepared(NamedTuple):
    """A plan, and where its results go: `report` writes them, `watch` raises if they can no longer be written.

    `end` closes the outputs, and returns the summary with any error of that. No call is sent while one of the
    `outboxes` is full. `fault` says why the plan lacks a part of the list.
    """

    plan: Plan
    report: Report = lambda results: None
    watch: Callable[[], None] = lambda: None
    end: Callable[[StopSummary], StopSummary] = lambda summary: summary
    outboxes: Sequence[Outbox[Any]] = ()
    fault: BulkstopError | None = None


Prepare = Callable[[str], AbstractAsyncContextManager[Prepared]]
"""Prepares the run with this id; what it opens is closed when the run ends."""


class Run:
    """One run of a plan, with the methods to observe and steer it.

    Awaiting it, or iterating over its results, starts it; awaiting returns its Summary. If the awaiting task is
    cancelled, the run is aborted, every row still has its result, and `summary` says how it ended. Methods that steer
    may be called from any thread; the others belong to its event loop.
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
        """Start the run unless it was started, and return its summary."""
        return self._wait().__await__()

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Start the run unless it was started, and yield each result from now on; leaving the loop early drains it."""
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
        """Start the run unless it was started; it continues while its engine is open."""
        self._parts.check_usable()
        if self._task is None:
            self._parts.runs.add(self)
            self._task = start_task(self.execute())
            self._task.add_done_callback(self._be_done)
        return self._task

    async def settle(self) -> None:
        """Wait for the end of the run if it was started; if this task is cancelled, the run is aborted first."""
        cancelled: asyncio.CancelledError | None = None
        self._waiters += 1
        while self._task is not None and not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:  # a second cancellation also waits for the lines
                cancelled = error
                self._end_early(is_cut=True)
        self._waiters -= 1
        if cancelled is not None:
            raise cancelled

    async def execute(self, *, progress: Progress | None = None, shutdown: Shutdown | None = None) -> StopSummary:
        """Send every campaign and report each row once, however the run ends.

        `shutdown` gets this run to end it. Raises a BulkstopError if the run cannot start, and the error of
        `on_result`; another later fault is in the summary. If it is cancelled, the run is aborted first.
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
        assert self.summary is not None  # noqa: S101 - otherwise it has raised
        return self.summary

    def pause(self) -> None:
        """Send no more calls until `resume`; calls in flight continue."""
        self._steer(self._set_paused, True)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._steer(self._set_paused, False)

    def drain(self) -> None:
        """Send no more calls; calls in flight continue, and every other row is reported as not sent."""
        self._steer(self._end_early, False)

    def abort(self) -> None:
        """Send no more calls, and abort those in flight, whose campaigns are reported as unknown."""
        self._steer(self._end_early, True)

    def set_rate(self, rate: str | Limit | None) -> None:
        """Limit each account to this rate (`30/m`) from now on, in addition to its quota; None removes the limit.

        Raises SettingsError for an invalid rate.
        """
        try:
            limit = read_rate(rate)
        except ValueError as error:
            raise SettingsError(f": {error}", setting="rate") from None
        self._steer(self._set_rate, () if limit is None else (limit,))

    @property
    def in_flight(self) -> int:
        """The number of calls without a response."""
        return self._work.pool.in_flight if self._work else 0

    def snapshot(self) -> Snapshot:
        """Return the current state of the run."""
        plan, now = self._plan, elapsed_s()
        wait, left_s, until_s = self._find_wait(now), self._forecast_left_s(now), self._ends_at - time.time()
        is_late = left_s is not None and left_s > until_s
        waits_s = wait.until - now if wait and wait.until < math.inf else None
        if wait and wait.reason is WaitReason.LIST:
            waits_s = left_s  # only list reading is left
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
        """Return why no call is sent right now; None if calls are sent."""
        if any(outbox.is_full for outbox in self._outboxes):
            return Wait(WaitReason.READER, math.inf)
        if self._work is None:
            return Wait(WaitReason.LIST, math.inf) if self.state is RunState.RUNNING else None
        return self._work.pool.lanes.find_wait(now)

    def _forecast_left_s(self, now: float) -> float | None:
        """Return the forecast seconds until the end, computed again every FORECAST_S."""
        if self._work is None or self.state is not RunState.RUNNING:
            return 0.0 if self.state is RunState.ENDED else None
        if now >= self._forecast_at + FORECAST_S:
            pool = self._work.pool
            # No result line exists while all campaigns wait for their list.
            cost = CallCost(self.stats.latency_ms / 1000 or pool.latency_s, self.stats.calls_each)
            left_s = forecast_left_s(pool.lanes, now, cost, self._stored, pool.find_list_work)
            self._forecast_at, self._ends_in = now, left_s
        return None if self._ends_in is None else max(0.0, self._ends_in - (now - self._forecast_at))

    def events(self) -> AsyncIterator[Event]:
        """Yield the events of the run from this call to its end; iterate in another task than the one awaiting it."""
        events = Stream[Event](EVENTS_KEPT)
        if self.state is RunState.ENDED:
            events.close()
        self._events.append(events)
        return events

    async def _wait(self) -> StopSummary:
        """Wait for the end of the run; return its summary or raise its error."""
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
        """Finish a run that was cancelled before its first step; log its error if nobody awaits it."""
        if self.state is not RunState.ENDED:
            self._end()
        if not task.cancelled() and (error := task.exception()) is not None and not self._waiters:
            self._observe(Warned(f"the run ended with {type(error).__name__}: {error}"))

    def _steer(self, act: Callable[..., None], *args: object) -> None:
        """Call `act` in the event loop of the run, from any thread."""
        loop = self._loop
        if loop is None or _running_loop() is loop:
            act(*args)
        else:
            with suppress(RuntimeError):  # the loop is closed: the run has ended
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
        """Get what is needed before the first stop; ending the run does not wait for it."""
        async with self._ending.cuts_off():
            if plan.to_send and not self._ending.is_drained:
                await self._parts.check_credentials()  # without credentials no stop can succeed
                known = await self._read_lists(plan)
                largest = heapq.nlargest(STORED_ACCOUNTS, plan.accounts, key=plan.accounts.__getitem__)
                self._stored = await self._accounts.read_stored(largest, elapsed_s)
                return known
        return None

    async def _read_lists(self, plan: Plan) -> "KnownStates | None":
        settings = self._parts.settings
        if not (settings.only_running or settings.disable_schedule):
            return None
        from bulkstop.runs.stop.precheck import read_known_states  # most runs do not need it

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
        """Return an awaitable until a worker may send again, when its line is written and taken; None if it is."""
        written, taken_in = keep_up(self._outboxes), self._delivery.keep_up()
        return taken_in if written is None else self._wait_until(written, taken_in)

    async def _wait_until(self, written: Awaitable[None], taken_in: Awaitable[None] | None) -> None:
        """Wait for both; raises OutputError if the line cannot be written."""
        await written
        self._watch()
        if taken_in is not None:
            await taken_in

    def _make_room(self) -> Awaitable[None] | None:
        """Return an awaitable until there is room for more lines; None if there is."""
        return make_room(self._outboxes)

    @property
    def is_read(self) -> bool:
        """Return whether no output of the run waits for its reader."""
        return all(outbox.is_idle for outbox in self._outboxes)

    def _look_at_clock(self) -> float:
        """Drain the run when the time to finish by has come; return the seconds until the next check."""
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
        """Warn once that nothing is sent because an output is not read; return the seconds until the next check."""
        behind = {outbox.name: outbox.pieces for outbox in self._outboxes if outbox.is_behind}
        is_unread = bool(behind) and behind == self._behind
        if is_unread and not self._is_unread:
            self._observe(Warned(f"{next(iter(behind))} is full: nothing more is sent until somebody reads it"))
        self._behind, self._is_unread = behind, is_unread
        return UNREAD_S

    def _look_whether_behind(self) -> float:
        """Report once that the run will miss its deadline, if there are receivers; return the seconds to wait."""
        if self._notices is not None and self._ends_at < math.inf and self._behind_looks < 2:
            left_s = self._forecast_left_s(elapsed_s())
            ends_at = time.time() + (left_s or 0.0)
            self._behind_looks = self._behind_looks + 1 if ends_at > self._ends_at else 0
            if self._behind_looks == 2 and self._plan is not None:
                left = max(0, self._plan.to_send - self.stats.sent)
                self._observe(FellBehind(self.id, ends_at, self._ends_at, left))
        return BEHIND_S

    def _hurry_readers(self) -> float:
        """Stop waiting for blocked readers when a run that was ended early is past its grace period."""
        if self._work is not None and self._work.pool.is_draining:
            self._draining_since = self._draining_since or time.monotonic()
            if time.monotonic() - self._draining_since >= self._parts.settings.grace_s:
                for outbox in self._outboxes:
                    outbox.hurry()
        return WATCH_EVERY_S

    def _apply_steering(self) -> None:
        """Apply to the pool what was steered before it existed."""
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
        """Tell observers that no stop is sent for some time, because the lists come first."""
        self._observe(Resting(round(seconds, 1), "the lists are read first, within the quota"))


def _forgive_hang_up(summary: StopSummary) -> StopSummary:
    """Return the summary without the output error that the closed terminal caused, if SIGHUP ended the run."""
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
    """Run the pool; return the error that ended it early, and the cancellation of this task, if any."""
    try:
        await pool.run()
    except BulkstopError as fault:
        return fault, None
    except asyncio.CancelledError as cancelled:
        return None, cancelled
    except Exception as error:  # noqa: BLE001 - results of responses are reported whatever the error is
        return BulkstopError(unforeseen(error)), None
    return None, None


@contextmanager
def _watched(watch: Callable[[], None], run: Run) -> Iterator[Callable[[], BulkstopError | None]]:
    """Drain the run when `watch` raises, even while it waits; the block gets a function that returns the error."""
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
    """Show the state of the run at intervals, by a timer: a run may wait for minutes without a result."""
    if progress is None:
        yield
        return

    def show() -> float:
        if run.is_read:  # an unread progress must neither pile up nor delay a stop
            progress.show(run.snapshot())
        return progress.every_s

    try:
        with every(show, progress.every_s):
            yield
    finally:
        progress.close()
