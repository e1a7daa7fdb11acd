"""One connection, for any behaviour of its transport at an abort."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from bulkstop.kore.exchange import Came, Response, TransportFailure
from bulkstop.kore.wire.connection import Connection
from bulkstop.model import Outcome


class Owner:
    """Counts the connections that have ended."""

    has_ended = 0

    def add(self, connection: Connection) -> None:
        """Know of it."""

    def release(self, connection: Connection) -> None:
        """Know of it."""

    def discard(self, connection: Connection) -> None:
        """Count it."""
        self.has_ended += 1


class Transport(asyncio.Transport):
    """Takes a request; what an abort does is the test's."""

    def __init__(self, connection: Connection, abort: "Abort") -> None:
        super().__init__()
        self.aborts = 0
        self._abort, self._connection = abort, connection
        connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def is_closing(self) -> bool:
        """Return whether it was aborted."""
        return self.aborts > 0

    def abort(self) -> None:
        """End at once, as the test wants it."""
        self.aborts += 1
        if self.aborts == 1:
            self._abort(self._connection)


Abort = Callable[[Connection], object]
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def disconnect(connection: Connection) -> None:
    """Disconnect before the abort returns."""
    connection.connection_lost(None)


def hang(connection: Connection) -> None:
    """Never disconnect."""


def fail(connection: Connection) -> None:
    """Raise, as Python 3.11.2 does over TLS."""
    raise AttributeError


@pytest.mark.parametrize("abort", [disconnect, hang, fail])
@pytest.mark.parametrize(
    ("end", "outcome", "error"),
    [
        (lambda connection: connection.time_out(3), Outcome.TIMEOUT, "no answer within 3 s"),
        (lambda connection: connection.eof_received(), Outcome.CONNECTION_ERROR, "the connection broke (closed by"),
        (lambda connection: connection.close(), Outcome.CONNECTION_ERROR, "the connection broke (closed)"),
        (lambda connection: connection.data_received(b"no HTTP\r\n"), Outcome.CONNECTION_ERROR, ""),
    ],
    ids=["timeout", "eof", "close", "noise"],
)
async def test_told_first(abort: Abort, end: Abort, outcome: Outcome, error: str) -> None:
    """An exchange gets its cause of failure, whatever the abort then does."""
    connection = Connection(Owner(), lambda: 1.0)
    transport = Transport(connection, abort)
    told = list[Came]()
    connection.send(b"", 100, 0.0, told.append)
    with suppress(AttributeError):
        end(connection)
    (response,) = told
    assert isinstance(response, TransportFailure)
    assert (response.outcome, transport.aborts) == (outcome, 1)
    assert response.error.startswith(error)


@pytest.mark.parametrize("abort", [disconnect, hang, fail])
async def test_cut_off(abort: Abort) -> None:
    """A waiting caller is notified once of the abort, and the connection ends."""
    connection = Connection(Owner(), lambda: 1.0)
    transport = Transport(connection, abort)
    told = list[Came]()
    connection.send(b"", 100, 0.0, told.append)
    with suppress(AttributeError):
        connection.cancel()
    assert list(map(type, told)) == [asyncio.CancelledError]
    assert transport.aborts == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", HEAD + b"0\r\n\r\n"])
@pytest.mark.parametrize("end", [lambda each: each.eof_received(), lambda each: each.connection_lost(None)])
async def test_end_without_a_byte(answer: bytes, end: Abort) -> None:
    """A connection that ends before an answer has begun tells nothing of the answer before it."""
    connection = Connection(Owner(), lambda: 1.0)
    Transport(connection, hang)
    told = list[Came]()
    connection.send(b"", 100, 0.0, told.append)
    connection.data_received(answer)
    connection.send(b"", 100, 0.0, told.append)
    end(connection)
    first, second = told
    assert isinstance(first, Response)
    assert isinstance(second, TransportFailure)
    assert (second.outcome, second.may_have_arrived) == (Outcome.CONNECTION_ERROR, True)
    assert "200" not in second.error


async def test_one_that_is_gone() -> None:
    """A lost connection is not aborted: its exchange and its owner are notified."""
    owner = Owner()
    connection = Connection(owner, lambda: 1.0)
    transport = Transport(connection, fail)
    told = list[Came]()
    connection.send(b"", 100, 0.0, told.append)
    connection.connection_lost(ConnectionResetError(104, ""))
    error = "the connection broke (ECONNRESET)"
    assert told == [TransportFailure(Outcome.CONNECTION_ERROR, error, 1000.0, may_have_arrived=True)]
    assert (owner.has_ended, transport.aborts, connection.is_fit()) == (1, 0, False)
