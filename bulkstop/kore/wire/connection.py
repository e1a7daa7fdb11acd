"""A connection carries one exchange at a time, which ends in a Response or a TransportFailure."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from bulkstop.kore import network
from bulkstop.kore.exchange import Told, TransportFailure
from bulkstop.kore.wire.response import Reader, RemoteProtocolError
from bulkstop.model import Outcome


class ConnectionOwner(Protocol):
    """The owner of a connection, which is notified of its changes."""

    def add(self, connection: "Connection", /) -> None:
        """Count a new connection."""

    def release(self, connection: "Connection", /) -> None:
        """Reuse it for another exchange."""

    def discard(self, connection: "Connection", /) -> None:
        """Remove a closed connection."""


class Connection(asyncio.Protocol):
    """A connection that carries exchanges while it can tell where a response ends."""

    __slots__ = (
        "_began",
        "_clock",
        "_owner",
        "_reader",
        "_told",
        "_transport",
        "_unfit",
        "idle_since",
    )

    def __init__(self, owner: ConnectionOwner, clock: Callable[[], float]) -> None:
        self.idle_since = 0.0
        self._owner, self._clock = owner, clock
        self._transport: asyncio.Transport | None = None
        self._reader = Reader()
        self._told: Told | None = None
        self._began = 0.0
        self._unfit = "the connection broke before the request; nothing was sent"

    @property
    def busy_since(self) -> float | None:
        """When the current exchange began, if there is one."""
        return None if self._told is None else self._began

    def is_fit(self) -> bool:
        """Whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, cap: int, began: float, told: Told) -> None:
        """Write a request; read up to `cap` bytes of its response body, and measure the latency from `began`.

        If the connection is not fit, `told` is called at once.
        """
        self._began = began
        if self._transport is None or self._transport.is_closing():
            told(TransportFailure(Outcome.CONNECTION_ERROR, self._unfit, self._passed_ms()))
        else:
            self._told = told
            self._reader.begin(cap)
            self._transport.write(request)

    def drop(self, told: Told) -> None:
        """End the connection if its response is not needed any more."""
        if self._told is told:
            self._told = None
            self.abort()

    def cancel(self) -> None:
        """Cancel the exchange: end the connection, and notify the waiter."""
        told, self._told = self._told, None
        if told is not None:
            told(asyncio.CancelledError())
        self.abort()  # last, as in `_end`

    def time_out(self, after_s: float) -> None:
        """End the connection because its exchange took `after_s`."""
        self._end(network.late_answer(after_s, self._passed_ms(), self._reader.status))

    def close(self) -> None:
        """Close the connection gracefully, unless an exchange is in progress."""
        if self._transport is None:
            return
        if self._told is not None:
            self._break("closed")
        elif self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport differs only in its class
        self._owner.add(self)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a response; unexpected data would count as the next response."""
        if self._told is None:
            self._unfit = network.SPOKE_UNASKED
            self.abort()
            return
        try:
            if self._reader.feed(data):
                self._succeed()
        except RemoteProtocolError as error:
            self._fail(str(error))

    def eof_received(self) -> None:
        """Note the end of the stream, which ends some responses."""
        try:
            if self._told is not None and self._reader.end():
                self._succeed()
            else:
                self._break("closed by the server")
        except RemoteProtocolError as error:
            self._fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the current exchange."""
        self._transport = None  # aborting a closed one raises in Python 3.11.2, over TLS
        if exc is None:
            self._break("closed")
        else:
            self._end(network.break_off(exc, self._passed_ms(), self._reader.status))
        self._owner.discard(self)

    def _succeed(self) -> None:
        now, reader, told = self._clock(), self._reader, self._told
        response = reader.take(int((now - self._began) * 1e6 + 0.5) / 1000)  # faster than round()
        self._told = None
        if not reader.is_last:  # the waiter may send at once over this connection
            self.idle_since = now
            self._owner.release(self)
        if told is not None:
            told(response)
        if reader.is_last:
            self.abort()

    def _break(self, why: str) -> None:
        self._fail(network.explain_break(why, self._reader.status))

    def _fail(self, why: str) -> None:
        self._end(network.lost_answer(why, self._passed_ms(), self._reader.status))

    def _end(self, failure: TransportFailure) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(failure)
        self.abort()  # last, because an abort may disconnect at once, never, or raise

    def _passed_ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)
