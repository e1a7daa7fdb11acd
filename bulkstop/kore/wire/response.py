"""The bytes of a connection are parsed into responses, without I/O."""

import zlib

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bulkstop.kore.allowance import pick_rate_limit
from bulkstop.kore.exchange import Response

HEAD_CAP = 32 * 1024
"""The most bytes in a row outside a body: a head, the interim responses before it, trailers."""
HEADS_KEPT = 8
"""The heads that a connection remembers: for some body lengths within one second."""

_WANTED = frozenset(
    (b"content-encoding", b"content-length", b"date", b"location", b"retry-after", b"transfer-encoding")
)
_GZIP = zlib.MAX_WBITS | 16
_CODINGS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}
_UNASKED = frozenset((b"br", b"zstd"))
"""Codings that were not offered, and are not decoded."""


class RemoteProtocolError(Exception):
    """The data is not a valid response; the message says why."""


class Reader:
    """Reads the responses of one connection, each by `begin`, then `feed` until it returns True, then `take`.

    `status` is known once the head of the response was read. `is_last` means that no other response can follow: the
    connection ends, or the end of this one is uncertain.
    """

    __slots__ = (
        "_body",
        "_cap",
        "_fields",
        "_is_fresh",
        "_is_whole",
        "_parser",
        "_plain",
        "_rate_limit",
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
        self._rate_limit: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._unpacked: _Unpacked | None = None

    def begin(self, cap: int) -> None:
        """Expect a response, and read up to `cap` bytes of its body."""
        self.status = None
        self._cap, self._is_fresh, self._fields = cap, True, {}

    def feed(self, data: bytes) -> bool:
        """Read a piece, and return whether the response is complete enough; raises RemoteProtocolError."""
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
        """Note the end of the connection, and return whether it ends a valid response; raises RemoteProtocolError."""
        packing = self._fields.get(b"transfer-encoding", b"").lower()
        if self.status is None or b"content-length" in self._fields or b"chunked" in packing:
            return False
        self.is_last = True
        self._check_unpacked()
        return True

    def take(self, latency_ms: float) -> Response:
        """Return the response."""
        status, body, fields = self.status or 0, bytes(self._body[: self._cap]), self._fields
        if not fields:
            return Response(status, body, latency_ms)
        retry_after, date = _text(fields.get(b"retry-after")), _text(fields.get(b"date"))
        location = _text(fields.get(b"location")) if status >= 300 else None
        if b"ratelimit" not in fields:
            return Response(status, body, latency_ms, retry_after, date, location)
        limits = pick_rate_limit((str(_text(name)), str(_text(value))) for name, value in self._rate_limit)
        return Response(status, body, latency_ms, retry_after, date, location, limits)

    def _read_on(self, data: bytes) -> bool:
        """Read at most what may arrive outside a body: a limit must not depend on how the data is split."""
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
        # Reading the rest of the response, or what follows it, which may be endless, is not worth a connection.
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
        """Stop at unrequested data after a response."""
        if self._is_whole:
            raise HttpParserError
        self._fields.clear()
        self._rate_limit = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header that matters: the first one of each name, but all that state limits, which may be lists."""
        name = name.lower()
        if name in _WANTED:
            self._fields.setdefault(name, value)
        elif b"limit" in name:
            self._fields[b"ratelimit"] = b""
            self._rate_limit.append((name, value))

    def on_headers_complete(self) -> None:
        """Store the status, unless the response is an interim one."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status, self._spare = status, HEAD_CAP
            coding = self._fields.get(b"content-encoding", b"").strip().lower()
            if coding in _UNASKED:
                raise zlib.error
            if bits := _CODINGS.get(coding):
                self._unpacked = _Unpacked(bits)
        elif status == 101:  # not interim: another protocol follows
            self.status, self._is_whole, self.is_last = status, True, True
        elif status < 100:
            raise HttpParserError

    def on_body(self, data: bytes) -> None:
        """Store a piece of the body, decompressed, up to the cap."""
        self._spare = HEAD_CAP
        room = self._cap - len(self._body)
        if room > 0:
            self._body += data if self._unpacked is None else self._unpacked.more(data, room)

    def on_message_complete(self) -> None:
        """Note the end of a response, unless it is an interim one."""
        if self.status is not None:
            self._is_whole = True
            self.is_last = not self._parser.should_keep_alive()


class _PlainReader:
    """Reads a plain response that arrives complete in one piece, as most do, with a third of the work.

    It leaves any other response to the full reader, from the first byte on. A head seen before, byte for byte, has the
    same meaning: a service repeats its head for a second, until its date changes.
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
        """Return whether `data` is such a response without anything after it."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._known_heads.get(data[:end])
        if known is not None and end + known[1] == len(data):
            self.status, self.body, self.is_last = known[0], data[end:], False
            return True
        return end > 3 and self._read_first(data, end)

    def on_body(self, data: bytes) -> None:
        """Store the body."""
        self._body = data

    def on_message_complete(self) -> None:
        """Note the end of the response."""
        self._is_whole = True
        self.status = self._parser.get_status_code()
        self.is_last = not self._parser.should_keep_alive()

    def _read_first(self, data: bytes, end: int) -> bool:
        words = data[:end].lower()
        if words[:10] != b"http/1.1 2" or b"-encoding:" in words or b"retry-after:" in words or end > HEAD_CAP:
            return False
        if b"limit" in words and (b"ratelimit" in words or b"rate-limit" in words):
            return False
        self._body, self._is_whole = b"", False
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._is_whole = False
        # The lengths must match, so no byte can belong to another response.
        if not self._is_whole or end + len(self._body) != len(data):
            self._parser = _parser(self)  # the old one is in the middle of a response
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
    """A compressed body, decompressed as it arrives; `is_whole` says whether it may end here."""

    def __init__(self, bits: int) -> None:
        self.is_whole = True  # an empty body was not compressed
        self._bits = bits
        self._stream: zlib._Decompress | None = None

    def more(self, data: bytes, room: int) -> bytes:
        """Decompress a piece to at most `room` bytes; raises zlib.error."""
        out = b""
        while data and len(out) < room:
            stream = self._stream or self._begin_stream(data)
            out += stream.decompress(data, room - len(out))
            data, self.is_whole = stream.unused_data, stream.eof
            self._stream = None if stream.eof else stream  # a compressed body may have several parts
        return out

    def _begin_stream(self, data: bytes) -> "zlib._Decompress":
        # Some servers omit the zlib header (RFC 1950) of "deflate": its first byte ends with an 8.
        is_bare = self._bits == zlib.MAX_WBITS and data[0] & 0x0F != 8
        return zlib.decompressobj(-zlib.MAX_WBITS if is_bare else self._bits)


def _parser(protocol: object) -> HttpResponseParser:
    """Return a parser as lenient as aiohttp's client: bare line feeds, folded fields, odd characters."""
    parser = HttpResponseParser(protocol)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _why(error: Exception) -> str:
    return f"the answer {'cannot be unpacked' if isinstance(error.__context__, zlib.error) else 'is not HTTP'}"
