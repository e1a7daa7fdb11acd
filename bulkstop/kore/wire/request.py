"""Requests are serialised to bytes, and nothing in them can inject more."""

from collections.abc import Mapping

from bulkstop.kore.connect.fields import LocalProtocolError, format_headers
from bulkstop.kore.connect.route import Route
from bulkstop.kore.exchange import ACCEPTED

_MAX_HEADS = 256
_VISIBLE = bytes(byte if 0x21 <= byte <= 0x7E else 0x3F for byte in range(256))
_OWN_NAMES = frozenset({"host", "connection", "content-length", "transfer-encoding"})


class Requests:
    """Writes POST requests along a route, or GET requests without a body.

    Their fields are those of the other transport, in its order; the parts that recur are built once.
    """

    __slots__ = (
        "_first",
        "_get",
        "_last",
        "_latest",
        "_rests",
        "_start",
    )

    def __init__(self, route: Route, user_agent: str) -> None:
        self._start, self._get = (f"{method} {route.start}".encode("ascii") for method in ("POST", "GET"))
        self._first = {"Host": route.host_field, "User-Agent": user_agent}
        self._last = {} if route.has_tunnel else route.login
        self._rests: dict[tuple[object, ...], bytes] = {}
        self._latest: tuple[Mapping[str, str], int, bytes] = ({}, -1, b"")

    def write(self, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the bytes of a request; raises LocalProtocolError."""
        line = target.encode("ascii", "replace")
        if line.translate(_VISIBLE) != line or not target.isascii():
            raise LocalProtocolError("the path holds a character that cannot be sent; nothing was sent")
        latest, length, rest = self._latest
        if length != len(body) or latest != headers:
            rest = self._rest(headers, len(body))
        return b"".join((self._start if body else self._get, line, rest, body))

    def _rest(self, headers: Mapping[str, str], length: int) -> bytes:
        key = (length, *headers.items())
        rest = self._rests.get(key) or self._new(headers, length)
        if len(self._rests) >= _MAX_HEADS:  # e.g. if every call has a token of its own
            self._rests.clear()
        self._rests[key] = rest
        self._latest = (dict(headers), length, rest)
        return rest

    def _new(self, headers: Mapping[str, str], length: int) -> bytes:
        if any(name.lower() in _OWN_NAMES for name in headers):
            raise LocalProtocolError("a header tells where a request ends or goes; nothing was sent")
        size = {"Content-Length": str(length)} if length else {}
        fields = self._first | dict(headers) | ACCEPTED | size | dict(self._last)
        return f" HTTP/1.1\r\n{format_headers(fields)}\r\n".encode("ascii")
