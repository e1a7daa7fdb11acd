"""What a run needs of its process: an event loop, a garbage collector that rarely runs, and enough open files."""

import asyncio
import gc
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from bulkstop.engine.ending import owned
from bulkstop.errors import BulkstopError

T = TypeVar("T")

_COLLECTOR = threading.Lock()
_usual: list[tuple[int, int, int]] = []
"""The collector's thresholds before the first current run, once for each current run."""
LOOK_AT_CLOCK_S = 1.0
"""Seconds between two looks at the wall clock, which may be set; timers stop while the machine sleeps."""
COLLECT_EVERY = 50_000
"""New objects between two collections; Python's default is 700."""


def run(job: Coroutine[Any, Any, T], *, fast: bool = True) -> T:
    """Run a job on its own event loop; in a process of our own, standard error is written beside the loop.

    Raises BulkstopError in a thread that already runs an event loop.
    """
    try:
        make_loop = fast_loop() if fast else None
        if is_in_loop():
            raise BulkstopError("this thread runs an event loop, which this would block; await stop_async() instead")
        with (
            few_collections(),
            _files_for_loop(),
            process.beside() if (process := owned()) else nullcontext(),
            asyncio.Runner(loop_factory=make_loop or asyncio.new_event_loop) as runner,  # not the thread's own
        ):
            return runner.run(job)
    finally:
        job.close()  # else Python warns of a job never awaited after an early Ctrl-C


def run_beside(job: Coroutine[Any, Any, T]) -> T:
    """Run a job on an event loop of its own in the current thread, independent of the rest of the process."""
    try:
        with _files_for_loop(), asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(job)
    finally:
        job.close()


@contextmanager
def _files_for_loop() -> Iterator[None]:
    """Raise OSError if too few files can be opened for a loop; a half-made loop would print errors at its end."""
    files: list[int] = []
    try:
        while len(files) < LOOP_FILES:
            files.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for file in files:
            os.close(file)
    yield


def is_in_loop() -> bool:
    """Return whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect garbage rarely in the block: a run leaves hardly any cycles, and collections took 8 % of a long run.

    The thresholds are restored when the last of several runs in different threads has ended.
    """
    with _COLLECTOR:
        _usual.append(_usual[-1] if _usual else gc.get_threshold())
        gc.set_threshold(COLLECT_EVERY, *_usual[0][1:])
    try:
        yield
    finally:
        with _COLLECTOR:
            usual = _usual.pop()
            if not _usual:
                gc.set_threshold(*usual)


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop's event loop; None without uvloop."""
    try:
        import uvloop
    except ImportError:
        return None  # uvloop is optional, and not available on every platform
    return uvloop.new_event_loop


@contextmanager
def every(do: Callable[[], float], first_s: float) -> Iterator[None]:
    """Call a function within the block after `first_s` seconds, then each time after the seconds that it returned."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(first_s, lambda: tick())

    def tick() -> None:
        nonlocal timer
        timer = loop.call_later(do(), tick)

    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def until(ends_at: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the block once the wall clock reaches `ends_at`, in unix seconds."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as block:

        def look() -> float:
            left_s = ends_at - time.time()
            if left_s <= 0 and not block.expired():
                block.reschedule(loop.time())
            return LOOK_AT_CLOCK_S if left_s <= 0 else min(left_s, LOOK_AT_CLOCK_S)

        with every(look, look()):
            yield


LOOP_FILES = 4
"""Files that an event loop and the writer of standard error open."""
RESERVE = 27
"""Files that a run opens besides its connections, and two to spare.

The pipes of a token command 7, the quota store 3, a name lookup 3, an import 3, files beside the results 2, signals 6,
standard error 1.
"""


OPEN_AT_FIRST = 16
"""Assumed number of open files where the system does not list them."""


def fit_open_files(concurrency: int) -> int:
    """Return how many of `concurrency` connections can be open at once, at least 1.

    In a process of our own (`own_process`), a low soft limit is raised.
    """
    used = _count_open_files() + RESERVE
    limit = _raise_limit(used + concurrency if owned() else 0)
    return concurrency if limit is None else max(1, min(concurrency, limit - used))


def _count_open_files() -> int:
    try:
        return len(list(Path("/dev/fd").iterdir())) - 1  # one of them is the listing itself
    except OSError:
        return OPEN_AT_FIRST


def _raise_limit(wanted: int) -> int | None:
    """Raise the soft limit to `wanted`, at most to the hard limit; return the soft limit, None if there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        higher = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems have a lower limit than they report
            resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
            soft = higher
    return None if soft == resource.RLIM_INFINITY else soft
