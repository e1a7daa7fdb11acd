"""Quotation marks in a table: which belong to a cell, which rows a stray one has swallowed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bulkstop.ids import POSSIBLE

_CAMPAIGN_ID = re.compile(r"[^0-9A-Za-z]*ci?d-", re.IGNORECASE)
_DIGIT = re.compile(r"[0-9]")


class _At(Enum):
    START = auto()  # where a cell begins
    PLAIN = auto()  # in a cell without quotes
    INSIDE = auto()  # between quotes
    QUOTE = auto()  # after a quote that closes the cell, unless another one follows


class Quotes:
    """Where in a record the text seen so far ends; it keeps no text.

    `in_order` is lost when anything but a delimiter or the end of the line follows a closing quote.
    """

    def __init__(self, delimiter: str, *, inside: bool) -> None:
        self.in_order = True
        self._delimiter = delimiter
        self._at = _At.INSIDE if inside else _At.START

    @property
    def open(self) -> bool:
        """Whether the text seen so far ends between quotes."""
        return self._at is _At.INSIDE

    def see(self, piece: str) -> None:
        """Go on with the next piece, which holds a line's end only as its own."""
        place = 0
        while 0 <= place < len(piece):
            if self._at is _At.INSIDE:
                place = self._jump(piece, '"', place, _At.QUOTE)
            elif self._at is _At.PLAIN:
                place = self._jump(piece, self._delimiter, place, _At.START)
            else:
                self._step(piece[place])
                place += 1

    def _jump(self, piece: str, mark: str, place: int, then: _At) -> int:
        mark_at = piece.find(mark, place)
        if mark_at < 0:
            return -1
        self._at = then
        return mark_at + 1

    def _step(self, char: str) -> None:
        if char == '"':
            self._at = _At.INSIDE
        elif char == self._delimiter:
            self._at = _At.START
        else:
            self.in_order = self.in_order and (self._at is _At.START or char in "\r\n")
            self._at = _At.PLAIN


@dataclass(frozen=True, slots=True)
class RowShape:
    """What a row of a table looks like: how many cells it has, and which of them is the campaign id."""

    delimiter: str
    width: int
    id_at: int

    def is_row(self, line: str) -> bool:
        """Tell whether a line that stands inside quotes as a whole looks like a row."""
        cells = line.split(self.delimiter)
        if self.width > 1 and len(cells) == self.width:
            return any(map(str.strip, cells))
        return any(map(_CAMPAIGN_ID.match, cells))

    def swallows(self, cells: Sequence[str]) -> bool:
        """Tell whether a record over several lines holds lines that look like rows of their own.

        Of the record itself one line is a row: where a cell begins or ends on that line, the rest of it is no other.
        """
        if len(cells) > self.width:
            return True
        own = cells[self.id_at].strip() if self.id_at < len(cells) else ""
        return any(self._cell_swallows(place, cell, own) for place, cell in enumerate(cells) if "\n" in cell)

    def header_swallows(self, cells: Sequence[str]) -> bool:
        """Tell whether a header over several lines holds lines that look like rows."""
        if not any("\n" in cell for cell in cells) or not any(map(_DIGIT.search, cells)):
            return False  # rows have digits, and names that a spreadsheet has broken over lines have none
        names = [*cells[: self.id_at], "", *cells[self.id_at + 1 :]]
        return "\n" in cells[self.id_at] or _names_campaign(names) or self.swallows(names)

    def _cell_swallows(self, place: int, cell: str, own: str) -> bool:
        first, *whole, last = cell.split("\n")
        if place == self.id_at:
            return self.delimiter in cell or sum(not line.isspace() for line in (first, *whole, last) if line) > 1
        return (
            any(self.is_row(line) or self._has_id(line, self.id_at, own) for line in whole)
            or _names_campaign(last.split(self.delimiter))
            or self._has_id(last, self.id_at, own)
            or (self.id_at > place and self._begins_row(first, self.id_at - place, own))
        )

    def _begins_row(self, first: str, id_at: int, own: str) -> bool:
        return _names_campaign(first.split(self.delimiter)[1:]) or self._has_id(first, id_at, own)

    def _has_id(self, line: str, id_at: int, own: str) -> bool:
        """Tell whether the id of a row stands in several cells, in a list whose ids do not begin with cd-."""
        cells = line.split(self.delimiter)
        if len(cells) < 2 or len(cells) <= id_at or _CAMPAIGN_ID.match(own):
            return False
        cell = cells[id_at].strip()
        return bool(POSSIBLE.fullmatch(cell) and (_DIGIT.search(cell) or not _DIGIT.search(own or "0")))


def _names_campaign(cells: Sequence[str]) -> bool:
    return any(map(_CAMPAIGN_ID.match, cells))
