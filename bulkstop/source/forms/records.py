"""Splits a CSV text into records, so that a broken record does not hide others."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Self

from bulkstop.errors import InputError
from bulkstop.ids import LIKELY
from bulkstop.source.forms.quotes import Quotes, RowShape
from bulkstop.source.forms.remarks import MAY_BEGIN, is_comment, is_rule
from bulkstop.source.line_reader import LINE_CHARS, LineReader, is_blank, text_fault
from bulkstop.source.rows import RowParser
from bulkstop.source.understood import Finding
from bulkstop.text.faults import explain_csv

_GLIMPSE_CHARS = 65_536
_STRAY_RETURN = "the row has a carriage return outside quotes"
_DOUBTFUL = "it begins with #, so it may be a comment; put its first cell in quotes if it is a row, or remove it"
_SWALLOWED = "its quotes include lines that look like rows"


@dataclass(slots=True)
class Record:
    """One record: the line on which it starts, its cells, and its fault, if any.

    The cells of a `torn` record are only those that its first line shows.
    """

    line: int
    cells: list[str]
    fault: str | None = None
    torn: bool = False


class Records:
    """Splits `first`, a line just read, and all that follow into records, without blank lines.

    Comments and lines drawn around rows are counted, but are not records. Where quotes make records ambiguous, each
    affected line is a torn record; `shape` describes rows once it is known. Raises InputError for a quote that is never
    closed, because the rows after it would be lost unnoticed.
    """

    def __init__(self, reader: LineReader, first: str, delimiter: str, parser: RowParser) -> None:
        self.text = reader
        self.delimiter = delimiter
        self.shape: RowShape | None = None
        self._understood = parser.understood
        self._has_remarks = not parser.any_id  # otherwise a row may begin with #
        self._feed = _Feed(reader, first, self._is_remark)
        self._reader = csv.reader(self._feed, delimiter=delimiter, strict=True)

    def header(self) -> Record:
        """Return the first record, which is torn if it cannot be read."""
        feed = self._feed
        try:
            return Record(feed.start, feed.next_record(self._reader), feed.fault)
        except (csv.Error, _TooLongError) as error:
            return next(_torn(feed, error, self.delimiter, None))

    def take(self) -> Iterable[Record] | None:
        """Return the next records: none for a blank line, one, or several torn ones; None at the end.

        A record whose quotes have swallowed lines that look like rows is torn.
        """
        feed = self._feed
        try:
            cells = feed.next_record(self._reader)
        except StopIteration:
            return None
        except (csv.Error, _TooLongError) as error:
            return _torn(feed, error, self.delimiter, self.shape)
        if feed.inner and self.shape is not None and self.shape.swallows(cells):
            return _swallowed(feed, self.delimiter)
        return (Record(feed.start, cells, feed.fault),) if len(cells) > 1 or not is_blank(feed.piece) else ()

    def _is_remark(self, piece: str) -> bool | None:
        """Return whether a line is a comment, or drawn around rows; None if it may also be a row."""
        if not self._has_remarks:
            return False
        if is_rule(piece):
            self._understood.note(Finding.RULES, self._feed.text.line)
            return True
        if not is_comment(piece):
            return False
        id_at = self.shape.id_at if self.shape else 0
        if id_at and any(map(LIKELY.fullmatch, map(str.strip, glimpse(piece, self.delimiter)[id_at : id_at + 1]))):
            return None
        self._understood.note(Finding.COMMENTS, self._feed.text.line)
        return True


def glimpse(line: str, delimiter: str) -> list[str]:
    """Return the cells at the beginning of a single line, parsed leniently."""
    try:
        return next(csv.reader([line[:_GLIMPSE_CHARS]], delimiter=delimiter), [])
    except csv.Error:
        return []


def _torn(feed: "_Feed", error: Exception, delimiter: str, shape: RowShape | None) -> Iterator[Record]:
    cells = glimpse(feed.head, delimiter)
    is_one_row = feed.skip_record(delimiter, shape)
    last = feed.text.line
    span = f" (lines {feed.start} to {last})" if last > feed.start else ""
    yield Record(feed.start, cells, f"{_reason(error)}{span}", torn=True)
    if not is_one_row or not isinstance(error, _TooLongError):
        for line in range(feed.start + 1, last + 1):
            yield Record(line, [], _may_belong(feed.start, _reason(error)), torn=True)


def _swallowed(feed: "_Feed", delimiter: str) -> Iterator[Record]:
    span = f" (lines {feed.start} to {feed.text.line})"
    fault = f"{_SWALLOWED}{span}; close or double a stray quote"
    yield Record(feed.start, glimpse(feed.head, delimiter), fault, torn=True)
    fault = _may_belong(feed.start, _SWALLOWED)
    for line, piece in enumerate(feed.inner, start=feed.start + 1):
        if not is_blank(piece):
            yield Record(line, glimpse(piece.replace('"', ""), delimiter), fault, torn=True)


def _may_belong(line: int, reason: str) -> str:
    return f"it may belong to the row of line {line}: {reason}"


def _reason(error: Exception) -> str:
    if "new-line" in str(error):
        return _STRAY_RETURN
    return explain_csv(error) if isinstance(error, csv.Error) else str(error)


class _TooLongError(Exception):
    """The record is longer than allowed."""


class _Feed:
    """Passes the lines of a text to csv.reader, and tracks the record to which they belong.

    `head` is the first line of the record, and `inner` are those that begin within its quotes.
    """

    def __init__(self, reader: LineReader, first: str, is_remark: Callable[[str], bool | None]) -> None:
        self.text = reader
        self._is_remark = is_remark
        self._first = first
        self.head = self.piece = first
        self.start = reader.line
        self.inner: list[str] = []
        self.fault: str | None = None
        self._pieces = chain([first], reader)
        self._size = 0
        self._field_limit: int | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces, None)
        if piece is None:
            if self._size:  # the reader asks for more only within quotes
                raise self._unclosed()
            raise StopIteration
        if not self._size:
            if piece[0] in MAY_BEGIN and piece is not self._first and self._pass_remark(piece):
                return next(self)
            self.start, self.head = self.text.line, piece
            if piece in ("\n", "\r\n"):
                self.text.skip_blank_lines()
        else:
            self.inner.append(piece)
        self.piece = piece
        self._size += len(piece)
        if self._size > LINE_CHARS:
            raise _TooLongError(f"the row is longer than {LINE_CHARS:,} characters")
        if self._field_limit is None and self._size > csv.field_size_limit():
            self._field_limit = csv.field_size_limit(LINE_CHARS + 1)
        self.fault = text_fault(piece) or self.fault
        return piece

    def _pass_remark(self, piece: str) -> bool:
        """Return whether a line is not a row, and skip the rest of it; record a fault if it may be one."""
        is_remark = self._is_remark(piece)
        if is_remark is None:
            self.fault = _DOUBTFUL
        while is_remark and not self.text.ended:
            next(self._pieces)
        return bool(is_remark)

    def next_record(self, reader: Iterator[list[str]]) -> list[str]:
        """Return the next record; the csv module's global field limit is raised only meanwhile."""
        self._size, self.fault = 0, None
        if self.inner:
            self.inner = []
        try:
            return next(reader)
        finally:
            if self._field_limit is not None:
                csv.field_size_limit(self._field_limit)
                self._field_limit = None

    def skip_record(self, delimiter: str, shape: RowShape | None) -> bool:
        """Skip the rest of the record; return whether it is one row.

        It is not if its quotes are out of order, or lines that begin within them look like rows.
        """
        quotes = Quotes(delimiter, inside=self.text.line > self.start)
        holds_rows = shape is not None and any(map(shape.is_row, self.inner[:-1]))
        piece, begins_inside = self.piece, quotes.open
        while True:
            quotes.see(piece)
            if begins_inside and shape is not None and not holds_rows:
                holds_rows = shape.is_row(piece if quotes.open else piece.partition('"')[0])
            if self.text.ended and not quotes.open:
                break
            begins_inside = quotes.open and self.text.ended
            following = next(self._pieces, None)
            if following is None:
                break
            piece = following
        if quotes.open:
            raise self._unclosed()
        return quotes.in_order and not holds_rows

    def _unclosed(self) -> InputError:
        return InputError(
            f"{self.text.label}: line {self.start}: a quote in this row is never closed, "
            "so the rows after it cannot be read; close it, or double it if it is part of the text"
        )
