"""Hold: look at the list every so often, and stop what runs; each sighting that is acted on is a run of its own."""

import math
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.shutdown import Shutdown
from bulkstop.engine.steering.early_end import EarlyEnd
from bulkstop.engine.tasks import TICK_S, Sleepers
from bulkstop.errors import BulkstopError, CredentialsError, GuardError, RefusedError
from bulkstop.events import HoldEnded, Observe, Sighted
from bulkstop.model import ListedCampaign, Outcome, Result, Row, unsent_result
from bulkstop.report.hold import HoldSummary
from bulkstop.report.lists.discovery import Discovery
from bulkstop.report.log import log_event
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.engine import Engine
from bulkstop.runs.hold.sightings import Sighting, Sightings
from bulkstop.runs.host import every
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.run import Prepared, Run
from bulkstop.runs.wiring import find_end
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection
from bulkstop.text import format_count, format_duration, printable

WHOLE_EVERY_S = 10.0
"""For each call that it took, so long the whole list is not read again: a tenth of the usual quota."""
LATE_S = 300.0
"""How long after its end stops may take: a service that is down could hold them up for ever."""
LOOK_AT_END_S = 5.0
CUT_OFF = "the hold was ended by force before this row had a line; what still ran was seen again"
NAMED = 3
"""Campaigns of a sighting that are named when it is told; the others are counted."""

Look = Callable[[bool], Awaitable[Discovery]]
"""Lists what runs now; if it is given True, the whole lists are read, for states that nobody documented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a hold looks: how often, and how many seconds are left until its end; `most` campaigns may be stopped.

    An open end is one without a time: whoever watches ends it.
    """

    every_s: float
    left_s: Callable[[], float] = lambda: math.inf
    most: int

    @property
    def is_open(self) -> bool:
        """Whether the hold goes on until somebody ends it."""
        return self.left_s() == math.inf


class Hold:
    """Keeps what a list names stopped: looks at it every so often, and stops what runs, each sighting as a run.

    All sightings are of one result file and one list. It can be ended as a run can: drained, or aborted.
    """

    def __init__(
        self,
        engine: Engine,
        look: Look,
        sightings: Sightings,
        journal: RunJournal,
        watch: Watch,
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
        self._ending = EarlyEnd()
        self._sleepers = Sleepers(now, TICK_S)
        self._run: Run | None = None
        self._is_open = watch.is_open
        self._ends_at = find_end(engine.settings)
        self._looks = self._acted = self._calls = self._rows = 0
        self._began = time.monotonic()
        self._looked_at = self._whole_at = -math.inf
        self._fault: BulkstopError | None = None
        self._unread: str | None = None
        self._refused: str | None = None
        self._notes: frozenset[str] = frozenset()
        self._told_alone: set[str] = set()
        self._is_out_of_time = False
        self._unwritten: list[Result] = []

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return self._run.in_flight if self._run else 0

    def drain(self) -> None:
        """Look no more, and let no more stops leave."""
        self._ending.drain()
        self._sleepers.wake_all()
        if self._run is not None:
            self._run.drain()

    def abort(self) -> None:
        """Cut off what is under way."""
        self._ending.abort()
        self._sleepers.wake_all()
        if self._run is not None:
            self._run.abort()

    async def execute(self, whole: Plan, first: Discovery) -> HoldSummary:
        """Stop what was found `first`, then look again and again until the end, and say what runs then.

        `whole` is the list as it was, with the rows of it that have no line. Raises what keeps the first sighting from
        being acted on.
        """
        self._shutdown.attach(self)
        self._note_look(first, is_whole=True)
        self._looked_at = self._now()
        last: Discovery | None = None
        try:
            self._close_rows(whole)
            await self._act(first)
            while self._goes_on:
                await self._sleep()
                if self._goes_on and (found := await self._look_now()) is not None:
                    await self._act(found)
            last = await self._look_last()
        except BulkstopError as fault:
            self._fault = self._fault or fault
        return self._sum_up(whole, last)

    @property
    def _goes_on(self) -> bool:
        is_over = self._ending.is_drained or self._fault or self._is_out_of_time or self._is_late
        return not is_over and self._watch.left_s() > 0

    @property
    def _is_late(self) -> bool:
        """Whether the time to finish by has come, so that no stop may leave."""
        return time.time() >= self._ends_at

    @property
    def _early(self) -> int | None:
        """The signal that has ended it before its time; where it has none a Ctrl-C is the end that was meant."""
        signum = self._shutdown.signum
        return None if signum == signal.SIGINT and self._is_open and not self._ending.is_aborted else signum

    def _close_rows(self, whole: Plan) -> None:
        """Write the lines of the rows that a hold which was ended by force has left without: none is stopped again."""
        self._rows = whole.rows
        for result in whole.held_results():
            self._report(replace(result, run_id=self.id))
        for account_id in whole.accounts:
            for campaign in whole.campaigns(account_id):
                self._report(replace(unsent_result(campaign, Outcome.UNKNOWN, CUT_OFF), run_id=self.id))

    async def _sleep(self) -> None:
        due = self._looked_at + self._watch.every_s
        await self._sleepers.sleep_until(min(due, self._now() + max(0.0, self._watch.left_s())))

    async def _look_now(self, *, is_last: bool = False) -> Discovery | None:
        """Look at the list; None when that was cut off. What cannot be read is told once, and so is its return."""
        self._journal.watch()
        self._looked_at, is_whole = self._now(), is_last or self._now() >= self._whole_at
        discovery: Discovery | None = None
        async with self._ending.cuts_off(by_drain=not is_last):
            discovery = await self._look(is_whole)
        if discovery is not None:
            self._note_look(discovery, is_whole=is_whole)
            self._tell_unread(discovery)
        return discovery

    def _note_look(self, discovery: Discovery, *, is_whole: bool) -> None:
        self._looks += 1
        self._calls += discovery.calls
        if is_whole:
            self._whole_at = self._now() + WHOLE_EVERY_S * discovery.calls

    def _tell_unread(self, discovery: Discovery) -> None:
        unread = None if discovery.fault is None else printable(str(discovery.fault))
        if unread is not None and unread != self._unread:
            until = "nothing is stopped until it can be" if not discovery.rows else "what was found is stopped"
            self._say(
                f"the list cannot be read to its end: {unread}; {until}; "
                f"looking again every {format_duration(self._watch.every_s)}"
            )
        elif unread is None and self._unread is not None:
            self._say("the list can be read again")
        self._unread = unread
        for note in discovery.notes:
            if note not in self._notes:
                self._say(f"note: {note}")
        self._notes = frozenset(discovery.notes)

    async def _act(self, discovery: Discovery) -> None:
        """Stop what was found; what came back too often is told and left alone."""
        sighting = self._sightings.choose(discovery)
        self._tell_left_alone(sighting.left_alone)
        if not sighting.rows or self._is_late:
            return
        if (campaigns := self._sightings.count_campaigns(sighting)) > self._watch.most:
            many = format_count(campaigns, "campaign")
            raise GuardError(f"--max-campaigns {self._watch.most}: sighting {sighting.number} would make it {many}")
        with Plan(
            sighting.rows,
            order=self._engine.settings.order,
            protection=self._protection,
            account_of=self._engine.parts.accounts.name,
        ) as plan:
            self._sightings.keep(sighting)
            self._journal.extend(plan)
            self._rows += plan.rows
            self._acted += 1
            await self._stop(sighting, plan)

    async def _stop(self, sighting: Sighting, plan: Plan) -> None:
        """Send a sighting as a run; each of its rows has its line, whatever ends that."""
        left = {row.line: row for row in sighting.rows}
        before = self.stats.done

        def report(result: Result) -> None:
            self._report(result)
            left.pop(result.line, None)

        outboxes = self._journal.outboxes
        prepared = Prepared(plan, report, self._journal.watch, outboxes=outboxes)
        self._run = self._engine.prepare_run(lambda _: nullcontext(prepared), run_id=self.id)
        if self._ending.is_drained:
            self._run.drain()
        try:
            with every(self._drain_late, LOOK_AT_END_S):
                self._take_in(await self._run.execute(progress=self._make_progress()), sighting)
        except CredentialsError as fault:
            self._say(f"sighting {sighting.number}: {fault}; nothing is stopped until there are credentials again")
        finally:
            self._run = None
            self._report_unsent(left.values())
        self._tell_sighting(sighting, plan, self.stats.done - before)

    def _drain_late(self) -> float:
        """End the stops that take too long after the end of the hold."""
        if self._watch.left_s() < -LATE_S and self._run is not None:
            self._run.drain()
        return LOOK_AT_END_S

    def _take_in(self, ended: StopSummary, sighting: Sighting) -> None:
        """Count the calls of a sighting, and end the hold if a guard or the time to finish by has ended that.

        That all is refused ends it at its beginning alone, while somebody looks: a campaign that comes up later and
        cannot be stopped must not keep those after it running.
        """
        self._calls += ended.calls
        self._unwritten += ended.unwritten
        self._is_out_of_time = ended.out_of_time
        fault, self._refused = self._refused, None
        if isinstance(ended.fault, CredentialsError) or (isinstance(ended.fault, RefusedError) and self._looks > 1):
            self._refused = printable(str(ended.fault))
            if self._refused != fault:
                self._say(f"sighting {sighting.number}: {self._refused}; looking again all the same")
        else:
            self._fault = ended.fault

    def _report_unsent(self, rows: Iterable[Row]) -> None:
        for row in tuple(rows):
            result = row if isinstance(row, Result) else unsent_result(row, Outcome.NOT_SENT, "the run could not begin")
            self._report(replace(result, run_id=self.id))

    def _report(self, result: Result) -> None:
        self._journal.write(result)
        self._sightings.record(result)
        self.stats.add(result)
        self._shutdown.lines += 1

    def _tell_sighting(self, sighting: Sighting, plan: Plan, done: int) -> None:
        names = [printable(row.campaign_id or "") for row in sighting.rows[:NAMED]]
        more = f" and {len(sighting.rows) - NAMED:,} more" if len(sighting.rows) > NAMED else ""
        self._tell(f"sighting {sighting.number}: {done:,} of {plan.rows:,} stopped: {', '.join(names)}{more}")
        self._observe(Sighted(self.id, sighting.number, plan.rows, done))

    def _tell_left_alone(self, items: Sequence[ListedCampaign]) -> None:
        for item in items:
            if item.campaign_id not in self._told_alone:
                self._told_alone.add(item.campaign_id)
                name = printable(item.campaign_id)
                self._say(f"{name} runs again, and was stopped so often that it is left alone (--again)")

    async def _look_last(self) -> Discovery | None:
        """Look what runs at the end; what came up since the last look is stopped first, unless somebody ended it."""
        if self._early is not None or self._fault or self._is_out_of_time or self._ending.is_aborted:
            return None
        last = await self._look_now(is_last=True)
        if last is not None and not (self._ending.is_drained or self._is_late) and self._sightings.choose(last).rows:
            await self._act(last)
            last = None if self._fault else await self._look_now(is_last=True)
        return last

    def _sum_up(self, whole: Plan, last: Discovery | None) -> HoldSummary:
        stops = StopSummary(
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
        alone = () if last is None else tuple(item.campaign_id for item in self._sightings.choose(last).left_alone)
        summary = HoldSummary(
            self._journal.end(stops),
            self._looks,
            self._acted,
            running=None if running is None else tuple(item.campaign_id for _, item in running),
            left_alone=alone,
            unread=None if last is None or last.fault is None else printable(str(last.fault)),
            early=self._early,
        )
        many = None if summary.running is None else len(summary.running)
        self._observe(HoldEnded(self.id, self._looks, self._acted, many, summary.verdict, summary.exit_code))
        return summary
