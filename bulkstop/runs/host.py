"""What a run needs of its process: an event loop, room for open files."""

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
"""The collector's thresholds before the first run that goes on, once for each of these."""
LOOK_AT_CLOCK_S = 1.0
"""How soon to look at the wall clock again: it may be set, and timers stand still while the machine sleeps."""
COLLECT_EVERY = 50_000
"""New objects between two collections; Python's own default is 700."""


def run(job: Coroutine[Any, Any, T], *, fast: bool = True) -> T:
    """Do a job on an event loop of its own, past which goes what is said meanwhile in a process of our own.

    Raises BulkstopError in a thread that runs an event loop already.
    """
    try:
        make_loop = fast_loop() if fast else None
        if is_in_loop():
            raise BulkstopError("this thread runs an event loop, which this would block; await stop_async() instead")
        with (
            few_collections(),
            _files_for_loop(),
            process.beside() if (process := owned()) else nullcontext(),
            asyncio.Runner(loop_factory=make_loop or asyncio.new_event_loop) as runner,  # is not made the thread's own
        ):
            return runner.run(job)
    finally:
        job.close()  # after a Ctrl-C before it began Python would warn of a job that nobody awaited


def run_beside(job: Coroutine[Any, Any, T]) -> T:
    """Do a job on an event loop of a thread of its own, beside whatever else the process does and says."""
    try:
        with _files_for_loop(), asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(job)
    finally:
        job.close()


@contextmanager
def _files_for_loop() -> Iterator[None]:
    """Raise OSError when there are too few files for a loop: one that is half made would complain when it goes."""
    files: list[int] = []
    try:
        while len(files) < LOOP_FILES:
            files.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for file in files:
            os.close(file)
    yield


def is_in_loop() -> bool:
    """Tell whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def few_collections() -> Iterator[None]:
    """Let the garbage collector look rarely: a run leaves hardly any cycles, and looking cost 8 % of a long one.

    It is as it was before once the last of several runs in different threads has ended.
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
    """Return what makes the fast loop; None where there is none."""
    try:
        import uvloop
    except ImportError:
        return None  # not on every platform, and never needed
    return uvloop.new_event_loop


@contextmanager
def every(do: Callable[[], float], first_s: float) -> Iterator[None]:
    """Do something meanwhile: first in so many seconds, then again in as many as it gives each time."""
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
    """Raise TimeoutError out of the block once the wall clock says `ends_at`, in unix seconds."""
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
"""Files that an event loop opens, and the one that standard error goes through."""
RESERVE = 27
"""Files that a run opens besides its connections: the pipes of a token command 7, the quota store 3, to look a name up
3, to import a module 3, what stands beside the result file 2, to hear signals 6, standard error 1; and two to spare."""


OPEN_AT_FIRST = 16
"""How many files are taken to be open where the system does not list them."""


def fit_open_files(concurrency: int) -> int:
    """Return how many of `concurrency` connections can be open at once, at least 1.

    In a process of our own (`own_process`) a low soft limit is raised.
    """
    used = _count_open_files() + RESERVE
    limit = _raise_limit(used + concurrency if owned() else 0)
    return concurrency if limit is None else max(1, min(concurrency, limit - used))


def _count_open_files() -> int:
    try:
        return len(list(Path("/dev/fd").iterdir())) - 1  # one of them is the listing's own
    except OSError:
        return OPEN_AT_FIRST


def _raise_limit(wanted: int) -> int | None:
    """Have the soft limit be `wanted`, as far as the hard one lets it; return what it is then, None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        higher = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems have a lower limit than the one they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
            soft = higher
    return None if soft == resource.RLIM_INFINITY else soft
