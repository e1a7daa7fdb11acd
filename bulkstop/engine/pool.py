"""Calls leave while there are places; what ended in one round of the loop is written before its places send again."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from bulkstop.engine.followup import Follow, FollowUp, follow_nothing
from bulkstop.engine.lanes import Claim, Lane, Lanes, Turn
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.pacing.overload import read_unavailable
from bulkstop.engine.readback import Ended, ListWork, ReadList, Reviews
from bulkstop.engine.results import broken_off_attempt, make_result, unfinished_attempt
from bulkstop.engine.retry import Rest, Retry, RetryAt, Settle
from bulkstop.engine.tasks import TICK_S, Alarm, Calls, NeverBegunError, Tasks
from bulkstop.errors import BulkstopError
from bulkstop.events import AccountThrottled, Observe, PaceLearnt, ignore
from bulkstop.model import (
    DONE,
    Answer,
    AtOnce,
    Attempt,
    Limit,
    Outcome,
    Report,
    Result,
    RetryHint,
    Send,
    never_at_once,
)

SKIPPED_AT_ONCE = 16
"""Lines of a closed group after which those come first that have an answer."""
CANCELLED = "the quota store or the report was cancelled from within; nothing more is sent"


class Pool:
    """Sends every campaign of `lanes` and reports each one exactly once, whatever ends the run.

    At most `concurrency` exchanges are open at a time, each of which has a place. A campaign that waits, for quota, for
    another try or for the call that follows its stop, holds neither a place nor a connection. One that is cut off
    between two tries keeps what its last try told, but its result has no `finished_at`: it is not final, and a resumed
    run takes it up again.
    The same holds for what was refused by a group that was then closed.

    What only a list can decide has no line before that was read by `read_list`: a campaign of which the service claims
    that it does not run, and the first refused campaigns of a group.

    A campaign that is stopped has its line once the call that `follow` names has come to its end. When all is sent the
    lanes `at_rest` are, whose campaigns need no stop; each of them gets its line, whatever ends the run.

    A place is free again after what `finish_reports` returns, so reports that take their time pace the run.
    What is left in the end is reported as fast as `make_room` lets it.
    `look_at_clock` is called before calls leave and may drain the pool: whoever ends it by the wall clock cannot leave
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
        at_once: AtOnce = never_at_once,
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
        self.calls = 0
        self.latency_s = 0.0
        """The mean time until an answer comes; 0 before the first."""
        self.unwritten: list[Result] = []
        self.fault: Exception | None = None
        self._lanes = lanes
        self._guards = lanes.guards
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
        self._is_cut_off = False
        self._is_paused = False
        self._rate: Sequence[Limit] = ()
        self._in_flight: set[Turn] = set()
        self._taken = self._freed = 0
        self._lines: list[Result] = []
        self._over: asyncio.Future[None] | None = None
        self._next_round: asyncio.Handle | None = None
        self._tasks = Tasks()
        self._calls = Calls(send, at_once, self._tasks)
        self._alarm = Alarm(self._go_on, now, tick_s)
        self._reviews = Reviews(read_list, self._guards, self._tasks, self, now)

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return len(self._in_flight)

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
        self._look_soon()

    def abort(self) -> None:
        """Cut off what is in flight; each of those campaigns is reported as unknown."""
        self._is_cut_off = True
        self.drain()
        self._tasks.cancel()
        for call in [turn.call for turn in self._in_flight if turn.call is not None]:
            call.cancel()

    def pause(self) -> None:
        """Let nothing leave until `resume`; what is in flight is waited for."""
        self._is_paused = True
        self._lanes.pause(True)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        self._lanes.pause(False)
        self._look_soon()

    def set_rate(self, limits: Sequence[Limit]) -> None:
        """Let each account make at most so many calls, evenly spread, beside its quota; no limits end that."""
        self._rate = limits
        self._lanes.set_rate(limits, self._now())
        self._look_soon()

    def look_again(self) -> None:
        """Look whether somebody else has freed a place in a quota that is shared."""
        self._lanes.look_again(self._now())
        self._look_soon()

    async def _send_all(self) -> None:
        try:
            if not self._lanes.is_done:
                await self._work()
            if not self._draining:
                self.fault = self._guards.closed_fault or self.fault
        finally:
            await self._report_leftover()

    async def _work(self) -> None:
        """Let calls leave until all have ended, or nothing more may leave and the last is back."""
        self._over = asyncio.get_running_loop().create_future()
        try:
            self._go_on()
            await self._over
        except asyncio.CancelledError:
            self.abort()  # and a send that outlives its cancellation is not followed by another
            raise
        finally:
            try:
                await self._tasks.finish()
            finally:
                self._over = None
                self._alarm.clear()
                if self._next_round is not None:
                    self._next_round.cancel()
                    self._next_round = None
                self._flush()

    def _look_soon(self) -> None:
        """Write what has ended in this round of the loop, and go on, in the next one."""
        if self._next_round is None and self._over is not None:
            self._next_round = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._next_round = None
        self._flush()
        self._go_on()

    def _flush(self) -> None:
        """Write the lines of what has ended, and only then free its places."""
        lines, self._lines = self._lines, []
        freed, self._freed = self._freed, 0
        if lines:
            self._write_all(lines)
        is_waited_for = self._over is not None and not self._is_cut_off  # nothing is left that would cut a wait off
        while freed and is_waited_for and (finishing := self._finish_reports()) is not None:
            freed -= 1
            self._tasks.start(finishing, self._note_room)
        self._taken -= freed

    def _go_on(self) -> None:
        """Let leave what may leave now, and come back when more may."""
        try:
            when = math.inf if self._is_over() else self._let_leave()
        except Exception as fault:  # noqa: BLE001 - whatever it is, every row gets its line first
            self.end_early(fault)
        else:
            self._alarm.set(when)
        is_at_end = self._draining or self._lanes.is_done
        if is_at_end and not self._taken and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _let_leave(self) -> float:
        """Begin a call for each place that is free, as far as they may leave; return when to ask for more."""
        now = self._now()
        while self._taken < self._concurrency and not self._draining:
            drawn = self._lanes.draw(now)
            if isinstance(drawn, Turn):
                if drawn.group.closed is not None and drawn.last is None:
                    self._skip(drawn, drawn.group.closed, now)
                    if len(self._lines) >= SKIPPED_AT_ONCE:
                        break
                    continue
                self._taken += 1
                if (claim := drawn.lane.claim) is None or claim.take_now():
                    self._begin(drawn)
                else:
                    self._tasks.start(claim.take(drawn.lane.count_wanted(now)), partial(self._claimed, drawn, claim))
            elif drawn is None:
                break
            elif drawn < math.inf or not self._decides_held(now):
                return drawn
        return math.inf

    def _note_room(self, came: BaseException | None) -> None:
        """Free a place, as what followed its line has ended."""
        self._taken -= 1
        self._note_end(came)

    def _note_end(self, came: object) -> None:
        """Go on after a wait, or end the run for what came out of it, unless that was asked for."""
        if isinstance(came, BaseException) and not (self._draining and isinstance(came, asyncio.CancelledError)):
            self.end_early(came)
        self._look_soon()

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

    def _claimed(self, turn: Turn, claim: Claim, came: float | BaseException) -> None:
        """Begin a call if the store has a place for it; else its turn goes back, as when the account rests."""
        wait_s, now = math.inf if isinstance(came, BaseException) else came, self._now()
        turn.lane.recall(self._wall())
        if wait_s <= 0 and not self._is_over() and self._may_leave(turn, now):
            self._begin(turn)
        else:
            if wait_s <= 0:
                claim.give_back()
            self._lanes.put_back(turn, now, now + wait_s if wait_s < math.inf else now)
            self._taken -= 1
        self._note_end(came)

    def _may_leave(self, turn: Turn, now: float) -> bool:
        """Tell whether nothing has come in the way of a turn while the store was asked for its place."""
        return turn.lane.rest.until <= now and self._guards.lets_leave(turn.sent_at)

    def _begin(self, turn: Turn) -> None:
        """Make one try of a call."""
        turn.started_at = turn.started_at or self._wall()
        self._in_flight.add(turn)
        send = None if turn.follow_up is None else turn.follow_up.send
        try:
            turn.call = self._calls.begin(turn.campaign, partial(self._told, turn), send)
        except Exception as fault:  # noqa: BLE001 - whatever it is, its campaign gets its line
            self._told(turn, fault)

    def _told(self, turn: Turn, answer: Answer) -> None:
        """Settle a try by what became of it, or let its call wait for the next."""
        turn.call = None
        try:
            if isinstance(answer, Attempt):
                self._in_flight.discard(turn)
                self._take_in(turn, answer)
            elif isinstance(answer, BaseException):
                self._in_flight.discard(turn)
                self._break_off(turn, answer)
            else:
                self._tasks.start(answer, partial(self._told, turn))
                return
        except Exception as fault:  # noqa: BLE001 - as above
            self.end_early(fault)
        self._freed += 1
        self._look_soon()

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
        """Settle a call that raised: as not sent for a BulkstopError or where it was not begun, else as unknown."""
        now, has_left = self._now(), not isinstance(error, BulkstopError | NeverBegunError)
        if turn.follow_up is None:
            self._guards.unleft(turn.sent_at)
        turn.lane.answered(turn, now, failed=True, has_left=has_left)
        if isinstance(error, Exception):  # a cancellation that nobody asked for costs its campaign's line alone
            self.end_early(error)
        if not has_left:
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
        self._look_soon()

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
        self._flush()
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                for turn in self._lanes.leftover():
                    self._write_left(turn)
                    self._flush()
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
        self._lines.append(result)
        self._look_soon()

    def _write_all(self, results: Sequence[Result]) -> None:
        try:
            self._report(results)
        except BaseException as fault:
            self.unwritten += [each for each in results if each.outcome is not Outcome.NOT_SENT]  # those could be all
            if not isinstance(fault, Exception | asyncio.CancelledError):
                raise
            self.end_early(fault)  # and go on: also after a slip in a caller's report the other rows get their line
