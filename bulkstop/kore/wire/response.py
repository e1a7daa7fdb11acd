"""The bytes of a connection are read as one answer after the other, with no I/O."""

import zlib

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bulkstop.kore.exchange import Response

HEAD_CAP = 32 * 1024
"""Bytes that may come in a row without one of a body: a head, the interim answers before it, trailers."""
HEADS_KEPT = 8
"""How many heads a connection remembers: those of some bodies' lengths, all of one second."""

_WANTED = frozenset(
    (b"content-encoding", b"content-length", b"date", b"location", b"retry-after", b"transfer-encoding")
)
_GZIP = zlib.MAX_WBITS | 16
_CODINGS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}
_UNASKED = frozenset((b"br", b"zstd"))
"""Codings that were not offered, and are not read."""


class RemoteProtocolError(Exception):
    """What comes is no sound answer; the message says why."""


class Reader:
    """Reads the answers of one connection, each by `begin`, then `feed` until it says so, then `take`.

    `status` is that of the answer being read, as soon as its head is there. `is_last` tells that no other can be read
    behind it: the connection ends with it, or it is not sure where it ends.
    """

    __slots__ = (
        "_body",
        "_cap",
        "_fields",
        "_is_fresh",
        "_is_whole",
        "_parser",
        "_plain",
        "_spare",
        "_unpacked",
        "is_last",
        "status",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        self.is_last = False
        self._plain = _PlainReader()
        self._parser = _parser(self)
        self._is_fresh = self._is_whole = False
        self._cap = self._spare = 0
        self._fields: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""
        self._unpacked: _Unpacked | None = None

    def begin(self, cap: int) -> None:
        """Expect an answer, of whose body up to `cap` bytes are wanted."""
        self.status = None
        self._cap, self._is_fresh, self._fields = cap, True, {}

    def feed(self, data: bytes) -> bool:
        """Take in a piece and tell whether that was all that is wanted; raises RemoteProtocolError."""
        if self._is_fresh:
            self._is_fresh = False
            plain = self._plain
            if plain.read(data):
                self.status, self._body, self.is_last = plain.status, plain.body, plain.is_last
                return True
            self._body, self._unpacked = bytearray(), None
            self._spare, self._is_whole = HEAD_CAP, False
        return self._read_on(data)

    def end(self) -> bool:
        """Take the end of the connection and tell whether it is that of a sound answer; raises RemoteProtocolError."""
        packing = self._fields.get(b"transfer-encoding", b"").lower()
        if self.status is None or b"content-length" in self._fields or b"chunked" in packing:
            return False
        self.is_last = True
        self._check_unpacked()
        return True

    def take(self, latency_ms: float) -> Response:
        """Return the answer that was read."""
        status, body, fields = self.status or 0, bytes(self._body[: self._cap]), self._fields
        if not fields:
            return Response(status, body, latency_ms)
        if status < 300:
            return Response(status, body, latency_ms, _text(fields.get(b"retry-after")), _text(fields.get(b"date")))
        texts = (_text(fields.get(name)) for name in (b"retry-after", b"date", b"location"))
        return Response(status, body, latency_ms, *texts)

    def _read_on(self, data: bytes) -> bool:
        """Read no more at a time than may come without a body: what is too much must not hang on how it comes."""
        while data and not self._is_enough():
            if self._spare <= 0:
                raise RemoteProtocolError(f"the answer has more than {HEAD_CAP} bytes around its body")
            piece, data = data[: self._spare], data[self._spare :]
            self._spare -= len(piece)
            self._parse(piece)
        if not self._is_enough():
            return False
        if self._is_whole:
            self._check_unpacked()
        # What is left of the answer, or came behind it, is not worth a connection that somebody feeds without end.
        self.is_last = self.is_last or bool(data) or not self._is_whole
        return True

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_last = True
            if not self._is_whole:
                raise RemoteProtocolError(_why(error)) from None

    def _is_enough(self) -> bool:
        return self._is_whole or (self.status is not None and len(self._body) >= self._cap)

    def _check_unpacked(self) -> None:
        if self._unpacked is not None and not self._unpacked.is_whole and len(self._body) < self._cap:
            raise RemoteProtocolError("the answer cannot be unpacked")

    def on_message_begin(self) -> None:
        """Stop at what comes behind an answer: nobody asked for it."""
        if self._is_whole:
            raise HttpParserError
        self._fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field that matters; the first one of a name counts."""
        name = name.lower()
        if name in _WANTED:
            self._fields.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """Note the status, unless the answer is an interim one."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status, self._spare = status, HEAD_CAP
            coding = self._fields.get(b"content-encoding", b"").strip().lower()
            if coding in _UNASKED:
                raise zlib.error
            if bits := _CODINGS.get(coding):
                self._unpacked = _Unpacked(bits)
        elif status == 101:  # no interim answer: what follows is another protocol
            self.status, self._is_whole, self.is_last = status, True, True
        elif status < 100:
            raise HttpParserError

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, unpacked, as far as it is wanted."""
        self._spare = HEAD_CAP
        room = self._cap - len(self._body)
        if room > 0:
            self._body += data if self._unpacked is None else self._unpacked.more(data, room)

    def on_message_complete(self) -> None:
        """Note the end of an answer; that of an interim one is none."""
        if self.status is not None:
            self._is_whole = True
            self.is_last = not self._parser.should_keep_alive()


class _PlainReader:
    """Reads an answer that is plain and comes whole in one piece, as most do, with a third of the work.

    Any other is not its business, and is to be read from its first byte by the thorough one. A head that was read
    before, to the byte, says what it said then: a service says little else for a second, until its date is another.
    """

    __slots__ = (
        "_body",
        "_is_whole",
        "_known_heads",
        "_parser",
        "body",
        "is_last",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.is_last = False
        self._known_heads: dict[bytes, tuple[int, int]] = {}
        self._body = b""
        self._is_whole = False
        self._parser = _parser(self)

    def read(self, data: bytes) -> bool:
        """Tell whether `data` is such an answer, and nothing behind it."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._known_heads.get(data[:end])
        if known is not None and end + known[1] == len(data):
            self.status, self.body, self.is_last = known[0], data[end:], False
            return True
        return end > 3 and self._read_first(data, end)

    def on_body(self, data: bytes) -> None:
        """Have the body."""
        self._body = data

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        self._is_whole = True
        self.status = self._parser.get_status_code()
        self.is_last = not self._parser.should_keep_alive()

    def _read_first(self, data: bytes, end: int) -> bool:
        words = data[:end].lower()
        if words[:10] != b"http/1.1 2" or b"-encoding:" in words or b"retry-after:" in words or end > HEAD_CAP:
            return False
        self._body, self._is_whole = b"", False
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._is_whole = False
        # The sum leaves no room for a byte that would belong to another answer.
        if not self._is_whole or end + len(self._body) != len(data):
            self._parser = _parser(self)  # the old one is in the middle of something
            return False
        self.body = self._body
        if not self.is_last:
            self._note(data[:end])
        return True

    def _note(self, head: bytes) -> None:
        if len(self._known_heads) >= HEADS_KEPT:
            self._known_heads.clear()
        self._known_heads[head] = self.status, len(self.body)


class _Unpacked:
    """A packed body, unpacked as it comes; `is_whole` tells whether it may end here."""

    def __init__(self, bits: int) -> None:
        self.is_whole = True  # a body of no bytes at all is none that was packed
        self._bits = bits
        self._stream: zlib._Decompress | None = None

    def more(self, data: bytes, room: int) -> bytes:
        """Unpack a piece to at most `room` bytes; raises zlib.error."""
        out = b""
        while data and len(out) < room:
            stream = self._stream or self._begin_stream(data)
            out += stream.decompress(data, room - len(out))
            data, self.is_whole = stream.unused_data, stream.eof
            self._stream = None if stream.eof else stream  # a packed body may have several parts
        return out

    def _begin_stream(self, data: bytes) -> "zlib._Decompress":
        # Some servers leave out the zlib header (RFC 1950) that "deflate" has: its first byte ends with an 8.
        is_bare = self._bits == zlib.MAX_WBITS and data[0] & 0x0F != 8
        return zlib.decompressobj(-zlib.MAX_WBITS if is_bare else self._bits)


def _parser(protocol: object) -> HttpResponseParser:
    """Make a parser that lets pass what aiohttp's client does: bare line feeds, folded fields, odd characters."""
    parser = HttpResponseParser(protocol)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _why(error: Exception) -> str:
    return f"the answer {'cannot be unpacked' if isinstance(error.__context__, zlib.error) else 'is not HTTP'}"
