"""Requests leave when they are due, whatever became of those before."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import NamedTuple

from bulkstop.engine.load.arrivals import Arrivals
from bulkstop.engine.pool import CANCELLED
from bulkstop.engine.results import BROKEN, CUT_OFF
from bulkstop.engine.tasks import TICK_S, Alarm, Calls, NeverBegunError, Tasks
from bulkstop.errors import BulkstopError
from bulkstop.model import Answer, AtOnce, Attempt, Campaign, Cancellable, Outcome, Send, never_at_once

JUST_DUE_S = 0.01
"""What is due for no longer when nothing more may leave is not missed: it would have left in a moment."""


class Sample(NamedTuple):
    """One request: what became of it, and its times in seconds since the run began.

    `held_s` is how much of its lateness was the wait for a place; the rest is the generator's own.
    """

    campaign: Campaign
    attempt: Attempt
    intended_s: float
    started_s: float
    ended_s: float
    held_s: float

    @property
    def late_s(self) -> float:
        """How late it left for no other reason than that the generator was late."""
        late_s = self.started_s - self.intended_s - self.held_s
        return late_s if late_s > 0 else 0.0


class Turns(NamedTuple):
    """How a thread has had a processor since some moment in the past."""

    ran_s: float
    waited_s: float
    """For how long it would have used one, while others ran."""
    turns: int
    """How often it got one."""


class Busy:
    """Counts the seconds in which this thread had a processor, or would have used one: it waited while others ran."""

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):  # without it the waiting is not counted
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> float:
        """Return them since some moment in the past; costs a microsecond."""
        ran_s, waited_s, _ = self.read_turns()
        return ran_s + waited_s

    def read_turns(self) -> Turns:
        """Return how it had a processor."""
        if self._fd < 0:
            return Turns(time.thread_time(), 0.0, 0)
        ran_ns, waited_ns, turns = os.pread(self._fd, 64, 0).split()
        return Turns(int(ran_ns) / 1e9, int(waited_ns) / 1e9, int(turns))

    def close(self) -> None:
        """Free the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Request(NamedTuple):
    """A request that is on its way: when it was due, and how long it waited for a place."""

    campaign: Campaign
    due_at: float
    held_s: float
    started: float


class Generator:
    """Sends one request for each arrival when it is due, at most `max_in_flight` at a time, each once.

    One that finds all places taken waits for the first that is free and keeps its time; `note` is told of each request
    after its answer. `full_s` counts the seconds in which no place was free, `full_busy_s` those of them in which the
    generator itself was at work: if that is nearly all the time, the places were not free because of it, and not
    because of the service. A place is free again after what `make_room` returns.

    `now` is a monotonic clock in seconds; the last `tick_s` of a wait is spent asking it.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        campaigns: Iterator[Campaign],
        send: Send,
        note: Callable[[Sample], None],
        *,
        max_in_flight: int,
        at_once: AtOnce = never_at_once,
        make_room: Callable[[], Awaitable[None] | None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
        busy: Callable[[], float] = time.thread_time,
    ) -> None:
        self.most_in_flight = 0
        self.full_s = self.full_busy_s = 0.0
        self.fault: Exception | None = None
        self._arrivals = arrivals
        self._campaigns = campaigns
        self._note = note
        self._places = self._free = max_in_flight
        self._make_room = make_room
        self._now = now
        self._busy = busy
        self._began = math.inf
        self._draining = False
        self._is_cut_off = False
        self._numbers = count()
        self._open: dict[int, _Request] = {}
        self._cuts: dict[int, Cancellable] = {}
        self._tasks = Tasks()
        self._calls = Calls(send, at_once, self._tasks)
        self._alarm = Alarm(self._go_on, now, tick_s)
        self._over: asyncio.Future[None] | None = None
        self._full_since = math.inf
        self._busy_since = 0.0
        self._drained_at = math.inf
        self._dropped: list[float] = []

    @property
    def in_flight(self) -> int:
        """How many requests have no answer yet."""
        return len(self._open)

    async def run(self, begin_at: float | None = None) -> None:
        """Work until every arrival has had its answer, or the generator was told to stop.

        The time runs from `begin_at` on, if that is given, else from now.
        Raises what ended it early, after all in flight is noted: a BulkstopError, or whatever `send` or `note` raised.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._began = self._now() if begin_at is None else begin_at
        self._arrivals.begin(self._began)
        try:
            self._go_on()
            await self._over
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            await self._tasks.finish()
            self._alarm.clear()
            self._mark_free(self._now())
        if self.fault is not None:
            raise self.fault

    def list_unsent(self) -> list[tuple[float, float]]:
        """Return what was due before nothing more could leave, and never left: when, and how long it has waited by now.

        The time that something was due is in seconds since the run began, which is over.
        """
        if self._over is None:
            return []
        now, began = self._now(), self._began
        due_at = [*self._dropped, *self._arrivals.overdue(min(now, self._drained_at))]
        return [(at - began, now - at) for at in due_at]

    @property
    def elapsed_s(self) -> float:
        """How long ago the run began; below zero if it has not."""
        return self._now() - self._began

    @property
    def sending_s(self) -> float:
        """For how long requests could leave: until nothing more could, or the run was over."""
        return max(0.0, min(self._now(), self._drained_at) - self._began)

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        if not self._draining:
            self._drained_at = -math.inf if self._over is None else self._find_end(self._now())
        self._draining = True
        self._alarm.clear()
        self._look_at_end()

    def abort(self) -> None:
        """Cut off what is in flight; each such request is noted as unknown."""
        self._is_cut_off = True
        self.drain()
        self._tasks.cancel()
        for call in list(self._cuts.values()):
            call.cancel()

    def _find_end(self, now: float) -> float:
        """Return until when requests could leave that may not any more."""
        due_at = self._arrivals.due_at
        return math.nextafter(due_at, -math.inf) if self._free and now - JUST_DUE_S < due_at <= now else now

    def _go_on(self) -> None:
        """Let leave what is due, as far as there are places, and come back when more is."""
        arrivals, now = self._arrivals, self._now()
        while self._free and arrivals.due_at <= now and not self._draining:
            self._free -= 1
            self._begin(now)
            now = self._now()
        if self._draining or arrivals.due_at == math.inf:
            self._look_at_end()
        elif self._free:
            self._mark_free(now)
            self._alarm.set(arrivals.due_at)
        elif self._full_since == math.inf:
            self._full_since, self._busy_since = now, self._busy()

    def _begin(self, now: float) -> None:
        """Send the next request; if it was due while all places were taken, it was held since then."""
        due_at, since, number = self._arrivals.take(now), self._full_since, next(self._numbers)
        if due_at > since:  # and no max(): this is done for each request
            since = due_at
        held_s = now - since if now > since else 0.0
        if self._arrivals.due_at == math.inf:
            self._mark_free(now)  # nothing is left that could want a place
        campaign = next(self._campaigns)
        self._open[number] = _Request(campaign, due_at, held_s, now)
        if len(self._open) > self.most_in_flight:
            self.most_in_flight = len(self._open)
        try:
            call = self._calls.begin(campaign, partial(self._told, number))
        except Exception as fault:  # noqa: BLE001 - whatever it is, what is in flight is noted first
            self._told(number, fault)
        else:
            if call is not None:
                self._cuts[number] = call

    def _told(self, number: int, answer: Answer) -> None:
        """Note what became of a request, and let its place send the next."""
        ended = self._now()
        if isinstance(answer, Attempt):
            attempt: Attempt | None = answer
        elif isinstance(answer, BaseException):
            attempt = self._read_fault(answer)
        else:
            self._tasks.start(answer, partial(self._told, number))
            return
        self._cuts.pop(number, None)
        campaign, due_at, held_s, started = self._open.pop(number)
        began = self._began
        try:
            if attempt is None:
                self._dropped.append(due_at)
            else:
                self._note(Sample(campaign, attempt, due_at - began, started - began, ended - began, held_s))
            room = None if self._is_cut_off else self._make_room()  # nothing is left that would cut a wait off
        except Exception as fault:  # noqa: BLE001 - as above
            room = None
            self._end_early(fault)
        if room is None:
            self._free += 1
            self._go_on()
        else:
            self._tasks.start(room, self._note_room)

    def _read_fault(self, error: BaseException) -> Attempt | None:
        """Return what is known of a request out of which something else than an answer came; None if none left."""
        if isinstance(error, Exception):
            self._end_early(error)
        elif not self._draining:  # a cancellation that nobody asked for
            self._end_early(BulkstopError(CANCELLED))
        if isinstance(error, BulkstopError | NeverBegunError):
            return None
        return Attempt(Outcome.UNKNOWN, error=BROKEN if isinstance(error, Exception) else CUT_OFF)

    def _note_room(self, came: BaseException | None) -> None:
        self._free += 1
        if isinstance(came, BaseException):
            self._read_fault(came)
        self._go_on()

    def _look_at_end(self) -> None:
        is_at_end = self._free == self._places and (self._draining or self._arrivals.due_at == math.inf)
        if is_at_end and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _mark_free(self, now: float) -> None:
        if self._full_since < math.inf:
            self.full_s += now - self._full_since
            self.full_busy_s += self._busy() - self._busy_since
            self._full_since = math.inf

    def _end_early(self, fault: Exception) -> None:
        self.fault = self.fault or fault
        self.drain()
