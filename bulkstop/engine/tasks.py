"""Started calls, concurrent tasks, an alarm for the next work; the only module that creates tasks."""

import asyncio
import importlib
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from bulkstop.model import AtOnce, Attempt, Campaign, Cancellable, Done, Send

T = TypeVar("T")

TICK_S = 0.001
"""Event loops count in whole milliseconds; the last one is spent polling, so that a call is sent on time and not up to
a millisecond later: at 500 calls/s that would be half an interval."""
Started = asyncio.Task[None]
CLOCK_AGAIN_S = 1.0
"""The longest sleep between two looks at the clock, because an event loop's timers stop while the machine sleeps."""


class NeverBegunError(asyncio.CancelledError):
    """Passed on when a task was cancelled before its first step."""


class Tasks:
    """Tasks that can be awaited and cancelled together."""

    def __init__(self) -> None:
        self._running: set[Started] = set()
        self._unbegun: dict[Awaitable[Any], Callable[[BaseException], object]] = {}

    def start(self, work: Awaitable[T], ended: Callable[[T | BaseException], object] = lambda came: None) -> Started:
        """Start a task; `ended` is called once with its result or exception, even if it never began."""
        self._unbegun[work] = ended
        task = asyncio.get_running_loop().create_task(self._run(work, ended))
        self._running.add(task)
        task.add_done_callback(partial(self._note_end, work))
        return task

    def cancel(self) -> None:
        """Cancel all running tasks."""
        for task in tuple(self._running):
            task.cancel()

    async def finish(self) -> None:
        """Wait for all tasks; if this task is cancelled meanwhile, cancel them and still wait."""
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
                work.close()  # otherwise Python would warn that it was never awaited
            ended(NeverBegunError())
        elif not task.cancelled():
            task.exception()  # `ended` has received it


class Calls:
    """Starts calls, at once if nothing must be awaited first, else each in a task of its own.

    `done` is called once for each call, even for a cancelled one, and never before `begin` returns.
    """

    def __init__(self, send: Send, at_once: AtOnce, tasks: Tasks) -> None:
        self._send = send
        self._at_once = at_once
        self._tasks = tasks

    def begin(self, campaign: Campaign, done: Done, send: Send | None = None) -> Cancellable | None:
        """Start a call, with `send` if given; return its handle unless it runs as a task."""
        if send is None and (call := self._at_once(campaign, done)) is not None:
            return call
        self._tasks.start((send or self._send)(campaign), done)
        return None

    def finish(self, rest: Awaitable[Attempt], done: Done) -> None:
        """Await what follows the response to a call; the call was sent, even if this is cancelled before it begins."""

        def ended(came: Attempt | BaseException) -> None:
            done(asyncio.CancelledError() if isinstance(came, NeverBegunError) else came)

        self._tasks.start(rest, ended)


class Alarm:
    """Calls `ring` once a clock has reached a time.

    `now` is a monotonic clock in seconds, which may include the time while the machine sleeps; so it is polled every
    CLOCK_AGAIN_S, and throughout the last `tick_s` of a wait.
    """

    def __init__(self, ring: Callable[[], object], now: Callable[[], float], tick_s: float) -> None:
        self._ring = ring
        self._now = now
        self._tick_s = tick_s
        self._timer: asyncio.Handle | None = None
        self._at = math.inf

    def set(self, when: float) -> None:
        """Ring at `when` and at no other time; inf means never."""
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
    """Lets a task sleep until a time, or until it is woken."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._alarm = Alarm(self.wake, now, 0.0)
        self._asleep: asyncio.Future[None] | None = None

    async def sleep_until(self, when: float) -> None:
        """Sleep until the clock reaches `when`, or until `wake` is called."""
        self._asleep = asyncio.get_running_loop().create_future()
        self._alarm.set(when)
        try:
            await self._asleep
        finally:
            self._alarm.clear()

    def wake(self) -> None:
        """Wake the task if it sleeps."""
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)


def start_task(work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
    """Start a task that the caller awaits."""
    return asyncio.get_running_loop().create_task(work)


async def import_beside(name: str) -> None:
    """Import a module in a thread, so that the event loop goes on meanwhile; raises ImportError.

    aiohttp takes 0.1 s, and on a busy machine 0.25 s.
    """
    if name not in sys.modules:
        await asyncio.to_thread(importlib.import_module, name)


async def run_concurrently(jobs: Iterable[Callable[[], Awaitable[None]]], concurrency: int) -> None:
    """Run jobs, at most `concurrency` at a time; an exception of one ends the others and is raised."""
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
