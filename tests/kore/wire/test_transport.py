"""The wire's own: connections that end in each phase, servers that say anything; test_transport.py has the rest."""

import asyncio
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkstop.kore import aiohttp_transport
from bulkstop.kore.calls import headers
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.response import HEAD_CAP
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Campaign, CampaignType, Outcome, RetryHint
from tests.kore.wire.imitated import Transport, imitated, soon
from tests.servers import VOICE_ANSWER, Connection, Handler, authority, http, listening, replying
from tests.virtual_time import run

pytestmark = pytest.mark.real

on_both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
STREAM = "st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913"
VOICE = Campaign.of_row("cd-1", CampaignType.VOICE, "5f8d0d55b54764421b7156d9", STREAM, STREAM, "list.csv", 2)
HEADERS = headers(VOICE, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_same_cap_as_the_other_transport() -> None:
    """Both transports read the same number of bytes of a response."""
    assert HEAD_CAP == aiohttp_transport.FIELD_CAP


ENDS: dict[str, Callable[[Connection], object]] = {
    "reset": Connection.reset,
    "close": Connection.close,
    "half-close": lambda connection: connection.writer.write_eof(),
}


def ending(raw: bytes, end: Callable[[Connection], object]) -> Handler:
    """Answer with some bytes, then end the connection."""

    async def handle(connection: Connection) -> None:
        if await connection.request() is None:
            return
        await connection.write(raw)
        end(connection)
        await connection.gone()

    return handle


@on_both_loops
class TestEnds:
    """A connection may end at any time, in any way; the failure says what that means."""

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (b"", None),
            (b"HTT", None),
            (b"HTTP/1.1 200 OK\r\nContent-Le", None),
            (b"HTTP/1.1 100 Continue\r\n\r\n", None),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2", None),
            (http(b"", length=9), 200),
            (http(b"12345678", length=9), 200),
            (CHUNKED, 200),
            (CHUNKED + b"5\r\n123", 200),
            (CHUNKED + b"5\r\n12345\r\n0\r\n", 200),
        ],
        ids=lambda value: re.sub(r"\W+", "-", repr(value[-16:])) if isinstance(value, bytes) else "",
    )
    async def test_in_the_answer(self, raw: bytes, status: int | None, end: Callable[[Connection], object]) -> None:
        """Before its end it is no answer, and the stop may have arrived."""
        async with listening(ending(raw, end)) as server, WireTransport(server.url) as transport:
            found = await transport.post("/", HEADERS)
            await server.all_ended()
        assert isinstance(found, TransportFailure)
        assert (found.outcome, found.again, found.status) == (Outcome.CONNECTION_ERROR, RetryHint.LATER, status)
        assert found.may_have_arrived
        assert found.error.startswith("the answer broke off after HTTP 200" if status else "the connection broke (")

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    async def test_under_the_second_request(self, end: Callable[[Connection], object]) -> None:
        """A request on a kept connection that ends without a byte is not repeated here: it may have arrived."""

        async def serve(connection: Connection) -> None:
            await connection.request()
            await connection.write(http())
            await connection.request()
            end(connection)
            await connection.gone()

        async with listening(serve) as server, WireTransport(server.url) as transport:
            assert isinstance(await transport.post("/1", HEADERS), Response)
            found = await transport.post("/2", HEADERS)
        assert isinstance(found, TransportFailure)
        assert found.error.startswith("the connection broke (")
        assert found.may_have_arrived
        assert len(server.requests) == 2

    @pytest.mark.parametrize("end", ["reset", "close"])
    async def test_before_the_request(self, end: str) -> None:
        """A connection that ends as soon as it is there is a failure like any other."""

        async def slam(connection: Connection) -> None:
            ENDS[end](connection)

        async with listening(slam) as server, WireTransport(server.url) as transport:
            found = await transport.post("/", HEADERS)
        assert isinstance(found, TransportFailure)
        assert (found.outcome, found.again) == (Outcome.CONNECTION_ERROR, RetryHint.LATER)

    async def test_server_that_does_not_read(self) -> None:
        """A large request that is answered before it was read is answered, and does not hold up the leaving."""

        async def answer_early(connection: Connection) -> None:
            await connection.head()
            await connection.write(http())
            await asyncio.Event().wait()

        async with listening(answer_early) as server, asyncio.timeout(10):
            async with WireTransport(server.url) as transport:
                found = await transport.post("/", HEADERS, b"x" * 16 * 2**20)
            assert isinstance(found, Response)

    @pytest.mark.full
    @pytest.mark.parametrize("rounds", range(16))
    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_cancelled_anywhere(self, rounds: int, scheme: str, tmp_path: Path) -> None:
        """A call that is cancelled in any round of the loop leaves no socket behind (warnings are errors)."""
        ca, context = authority(tmp_path)
        async with (
            listening(replying(b"", "hang"), context if scheme == "https" else None) as server,
            WireTransport(server.url, ca=str(ca)) as transport,
        ):
            call = asyncio.ensure_future(transport.post("/", HEADERS))
            for _ in range(rounds):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.all_ended()
        gc.collect()


TIMEOUT_S, CAP, CALLS = 10.0, 2000, 3
Move = bytes | Literal["wait", "fin", "reset"]
Script = list[list[Move]]
"""The server's actions at each request: bytes that arrive, a pause, an end."""


def whole(number: int) -> list[bytes]:
    """Return sound answers that say for which request they are."""
    body = b"this is for request %d." % number
    return [
        http(body),
        http(body, "Connection: close"),
        http(body, status="503 Unavailable"),
        CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        b"HTTP/1.1 200 OK\r\n\r\n" + body,
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(body),
    ]


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 103 \r\n\r\n",
        b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"Content-Length: 9\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Retry-After: ",
        b"\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
        b"x" * (HEAD_CAP + 1),
        b"X: y\r\n" * 400,
        b"\x00",
    ]
)


def moves(number: int) -> st.SearchStrategy[list[Move]]:
    """Make what a server may do at its request number `number`: mostly nearly right."""
    sound = st.sampled_from(whole(number))
    cut = st.tuples(sound, st.integers(0, 120)).map(lambda at: at[0][: at[1]])
    rest = st.tuples(sound, st.integers(0, 120)).map(lambda at: at[0][at[1] :])
    data = st.one_of(sound, cut, rest, PARTS, st.binary(max_size=30))
    return st.lists(st.one_of(data, data, data, st.sampled_from(["wait", "fin", "reset"])), max_size=5)


def serving(script: Script) -> Callable[[Transport, int], None]:
    """Do at the n-th request, over any connection, what the script says."""
    todo = iter(script)

    def serve(transport: Transport, number: int) -> None:
        def act() -> None:
            for move in steps:
                if transport.is_closing() or (
                    len(transport.written) > number and transport.line.busy_since is not None
                ):
                    return  # a late word would be for another request, as far as anybody can tell
                match move:
                    case "wait":
                        asyncio.get_running_loop().call_later(3, act)
                        return
                    case "fin":
                        transport.half_close()
                    case "reset":
                        transport.lose(ConnectionResetError(104, "reset"))
                    case bytes():
                        transport.give(move)
                assert held(transport) <= CAP + 2 * HEAD_CAP

        steps = iter(next(todo, []))
        soon(act)

    return serve


def held(transport: Transport) -> int:
    """Count the bytes that a connection keeps of what came over it."""
    reader = transport.line._reader
    return len(reader._body) + sum(len(name) + len(value) for name, value in reader._fields.items())


async def calls(script: Script) -> list[tuple[Response | TransportFailure, float]]:
    """Make calls one after the other to a server that follows a script; note how long each took."""
    loop, found = asyncio.get_running_loop(), []
    with imitated(serving(script)):
        async with WireTransport(
            "http://api.example", timeout_s=TIMEOUT_S, connections=1, clock=loop.time
        ) as transport:
            for _ in range(CALLS):
                began = loop.time()
                found.append((await transport.post("/", HEADERS, b"{}", CAP), loop.time() - began))
    await asyncio.sleep(100)  # what the server still wants to say is said to nobody
    return found


@settings(max_examples=int(os.environ.get("BULKSTOP_FUZZ", "400")))
@given(script=st.tuples(*(moves(number) for number in range(CALLS))).map(list))
@example(script=[[http(VOICE_ANSWER) + http()[:5]], [http()[5:]], []])
@example(script=[[http(), "wait", http(b"this is for request 0.")], ["wait", "wait"], []])
def test_any_bytes(script: Script) -> None:
    """For any bytes in any pieces, each call has its own outcome in time, and little of the rest is kept.

    Nothing is raised or left behind (`run` checks both), and no response is used for another call.
    """
    found, _ = run(calls(script))
    for number, (reply, took_s) in enumerate(found):
        assert took_s <= TIMEOUT_S
        if isinstance(reply, Response):
            assert reply.status == 101 or reply.status >= 200
            assert len(reply.body) <= CAP
            assert {int(other) for other in re.findall(rb"this is for request (\d)\.", reply.body)} <= {number}
        else:
            assert reply.outcome in (Outcome.CONNECTION_ERROR, Outcome.TIMEOUT)
            assert (reply.outcome is Outcome.TIMEOUT) == (took_s == TIMEOUT_S)
            assert reply.may_have_arrived != reply.error.endswith("; nothing was sent")
