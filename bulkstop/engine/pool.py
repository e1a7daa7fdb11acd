"""Bounded workers draw, send and report."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from bulkstop.engine.followup import Follow, FollowUp, follow_nothing
from bulkstop.engine.lanes import Claim, Lane, Lanes, Turn
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.pacing.overload import read_unavailable
from bulkstop.engine.readback import Ended, ListWork, ReadList, Reviews
from bulkstop.engine.results import broken_off_attempt, is_stray, make_result, unfinished_attempt
from bulkstop.engine.retry import Rest, Retry, RetryAt, Settle
from bulkstop.engine.tasks import TICK_S, Sleepers, Tasks
from bulkstop.errors import BulkstopError
from bulkstop.events import AccountThrottled, Observe, PaceLearnt, ignore
from bulkstop.model import DONE, Attempt, Limit, Outcome, Report, Result, RetryHint, Send

CANCELLED = "the quota store or the report was cancelled from within; nothing more is sent"


class Pool:
    """Sends every campaign of `lanes` and reports each one exactly once, whatever ends the run.

    At most `concurrency` exchanges are open at a time. A campaign that waits, for quota, for another try or for the
    call that follows its stop, holds neither a worker nor a connection. One that is cut off between two tries keeps
    what its last try told, but its result has no `finished_at`: it is not final, and a resumed run takes it up again.
    The same holds for what was refused by a group that was then closed.

    What only a list can decide has no line before that was read by `read_list`: a campaign of which the service claims
    that it does not run, and the first refused campaigns of a group.

    A campaign that is stopped has its line once the call that `follow` names has come to its end. When all is sent the
    lanes `at_rest` are, whose campaigns need no stop; each of them gets its line, whatever ends the run.

    A worker awaits what `finish_reports` returns before its next turn, so reports that take their time pace the run.
    What is left in the end is reported as fast as `make_room` lets it.
    `look_at_clock` is called before each turn and may drain the pool: whoever ends it by the wall clock cannot leave
    that to a timer, which stands still while the machine sleeps.

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
        read_list: ReadList,
        follow: Follow = follow_nothing,
        at_rest: Callable[[], Iterable[Lane]] = tuple,
        run_id: str | None = None,
        observe: Observe = ignore,
        finish_reports: Callable[[], Awaitable[None] | None] = lambda: None,
        make_room: Callable[[], Awaitable[None] | None] = lambda: None,
        look_at_clock: Callable[[], object] = lambda: None,
        now: Callable[[], float] = elapsed_s,
        tick_s: float = TICK_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.in_flight = 0
        self.calls = 0
        self.latency_s = 0.0
        """The mean time until an answer comes; 0 before the first."""
        self.unwritten: list[Result] = []
        self.fault: Exception | None = None
        self._lanes = lanes
        self._guards = lanes.guards
        self._send = send
        self._report = report
        self._retry = retry
        self._concurrency = concurrency
        self._follow = follow
        self._at_rest = at_rest
        self._run_id = run_id
        self._observe = observe
        self._finish_reports = finish_reports
        self._make_room = make_room
        self._look_at_clock = look_at_clock
        self._now = now
        self._wall = wall
        self._draining = False
        self._is_paused = False
        self._rate: Sequence[Limit] = ()
        self._tasks = Tasks()
        self._sleepers = Sleepers(now, tick_s)
        self._reviews = Reviews(read_list, self._guards, self._tasks, self, now)

    @property
    def is_draining(self) -> bool:
        """Tell whether nothing more leaves, whatever ended that."""
        return self._draining

    async def run(self) -> None:
        """Work until all is sent or the pool was told to stop; then report what is left.

        Raises what ended the run early, itself and in no group, after everything is reported: a BulkstopError, or
        whatever `send`, `report` or a list raised.
        """
        try:
            await self._send_all()
        finally:
            self._lanes = Lanes(self._at_rest(), self._concurrency)
            self._lanes.pause(self._is_paused)
            self._lanes.set_rate(self._rate, self._now())
            self._guards = self._lanes.guards
            await self._send_all()
        if self.fault is not None:
            raise self.fault

    @property
    def lanes(self) -> Lanes:
        """The lanes that are worked through at present."""
        return self._lanes

    def find_list_work(self, lane: Lane) -> ListWork:
        """Return the list calls that a lane will need for campaigns whose answer proves nothing."""
        return self._reviews.find_work(lane)

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        self._draining = True
        self._reviews.drain()
        self._sleepers.wake_all()

    def abort(self) -> None:
        """Cut off what is in flight; each of those campaigns is reported as unknown."""
        self.drain()
        self._tasks.cancel()

    def pause(self) -> None:
        """Let nothing leave until `resume`; what is in flight is waited for."""
        self._is_paused = True
        self._lanes.pause(True)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        self._lanes.pause(False)
        self._sleepers.wake_all()

    def set_rate(self, limits: Sequence[Limit]) -> None:
        """Let each account make at most so many calls, evenly spread, beside its quota; no limits end that."""
        self._rate = limits
        self._lanes.set_rate(limits, self._now())
        self._sleepers.wake_all()

    def look_again(self) -> None:
        """Look whether somebody else has freed a place in a quota that is shared."""
        self._lanes.look_again(self._now())
        self._sleepers.wake_one()

    async def _send_all(self) -> None:
        try:
            if not self._lanes.is_done:
                await self._work_side_by_side()
            if not self._draining:
                self.fault = self._guards.closed_fault or self.fault
        finally:
            await self._report_leftover()

    async def _work_side_by_side(self) -> None:
        async with self._tasks:
            workers = [self._tasks.start(self._work()) for _ in range(self._concurrency)]
            try:
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                self.drain()  # a send that outlives its cancellation must not be followed by another
                raise

    async def _work(self) -> None:
        try:
            while (turn := await self._next_turn()) is not None:
                await self._try(turn)
                if (finishing := self._finish_reports()) is not None:
                    await finishing
        except asyncio.CancelledError as stray:
            if not self._draining:  # so nobody asked for it, and the others would wait for this worker for ever
                self.end_early(stray)
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, every row gets its line first
            self.end_early(fault)

    async def _next_turn(self) -> Turn | None:
        while not self._is_over():
            now = self._now()
            drawn = self._lanes.draw(now)
            if isinstance(drawn, Turn):
                self._sleepers.wake_one()  # more may be ready, and only one was woken by the alarm
                if drawn.group.closed is not None and drawn.last is None:
                    self._skip(drawn, drawn.group.closed, now)
                    await asyncio.sleep(0)  # a long group must not keep the others from their answers
                elif (claim := drawn.lane.claim) is None or claim.take_now() or await self._is_claimed(drawn, claim):
                    return drawn
            elif drawn is None:
                self._sleepers.wake_all()
                return None
            elif drawn < math.inf or not self._decides_held(now):
                await self._sleepers.sleep_until(drawn)
        return None

    def _is_over(self) -> bool:
        """Tell whether nothing more may leave."""
        self._look_at_clock()
        return self._draining

    def _skip(self, turn: Turn, why: str, now: float) -> None:
        """Settle a turn that never left as not sent, as its group is closed."""
        turn.group.skipped += 1
        self._lanes.drop(turn, now)
        self._write(make_result(turn, Attempt(Outcome.NOT_SENT, error=why), self._run_id, None))
        self._look_at(turn.lane, now)

    async def _is_claimed(self, turn: Turn, claim: Claim) -> bool:
        """Ask the shared store for a call; without one the turn goes back to its lane, as when the account rests."""
        wait_s = math.inf
        try:
            wait_s = await claim.take(turn.lane.count_wanted(self._now()))
        finally:
            now = self._now()
            may_leave = wait_s <= 0 and not self._is_over() and self._may_leave(turn, now)
            if not may_leave:
                if wait_s <= 0:
                    claim.give_back()
                self._lanes.put_back(turn, now, now + wait_s if wait_s < math.inf else now)
        turn.lane.recall(self._wall())
        return may_leave

    def _may_leave(self, turn: Turn, now: float) -> bool:
        """Tell whether nothing has come in the way of a turn while the store was asked for its place."""
        return turn.lane.rest.until <= now and self._guards.lets_leave(turn.sent_at)

    async def _try(self, turn: Turn) -> None:
        """Make one try of a call and settle it, or let it wait for the next."""
        turn.started_at = turn.started_at or self._wall()
        send = self._send if turn.follow_up is None else turn.follow_up.send
        self.in_flight += 1
        try:
            attempt = await send(turn.campaign)
        except BaseException as error:
            self._break_off(turn, error)
            if not is_stray(error):
                raise
        else:
            self._take_in(turn, attempt)
        finally:
            self.in_flight -= 1

    def _take_in(self, turn: Turn, attempt: Attempt) -> None:
        """Settle what was answered, or let it wait for the next try."""
        now, lane = self._now(), turn.lane
        attempt = read_unavailable(attempt, lane.quota, turn.sent_at)
        self.calls += 1
        self.latency_s += (now - turn.sent_at - self.latency_s) / self.calls
        if turn.follow_up is None:
            attempt = self._guards.answered(now, turn.sent_at, attempt)
        again = attempt.again
        step = self._plan_next(turn, attempt, now)
        turn.tries = step.tries
        throttled, failed = again is RetryHint.THROTTLED, again is RetryHint.LATER
        if attempt.has_left:
            lane.quota.note_allowance(
                now, turn.sent_at, attempt.allowance, throttled=throttled, most_s=self._retry.most_stated_s
            )
        lane.answered(turn, now, throttled=throttled, failed=failed, has_left=attempt.has_left)
        if throttled and (finding := lane.quota.finding()) is not None:
            self._observe(PaceLearnt(lane.account_id, *finding))
            lane.remember(self._wall())
        if isinstance(step, Settle):
            self._settle(turn, attempt, now)
        else:
            lane.again(turn, step.at if isinstance(step, RetryAt) else now)
            self._lanes.update(lane, now)
        if attempt.outcome not in DONE:  # only a failure ends a run
            self._check_guards()

    def _plan_next(self, turn: Turn, attempt: Attempt, now: float) -> Settle | RetryAt | Rest:
        """Return what follows an answer, and let the account rest if it is told to."""
        is_renewal = turn.tries.asks_for_renewal(attempt) and self._guards.may_renew(turn.campaign)
        if not is_renewal:  # else the refused token is not the campaign's last answer
            turn.last = attempt
        if attempt.again is RetryHint.NEVER and turn.follow_up is None:
            return RetryAt(turn.tries.counted(attempt), now)  # the run ends, so this is left over, to be sent again
        lane, event = turn.lane, 0
        if is_throttled := attempt.again is RetryHint.THROTTLED:
            event = lane.rest.count_throttled(now, turn.sent_at)
        try:
            step = turn.tries.after(
                attempt, now, self._retry, event=event, is_paced=lane.paces_itself, may_renew=is_renewal
            )
        except Exception as fault:  # noqa: BLE001 - an import that fails for want of a file descriptor, for one
            self.end_early(fault)  # so it is left over with this answer, which is not final
            return RetryAt(turn.tries.counted(attempt), now)
        if is_throttled and not isinstance(step, RetryAt):
            lane.rest.extend(step.rests_until)
            rest_s = round(step.rests_until - now, 3)
            if event and rest_s > 0:
                self._observe(AccountThrottled(lane.account_id, rest_s, attempt.error, lane.paces_itself))
        return step

    def _break_off(self, turn: Turn, error: BaseException) -> None:
        """Settle a call that raised: as not sent for a BulkstopError, else as unknown."""
        now = self._now()
        if turn.follow_up is None:
            self._guards.unleft(turn.sent_at)
        turn.lane.answered(turn, now, failed=True, has_left=not isinstance(error, BulkstopError))
        if isinstance(error, BulkstopError):
            turn.lane.end(turn)
            self._lanes.update(turn.lane, now)
            self._write_left(turn)
            return
        self.calls += 1
        attempt = broken_off_attempt(turn, error)
        turn.tries = turn.tries.counted(attempt)
        self._settle(turn, attempt, now)

    def _settle(self, turn: Turn, attempt: Attempt, now: float) -> None:
        """End a call that was answered for the last time, unless its group's next answers or its list decide."""
        turn.last, turn.answered_at = attempt, self._wall()
        if turn.follow_up is not None:
            self.finish([(turn, True)])
        elif attempt.again is RetryHint.READ_BACK:
            self._reviews.add_claim(turn)
        else:
            self.finish(self._guards.ended(turn, attempt, now))
        self._look_at(turn.lane, now)

    def settle_claim(self, turn: Turn, attempt: Attempt) -> None:
        """Settle a campaign by what its list says; one that runs is tried again."""
        now = self._now()
        step = turn.tries.reconsider(attempt, now, self._retry)
        if isinstance(step, RetryAt):
            turn.last = attempt
            turn.lane.again(turn, step.at)
        else:
            turn.last = attempt._replace(again=RetryHint.NO)
            self._guards.settled(attempt.outcome, now, turn.campaign.campaign_id, attempt.error)
            self.finish([(turn, True)])

    def finish(self, ended: Ended) -> None:
        """Write the lines of campaigns that wait no more, but for those for which a call follows."""
        for turn, has_ended in ended:
            assert turn.last is not None  # noqa: S101 - it was answered
            result: FollowUp | Result
            result = make_result(turn, turn.last, self._run_id, turn.answered_at if has_ended else None)
            if turn.last.outcome in DONE and turn.follow_up is None:
                result = self._follow(turn.campaign, result)
            if isinstance(result, FollowUp):
                turn.lane.follow(turn, result)
            else:
                turn.lane.end(turn)
                self._write(result)

    def _decides_held(self, now: float) -> bool:
        """With no call in flight, start the list reads that held campaigns need; return whether all lanes are done."""
        if not self.in_flight:
            for lane in self._lanes.held:
                self._look_at(lane, now)
        return self._lanes.is_done

    def _look_at(self, lane: Lane, now: float) -> None:
        """Go on with a lane for which something has changed, and with the lists for which it waits."""
        if lane.held:
            self._reviews.look_at(lane, is_stuck=self._lanes.is_stuck(lane))
        self._lanes.update(lane, now)

    def review_ended(self, lane: Lane) -> None:
        """Go on with a lane whose list was read."""
        self._look_at(lane, self._now())
        self._check_guards()
        self._sleepers.wake_one()

    def _check_guards(self) -> None:
        """End the run when a guard says so, unless nothing is left that could be held back."""
        if not self._draining and not self._lanes.is_done and (fault := self._guards.fault) is not None:
            self.end_early(fault)

    def end_early(self, fault: BaseException) -> None:
        """Drain, and keep the first fault; a cancellation that nobody asked for is one, but none to be raised."""
        self.fault = self.fault or (fault if isinstance(fault, Exception) else BulkstopError(CANCELLED))
        self.drain()

    async def _report_leftover(self) -> None:
        """Report all that is left, also of the accounts after one whose list breaks off only now."""
        self.finish(self._guards.flush())
        self.finish(self._reviews.take_claims())
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                for turn in self._lanes.leftover():
                    self._write_left(turn)
                    if cancelled is None and (room := self._make_room()) is not None:
                        await room
            except asyncio.CancelledError as error:  # then the others are reported all the same, and at once
                cancelled = error
            except Exception as fault:  # noqa: BLE001 - whatever it is, the others come first
                self.end_early(fault)
            else:
                break
        if cancelled is not None:
            raise cancelled

    def _write_left(self, turn: Turn) -> None:
        self._write(make_result(turn, unfinished_attempt(turn.last), self._run_id, None))

    def _write(self, result: Result) -> None:
        try:
            self._report(result)
        except BaseException as fault:
            if result.outcome is not Outcome.NOT_SENT:  # those could be the whole list
                self.unwritten.append(result)
            if not isinstance(fault, Exception | asyncio.CancelledError):
                raise
            self.end_early(fault)  # and go on: also after a slip in a caller's report the other rows get their line
