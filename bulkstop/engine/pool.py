"""The pool sends calls while there are places; lines of one loop turn are written before their places are reused."""

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
"""After this many lines of a closed group, campaigns with a response get theirs first."""
CANCELLED = "the quota store or the report was cancelled from within; nothing more is sent"


class Pool:
    """Sends every campaign of `lanes` and reports each exactly once, however the run ends.

    At most `concurrency` exchanges are open at a time, each in its own place. A campaign that waits for quota, for a
    retry or for the call that follows its stop holds no place and no connection. One that is cut off between two
    attempts keeps the outcome of the last, but without a `finished_at`: it is not final, and a resumed run sends it
    again. The same holds for the refused campaigns of a group that was closed.

    Campaigns that only a list can decide get no line before `read_list` has read it: those that the service claims are
    not running, and the first refused ones of a group.

    A stopped campaign gets its line after the call that `follow` returns. When all is sent, the lanes from `at_rest`
    are sent, whose campaigns need no stop; each gets its line, however the run ends.

    A place is free again after the awaitable from `finish_reports`, so slow reports slow the run. Campaigns that are
    left at the end are reported as fast as `make_room` permits. `look_at_clock` is called before each call and may
    drain the pool: a timer cannot end the run by the wall clock, because it stops while the machine sleeps.

    `now` is a monotonic clock in seconds; the last `tick_s` of a wait are spent polling it (0 for a clock that does not
    advance while polled).
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
        """The mean response time; 0 before the first response."""
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
        """The number of calls without a response so far."""
        return len(self._in_flight)

    @property
    def is_draining(self) -> bool:
        """Whether the pool sends nothing more, for any reason."""
        return self._draining

    async def run(self) -> None:
        """Work until all is sent or the pool is drained; then report what is left.

        After everything is reported, raises the error that ended the run early, never in an ExceptionGroup: a
        BulkstopError, or an exception of `send`, `report` or a list.
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
        """The lanes that are sent at present."""
        return self._lanes

    def find_list_work(self, lane: Lane) -> ListWork:
        """Return the list calls that a lane will need for campaigns whose response proves nothing."""
        return self._reviews.find_work(lane)

    def drain(self) -> None:
        """Send nothing more; calls in flight are awaited."""
        self._draining = True
        self._reviews.drain()
        self._look_soon()

    def abort(self) -> None:
        """Cancel the calls in flight; each of their campaigns is reported as unknown."""
        self._is_cut_off = True
        self.drain()
        self._tasks.cancel()
        for call in [turn.call for turn in self._in_flight if turn.call is not None]:
            call.cancel()

    def pause(self) -> None:
        """Send nothing until `resume`; calls in flight are awaited."""
        self._is_paused = True
        self._lanes.pause(True)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._is_paused = False
        self._lanes.pause(False)
        self._look_soon()

    def set_rate(self, limits: Sequence[Limit]) -> None:
        """Spread each account's calls evenly under these limits, beside its quota; an empty sequence ends that."""
        self._rate = limits
        self._lanes.set_rate(limits, self._now())
        self._look_soon()

    def look_again(self) -> None:
        """Look for places that other processes have freed in a shared quota."""
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
        """Send calls until all have ended, or until the pool is drained and the last response is back."""
        self._over = asyncio.get_running_loop().create_future()
        try:
            self._go_on()
            await self._over
        except asyncio.CancelledError:
            self.abort()  # a send that survives its cancellation must not be followed by another
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
        """In the next loop turn write the lines of this one, and send again."""
        if self._next_round is None and self._over is not None:
            self._next_round = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._next_round = None
        self._flush()
        self._go_on()

    def _flush(self) -> None:
        """Write the lines of ended campaigns, and only then free their places."""
        lines, self._lines = self._lines, []
        freed, self._freed = self._freed, 0
        if lines:
            self._write_all(lines)
        is_waited_for = self._over is not None and not self._is_cut_off  # nothing could cancel a wait any more
        while freed and is_waited_for and (finishing := self._finish_reports()) is not None:
            freed -= 1
            self._tasks.start(finishing, self._note_room)
        self._taken -= freed

    def _go_on(self) -> None:
        """Send what may be sent now, and set the alarm for the next."""
        try:
            when = math.inf if self._is_over() else self._let_leave()
        except Exception as fault:  # noqa: BLE001 - any fault; every row gets its line first
            self.end_early(fault)
        else:
            self._alarm.set(when)
        is_at_end = self._draining or self._lanes.is_done
        if is_at_end and not self._taken and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _let_leave(self) -> float:
        """Start a call for each free place while lanes permit; return when to ask again."""
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
        """Free a place after the wait that followed its line."""
        self._taken -= 1
        self._note_end(came)

    def _note_end(self, came: object) -> None:
        """Continue after a wait; an unexpected exception from it ends the run."""
        if isinstance(came, BaseException) and not (self._draining and isinstance(came, asyncio.CancelledError)):
            self.end_early(came)
        self._look_soon()

    def _is_over(self) -> bool:
        """Return whether nothing more may be sent."""
        self._look_at_clock()
        return self._draining

    def _skip(self, turn: Turn, why: str, now: float) -> None:
        """Report a turn as not sent because its group is closed."""
        turn.group.skipped += 1
        self._lanes.drop(turn, now)
        self._write(make_result(turn, Attempt(Outcome.NOT_SENT, error=why), self._run_id, None))
        self._look_at(turn.lane, now)

    def _claimed(self, turn: Turn, claim: Claim, came: float | BaseException) -> None:
        """Start a call if the store has a place for it; otherwise put its turn back, also if the account must wait."""
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
        """Return whether a turn may still be sent after the wait for the store."""
        return turn.lane.rest.until <= now and self._guards.lets_leave(turn.sent_at)

    def _begin(self, turn: Turn) -> None:
        """Start one attempt."""
        turn.started_at = turn.started_at or self._wall()
        self._in_flight.add(turn)
        send = None if turn.follow_up is None else turn.follow_up.send
        try:
            turn.call = self._calls.begin(turn.campaign, partial(self._told, turn), send)
        except Exception as fault:  # noqa: BLE001 - any fault; its campaign gets its line
            self._told(turn, fault)

    def _told(self, turn: Turn, answer: Answer) -> None:
        """Settle an attempt by what its call produced, or start a task that awaits the rest."""
        turn.call = None
        try:
            if isinstance(answer, Attempt):
                self._in_flight.discard(turn)
                self._take_in(turn, answer)
            elif isinstance(answer, BaseException):
                self._in_flight.discard(turn)
                self._break_off(turn, answer)
            else:
                self._calls.finish(answer, partial(self._told, turn))
                return
        except Exception as fault:  # noqa: BLE001 - as above
            self.end_early(fault)
        self._freed += 1
        self._look_soon()

    def _take_in(self, turn: Turn, attempt: Attempt) -> None:
        """Settle a response, or queue its campaign for another attempt."""
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
        """Return what follows a response, and extend the account's wait if the response asks for it."""
        is_renewal = turn.tries.asks_for_renewal(attempt) and self._guards.may_renew(turn.campaign)
        if not is_renewal:  # otherwise the refused token would count as the campaign's last response
            turn.last = attempt
        if attempt.again is RetryHint.NEVER and turn.follow_up is None:
            return RetryAt(turn.tries.counted(attempt), now)  # the run ends; a resumed one sends this again
        lane, event = turn.lane, 0
        if is_throttled := attempt.again is RetryHint.THROTTLED:
            event = lane.rest.count_throttled(now, turn.sent_at)
        try:
            step = turn.tries.after(
                attempt, now, self._retry, event=event, is_paced=lane.paces_itself, may_renew=is_renewal
            )
        except Exception as fault:  # noqa: BLE001 - e.g. an import that fails for lack of a file descriptor
            self.end_early(fault)  # so the campaign is left over with this response, which is not final
            return RetryAt(turn.tries.counted(attempt), now)
        if is_throttled and not isinstance(step, RetryAt):
            lane.rest.extend(step.rests_until)
            rest_s = round(step.rests_until - now, 3)
            if event and rest_s > 0:
                self._observe(AccountThrottled(lane.account_id, rest_s, attempt.error, lane.paces_itself))
        return step

    def _break_off(self, turn: Turn, error: BaseException) -> None:
        """Settle a call that raised: not sent after a BulkstopError or before its first step, else unknown."""
        now, has_left = self._now(), not isinstance(error, BulkstopError | NeverBegunError)
        if turn.follow_up is None:
            self._guards.unleft(turn.sent_at)
        turn.lane.answered(turn, now, failed=True, has_left=has_left)
        if isinstance(error, Exception):  # a cancellation from outside affects only this campaign
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
        """End a call after its last response, unless later responses of its group or its list decide."""
        turn.last, turn.answered_at = attempt, self._wall()
        if turn.follow_up is not None:
            self.finish([(turn, True)])
        elif attempt.again is RetryHint.READ_BACK:
            self._reviews.add_claim(turn)
        else:
            self.finish(self._guards.ended(turn, attempt, now))
        self._look_at(turn.lane, now)

    def settle_claim(self, turn: Turn, attempt: Attempt) -> None:
        """Settle a campaign by what its list says; if it runs, try again."""
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
        """Write the lines of decided campaigns, except those with a follow-up call."""
        for turn, has_ended in ended:
            assert turn.last is not None  # noqa: S101 - it has a response
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
        """With no call in flight, read the lists that held campaigns need; return whether all lanes are done."""
        if not self.in_flight:
            for lane in self._lanes.held:
                self._look_at(lane, now)
        return self._lanes.is_done

    def _look_at(self, lane: Lane, now: float) -> None:
        """Update a lane that has changed, and the lists that it waits for."""
        if lane.held:
            self._reviews.look_at(lane, is_stuck=self._lanes.is_stuck(lane))
        self._lanes.update(lane, now)

    def review_ended(self, lane: Lane) -> None:
        """Continue with a lane whose list was read."""
        self._look_at(lane, self._now())
        self._check_guards()
        self._look_soon()

    def _check_guards(self) -> None:
        """End the run if a guard requires it and campaigns are left."""
        if not self._draining and not self._lanes.is_done and (fault := self._guards.fault) is not None:
            self.end_early(fault)

    def end_early(self, fault: BaseException) -> None:
        """Drain and keep the first fault; an unexpected cancellation counts as one, but is not raised itself."""
        self.fault = self.fault or (fault if isinstance(fault, Exception) else BulkstopError(CANCELLED))
        self.drain()

    async def _report_leftover(self) -> None:
        """Report everything that is left, even if the input of one account fails only now."""
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
            except asyncio.CancelledError as error:  # the others are still reported, without pauses
                cancelled = error
            except Exception as fault:  # noqa: BLE001 - any fault; the others are reported first
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
            self.end_early(fault)  # continue: after an error of a caller's report the other rows still get lines
