"""Requests are sent when they are due, whatever became of the earlier ones."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from bulkstop.engine.load.arrivals import Arrivals
from bulkstop.engine.pool import CANCELLED
from bulkstop.engine.results import BROKEN, CUT_OFF
from bulkstop.engine.tasks import TICK_S, Alarm, Calls, NeverBegunError, Tasks
from bulkstop.errors import BulkstopError
from bulkstop.model import Answer, AtOnce, Attempt, Campaign, Cancellable, Outcome, Send, never_at_once

JUST_DUE_S = 0.01
"""Seconds that a request with a free place may be overdue at the end without counting as missed."""


class Sample(NamedTuple):
    """One request: its outcome, and its times in seconds since the run began.

    `held_s` is the part of its lateness spent waiting for a place; the rest was caused by the generator.
    """

    campaign: Campaign
    attempt: Attempt
    intended_s: float
    started_s: float
    ended_s: float
    held_s: float

    @property
    def late_s(self) -> float:
        """The lateness caused by the generator alone."""
        late_s = self.started_s - self.intended_s - self.held_s
        return late_s if late_s > 0 else 0.0


class Turns(NamedTuple):
    """How long and how often a thread ran on a processor since an arbitrary moment."""

    ran_s: float
    waited_s: float
    """Seconds that it was ready to run while others had the processor."""
    turns: int
    """How often it got a processor."""


class Busy:
    """Counts the seconds in which this thread had a processor, or waited for one while others ran."""

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):  # on other systems the wait is not counted
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> float:
        """Return the seconds since an arbitrary moment; takes a microsecond."""
        ran_s, waited_s, _ = self.read_turns()
        return ran_s + waited_s

    def read_turns(self) -> Turns:
        """Return how the thread has had a processor so far."""
        if self._fd < 0:
            return Turns(time.thread_time(), 0.0, 0)
        ran_ns, waited_ns, turns = os.pread(self._fd, 64, 0).split()
        return Turns(int(ran_ns) / 1e9, int(waited_ns) / 1e9, int(turns))

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Request:
    """A request in flight: when it was due, how long it waited for a place, and what cancels it."""

    __slots__ = ("call", "campaign", "due_at", "held_s", "started")

    def __init__(self, campaign: Campaign, due_at: float, held_s: float, started: float) -> None:
        self.campaign, self.due_at, self.held_s, self.started = campaign, due_at, held_s, started
        self.call: Cancellable | None = None


class Generator:
    """Sends one request for each arrival when it is due, at most `max_in_flight` at a time, each once.

    A request without a free place waits for the first one and keeps its due time; `note` is called with each request
    after its response. `full_s` counts the seconds without a free place, `full_busy_s` those of them in which the
    generator itself was working: if that is most of the time, the generator was the bottleneck, not the service. A
    place is free again after the awaitable from `make_room`.

    `now` is a monotonic clock in seconds; the last `tick_s` of a wait are spent polling it.
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
        self._open: set[_Request] = set()
        self._ended = 0
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
        """The number of requests without a response so far."""
        return len(self._open)

    async def run(self, begin_at: float | None = None) -> None:
        """Work until every arrival has its response, or the generator was told to stop.

        The time runs from `begin_at`, by default from now. Raises what ended it early, after all requests in flight are
        noted: a BulkstopError, or an exception of `send` or `note`.
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
        """Return the requests that were due before sending stopped but never sent: when due, and how long they waited.

        Due times are in seconds since the run began; the run must be over.
        """
        if self._over is None:
            return []
        now, began = self._now(), self._began
        due_at = [*self._dropped, *self._arrivals.overdue(min(now, self._drained_at))]
        return [(at - began, now - at) for at in due_at]

    @property
    def elapsed_s(self) -> float:
        """The seconds since the run began; negative before that."""
        return self._now() - self._began

    @property
    def sending_s(self) -> float:
        """The seconds in which requests could be sent: until sending stopped, or the run ended."""
        return max(0.0, min(self._now(), self._drained_at) - self._began)

    def drain(self) -> None:
        """Send nothing more; requests in flight are awaited."""
        if not self._draining:
            self._drained_at = -math.inf if self._over is None else self._find_end(self._now())
        self._draining = True
        self._alarm.clear()
        self._look_at_end()

    def abort(self) -> None:
        """Cancel the requests in flight; each is noted as unknown."""
        self._is_cut_off = True
        self.drain()
        self._tasks.cancel()
        for request in tuple(self._open):
            if request.call is not None:
                request.call.cancel()

    def _find_end(self, now: float) -> float:
        """Return the last moment at which requests could leave: `now`, or just before a request that was just due."""
        due_at = self._arrivals.due_at
        return math.nextafter(due_at, -math.inf) if self._free and now - JUST_DUE_S < due_at <= now else now

    def _go_on(self) -> None:
        """Send what is due while there are places, and set the alarm for the next."""
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
        """Send the next request; if it was due while all places were taken, it has been held since."""
        due_at, since = self._arrivals.take(now), self._full_since
        if due_at > since:  # not max(), because this runs once per request
            since = due_at
        held_s = now - since if now > since else 0.0
        if self._arrivals.due_at == math.inf:
            self._mark_free(now)  # no request is left that needs a place
        request = _Request(next(self._campaigns), due_at, held_s, now)
        self._open.add(request)
        if len(self._open) > self.most_in_flight:
            self.most_in_flight = len(self._open)
        try:
            request.call = self._calls.begin(request.campaign, partial(self._told, request))
        except Exception as fault:  # noqa: BLE001 - any fault; requests in flight are noted first
            self._told(request, fault)

    def _told(self, request: _Request, answer: Answer) -> None:
        """Note the outcome of a request; its place is free again at the end of this round of the event loop."""
        ended = self._now()
        if isinstance(answer, Attempt):
            attempt: Attempt | None = answer
        elif isinstance(answer, BaseException):
            attempt = self._read_fault(answer)
        else:
            self._calls.finish(answer, partial(self._told, request))
            return
        self._open.discard(request)
        due_at, began = request.due_at, self._began
        try:
            if attempt is None:
                self._dropped.append(due_at)
            else:
                started_s, ended_s = request.started - began, ended - began
                self._note(Sample(request.campaign, attempt, due_at - began, started_s, ended_s, request.held_s))
        except Exception as fault:  # noqa: BLE001 - as above
            self._end_early(fault)
        self._ended += 1
        if self._ended == 1:  # requests sent together wake the service once: 19 % less work
            asyncio.get_running_loop().call_soon(self._free_places)

    def _free_places(self) -> None:
        """Reuse the places of the requests that ended in a round, once there is room for what was noted."""
        ended, self._ended = self._ended, 0
        try:
            room = None if self._is_cut_off else self._make_room()  # once cut off, nothing could cancel the wait
        except Exception as fault:  # noqa: BLE001 - as above
            room = None
            self._end_early(fault)
        if room is None:
            self._free += ended
            self._go_on()
        else:
            self._tasks.start(room, partial(self._note_room, ended))

    def _read_fault(self, error: BaseException) -> Attempt | None:
        """Return what is known of a request that raised; None if it was not sent."""
        if isinstance(error, Exception):
            self._end_early(error)
        elif not self._draining:  # a cancellation from outside
            self._end_early(BulkstopError(CANCELLED))
        if isinstance(error, BulkstopError | NeverBegunError):
            return None
        return Attempt(Outcome.UNKNOWN, error=BROKEN if isinstance(error, Exception) else CUT_OFF)

    def _note_room(self, places: int, came: BaseException | None) -> None:
        self._free += places
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
