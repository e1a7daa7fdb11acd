"""One attempt is one HTTP exchange, on bare connections: as in `aiohttp_transport.py`, at less cost."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from bulkstop.kore import network
from bulkstop.kore.connect.dialer import ConnectError, Dialer
from bulkstop.kore.connect.fields import LocalProtocolError
from bulkstop.kore.connect.proxy import ProxyGate
from bulkstop.kore.connect.route import find_route
from bulkstop.kore.connect.tls import TlsFiles
from bulkstop.kore.exchange import BODY, BODY_CAP, Came, Response, Told, TransportFailure
from bulkstop.kore.redaction import redact_response
from bulkstop.kore.wire.connection import Connection
from bulkstop.kore.wire.pool import ConnectionPool
from bulkstop.kore.wire.request import Requests
from bulkstop.model import Outcome, RetryHint
from bulkstop.redact import find_passwords


class WireTransport:
    """Sends a request and returns within `timeout_s`, whatever the server does; it never raises for a failed call.

    It never sends a request twice, not even if a kept connection ends without a byte of a response: a service that had
    closed it before and one that did the work and then closed it look the same from here.
    """

    def __init__(
        self,
        host: str,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        connections: int = 32,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        proxy: str | None = None,
        user_agent: str = "bulkstop",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._host, self._proxy, self._files = host, proxy, TlsFiles(ca, cert, key)
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._connections = connections
        self._passwords = tuple(find_passwords(proxy)) if proxy else ()
        self._user_agent = user_agent
        self._clock = clock
        self._gate: ProxyGate | None = None
        self._requests: Requests | None = None
        self._pool: ConnectionPool | None = None

    async def __aenter__(self) -> Self:
        """Prepare to connect; raises SettingsError if a TLS file or the proxy is unusable."""
        route = find_route(self._host, self._proxy)
        dialer = Dialer(
            route,
            timeout_s=self._connect_timeout_s,
            files=self._files,
            proxy=self._proxy,
            user_agent=self._user_agent,
        )
        self._gate = ProxyGate(self._proxy, str(route.host)) if self._proxy and not route.has_tunnel else None
        self._pool = ConnectionPool(dialer.dial, self._connections, timeout_s=self._timeout_s, clock=self._clock)
        self._requests = Requests(route, self._user_agent)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = BODY, cap: int = BODY_CAP
    ) -> Response | TransportFailure:
        """POST a body to a path with query, both exactly as given, and read up to `cap` bytes of the response.

        With an empty body it is a GET. Raises CredentialsError if a proxy refuses the call.
        """
        if self._gate is None:
            return await self._exchange(target, headers, body, cap)
        async with self._gate.pass_through():
            response = await self._exchange(target, headers, body, cap)
            self._gate.judge(response)
            return response

    def begin(self, target: str, headers: Mapping[str, str], body: bytes, cap: int, told: Told) -> Connection | None:
        """Start what `post` does if a connection is idle; with a proxy without a tunnel only `post` works."""
        if self._gate is not None or self._passwords or self._pool is None or self._requests is None:
            return None
        began = self._clock()
        try:
            request = self._requests.write(target, headers, body)
        except LocalProtocolError:  # `post` reports it
            return None
        if (connection := self._pool.take_idle(began)) is not None:
            connection.send(request, cap, began, told)
        return connection

    async def _exchange(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int
    ) -> Response | TransportFailure:
        pool, requests = self._pool, self._requests
        assert pool is not None, "the wire is used inside its `async with`"  # noqa: S101 - a caller's programming error
        assert requests is not None  # noqa: S101 - exists together with the pool
        began = self._clock()
        try:
            request = requests.write(target, headers, body)
            connection = pool.take_idle(began) or await self._acquire(pool, began)
        except LocalProtocolError as error:
            return TransportFailure(Outcome.CONNECTION_ERROR, str(error), self._ms_since(began), again=RetryHint.NO)
        except ConnectError as error:
            return TransportFailure(error.outcome, str(error), self._ms_since(began), again=error.again)
        answer: asyncio.Future[Response | TransportFailure] = asyncio.get_running_loop().create_future()

        def told(came: Came) -> None:
            if not isinstance(came, asyncio.CancelledError) and not answer.done():  # it is done if it was cancelled
                answer.set_result(came)

        connection.send(request, cap, began, told)
        try:
            response = await answer
        except asyncio.CancelledError:
            connection.drop(told)
            raise
        if self._passwords and isinstance(response, Response):  # a proxy may repeat its own password
            return redact_response(response, self._passwords)
        return response

    async def _acquire(self, pool: ConnectionPool, began: float) -> Connection:
        try:
            async with asyncio.timeout(began + self._timeout_s - self._clock()):
                return await pool.acquire(began)
        except TimeoutError:
            late = network.late_connection(self._timeout_s, self._ms_since(began))
            raise ConnectError(late.error, late.outcome) from None

    def _ms_since(self, began: float) -> float:
        return round((self._clock() - began) * 1000, 3)
