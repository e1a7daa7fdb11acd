"""Follows the quotes of CSV text that is too long or too broken to be parsed."""

from enum import Enum, auto


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
        found = piece.find(mark, place)
        if found < 0:
            return -1
        self._at = then
        return found + 1

    def _step(self, char: str) -> None:
        if char == '"':
            self._at = _At.INSIDE
        elif char == self._delimiter:
            self._at = _At.START
        else:
            self.in_order = self.in_order and (self._at is _At.START or char in "\r\n")
            self._at = _At.PLAIN
