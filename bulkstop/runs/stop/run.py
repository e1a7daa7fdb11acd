"""Carry out a plan: send every campaign, report each row once; the run can be observed and steered meanwhile."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from bulkstop.engine.followup import Follow, follow_nothing
from bulkstop.engine.lanes import Lane, Lanes
from bulkstop.engine.limits.quota import min_duration_s
from bulkstop.engine.pool import Pool
from bulkstop.engine.readback import IsEnough, Reading, ReadList
from bulkstop.engine.retry import Retry
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError, SettingsError
from bulkstop.events import Observe, Resting, RunBegan, RunEnded
from bulkstop.kore.session import Perform, make_perform
from bulkstop.model import Campaign, Limit, Outcome, Report, Result
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.snapshot import RunState, Snapshot
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import Summary
from bulkstop.runs import host
from bulkstop.runs.host import every, fit_open_files
from bulkstop.runs.wiring import (
    Accounts,
    check_size,
    make_guards,
    make_lanes,
    make_send,
    make_tokens,
    make_transport,
    open_quota_store,
    plan_waves,
)
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.runs.stop.precheck import KnownStates, RemainingWork

WATCH_EVERY_S = 1.0
"""How soon a run notices that its results have no place any more."""
LOST = "lines that were written stay, what was in flight is unknown; --resume goes on"
"""Said where a run is ended by force."""
UVLOOP_FROM = 500
"""Campaigns from which uvloop's import (about 20 ms) is worth it."""


class Run:
    """One run of a plan: whoever starts it observes and steers it by this, while `execute` goes on.

    Each row is given to `report` exactly once, whatever ends the run; each event to `observe`. `watch` is called every
    second, and raises a BulkstopError when nothing more may be sent; `end` closes what the results are written to, and
    returns the summary with what went wrong in doing so. Use it in the thread of its event loop.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        report: Report,
        *,
        run_id: str | None = None,
        observe: Observe = log_event,
        watch: Callable[[], None] = lambda: None,
        end: Callable[[Summary], Summary] = lambda summary: summary,
    ) -> None:
        self.id = run_id or str(uuid.uuid4())
        self.plan = plan
        self.stats = Stats()
        self._settings = settings
        self._report = report
        self._observe = observe
        self._watch = watch
        self._end = end
        self.state = RunState.PLANNED
        self._began = time.monotonic()
        self._lanes: Lanes | None = None
        self._pool: Pool | None = None
        self._is_draining = False
        self._is_paused = False
        self._rate: Sequence[Limit] = ()

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return 0 if self._pool is None else self._pool.in_flight

    async def execute(
        self,
        *,
        progress: Progress | None = None,
        signals: Sequence[int] = (),
        say: Callable[[str], None] = lambda text: None,
    ) -> Summary:
        """Send every campaign and report each row once, whatever ends the run.

        The first of `signals` drains it and the second aborts it; what is said of that goes to `say`. Raises a
        BulkstopError for what keeps the run from starting; what ends it later stands in the summary.
        """
        settings, plan = self._settings, self.plan
        check_time(settings)
        check_size(settings, plan.listed)
        plan_waves(settings, plan.to_send)
        settings = replace(settings, concurrency=fit_open_files(settings.concurrency))
        tokens, self._began, self.state = make_tokens(settings, self._observe), time.monotonic(), RunState.RUNNING
        shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST)
        self._observe(_run_began(self.id, plan, settings))
        try:
            with handle_signals(shutdown, signals):
                if plan.to_send:
                    await tokens.get()  # before anything is sent: a run without credentials changes nothing
                async with open_quota_store(settings) as store, make_transport(settings) as client:
                    accounts = Accounts(settings, store, rests=self._note_rest)
                    parts = _Parts(settings, make_perform(client.post, tokens), accounts, shutdown)
                    known = await self._read_lists(parts)
                    summary = await self._send_all(parts, known, progress)
        finally:
            self.state = RunState.ENDED
        summary = self._end(summary)
        self._observe(_run_ended(summary))
        return summary

    def pause(self) -> None:
        """Let nothing leave until `resume`; what is in flight is waited for."""
        self._is_paused = True
        if self._pool is not None and self.state is RunState.RUNNING:
            self.state = RunState.PAUSED
            self._pool.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        if self._pool is not None and self.state is RunState.PAUSED:
            self.state = RunState.RUNNING
            self._pool.resume()

    def set_rate(self, limits: Sequence[Limit]) -> None:
        """Let each account make at most so many calls from now on, evenly spread, beside its quota; none ends that."""
        self._rate = limits
        if self._pool is not None:
            self._pool.set_rate(limits)

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        self._is_draining = True
        if self._pool is not None:
            self.state = RunState.DRAINING
            self._pool.drain()

    def abort(self) -> None:
        """Let nothing more leave, and cut off what is in flight; each of those campaigns is reported as unknown."""
        self._is_draining = True
        if self._pool is not None:
            self.state = RunState.DRAINING
            self._pool.abort()

    def snapshot(self) -> Snapshot:
        """Return how the run stands at this moment."""
        least_left_s = 0.0
        if self._lanes is not None:
            most = max(self._lanes.left().values(), default=0)  # the limits are the same for all: this one ends last
            quota_s = min_duration_s(most, self._rate or self._settings.quota)
            least_left_s = max(quota_s, self._lanes.rest_s(time.monotonic()))
        return Snapshot(
            run_id=self.id,
            state=self.state,
            rows=self.plan.rows,
            to_send=self.plan.to_send,
            sent=self.stats.sent,
            done=self.stats.done,
            failed=self.stats.sent_failed,
            in_flight=self.in_flight,
            elapsed_s=time.monotonic() - self._began,
            least_left_s=least_left_s,
        )

    async def _read_lists(self, parts: "_Parts") -> "KnownStates | None":
        settings = parts.settings
        if not (settings.only_running or settings.disable_schedule):
            return None
        from bulkstop.runs.stop.precheck import read_known_states  # seldom wanted; a start-up need not wait for it

        return await read_known_states(self.plan, settings, parts.perform, parts.accounts, self._observe)

    async def _send_all(self, parts: "_Parts", known: "KnownStates | None", progress: Progress | None) -> Summary:
        shutdown, settings = parts.shutdown, parts.settings

        def report(result: Result) -> None:
            self._report(result)
            self.stats.add(result)
            shutdown.lines += 1

        for result in self.plan.held_results():
            report(replace(result, run_id=self.id))
        pool, self._lanes = _make_pool(self.plan, parts, known, report, self.id, self._observe)
        self._pool = pool
        shutdown.attach(self)
        self._steer_from_now_on()
        with (
            _until(settings, self) as out_of_time,
            _watched(self._watch, self) as fault_seen,
            _show_progress(progress, self),
        ):
            fault = await _run(pool) or fault_seen()
        return Summary(
            self.stats,
            self.plan.rows,
            pool.calls + (known.calls if known else 0),
            time.monotonic() - self._began,
            self.id,
            signum=shutdown.signum,
            out_of_time=out_of_time(),
            fault=fault,
            unwritten=tuple(pool.unwritten),
            settled=dict(self.plan.settled),
        )

    def _steer_from_now_on(self) -> None:
        """Do to the pool what was asked for before there was one."""
        self.set_rate(self._rate)
        if self._is_paused:
            self.pause()
        if self._is_draining:
            self.drain()

    def _note_rest(self, seconds: float) -> None:
        """Tell observers that nothing is stopped for a while, as the lists come first."""
        self._observe(Resting(round(seconds, 1), "the lists are read first, within the quota"))


class _Parts(NamedTuple):
    """What a run is plugged together from."""

    settings: Settings
    perform: Perform
    accounts: Accounts
    shutdown: Shutdown


def _run_began(run_id: str, plan: Plan, settings: Settings) -> RunBegan:
    quota = " ".join(map(str, settings.quota)) or "none"
    return RunBegan(run_id, settings.host, plan.rows, plan.to_send, len(plan.accounts), quota)


def _run_ended(summary: Summary) -> RunEnded:
    outcomes = {each.value: count for each in Outcome if (count := summary.stats.outcomes[each])}
    elapsed_s = round(summary.elapsed_s, 3)
    return RunEnded(summary.run_id, summary.reason, summary.exit_code, summary.calls, elapsed_s, outcomes)


def check_time(settings: Settings) -> float | None:
    """Return the seconds left to finish by; raises SettingsError when there are none."""
    seconds_left = settings.seconds_left(datetime.now(UTC))
    if seconds_left is not None and seconds_left <= 0:
        raise SettingsError(f"--finish-by {settings.finish_by}: has passed today; nothing was sent")
    return seconds_left


class _Work(NamedTuple):
    """What a pool has to do, and what follows."""

    lanes: Iterable[Lane]
    to_send: int
    follow: Follow = follow_nothing
    at_rest: Callable[[], Iterable[Lane]] = tuple


def _make_pool(
    plan: Plan, parts: _Parts, known: "KnownStates | None", report: Report, run_id: str, observe: Observe
) -> tuple[Pool, Lanes]:
    settings = parts.settings
    retry = Retry(settings.attempts, max_retry_after_s=settings.max_retry_after_s)
    work = _Work(make_lanes(plan, parts.accounts), plan.to_send)
    if known is not None:
        work = _work_left(plan, parts, known, report, run_id, observe)
    lanes = Lanes(work.lanes, settings.concurrency, make_guards(settings, work.to_send, observe))
    pool = Pool(
        lanes,
        make_send(settings, parts.perform),
        report,
        retry=retry,
        concurrency=settings.concurrency,
        read_list=read_list_of(parts.perform, parts.accounts),
        follow=work.follow,
        at_rest=work.at_rest,
        run_id=run_id,
        observe=observe,
    )
    return pool, lanes


def read_list_of(perform: Perform, accounts: Accounts) -> ReadList:
    """Make what reads a list in the middle of a run; most runs have no need of it, and do not import it."""

    async def read_list(of: Campaign, is_enough: IsEnough) -> Reading:
        from bulkstop.runs.stop.readback import list_reader

        return await list_reader(perform, accounts.caller)(of, is_enough)

    return read_list


def _work_left(
    plan: Plan,
    parts: _Parts,
    known_states: "KnownStates",
    report: Report,
    run_id: str,
    observe: Observe,
) -> _Work:
    """Return what the lists leave to do; what they have at rest is reported here."""
    from bulkstop.runs.stop.precheck import narrow_plan
    from bulkstop.runs.stop.recurrence import ScheduleCalls

    running = narrow_plan(plan, known_states, lambda campaign: report(known_states.result(campaign, run_id)))
    lanes = make_lanes_left(running, parts.accounts)
    if not known_states.disable_schedule:
        return _Work(lanes, running.to_send)
    calls = ScheduleCalls(known_states, parts.perform, observe)
    at_rest = {account_id: running.recurring(account_id) for account_id in plan.accounts}
    return _Work(lanes, running.to_send, calls.follow, lambda: calls.lanes_at_rest(at_rest, parts.accounts, run_id))


def make_lanes_left(running: "RemainingWork", accounts: Accounts) -> Iterator[Lane]:
    """Yield the lane of every account for what the lists have not at rest."""
    for account_id, left in running.accounts.items():
        quota, claim, rest = accounts.quota(account_id), accounts.claim(account_id), accounts.rest(account_id)
        campaigns = running.campaigns(account_id)
        yield Lane(account_id, campaigns, quota, claim, left=left, paces_itself=accounts.paced, rest=rest)


async def _run(pool: Pool) -> BulkstopError | None:
    try:
        await pool.run()
    except BulkstopError as fault:
        return fault
    return None


@contextmanager
def _until(settings: Settings, run: Run) -> Iterator[Callable[[], bool]]:
    """Drain the run when the time to finish by has come; the block is given a way to ask whether it has."""
    seconds_left = settings.seconds_left(datetime.now(UTC))
    if seconds_left is None:
        yield lambda: False
        return
    passed = asyncio.Event()
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(seconds_left, act) for act in (passed.set, run.drain)]
    try:
        yield passed.is_set
    finally:
        for timer in timers:
            timer.cancel()


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
        progress.show(run.snapshot())
        return progress.every_s

    try:
        with every(show, progress.every_s):
            yield
    finally:
        progress.close()


def execute(
    run: Run,
    *,
    progress: Progress | None = None,
    signals: Sequence[int] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Carry a run out on an event loop of its own, the fast one where it pays."""
    job = run.execute(progress=progress, signals=signals, say=say)
    return host.run(job, fast=run.plan.to_send >= UVLOOP_FROM)
