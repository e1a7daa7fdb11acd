"""A connection is made along a route: a name looked up, an address reached, a server trusted."""

import asyncio
import math
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohappyeyeballs import start_connection

from bulkstop.kore import network
from bulkstop.kore.wire.connection import Connection
from bulkstop.kore.wire.request import format_headers
from bulkstop.kore.wire.route import HostPort, Route
from bulkstop.model import Outcome, RetryHint

NEXT_ADDRESS_S = 0.25
"""How long an address of several has to itself before the next is tried beside it (RFC 8305)."""
GOODBYE_S = 1.0
"""How long the end of a TLS connection may wait for the other side's."""
TUNNEL_HEAD_CAP = 16 * 1024
"""Bytes of a proxy's answer to CONNECT."""

Address = tuple[int, int, int, str, tuple[Any, ...]]


class ConnectError(Exception):
    """There is no connection, so nothing was sent; the message says why."""

    def __init__(
        self, why: str, outcome: Outcome = Outcome.CONNECTION_ERROR, again: RetryHint = RetryHint.LATER
    ) -> None:
        super().__init__(why)
        self.outcome, self.again = outcome, again


class Dialer:
    """Makes connections along one route, each within `timeout_s`; an unusable `ca` raises SettingsError."""

    def __init__(self, route: Route, *, timeout_s: float, ca: str | None, user_agent: str) -> None:
        self._route = route
        self._timeout_s = timeout_s
        self._user_agent = user_agent
        self._addresses = _Addresses(route.hop)
        tls = network.make_tls_context(ca) if route.is_secure or ca else None
        self._tls = {
            "ssl": tls,
            "server_hostname": route.host.host,
            "ssl_handshake_timeout": max(timeout_s, GOODBYE_S),
            "ssl_shutdown_timeout": GOODBYE_S,
        }

    async def dial(self, make: Callable[[], Connection]) -> Connection:
        """Make a connection; raises ConnectError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._connect(make)
        except (OSError, RuntimeError) as error:  # uvloop raises a RuntimeError for some sockets
            if isinstance(error, TimeoutError) and error.errno is None:
                raise ConnectError(network.LATE, Outcome.TIMEOUT) from None
            why, again = network.explain_connect(error, str(self._route.hop))
            raise ConnectError(why, again=again) from None

    async def _connect(self, make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses.get()
        sock = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=loop)
        if self._route.has_tunnel:
            await self._tunnel(loop, sock)
        tls: dict[str, Any] = self._tls if self._route.is_secure else {}
        _, connection = await loop.create_connection(make, sock=sock, **tls)
        return connection

    async def _tunnel(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        host = self._route.host
        try:
            fields = format_headers({"Host": str(host), "User-Agent": self._user_agent, **self._route.login})
            await loop.sock_sendall(sock, f"CONNECT {host} HTTP/1.1\r\n{fields}\r\n".encode())
            _check_tunnel(await _read_head(loop, sock))
        except BaseException:
            sock.close()
            raise


class _Addresses:
    """The addresses of a name, kept while it cannot be looked up."""

    def __init__(self, place: HostPort) -> None:
        self._place = place
        self._known: Sequence[Address] = ()
        self._known_until = -math.inf
        self._failures = 0
        self._turn = asyncio.Lock()

    async def get(self) -> Sequence[Address]:
        """Return them; all who ask at the same time share one look-up, and its failure."""
        failures = self._failures
        async with self._turn:
            if self._failures == failures and asyncio.get_running_loop().time() >= self._known_until:
                await self._look_up()
            if not self._known:
                raise ConnectError(network.explain_lookup(self._place.host))
            return self._known

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._known = await network.look_up(_getaddrinfo(self._place.host, self._place.port), self._known)
        except OSError:
            self._failures += 1
        self._known_until = loop.time() + network.LOOKUP_S if self._known else -math.inf


async def _getaddrinfo(host: str, port: int) -> Sequence[Address]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _read_head(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < TUNNEL_HEAD_CAP and (piece := await loop.sock_recv(sock, 4096)):
        head += piece
    return head


def _check_tunnel(head: bytes) -> None:
    status_line = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", head)
    if status_line is None or b"\r\n\r\n" not in head:
        raise ConnectError("the proxy's answer is not HTTP; nothing was sent")
    if not status_line[1].startswith(b"2"):
        raise ConnectError(f"the proxy answered HTTP {int(status_line[1])}")
    if not head.endswith(b"\r\n\r\n"):  # a server has nothing to say before it is greeted
        raise ConnectError("the proxy spoke into its tunnel; nothing was sent")
