"""Calls begun, tasks side by side, an alarm for when there is something to do; the only module that makes tasks."""

import asyncio
import importlib
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from bulkstop.model import AtOnce, Campaign, Cancellable, Done, Send

T = TypeVar("T")

TICK_S = 0.001
"""Event loops count in whole milliseconds; the last one is spent asking, so that a call leaves when it may and not up
to a millisecond later: at 500 calls/s that would be half an interval."""
Started = asyncio.Task[None]
CLOCK_AGAIN_S = 1.0
"""The longest sleep before the clock is asked again: an event loop's timers stand still while the machine sleeps."""


class NeverBegunError(asyncio.CancelledError):
    """Came of a task that was cut off before its first step."""


class Tasks:
    """Tasks that somebody waits for in the end, and can cut off."""

    def __init__(self) -> None:
        self._running: set[Started] = set()
        self._unbegun: dict[Awaitable[Any], Callable[[BaseException], object]] = {}

    def start(self, work: Awaitable[T], ended: Callable[[T | BaseException], object] = lambda came: None) -> Started:
        """Start a task; `ended` is told once what came of it, also if it was cut off before its first step."""
        self._unbegun[work] = ended
        task = asyncio.get_running_loop().create_task(self._run(work, ended))
        self._running.add(task)
        task.add_done_callback(partial(self._note_end, work))
        return task

    def cancel(self) -> None:
        """Cut off all that run."""
        for task in tuple(self._running):
            task.cancel()

    async def finish(self) -> None:
        """Wait for all; when this task is cancelled meanwhile they are cut off, and waited for all the same."""
        cancelled: asyncio.CancelledError | None = None
        while self._running:
            try:
                await asyncio.wait(self._running)
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel()
        if cancelled is not None:
            raise cancelled

    async def _run(self, work: Awaitable[T], ended: Callable[[T | BaseException], object]) -> None:
        del self._unbegun[work]
        try:
            came = await work
        except BaseException as error:
            ended(error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            ended(came)

    def _note_end(self, work: Awaitable[object], task: Started) -> None:
        self._running.discard(task)
        if (ended := self._unbegun.pop(work, None)) is not None:
            if isinstance(work, Coroutine):
                work.close()  # else Python would warn that nobody awaited it
            ended(NeverBegunError())
        elif not task.cancelled():
            task.exception()  # it has been told


class Calls:
    """Begins calls, at once where nothing is to be awaited before, else each in a task of its own.

    What becomes of a call is told once, and never before `begin` returns: also of one that is cut off.
    """

    def __init__(self, send: Send, at_once: AtOnce, tasks: Tasks) -> None:
        self._send = send
        self._at_once = at_once
        self._tasks = tasks

    def begin(self, campaign: Campaign, done: Done, send: Send | None = None) -> Cancellable | None:
        """Begin a call, by `send` if that is given; return what cuts it off unless the tasks do."""
        if send is None and (call := self._at_once(campaign, done)) is not None:
            return call
        self._tasks.start((send or self._send)(campaign), done)
        return None


class Alarm:
    """Calls `ring` once a clock has reached a time.

    `now` is a monotonic clock in seconds, which may go on while the machine sleeps; so it is asked every CLOCK_AGAIN_S,
    and the last `tick_s` of a wait is spent asking it.
    """

    def __init__(self, ring: Callable[[], object], now: Callable[[], float], tick_s: float) -> None:
        self._ring = ring
        self._now = now
        self._tick_s = tick_s
        self._timer: asyncio.Handle | None = None
        self._at = math.inf

    def set(self, when: float) -> None:
        """Ring then, and at no other time; inf for never."""
        if when == self._at:
            return
        self.clear()
        self._at = when
        if when < math.inf:
            self._wait()

    def clear(self) -> None:
        """Do not ring."""
        self._at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        loop, ahead_s = asyncio.get_running_loop(), self._at - self._now() - self._tick_s
        if ahead_s > CLOCK_AGAIN_S:
            self._timer = loop.call_later(CLOCK_AGAIN_S, self._wait)
        else:
            self._timer = loop.call_later(ahead_s, self._due) if ahead_s > 0 else loop.call_soon(self._due)

    def _due(self) -> None:
        self.clear()
        self._ring()


class Sleeper:
    """A task that waits for a time, or to be woken."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._alarm = Alarm(self.wake, now, 0.0)
        self._asleep: asyncio.Future[None] | None = None

    async def sleep_until(self, when: float) -> None:
        """Sleep until the clock reaches `when`, or somebody wakes it."""
        self._asleep = asyncio.get_running_loop().create_future()
        self._alarm.set(when)
        try:
            await self._asleep
        finally:
            self._alarm.clear()

    def wake(self) -> None:
        """Wake it if it sleeps."""
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)


def start_task(work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
    """Start a task that whoever starts it waits for."""
    return asyncio.get_running_loop().create_task(work)


async def import_beside(name: str) -> None:
    """Import a module in a thread, so that the event loop goes on meanwhile; raises ImportError.

    aiohttp takes 0.1 s, and on a busy machine 0.25 s.
    """
    if name not in sys.modules:
        await asyncio.to_thread(importlib.import_module, name)


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
