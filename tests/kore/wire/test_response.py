"""Bytes are read as answers, however they are cut; what is no sound answer, or has no end, is refused in time."""

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Iterable
from itertools import pairwise, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.kore.exchange import Response
from bulkstop.kore.wire.response import HEAD_CAP, HEADS_KEPT, Reader, RemoteProtocolError
from tests.servers import VOICE_ANSWER, http

CAP = 64 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = Response(200, VOICE_ANSWER, 1.5)
DATE, PLACE = "Fri, 05 Dec 2025 12:00:00 GMT", "https://elsewhere.example/"


def chunks(*bodies: bytes, trailer: bytes = b"") -> bytes:
    """Write bodies as chunks, with the last one and its trailer behind them."""
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + b"0\r\n" + trailer + b"\r\n"


FORMS = {
    "plain": (http(), WHOLE, False),
    "empty": (http(b""), WHOLE._replace(body=b""), False),
    "no-content": (b"HTTP/1.1 204 No Content\r\n\r\n", Response(204, b"", 1.5), False),
    "close": (http(VOICE_ANSWER, "Connection: close"), WHOLE, True),
    "http10": (http().replace(b"1.1", b"1.0"), WHOLE, True),
    "vary": (http(VOICE_ANSWER, "Vary: Accept-Encoding"), WHOLE, False),
    "retry-after": (http(b"", "RETRY-AFTER:  7 "), Response(200, b"", 1.5, "7 "), False),
    "throttled": (
        http(b"busy", f"date: {DATE}", "Retry-After: 7", "Retry-After: 9", status="429 "),
        Response(429, b"busy", 1.5, "7", DATE),
        False,
    ),
    "redirect": (http(b"", f"Location: {PLACE}", status="302 x"), Response(302, b"", 1.5, location=PLACE), False),
    "chunks": (CHUNKED + chunks(VOICE_ANSWER[:9], VOICE_ANSWER[9:]), WHOLE, False),
    "extension": (CHUNKED + chunks(VOICE_ANSWER).replace(b"\r\n", b";a=b\r\n", 1), WHOLE, False),
    "trailer": (CHUNKED + chunks(VOICE_ANSWER, trailer=b"X-Sum: 1\r\n"), WHOLE, False),
    "gzip": (http(gzip.compress(VOICE_ANSWER, mtime=0), "Content-Encoding: GZIP"), WHOLE, False),
    "x-gzip": (http(gzip.compress(VOICE_ANSWER, mtime=0), "content-encoding: x-gzip"), WHOLE, False),
    "two-parts": (
        http(
            gzip.compress(VOICE_ANSWER[:50], mtime=0) + gzip.compress(VOICE_ANSWER[50:], mtime=0),
            "Content-Encoding: gzip",
        ),
        WHOLE,
        False,
    ),
    "deflate": (http(zlib.compress(VOICE_ANSWER), "Content-Encoding: deflate"), WHOLE, False),
    "bare-deflate": (http(zlib.compress(VOICE_ANSWER, wbits=-15), "Content-Encoding: deflate"), WHOLE, False),
    "nothing-packed": (http(b"", "Content-Encoding: gzip"), WHOLE._replace(body=b""), False),
    "interim": (
        b"HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + http(),
        WHOLE,
        False,
    ),
    "empty-lines-first": (b"\r\n\r\n" + http(), WHOLE, False),
}
each_form = pytest.mark.parametrize(("raw", "answer", "is_last"), FORMS.values(), ids=FORMS)


def fed(reader: Reader, pieces: Iterable[bytes]) -> bool:
    """Feed pieces and tell whether one of them completes an answer."""
    return any(reader.feed(piece) for piece in pieces)


def read(*pieces: bytes, reader: Reader | None = None, cap: int = CAP) -> tuple[Response, bool]:
    """Read one answer from pieces, the last of which completes it; tell also whether it is the last of its reader."""
    reader = reader or Reader()
    reader.begin(cap)
    *first, last = pieces
    assert not fed(reader, first)
    assert reader.feed(last)
    return reader.take(1.5), reader.is_last


def until_closed(*pieces: bytes) -> tuple[Response, bool]:
    """Read one answer that only the end of its connection completes."""
    reader = Reader()
    reader.begin(CAP)
    assert not fed(reader, pieces)
    assert reader.end()
    return reader.take(1.5), reader.is_last


class TestPieces:
    """An answer is the same however its bytes arrive."""

    @each_form
    def test_cut_in_two_anywhere(self, raw: bytes, answer: Response, is_last: bool) -> None:
        """Two pieces, cut at every byte."""
        for at in range(len(raw)):
            assert read(*[raw[:at], raw[at:]][at == 0 :]) == (answer, is_last)

    @each_form
    def test_single_bytes(self, raw: bytes, answer: Response, is_last: bool) -> None:
        """A piece a byte."""
        assert read(*(raw[at : at + 1] for at in range(len(raw)))) == (answer, is_last)

    def test_one_after_the_other(self) -> None:
        """A reader reads all forms in turn, in any pieces, and none leaves bytes for the next."""
        reader = Reader()
        lasting = [(raw, answer) for raw, answer, is_last in FORMS.values() if not is_last]
        for raw, answer in [*lasting, *reversed(lasting)]:
            assert read(raw, reader=reader) == (answer, False)
            assert read(raw[:20], raw[20:], reader=reader) == (answer, False)

    def test_a_head_known_already(self) -> None:
        """The same head again gives the body that follows it now; a byte less is waited for, one more is the last."""
        reader, other = Reader(), VOICE_ANSWER.swapcase()
        head = http().removesuffix(VOICE_ANSWER)
        assert read(http(), reader=reader) == (WHOLE, False)
        assert read(head + other, reader=reader) == (WHOLE._replace(body=other), False)
        assert read(head + other[:-1], other[-1:], reader=reader) == (WHOLE._replace(body=other), False)
        assert read(head + other, reader=reader, cap=10) == (WHOLE._replace(body=other[:10]), False)
        for length in range(HEADS_KEPT + 2):
            assert read(http(b"x" * length), reader=reader) == (WHOLE._replace(body=b"x" * length), False)
        assert read(head + other + b"H", reader=reader) == (WHOLE._replace(body=other), True)

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: x\r\n\r\n"])
    def test_until_close(self, head: bytes) -> None:
        """An answer without a size ends with its connection, and only so."""
        for at in range(1, len(head + VOICE_ANSWER)):
            assert until_closed((head + VOICE_ANSWER)[:at], (head + VOICE_ANSWER)[at:]) == (WHOLE, True)

    @pytest.mark.parametrize("raw", [http(), CHUNKED + chunks(VOICE_ANSWER), FORMS["gzip"][0]])
    def test_end_within(self, raw: bytes) -> None:
        """A sized response that ends early is invalid, wherever it ends."""
        for at in range(len(raw)):
            reader = Reader()
            reader.begin(CAP)
            assert not (at and reader.feed(raw[:at]))
            assert not reader.end()


class TestSurplus:
    """Bytes after a response belong to no request: the response counts, and is the last one."""

    SURPLUS = (
        http(b"second"),
        http()[:5],
        b"H",
        b"rubbish",
        b"\x00",
        b"{}",
        b"\r\n" + http(b"second"),
        b"HTTP/1.1 100 \r\n\r\n",
    )

    @each_form
    @pytest.mark.parametrize("surplus", SURPLUS, ids=lambda surplus: surplus[:8].hex())
    def test_in_the_same_piece(self, raw: bytes, answer: Response, is_last: bool, surplus: bytes) -> None:
        """Another answer, its beginning or rubbish, in the piece that completes this one."""
        for at in (0, 20, len(raw) - 1):
            assert read(*[raw[:at], raw[at:] + surplus][at == 0 :]) == (answer, True)

    def test_that_looks_like_the_body(self) -> None:
        """Also when it ends as the body does."""
        assert read(http(b"H") + b"H") == (Response(200, b"H", 1.5), True)
        assert read(http() + http()) == (WHOLE, True)


class TestLenient:
    """Deviations of some servers, which the other transport accepts as well."""

    @pytest.mark.parametrize("size", [1, 7, 1000])
    @pytest.mark.parametrize(
        "head", [b"\nContent-Length: 2\n\n", b"\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n"], ids=["feeds", "folded"]
    )
    def test_read(self, head: bytes, size: int) -> None:
        """Lines that end with a line feed alone, and fields that go on in a second line."""
        raw = b"HTTP/1.1 200 OK" + head + b"{}"
        assert read(*(raw[at : at + size] for at in range(0, len(raw), size))) == (Response(200, b"{}", 1.5), False)

    def test_odd_characters(self) -> None:
        """A control character in a field stays in it."""
        raw = http(b"", "Location: /a\x1bb", status="302 Found")
        assert read(raw) == (Response(302, b"", 1.5, location="/a\x1bb"), False)

    @pytest.mark.parametrize("size", [1, 1000])
    @pytest.mark.parametrize("fields", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
    def test_another_protocol(self, fields: bytes, size: int) -> None:
        """A 101 is a response, and the last one of its connection: the bytes after it were not requested."""
        raw = b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % fields
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        assert read(*pieces) == (Response(101, b"", 1.5), True)
        assert read(raw + http()) == (Response(101, b"", 1.5), True)


class TestUnreadable:
    """An invalid response is refused as soon as that is certain, with a reason."""

    RUBBISH = (
        b"rubbish",
        b"\x16\x03\x01",
        b"HTTP/1.1 abc",
        b"HTTP/1.1 99999 OK",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/3.7 200 OK",
        b"HTTP/1.1 200 OK\r\nX : y\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"2\r\n{}x",
        CHUNKED + b"fffffffffffffffff\r\n",
    )

    @pytest.mark.parametrize("raw", RUBBISH, ids=lambda raw: repr(raw[-18:]))
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_no_http(self, raw: bytes, size: int) -> None:
        """Rubbish, whole or in pieces."""
        reader = Reader()
        reader.begin(CAP)
        with pytest.raises(RemoteProtocolError, match=r"^the answer is not HTTP$"):
            fed(reader, (raw[at : at + size] for at in range(0, len(raw), size)))

    @pytest.mark.parametrize("packing", ["gzip", "deflate"])
    @pytest.mark.parametrize(
        "body", [VOICE_ANSWER, gzip.compress(VOICE_ANSWER, mtime=0)[:-1], gzip.compress(b"", mtime=0) + b"surplus"]
    )
    def test_badly_packed(self, packing: str, body: bytes) -> None:
        """A body that cannot be unpacked to its end, be it sized or not."""
        with pytest.raises(RemoteProtocolError, match=r"^the answer cannot be unpacked$"):
            read(http(body, f"Content-Encoding: {packing}"))
        with pytest.raises(RemoteProtocolError, match=r"^the answer cannot be unpacked$"):
            until_closed(f"HTTP/1.1 200 OK\r\nContent-Encoding: {packing}\r\n\r\n".encode() + body)

    def test_status_is_known(self) -> None:
        """A fault after a head still has its status; a new response has none yet."""
        reader = Reader()
        reader.begin(CAP)
        with pytest.raises(RemoteProtocolError):
            reader.feed(CHUNKED.replace(b"200", b"503") + b"zz\r\n")
        assert reader.status == 503
        reader.begin(CAP)
        assert reader.status is None


ENDLESS = {
    "lines": (b"HTTP/1.1 200 OK\r\n", b"X-Field: value\r\n" * 64),
    "name": (b"HTTP/1.1 200 OK\r\n", b"x" * 1024),
    "value": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1024),
    "wanted-value": (b"HTTP/1.1 200 OK\r\nRetry-After: ", b"x" * 1024),
    "status": (b"HTTP/1.1 200 ", b"x" * 1024),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "interim-fields": (b"", b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * 50),
    "empty-lines": (b"", b"\r\n" * 512),
    "extension": (CHUNKED + b"1;", b"x" * 1024),
    "trailers": (CHUNKED + b"0\r\n", b"X-Field: value\r\n" * 64),
    "trailer": (CHUNKED + b"0\r\nX: ", b"x" * 1024),
}


class TestEndless:
    """An endless response is given up at a cap, in little memory."""

    @pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
    @pytest.mark.parametrize("size", [1000, HEAD_CAP, HEAD_CAP + 1, 10**6])
    def test_the_cap_is_one_byte_wide(self, status: str, size: int) -> None:
        """A head that just fits is read and one byte more is refused, in any pieces."""
        around = len(http(VOICE_ANSWER, "X: ", status=status)) - len(VOICE_ANSWER)
        for surplus in (0, 1):
            raw = http(VOICE_ANSWER, f"X: {'y' * (HEAD_CAP - around + surplus)}", status=status)
            pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
            if surplus:
                with pytest.raises(RemoteProtocolError, match=f"more than {HEAD_CAP} bytes around its body"):
                    read(*pieces)
            else:
                assert read(*pieces)[0].body == VOICE_ANSWER

    @pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
    @pytest.mark.parametrize("pieces", [1, 64])
    def test_around_the_body(self, start: bytes, more: bytes, pieces: int) -> None:
        """Heads, trailers and other bytes besides the body."""
        reader = Reader()
        reader.begin(CAP)
        tracemalloc.start()
        try:
            with pytest.raises(RemoteProtocolError, match=f"more than {HEAD_CAP} bytes around its body"):
                fed(reader, [start, *repeat(more * pieces, 64 // pieces)])
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("cap", [1, 100, CAP])
    @pytest.mark.parametrize("size", [1, 1000, 2 * CAP])
    def test_body(self, cap: int, size: int) -> None:
        """The body is cut at the cap, and nothing can follow."""
        piece = b"%x\r\n%b\r\n" % (size, b"x" * size)
        reader = Reader()
        reader.begin(cap)
        assert not reader.feed(CHUNKED)
        for at in range(0, cap, size):
            assert reader.feed(piece) == (at + size >= cap)
        assert (reader.take(1.5), reader.is_last) == (Response(200, b"x" * cap, 1.5), True)

    @pytest.mark.parametrize("surplus", [-1, 0, 1])
    def test_whole_body_beyond_the_cap(self, surplus: int) -> None:
        """A body that is there anyway is cut, and what follows can be read."""
        body = b"x" * (CAP + surplus)
        assert read(http(body)) == (Response(200, body[:CAP], 1.5), False)

    @pytest.mark.parametrize("bits", [15, 31, -15])
    def test_bomb(self, bits: int) -> None:
        """A packed body is unpacked to the cap, however much it holds."""
        packer = zlib.compressobj(wbits=bits)
        bomb = packer.compress(bytes(20 * 2**20)) + packer.flush()
        raw = http(bomb, f"Content-Encoding: {'gzip' if bits == 31 else 'deflate'}")
        tracemalloc.start()
        try:
            answer, _ = read(raw)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()
        assert answer.body == bytes(CAP)

    def test_packed_nothing(self) -> None:
        """Parts that hold nothing are no progress that would need memory."""
        nothing = gzip.compress(b"", mtime=0) * 1000
        tracemalloc.start()
        try:
            found = until_closed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", *repeat(nothing, 20))
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()
        assert found == (Response(200, b"", 1.5), True)


def outcome(pieces: list[bytes], cap: int) -> tuple[object, ...]:
    """Read any bytes as a response; return all that is visible of the outcome."""
    reader = Reader()
    reader.begin(cap)
    for piece in pieces:
        try:
            if reader.feed(piece):
                return reader.take(0.0)
        except RemoteProtocolError as error:
            return (str(error), reader.status)
    return ("unfinished", reader.status, reader.end())


FRAGMENTS = st.one_of(
    st.sampled_from([raw for raw, _, _ in FORMS.values()]),
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n", b"\r\n", b"{}", b"0\r\n\r\n", CHUNKED]),
    st.binary(max_size=20),
)


@settings(max_examples=int(os.environ.get("BULKSTOP_FUZZ", "300")))
@given(
    raw=st.lists(FRAGMENTS, min_size=1, max_size=4).map(b"".join),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    cap=st.sampled_from([CAP, 40]),
)
def test_any_bytes_in_any_pieces(raw: bytes, cuts: list[int], cap: int) -> None:
    """For any bytes, the fast reader of a whole response finds what the thorough one finds in its pieces."""
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [piece for start, end in pairwise(edges) if (piece := raw[start:end])]
    whole, cut = outcome([raw] if raw else [], cap), outcome(pieces, cap)
    assert whole == cut or (isinstance(whole, Response) and isinstance(cut, Response) and whole[:2] == cut[:2])
