"""Connections without sockets: a wire writes to them, and a script is what the server does."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bulkstop.kore.wire.connection import Connection


class Transport(asyncio.Transport):
    """One side of a connection; the test is the other."""

    def __init__(self, connection: Connection, serve: "Serve") -> None:
        super().__init__()
        self.line = connection
        self.written: list[bytes] = []
        self.unsent = 0
        self.was_aborted = False
        self._serve = serve
        self._is_closing = False
        connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a request, and let the server act on it before anything else happens."""
        assert not self._is_closing
        self.written.append(bytes(data))
        self._serve(self, len(self.written))

    def get_write_buffer_size(self) -> int:
        """Tell what the test says has not been sent."""
        return self.unsent

    def is_closing(self) -> bool:
        """Return whether it ends."""
        return self._is_closing

    def close(self) -> None:
        """End."""
        self.lose(None)

    def abort(self) -> None:
        """End at once."""
        self.was_aborted = self.was_aborted or not self._is_closing
        self.lose(None)

    def give(self, data: bytes) -> None:
        """Let bytes arrive, unless the connection has ended."""
        if not self._is_closing:
            self.line.data_received(data)

    def half_close(self) -> None:
        """Let the server's FIN arrive: as in asyncio, the connection then closes by itself."""
        if not self._is_closing:
            self.line.eof_received()
            self.close()

    def lose(self, error: Exception | None) -> None:
        """Let the connection end."""
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.line.connection_lost, error)


Serve = Callable[[Transport, int], object]
"""The server's action at the n-th request of a connection."""


@contextmanager
def imitated(serve: Serve) -> Iterator[list[Transport]]:
    """Have every wire connect to an imitated server; yields the connections in the order in which they were made."""
    made: list[Transport] = []

    class Dialer:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        async def dial(self, make: Callable[[], Connection]) -> Connection:
            made.append(Transport(make(), serve))
            return made[-1].line

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bulkstop.kore.wire.transport.Dialer", Dialer)
        yield made


def soon(act: Callable[..., object], *args: Any) -> None:
    """Do it in the next round of the loop."""
    asyncio.get_running_loop().call_soon(act, *args)


def answering(*pieces: bytes) -> Serve:
    """Answer each request with these pieces, one a round of the loop."""

    def serve(transport: Transport, _: int) -> None:
        for piece in pieces:
            soon(transport.give, piece)

    return serve
