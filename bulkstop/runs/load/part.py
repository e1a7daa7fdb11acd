"""What a process of a load test does: its part of the requests, measured and told to the parent."""

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

from bulkstop.engine.load.generator import Sample
from bulkstop.engine.shutdown import Endable
from bulkstop.errors import BulkstopError
from bulkstop.model import Campaign
from bulkstop.report.load.intervals import EVERY_S
from bulkstop.report.load.metrics import Measured
from bulkstop.report.output import BUFFER
from bulkstop.runs.host import now_and_then
from bulkstop.runs.load.messages import ABORT, BEGIN, DRAIN, Lines, Ready, Second, packed
from bulkstop.runs.load.recorder import Outputs, Recorder
from bulkstop.runs.load.run import Connect, Load, sent_all
from bulkstop.runs.sockets import fitting
from bulkstop.runs.wiring import send_of, tokens_of
from bulkstop.settings import Settings


class Link:
    """A child's end of the socket: tells the parent, and does what it orders.

    The parent reads whenever there is something, so that telling waits only as writing to a file would. Without a
    parent all is cut off.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # an event loop that is to listen does so anyway
        self._sock = sock
        self._room = select.poll()
        self._room.register(sock, select.POLLOUT)
        self._heard = b""
        self._task: asyncio.Task[object] | None = None
        self._begin_at: asyncio.Future[float] | None = None
        self._work: Endable | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return 0 if self._work is None else self._work.in_flight

    def tell(self, what: object) -> None:
        """Tell the parent; without one there is nobody to be told."""
        left = memoryview(packed(what))
        with suppress(ConnectionError):
            while left:
                try:
                    left = left[self._sock.send(left) :]
                except BlockingIOError:
                    self._room.poll()

    def attach(self, work: Endable) -> None:
        """Say what is to be ended by an order."""
        self._work = work

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Do meanwhile what the parent orders; before anything is attached, to end is to cancel this task."""
        loop = asyncio.get_running_loop()
        self._task, self._begin_at = asyncio.current_task(), loop.create_future()
        loop.add_reader(self._sock, self._hear)
        try:
            yield
        finally:
            loop.remove_reader(self._sock)

    async def begin_at(self) -> float:
        """Wait for the moment at which all begin."""
        assert self._begin_at is not None, "it listens"  # noqa: S101 - a slip
        return await self._begin_at

    def _hear(self) -> None:
        try:
            data = self._sock.recv(4096)
        except OSError:
            data = b""
        *orders, self._heard = (self._heard + data).split(b"\n")
        if not data:
            asyncio.get_running_loop().remove_reader(self._sock)
            orders.append(ABORT)
        for order in orders:
            self._obey(order)

    def _obey(self, order: bytes) -> None:
        if order.startswith(BEGIN):
            assert self._begin_at is not None  # noqa: S101 - a slip
            self._begin_at.set_result(float(order[len(BEGIN) :]))
        elif self._work is None:
            if self._task is not None:
                self._task.cancel()
        elif order == DRAIN:
            self._work.drain()
        else:
            self._work.abort()


class _Part(Recorder):
    """Measures the requests of one process, and tells the parent of each second when it is over."""

    def __init__(self, link: Link, max_late_s: float, *, has_lines: bool) -> None:
        self._lines = _LinesTold(link) if has_lines else None
        super().__init__(Measured(max_late_s=max_late_s), Outputs(results=self._lines))
        self._link = link
        self._start_s = 0.0

    def note(self, sample: Sample) -> None:
        """Take a request."""
        if sample.ended_s >= self._start_s + EVERY_S:
            self.pass_on(sample.ended_s)
        super().note(sample)

    def pass_on(self, upto_s: float) -> None:
        """Tell what was measured up to then, and begin anew."""
        if self._lines is not None:
            self._lines.close()
        measured, self.measured = self.measured, Measured(max_late_s=self.measured.max_late_s)
        self._link.tell(Second(self._start_s, upto_s, self._link.in_flight, measured))
        self._start_s = upto_s // EVERY_S * EVERY_S


class _LinesTold:
    """Tells the parent of lines, many at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Take a line."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= BUFFER:
            self.close()

    def close(self) -> None:
        """Tell all that is left."""
        if self._waiting:
            self._link.tell(Lines(b"".join(self._waiting)))
            self._waiting.clear()
            self._bytes = 0


async def serve(
    link: Link, load: Load, campaigns: Iterator[Campaign], settings: Settings, connect: Connect, *, has_lines: bool
) -> BulkstopError | None:
    """Do a part of a load test when the parent says so; give what ended it early."""
    settings = replace(settings, concurrency=fitting(load.max_in_flight))
    tokens, part = tokens_of(settings), _Part(link, load.max_late_s, has_lines=has_lines)
    with link.listening():
        await tokens.get()
        async with connect(settings) as transport:
            send = send_of(settings, transport.post, tokens)
            link.tell(Ready(settings.concurrency))
            begin_at = await link.begin_at()
            with _each_second(part, begin_at):
                fault = await sent_all(load, campaigns, send, part, link.attach, settings, begin_at)
            part.pass_on(time.monotonic() - begin_at)
    return fault


def _each_second(part: _Part, begin_at: float) -> AbstractContextManager[None]:
    """Pass on what was measured in each second, also when no answer comes in the next one."""

    def pass_on() -> float:
        now_s = max(0.0, time.monotonic() - begin_at)
        part.pass_on(now_s)
        return EVERY_S - now_s % EVERY_S

    return now_and_then(pass_on, begin_at + EVERY_S - time.monotonic())
