"""Stop every campaign of a list: plan it, send it, write one line each."""

import asyncio
import logging
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple

from bulkstop import source
from bulkstop.engine.followup import AtRest, Follow
from bulkstop.engine.lanes import Lane, Lanes
from bulkstop.engine.limits.quota import min_duration_s
from bulkstop.engine.pool import Pool
from bulkstop.engine.readback import IsEnough, Reading, ReadList
from bulkstop.engine.retry import Retry
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError, InputError, SettingsError
from bulkstop.kore.exchange import Transport
from bulkstop.kore.token import Tokens
from bulkstop.model import DONE, HELD_BACK, Campaign, Defaults, Outcome, Report, Result, Row, unsent_result
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.stats import Stats
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
from bulkstop.source.digest import Digest
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.source.rows import readable
from bulkstop.text import clip_controls

if TYPE_CHECKING:
    from bulkstop.runs.stop.precheck import KnownStates, RemainingWork

LONG_REST_S = 5.0
"""A wait before the first stop that somebody should be told of."""
WATCH_EVERY_S = 1.0
"""How soon a run notices that its results have no place any more."""
LOST = "lines that were written stay, what was in flight is unknown; --resume goes on"
"""Said where a run is ended by force."""
UVLOOP_FROM = 500
"""Campaigns from which uvloop's import (about 20 ms) is worth it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went; `signum` and `fault` say what ended it early, if anything did."""

    stats: Stats
    rows: int
    calls: int
    elapsed_s: float
    run_id: str
    signum: int | None = None
    out_of_time: bool = False
    fault: BulkstopError | None = None
    unwritten: tuple[Result, ...] = ()
    settled: Mapping[Outcome, int] = field(default_factory=dict)
    """Rows that ended in an earlier run of the same result file."""
    lost: int = 0
    """Lines that the result file does not hold any more."""

    @property
    def rows_with_lines(self) -> int:
        """Rows that have a line, of this run or of an earlier one; as many as there are rows, or something is lost."""
        return max(0, self.stats.lines + sum(self.settled.values()) - self.lost)

    @property
    def is_done(self) -> bool:
        """Tell whether every row is stopped, or was held back on purpose."""
        before = sum(self.settled.get(outcome, 0) for outcome in DONE | HELD_BACK)
        done = self.stats.done + self.stats.held_back + before
        return self.fault is None and done == self.rows == self.rows_with_lines

    @property
    def reason(self) -> str:
        """What ended the run, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.out_of_time and self.stats.left:
            return "at the time to finish by, before all were sent"
        if not self.stats.lines:
            return "nothing was left to send"
        return "all sent" if self.signum is None else f"by {signal.Signals(self.signum).name}, before all were sent"

    @property
    def exit_code(self) -> int:
        """The exit code that the contract gives to such an end."""
        if self.fault is not None:
            return 3
        if self.signum is not None:
            return 128 + self.signum
        if self.out_of_time and self.stats.left:
            return 4
        return 0 if self.is_done and not self.stats.schedules_failed else 1


def make_plan(
    inputs: Sequence[str] | Iterable[Campaign],
    settings: Settings,
    *,
    fmt: str | None = None,
    settled: Callable[[Row], Outcome | None] | None = None,
    recorded: Mapping[str, Digest] | None = None,
) -> Plan:
    """Read every row of the inputs (paths, `-`, or campaigns made by hand) and plan the run; nothing is sent.

    `settled` and `recorded` are what an earlier run knows, as `Plan` takes them. Raises InputError for an input that
    cannot be read to its end, or is not what it was.
    """
    return Plan(
        _rows(inputs, settings, fmt),
        order=settings.order,
        settled=settled,
        recorded=recorded,
        protection=read_protection(settings.protect),
    )


def run(
    plan: Plan,
    settings: Settings,
    report: Report,
    *,
    run_id: str | None = None,
    progress: Progress | None = None,
    signals: Sequence[int] = (),
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[], None] = lambda: None,
) -> Summary:
    """Carry a plan out on an event loop of its own, the fast one where it pays."""
    many = plan.to_send >= UVLOOP_FROM
    job = execute(plan, settings, report, run_id=run_id, progress=progress, signals=signals, say=say, watch=watch)
    return host.run(job, fast=many)


async def execute(
    plan: Plan,
    settings: Settings,
    report: Report,
    *,
    run_id: str | None = None,
    progress: Progress | None = None,
    signals: Sequence[int] = (),
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[], None] = lambda: None,
) -> Summary:
    """Send every campaign of a plan and report each row once, whatever ends the run.

    `watch` is called every second and raises a BulkstopError when nothing more may be sent.
    Raises a BulkstopError for what keeps the run from starting; what ends it later stands in the summary.
    """
    check_time(settings)
    check_size(settings, plan.listed)
    plan_waves(settings, plan.to_send)
    settings = replace(settings, concurrency=fit_open_files(settings.concurrency))
    tokens, began = make_tokens(settings), time.monotonic()
    shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST)
    with handle_signals(shutdown, signals):
        if plan.to_send:
            await tokens.get()  # before anything is sent: a run without credentials changes nothing
        async with open_quota_store(settings) as store, make_transport(settings) as client:
            parts = _Parts(tokens, shutdown, client, Accounts(settings, store, rests=log_rest), began, watch)
            if settings.only_running or settings.disable_schedule:
                parts = parts._replace(known=await _read_lists(plan, settings, parts))
            return await _execute(plan, settings, report, progress, parts, run_id or str(uuid.uuid4()))


class _Parts(NamedTuple):
    """What a run is plugged together from, once all of it is there; `known` is what lists were read for it."""

    tokens: Tokens
    shutdown: Shutdown
    client: Transport
    accounts: Accounts
    began: float
    watch: Callable[[], None]
    known: "KnownStates | None" = None


async def _read_lists(plan: Plan, settings: Settings, parts: _Parts) -> "KnownStates | None":
    from bulkstop.kore.session import make_perform  # seldom wanted, and a start-up need not wait for it
    from bulkstop.runs.stop.precheck import read_known_states

    return await read_known_states(plan, settings, make_perform(parts.client.post, parts.tokens), parts.accounts)


def log_rest(seconds: float) -> None:
    """Log that nothing is stopped for a while, as the lists come first."""
    level = logging.WARNING if seconds >= LONG_REST_S else logging.INFO
    log_event("resting", level, rest_s=round(seconds, 1), why="the lists are read first, within the quota")


async def _execute(
    plan: Plan, settings: Settings, report: Report, progress: Progress | None, parts: _Parts, run_id: str
) -> Summary:
    stats = Stats()

    def reported(result: Result) -> None:
        report(result)
        stats.add(result)
        parts.shutdown.lines += 1

    for result in plan.held_results():
        reported(replace(result, run_id=run_id))
    pool, lanes = _pool(plan, parts, reported, settings, run_id)
    parts.shutdown.attach(pool)
    with (
        _until(settings, pool) as out_of_time,
        _watched(parts.watch, pool) as fault_seen,
        _show_progress(progress, stats, lanes, settings),
    ):
        fault = await _run(pool) or fault_seen()
    return Summary(
        stats,
        plan.rows,
        pool.calls + (parts.known.calls if parts.known else 0),
        time.monotonic() - parts.began,
        run_id,
        signum=parts.shutdown.signum,
        out_of_time=out_of_time(),
        fault=fault,
        unwritten=tuple(pool.unwritten),
        settled=dict(plan.settled),
    )


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
    follow: Follow | None = None
    at_rest: AtRest = tuple


def _pool(plan: Plan, parts: _Parts, report: Report, settings: Settings, run_id: str) -> tuple[Pool, Lanes]:
    retry = Retry(settings.attempts, max_retry_after_s=settings.max_retry_after_s)
    drained = asyncio.Event()
    work = _Work(make_lanes(plan, parts.accounts), plan.to_send)
    if parts.known is not None:
        work = _work_left(plan, parts, parts.known, retry, drained, report, run_id)
    guards = make_guards(settings, work.to_send)
    lanes = Lanes(work.lanes, settings.concurrency, guards.admission, guards.groups)
    pool = Pool(
        lanes,
        make_send(settings, parts.client.post, parts.tokens),
        report,
        retry=retry,
        concurrency=settings.concurrency,
        breaker=guards.breaker,
        read_list=read_list_of(parts.client, parts.tokens, parts.accounts),
        follow=work.follow,
        at_rest=work.at_rest,
        drained=drained,
        run_id=run_id,
    )
    return pool, lanes


def read_list_of(client: Transport, tokens: Tokens, accounts: Accounts) -> ReadList:
    """Make what reads a list in the middle of a run; most runs have no need of it, and do not import it."""

    async def read_list(of: Campaign, is_enough: IsEnough) -> Reading:
        from bulkstop.kore.session import make_perform
        from bulkstop.runs.stop.readback import list_reader

        return await list_reader(make_perform(client.post, tokens), accounts.caller)(of, is_enough)

    return read_list


def _work_left(
    plan: Plan,
    parts: _Parts,
    known_states: "KnownStates",
    retry: Retry,
    drained: asyncio.Event,
    report: Report,
    run_id: str,
) -> _Work:
    """Return what the lists leave to do; what they have at rest is reported here."""
    from bulkstop.kore.session import make_perform
    from bulkstop.runs.stop.precheck import narrow_plan
    from bulkstop.runs.stop.recurrence import ScheduleCalls

    running = narrow_plan(plan, known_states, lambda campaign: report(known_states.result(campaign, run_id)))
    lanes = make_lanes_left(running, parts.accounts)
    if known_states.schedules is None:
        return _Work(lanes, running.to_send)
    perform = make_perform(parts.client.post, parts.tokens)
    calls = ScheduleCalls(known_states, parts.accounts, perform, retry=retry, drained=drained)
    return _Work(lanes, running.to_send, calls.follow, lambda: calls.at_rest(running.recurring(), run_id))


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
def _until(settings: Settings, pool: Pool) -> Iterator[Callable[[], bool]]:
    """Drain the pool when the time to finish by has come; the block is given a way to ask whether it has."""
    seconds_left = settings.seconds_left(datetime.now(UTC))
    if seconds_left is None:
        yield lambda: False
        return
    passed = asyncio.Event()
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(seconds_left, act) for act in (passed.set, pool.drain)]
    try:
        yield passed.is_set
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def _watched(watch: Callable[[], None], pool: Pool) -> Iterator[Callable[[], BulkstopError | None]]:
    """Drain the pool when `watch` says so, also while it waits; the block is given a way to ask for what was said."""
    faults: list[BulkstopError] = []

    def look() -> float:
        try:
            watch()
        except BulkstopError as fault:
            faults.append(fault)
            pool.drain()
        return WATCH_EVERY_S

    with every(look, look()):
        yield lambda: faults[0] if faults else None


def _rows(inputs: Sequence[str] | Iterable[Campaign], settings: Settings, fmt: str | None) -> Iterator[Row]:
    given = [inputs] if isinstance(inputs, str | PathLike) else inputs
    items = list(given) if isinstance(given, list | tuple) else []
    paths = [fspath(item) for item in items if isinstance(item, str | PathLike)]
    if not paths or len(paths) != len(items):
        yield from _campaigns(items or given, any_id=settings.any_id)
        return
    defaults = Defaults(settings.type, settings.account_id, settings.stream_id, settings.iid)
    yield from source.read(paths, defaults=defaults, fmt=fmt, any_id=settings.any_id)


def _campaigns(items: Iterable[object], *, any_id: bool) -> Iterator[Row]:
    for item in items:
        if not isinstance(item, Campaign):
            raise InputError(f"{item!r} is no Campaign; give paths, or campaigns")
        fault = item.fault_with(any_id=any_id)
        yield readable(item) if fault is None else unsent_result(_printable(item), Outcome.INVALID, fault)


def _printable(campaign: Campaign) -> Campaign:
    campaign_id, account_id, stream_id = map(
        clip_controls, (campaign.campaign_id, campaign.account_id, campaign.stream_id)
    )
    return campaign._replace(campaign_id=campaign_id, account_id=account_id, stream_id=stream_id)


@contextmanager
def _show_progress(progress: Progress | None, stats: Stats, lanes: Lanes, settings: Settings) -> Iterator[None]:
    """Show the state of the run now and then; a timer, because a run may wait for minutes without a result."""
    if progress is None:
        yield
        return

    def show() -> float:
        most = max(lanes.left().values(), default=0)  # the limits are the same for all, so this one ends last
        progress.show(stats, max(min_duration_s(most, settings.quota), lanes.rest_s(time.monotonic())))
        return progress.every_s

    try:
        with every(show, progress.every_s):
            yield
    finally:
        progress.close()
