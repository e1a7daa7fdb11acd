"""The aiohttp transport's own: how its exceptions are told, without sockets; test_transport.py has the rest."""

import errno
import re

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bulkstop.kore.aiohttp_transport import BODY_CAP, AiohttpTransport
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Outcome, RetryHint
from tests.virtual_time import run

ANYWHERE = re.compile(".")
RESET_WHILE_WRITING = aiohttp.ClientOSError(None, "Can not write request body")
RESET_WHILE_WRITING.__cause__ = aiohttp.ClientConnectionResetError("Cannot write to closing transport")
KEY = ConnectionKey("platform.example", 443, True, True, None, None, None)
ASKED = RequestInfo(URL("https://platform.example/"), "POST", CIMultiDictProxy(CIMultiDict()))


async def told(api: aioresponses, error: Exception) -> TransportFailure:
    """Return what is made of an exception of aiohttp's."""
    api.post(ANYWHERE, exception=error)
    async with AiohttpTransport("https://platform.example", timeout_s=1) as client:
        found = await client.post("/path?query", {"auth": "t"})
    assert isinstance(found, TransportFailure)
    return found


class TestErrors:
    """Each way a call can break is one line that says whether the stop may have arrived."""

    @pytest.mark.parametrize(
        ("error", "outcome", "text"),
        [
            (
                aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "refused")),
                Outcome.CONNECTION_ERROR,
                "no connection to platform.example:443 (ECONNREFUSED); nothing was sent",
            ),
            (
                aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "unreachable")),
                Outcome.CONNECTION_ERROR,
                "no connection to platform.example:443 (ENETUNREACH); nothing was sent",
            ),
            (
                aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "too many")),
                Outcome.CONNECTION_ERROR,
                "no file descriptor left (lower --concurrency or raise ulimit -n); nothing was sent",
            ),
            (
                aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")),
                Outcome.CONNECTION_ERROR,
                "the name platform.example could not be looked up; nothing was sent",
            ),
            (
                aiohttp.ConnectionTimeoutError("slow"),
                Outcome.TIMEOUT,
                "no connection in time; nothing was sent",
            ),
            (
                aiohttp.ServerDisconnectedError(),
                Outcome.CONNECTION_ERROR,
                "the connection broke (ServerDisconnectedError); the stop may have arrived",
            ),
            (
                aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
                Outcome.CONNECTION_ERROR,
                "the connection broke (ECONNRESET); the stop may have arrived",
            ),
            (
                RESET_WHILE_WRITING,
                Outcome.CONNECTION_ERROR,
                "the connection broke (ECONNRESET); the stop may have arrived",
            ),
            (
                ConnectionResetError(errno.ECONNRESET, "reset"),
                Outcome.CONNECTION_ERROR,
                "the connection broke (ECONNRESET); the stop may have arrived",
            ),
            (
                aiohttp.ClientPayloadError("cut"),
                Outcome.CONNECTION_ERROR,
                "the connection broke (ClientPayloadError); the stop may have arrived",
            ),
            (
                aiohttp.ClientResponseError(ASKED, (), message="no HTTP"),
                Outcome.CONNECTION_ERROR,
                "the answer is not HTTP; the stop may have arrived",
            ),
            (
                aiohttp.ClientHttpProxyError(ASKED, (), status=407),
                Outcome.CONNECTION_ERROR,
                "the proxy answered HTTP 407",
            ),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    async def test_text(self, api: aioresponses, error: Exception, outcome: Outcome, text: str) -> None:
        """The line names what broke and where, and the call is worth another try."""
        found = await told(api, error)
        assert (found.outcome, found.error, found.again) == (outcome, text, RetryHint.LATER)

    async def test_untrusted_certificate(self, api: aioresponses) -> None:
        """Only a certificate that is not trusted is not tried again: another try would find the same."""
        found = await told(api, aiohttp.ClientConnectorCertificateError(KEY, ValueError("untrusted")))
        assert (found.outcome, found.again) == (Outcome.CONNECTION_ERROR, RetryHint.NO)
        assert "--ca FILE" in found.error

    async def test_slip_of_the_program(self, api: aioresponses) -> None:
        """What is nobody's failure but the program's is not taken for one of the network's."""
        api.post(ANYWHERE, exception=ZeroDivisionError())
        async with AiohttpTransport("https://platform.example") as client:
            with pytest.raises(ZeroDivisionError):
                await client.post("/", {})


class TestSession:
    """What the client asks of aiohttp's session."""

    @pytest.mark.parametrize("status", [200, 404, 503])
    async def test_answer(self, api: aioresponses, status: int) -> None:
        """Status and body come back as they are; an error status is no exception."""
        api.post(ANYWHERE, status=status, body=b'{"a":1}', content_type="text/html")
        async with AiohttpTransport("https://platform.example") as client:
            found = await client.post("/path", {})
        assert isinstance(found, Response)
        assert (found.status, found.body) == (status, b'{"a":1}')

    async def test_body_cap(self, api: aioresponses) -> None:
        """A body is cut at the cap."""
        api.post(ANYWHERE, body=b"x" * (BODY_CAP + 1))
        async with AiohttpTransport("https://platform.example") as client:
            found = await client.post("/path", {})
        assert isinstance(found, Response)
        assert found.body == b"x" * BODY_CAP

    def test_leaves_nothing_behind(self, api: aioresponses) -> None:
        """A client that is left has neither a task nor a timer any more."""
        api.post(ANYWHERE, body=b"{}")

        async def main() -> None:
            async with AiohttpTransport("https://platform.example") as client:
                await client.post("/path", {})

        run(main())
