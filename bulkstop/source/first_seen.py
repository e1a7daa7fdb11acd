"""Remembers the first offset of each campaign, in a quarter of a dict's memory."""

from array import array

_FIRST_SIZE = 1024


class FirstSeen:
    """Maps a hash to its first offset, at 24 to 33 bytes each.

    Like a dict it has a sparse table over dense entries, but numbers in arrays instead of objects. The table is rebuilt
    from the entries, so that the old one is freed before the new one is made.
    """

    def __init__(self) -> None:
        self._hashes = array("q", (0,))  # table value 0 means empty
        self._offsets = array("Q", (0,))
        self._places = _zeros(_FIRST_SIZE)
        self._mask = _FIRST_SIZE - 1

    def first(self, key_hash: int, offset: int) -> int | None:
        """Return the first offset of a hash, or store this one and return None."""
        places, mask = self._places, self._mask
        at = key_hash & mask
        while place := places[at]:
            if self._hashes[place] == key_hash:
                return self._offsets[place]
            at = at + 1 & mask
        places[at] = place = len(self._hashes)
        self._hashes.append(key_hash)
        self._offsets.append(offset)
        if place * 2 > mask:  # half empty: 1.5 looks on average find a hash, 2.5 a new one
            self._grow()
        return None

    def _grow(self) -> None:
        size = len(self._places) * 2
        self._places = array("I")
        self._places, self._mask = _zeros(size), size - 1
        places, mask = self._places, self._mask
        entries = enumerate(self._hashes)
        next(entries)
        for place, key_hash in entries:
            at = key_hash & mask
            while places[at]:
                at = at + 1 & mask
            places[at] = place


def _zeros(size: int) -> "array[int]":
    return array("I", (0,)) * size
