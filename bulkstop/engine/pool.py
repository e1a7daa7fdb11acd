"""Bounded workers draw, send and report; the only module that makes tasks."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from bulkstop.engine.breaker import Breaker
from bulkstop.engine.groups import Groups
from bulkstop.engine.lanes import Claim, Lanes, Turn
from bulkstop.engine.retry import Retry
from bulkstop.errors import BulkstopError, GuardError
from bulkstop.model import DONE, Again, Attempt, Campaign, Outcome, Report, Result, Send, utc_text

_LOG = logging.getLogger("bulkstop.engine")
THROTTLES = 20
"""Times in a row that a campaign is refused for its number before it ends as throttled; pauses double, so with nothing
stated by the service that is 4 minutes on average, and with a wait stated that many times the wait."""
TICK_S = 0.001
"""Event loops count in whole milliseconds; the last one is spent asking, so that a call leaves when it may and not up
to a millisecond later: at 500 calls/s that would be half an interval."""
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
    result has no `finished_at`: it is not final, and a resumed run takes it up again.

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
        groups: Groups | None = None,
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
        self._groups = groups
        self._run_id = run_id
        self._now = now
        self._tick_s = tick_s
        self._wall = wall
        self._draining = False
        self._workers: list[asyncio.Task[None]] = []
        self._idle: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = math.inf

    async def run(self) -> None:
        """Work until all is sent or the pool was told to stop; then report what is left.

        Raises what ended the run early, itself and in no group, after everything is reported: a BulkstopError, or
        whatever `send`, `report` or a list raised.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._workers = [group.create_task(self._work()) for _ in range(self._concurrency)]
                await self._all_ended()
            self._heed_groups()
        finally:
            self._report_leftover()
        if self.fault is not None:
            raise self.fault

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        self._draining = True
        self._wake_all()

    def abort(self) -> None:
        """Cut off what is in flight; each of those campaigns is reported as unknown."""
        self.drain()
        for worker in self._workers:
            worker.cancel()

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
                if self._groups is not None and self._is_skipped(found, self._groups, now):
                    await asyncio.sleep(0)  # a long group must not keep the others from their answers
                    continue
                if self._breaker is not None:
                    self._breaker.left(now)
                if found.lane.claim is None or await self._claimed(found, found.lane.claim):
                    return found
            elif found is None:
                self._wake_all()
                return None
            else:
                await self._sleep_until(found)
        return None

    def _draw(self, now: float) -> Turn | float | None:
        if self._breaker is None or not self._breaker.is_open or self._lanes.is_done:
            return self._lanes.draw(now)
        probe_at = self._breaker.ready_at()
        return self._lanes.draw(now) if probe_at <= now else probe_at

    def _is_skipped(self, turn: Turn, groups: Groups, now: float) -> bool:
        """Tell whether a turn that never left belongs to a closed group; then it is settled as not sent."""
        why = groups.closed(turn.campaign) if turn.last is None else None
        if why is None:
            return False
        groups.skipped(turn.campaign)
        self._lanes.drop(turn, now)
        self._write(_result(turn, Attempt(Outcome.NOT_SENT, error=why), self._run_id, None))
        return True

    async def _claimed(self, turn: Turn, claim: Claim) -> bool:
        """Ask the shared store for a call; without one the turn goes back to its lane."""
        wait_s = math.inf
        try:
            wait_s = await claim()
        finally:
            now = self._now()
            if wait_s > 0 or self._draining:
                self._unleft(turn)
                self._lanes.put_back(turn, now, now + wait_s)
        return wait_s <= 0 and not self._draining

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
                self._note(turn, attempt)
            except Exception as fault:  # noqa: BLE001 - an import that fails for want of a file descriptor, for one
                self._leave_over(turn, fault)
        finally:
            self.in_flight -= 1

    def _note(self, turn: Turn, attempt: Attempt) -> None:
        """Settle what was answered, or plan the next try; the lane is told last, so what fails before loses no line."""
        now = self._now()
        self.calls += 1
        if self._breaker is not None:
            self._breaker.answered(now, turn.sent_at, attempt.outcome, attempt.error)
        self._plan_next(turn, attempt, now)
        if attempt.outcome not in DONE:  # only a failure ends a run
            self._heed()

    def _plan_next(self, turn: Turn, attempt: Attempt, now: float) -> None:
        if attempt.again is Again.NOW and not turn.renewed:
            turn.renewed = True  # and nothing else: the refused token is not the campaign's last answer
            self._lanes.again(turn, now, now)
            return
        turn.last = attempt
        if attempt.again is Again.THROTTLED:
            self._note_throttled(turn, attempt, now)
            return
        turn.attempts += 1
        delay_s = self._retry.delay_s(turn.attempts, attempt)
        failed = attempt.again is Again.LATER
        if delay_s is None:
            self._lanes.answered(turn, now, failed=failed)
            self._settle(turn, attempt, now)
        else:
            self._lanes.again(turn, now, now + delay_s, failed=failed)

    def _note_throttled(self, turn: Turn, attempt: Attempt, now: float) -> None:
        """Pause the account once for all calls that were refused together; a refused call costs no attempt."""
        turn.throttles += 1
        event = turn.lane.throttled(turn, now)
        pause_s = self._retry.pause_s(event, attempt, paced=turn.lane.paces_itself)
        turn.lane.pause(now + pause_s)
        if event and pause_s:
            said = {"account_id": turn.lane.account_id, "rest_s": round(pause_s, 3), "error": attempt.error}
            level = logging.INFO if turn.lane.paces_itself else logging.WARNING  # so it finds its limit
            _LOG.log(level, "account_throttled", extra={"fields": said})
        if turn.throttles < THROTTLES:
            self._lanes.again(turn, now, now, throttled=True)
        else:
            self._lanes.answered(turn, now, throttled=True)
            self._settle(turn, attempt, now)

    def _leave_over(self, turn: Turn, fault: Exception) -> None:
        """End the run at an answer of which nobody can say what comes next; the campaign keeps it, and is not final."""
        now = self._now()
        self._lanes.again(turn, now, now, failed=True)
        self._end_early(fault)

    def _break_off(self, turn: Turn, error: BaseException) -> None:
        """Settle a campaign whose try raised: with a BulkstopError nothing was sent, with anything else who knows."""
        now = self._now()
        self._unleft(turn)
        self._lanes.answered(turn, now, failed=True)
        if isinstance(error, BulkstopError):
            self._settle_left(turn)
            return
        self.calls += 1
        turn.attempts += 1
        self._settle(turn, Attempt(Outcome.UNKNOWN, error=BROKEN if isinstance(error, Exception) else CUT_OFF), now)

    def _unleft(self, turn: Turn) -> None:
        if self._breaker is not None:
            self._breaker.unleft(turn.sent_at)

    def _settle(self, turn: Turn, attempt: Attempt, now: float) -> None:
        self._write(_result(turn, attempt, self._run_id, self._wall()))
        if self._admission is not None:
            self._admission.settled(attempt.outcome, now, turn.campaign.campaign_id, attempt.error)
        if self._groups is not None:
            self._groups.settled(turn.campaign, attempt.outcome, attempt.error)

    def _heed(self) -> None:
        """End the run when a guard says so, unless nothing is left that could be held back."""
        if self._draining or self._lanes.is_done:
            return
        for guard in (self._admission, self._breaker):
            if guard is not None and guard.fault is not None:
                self._end_early(guard.fault)

    def _heed_groups(self) -> None:
        """Let a run that came to its end, but for what belongs to closed groups, end with a fault that says so."""
        if self._groups is None or not self._groups.has_skipped or self._draining:
            return
        told = self._groups.faults()
        more = [f"and {len(told) - SHOWN_GROUPS:,} more groups"] if len(told) > SHOWN_GROUPS else []
        self.fault = GuardError("; ".join(told[:SHOWN_GROUPS] + more))

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
    return Result(
        campaign.campaign_id,
        campaign.campaign_type,
        campaign.account_id,
        campaign.stream_id,
        attempt.outcome,
        attempt.http_status,
        (turn.attempts or 1) if was_sent else 0,  # throttled calls are no attempts, but nothing else is there to count
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
    )


async def side_by_side(jobs: Iterable[Callable[[], Awaitable[None]]], concurrency: int) -> None:
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
