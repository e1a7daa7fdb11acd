"""Reads the numbered lines of an input, however long or broken they are."""

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Self

from bulkstop.errors import InputError
from bulkstop.text.faults import explain_unpacking

LINE_CHARS = 1024 * 1024
"""Longest row in characters; a longer one is invalid."""

AHEAD_CHARS = 64 * 1024
"""Characters that are read at once to skip blank lines; fewer than a line may have."""

READ_ERRORS = (OSError, EOFError, zlib.error)
"""Errors of a stream that cannot be read further."""

_ENDS_OF_FILE = ("\x1a", "\x1a\n", "\x1a\r\n")
"""Ctrl-Z, with which some programs end a text as DOS did."""
_SURROGATE = re.compile("[\udc80-\udcff]")
_AS_CP1252 = {0xDC00 + byte: bytes([byte]).decode("cp1252", errors="replace") for byte in range(0x80, 0x100)}
_BLANK_LINES = re.compile(r"(?: *\r?\n)+")
_SYLK = ("WXL", "SCALC", "CALC", "Gnumeric")
_STRAY_RETURN = re.compile(r"\r(?![\r\n]|$)")
# The first characters of foreign formats, as they look when decoded (see encoding).
_FOREIGN = (
    ("\udcff\udcfe", "is UTF-16; save it as UTF-8"),
    ("\udcfe\udcff", "is UTF-16; save it as UTF-8"),
    ("\0\0\udcfe\udcff", "is UTF-32; save it as UTF-8"),
    ("\x1f\udc8b", "is compressed with gzip; name it .gz, or unpack it first"),
    ("PK\x03\x04", "is a workbook or a zip archive; save it as CSV (UTF-8)"),
    ("\udcd0\udccf\x11", "is a workbook of an old kind; save it as CSV (UTF-8)"),
    ("%PDF-", "is a PDF; save the list as CSV (UTF-8)"),
    *((f"ID;P{program}", "is a workbook as SYLK; save it as CSV (UTF-8)") for program in _SYLK),
    ("{\\rtf", "is a text with fonts (RTF); save it as plain text"),
)
_PAGE = re.compile(r"<(?!\s*(?:cd-|[a-z]+://))", re.IGNORECASE)


def find_foreign(beginning: str) -> str | None:
    """Return what a text of a foreign format is and what to do, by its first line; None for other texts."""
    text = beginning.lstrip("\ufeff \r\n")
    if _PAGE.match(text):
        return "is a web page or XML, not a list; was a sign-in page saved instead?"
    return next((what for mark, what in _FOREIGN if text.startswith(mark)), None)


def is_blank(piece: str) -> bool:
    """Return whether a line is empty; for a line that is too long, of which only the beginning is known, False."""
    return not piece or (piece.isspace() and len(piece) <= LINE_CHARS) or piece in _ENDS_OF_FILE


def text_fault(text: str) -> str | None:
    """Return why these characters cannot be a row; None if they can."""
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
    """Iterates over the pieces of a text; a piece is a line, or part of a line that is too long.

    `line` is the number of the last piece's line, counted from 1; `ended` says whether the piece ended that line.
    `head` are the first lines, as far as they are known in advance. With `note_cp1252`, which gets the number of each
    such line, bytes that are not UTF-8 are decoded as Windows-1252. Raises InputError, with the line reached, when the
    stream cannot be read further.
    """

    def __init__(
        self,
        stream: io.TextIOWrapper,
        label: str,
        note_cp1252: Callable[[int], object] | None = None,
        head: Sequence[str] = (),
    ) -> None:
        self.label = label
        self.head = head
        self.line = 0
        self.ended = True
        self._note_cp1252 = note_cp1252
        self._readline = stream.readline
        self._pieces = iter(partial(stream.readline, LINE_CHARS + 1), "")
        self._read = stream.read
        self._ahead = ""
        self._at = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            piece = self._next_ahead() if self._ahead else next(self._pieces)
        except READ_ERRORS as error:
            raise self.cut_off(error) from None
        if self.ended:
            self.line += 1
            if self.line == 1:
                piece = self._beginning(piece)
        self.ended = piece.endswith("\n")
        if self._note_cp1252 is not None and not piece.isascii() and _SURROGATE.search(piece):
            self._note_cp1252(self.line)
            return piece.translate(_AS_CP1252)
        return piece

    def skip_blank_lines(self) -> None:
        """Skip empty lines, a hundred times as fast as reading them; the next line may still be blank."""
        if self.ended:
            try:
                while self._pass_over():
                    pass
            except READ_ERRORS as error:
                raise self.cut_off(error) from None

    def lines_ahead(self) -> Iterator[str]:
        """Return the next pieces; the caller counts them, and gives back one too many."""
        return iter(self._next_ahead, "") if self._ahead else self._pieces

    def give_back(self, piece: str) -> None:
        """Return a piece of the lines ahead to the front."""
        if self._ahead:
            self._at -= len(piece)
        else:
            self._ahead, self._at = piece, 0

    def cut_off(self, error: Exception) -> InputError:
        """Return the error of a stream that cannot be read further, with the line reached."""
        why = explain_unpacking(error)
        return InputError(f"{self.label}: line {self.line + 1}: cannot be read further: {why}")

    def _pass_over(self) -> bool:
        """Skip blank lines in the text read ahead; return whether there may be more."""
        if not self._ahead:
            read = self._read(AHEAD_CHARS)
            self._ahead, self._at = read.lstrip("\n"), 0  # most blank lines; ten times as fast as the pattern
            self.line += len(read) - len(self._ahead)
            if read and not self._ahead:
                return True
        match = _BLANK_LINES.match(self._ahead, self._at)
        end = self._at if match is None else match.end()
        self.line += self._ahead.count("\n", self._at, end)
        self._at = end
        is_spent = end == len(self._ahead)
        if is_spent:
            self._ahead, self._at = "", 0
        return is_spent and match is not None

    def _next_ahead(self) -> str:
        """Return the next piece of the text read ahead, completed to its line end."""
        end = min(self._ahead.find("\n", self._at) + 1 or len(self._ahead), self._at + LINE_CHARS + 1)
        piece = self._ahead[self._at : end]
        self._at = end
        if end == len(self._ahead):
            self._ahead, self._at = "", 0
            if not piece.endswith("\n"):
                piece += self._readline(LINE_CHARS + 1 - len(piece))
        return piece

    def _beginning(self, piece: str) -> str:
        if what := find_foreign(piece):
            raise InputError(f"{self.label}: line 1: {what}")
        if _STRAY_RETURN.search(piece):
            raise InputError(f"{self.label}: line 1: lines end with CR alone; save it with LF or CR LF")
        return piece.lstrip("\ufeff")


def read_pieces(reader: LineReader) -> Iterator[str]:
    """Yield the pieces that are not blank lines."""
    for piece in reader:
        if is_blank(piece):
            reader.skip_blank_lines()
        else:
            yield piece


def read_lines(reader: LineReader) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank with its number; of a line that is too long, only the beginning."""
    for piece in read_pieces(reader):
        line = reader.line
        if not reader.ended:
            _finish_line(reader)
        yield line, piece


def _finish_line(reader: LineReader) -> None:
    for _ in reader:
        if reader.ended:
            return
