"""One connection carries one exchange at a time, each of which ends in a Response or a TransportFailure."""

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol, cast

from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.response import Reader, RemoteProtocolError
from bulkstop.model import Outcome

PendingResponse = asyncio.Future[Response | TransportFailure]


class ConnectionOwner(Protocol):
    """Who has a connection, and is told what becomes of it."""

    def opened(self, connection: "Connection", /) -> None:
        """Know that it is there."""

    def rests(self, connection: "Connection", /) -> None:
        """Know that it can carry another exchange."""

    def ended(self, connection: "Connection", /) -> None:
        """Know that it is gone."""


class Connection(asyncio.Protocol):
    """A connection that carries exchanges for as long as it is sure where an answer ends."""

    __slots__ = (
        "_asked",
        "_began",
        "_clock",
        "_loop",
        "_owner",
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
        self._asked: PendingResponse | None = None
        self._began = 0.0
        self._unfit = "the connection broke before the request"

    @property
    def busy_since(self) -> float | None:
        """When the exchange began that is under way, if one is."""
        return None if self._asked is None else self._began

    def is_fit(self) -> bool:
        """Tell whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, cap: int, began: float) -> PendingResponse:
        """Write a request; of its answer up to `cap` bytes of body are wanted, and its latency is since `began`."""
        self._asked = asked = self._loop.create_future()
        self._began = began
        if self._transport is None or self._transport.is_closing():
            self._tell(
                TransportFailure(Outcome.CONNECTION_ERROR, f"{self._unfit}; nothing was sent", self._passed_ms())
            )
        else:
            self._reader.begin(cap)
            self._transport.write(request)
        return asked

    def drop(self, asked: PendingResponse) -> None:
        """End the connection if it still waits for an answer that nobody wants any more."""
        if self._asked is asked:
            self._asked = None
            self.abort()

    def time_out(self, after_s: float) -> None:
        """End the connection, and with it the exchange under way."""
        what = "no answer" if self._reader.status is None else "the answer was not complete"
        self._fail(f"{what} within {after_s:g} s", Outcome.TIMEOUT)

    def close(self) -> None:
        """End the connection: in good order, unless something is still under way."""
        if self._transport is None:
            return
        if self._asked is not None:
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
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of an answer; what comes unasked would pass for the next one."""
        if self._asked is None:
            self._unfit = "the server spoke before it was asked"
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
            if self._asked is not None and self._reader.end():
                self._succeed()
            else:
                self._break("closed by the server")
        except RemoteProtocolError as error:
            self._fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Be disconnected."""
        self._transport = None  # to abort one that is gone raises in Python 3.11.2, over TLS
        self._break("closed" if exc is None else name_error(exc))
        self._owner.ended(self)

    def _succeed(self) -> None:
        now = self._clock()
        reader = self._reader
        self._tell(reader.take(int((now - self._began) * 1e6 + 0.5) / 1000))  # quicker than round()
        if reader.is_last:
            self.abort()
        else:
            self.idle_since = now
            self._owner.rests(self)

    def _break(self, why: str) -> None:
        status = self._reader.status
        self._fail(f"the connection broke ({why})" if status is None else f"the answer broke off after HTTP {status}")

    def _fail(self, why: str, outcome: Outcome = Outcome.CONNECTION_ERROR) -> None:
        status = self._reader.status
        self._tell(TransportFailure(outcome, why, self._passed_ms(), status, may_have_arrived=True))
        self.abort()  # after it is told: an abort may disconnect at once, never, or raise

    def _tell(self, told: Response | TransportFailure) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():  # it is done when it was cancelled
            asked.set_result(told)

    def _passed_ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)


def name_error(error: Exception) -> str:
    """Name in a word what broke."""
    number = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(number, str(number)) if number else type(error).__name__
