"""Bounded workers draw, send and report; the only module that makes tasks."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from bulkstop.engine.followup import AtRest, Follow
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.scopes import Group
from bulkstop.engine.lanes import Claim, Lane, Lanes, Turn
from bulkstop.engine.readback import IsEnough, Reading, ReadList, judge_claim, leave_claim
from bulkstop.engine.rest import log_throttled
from bulkstop.engine.retry import Retry
from bulkstop.engine.tries import RetryAt, Settle
from bulkstop.errors import BulkstopError, GuardError
from bulkstop.model import DONE, Attempt, Campaign, Outcome, Report, Result, RetryHint, Send, utc_text

_LOG = logging.getLogger("bulkstop.engine")
TICK_S = 0.001
"""Event loops count in whole milliseconds; the last one is spent asking, so that a call leaves when it may and not up
to a millisecond later: at 500 calls/s that would be half an interval."""
REVIEWS = 8
"""Lists that are read at the same time beside the stops."""
SHOWN_GROUPS = 3
"""How many closed groups are told of in the one line that ends a run."""
BROKEN = "the call failed inside this program; the stop may have arrived"
CUT_OFF = "in flight when the run was cut off; the stop may have arrived"
NOT_TRIED = "the run ended before its turn"
NOT_TRIED_AGAIN = "the run ended before the next try"
CANCELLED = "the quota store or the report was cancelled from within; nothing more is sent"


class Pool:
    """Sends every campaign of `lanes` and reports each one exactly once, whatever ends the run.

    At most `concurrency` exchanges are open at a time. A campaign that waits, for quota or for another try, holds
    neither a worker nor a connection. One that is cut off between two tries keeps what its last try told, but its
    result has no `finished_at`: it is not final, and a resumed run takes it up again. The same holds for what was
    refused by a group that was then closed.

    What only a list can decide has no line before that was read by `read_list`: a campaign of which the service claims
    that it does not run, and the first refused campaigns of a group. Without `read_list` nothing is read.

    A campaign that is at rest has its line once `follow` has come to its end. When all is sent that is done for those
    of `at_rest` too; each of them gets its line, whatever ends the run. `drained` is set when nothing more may leave.

    `now` is a monotonic clock in seconds; the last `tick_s` of a wait is spent asking it (0 for a clock that stands
    still while it is asked).
    """

    def __init__(
        self,
        lanes: Lanes,
        send: Send,
        report: Report,
        *,
        retry: Retry,
        concurrency: int,
        breaker: Breaker | None = None,
        read_list: ReadList | None = None,
        follow: Follow | None = None,
        at_rest: AtRest = tuple,
        drained: asyncio.Event | None = None,
        run_id: str | None = None,
        now: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.in_flight = 0
        self.calls = 0
        self.unwritten: list[Result] = []
        self.fault: Exception | None = None
        self._lanes = lanes
        self._send = send
        self._report = report
        self._retry = retry
        self._concurrency = concurrency
        self._admission = lanes.admission
        self._breaker = breaker
        self._scope_breaker = lanes.groups
        self._read_list = read_list
        self._follow = follow
        self._at_rest = at_rest
        self._drained = drained or asyncio.Event()
        self._cut: asyncio.Timeout | None = None
        self._run_id = run_id
        self._now = now
        self._tick_s = tick_s
        self._wall = wall
        self._draining = False
        self._workers: list[asyncio.Task[None]] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._claims: dict[Lane, dict[Group[Turn], list[Turn]]] = {}
        self._to_review: deque[tuple[Lane, Group[Turn]]] = deque()
        self._reviews: dict[Lane, asyncio.Task[None]] = {}
        self._following: set[Lane] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = math.inf

    async def run(self) -> None:
        """Work until all is sent or the pool was told to stop; then report what is left.

        Raises what ended the run early, itself and in no group, after everything is reported: a BulkstopError, or
        whatever `send`, `report` or a list raised.
        """
        try:
            await self._send_all()
        finally:
            await self._follow_at_rest()
        if self.fault is not None:
            raise self.fault

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        self._draining = True
        self._drained.set()
        for lane, review in self._reviews.items():
            if lane not in self._following:
                review.cancel()  # it only asks, so nothing is lost with it
        self._wake_all()

    def abort(self) -> None:
        """Cut off what is in flight; each of those campaigns is reported as unknown."""
        self.drain()
        for task in (*self._workers, *self._reviews.values()):
            task.cancel()
        if self._cut is not None:
            self._cut.reschedule(asyncio.get_running_loop().time())
            self._cut = None

    async def _send_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._workers = [self._tasks.create_task(self._work()) for _ in range(self._concurrency)]
                await self._all_ended()
            self._check_scopes()
        finally:
            self._report_leftover()

    async def _all_ended(self) -> None:
        try:
            await asyncio.wait(self._workers)
        except asyncio.CancelledError:
            self.drain()  # a send that outlives its cancellation must not be followed by another
            raise

    async def _work(self) -> None:
        try:
            while (turn := await self._next_turn()) is not None:
                await self._try(turn)
        except asyncio.CancelledError as stray:
            if not self._draining:  # so nobody asked for it, and the others would wait for this worker for ever
                self._end_early(stray)
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, every row gets its line first
            self._end_early(fault)

    async def _next_turn(self) -> Turn | None:
        while not self._draining:
            now = self._now()
            found = self._draw(now)
            if isinstance(found, Turn):
                if self._idle:
                    self._wake_one()  # more may be ready, and only one sleeper was woken by the alarm
                if self._is_skipped(found, now):
                    await asyncio.sleep(0)  # a long group must not keep the others from their answers
                    continue
                if self._breaker is not None:
                    self._breaker.left(now)
                if found.lane.claim is None or await self._claimed(found, found.lane.claim):
                    return found
            elif found is None:
                self._wake_all()
                return None
            elif found < math.inf or not self._decides_held(now):
                await self._sleep_until(found)
        return None

    def _draw(self, now: float) -> Turn | float | None:
        if self._breaker is None or not self._breaker.is_open or self._lanes.is_done:
            return self._lanes.draw(now)
        probe_at = self._breaker.ready_at()
        return self._lanes.draw(now) if probe_at <= now else probe_at

    def _is_skipped(self, turn: Turn, now: float) -> bool:
        """Tell whether a turn that never left belongs to a closed group; then it is settled as not sent."""
        if turn.group.closed is None or turn.last is not None:
            return False
        turn.group.skipped += 1
        self._lanes.drop(turn, now)
        self._write(_result(turn, Attempt(Outcome.NOT_SENT, error=turn.group.closed), self._run_id, None))
        self._look_at(turn.lane, now)
        return True

    async def _claimed(self, turn: Turn, claim: Claim) -> bool:
        """Ask the shared store for a call; without one the turn goes back to its lane, as when the account rests."""
        wait_s = math.inf
        try:
            wait_s = await claim()
        finally:
            now = self._now()
            may_leave = wait_s <= 0 and not self._draining and turn.lane.rest.until <= now
            if not may_leave:
                self._unleft(turn)
                self._lanes.put_back(turn, now, now + wait_s if wait_s < math.inf else now)
        return may_leave

    async def _sleep_until(self, when: float) -> None:
        """Sleep until the clock reaches `when` or something changes; of many sleepers one wakes, and wakes the next."""
        loop = asyncio.get_running_loop()
        if when < self._alarm_at:
            self._disarm()
            self._alarm_at = when
            ahead_s = when - self._now() - self._tick_s
            self._alarm = loop.call_later(ahead_s, self._ring) if ahead_s > 0 else loop.call_soon(self._ring)
        sleeper = loop.create_future()
        self._idle.append(sleeper)
        await sleeper

    def _ring(self) -> None:
        self._alarm_at = math.inf
        self._wake_one()

    def _disarm(self) -> None:
        self._alarm_at = math.inf
        if self._alarm is not None:
            self._alarm.cancel()

    def _wake_one(self) -> None:
        while self._idle:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    def _wake_all(self) -> None:
        self._disarm()
        while self._idle:
            self._wake_one()

    async def _try(self, turn: Turn) -> None:
        """Make one try of a campaign and settle it, or let it wait for the next."""
        turn.started_at = turn.started_at or self._wall()
        self.in_flight += 1
        try:
            attempt = await self._send(turn.campaign)
        except BaseException as error:
            self._break_off(turn, error)
            if not _is_stray(error):
                raise
        else:
            try:
                if self._follow is not None and attempt.outcome in DONE:
                    turn.lane.follow_up(turn, self._now())
                    await self._follow_up(turn, self._follow)
            finally:
                self._take_in(turn, attempt)
        finally:
            self.in_flight -= 1

    def _take_in(self, turn: Turn, attempt: Attempt) -> None:
        try:
            self._note(turn, attempt)
        except Exception as fault:  # noqa: BLE001 - an import that fails for want of a file descriptor, for one
            self._leave_over(turn, attempt, fault)

    def _note(self, turn: Turn, attempt: Attempt) -> None:
        """Settle what was answered, or plan the next try; the lane is told last, so what fails before loses no line."""
        now = self._now()
        self.calls += 1
        if self._breaker is not None:
            self._breaker.answered(now, turn.sent_at, attempt.outcome, attempt.error)
        self._plan_next(turn, attempt, now)
        if attempt.outcome not in DONE:  # only a failure ends a run
            self._check_guards()

    def _plan_next(self, turn: Turn, attempt: Attempt, now: float) -> None:
        """Do what follows the answer to a turn."""
        again, tries = attempt.again, turn.tries
        is_renewal = again is RetryHint.NOW and tries.asks_for_renewal(attempt) and self._may_renew(turn)
        if not is_renewal:  # else the refused token is not the campaign's last answer
            turn.last = attempt
        is_throttled = again is RetryHint.THROTTLED
        event = turn.lane.rest.count_throttled(now, turn.sent_at) if is_throttled else 0
        is_paced = turn.lane.paces_itself
        step = tries.after(attempt, now, self._retry, event=event, is_paced=is_paced, may_renew=is_renewal)
        turn.tries = step.tries
        if is_throttled and not isinstance(step, RetryAt):
            self._rest_account(turn, attempt, event, step.rests_until, now)
        if isinstance(step, Settle):
            self._end_tries(turn, attempt, now)
        else:
            due = step.at if isinstance(step, RetryAt) else now
            self._lanes.again(turn, now, due, throttled=is_throttled, failed=again is RetryHint.LATER)

    def _may_renew(self, turn: Turn) -> bool:
        return self._scope_breaker is None or self._scope_breaker.may_renew(turn.campaign)

    def _rest_account(self, turn: Turn, attempt: Attempt, event: int, until: float, now: float) -> None:
        """Let the account rest, once for all calls that were refused together."""
        turn.lane.rest.extend(until)
        if event:
            log_throttled(turn.lane.account_id, until - now, attempt, is_paced=turn.lane.paces_itself)

    def _end_tries(self, turn: Turn, attempt: Attempt, now: float) -> None:
        again = attempt.again
        if again is RetryHint.READ_BACK and self._read_list is not None:
            self._hold_claim(turn, now)
        else:
            throttled, failed = again is RetryHint.THROTTLED, again is RetryHint.LATER
            self._settle(turn, attempt, now, throttled=throttled, failed=failed)

    def _leave_over(self, turn: Turn, attempt: Attempt, fault: Exception) -> None:
        """End the run at an answer of which nobody can say what comes next; the campaign keeps it, and is not final."""
        now = self._now()
        turn.tries = turn.tries.counted(attempt)
        self._lanes.again(turn, now, now, failed=True)
        self._end_early(fault)

    def _break_off(self, turn: Turn, error: BaseException) -> None:
        """Settle a campaign whose try raised: with a BulkstopError nothing was sent, with anything else who knows."""
        now = self._now()
        self._unleft(turn)
        if isinstance(error, BulkstopError):
            self._lanes.answered(turn, now, failed=True)
            self._settle_left(turn)
            return
        self.calls += 1
        attempt = Attempt(Outcome.UNKNOWN, error=BROKEN if isinstance(error, Exception) else CUT_OFF)
        turn.tries = turn.tries.counted(attempt)
        self._settle(turn, attempt, now, failed=True)

    def _unleft(self, turn: Turn) -> None:
        if self._breaker is not None:
            self._breaker.unleft(turn.sent_at)

    def _settle(
        self, turn: Turn, attempt: Attempt, now: float, *, throttled: bool = False, failed: bool = False
    ) -> None:
        """End a campaign that is in flight: write its line, unless its group's next answers or its list decide."""
        turn.last, turn.answered_at = attempt, self._wall()
        ended = [(turn, True)] if self._scope_breaker is None else self._scope_breaker.note(turn, attempt)
        if any(line is turn for line, _ in ended):
            self._lanes.answered(turn, now, throttled=throttled, failed=failed)
        else:
            self._lanes.hold(turn, now)
        self._count_end(turn, attempt, now)
        self._write_ended(ended, now, but=turn)
        self._look_at(turn.lane, now)

    def _count_end(self, turn: Turn, attempt: Attempt, now: float) -> None:
        if self._admission is not None:
            self._admission.settled(attempt.outcome, now, turn.campaign.campaign_id, attempt.error)

    def _write_ended(self, ended: Iterable[tuple[Turn, bool]], now: float, *, but: Turn | None = None) -> None:
        """Write lines that need not wait any more; a row that has not ended has no `finished_at`."""
        for line, has_ended in ended:
            if line is not but:
                self._lanes.release(line, now)
            assert line.last is not None  # noqa: S101 - it was answered
            self._write(_result(line, line.last, self._run_id, line.answered_at if has_ended else None))

    def _hold_claim(self, turn: Turn, now: float) -> None:
        """Let a campaign of which the service claims that it does not run wait for the list."""
        turn.answered_at = self._wall()
        self._lanes.hold(turn, now)
        self._claims.setdefault(turn.lane, {}).setdefault(turn.group, []).append(turn)
        if self._scope_breaker is not None:
            self._write_ended(self._scope_breaker.claimed(turn), now)
        self._look_at(turn.lane, now)

    def _decides_held(self, now: float) -> bool:
        """Decide what waits for its group or its list if nothing else can come; tell whether all is done now."""
        if not self.in_flight:
            for lane in self._lanes.held:
                self._look_at(lane, now)
        return self._lanes.is_done

    def _look_at(self, lane: Lane, now: float) -> None:
        """Have the lists of a lane read when it can do nothing else, and those that a group waits for."""
        if lane not in self._reviews and self._lanes.is_stuck(lane):
            claims = self._claims.get(lane, {})
            self._to_review += [(lane, group) for group in claims if (lane, group) not in self._to_review]
            if self._scope_breaker is not None and lane.is_sent:
                self._write_ended(self._scope_breaker.end_account(lane.account_id), now)
        if self._scope_breaker is not None and self._scope_breaker.to_review:
            self._to_review += [(lane, group) for group in self._scope_breaker.to_review]
            self._scope_breaker.to_review.clear()
        self._begin_reviews()

    def _begin_reviews(self) -> None:
        """Begin to read lists, REVIEWS of them at a time and one of an account."""
        waiting = len(self._to_review)
        while self._to_review and waiting and len(self._reviews) < REVIEWS and not self._draining:
            waiting -= 1
            lane, group = self._to_review.popleft()
            if lane in self._reviews or self._tasks is None:
                self._to_review.append((lane, group))
            else:
                self._reviews[lane] = self._tasks.create_task(self._review(lane, group))

    async def _review(self, lane: Lane, group: Group[Turn]) -> None:
        """Read the list of a group, and let it decide what waits for it."""
        try:
            if group.is_reviewed:
                await self._review_group(group)
            else:
                await self._read_back(self._claims[lane].pop(group), lane, group)
        except asyncio.CancelledError as stray:
            if not self._draining:
                self._end_early(stray)
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, every row gets its line first
            self._end_early(fault)
        finally:
            self._end_review(lane)

    def _end_review(self, lane: Lane) -> None:
        del self._reviews[lane]
        now = self._now()
        self._lanes.look_again(lane, now)  # the list has used the same quota
        self._look_at(lane, now)
        self._check_guards()
        self._wake_one()

    async def _review_group(self, group: Group[Turn]) -> None:
        assert self._scope_breaker is not None  # noqa: S101 - they have asked for it
        ids = {line.campaign.campaign_id for line in group.held}
        reading = await self._read(group.held[0].campaign, lambda states: not ids.isdisjoint(states))
        is_read = reading.fault is None or not ids.isdisjoint(reading.states)
        listed = frozenset(reading.states) if is_read else None
        self._write_ended(self._scope_breaker.reviewed(group, listed, reading.fault or ""), self._now())

    async def _read_back(self, turns: list[Turn], lane: Lane, group: Group[Turn]) -> None:
        ids = {turn.campaign.campaign_id for turn in turns}
        turns.reverse()  # each is taken from the end once it is settled
        try:
            reading = await self._read(turns[0].campaign, lambda states: ids <= states.keys())
            while turns:
                await self._settle_claim(turns[-1], reading)
                turns.pop()
        finally:
            if turns:
                self._claims[lane].setdefault(group, []).extend(turns)

    async def _read(self, of: Campaign, is_enough: IsEnough) -> Reading:
        assert self._read_list is not None  # noqa: S101 - nothing waits for a list without it
        reading = await self._read_list(of, is_enough)
        self.calls += reading.calls
        return reading

    async def _settle_claim(self, turn: Turn, reading: Reading) -> None:
        """Settle a campaign by what its list says; one that runs is tried again."""
        assert turn.last is not None  # noqa: S101 - it was answered
        attempt, now = judge_claim(turn.last, turn.campaign.campaign_id, reading), self._now()
        step = turn.tries.reconsider(attempt, now, self._retry)
        if isinstance(step, RetryAt):
            turn.last = attempt
            self._lanes.try_held(turn, now, step.at)
            return
        if self._follow is not None and attempt.outcome in DONE:
            self._following.add(turn.lane)
            try:
                await self._follow_up(turn, self._follow)
            finally:
                self._following.discard(turn.lane)
        turn.last = attempt._replace(again=RetryHint.NO)
        self._count_end(turn, attempt, self._now())
        self._write_ended([(turn, True)], self._now())

    async def _follow_up(self, turn: Turn, follow: Follow) -> None:
        turn.schedule = await self._schedule(follow, turn.campaign)

    async def _schedule(self, follow: Follow, campaign: Campaign) -> str | None:
        """Do what follows for a campaign at rest, and return what its line says of it."""
        found = await follow(campaign)
        self.calls += found.calls
        if found.fault is not None:
            self._end_early(found.fault)
        return found.schedule

    async def _follow_at_rest(self) -> None:
        follow = self._follow
        if follow is None:
            return

        async def job(campaign: Campaign, result: Result) -> None:
            self._write(replace(result, schedule=await self._schedule(follow, campaign)))

        jobs = (partial(job, campaign, result) for campaign, result in self._at_rest())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._cut:
                    await run_concurrently(jobs, self._concurrency)
        finally:
            self._cut = None

    def _check_guards(self) -> None:
        """End the run when a guard says so, unless nothing is left that could be held back."""
        if self._draining or self._lanes.is_done:
            return
        for guard in (self._admission, self._breaker):
            if guard is not None and guard.fault is not None:
                self._end_early(guard.fault)

    def _check_scopes(self) -> None:
        """Let a run that came to its end, but for what belongs to closed groups, end with a fault that says so."""
        if self._scope_breaker is None or not self._scope_breaker.has_closed or self._draining:
            return
        told = self._scope_breaker.faults()
        more = [f"and {len(told) - SHOWN_GROUPS:,} more groups"] if len(told) > SHOWN_GROUPS else []
        self.fault = GuardError("; ".join(told[:SHOWN_GROUPS] + more))

    def _report_held(self) -> None:
        """Report what still waits for a list, or for its group: it was sent, and has not ended."""
        if self._scope_breaker is not None:
            self._write_ended(self._scope_breaker.flush(), self._now())
        for groups in self._claims.values():
            for turn in (turn for turns in groups.values() for turn in turns):
                assert turn.last is not None  # noqa: S101 - it was answered
                turn.last = leave_claim(turn.last)
                self._write_ended([(turn, False)], self._now())
        self._claims.clear()

    def _settle_left(self, turn: Turn) -> None:
        self._write(_result(turn, _left(turn), self._run_id, None))

    def _write(self, result: Result) -> None:
        try:
            self._report(result)
        except BaseException as fault:
            if result.outcome is not Outcome.NOT_SENT:  # those could be the whole list
                self.unwritten.append(result)
            if not isinstance(fault, Exception | asyncio.CancelledError):
                raise
            self._end_early(fault)  # and go on: also after a slip in a caller's report the other rows get their line

    def _end_early(self, fault: BaseException) -> None:
        """Drain, and keep the first fault; a cancellation that nobody asked for is one, but none to be raised."""
        self.fault = self.fault or (fault if isinstance(fault, Exception) else BulkstopError(CANCELLED))
        self.drain()

    def _report_leftover(self) -> None:
        """Report all that is left, also of the accounts after one whose list breaks off only now."""
        self._report_held()
        while True:
            try:
                for turn in self._lanes.leftover():
                    self._settle_left(turn)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the others come first
                self._end_early(fault)
            else:
                return


def _is_stray(error: BaseException) -> bool:
    """Tell a cancellation that came out of a call from one that this worker was asked for."""
    worker = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and worker is not None and not worker.cancelling()


def _left(turn: Turn) -> Attempt:
    if turn.last is None:
        return Attempt(Outcome.NOT_SENT, error=NOT_TRIED)
    return turn.last._replace(error="; ".join(filter(None, (turn.last.error, NOT_TRIED_AGAIN))))


def _result(turn: Turn, attempt: Attempt, run_id: str | None, finished_at: float | None) -> Result:
    campaign: Campaign = turn.campaign
    was_sent = attempt.outcome is not Outcome.NOT_SENT
    # Throttled calls are no attempts, but where there was nothing else one is counted.
    attempts = (turn.tries.attempts or 1) if was_sent else 0
    return Result(
        campaign.campaign_id,
        campaign.campaign_type,
        campaign.account_id,
        campaign.stream_id,
        attempt.outcome,
        attempt.http_status,
        attempts,
        attempt.latency_ms,
        attempt.message,
        attempt.updated_at,
        attempt.campaign_instance_id,
        attempt.campaign_execution_type,
        attempt.error,
        campaign.source,
        campaign.line,
        utc_text(turn.started_at) if was_sent and turn.started_at is not None else None,
        utc_text(finished_at) if was_sent and finished_at is not None else None,
        run_id,
        campaign.row,
        turn.schedule,
    )


async def run_concurrently(jobs: Iterable[Callable[[], Awaitable[None]]], concurrency: int) -> None:
    """Carry jobs out, at most `concurrency` at a time; what one of them raises ends the others and is raised."""
    left = iter(jobs)

    async def work() -> None:
        for job in left:
            await job()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise _first(several) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
