"""The lines of an input, numbered, however long or broken they are."""

import io
import re
import zlib
from collections.abc import Iterator
from typing import Self

from bulkstop.errors import InputError

LINE_CHARS = 1024 * 1024
"""The longest row that is used; a longer one is invalid."""

_STRAY_RETURN = re.compile(r"\r(?![\r\n]|$)")
# What the first bytes say of a text that is none of ours, as they look when decoded (see opening).
_FOREIGN = (
    ("\udcff\udcfe", "is UTF-16; save it as UTF-8"),
    ("\udcfe\udcff", "is UTF-16; save it as UTF-8"),
    ("\0\0\udcfe\udcff", "is UTF-32; save it as UTF-8"),
    ("\x1f\udc8b", "is compressed with gzip; name it .gz, or unpack it on its way in with `gzip -dc`"),
    ("PK\x03\x04", "is a workbook or a zip archive; save it as CSV (UTF-8)"),
    ("\udcd0\udccf\x11", "is a workbook of an old kind; save it as CSV (UTF-8)"),
    ("%PDF-", "is a PDF; save the list as CSV (UTF-8)"),
    ("<", "is a web page or XML, and no list; was a page to sign in saved in its place?"),
)


def is_blank(piece: str) -> bool:
    """Tell whether a line holds nothing; of one that is too long only the beginning is known, so it may."""
    return not piece or (piece.isspace() and len(piece) <= LINE_CHARS)


def text_fault(text: str) -> str | None:
    """Tell why these characters cannot be a row, or None when they can."""
    if len(text) > LINE_CHARS:
        return f"the row is longer than {LINE_CHARS:,} characters"
    if "\0" in text:
        return "the row holds a NUL byte"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the row holds bytes that are not UTF-8"
    return None


class LineReader:
    """Iterates over the pieces of a text: each is a line, but a line too long to be used comes in several.

    `line` is the number of the last piece's line, counted from 1; `ended` says whether the piece ended that line.
    Raises InputError, with the line reached, for what cannot be read on.
    """

    def __init__(self, stream: io.TextIOWrapper, label: str) -> None:
        self.label = label
        self.line = 0
        self.ended = True
        self._readline = stream.readline

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            piece = self._readline(LINE_CHARS + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.label}: line {self.line + 1}: cannot be read on: {error}") from None
        if not piece:
            raise StopIteration
        if self.ended:
            self.line += 1
            if self.line == 1:
                piece = self._beginning(piece)
        self.ended = piece.endswith("\n")
        return piece

    def _beginning(self, piece: str) -> str:
        for mark, what in _FOREIGN:
            if piece.lstrip("\ufeff \r\n").startswith(mark):
                raise InputError(f"{self.label}: line 1: {what}")
        if _STRAY_RETURN.search(piece):
            raise InputError(f"{self.label}: line 1: lines end with CR alone; save it with LF or CR LF")
        return piece.removeprefix("\ufeff")


def read_lines(reader: LineReader) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, one that is too long to be used only with its beginning."""
    for piece in reader:
        line = reader.line
        if not reader.ended:
            _finish_line(reader)
        yield line, piece


def _finish_line(reader: LineReader) -> None:
    for _ in reader:
        if reader.ended:
            return
