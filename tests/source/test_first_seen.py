"""Hashes are found again in any distribution, in little memory."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.source.first_seen import FirstSeen

HASHES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-8, 8),
    st.integers(-(2**53), 2**53 - 1).map(lambda high: high * 1024 + 1023),  # all begin at the last place, and wrap
)
ROWS = 3_000
"""Enough for the table to grow more than once."""


@given(st.lists(st.tuples(HASHES, st.integers(0, 2**64 - 1))))
def test_it_answers_as_a_dict_would(rows: list[tuple[int, int]]) -> None:
    """The first offset of a hash is given for every later one; a hash that is new gives None."""
    seen, known = FirstSeen(), dict[int, int]()
    for key_hash, offset in rows:
        assert seen.first(key_hash, offset) == known.get(key_hash)
        known.setdefault(key_hash, offset)


@pytest.mark.parametrize("step", [1, 1024, 2**40, -(2**20) - 1])
def test_nothing_is_forgotten_when_it_grows(step: int) -> None:
    """All that was remembered before the table grew is found after it, also when every hash wants the same place."""
    count = ROWS if abs(step) % 1024 else 700
    seen = FirstSeen()
    for number in range(count):
        assert seen.first(number * step, number * 7) is None
    assert [seen.first(number * step, 0) for number in range(count)] == [number * 7 for number in range(count)]


def test_offset_zero_is_an_offset() -> None:
    """The row at the very beginning is found as well."""
    seen = FirstSeen()
    assert seen.first(5, 0) is None
    assert seen.first(5, 9) == 0


def test_it_costs_less_than_a_third_of_a_dict() -> None:
    """Its peak, growing included, is below 36 bytes an entry; a dict of two numbers takes more than 100."""
    chance, count = random.Random(1), 40_000
    seen = FirstSeen()
    tracemalloc.start()
    try:
        for offset in range(count):
            seen.first(chance.getrandbits(63), offset)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / count < 36
