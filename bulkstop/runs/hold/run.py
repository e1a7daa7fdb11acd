"""Hold: lists campaigns at intervals, and stops those that run; each sighting to be stopped is a run of its own."""

import math
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.shutdown import Shutdown
from bulkstop.engine.steering.early_end import EarlyEnd
from bulkstop.engine.tasks import run_concurrently
from bulkstop.errors import BulkstopError, CredentialsError, GuardError, RefusedError
from bulkstop.events import HoldEnded, Observe, Sighted
from bulkstop.model import DONE, ListedCampaign, Outcome, Report, Result, Row, Scope, unsent_result
from bulkstop.report.hold import HoldStops, HoldSummary, count_campaigns
from bulkstop.report.lists.discovery import Discovery
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.engine import Engine
from bulkstop.runs.hold.accounts import WatchedAccount, WatchedAccounts, explain_unread
from bulkstop.runs.hold.sightings import Sighting, Sightings
from bulkstop.runs.host import every
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.run import Prepared, Run
from bulkstop.runs.wiring import find_end
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection
from bulkstop.text import format_count, format_duration, printable

LATE_S = 300.0
"""Seconds that stops may take after the end of the hold, because a service that is down could delay them for ever."""
LOOK_AT_END_S = 5.0
CUT_OFF = "hold was ended by force before this row had a line; campaigns that still ran were seen again"
NAMED = 3
"""Number of campaigns of a sighting that its message names; the others are counted."""

Look = Callable[[Collection[str], bool], Awaitable[Discovery]]
"""Lists what runs now in these accounts; with True it reads the whole lists, for undocumented statuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """When a hold looks: every `every_s` seconds until `left_s` returns 0; `most` campaigns may be stopped.

    An infinite `left_s` means that the hold runs until it is ended from outside.
    """

    every_s: float
    left_s: Callable[[], float] = lambda: math.inf
    most: int

    @property
    def is_open(self) -> bool:
        """Whether the hold has no end of its own."""
        return self.left_s() == math.inf


class Hold:
    """Keeps the campaigns of lists stopped: lists them at intervals, and stops what runs, each sighting as a run.

    Each account has its own loop, so that one which is slow, backs off or refuses does not delay the others. All
    sightings share one result file and one list. A hold can be drained or aborted, as a run can.
    """

    def __init__(
        self,
        engine: Engine,
        look: Look,
        sightings: Sightings,
        journal: RunJournal,
        watch: Watch,
        account_ids: Iterable[str],
        *,
        protection: Protection,
        shutdown: Shutdown,
        say: Callable[[str], None] = lambda text: None,
        tell: Callable[[str], None] = lambda text: None,
        observe: Observe = log_event,
        make_progress: Callable[[], Progress | None] = lambda: None,
        run_id: str | None = None,
        now: Callable[[], float] = elapsed_s,
    ) -> None:
        self.id = run_id or str(uuid.uuid4())
        self.stats = Stats()
        self._engine = engine
        self._look = look
        self._sightings = sightings
        self._journal = journal
        self._watch = watch
        self._protection = protection
        self._shutdown = shutdown
        self._say = say
        self._tell = tell
        self._observe = observe
        self._make_progress = make_progress
        self._now = now
        self._accounts = WatchedAccounts(account_ids, now)
        self._ending = EarlyEnd()
        self._runs: set[Run] = set()
        self._is_open = watch.is_open
        self._ends_at = find_end(engine.settings)
        self._looks = self._acted = self._calls = self._rows = 0
        self._began = time.monotonic()
        self._fault: BulkstopError | None = None
        self._refused: str | None = None
        self._told_alone: set[tuple[Scope, str]] = set()
        self._is_out_of_time = False
        self._unwritten: list[Result] = []

    @property
    def in_flight(self) -> int:
        """The number of calls without a response."""
        return sum(each.in_flight for each in self._runs)

    def drain(self) -> None:
        """Stop looking, and send no more stops."""
        self._ending.drain()
        self._accounts.wake_all()
        for each in self._runs:
            each.drain()

    def abort(self) -> None:
        """Abort all calls in flight."""
        self._ending.abort()
        self._accounts.wake_all()
        for each in self._runs:
            each.abort()

    async def execute(self, whole: Plan, first: Discovery) -> HoldSummary:
        """Stop what was found `first`, then look again until the end; return the summary, with what runs then.

        `whole` is the list so far, with its rows that have no line.
        """
        self._shutdown.attach(self)
        every_account = [*self._accounts.by_id.values()]
        self._note_look(first, every_account, is_whole=True)
        for each in every_account:
            each.looked_at = self._now()
        last: Discovery | None = None
        try:
            self._close_rows(whole)
            jobs = [partial(self._keep_watch, account) for account in every_account]
            if (sighting := self._begin(first)) is not None:
                jobs.insert(0, partial(self._stop, sighting, is_first=True))
            await run_concurrently([partial(self._guarded, job) for job in jobs], len(jobs))
            last = await self._look_last(every_account)
        except BulkstopError as fault:
            self._fault = self._fault or fault
        return self._sum_up(whole, last)

    async def _keep_watch(self, account: WatchedAccount) -> None:
        """List an account, and stop what runs, until the end."""
        while self._goes_on:
            await self._sleep(account)
            if self._goes_on and (found := await self._look_now([account])) is not None:
                await self._act(found)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job; a fault of one account ends the whole hold, because a guard or a failed write concerns all."""
        try:
            await job()
        except BulkstopError as fault:
            self._end_by(fault)

    def _end_by(self, fault: BulkstopError) -> None:
        self._fault = self._fault or fault
        self._accounts.wake_all()
        for each in self._runs:
            each.drain()

    @property
    def _goes_on(self) -> bool:
        is_over = self._ending.is_drained or self._fault or self._is_out_of_time or self._is_late
        return not is_over and self._watch.left_s() > 0

    @property
    def _is_late(self) -> bool:
        """Whether the time to finish by has come, so that no stop may be sent."""
        return time.time() >= self._ends_at

    @property
    def _early(self) -> int | None:
        """The signal that ended the hold early; Ctrl-C is the normal end of a hold without an end of its own."""
        signum = self._shutdown.signum
        return None if signum == signal.SIGINT and self._is_open and not self._ending.is_aborted else signum

    def _close_rows(self, whole: Plan) -> None:
        """Write a line for each row that a killed hold left without one; none of them is sent again."""
        self._rows = whole.rows
        for result in whole.held_results():
            self._report([replace(result, run_id=self.id)])
        for account_id in whole.accounts:
            for campaign in whole.campaigns(account_id):
                self._report([replace(unsent_result(campaign, Outcome.UNKNOWN, CUT_OFF), run_id=self.id)])

    async def _sleep(self, account: WatchedAccount) -> None:
        """Sleep until the account is due, and all rows of its sightings have their line."""
        due = account.looked_at + self._watch.every_s
        while self._goes_on and (account.left or self._now() < due):
            end = self._now() + self._watch.left_s()
            await account.sleeper.sleep_until(end if account.left else min(due, end))

    async def _look_now(self, accounts: Sequence[WatchedAccount], *, is_last: bool = False) -> Discovery | None:
        """List the accounts; None if cut off. Report once that a list cannot be read, and once that it can again."""
        self._journal.watch()
        began = self._now()
        is_whole = is_last or any(began >= each.whole_at for each in accounts)
        discovery: Discovery | None = None
        async with self._ending.cuts_off(by_drain=not is_last):
            discovery = await self._look([each.account_id for each in accounts], is_whole)
        for each in accounts:
            each.looked_at = began
        if discovery is not None:
            self._note_look(discovery, accounts, is_whole=is_whole)
            if len(accounts) == 1:
                self._tell_unread(accounts[0], discovery)
        return discovery

    def _note_look(self, discovery: Discovery, accounts: Sequence[WatchedAccount], *, is_whole: bool) -> None:
        self._looks += 1
        self._calls += discovery.calls
        if is_whole:
            self._accounts.note_whole(accounts, discovery)
        if explain_unread(discovery) is None:
            self._sightings.note_gone(discovery, [each.account_id for each in accounts], is_whole=is_whole)

    def _tell_unread(self, account: WatchedAccount, discovery: Discovery) -> None:
        unread = explain_unread(discovery)
        if unread is not None and unread != account.unread:
            until = "nothing is stopped until it can be" if not discovery.rows else "what was found is stopped"
            self._say(
                f"{self._name_list(account)} cannot be read completely: {unread}; {until}; "
                f"the next look follows in {format_duration(self._watch.every_s)}"
            )
        elif unread is None and account.unread is not None:
            self._say(f"{self._name_list(account)} can be read again")
        account.unread = unread
        for note in discovery.notes:
            if note not in account.notes:
                self._say(f"note: {note}")
        account.notes = frozenset(discovery.notes)

    def _name_list(self, account: WatchedAccount) -> str:
        return f"the list of account {printable(account.account_id)}" if self._accounts.are_several else "the list"

    async def _act(self, discovery: Discovery, *, is_last: bool = False) -> None:
        """Stop what was found; report campaigns that came back too often, and do not stop them."""
        if (sighting := self._begin(discovery, is_last=is_last)) is not None:
            await self._stop(sighting)

    def _begin(self, discovery: Discovery, *, is_last: bool = False) -> Sighting | None:
        """Write a sighting to the list; None if nothing is to be stopped. Raises GuardError for too many campaigns."""
        sighting = self._sightings.choose(discovery, is_last=is_last)
        self._tell_left_alone(sighting.left_alone)
        if not sighting.rows or self._is_late:
            return None
        if (campaigns := self._sightings.count_campaigns(sighting)) > self._watch.most:
            many = format_count(campaigns, "campaign")
            raise GuardError(
                f"--max-campaigns {self._watch.most}: sighting {sighting.number} would bring the total to {many}"
            )
        self._sightings.keep(sighting)
        self._accounts.add_left(row.account_id for row in sighting.rows)
        return sighting

    async def _stop(self, sighting: Sighting, *, is_first: bool = False) -> None:
        """Send a sighting as a run; every row gets its line, however the run ends."""
        settings = self._engine.settings
        with Plan(
            sighting.rows,
            order=settings.order,
            protection=self._protection,
            account_of=self._engine.parts.accounts.name,
            repeats=True,
        ) as plan:
            self._journal.extend(plan)
            self._rows += plan.rows
            self._acted += 1
            await self._send(sighting, plan, is_first=is_first)

    async def _send(self, sighting: Sighting, plan: Plan, *, is_first: bool) -> None:
        left, done = {row.line: row for row in sighting.rows}, 0

        def report(results: Sequence[Result]) -> None:
            nonlocal done
            self._report(results)
            for result in results:
                done += result.outcome in DONE
                if left.pop(result.line, None) is not None:
                    self._accounts.end_one(result.account_id)

        outboxes = self._journal.outboxes
        prepared = Prepared(plan, report, self._journal.watch, outboxes=outboxes)
        run = self._engine.prepare_run(lambda _: nullcontext(prepared), run_id=self.id)
        self._runs.add(run)
        if self._ending.is_drained or self._fault:
            run.drain()
        try:
            with every(partial(self._drain_late, run), LOOK_AT_END_S):
                self._take_in(await run.execute(progress=self._make_progress()), sighting, is_first=is_first)
        except CredentialsError as fault:
            self._say(f"sighting {sighting.number}: {fault}; nothing is stopped until the credentials work again")
        finally:
            self._runs.discard(run)
            self._report_unsent(tuple(left.values()), report)
        self._tell_sighting(sighting, plan, done)

    def _drain_late(self, run: Run) -> float:
        """Drain the run if its stops take too long after the end of the hold."""
        if self._watch.left_s() < -LATE_S:
            run.drain()
        return LOOK_AT_END_S

    def _take_in(self, ended: StopSummary, sighting: Sighting, *, is_first: bool) -> None:
        """Count the calls of a sighting; end the hold if a guard or the time to finish by has ended the run.

        A run whose calls are all refused ends the hold only at its beginning, while a person watches; later, one
        campaign that cannot be stopped must not keep those after it running.
        """
        self._calls += ended.calls
        self._unwritten += ended.unwritten
        self._is_out_of_time = self._is_out_of_time or ended.out_of_time
        fault, self._refused = self._refused, None
        if isinstance(ended.fault, CredentialsError) or (isinstance(ended.fault, RefusedError) and not is_first):
            self._refused = printable(str(ended.fault))
            if self._refused != fault:
                self._say(f"sighting {sighting.number}: {self._refused}; hold continues to look")
        elif ended.fault is not None:
            self._end_by(ended.fault)

    def _report_unsent(self, rows: Iterable[Row], report: Report) -> None:
        for row in rows:
            result = row if isinstance(row, Result) else unsent_result(row, Outcome.NOT_SENT, "the run could not begin")
            report([replace(result, run_id=self.id)])

    def _report(self, results: Sequence[Result]) -> None:
        self._journal.write(results)
        for result in results:
            self._sightings.record(result)
            self.stats.add(result)
        self._shutdown.lines += len(results)

    def _tell_sighting(self, sighting: Sighting, plan: Plan, done: int) -> None:
        names = [printable(row.campaign_id or "") for row in sighting.rows[:NAMED]]
        more = f" and {len(sighting.rows) - NAMED:,} more" if len(sighting.rows) > NAMED else ""
        self._tell(f"sighting {sighting.number}: {done:,} of {plan.rows:,} stopped: {', '.join(names)}{more}")
        self._observe(Sighted(self.id, sighting.number, plan.rows, done))

    def _tell_left_alone(self, rows: Sequence[tuple[Scope, ListedCampaign]]) -> None:
        for scope, item in rows:
            if (scope, item.campaign_id) not in self._told_alone:
                self._told_alone.add((scope, item.campaign_id))
                name = self._name_campaign(scope, item)
                self._say(f"{name} runs again, but reached the number of stops of --again, so it is not stopped again")

    def _name_campaign(self, scope: Scope, item: ListedCampaign) -> str:
        whose = f" (account {printable(scope.account_id)})" if self._accounts.are_several else ""
        return f"{printable(item.campaign_id)}{whose}"

    async def _look_last(self, accounts: Sequence[WatchedAccount]) -> Discovery | None:
        """List what runs at the end; first stop what came up since the last look, unless the hold was ended early."""
        if self._early is not None or self._fault or self._is_out_of_time or self._ending.is_aborted:
            return None
        last = await self._look_now(accounts, is_last=True)
        if last is None or self._ending.is_drained or self._is_late:
            return last
        if self._sightings.choose(last, is_last=True).rows:
            await self._act(last, is_last=True)
            return None if self._fault else await self._look_now(accounts, is_last=True)
        return last

    def _sum_up(self, whole: Plan, last: Discovery | None) -> HoldSummary:
        stops = HoldStops(
            self.stats,
            self._rows,
            self._calls,
            time.monotonic() - self._began,
            self.id,
            signum=self._early,
            out_of_time=self._is_out_of_time,
            fault=self._fault,
            unwritten=tuple(self._unwritten),
            settled=dict(whole.settled),
            ended=self._ending.kind,
        )
        running = None if last is None else [row for row in last.rows if not self._sightings.is_protected(*row)]
        alone = () if last is None else self._sightings.choose(last).left_alone
        summary = HoldSummary(
            stops,
            self._looks,
            self._acted,
            running=None if running is None else tuple(self._name_campaign(*row) for row in running),
            left_alone=tuple(self._name_campaign(*row) for row in alone),
            unread=None if last is None else explain_unread(last),
            early=self._early,
            campaigns=count_campaigns(self._sightings.latest.values()),
        )
        summary = replace(summary, stops=self._journal.end(replace(stops, code=summary.exit_code)))
        many = None if summary.running is None else len(summary.running)
        self._observe(HoldEnded(self.id, self._looks, self._acted, many, summary.verdict, summary.exit_code))
        return summary
