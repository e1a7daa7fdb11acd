"""Texts that others wrote are safe wherever they are shown."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bulkstop.text import escape, has_controls, printable


@given(st.text(st.characters()))
def test_nothing_steers_a_terminal(text: str) -> None:
    """Replaced or escaped, a text prints on one line and can be encoded; one that prints stays as it is."""
    for safe in (printable(text), printable(text, " "), escape(text)):
        assert safe.isprintable()
        safe.encode()
        assert safe == text or not text.isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\')))
def test_escaped_as_json_does(text: str) -> None:
    """What is escaped is a JSON string, so a log line's values can be read back."""
    assert json.loads(f'"{escape(text)}"') == text


def test_controls() -> None:
    """Control characters and halves of pairs are told from all else, also from what does not print."""
    assert all(map(has_controls, ("a\x00", "\x1b[", "\n", "\x7f", "\x85", "\ud800")))
    assert not any(map(has_controls, ("", "a b", "\u00a0", "\u202e", "\N{GRINNING FACE}")))
