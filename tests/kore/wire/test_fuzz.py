"""The wire is fed what a server might send and what none would: sound answers, spoilt ones, noise, in any pieces.

`BULKSTOP_FUZZ=100000` is the long run. A case that fails is made again by its number alone.
"""

import asyncio
import os
import re
import zlib
from asyncio import CancelledError
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from random import Random
from typing import Any

import pytest

from bulkstop.kore.exchange import Came, Response, TransportFailure
from bulkstop.kore.wire.connection import Connection as WireConnection
from bulkstop.kore.wire.response import HEAD_CAP
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Outcome
from tests.servers import Connection, http, listening

pytestmark = pytest.mark.real

CASES = int(os.environ.get("BULKSTOP_FUZZ", "2000"))
SOCKET_CASES = min(CASES, 300)
REQUESTS, CAP = 3, 2000
ENDS = ("keep", "keep", "keep", "fin", "reset", "time")
FOR_REQUEST = re.compile(rb"for request (\d+), \1, \1\.")
"""Three times, so that one that is damaged into another number matches none."""
PARTS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\x00",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.0 204 \r\n\r\n",
    b"Content-Length: 7\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Retry-After: \xff\r\n",
    b"ffffffffffffffff\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
    b"X: " + b"y" * HEAD_CAP,
    b"X: y\r\n" * 99,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes that answer one request; `sound` is the expected response, if that is certain.

    With `is_cut` they are the beginning of a sound one, which must not be accepted unless all needed parts are there.
    """

    raw: bytes
    sound: tuple[int, bytes] | None
    end: str
    is_cut: bool = False


def named(number: int) -> bytes:
    """Write a text that says for which request it is."""
    return b"This is for request %d, %d, %d." % (number, number, number)


def packed(data: bytes) -> bytes:
    """Pack with gzip."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes, random: Random) -> bytes:
    """Write a body as chunks."""
    edges = sorted({0, len(data), *(random.randrange(len(data)) for _ in range(random.randrange(3)))})
    chunks = b"".join(b"%x\r\n%b\r\n" % (end - start, data[start:end]) for start, end in pairwise(edges))
    return chunks + random.choice((b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"))


def sound(number: int, random: Random) -> tuple[bytes, int, bytes]:
    """Make a sound answer to a request: its bytes, its status and its body."""
    status = random.choice((200, 200, 200, 201, 404, 429, 503))
    body = named(number) + b"x" * random.choice((0, 0, 100, 5000))
    line = f"{status} Said"
    form = random.randrange(6)
    if form == 0:
        raw = http(packed(body), "Content-Encoding: gzip", status=line)
    elif form in (1, 2):
        packing, data = (b"Content-Encoding: gzip\r\n", packed(body)) if form == 2 else (b"", body)
        raw = b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n%b\r\n" % (line.encode(), packing) + chunked(data, random)
    elif form == 3:
        raw = http(body, "Connection: close", status=line)
    else:
        raw = http(body, "Date: Fri, 05 Dec 2025 12:00:00 GMT", status=line)
    if not random.randrange(8):
        raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + raw
    return raw, status, body[:CAP]


def spoilt(raw: bytes, random: Random) -> bytes:
    """Do something to some bytes: cut, double, insert, turn a bit."""
    at, to = sorted(random.randrange(len(raw) + 1) for _ in range(2))
    match random.randrange(7):
        case 0:
            return raw[:at]
        case 1:
            return raw[at:]
        case 2:
            return raw[:at] + raw[to:]
        case 3:
            return raw[:to] + raw[at:]
        case 4:
            return raw[:at] + random.choice(PARTS) + raw[at:]
        case 5:
            return raw[:at] + random.randbytes(random.randrange(1, 9)) + raw[at:]
        case _:
            byte = raw[at - 1] ^ (1 << random.randrange(8))
            return raw[: max(at - 1, 0)] + bytes([byte]) + raw[max(at, 1) :]


def reply(number: int, random: Random) -> Reply:
    """Make what comes back for a request of this number."""
    end, kind = random.choice(ENDS), random.randrange(10)
    raw, status, body = sound(number, random)
    if kind < 4:
        return Reply(raw, (status, body), end)
    if kind == 4:
        parts = [random.choice((*PARTS, random.randbytes(random.randrange(40)))) for _ in range(random.randrange(1, 6))]
        return Reply(b"".join(parts), None, end)
    if kind == 5:
        other = http(named(number + 1))
        return Reply(raw + random.choice((other, other[:9], b"\r\n", random.randbytes(5))), (status, body), end)
    if kind == 6:
        return Reply(raw[: random.randrange(1, len(raw))], (status, body), end, is_cut=True)
    for _ in range(random.choice((1, 1, 2, 3))):
        raw = spoilt(raw, random) or b"\r"
    return Reply(raw, None, end)


def pieces(raw: bytes, random: Random) -> Iterator[bytes]:
    """Cut some bytes anywhere."""
    cuts = random.choice((0, 0, 1, 2, 5))
    edges = sorted({0, len(raw), *(random.randrange(len(raw) + 1) for _ in range(cuts))})
    return (raw[start:end] for start, end in pairwise(edges))


class Fed(asyncio.Transport):
    """A connection whose other side is the test; a write is dropped, and an end is reported at once."""

    def __init__(self, line: WireConnection) -> None:
        super().__init__()
        self.line, self.is_over = line, False
        line.connection_made(self)

    def write(self, data: Any) -> None:
        """Take a request."""
        assert not self.is_over

    def is_closing(self) -> bool:
        """Return whether it ends."""
        return self.is_over

    def abort(self) -> None:
        """End."""
        self.is_over = True

    def receive(self, data: bytes) -> None:
        """Let bytes arrive, unless it has ended."""
        if not self.is_over:
            self.line.data_received(data)

    def end(self, how: str) -> None:
        """End in a way, or not at all."""
        if how == "fin" and not self.is_over:
            self.line.eof_received()
        if how != "keep":
            self.is_over = True
            self.line.connection_lost(ConnectionResetError(104, "reset") if how == "reset" else None)


class Owner:
    """Counts its notifications."""

    take_idle = ended_ = 0

    def add(self, line: WireConnection) -> None:
        """Know that it is there."""

    def release(self, line: WireConnection) -> None:
        """Know that it can carry another exchange."""
        self.take_idle += 1

    def discard(self, line: WireConnection) -> None:
        """Know that it is gone."""
        self.ended_ += 1


def exchange(line: WireConnection, fed: Fed, number: int, random: Random) -> Response | TransportFailure:
    """Send one request, deliver the bytes, and check its outcome."""
    given = reply(number, random)
    told = list[Came]()
    line.send(b"request", CAP, 0.0, told.append)
    for piece in pieces(given.raw, random):
        fed.receive(piece)
    if given.end == "time" and line.busy_since is not None:
        line.time_out(10.0)
    fed.end(given.end)
    if not told:
        fed.end("reset")
    (found,) = told  # it is there, whatever came, and once
    assert not isinstance(found, CancelledError)
    judge(found, number, given)
    return found


def judge(found: Response | TransportFailure, number: int, given: Reply) -> None:
    """Hold an outcome against what came."""
    if given.is_cut:
        assert isinstance(found, TransportFailure) or (
            len(found.body) == CAP and (found.status, found.body) == given.sound
        )
    elif given.sound is not None:
        assert isinstance(found, Response), given
        assert (found.status, found.body) == given.sound
    if isinstance(found, Response):
        assert found.status == 101 or 200 <= found.status <= 999
        assert len(found.body) <= CAP
        assert {int(other) for other in FOR_REQUEST.findall(found.body)} <= {number}
    else:
        assert found.outcome in (Outcome.CONNECTION_ERROR, Outcome.TIMEOUT)
        assert found.error.isprintable()
        assert found.may_have_arrived != found.error.endswith("; nothing was sent")


@pytest.mark.timeout(3600)
async def test_any_bytes() -> None:
    """For any bytes in any pieces, each request on a connection has one outcome, its own.

    An intact response is read correctly. Nothing is raised, little is kept, and no request follows surplus bytes on a
    connection.
    """
    outcomes: dict[str, int] = {}
    for case in range(CASES):
        random, owner = Random(case), Owner()
        line = WireConnection(owner, lambda: 1.0)
        fed = Fed(line)
        for number in range(REQUESTS):
            try:
                found = exchange(line, fed, number, random)
            except BaseException as error:
                error.add_note(f"in case {case}")
                raise
            name = (
                "answer" if isinstance(found, Response) else f"{found.outcome}: {re.sub(r'[0-9]+', 'N', found.error)}"
            )
            outcomes[name] = outcomes.get(name, 0) + 1
            assert len(line._reader._body) <= CAP + 2 * HEAD_CAP
            assert owner.take_idle <= number + 1
            if fed.is_over:
                break
        fed.end("reset")
        await asyncio.sleep(0)  # all cases together take 0.24 s, for which nothing may hold a loop
    assert outcomes["answer"] > CASES / 10
    assert len(outcomes) > 5  # the cases are of many kinds


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
@pytest.mark.timeout(600)
async def test_any_bytes_over_sockets() -> None:
    """So it is over real connections, which are shared and kept: no answer is another's, no fault is left unsaid."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))

    def given(number: int) -> Reply:
        return reply(number, Random(number))

    async def serve(connection: Connection) -> None:
        while request := await connection.request():
            said = given(int(request.split(b" ")[1][1:]))
            # In one piece: what comes late, behind an answer, may be the next one as far as anybody can tell.
            await connection.write(said.raw)
            if said.end in ("reset", "fin"):
                connection.reset() if said.end == "reset" and said.sound is None else connection.close()
                return

    async def ask(numbers: Iterator[int]) -> list[tuple[int, Response | TransportFailure]]:
        return [(number, await wire.post(f"/{number}", {}, b"{}", CAP)) for number in numbers]

    async with listening(serve) as server, WireTransport(server.url, timeout_s=0.5, connections=24) as wire:
        todo = iter(range(SOCKET_CASES))
        async with asyncio.timeout(300):
            done = await asyncio.gather(*(ask(todo) for _ in range(32)))
    found = dict(chain.from_iterable(done))
    assert len(found) == SOCKET_CASES
    for number, pending in found.items():
        judge(pending, number, Reply(b"", None, "keep"))
    assert faults == []
