"""The event loop of a run: of its own, the fast one if there is one, and what is done on it now and then."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

COLLECT_EVERY = 50_000
"""New objects between two collections; Python's own default is 700."""


def run(job: Coroutine[Any, Any, T], *, fast: bool = True) -> T:
    """Do a job on an event loop of its own."""
    try:
        with few_collections(), asyncio.Runner(loop_factory=fast_loop() if fast else None) as runner:
            return runner.run(job)
    finally:
        job.close()  # after a Ctrl-C before it began Python would warn of a job that nobody awaited


@contextmanager
def few_collections() -> Iterator[None]:
    """Let the garbage collector look rarely: a run leaves hardly any cycles, and looking cost 8 % of a long one."""
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give what makes the fast loop; None where there is none."""
    try:
        import uvloop
    except ImportError:
        return None  # not on every platform, and never needed
    return uvloop.new_event_loop


@contextmanager
def now_and_then(do: Callable[[], float], first_s: float) -> Iterator[None]:
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
