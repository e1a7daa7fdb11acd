"""One connection carries one exchange at a time, each of which ends in a Response or a TransportFailure."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from bulkstop.kore import network
from bulkstop.kore.exchange import Told, TransportFailure
from bulkstop.kore.wire.response import Reader, RemoteProtocolError
from bulkstop.model import Outcome


class ConnectionOwner(Protocol):
    """What has a connection, and hears what becomes of it."""

    def add(self, connection: "Connection", /) -> None:
        """Count it."""

    def release(self, connection: "Connection", /) -> None:
        """Have it for another exchange."""

    def discard(self, connection: "Connection", /) -> None:
        """Forget it: it is gone."""


class Connection(asyncio.Protocol):
    """A connection that carries exchanges for as long as it is sure where an answer ends."""

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
        """When the exchange began that is under way, if one is."""
        return None if self._told is None else self._began

    def is_fit(self) -> bool:
        """Tell whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, cap: int, began: float, told: Told) -> None:
        """Write a request; of its answer up to `cap` bytes of body are wanted, and its latency is since `began`.

        Only on a connection that is not fit `told` is told at once.
        """
        self._began = began
        if self._transport is None or self._transport.is_closing():
            told(TransportFailure(Outcome.CONNECTION_ERROR, self._unfit, self._passed_ms()))
        else:
            self._told = told
            self._reader.begin(cap)
            self._transport.write(request)

    def drop(self, told: Told) -> None:
        """End the connection if it still waits for an answer that nobody wants any more."""
        if self._told is told:
            self._told = None
            self.abort()

    def cancel(self) -> None:
        """Cut the exchange off: end the connection, and say so to whoever waits for an answer."""
        told, self._told = self._told, None
        if told is not None:
            told(asyncio.CancelledError())
        self.abort()  # only then, as in `_end`

    def time_out(self, after_s: float) -> None:
        """End the connection, and with it the exchange under way."""
        self._end(network.late_answer(after_s, self._passed_ms(), self._reader.status))

    def close(self) -> None:
        """End the connection: in good order, unless something is still under way."""
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
        """Be connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._owner.add(self)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of an answer; what comes unasked would pass for the next one."""
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
        """Take the server's word that nothing more will come: some answers end so."""
        try:
            if self._told is not None and self._reader.end():
                self._succeed()
            else:
                self._break("closed by the server")
        except RemoteProtocolError as error:
            self._fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Be disconnected."""
        self._transport = None  # to abort one that is gone raises in Python 3.11.2, over TLS
        if exc is None:
            self._break("closed")
        else:
            self._end(network.break_off(exc, self._passed_ms(), self._reader.status))
        self._owner.discard(self)

    def _succeed(self) -> None:
        now, reader, told = self._clock(), self._reader, self._told
        response = reader.take(int((now - self._began) * 1e6 + 0.5) / 1000)  # quicker than round()
        self._told = None
        if not reader.is_last:  # who is told may send again at once, over this connection
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
        self.abort()  # only then: an abort may disconnect at once, never, or raise

    def _passed_ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)
