"""What a process tells its parent, what the parent orders."""

import asyncio
import pickle
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from bulkstop.errors import BulkstopError
from bulkstop.model import Endable

DRAIN, ABORT, BEGIN = b"drain", b"abort", b"begin"
"""The orders of the parent, a line each; the moment to begin at follows its own."""
_LENGTH = struct.Struct("!I")


class Ready(NamedTuple):
    """It can begin, with so many requests in flight."""

    places: int


class Lines(NamedTuple):
    """Whole lines, of some requests."""

    data: bytes


class Ended(NamedTuple):
    """It has ended, by this fault if by any."""

    fault: BulkstopError | None


def pack(message: object) -> bytes:
    """Write a message down."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


async def read_message(reader: asyncio.StreamReader) -> object:
    """Read the next message; None when there is nobody to send another."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - of a process of our own
    except (asyncio.IncompleteReadError, OSError):
        return None


class ParentLink:
    """A child's end of the socket: sends messages to the parent, and does what it orders.

    The parent reads whenever there is something, so that sending waits only as writing to a file would. Without a
    parent all is cut off.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # an event loop that is to listen does so anyway
        self._sock = sock
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)
        self._unread = b""
        self._task: asyncio.Task[object] | None = None
        self._begin_at: asyncio.Future[float] | None = None
        self._work: Endable | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return 0 if self._work is None else self._work.in_flight

    def send(self, message: object) -> None:
        """Send the parent a message; without one there is nobody to take it."""
        left = memoryview(pack(message))
        with suppress(ConnectionError):
            while left:
                try:
                    left = left[self._sock.send(left) :]
                except BlockingIOError:
                    self._writable.poll()

    def attach(self, work: Endable) -> None:
        """Say what is to be ended by an order."""
        self._work = work

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Do meanwhile what the parent orders; before anything is attached, to end is to cancel this task."""
        loop = asyncio.get_running_loop()
        self._task, self._begin_at = asyncio.current_task(), loop.create_future()
        loop.add_reader(self._sock, self._read_orders)
        try:
            yield
        finally:
            loop.remove_reader(self._sock)

    async def wait_for_begin(self) -> float:
        """Wait for the moment at which all begin."""
        assert self._begin_at is not None, "it listens"  # noqa: S101 - a slip
        return await self._begin_at

    def _read_orders(self) -> None:
        try:
            data = self._sock.recv(4096)
        except OSError:
            data = b""
        *orders, self._unread = (self._unread + data).split(b"\n")
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
