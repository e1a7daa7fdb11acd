"""Requests leave when they are due, whatever became of those before."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import repeat
from typing import NamedTuple

from bulkstop.engine.load.arrivals import Arrivals
from bulkstop.engine.pool import CANCELLED
from bulkstop.engine.results import BROKEN, CUT_OFF
from bulkstop.engine.tasks import run_concurrently
from bulkstop.errors import BulkstopError
from bulkstop.model import Attempt, Campaign, Outcome, Send

TICK_S = 0.001
"""As in the pool: event loops count in whole milliseconds; the last one before a request is spent asking the clock."""

_Turn = tuple[float, float]
"""An arrival on its way: when it was due, and how long it waited for a place."""


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


class Busy:
    """Counts the seconds in which this thread had a processor, or would have used one: it waited while others ran."""

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):  # without it the waiting is not counted
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> float:
        """Return them since some moment in the past; costs a microsecond."""
        if self._fd < 0:
            return time.thread_time()
        ran_ns, waited_ns, _ = os.pread(self._fd, 64, 0).split()
        return (int(ran_ns) + int(waited_ns)) / 1e9

    def close(self) -> None:
        """Free the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Generator:
    """Sends one request for each arrival when it is due, at most `max_in_flight` at a time, each once.

    One that finds all places taken waits for the first that is free and keeps its time; `note` is told of each request
    after its answer. `full_s` counts the seconds in which no place was free, `full_busy_s` those of them in which the
    generator itself was at work: if that is nearly all the time, the places were not free because of it, and not
    because of the service. A place is free again after what `make_room` returns. Whoever is without an arrival sleeps;
    one timer wakes as many as there are arrivals due.

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
        make_room: Callable[[], Awaitable[None] | None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
        busy: Callable[[], float] = time.thread_time,
    ) -> None:
        self.in_flight = self.most_in_flight = 0
        self.full_s = self.full_busy_s = 0.0
        self.fault: Exception | None = None
        self._arrivals = arrivals
        self._campaigns = campaigns
        self._send = send
        self._note = note
        self._places = max_in_flight
        self._make_room = make_room
        self._now = now
        self._tick_s = tick_s
        self._busy = busy
        self._began: float | None = None
        self._begin_at: float | None = None
        self._draining = False
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[_Turn | None]] = []
        self._timer: asyncio.Handle | None = None
        self._full_since = math.inf
        self._busy_since = 0.0
        self._drained_at = math.inf
        self._dropped: list[float] = []

    async def run(self, begin_at: float | None = None) -> None:
        """Work until every arrival has had its answer, or the generator was told to stop.

        The time runs from `begin_at` on, if that is given, else from when all is ready.
        Raises what ended it early, after all in flight is noted: a BulkstopError, or whatever `send` or `note` raised.
        """
        self._begin_at = begin_at
        try:
            await run_concurrently(repeat(self._work, self._places), self._places)
        finally:
            self._disarm()
            self._mark_free(self._now())
        if self.fault is not None:
            raise self.fault

    def list_unsent(self) -> list[tuple[float, float]]:
        """Return what was due before nothing more could leave, and never left: when, and how long it has waited by now.

        The time that something was due is in seconds since the run began, which is over.
        """
        if self._began is None:
            return []
        now, began = self._now(), self._began
        due_at = [*self._dropped, *self._arrivals.overdue(min(now, self._drained_at))]
        return [(at - began, now - at) for at in due_at]

    @property
    def elapsed_s(self) -> float:
        """How long ago the run began; below zero if it has not."""
        return -math.inf if self._began is None else self._now() - self._began

    @property
    def sending_s(self) -> float:
        """For how long requests could leave: until nothing more could, or the run was over."""
        return 0.0 if self._began is None else max(0.0, min(self._now(), self._drained_at) - self._began)

    def drain(self) -> None:
        """Let nothing more leave; what is in flight is waited for."""
        if self._began is not None and not self._draining:
            self._drained_at = self._now()
        self._draining = True
        self._disarm()
        self._release()

    def abort(self) -> None:
        """Cut off what is in flight; each such request is noted as unknown."""
        self.drain()
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None, "run_concurrently makes tasks"  # noqa: S101 - a slip
        self._workers.add(worker)
        try:
            while (turn := self._take_due() or await self._wait()) is not None:
                if self._draining:
                    self._dropped.append(turn[0])
                    break
                await self._request(turn)
                if (room := self._make_room()) is not None:
                    await room
        except asyncio.CancelledError:
            if not self._draining:  # so nobody asked for it, and its place would be lost
                self._end_early(BulkstopError(CANCELLED))
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, what is in flight is noted first
            self._end_early(fault)
        finally:
            self._workers.discard(worker)

    @property
    def _is_over(self) -> bool:
        return self._draining or (self._began is not None and self._arrivals.due_at == math.inf)

    def _take_due(self) -> _Turn | None:
        """Take an arrival that is due, without sleeping."""
        if self._began is None or self._draining or self._arrivals.due_at > (now := self._now()):
            return None
        return self._take(now)

    async def _wait(self) -> _Turn | None:
        """Sleep until an arrival is handed over; None when none is left."""
        if self._is_over:
            return None
        self._mark_free(self._now())
        place: asyncio.Future[_Turn | None] = asyncio.get_running_loop().create_future()
        self._idle.append(place)
        if self._began is None and len(self._idle) == self._places:
            self._begin()
        elif self._began is not None and self._timer is None:
            self._arm()
        return await place

    def _begin(self) -> None:
        """Let the time run now that everybody is there: to make a thousand workers takes some of it."""
        self._began = self._now() if self._begin_at is None else self._begin_at
        self._arrivals.begin(self._began)
        self._arm()

    def _tick(self) -> None:
        """Hand what is due to whoever sleeps."""
        self._timer = None
        now = self._now()
        while self._idle and self._arrivals.due_at <= now:
            place = self._idle.pop()
            if not place.done():
                place.set_result(self._take(now))
        if self._idle:
            self._arm()
        elif self._arrivals.due_at < math.inf:
            self._mark_full(now)

    def _take(self, now: float) -> _Turn:
        """Take the next arrival; if it was due while all places were taken, it was held since then."""
        due_at = self._arrivals.take(now)
        since = self._full_since
        if due_at > since:  # and no max(): this is done for each request
            since = due_at
        held_s = now - since if now > since else 0.0
        if self._arrivals.due_at == math.inf:
            self._mark_free(now)  # nothing is left that could want a place
            self._release()
        return due_at, held_s

    def _arm(self) -> None:
        if self._arrivals.due_at == math.inf:
            self._release()
            return
        loop = asyncio.get_running_loop()
        ahead_s = self._arrivals.due_at - self._now() - self._tick_s
        self._timer = loop.call_later(ahead_s, self._tick) if ahead_s > 0 else loop.call_soon(self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self) -> None:
        """Send everybody home who sleeps."""
        while self._idle:
            place = self._idle.pop()
            if not place.done():
                place.set_result(None)

    def _mark_full(self, now: float) -> None:
        if self._full_since == math.inf:
            self._full_since, self._busy_since = now, self._busy()

    def _mark_free(self, now: float) -> None:
        if self._full_since < math.inf:
            self.full_s += now - self._full_since
            self.full_busy_s += self._busy() - self._busy_since
            self._full_since = math.inf

    async def _request(self, turn: _Turn) -> None:
        campaign = next(self._campaigns)
        self.in_flight += 1
        if self.in_flight > self.most_in_flight:
            self.most_in_flight = self.in_flight
        started = self._now()
        try:
            attempt = await self._send(campaign)
        except BulkstopError:
            raise  # nothing was sent
        except BaseException as error:
            why = BROKEN if isinstance(error, Exception) else CUT_OFF
            self._note_sample(turn, campaign, Attempt(Outcome.UNKNOWN, error=why), started)
            raise
        else:
            self._note_sample(turn, campaign, attempt, started)
        finally:
            self.in_flight -= 1

    def _note_sample(self, turn: _Turn, campaign: Campaign, attempt: Attempt, started: float) -> None:
        ended, began = self._now(), self._began or 0.0
        due_at, held_s = turn
        self._note(Sample(campaign, attempt, due_at - began, started - began, ended - began, held_s))

    def _end_early(self, fault: Exception) -> None:
        self.fault = self.fault or fault
        self.drain()
