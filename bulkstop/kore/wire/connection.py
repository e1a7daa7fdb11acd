"""One connection carries one exchange at a time, each of which ends in a Response or a TransportFailure."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from bulkstop.kore import network
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.response import Reader, RemoteProtocolError
from bulkstop.model import Outcome

PendingResponse = asyncio.Future[Response | TransportFailure]


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
        "_loop",
        "_owner",
        "_pending",
        "_reader",
        "_transport",
        "_unfit",
        "idle_since",
    )

    def __init__(self, owner: ConnectionOwner, clock: Callable[[], float]) -> None:
        self.idle_since = 0.0
        self._owner, self._clock = owner, clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = Reader()
        self._pending: PendingResponse | None = None
        self._began = 0.0
        self._unfit = "the connection broke before the request; nothing was sent"

    @property
    def busy_since(self) -> float | None:
        """When the exchange began that is under way, if one is."""
        return None if self._pending is None else self._began

    def is_fit(self) -> bool:
        """Tell whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, cap: int, began: float) -> PendingResponse:
        """Write a request; of its answer up to `cap` bytes of body are wanted, and its latency is since `began`."""
        self._pending = pending = self._loop.create_future()
        self._began = began
        if self._transport is None or self._transport.is_closing():
            self._settle(TransportFailure(Outcome.CONNECTION_ERROR, self._unfit, self._passed_ms()))
        else:
            self._reader.begin(cap)
            self._transport.write(request)
        return pending

    def drop(self, pending: PendingResponse) -> None:
        """End the connection if it still waits for an answer that nobody wants any more."""
        if self._pending is pending:
            self._pending = None
            self.abort()

    def time_out(self, after_s: float) -> None:
        """End the connection, and with it the exchange under way."""
        self._end(network.late_answer(after_s, self._passed_ms(), self._reader.status))

    def close(self) -> None:
        """End the connection: in good order, unless something is still under way."""
        if self._transport is None:
            return
        if self._pending is not None:
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
        if self._pending is None:
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
            if self._pending is not None and self._reader.end():
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
        now = self._clock()
        reader = self._reader
        self._settle(reader.take(int((now - self._began) * 1e6 + 0.5) / 1000))  # quicker than round()
        if reader.is_last:
            self.abort()
        else:
            self.idle_since = now
            self._owner.release(self)

    def _break(self, why: str) -> None:
        self._fail(network.explain_break(why, self._reader.status))

    def _fail(self, why: str) -> None:
        self._end(network.lost_answer(why, self._passed_ms(), self._reader.status))

    def _end(self, failure: TransportFailure) -> None:
        self._settle(failure)
        self.abort()  # only then: an abort may disconnect at once, never, or raise

    def _settle(self, response: Response | TransportFailure) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():  # it is done when it was cancelled
            pending.set_result(response)

    def _passed_ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)
