"""Decodes bytes to text; the encoding is found by fixed rules."""

import codecs
import io
import re
import zlib
from typing import Any, NamedTuple

from bulkstop.errors import InputError
from bulkstop.text.faults import explain_unpacking

HEAD_BYTES = 64 * 1024
"""Most bytes that are examined before an input is read."""
UTF_8 = "utf-8"
_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its prefix
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NULS = (
    (re.compile(rb"[^\0]\0\0\0(?:[^\0]\0\0\0|$)"), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0](?:\0\0\0[^\0]|$)"), "utf-32-be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16-be"),
)
# A carriage return that ends a line by itself; not one of several before a line feed.
_LONE_RETURN = re.compile(r"\r++(?!\n)")
LONGEST_MARK = 4
"""Bytes in which an encoding can be recognized."""
_NOTHING = ' \t"\ufeff'
"""Characters that alone do not make a line meaningful: blanks, quotes, byte order marks."""


class Text(NamedTuple):
    """The text of an input: its stream, its encoding, and its beginning; `is_whole` if that is all."""

    stream: "io.TextIOWrapper[Any]"
    encoding: str
    head: str
    is_whole: bool


def open_text(binary: io.BufferedIOBase, label: str, encoding: str | None = None) -> Text:
    """Return the text of these bytes, in this encoding or in the detected one.

    A byte order mark names the encoding; otherwise it is UTF-16 or UTF-32 if every other byte is NUL, else UTF-8.
    Invalid bytes become surrogates, so that a bad line is found without losing the others. All lines may end with CR.
    Raises InputError when the beginning cannot be read.
    """
    head, start, name, is_whole = _read_head(binary, label, encoding)
    errors = "surrogateescape" if _is_superset_of_ascii(name) else "replace"
    newline = None if _ends_lines_with_returns(start, is_whole=is_whole) else "\n"
    # Closing the text must not close the bytes, which belong to the caller.
    stream = io.TextIOWrapper(Begun(head, binary), encoding=name, errors=errors, newline=newline)
    if newline is None:
        start = start.replace("\r\n", "\n").replace("\r", "\n")
    return Text(stream, name, start.lstrip("\ufeff"), is_whole)


def open_utf8(binary: io.BufferedIOBase) -> io.TextIOWrapper:
    """Return the text of bytes, always decoded as UTF-8."""
    return io.TextIOWrapper(Begun(b"", binary), encoding=UTF_8, errors="surrogateescape", newline="\n")


def find_encoding(head: bytes) -> str:
    """Return the encoding that the first bytes indicate."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return next((name for pattern, name in _NULS if pattern.match(head)), UTF_8)


class Begun(io.BufferedIOBase):
    """A stream whose first bytes have already been read."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self.name = ""
        self._head = head
        self._read = getattr(rest, "read1", rest.read)

    def readable(self) -> bool:
        """Tell that the stream can be read."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `read1` does; a text reads again until it gets nothing."""
        return self.read1(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        if not self._head:
            data: bytes = self._read(size)
            return data
        size = len(self._head) if size < 0 else size
        data, self._head = self._head[:size], self._head[size:]
        return data


def _read_head(binary: io.BufferedIOBase, label: str, encoding: str | None) -> tuple[bytes, str, str, bool]:
    """Return the first bytes, up to a meaningful line, their text and encoding, and whether they are all."""
    head, text, name = b"", "", encoding or UTF_8
    is_whole = False
    while not is_whole and not _holds_line(text) and len(head) < HEAD_BYTES:
        try:
            data = binary.read1(HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            if head:
                break  # the bytes so far may be rows
            raise InputError(f"{label}: line 1: cannot be read further: {explain_unpacking(error)}") from None
        is_whole = not data
        head += data
        if len(head) < LONGEST_MARK and not is_whole:
            continue
        name = encoding or find_encoding(head)
        text = codecs.getincrementaldecoder(name)(errors="replace").decode(head, final=is_whole)
    return head, text, name, is_whole


def _holds_line(text: str) -> bool:
    """Return whether a text has a complete line that is neither blank nor a comment."""
    *lines, _ = text.removesuffix("\r").replace("\r", "\n").split("\n")
    return any(not line.lstrip(_NOTHING).startswith("#") and line.strip(_NOTHING) for line in lines)


def _is_superset_of_ascii(name: str) -> bool:
    return b"cd-0123456789\n".decode(name, errors="replace") == "cd-0123456789\n"


def _ends_lines_with_returns(text: str, *, is_whole: bool) -> bool:
    """Return whether the first line end, outside quotes, is a carriage return alone."""
    feed, quotes, at = text.find("\n"), 0, 0
    for match in _LONE_RETURN.finditer(text):
        if 0 <= feed < match.start() or (match.end() == len(text) and not is_whole):
            return False
        quotes += text.count('"', at, match.start())
        at = match.start()
        if not quotes % 2:
            return True
    return False
