"""One attempt is one HTTP exchange: a request is sent, a Response or a TransportFailure returned."""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from bulkstop.errors import is_short_of_threads
from bulkstop.kore import network
from bulkstop.kore.allowance import pick_rate_limit
from bulkstop.kore.connect.dialer import ConnectError, Dialer
from bulkstop.kore.connect.proxy import ProxyGate, make_login, strip_login
from bulkstop.kore.connect.route import HostPort, find_route
from bulkstop.kore.connect.tls import TlsFiles, make_tls_context
from bulkstop.kore.deadlines import Deadlines
from bulkstop.kore.exchange import ACCEPTED, BODY, BODY_CAP, Response, TransportFailure
from bulkstop.kore.redaction import redact_response
from bulkstop.model import Outcome, RetryHint
from bulkstop.redact import find_passwords

FIELD_CAP = 32 * 1024
"""The longest header line in a response; aiohttp's own 8,190 bytes are fewer than some gateways send."""


class AiohttpTransport:
    """Sends a request and returns within `timeout_s`, whatever the server does; it never raises for a failed call.

    It follows no redirects, keeps no cookies, and reads a body up to BODY_CAP bytes, or up to a given number.
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
    ) -> None:
        self._host = host
        self._base = urlsplit(host.rstrip("/"))
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._deadlines = Deadlines(timeout_s)
        self._connections = connections
        self._files = TlsFiles(ca, cert, key)
        self._proxy = proxy
        self._connector: _Connector | None = None
        self._gate: ProxyGate | None = None
        self._to_proxy: dict[str, Any] = {}
        self._passwords = tuple(find_passwords(proxy)) if proxy else ()
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool; raises SettingsError if a TLS file is unusable."""
        host, login = str(HostPort.of(self._base)), make_login(self._proxy)
        if self._proxy and self._proxy.lower().startswith("https:"):
            dialer, gate = None, ProxyGate(self._proxy, host)
            self._to_proxy = {"proxy": strip_login(self._proxy), "proxy_headers": login}
        else:
            route = find_route(self._host, self._proxy)
            dialer, gate = (
                Dialer(
                    route,
                    timeout_s=self._connect_timeout_s,
                    files=self._files,
                    proxy=self._proxy,
                    user_agent=self._user_agent,
                ),
                None,
            )
            if self._proxy and not route.has_tunnel:
                self._to_proxy = {"proxy": strip_login(self._proxy)}
        if self._proxy and self._base.scheme == "http":
            self._gate = ProxyGate(self._proxy, host)
        self._connector = _Connector(
            dialer,
            gate,
            login,
            timeout_s=self._connect_timeout_s,
            limit=self._connections,
            ssl=make_tls_context(self._files) if dialer is None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # Deadlines and the connector limit the time instead
            headers={"User-Agent": self._user_agent},
            max_line_size=FIELD_CAP,
            max_field_size=FIELD_CAP,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.close()
        if self._session is not None:
            await self._session.close()

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

    async def _exchange(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int
    ) -> Response | TransportFailure:
        assert self._session is not None, "the client is used inside its `async with`"  # noqa: S101 - a caller's programming error
        assert self._connector is not None  # noqa: S101 - exists together with the session
        began = time.perf_counter()
        response: aiohttp.ClientResponse | None = None
        connecting = self._connector.connecting
        task = self._deadlines.begin()
        try:
            response = await self._session.request(
                "POST" if body else "GET",
                self._url(target),
                data=body or None,
                headers={**headers, **ACCEPTED},
                allow_redirects=False,
                **self._to_proxy,
            )
            content = await _read(response, cap)
            answer, response = _answer(response, content, _ms_since(began)), None
            if self._passwords:  # a proxy may repeat its own password
                answer = redact_response(answer, self._passwords)
        except asyncio.CancelledError:
            if not self._deadlines.cut_off(task):
                raise
            if task in connecting:
                return network.late_connection(self._timeout_s, _ms_since(began))
            return network.late_answer(self._timeout_s, _ms_since(began), response.status if response else None)
        except ConnectError as error:
            return TransportFailure(error.outcome, str(error), _ms_since(began), again=error.again)
        except TimeoutError:
            return TransportFailure(Outcome.TIMEOUT, network.LATE, _ms_since(began))
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_short_of_threads(error):
                raise
            if task in connecting:
                return _explain_unconnected(error, _ms_since(began))
            return _explain_failure(error, _ms_since(began), response.status if response else None)
        else:
            return answer
        finally:
            connecting.discard(task)
            self._deadlines.end(task)
            if response is not None:
                response.release()

    def _url(self, target: str) -> URL:
        path, _, query = target.partition("?")
        parts = SplitResult(self._base.scheme, self._base.netloc, self._base.path + path, query, "")
        # encoded=True: otherwise yarl would fold the SMS path's `//` and decode an id's `%2F`; prepared parts spare it
        # parsing a new text for each call.
        return URL(parts, encoded=True)


def _answer(response: aiohttp.ClientResponse, body: bytes, latency_ms: float) -> Response:
    headers = response.headers
    retry_after, date = headers.get("Retry-After"), headers.get("Date")
    location = headers.get("Location") if response.status >= 300 else None
    return Response(response.status, body, latency_ms, retry_after, date, location, pick_rate_limit(headers.items()))


class _SpokeUnaskedError(aiohttp.ClientConnectionError):
    """Data arrived on a connection without a request."""


class _Connector(aiohttp.TCPConnector):
    """Makes connections as the other transport does; only for a proxy behind TLS it uses aiohttp's own way.

    It refuses a connection with unexpected data, which would count as the next call's response. `connecting` holds the
    tasks whose call has no connection yet, or failed to get one.
    """

    def __init__(
        self,
        dialer: Dialer | None,
        gate: ProxyGate | None,
        login: Mapping[str, str],
        *,
        timeout_s: float,
        limit: int,
        ssl: ssl.SSLContext | bool,
    ) -> None:
        super().__init__(limit=limit, ssl=ssl, resolver=_Resolver(), ttl_dns_cache=network.LOOKUP_S)
        self.connecting: set[asyncio.Task[Any] | None] = set()
        self._dialer, self._gate, self._login = dialer, gate, login
        self._timeout_s = timeout_s

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the parent's signature
    ) -> Connection:
        task = asyncio.current_task()
        self.connecting.add(task)
        connection = await super().connect(req, traces, timeout)
        if connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            raise _SpokeUnaskedError
        if self._login and not req.is_ssl():  # otherwise the request for the tunnel carries it
            req.headers.update(self._login)
        self.connecting.discard(task)
        return connection

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the parent's signature
    ) -> ResponseHandler:
        if self._dialer is not None:
            return await self._dialer.dial(self._factory)
        async with asyncio.timeout(self._timeout_s):
            if self._gate is None or not req.is_ssl():
                return await super()._create_connection(req, traces, timeout)
            async with self._gate.pass_through():
                return await self._tunnel(self._gate, req, traces, timeout)

    async def _tunnel(
        self,
        gate: ProxyGate,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as above
    ) -> ResponseHandler:
        try:
            connection = await super()._create_connection(req, traces, timeout)
        except aiohttp.ClientHttpProxyError as error:
            gate.answered(error.status, error.headers.get("Proxy-Authenticate") if error.headers else None)
            raise
        gate.answered(200)
        return connection


class _Resolver(aiohttp.ThreadedResolver):
    """Keeps the addresses of a name while its look-up fails."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, int], list[ResolveResult]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        known = self._known.get((host, port))
        addresses = await network.look_up(super().resolve(host, port, family), known)
        self._known[host, port] = addresses
        return addresses


async def _read(response: aiohttp.ClientResponse, cap: int) -> bytes:
    content = response.content
    body = await content.readany()
    if not content.at_eof():
        body = await _read_on(content, body, cap)
    if not content.at_eof():
        response.close()  # reading the rest, which may be endless, is not worth a connection
    return body[:cap]


async def _read_on(content: aiohttp.StreamReader, begun: bytes, cap: int) -> bytes:
    body = bytearray(begun)  # bytes would be copied for each piece
    while len(body) < cap and not content.at_eof():
        body += await content.readany()
    return bytes(body)


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)


def _explain_failure(error: Exception, latency_ms: float, status: int | None) -> TransportFailure:
    """Return the failure of a call, and whether it occurred before anything was sent."""
    if (unsent := _explain_unsent(error)) is not None:
        why, again = unsent
        return TransportFailure(Outcome.CONNECTION_ERROR, why, latency_ms, status, again)
    if isinstance(error, aiohttp.ClientResponseError):
        return network.lost_answer("the answer is not HTTP", latency_ms, status)
    return network.break_off(error, latency_ms, status)


def _explain_unconnected(error: Exception, latency_ms: float) -> TransportFailure:
    """Return why there was no connection, so that nothing was sent."""
    why, again = _explain_unsent(error) or (f"no connection ({network.name_error(error)})", RetryHint.LATER)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        why = "the proxy broke off before it answered"
    elif isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        why = "the proxy's answer is not HTTP"
    return TransportFailure(Outcome.CONNECTION_ERROR, network.add_unsent(why), latency_ms, again=again)


def _explain_unsent(error: Exception) -> tuple[str, RetryHint] | None:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return network.explain_lookup(error.host), RetryHint.LATER
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
        is_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
        return network.explain_connect(cause, f"{error.host}:{error.port}", is_proxy=is_proxy)
    if network.has_no_descriptor(error) or is_short_of_threads(error):
        return network.explain_connect(error, "")
    if isinstance(error, _SpokeUnaskedError):
        return network.SPOKE_UNASKED, RetryHint.LATER
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}; nothing was sent", RetryHint.LATER
    return None
