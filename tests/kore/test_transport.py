"""The promises of every transport, over real sockets against servers that answer well, badly or never.

A transport is `make(host, **options)`: an async context manager with `.post(target, headers)`. Another one is tested by
a line in TRANSPORTS. Each test runs on both event loops, because a command may use either.
"""

import asyncio
import contextlib
import gzip
import itertools
import re
import socket
import ssl
import sys
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkstop.errors import CredentialsError
from bulkstop.kore.aiohttp_transport import AiohttpTransport
from bulkstop.kore.calls import headers, target
from bulkstop.kore.exchange import BODY_CAP, Response, TransportFailure
from bulkstop.kore.interpret import interpret
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Campaign, CampaignType, Outcome, RetryHint
from tests.kore.rate_limits import DATE, FORMS
from tests.servers import (
    SMS_ANSWER,
    VOICE_ANSWER,
    Connection,
    End,
    Handler,
    authority,
    full_queue,
    http,
    listening,
    proxying,
    replying,
)


class Transport(Protocol):
    """A transport as its callers use it."""

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = ..., cap: int = ...
    ) -> Response | TransportFailure:
        """Make one exchange."""


Make = Callable[..., AbstractAsyncContextManager[Transport]]
TRANSPORTS: list[Any] = [pytest.param(AiohttpTransport, id="aiohttp"), pytest.param(WireTransport, id="wire")]

pytestmark = [pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"]), pytest.mark.real]

TIMEOUT_S = 0.2  # where the time is meant to run out
AMPLE_S = 10.0  # where it is not, however busy the machine is
MARGIN_S = 5.0  # a machine that stands still; to the millisecond it is in test_deadlines
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
STREAM = "st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913"
VOICE = Campaign.of_row(
    "cd-835ee4a-6c1d-5b2e", CampaignType.VOICE, "5f8d0d55b54764421b7156d9", STREAM, STREAM, "list.csv", 2
)
SMS = VOICE._replace(campaign_type=CampaignType.SMS)
TARGET, HEADERS = target(VOICE), headers(VOICE, TOKEN)
VOICE_LINE = (
    "POST /api/v2/public/st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913/campaign/trigger/cd-835ee4a-6c1d-5b2e"
    "?accountId=5f8d0d55b54764421b7156d9&campaignType=voice&trigger=stop HTTP/1.1"
)
SMS_LINE = (
    "POST /campaign/api/v2/public/st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913/campaign//trigger/cd-835ee4a-6c1d-5b2e"
    "?accountId=5f8d0d55b54764421b7156d9&campaignType=sms&trigger=stop HTTP/1.1"
)
MAY_BE_THERE = {"host", "user-agent", "accept", "accept-encoding", "content-length", "connection"}


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Make:
    """Return each transport in turn."""
    made: Make = request.param
    return made


async def in_time(
    call: Awaitable[Response | TransportFailure], timeout_s: float = AMPLE_S
) -> Response | TransportFailure:
    """Make a call, which neither raises nor takes longer than it may."""
    async with asyncio.timeout(timeout_s + MARGIN_S):
        return await call


async def ask(make: Make, url: str, timeout_s: float = AMPLE_S, **options: Any) -> Response | TransportFailure:
    """Make one call with a transport of its own."""
    async with make(url, timeout_s=timeout_s, **options) as transport:
        return await in_time(transport.post(TARGET, HEADERS), timeout_s)


def answer(response: Response | TransportFailure) -> Response:
    """Insist that an answer came."""
    assert isinstance(response, Response), response
    return response


def failure(
    response: Response | TransportFailure, outcome: Outcome, again: RetryHint = RetryHint.LATER
) -> TransportFailure:
    """Insist that none came, and that its reason is one line that does not show the token."""
    assert isinstance(response, TransportFailure), response
    assert (response.outcome, response.again) == (outcome, again), response
    assert response.error
    assert response.error.isprintable()
    assert TOKEN not in response.error
    assert response.latency_ms >= 0
    return response


class TestRequest:
    """The request on the wire is the documented one, to the byte."""

    @pytest.mark.parametrize(("campaign", "line"), [(VOICE, VOICE_LINE), (SMS, SMS_LINE)], ids=["voice", "sms"])
    async def test_documented_sample(self, make: Make, campaign: Campaign, line: str) -> None:
        """Request line, header spelling and body are those of the vendor's page; nothing else is added."""
        async with listening(replying(http())) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            answer(await in_time(transport.post(target(campaign), headers(campaign, TOKEN))))
        (raw,) = server.requests
        head, _, body = raw.decode("ascii").partition("\r\n\r\n")
        first, *fields = head.split("\r\n")
        documented = [
            f"auth: {TOKEN}",
            "accountid: 5f8d0d55b54764421b7156d9",
            f"iid: {STREAM}",
            "Content-Type: application/json",
        ]
        assert first == line
        assert [field for field in fields if field in documented] == documented
        others = [field for field in fields if field not in documented]
        names = [field.partition(":")[0].lower() for field in others]
        assert set(names) <= MAY_BE_THERE
        assert len(set(names)) == len(names)
        assert f"Host: 127.0.0.1:{server.port}" in others
        assert "Content-Length: 2" in others
        assert body == "{}"

    @pytest.mark.parametrize(
        "campaign_id", ["a/b", "%2F", "a b", "é", "?x=1", "#f", "a\\b", ";", "..%2f..", "+", "&", "//"]
    )
    async def test_odd_ids(self, make: Make, campaign_id: str) -> None:
        """A transport sends the target unchanged: nothing is decoded, folded or encoded again."""
        wanted = target(SMS._replace(campaign_id=campaign_id))
        async with listening(replying(http())) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            answer(await in_time(transport.post(wanted, HEADERS)))
        assert server.requests[0].split(b"\r\n")[0].decode() == f"POST {wanted} HTTP/1.1"

    async def test_user_agent(self, make: Make) -> None:
        """The server can tell who is calling."""
        async with listening(replying(http())) as server:
            answer(await ask(make, server.url, user_agent="bulkstop/1"))
        assert b"\r\nUser-Agent: bulkstop/1\r\n" in server.requests[0]

    async def test_host_with_a_path(self, make: Make) -> None:
        """A path behind the host comes before that of the API."""
        async with listening(replying(http())) as server:
            answer(await ask(make, server.url + "/gateway/"))
        assert server.requests[0].startswith(f"POST /gateway{TARGET} HTTP/1.1\r\n".encode())

    async def test_no_cookies(self, make: Make) -> None:
        """A cookie that a server sets is not sent back: the second request equals the first."""
        reply = replying(http(VOICE_ANSWER, "Set-Cookie: session=1; Path=/"))
        async with listening(reply) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for _ in range(2):
                answer(await in_time(transport.post(TARGET, HEADERS)))
        assert server.requests[0] == server.requests[1]

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
    async def test_no_redirects(self, make: Make, status: str) -> None:
        """A redirect is a response: nothing is sent to its target, and its status and target are reported."""
        async with listening(replying(http())) as elsewhere:
            place = f"{elsewhere.url}/stolen"
            async with listening(replying(http(b"", f"Location: {place}", status=status))) as server:
                response = answer(await ask(make, server.url))
        assert (response.status, response.location) == (int(status[:3]), place)
        assert (len(server.requests), elsewhere.connections) == (1, 0)


def _deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


def _chunked(data: bytes, size: int = 7) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)] + [b""]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


class TestRateLimit:
    """Each attempt has the remaining calls that the service reports."""

    @pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests"])
    async def test_each_form(self, make: Make, status: str) -> None:
        """Each form is read off the wire, and where an answer has none, none of the one before is left."""
        answers = {
            form: http(VOICE_ANSWER, f"Date: {DATE}", *lines, status=status) for form, (lines, _) in FORMS.items()
        }

        async def reply(connection: Connection) -> None:
            for data in answers.values():
                for each in (data, http()):
                    if await connection.request() is None:
                        return
                    await connection.write(each)

        read, after = {}, []
        async with listening(reply) as server, make(server.url, timeout_s=AMPLE_S, connections=1) as transport:
            for form in answers:
                read[form] = interpret(answer(await in_time(transport.post(TARGET, HEADERS)))).allowance
                after.append(answer(await in_time(transport.post(TARGET, HEADERS))).rate_limit)
        assert read == {form: allowance for form, (_, allowance) in FORMS.items()}
        assert after == [()] * len(FORMS)


class TestAnswer:
    """An answer in any sound form is read; its body is what the server meant."""

    @pytest.mark.parametrize(
        ("raw", "end"),
        [
            (http(), "keep"),
            (http(VOICE_ANSWER, "Content-Type: text/html; charset=utf-16"), "keep"),
            (http(VOICE_ANSWER, "Content-Type: application/json", "X-Powered-By: x"), "keep"),
            (http(VOICE_ANSWER, "Connection: close"), "close"),
            (http(gzip.compress(VOICE_ANSWER, mtime=0), "Content-Encoding: gzip"), "keep"),
            (http(_deflated(VOICE_ANSWER, 15), "Content-Encoding: deflate"), "keep"),
            (http(_deflated(VOICE_ANSWER, -15), "Content-Encoding: deflate"), "keep"),
            (CHUNKED + b"\r\n" + _chunked(VOICE_ANSWER), "keep"),
            (CHUNKED + b"\r\n" + _chunked(VOICE_ANSWER)[:-2] + b"X-Trailer: 1\r\n\r\n", "keep"),
            (CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + _chunked(gzip.compress(VOICE_ANSWER, mtime=0)), "keep"),
            (b"HTTP/1.1 200 OK\r\n\r\n" + VOICE_ANSWER, "close"),
            (b"HTTP/1.0 200 OK\r\n\r\n" + VOICE_ANSWER, "close"),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + http(), "keep"),
            (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http(), "keep"),
        ],
        ids=[
            "plain",
            "wrong-type",
            "json-type",
            "closed-after",
            "gzip",
            "deflate",
            "raw-deflate",
            "chunked",
            "trailer",
            "gzip-chunked",
            "until-close",
            "http10",
            "continue",
            "hints",
        ],
    )
    async def test_forms(self, make: Make, raw: bytes, end: End) -> None:
        """The documented response proves the stop in any framing, packing or labelling."""
        async with listening(replying(raw, end)) as server:
            response = answer(await ask(make, server.url))
        assert (response.status, response.body) == (200, VOICE_ANSWER)
        assert 0 < response.latency_ms < AMPLE_S * 1000
        assert interpret(response).outcome is Outcome.STOPPED

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (http(b""), 200),
            (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (http(b"", status="304 Not Modified"), 304),
            (http(b"", status="500 "), 500),
        ],
        ids=["empty", "204", "304", "500"],
    )
    async def test_empty(self, make: Make, raw: bytes, status: int) -> None:
        """An answer without a body is an answer, and the connection serves again."""
        async with listening(replying(raw)) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for _ in range(2):
                response = answer(await in_time(transport.post(TARGET, HEADERS)))
                assert (response.status, response.body) == (status, b"")
        assert server.connections == 1

    async def test_headers_that_matter(self, make: Make) -> None:
        """`Retry-After` and `Date` of a failure reach those who decide when to try again."""
        date = "Fri, 05 Dec 2025 12:00:00 GMT"
        raw = http(b"busy", "retry-after: 7", f"DATE: {date}", status="503 Service Unavailable")
        async with listening(replying(raw)) as server:
            response = answer(await ask(make, server.url))
        assert (response.status, response.body, response.retry_after, response.date) == (503, b"busy", "7", date)

    @pytest.mark.parametrize("surplus", [-1, 0, 1, 3 * BODY_CAP])
    async def test_body_up_to_the_cap(self, make: Make, surplus: int) -> None:
        """A body is read up to the cap and not beyond it."""
        body = bytes(range(256)) * ((BODY_CAP + max(surplus, 0)) // 256 + 1)
        body = body[: BODY_CAP + surplus]
        async with listening(replying(http(body))) as server:
            response = answer(await ask(make, server.url))
        assert response.body == body[:BODY_CAP]

    async def test_cap_of_the_caller(self, make: Make) -> None:
        """A call that wants more of a body gets it, one that wants less gets less."""
        body = b"x" * (BODY_CAP + 1)
        async with listening(replying(http(body))) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for cap in (10, BODY_CAP, 10**6):
                response = answer(await in_time(transport.post(TARGET, HEADERS, b"{}", cap)))
                assert response.body == body[:cap]

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", http(b"", length=2**60), CHUNKED + b"\r\n"])
    async def test_endless_body(self, make: Make, head: bytes) -> None:
        """An endless body is cut off and its connection dropped; the next call has another."""

        async def pour(connection: Connection) -> None:
            await connection.request()
            await connection.write(head)
            while True:
                await connection.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

        async with listening(pour) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for calls in (1, 2):
                response = answer(await in_time(transport.post(TARGET, HEADERS)))
                assert (response.status, len(response.body)) == (200, BODY_CAP)
                await server.all_ended()
                assert server.connections == calls

    @pytest.mark.parametrize(
        ("raw", "status", "body"),
        [
            (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", 200, b"{}"),
            (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
            (http(b"{}", "Location: /a\x1bb", status="302 Found"), 302, b"{}"),
            (http(b"{}", f"X: {'y' * 30_000}"), 200, b"{}"),
            (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 101, b""),
        ],
        ids=["line-feeds", "folded", "control-character", "long-field", "another-protocol"],
    )
    async def test_not_quite_right(self, make: Make, raw: bytes, status: int, body: bytes) -> None:
        """Common deviations of servers are read as they are meant."""
        async with listening(replying(raw)) as server:
            response = answer(await ask(make, server.url))
        assert (response.status, response.body) == (status, body)

    async def test_a_coding_that_was_not_offered(self, make: Make) -> None:
        """A body in an unrequested encoding is not a proof."""
        async with listening(replying(http(VOICE_ANSWER, "Content-Encoding: br"))) as server:
            response = await ask(make, server.url)
        assert isinstance(response, TransportFailure)
        assert response.outcome is Outcome.CONNECTION_ERROR

    async def test_long_heads(self, make: Make) -> None:
        """A field that is too long is too long each time."""
        async with (
            listening(replying(http(VOICE_ANSWER, f"X: {'y' * 33_000}"))) as server,
            make(server.url, timeout_s=AMPLE_S) as transport,
        ):
            for _ in range(3):
                response = await in_time(transport.post(TARGET, HEADERS))
                assert isinstance(response, TransportFailure)
                assert response.outcome is Outcome.CONNECTION_ERROR

    async def test_gzip_bomb(self, make: Make) -> None:
        """A small body that unpacks to 100 MB is unpacked up to the cap, in little memory."""
        bomb = await asyncio.to_thread(_bomb)  # 0.25 s of processor time, which must not hold the loop
        async with (
            listening(replying(http(bomb, "Content-Encoding: gzip"))) as server,
            make(server.url, timeout_s=AMPLE_S) as transport,
        ):
            tracemalloc.start()
            try:
                response = answer(await in_time(transport.post(TARGET, HEADERS)))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert response.body == bytes(BODY_CAP)
        assert peak < 16 * 2**20


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(100)), packer.flush()])


RUBBISH = [
    b"rubbish\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00" * 20,
    b"\x00" * 100,
    b"\xff" * 100_000,
    b"{}\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    CHUNKED + b"\r\nzz\r\n",
]
CUT_OFF = [
    b"",
    b"HTTP/1.1 2",
    b"HTTP/1.1 200 OK\r\nContent-Ty",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n",
    http(b"", length=151),
    http(VOICE_ANSWER[:40], length=151),
    http(VOICE_ANSWER, length=152),
    CHUNKED + b"\r\n",
    CHUNKED + b"\r\n97\r\n" + VOICE_ANSWER[:30],
    CHUNKED + b"\r\n97\r\n" + VOICE_ANSWER + b"\r\n",
]


def _short(raw: bytes) -> str:
    return re.sub(r"\W+", "-", f"{raw[-24:]!r}")


class TestNoAnswer:
    """A server that breaks off, talks rubbish or says nothing ends one call, in time, with a reason."""

    @pytest.mark.parametrize("raw", RUBBISH, ids=_short)
    @pytest.mark.parametrize("end", ["close", "reset", "hang"])
    async def test_rubbish(self, make: Make, raw: bytes, end: End) -> None:
        """Bytes that are not HTTP are a connection error worth another attempt, and the stop may have arrived."""
        async with listening(replying(raw, end)) as server:
            response = failure(await ask(make, server.url), Outcome.CONNECTION_ERROR)
        assert response.may_have_arrived

    @pytest.mark.parametrize("raw", CUT_OFF, ids=_short)
    @pytest.mark.parametrize("end", ["close", "reset"])
    async def test_broken_off(self, make: Make, raw: bytes, end: End) -> None:
        """An answer that breaks off proves nothing, even when the missing part is only its end."""
        async with listening(replying(raw, end)) as server:
            response = failure(await ask(make, server.url), Outcome.CONNECTION_ERROR)
        assert response.may_have_arrived
        assert response.status == (200 if b"\r\n\r\n" in raw else None)

    @pytest.mark.parametrize("raw", CUT_OFF, ids=_short)
    async def test_never_completed(self, make: Make, raw: bytes) -> None:
        """An answer that stops coming, or never comes, is a timeout when the time is up; its connection is dropped."""
        async with listening(replying(raw, "hang")) as server, make(server.url, timeout_s=TIMEOUT_S) as transport:
            response = failure(await in_time(transport.post(TARGET, HEADERS), TIMEOUT_S), Outcome.TIMEOUT)
            await server.all_ended()
        assert response.may_have_arrived
        assert response.status == (200 if b"\r\n\r\n" in raw else None)
        assert TIMEOUT_S * 1000 - 20 <= response.latency_ms <= (TIMEOUT_S + MARGIN_S) * 1000

    @pytest.mark.parametrize(
        ("start", "rest"),
        [
            (b"", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            (http(b"", length=10**6), b"x"),
            (CHUNKED + b"\r\n", b"1\r\nx\r\n"),
        ],
        ids=["head", "headers", "body", "chunks"],
    )
    async def test_trickle(self, make: Make, start: bytes, rest: bytes) -> None:
        """The time is for the whole call: a byte now and then does not prolong it."""

        async def trickle(connection: Connection) -> None:
            await connection.request()
            await connection.write(start)
            for byte in itertools.cycle(rest):
                await connection.write(bytes([byte]))
                await asyncio.sleep(TIMEOUT_S / 20)

        async with listening(trickle) as server:
            failure(await ask(make, server.url, timeout_s=TIMEOUT_S), Outcome.TIMEOUT)

    async def test_endless_interim_answers(self, make: Make) -> None:
        """A server that says 100 Continue for ever is a timeout or a broken connection, not a loop."""

        async def encourage(connection: Connection) -> None:
            await connection.request()
            while True:
                await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(TIMEOUT_S / 50)

        async with listening(encourage) as server:
            response = await ask(make, server.url, timeout_s=TIMEOUT_S)
        assert isinstance(response, TransportFailure)
        assert response.outcome in (Outcome.TIMEOUT, Outcome.CONNECTION_ERROR)

    @pytest.mark.parametrize("piece", [b"x" * 65536, b"X-Field: value\r\n" * 4096], ids=["line", "lines"])
    async def test_endless_head(self, make: Make, piece: bytes) -> None:
        """A head without end is given up long before the time is."""

        async def pour(connection: Connection) -> None:
            await connection.request()
            await connection.write(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                await connection.write(piece)

        async with listening(pour) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            failure(await in_time(transport.post(TARGET, HEADERS)), Outcome.CONNECTION_ERROR)
            await server.all_ended()

    @pytest.mark.parametrize(
        "fields", [["X: " + "y" * 20_000], [f"X{n}: y" for n in range(5000)]], ids=["line", "lines"]
    )
    async def test_huge_head(self, make: Make, fields: list[str]) -> None:
        """A huge head that ends is read or refused; both in time."""
        async with listening(replying(http(VOICE_ANSWER, *fields))) as server:
            response = await ask(make, server.url)
        assert isinstance(response, Response) or failure(response, Outcome.CONNECTION_ERROR)

    @pytest.mark.parametrize("packing", ["gzip", "deflate"])
    @pytest.mark.parametrize(
        "body", [VOICE_ANSWER, gzip.compress(VOICE_ANSWER, mtime=0)[:-30], b"\x1f\x8b", b"\x00" * 50], ids=_short
    )
    async def test_broken_packing(self, make: Make, packing: str, body: bytes) -> None:
        """A body that cannot be unpacked proves nothing."""
        async with listening(replying(http(body, f"Content-Encoding: {packing}"))) as server:
            response = await ask(make, server.url)
        assert interpret(response).outcome in (Outcome.CONNECTION_ERROR, Outcome.UNCONFIRMED)

    async def test_reset_before_the_request(self, make: Make) -> None:
        """A connection that is reset as soon as it is there is a connection error."""

        async def slam(connection: Connection) -> None:
            connection.reset()

        async with listening(slam) as server:
            failure(await ask(make, server.url), Outcome.CONNECTION_ERROR)

    async def test_server_that_speaks_first(self, make: Make) -> None:
        """A server of another protocol, which greets, is a connection error."""

        async def greet(connection: Connection) -> None:
            await connection.write(b"220 mail.example ESMTP\r\n")
            await connection.gone()

        async with listening(greet) as server:
            failure(await ask(make, server.url), Outcome.CONNECTION_ERROR)

    async def test_refused(self, make: Make) -> None:
        """A closed port: nothing was sent, and the failure says so."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            response = await ask(make, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert "nothing was sent" in failure(response, Outcome.CONNECTION_ERROR).error

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux is known to keep a caller waiting at a full queue")
    async def test_no_connection(self, make: Make) -> None:
        """A server that accepts no connection has its own timeout: nothing was sent, and the failure says so."""
        with full_queue() as (host, port):
            response = await ask(make, f"http://{host}:{port}", connect_timeout_s=TIMEOUT_S)
        assert failure(response, Outcome.TIMEOUT).error == "no connection in time; nothing was sent"

    async def test_name_that_is_gone(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an address nothing is sent; one that is known serves while the name is gone or until it moves."""
        addresses, loop = iter(["", "127.0.0.1", "", "127.0.0.2"]), asyncio.get_running_loop()
        real_look_up = loop.getaddrinfo

        async def look_up(host: str, port: int, **options: Any) -> list[Any]:
            if host != "api.campaigns.test":
                return await real_look_up(host, port, **options)
            if not (address := next(addresses)):
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        monkeypatch.setattr("bulkstop.kore.network.LOOKUP_S", 0)
        async with (
            listening(replying(http(VOICE_ANSWER, "Connection: close"))) as server,
            make(f"http://api.campaigns.test:{server.port}", timeout_s=AMPLE_S) as transport,
        ):
            absent, new, gone, moved = [await in_time(transport.post(TARGET, HEADERS)) for _ in range(4)]
        why = "the name api.campaigns.test could not be looked up; nothing was sent"
        assert failure(absent, Outcome.CONNECTION_ERROR).error == why
        assert answer(new).body == answer(gone).body == VOICE_ANSWER
        assert "(ECONNREFUSED); nothing was sent" in failure(moved, Outcome.CONNECTION_ERROR).error

    async def test_unknown_name(self, make: Make) -> None:
        """A host name that does not exist ends the call; a name service that is slow to say so does not prolong it."""
        response = await ask(make, "http://no-such-host.invalid")
        assert isinstance(response, TransportFailure)
        assert response.outcome in (Outcome.CONNECTION_ERROR, Outcome.TIMEOUT)
        if response.outcome is Outcome.CONNECTION_ERROR:
            assert "no-such-host.invalid" in response.error
            assert "nothing was sent" in response.error

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        whole=st.sampled_from(
            [
                http(),
                http(gzip.compress(SMS_ANSWER, mtime=0), "Content-Encoding: gzip"),
                CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
            ]
        ),
        cut=st.tuples(st.integers(0, 250), st.integers(0, 250)),
        filler=st.binary(max_size=40),
        end=st.sampled_from(["close", "reset"]),
    )
    async def test_any_bytes(self, make: Make, whole: bytes, cut: tuple[int, int], filler: bytes, end: End) -> None:
        """For any bytes before the end of the connection, the call returns in time and does not raise."""
        async with listening(replying(whole[: cut[0]] + filler + whole[cut[1] :], end)) as server:
            response = await ask(make, server.url, timeout_s=5)
        assert isinstance(response, Response) or failure(response, Outcome.CONNECTION_ERROR)


class TestConnections:
    """Connections are kept, counted and never trusted."""

    async def test_kept_alive(self, make: Make) -> None:
        """Calls one after the other use one connection."""
        async with listening(replying(http())) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for _ in range(10):
                answer(await in_time(transport.post(TARGET, HEADERS)))
        assert (server.connections, len(server.requests)) == (1, 10)

    async def test_bounded(self, make: Make) -> None:
        """No more connections are open than allowed; the calls beyond wait for their turn."""
        async with (
            listening(replying(http())) as server,
            make(server.url, timeout_s=AMPLE_S, connections=4) as transport,
        ):
            response = await asyncio.gather(*(in_time(transport.post(TARGET, HEADERS)) for _ in range(40)))
        assert all(isinstance(one, Response) for one in response)
        assert (server.connections, len(server.requests)) == (4, 40)

    async def test_waiting_for_a_connection_counts(self, make: Make) -> None:
        """The time of a call includes its wait for a free connection."""
        async with (
            listening(replying(b"", "hang")) as server,
            make(server.url, timeout_s=TIMEOUT_S, connections=1) as transport,
        ):
            for response in await asyncio.gather(
                *(in_time(transport.post(TARGET, HEADERS), TIMEOUT_S) for _ in range(5))
            ):
                failure(response, Outcome.TIMEOUT)

    async def test_closed_between_two_calls(self, make: Make) -> None:
        """A connection that the server closed in the meantime is not used again, and the next call does not fail."""

        async def serve_once(connection: Connection) -> None:
            await connection.request()
            await connection.write(http())
            connection.writer.write_eof()
            await connection.gone()

        async with listening(serve_once) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for calls in (1, 2, 3):
                answer(await in_time(transport.post(TARGET, HEADERS)))
                await server.all_ended()
                assert server.connections == calls

    async def test_closed_under_the_second_call(self, make: Make) -> None:
        """A request on a kept connection that dies is not sent a second time behind the caller's back."""

        async def serve_once(connection: Connection) -> None:
            await connection.request()
            await connection.write(http())
            await connection.request()

        async with listening(serve_once) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            answer(await in_time(transport.post(TARGET, HEADERS)))
            response = failure(await in_time(transport.post(TARGET, HEADERS)), Outcome.CONNECTION_ERROR)
        assert response.may_have_arrived
        assert len(server.requests) == 2

    async def test_surplus_answer(self, make: Make) -> None:
        """A second response after the first is never used for the next call."""
        twice = http(b"asked") + http()

        async with listening(replying(twice)) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            for _ in range(3):
                assert answer(await in_time(transport.post(TARGET, HEADERS))).body == b"asked"

    async def test_unasked_answer(self, make: Make) -> None:
        """A response while no request is open is never used for the next call, and responses never shift."""
        kept: list[Connection] = []

        async def serve(connection: Connection) -> None:
            kept.append(connection)
            while request := await connection.request():
                await connection.write(http(request.split(b" ")[1]))

        async with listening(serve) as server, make(server.url, timeout_s=AMPLE_S) as transport:
            answer(await in_time(transport.post("/first", HEADERS)))
            await kept[0].write(http())
            await ask(make, server.url)  # an exchange later, the transport has what was written before
            for path in ("/second", "/third"):
                response = await in_time(transport.post(path, HEADERS))
                assert isinstance(response, TransportFailure) or response.body == path.encode()

    async def test_next_call_after_each_end(self, make: Make) -> None:
        """After a timeout, rubbish, a reset and a huge body the same transport works, in the same task."""
        replies: list[Handler] = [
            replying(b"", "hang"),
            replying(b"rubbish\r\n\r\n", "hang"),
            replying(b"HTTP", "reset"),
            replying(http(bytes(2 * BODY_CAP)), "hang"),
            replying(http()),
        ]
        reply = replies[0]

        async def serve(connection: Connection) -> None:
            await reply(connection)

        async with listening(serve) as server, make(server.url, timeout_s=2 * TIMEOUT_S, connections=1) as transport:
            for reply in replies:  # noqa: B007 - served from here on
                response = await in_time(transport.post(TARGET, HEADERS), 2 * TIMEOUT_S)
        assert answer(response).body == VOICE_ANSWER
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


class TestCancelling:
    """A call can be cut off from outside at any point."""

    @pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\n", http(b"", length=151)], ids=_short)
    async def test_in_flight(self, make: Make, raw: bytes) -> None:
        """A cancelled call ends at once as cancelled, not as a result, and its connection is dropped."""
        waiting = asyncio.Event()

        async def wait(connection: Connection) -> None:
            await connection.request()
            await connection.write(raw)
            waiting.set()
            await connection.gone()

        async with listening(wait) as server, make(server.url, timeout_s=60) as transport:
            call = asyncio.ensure_future(transport.post(TARGET, HEADERS))
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await in_time(call)
            await server.all_ended()

    async def test_timeout_of_the_caller(self, make: Make) -> None:
        """A shorter timeout around the call belongs to its owner: it is raised there as a TimeoutError."""
        async with listening(replying(b"", "hang")) as server, make(server.url, timeout_s=60) as transport:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await transport.post(TARGET, HEADERS)

    async def test_used_outside_its_block(self, make: Make) -> None:
        """A transport that was not entered says so instead of failing as a call."""
        unopened: Any = make("http://127.0.0.1:1")
        with pytest.raises(AssertionError, match="async with"):
            await unopened.post(TARGET, HEADERS)

    async def test_leaving_ends_what_is_open(self, make: Make) -> None:
        """Leaving the transport closes its kept connections."""
        async with listening(replying(http())) as server:
            answer(await ask(make, server.url))
            await server.all_ended()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """Return the PEM file of an untrusted authority, and a server's context signed by it."""
    ca_file, context = authority(tmp_path_factory.mktemp("tls"))
    return str(ca_file), context


def _read_at_least(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(65536)
    return data


class TestTls:
    """https is verified, against an authority of one's own where that is given."""

    async def test_untrusted(self, make: Make, tls: tuple[str, Any]) -> None:
        """An untrusted certificate ends the call before anything is sent, names --ca, and is not tried again."""
        async with listening(replying(http()), tls[1]) as server:
            response = failure(await ask(make, server.url), Outcome.CONNECTION_ERROR, RetryHint.NEVER)
        assert "give ca=" in response.error
        assert server.requests == []

    async def test_own_authority(self, make: Make, tls: tuple[str, Any]) -> None:
        """With --ca the same server is trusted."""
        async with listening(replying(http()), tls[1]) as server:
            assert answer(await ask(make, server.url, ca=tls[0])).body == VOICE_ANSWER
        assert len(server.requests) == 1

    async def test_other_name(self, make: Make, tls: tuple[str, Any]) -> None:
        """A certificate for another name is not accepted, trusted authority or not."""
        async with listening(replying(http()), tls[1]) as server:
            response = await ask(make, f"https://localhost:{server.port}", ca=tls[0])
        failure(response, Outcome.CONNECTION_ERROR, RetryHint.NEVER)
        assert server.requests == []

    async def test_plain_server(self, make: Make) -> None:
        """A server that speaks plain HTTP on that port is a connection error."""

        async def refuse(connection: Connection) -> None:
            await connection.reader.read(1)
            await connection.write(http(b"speak plainly", status="400 Bad Request"))

        async with listening(refuse) as server:
            response = await ask(make, f"https://127.0.0.1:{server.port}")
        assert "TLS" in failure(response, Outcome.CONNECTION_ERROR).error

    async def test_no_handshake(self, make: Make) -> None:
        """A server that never shakes hands is a timeout."""
        async with listening(Connection.gone) as server:
            failure(await ask(make, f"https://127.0.0.1:{server.port}", timeout_s=TIMEOUT_S), Outcome.TIMEOUT)

    @pytest.mark.parametrize("way", ["straight", "proxy"])
    async def test_certificate_of_ours(self, make: Make, tls: tuple[str, Any], way: str) -> None:
        """A server that requests a client certificate gets it, also through a proxy."""
        chain = str(Path(tls[0]).with_name("server.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls[0])
        async with listening(proxying([])) as proxy, listening(replying(http()), context) as server:
            options: dict[str, Any] = {"ca": tls[0], "proxy": proxy.url if way == "proxy" else None}
            assert answer(await ask(make, server.url, cert=chain, **options)).body == VOICE_ANSWER

    async def test_certificate_of_ours_wanted(self, make: Make, tls: tuple[str, Any]) -> None:
        """A server that requests a missing certificate causes a permanent failure instead of a response."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(tls[0]).with_name("server.pem"))
        context.verify_mode = ssl.CERT_REQUIRED

        def refuse(listener: socket.socket) -> None:  # asyncio's servers hang up without a word
            received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = context.wrap_bio(received, to_send, server_side=True)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(AMPLE_S)
                for expected in (1, 200):  # the client's end of a handshake has 110 bytes: so the call has left as well
                    received.write(_read_at_least(connection, expected))
                    with contextlib.suppress(ssl.SSLError):
                        server.do_handshake()
                    connection.sendall(to_send.read())
                while connection.recv(65536):
                    pass

        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = asyncio.get_running_loop().run_in_executor(None, refuse, listener)
            host = f"https://127.0.0.1:{listener.getsockname()[1]}"
            response = failure(await ask(make, host, ca=tls[0]), Outcome.CONNECTION_ERROR, RetryHint.NEVER)
            await server
        assert response.error.startswith("the server asks for a client certificate; give cert=")
        assert not response.may_have_arrived

    async def test_trailing_dot(self, make: Make, tls: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """The dot at the end of a full name is neither in the certificate nor in `Host`."""
        names: list[str | None] = []
        loop = asyncio.get_running_loop()
        real_look_up = loop.getaddrinfo

        async def look_up(host: str, port: int, **options: Any) -> list[Any]:
            return await real_look_up("127.0.0.1" if host == "localhost." else host, port, **options)

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        tls[1].sni_callback = lambda _, name, __: names.append(name)
        async with listening(replying(http()), tls[1]) as server:
            got = await ask(make, f"https://localhost.:{server.port}", ca=tls[0])
            response = failure(got, Outcome.CONNECTION_ERROR, RetryHint.NEVER)
        tls[1].sni_callback = None
        assert names == ["localhost"]
        assert "not valid for localhost;" in response.error
        async with listening(replying(http())) as server:
            answer(await ask(make, f"http://localhost.:{server.port}"))
        assert f"\r\nHost: localhost:{server.port}\r\n".encode() in server.requests[0]


class TestProxy:
    """An HTTP proxy is used, and gets only what it needs."""

    async def test_forwarding(self, make: Make) -> None:
        """A call to http:// reaches its server through the proxy, to the byte."""
        heads: list[bytes] = []
        async with (
            listening(proxying(heads)) as proxy,
            listening(replying(http())) as server,
            make(server.url, timeout_s=AMPLE_S, proxy=proxy.url) as transport,
        ):
            response = answer(await in_time(transport.post(target(SMS), headers(SMS, TOKEN))))
        assert response.body == VOICE_ANSWER
        assert heads[0].split(b"\r\n")[0].decode() == f"POST {server.url}{target(SMS)} HTTP/1.1"
        assert server.requests[0].split(b"\r\n")[0].decode() == f"POST {target(SMS)} HTTP/1.1"

    async def test_tunnel(self, make: Make, tls: tuple[str, Any]) -> None:
        """A call to https:// goes through a tunnel: the proxy sees the host, but neither the token nor the path."""
        heads: list[bytes] = []
        async with listening(proxying(heads)) as proxy, listening(replying(http()), tls[1]) as server:
            response = answer(await ask(make, server.url, proxy=proxy.url, ca=tls[0]))
        assert response.body == VOICE_ANSWER
        assert server.requests[0].startswith(f"POST {TARGET} HTTP/1.1\r\n".encode())
        (head,) = heads
        assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
        assert b"auth:" not in head.lower()
        assert TOKEN.encode() not in head
        assert b"trigger" not in head

    @pytest.mark.parametrize("form", ["pa%3A55word", "pa:55word", "us er:pa:55word"])
    async def test_password_is_masked(self, make: Make, form: str) -> None:
        """A proxy that repeats its own password, in any encoding, cannot bring it into a response."""
        raw_answer = http(b"no: " + form.encode(), f"Location: http://{form}/", status="502 Bad Gateway")
        async with listening(replying(raw_answer)) as proxy:
            response = answer(
                await ask(make, "http://127.0.0.1:1", proxy=proxy.url.replace("//", "//us%20er:pa%3A55word@"))
            )
        assert (response.status, b"[masked]" in response.body) == (502, True)
        assert "55word" not in str(response)

    async def test_environment_is_left_alone(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that is only in the environment is not used."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with listening(replying(http())) as server:
            answer(await ask(make, server.url))

    async def test_tunnel_refused(self, make: Make) -> None:
        """A proxy that cannot reach the host is named as the one who said so: nothing was sent."""
        async with listening(replying(http(b"", status="502 Bad Gateway"))) as proxy:
            response = failure(await ask(make, "https://127.0.0.1:1", proxy=proxy.url), Outcome.CONNECTION_ERROR)
        assert response.error == "the proxy answered HTTP 502; nothing was sent"

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
    async def test_nobody_gets_through(self, make: Make, scheme: str, status: str) -> None:
        """A refusing proxy is used once, by any number of concurrent calls, and its response ends the run."""
        async with listening(replying(http(b"no", status=status))) as proxy:
            there = proxy.url.replace("//", "//janusz:%C4%98dward@")
            async with make(f"{scheme}://127.0.0.1:1", timeout_s=AMPLE_S, proxy=there) as transport:
                ends = await asyncio.gather(
                    *(transport.post(TARGET, HEADERS) for _ in range(9)), return_exceptions=True
                )
        assert {type(end) for end in ends} == {CredentialsError}
        assert f"(HTTP {status[:3]})" in str(ends[0])
        (head,) = proxy.requests
        assert b"Basic amFudXN6OsSYZHdhcmQ=" in head

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.0 200 OK\n\n",
        ],
        ids=["204", "interim", "line-feeds"],
    )
    async def test_ways_to_say_yes(self, make: Make, tls: tuple[str, Any], said: bytes) -> None:
        """Any 2xx opens the tunnel, with any line ends and anything before it."""
        async with listening(replying(http()), tls[1]) as server, listening(proxying([], said)) as proxy:
            assert answer(await ask(make, server.url, proxy=proxy.url, ca=tls[0])).body == VOICE_ANSWER

    @pytest.mark.parametrize("hangs", ["tls", "connect"])
    async def test_hangs_before_anything_was_sent(self, make: Make, hangs: str) -> None:
        """A call that hangs in the handshake or at CONNECT was not sent, whichever deadline comes first."""
        async with listening(Connection.gone) as server:
            where: dict[str, Any] = {"proxy": server.url} if hangs == "connect" else {}
            host = f"https://127.0.0.1:{server.port}"
            for deadlines in ({"timeout_s": TIMEOUT_S}, {"timeout_s": AMPLE_S, "connect_timeout_s": TIMEOUT_S}):
                response = failure(await ask(make, host, **deadlines, **where), Outcome.TIMEOUT)
                assert response.error.endswith("; nothing was sent")
                assert not response.may_have_arrived

    async def test_breaks_off(self, make: Make) -> None:
        """A proxy that hangs up at CONNECT has passed nothing on."""
        async with listening(replying(b"", "close")) as proxy:
            response = failure(await ask(make, "https://127.0.0.1:1", proxy=proxy.url), Outcome.CONNECTION_ERROR)
        assert response.error.endswith("; nothing was sent")
        assert not response.may_have_arrived

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_unreachable(self, make: Make, scheme: str) -> None:
        """A proxy that is not there: nothing was sent."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            response = await ask(make, f"{scheme}://127.0.0.1:1", proxy=proxy)
        assert "nothing was sent" in failure(response, Outcome.CONNECTION_ERROR).error

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_rubbish(self, make: Make, scheme: str) -> None:
        """A proxy that talks rubbish is a connection error."""
        async with listening(replying(b"rubbish\r\n\r\n", "close")) as proxy:
            failure(await ask(make, f"{scheme}://127.0.0.1:1", proxy=proxy.url), Outcome.CONNECTION_ERROR)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_silent(self, make: Make, scheme: str) -> None:
        """A proxy that says nothing is a timeout."""
        async with listening(Connection.gone) as proxy:
            failure(await ask(make, f"{scheme}://127.0.0.1:1", proxy=proxy.url, timeout_s=TIMEOUT_S), Outcome.TIMEOUT)
