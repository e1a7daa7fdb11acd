"""The dialer makes a connection along a route: it looks a name up, connects, passes a proxy, verifies a server."""

import asyncio
import math
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohappyeyeballs import start_connection

from bulkstop.kore import network
from bulkstop.kore.connect.fields import format_headers
from bulkstop.kore.connect.proxy import ProxyGate
from bulkstop.kore.connect.route import HostPort, Route
from bulkstop.kore.connect.tls import NO_FILES, TlsFiles, make_tls_context
from bulkstop.model import Outcome, RetryHint

NEXT_ADDRESS_S = 0.25
"""The pause before the next of several addresses is tried in parallel (RFC 8305)."""
GOODBYE_S = 1.0
"""How long closing a TLS connection may wait for the other side."""
TUNNEL_HEAD_CAP = 16 * 1024
"""The most bytes of a proxy's response to CONNECT."""

P = TypeVar("P", bound=asyncio.Protocol)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")

Address = tuple[int, int, int, str, tuple[Any, ...]]


class ConnectError(Exception):
    """There is no connection, so nothing was sent; the message says why."""

    def __init__(
        self, why: str, outcome: Outcome = Outcome.CONNECTION_ERROR, again: RetryHint = RetryHint.LATER
    ) -> None:
        super().__init__(why)
        self.outcome, self.again = outcome, again


class Dialer:
    """Makes connections along one route, each within `timeout_s`; raises SettingsError for an unusable TLS file."""

    def __init__(
        self,
        route: Route,
        *,
        timeout_s: float,
        files: TlsFiles = NO_FILES,
        proxy: str | None = None,
        user_agent: str = "bulkstop",
    ) -> None:
        self._route = route
        self._timeout_s = timeout_s
        self._gate = ProxyGate(proxy or "", str(route.host)) if route.has_tunnel else None
        self._user_agent = user_agent
        self._addresses = _Addresses(route.hop)
        tls = make_tls_context(files) if route.is_secure or any(files) else None
        self._tls = {
            "ssl": tls,
            "server_hostname": route.host.host.rstrip("."),  # no certificate has the final dot of a full name
            "ssl_handshake_timeout": max(timeout_s, GOODBYE_S),
            "ssl_shutdown_timeout": GOODBYE_S,
        }

    async def dial(self, make: Callable[[], P]) -> P:
        """Return a new connection; raises ConnectError, and CredentialsError if a proxy refuses the call."""
        with _explaining(self._route.hop, is_proxy=self._route.hop != self._route.host):
            async with asyncio.timeout(self._timeout_s):
                return await self._connect(make)

    async def _connect(self, make: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses.get()
        if self._gate is None:
            return await self._secure(make, await _reach(loop, addresses))
        async with self._gate.pass_through():
            sock = await _reach(loop, addresses)
            await self._tunnel(loop, sock, self._gate)
        with _explaining(self._route.host):
            return await self._secure(make, sock)

    async def _secure(self, make: Callable[[], P], sock: socket.socket) -> P:
        tls: dict[str, Any] = self._tls if self._route.is_secure else {}
        _, connection = await asyncio.get_running_loop().create_connection(make, sock=sock, **tls)
        return connection

    async def _tunnel(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, gate: ProxyGate) -> None:
        host = self._route.host
        try:
            fields = format_headers({"Host": str(host), "User-Agent": self._user_agent, **self._route.login})
            await loop.sock_sendall(sock, f"CONNECT {host} HTTP/1.1\r\n{fields}\r\n".encode())
            head, rest = await _read_head(loop, sock)
            status = _read_status(head)
            gate.answered(status, _find_schemes(head))
            _check_tunnel(status, rest)
        except BaseException:
            sock.close()
            raise


@contextmanager
def _explaining(place: HostPort, *, is_proxy: bool = False) -> Iterator[None]:
    """Convert errors that prevent a connection into a ConnectError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some sockets
        if isinstance(error, TimeoutError) and error.errno is None:
            raise ConnectError(network.LATE, Outcome.TIMEOUT) from None
        why, again = network.explain_connect(error, str(place), is_proxy=is_proxy)
        raise ConnectError(why, again=again) from None


async def _reach(loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> socket.socket:
    return await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=loop)


class _Addresses:
    """The addresses of a name, kept while its look-up fails."""

    def __init__(self, place: HostPort) -> None:
        self._place = place
        self._known: Sequence[Address] = ()
        self._known_until = -math.inf
        self._failures = 0
        self._turn = asyncio.Lock()

    async def get(self) -> Sequence[Address]:
        """Return the addresses; concurrent callers share one look-up, and its failure."""
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


async def _read_head(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of the final response and the bytes after it; a head that is too long is empty."""
    data = b""
    while len(data) < TUNNEL_HEAD_CAP:
        if end := _HEAD_END.search(data):
            head, data = data[: end.end()], data[end.end() :]
            if not _INTERIM.match(head):
                return head, data
        elif piece := await loop.sock_recv(sock, 4096):
            data += piece
        else:
            raise ConnectError("the proxy broke off before it answered; nothing was sent")
    return b"", data


def _read_status(head: bytes) -> int | None:
    """Return the status in a proxy's response; None if it is not HTTP."""
    status_line = re.match(rb"HTTP/1\.[01] ([1-9]\d\d)[ \r\n]", head)
    return int(status_line[1]) if status_line else None


def _find_schemes(head: bytes) -> str | None:
    """Return the login schemes that a proxy accepts, if it states them."""
    fields = re.findall(rb"(?im)^proxy-authenticate:[ \t]*([^\r\n]*)", head)
    return b", ".join(fields).decode("ascii", "replace") if fields else None


def _check_tunnel(status: int | None, rest: bytes) -> None:
    if status is None:
        raise ConnectError("the proxy's answer is not HTTP; nothing was sent")
    if not 200 <= status < 300:  # any 2xx opens the tunnel (RFC 9110 9.3.6), even a 204
        raise ConnectError(f"the proxy answered HTTP {status}; nothing was sent")
    if rest:  # a server must not speak first
        raise ConnectError("the proxy spoke into its tunnel; nothing was sent")
