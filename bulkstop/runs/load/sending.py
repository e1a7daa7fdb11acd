"""Sends requests when they are due, until all have responses or the time is over."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bulkstop.engine.load.arrivals import Arrivals
from bulkstop.engine.load.generator import Busy, Generator, Turns
from bulkstop.engine.tasks import TICK_S
from bulkstop.errors import BulkstopError
from bulkstop.model import AtOnce, Campaign, Endable, Send, never_at_once
from bulkstop.runs.host import every
from bulkstop.runs.load.recorder import Recorder

PROBE_S = 0.02
"""Seconds between two measurements of the event loop's lag, which cost a ten-thousandth of a core."""


async def generate_load(
    arrivals: Arrivals,
    campaigns: Iterator[Campaign],
    send: Send,
    recorder: Recorder,
    attach: Callable[[Endable], None],
    *,
    max_in_flight: int,
    length_s: float | None,
    begin_at: float | None = None,
    at_once: AtOnce = never_at_once,
) -> BulkstopError | None:
    """Send a request for each arrival of the next `length_s` seconds; return the error that ended this early.

    `attach` gets the object that can end it.
    """
    busy = Busy()
    generator = Generator(
        arrivals,
        campaigns,
        send,
        recorder.note,
        max_in_flight=max_in_flight,
        at_once=at_once,
        make_room=recorder.make_room,
        busy=busy,
    )
    attach(_Sending(generator, recorder))
    try:
        with _until(length_s, generator, begin_at), _probing(generator, recorder, busy):
            await generator.run(begin_at)
        await recorder.flush()
    except BulkstopError as fault:
        return fault
    finally:
        busy.close()
        recorder.finish(generator)
    return None


class _Sending:
    """A generator and the recorder of its requests, which are ended together."""

    def __init__(self, generator: Generator, recorder: Recorder) -> None:
        self._generator = generator
        self._recorder = recorder

    @property
    def in_flight(self) -> int:
        """The requests without a response."""
        return self._generator.in_flight

    def drain(self) -> None:
        """Send no more requests."""
        self._generator.drain()

    def abort(self) -> None:
        """Abort the requests in flight, and wait for no slow reader."""
        self._generator.abort()
        self._recorder.hurry()


@contextmanager
def _probing(generator: Generator, recorder: Recorder, busy: Busy) -> Iterator[None]:
    """Measure the event loop's lag every PROBE_S; responses that have arrived are read as late as that."""
    looked_at, turns = time.monotonic(), busy.read_turns()

    def probe() -> float:
        nonlocal looked_at, turns
        passed_s, before, turns = time.monotonic() - looked_at, turns, busy.read_turns()
        since = Turns(turns.ran_s - before.ran_s, turns.waited_s - before.waited_s, turns.turns - before.turns)
        recorder.probe(generator.elapsed_s, passed_s, max(0.0, passed_s - PROBE_S - TICK_S), since)
        looked_at = time.monotonic()
        return PROBE_S

    with every(probe, PROBE_S):
        yield


@contextmanager
def _until(length_s: float | None, generator: Generator, begin_at: float | None) -> Iterator[None]:
    """Drain the generator when the time is over."""
    if length_s is None:
        yield
        return
    ahead_s = 0.0 if begin_at is None else begin_at - time.monotonic()
    timer = asyncio.get_running_loop().call_later(ahead_s + length_s, generator.drain)
    try:
        yield
    finally:
        timer.cancel()
