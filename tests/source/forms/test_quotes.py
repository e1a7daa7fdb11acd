"""The quotes of CSV text, followed without keeping it."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.source.forms.quotes import Quotes

LINES = st.lists(st.text('",a', min_size=1, max_size=12), min_size=1, max_size=6)


@given(LINES)
def test_agrees_with_the_csv_module(lines: list[str]) -> None:
    """A record ends where the csv module ends it, and is in order where its strict mode says so."""
    drawn: list[str] = []

    def feed() -> object:
        for line in lines:
            drawn.append(line)
            yield line + "\n"

    try:
        next(csv.reader(feed(), strict=True))  # type: ignore[arg-type]
        strictly = True
    except csv.Error as error:
        strictly = "unexpected end" in str(error)
    if not strictly:
        drawn.clear()
        next(csv.reader(feed()))  # type: ignore[arg-type]
    quotes = Quotes(",", inside=False)
    for number, line in enumerate(drawn, start=1):
        quotes.see(line + "\n")
        assert quotes.open or number == len(drawn)
    assert not quotes.open or drawn == lines
    assert quotes.in_order == strictly


@given(st.text('",a', max_size=30), st.integers(0, 30), st.booleans())
def test_pieces_do_not_matter(text: str, cut: int, inside: bool) -> None:
    """Text in two pieces is followed as in one."""
    whole, pieces = Quotes(",", inside=inside), Quotes(",", inside=inside)
    whole.see(text)
    pieces.see(text[:cut])
    pieces.see(text[cut:])
    assert (whole.open, whole.in_order) == (pieces.open, pieces.in_order)


@pytest.mark.parametrize(
    ("text", "is_open", "in_order"),
    [
        ('a,b"c\n', False, True),
        ('"a""', True, True),
        ('"a"",\n', True, True),
        ('"a" ,b\n', False, False),
        ('"a"\r\n', False, True),
        ('a;"b\n', False, True),
    ],
)
def test_examples(text: str, is_open: bool, in_order: bool) -> None:
    """A quote opens at the start of a cell only, a doubled one is text, and one inside is followed by a delimiter."""
    quotes = Quotes(",", inside=False)
    quotes.see(text)
    assert (quotes.open, quotes.in_order) == (is_open, in_order)
