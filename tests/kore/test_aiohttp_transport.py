"""How the aiohttp transport reports exceptions, without sockets; test_transport.py has the rest."""

import errno
import re

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bulkstop.errors import NO_THREAD
from bulkstop.kore.aiohttp_transport import AiohttpTransport
from bulkstop.kore.exchange import TransportFailure
from bulkstop.model import Outcome, RetryHint
from tests.virtual_time import run

ANYWHERE = re.compile(".")
RESET_WHILE_WRITING = aiohttp.ClientOSError(None, "Can not write request body")
RESET_WHILE_WRITING.__cause__ = aiohttp.ClientConnectionResetError("Cannot write to closing transport")
KEY = ConnectionKey("platform.example", 443, True, True, None, None, None)
NO_FILE = OSError(errno.EMFILE, "too many")
REQUEST = RequestInfo(URL("https://platform.example/"), "POST", CIMultiDictProxy(CIMultiDict()))


async def fail(api: aioresponses, error: Exception) -> TransportFailure:
    """Return the result for an exception of aiohttp."""
    api.post(ANYWHERE, exception=error)
    async with AiohttpTransport("https://platform.example", timeout_s=1) as client:
        response = await client.post("/path?query", {"auth": "t"})
    assert isinstance(response, TransportFailure)
    return response


class TestErrors:
    """Each way a call can break is one line that says whether the stop may have arrived."""

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            *(
                (
                    aiohttp.ClientConnectorError(KEY, OSError(number, "why")),
                    f"no connection to platform.example:443 ({name})",
                )
                for number, name in ((errno.ECONNREFUSED, "ECONNREFUSED"), (errno.ENETUNREACH, "ENETUNREACH"))
            ),
            *(
                (error, "no file descriptor left (lower concurrency or raise ulimit -n)")
                for error in (aiohttp.ClientConnectorError(KEY, NO_FILE), NO_FILE)
            ),
            (RuntimeError("can't start new thread"), NO_THREAD),
            (
                aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "?")),
                "the name platform.example could not be looked up",
            ),
            (aiohttp.ConnectionTimeoutError("slow"), "no connection in time"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    async def test_unsent(self, api: aioresponses, error: Exception, text: str) -> None:
        """The cause of a failed connection is named; nothing was sent, and another attempt may help."""
        failure = await fail(api, error)
        outcome = Outcome.TIMEOUT if "in time" in text else Outcome.CONNECTION_ERROR
        assert failure == (outcome, f"{text}; nothing was sent", failure.latency_ms, None, RetryHint.LATER, False)

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (aiohttp.ServerDisconnectedError(), "the connection broke (ServerDisconnectedError)"),
            (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), "the connection broke (ECONNRESET)"),
            (RESET_WHILE_WRITING, "the connection broke (ECONNRESET)"),
            (ConnectionResetError(errno.ECONNRESET, "reset"), "the connection broke (ECONNRESET)"),
            (aiohttp.ClientPayloadError("cut"), "the connection broke (ClientPayloadError)"),
            (aiohttp.ClientResponseError(REQUEST, (), message="no HTTP"), "the answer is not HTTP"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    async def test_lost(self, api: aioresponses, error: Exception, text: str) -> None:
        """A later failure is named; the call may have arrived, and another attempt may help."""
        failure = await fail(api, error)
        assert failure == (Outcome.CONNECTION_ERROR, text, failure.latency_ms, None, RetryHint.LATER, True)

    async def test_refused_by_a_proxy(self, api: aioresponses) -> None:
        """A call that a proxy refuses has not arrived."""
        failure = await fail(api, aiohttp.ClientHttpProxyError(REQUEST, (), status=502))
        why = "the proxy answered HTTP 502; nothing was sent"
        assert (failure.error, failure.may_have_arrived) == (why, False)

    async def test_slip_of_the_program(self, api: aioresponses) -> None:
        """An error of the program itself is not reported as one of the network."""
        api.post(ANYWHERE, exception=ZeroDivisionError())
        async with AiohttpTransport("https://platform.example") as client:
            with pytest.raises(ZeroDivisionError):
                await client.post("/", {})


class TestSession:
    """How the client uses aiohttp's session."""

    def test_leaves_nothing_behind(self, api: aioresponses) -> None:
        """A client that is left has neither a task nor a timer any more."""
        api.post(ANYWHERE, body=b"{}")

        async def main() -> None:
            async with AiohttpTransport("https://platform.example") as client:
                await client.post("/path", {})

        run(main())
