"""Quotes in a table: which belong to a cell, and which rows a stray one has swallowed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bulkstop.ids import POSSIBLE

_CAMPAIGN_ID = re.compile(r"[^0-9A-Za-z]*ci?d-", re.IGNORECASE)
_DIGIT = re.compile(r"[0-9]")


class _At(Enum):
    START = auto()  # at the beginning of a cell
    PLAIN = auto()  # in an unquoted cell
    INSIDE = auto()  # within quotes
    QUOTE = auto()  # after a quote, which closes the cell unless another one follows


class Quotes:
    """Tracks the state of quotes in a record, without its text.

    `in_order` is False after a closing quote that is followed by anything but a delimiter or line end.
    """

    def __init__(self, delimiter: str, *, inside: bool) -> None:
        self.in_order = True
        self._delimiter = delimiter
        self._at = _At.INSIDE if inside else _At.START

    @property
    def open(self) -> bool:
        """Whether the text so far ends within quotes."""
        return self._at is _At.INSIDE

    def see(self, piece: str) -> None:
        """Process the next piece, in which a line end can only be the last character."""
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
    """The shape of a table's rows: the number of cells, and the place of the campaign id."""

    delimiter: str
    width: int
    id_at: int

    def is_row(self, line: str) -> bool:
        """Return whether a complete line within quotes looks like a row."""
        cells = line.split(self.delimiter)
        if self.width > 1 and len(cells) == self.width:
            return any(map(str.strip, cells))
        return any(map(_CAMPAIGN_ID.match, cells))

    def swallows(self, cells: Sequence[str]) -> bool:
        """Return whether a multi-line record contains lines that look like rows of their own.

        One line is the record's own row: the rest of a line on which a cell begins or ends is not another.
        """
        if len(cells) > self.width:
            return True
        own = cells[self.id_at].strip() if self.id_at < len(cells) else ""
        return any(self._cell_swallows(place, cell, own) for place, cell in enumerate(cells) if "\n" in cell)

    def header_swallows(self, cells: Sequence[str]) -> bool:
        """Return whether a multi-line header contains lines that look like rows."""
        if not any("\n" in cell for cell in cells) or not any(map(_DIGIT.search, cells)):
            return False  # rows have digits; names broken over lines have none
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
        """Return whether a line of several cells has a row's id, in a list whose ids do not begin with cd-."""
        cells = line.split(self.delimiter)
        if len(cells) < 2 or len(cells) <= id_at or _CAMPAIGN_ID.match(own):
            return False
        cell = cells[id_at].strip()
        return bool(POSSIBLE.fullmatch(cell) and (_DIGIT.search(cell) or not _DIGIT.search(own or "0")))


def _names_campaign(cells: Sequence[str]) -> bool:
    return any(map(_CAMPAIGN_ID.match, cells))
