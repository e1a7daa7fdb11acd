"""Connections are opened up to a limit, reused while they are fit, and timed out."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from bulkstop.kore.wire.connection import Connection

KEEPALIVE_EXPIRY_S = 15.0
"""How long an idle connection may be reused: a gateway may drop an older one silently."""
SOON_S = 0.001
"""A deadline this close is due now: a loop counts in milliseconds, and another turn would be wasted."""

Dial = Callable[[Callable[[], Connection]], Awaitable[Connection]]
"""Establishes a connection."""


class ConnectionPool:
    """The connections to one host; each exchange may take `timeout_s`.

    One timer serves them all. It is set to the earliest possible deadline, and calls need not be recorded: later ones
    are due later.
    """

    __slots__ = (
        "_clock",
        "_dial",
        "_dialling",
        "_due_at",
        "_is_closed",
        "_limit",
        "_one_ended",
        "_open",
        "_queue",
        "_resting",
        "_timeout_s",
        "_timer",
    )

    def __init__(self, dial: Dial, limit: int, *, timeout_s: float, clock: Callable[[], float]) -> None:
        self._dial, self._limit = dial, limit
        self._timeout_s, self._clock = timeout_s, clock
        self._open: set[Connection] = set()
        self._resting: list[Connection] = []
        self._dialling = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._timer: asyncio.Handle | None = None
        self._due_at = math.inf
        self._is_closed = False
        self._one_ended = asyncio.Event()

    def take_idle(self, now: float) -> Connection | None:
        """Remove and return the most recently used idle connection, if one is fit."""
        while self._resting:
            connection = self._resting.pop()
            if now - connection.idle_since < KEEPALIVE_EXPIRY_S and connection.is_fit():
                return connection
            connection.abort()
        return None

    async def acquire(self, began: float) -> Connection:
        """Open a connection for an exchange that `began`, or wait for one; raises what dialling raises."""
        connection = await self._wait_turn()
        if connection is None:
            connection = await self._open_new()
        self._watch(began)
        return connection

    async def close(self) -> None:
        """Close all connections, and return when they are closed."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._open.copy():
            connection.close()
        while self._open:
            self._one_ended.clear()
            await self._one_ended.wait()

    def add(self, connection: Connection) -> None:
        """Count a connection."""
        self._open.add(connection)

    def release(self, connection: Connection) -> None:
        """Pass a connection to the oldest waiter, or keep it idle."""
        if not (self._queue and self._give(connection)):
            self._resting.append(connection)

    def discard(self, connection: Connection) -> None:
        """Remove a connection, and let another take its place."""
        self._open.discard(connection)
        self._one_ended.set()
        self._let_dial()

    async def _wait_turn(self) -> Connection | None:
        """Wait for an idle connection, or return None to open one."""
        if not self._queue and self._has_room():
            self._dialling += 1
            return None
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())
            raise

    async def _open_new(self) -> Connection:
        connection = Connection(self, self._clock)
        try:
            connection = await self._dial(lambda: connection)
        except BaseException:
            connection.abort()
            self.discard(connection)  # uvloop does not report one closed between its start and its use
            raise
        finally:
            self._dialling -= 1
            self._let_dial()
        if self._is_closed:
            connection.close()
        return connection

    def _has_room(self) -> bool:
        return len(self._open) + self._dialling < self._limit

    def _let_dial(self) -> None:
        while self._queue and self._has_room() and self._give(None):
            self._dialling += 1

    def _give(self, connection: Connection | None) -> bool:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _give_back(self, connection: Connection | None) -> None:
        if connection is not None:
            self.release(connection)
        else:
            self._dialling -= 1
            self._let_dial()

    def _watch(self, began: float) -> None:
        """Ensure that an exchange that `began` is ended in time."""
        due_at = began + self._timeout_s
        if due_at < self._due_at:
            if self._timer is not None:
                self._timer.cancel()
            due_in_s = max(0.0, due_at - self._clock())
            self._timer, self._due_at = asyncio.get_running_loop().call_later(due_in_s, self._sweep), due_at

    def _sweep(self) -> None:
        self._timer, self._due_at = None, math.inf
        now = first = self._clock()
        for connection in self._open.copy():
            since = connection.busy_since
            if since is not None and since + self._timeout_s - now < SOON_S:
                connection.time_out(self._timeout_s)
            elif since is not None:
                first = min(first, since)
        if self._open and not self._is_closed:
            self._watch(first)
