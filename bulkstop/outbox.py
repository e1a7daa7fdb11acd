"""Output to pipes and terminals is written on a thread, so that a slow reader never blocks the event loop."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from bulkstop.errors import NO_THREAD, OutputError

T = TypeVar("T")

ROOM_BYTES = 64 * 1024
"""The bytes that may wait to be written; beyond that, producers pause."""
PIECE_BYTES = 4096
"""A pipe writes this many bytes atomically (PIPE_BUF), so that no line is torn if its reader goes away."""
PATIENCE_S = 0.5
"""After `hurry`, how long a reader may take nothing before the rest is abandoned."""


class Outbox(Generic[T]):
    """Writes to a pipe, a terminal or a device on a thread of its own, in order; `put` never waits.

    Each piece of data has an item; `unwritten` lists the items whose data was not written, and `fault` is the error
    that prevented it. With `paces_each`, producers wait until everything is written. The outbox owns the file
    descriptor. Raises OutputError, which begins with `name`, if no thread can be started.
    """

    def __init__(self, fd: int, name: str, *, room_bytes: int = ROOM_BYTES, paces_each: bool = False) -> None:
        self.name = name
        self.fault: OSError | None = None
        self._fd = fd
        self._room_bytes = room_bytes
        self._paces_each = paces_each
        self._waiting: deque[tuple[bytes, T]] = deque()
        self._bytes = self._pieces = 0
        self._is_closed = self._is_abandoned = self._is_hurried = False
        self._changed = threading.Condition()  # reentrant: signal handlers write as well
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        start_thread(self._run, "bulkstop-output", name)

    @property
    def is_full(self) -> bool:
        """Return whether too much data waits to be written."""
        return self._bytes > self._room_bytes and not self.is_over

    @property
    def pieces(self) -> int:
        """The number of pieces of data written so far."""
        return self._pieces

    @property
    def waiting_bytes(self) -> int:
        """The bytes that wait to be written."""
        return self._bytes

    @property
    def is_behind(self) -> bool:
        """Return whether producers should wait."""
        return self.is_full or (self._paces_each and not self.is_idle and not self.is_over)

    @property
    def is_over(self) -> bool:
        """Return whether the outbox has failed or was abandoned, so that it writes nothing more."""
        return self.fault is not None or self._is_abandoned

    @property
    def is_idle(self) -> bool:
        """Return whether everything is written."""
        return not self._waiting

    @property
    def unwritten(self) -> list[T]:
        """The items whose data is not written yet."""
        with self._changed:
            return [item for _, item in self._waiting]

    def put(self, data: bytes, item: T) -> bool:
        """Queue data to be written; return False if the outbox has failed or was abandoned."""
        with self._changed:
            if self.is_over:
                return False
            self._waiting.append((data, item))
            self._bytes += len(data)
            self._changed.notify_all()
            return True

    async def wait_for_room(self) -> None:
        """Wait until there is room for more, or nothing more will be written."""
        await self._wait_until(lambda: self._bytes <= self._room_bytes)

    async def keep_up(self) -> None:
        """Wait until producers may continue, or nothing more will be written."""
        await self._wait_until(lambda: not self.is_behind)

    async def flush(self) -> None:
        """Wait until everything is written, or nothing more will be."""
        await self._wait_until(lambda: self.is_idle)

    async def flush_within(self, within_s: float) -> None:
        """Wait until everything is written, for at most `within_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.flush()

    def hurry(self) -> None:
        """Wait for a reader only while it still reads; otherwise abandon the rest."""
        self._is_hurried = True
        self._wake_waiters()

    def abandon(self) -> None:
        """Start no further write."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()
        self._wake_waiters()

    def close(self) -> None:
        """Wait until everything is written, or nothing more will be; `put` must not be called afterwards."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            pieces = self._pieces
            while not self._changed.wait_for(lambda: self.is_over or self.is_idle, PATIENCE_S):
                if self._is_hurried and self._pieces == pieces:
                    self.abandon()
                pieces = self._pieces

    async def _wait_until(self, is_done: Callable[[], bool]) -> None:
        changed = asyncio.Event()
        self._waiters[changed] = asyncio.get_running_loop()
        try:
            while not (self.is_over or is_done()):
                changed.clear()
                pieces = self._pieces
                try:
                    async with asyncio.timeout(PATIENCE_S if self._is_hurried else None):
                        await changed.wait()
                except TimeoutError:
                    if self._pieces == pieces:
                        self.abandon()
        finally:
            del self._waiters[changed]

    def _wake_waiters(self) -> None:
        for changed, loop in tuple(self._waiters.items()):
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

    def _run(self) -> None:
        try:
            while piece := self._next_piece():
                left = memoryview(b"".join(piece))
                while left:
                    left = left[os.write(self._fd, left) :]
                self._take_out(len(piece))
        except OSError as error:
            with self._changed:
                self.fault = error
                self._changed.notify_all()
        finally:
            os.close(self._fd)
            self._wake_waiters()

    def _next_piece(self) -> list[bytes]:
        """Wait for data and return as much of it as a pipe takes atomically; return nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed or self._is_abandoned)
            piece, size = list[bytes](), 0
            for data, _ in () if self._is_abandoned else self._waiting:
                size += len(data)
                if piece and size > PIECE_BYTES:
                    break
                piece.append(data)
            return piece

    def _take_out(self, count: int) -> None:
        with self._changed:
            if self._is_abandoned:  # it counts as missing, even if some of it was written
                return
            self._pieces += count
            for _ in range(count):
                self._bytes -= len(self._waiting.popleft()[0])
            self._changed.notify_all()
        self._wake_waiters()


def start_thread(work: Callable[[], None], thread_name: str, name: str) -> threading.Thread:
    """Start a daemon thread; raises OutputError, which begins with `name`, if the system refuses."""
    thread = threading.Thread(target=work, name=thread_name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise OutputError(f"{name}: {NO_THREAD}") from None
    return thread


def keep_up(outboxes: Sequence[Outbox[Any]]) -> Awaitable[None] | None:
    """Return an awaitable that waits until each outbox has caught up; None if all have."""
    behind = [outbox.keep_up for outbox in outboxes if outbox.is_behind]
    return _await_each(behind) if behind else None


def make_room(outboxes: Sequence[Outbox[Any]]) -> Awaitable[None] | None:
    """Return an awaitable that waits until each outbox has room; None if all have."""
    full = [outbox.wait_for_room for outbox in outboxes if outbox.is_full]
    return _await_each(full) if full else None


async def _await_each(waits: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for wait in waits:
        await wait()
