"""Cuts a CSV text into records, so that no broken one hides another."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Self

from bulkstop.errors import InputError
from bulkstop.source.quotes import Quotes
from bulkstop.source.text import LINE_CHARS, Text, is_blank, text_fault

_GLIMPSE_CHARS = 65_536
_STRAY_RETURN = "a carriage return stands in the row outside quotes"


@dataclass(slots=True)
class Record:
    """One record: the line it starts on, its cells, and what is wrong with it, if anything.

    Of a `torn` one the cells are only what can be told from its first line.
    """

    line: int
    cells: list[str]
    fault: str | None = None
    torn: bool = False


def records(text: Text, first: str, delimiter: str) -> Iterator[Record]:
    """Yield the records of `first`, the line just taken from the text, and of all that follow; blank lines are none.

    Where quotes stand so that records cannot be told apart, each line concerned is a torn record. Raises InputError
    for a quote that is never closed: what follows it might be rows that nobody would miss.
    """
    feed = _Feed(text, first)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = feed.next_record(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLongError) as error:
            yield from _torn(feed, error, delimiter)
            continue
        if len(cells) > 1 or not is_blank(feed.piece):
            yield Record(feed.start, cells, feed.fault)


def glimpse(line: str, delimiter: str) -> list[str]:
    """Return the cells at the beginning of a line, taken by itself and read leniently."""
    try:
        return next(csv.reader([line[:_GLIMPSE_CHARS]], delimiter=delimiter), [])
    except csv.Error:
        return []


def _torn(feed: "_Feed", error: Exception, delimiter: str) -> Iterator[Record]:
    cells = glimpse(feed.head, delimiter)
    in_order = feed.skip_record(delimiter)
    last = feed.text.line
    span = f" (lines {feed.start} to {last})" if last > feed.start else ""
    yield Record(feed.start, cells, f"{_reason(error)}{span}", torn=True)
    if not in_order:
        for line in range(feed.start + 1, last + 1):
            yield Record(line, [], f"it may belong to the row of line {feed.start}: {_reason(error)}", torn=True)


def _reason(error: Exception) -> str:
    if isinstance(error, _TooLongError):
        return str(error)
    if "new-line" in str(error):
        return _STRAY_RETURN
    said = str(error).replace("\t", "\\t")  # it names the delimiter
    return f"the quotes do not fit: {said}"


class _TooLongError(Exception):
    """The record in the making is longer than any that is used."""


class _Feed:
    """Hands the lines of a text to csv.reader and knows which record they belong to."""

    def __init__(self, text: Text, first: str) -> None:
        self.text = text
        self.head = self.piece = first
        self.start = text.line
        self.fault: str | None = None
        self._pieces = chain([first], text)
        self._size = 0
        self._field_limit: int | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces, None)
        if piece is None:
            if self._size:  # the reader asks for more only inside quotes
                raise self._unclosed()
            raise StopIteration
        if not self._size:
            self.start, self.head = self.text.line, piece
        self.piece = piece
        self._size += len(piece)
        if self._size > LINE_CHARS:
            raise _TooLongError(f"the row is longer than {LINE_CHARS:,} characters")
        if self._field_limit is None and self._size > csv.field_size_limit():
            self._field_limit = csv.field_size_limit(LINE_CHARS + 1)
        self.fault = text_fault(piece) or self.fault
        return piece

    def next_record(self, reader: Iterator[list[str]]) -> list[str]:
        """Let the reader make one record; the limit of the csv module, which is everybody's, is raised no longer."""
        self._size, self.fault = 0, None
        try:
            return next(reader)
        finally:
            if self._field_limit is not None:
                csv.field_size_limit(self._field_limit)
                self._field_limit = None

    def skip_record(self, delimiter: str) -> bool:
        """Take the rest of the record from the text; tell whether its quotes were in order."""
        quotes = Quotes(delimiter, inside=self.text.line > self.start)
        quotes.see(self.piece)
        while quotes.open or not self.text.ended:
            piece = next(self._pieces, None)
            if piece is not None:
                quotes.see(piece)
            elif quotes.open:
                raise self._unclosed()
            else:
                break
        return quotes.in_order

    def _unclosed(self) -> InputError:
        return InputError(
            f"{self.text.label}: line {self.start}: a quote that opens in this row is never closed, "
            "so the lines after it cannot be told apart; close it, or double it if it belongs to the text"
        )
