"""Tasks side by side, and their sleep until there is something to do; the only module that makes tasks."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")

TICK_S = 0.001
"""Event loops count in whole milliseconds; the last one is spent asking, so that a call leaves when it may and not up
to a millisecond later: at 500 calls/s that would be half an interval."""
CLOCK_AGAIN_S = 1.0
"""The longest sleep before the clock is asked again: an event loop's timers stand still while the machine sleeps."""


class Tasks:
    """The tasks of one `async with` block, which ends with the last of them; what one raises ends the others."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Tasks":
        """Let tasks be started."""
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Wait for all of them."""
        group, self._group = self._group, None
        assert group is not None  # noqa: S101 - it was entered
        await group.__aexit__(*raised)  # type: ignore[arg-type]

    def start(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Start a task."""
        assert self._group is not None, "start tasks inside the block"  # noqa: S101 - a slip
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """Cut off all that run."""
        for task in tuple(self._running):
            task.cancel()


class Sleepers:
    """Tasks that wait for a time, or for something to change; of many one wakes, and wakes the next if there is more.

    `now` is a monotonic clock in seconds, which may go on while the machine sleeps; so it is asked every CLOCK_AGAIN_S,
    and the last `tick_s` of a wait is spent asking it.
    """

    def __init__(self, now: Callable[[], float], tick_s: float) -> None:
        self._now = now
        self._tick_s = tick_s
        self._asleep: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = math.inf

    async def sleep_until(self, when: float) -> None:
        """Sleep until the clock reaches `when`, or another wakes this one."""
        if when < self._alarm_at:
            self._set_alarm(when)
        sleeper = asyncio.get_running_loop().create_future()
        self._asleep.append(sleeper)
        await sleeper

    def wake_one(self) -> None:
        """Wake whoever sleeps longest."""
        while self._asleep:
            sleeper = self._asleep.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    def wake_all(self) -> None:
        """Wake everybody."""
        self._clear_alarm()
        while self._asleep:
            self.wake_one()

    def _set_alarm(self, when: float) -> None:
        self._clear_alarm()
        self._alarm_at = when
        loop, ahead_s = asyncio.get_running_loop(), when - self._now() - self._tick_s
        if ahead_s > CLOCK_AGAIN_S:
            self._alarm = loop.call_later(CLOCK_AGAIN_S, self._set_alarm, when)
        else:
            self._alarm = loop.call_later(ahead_s, self._ring) if ahead_s > 0 else loop.call_soon(self._ring)

    def _clear_alarm(self) -> None:
        self._alarm_at = math.inf
        if self._alarm is not None:
            self._alarm.cancel()

    def _ring(self) -> None:
        self._alarm_at = math.inf
        self.wake_one()


def start_task(work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
    """Start a task that whoever starts it waits for."""
    return asyncio.get_running_loop().create_task(work)


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
