"""Texts that others wrote are safe wherever they are shown, come back from files, and fold as they look."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.text import TEXT_CHARS, escape, format_size, has_controls, one_line, printable, shorten
from bulkstop.text.cells import escape_json_line, from_cell, is_kept, to_cell
from bulkstop.text.likeness import compile_pattern, fold

TEXTS = st.text(st.characters())
CELLS = st.text(st.sampled_from("=+-@'\";,| \t\n\\u0209e\uff1d\u202e\x7fa"), max_size=10)


@given(TEXTS)
def test_nothing_steers_a_terminal(text: str) -> None:
    """Replaced or escaped, a text prints on one line and can be encoded; one that prints stays as it is."""
    for safe in (printable(text), printable(text, " "), escape(text), shorten(text), one_line(text) or ""):
        assert safe.isprintable()
        safe.encode()
        if len(text) <= TEXT_CHARS // 2 and text.isprintable():
            assert safe.strip() == text.strip()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\')))
def test_escaped_as_json_does(text: str) -> None:
    """An escaped text is a JSON string, so that a log line's values can be read back."""
    assert json.loads(f'"{escape(text)}"') == text


def test_controls() -> None:
    """Control characters and lone surrogates are distinguished from other unprintable characters."""
    assert all(map(has_controls, ("a\x00", "\x1b[", "\n", "\x7f", "\x85", "\ud800")))
    assert not any(map(has_controls, ("", "a b", "\u00a0", "\u202e", "\N{GRINNING FACE}")))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_line_of_json_has_the_same_values(text: str) -> None:
    """A line of JSON keeps its values, blanks of all widths as they are, and nothing else that does not print."""
    line = escape_json_line(json.dumps({"name": text}, ensure_ascii=False).encode() + b"\n")
    assert json.loads(line) == {"name": text}
    assert all(map(is_kept, line.decode()[:-1]))


@given(st.text(st.characters(exclude_categories=["Cs"])) | CELLS)
@example("\\u202e\u202e")
@example("'a'")
def test_a_cell_is_read_as_what_was_written(text: str) -> None:
    """For any text, its cell is read back as that text, and is safe in a terminal and a spreadsheet."""
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert all(map(is_kept, cell))
    for part in cell.replace("|", ";").replace(",", ";").split(";"):
        assert not part.replace('"', "").strip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))


@pytest.mark.parametrize(("cell", "text"), [("'-10%", "-10%"), ("''a'", "'a'"), ("'a", "'a"), ("\\u0041", "\\u0041")])
def test_cells_that_others_write(cell: str, text: str) -> None:
    """The mark of a text is taken away as a spreadsheet does; any other `'`, and other escapes, stay."""
    assert from_cell(cell) == text


@given(TEXTS)
@example("\u0345\u0300")
@example("e\u200b\u0301")
def test_folded_again_a_text_stays(text: str) -> None:
    """Folding twice equals folding once, so that any two ways lead to one text."""
    once = fold(text)
    assert fold(once) == once


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        (" A\tb\u00a0\u3000c ", "a b c"),
        ("\u201eX\u201c \u2018y\u2019 \u00abz\u00bb", '"x" \'y\' "z"'),
        ("a\u2011b\u2013c\u2014d\u2212e", "a-b-c-d-e"),
        ("\ufeffa\u200b\u200d\u00ad\u2066b\x07\ufe0f\u3164", "ab"),
        ("\uff21\u00df\ufb01", "assfi"),
    ],
)
def test_what_looks_alike_folds_alike(text: str, folded: str) -> None:
    """Blanks, quotes, dashes, letter case, widths and ligatures, and what does not show, make no difference."""
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 KB"), (1, "1 KB"), (298_001, "299 KB"), (120_400_000, "120 MB"), (2 * 10**9, "2 GB")]
)
def test_sizes(size: int, text: str) -> None:
    """A size is written as a person says it."""
    assert format_size(size) == text


def test_a_pattern_matches_as_it_is_or_folded() -> None:
    """A character that only folds to a wildcard is not one."""
    assert compile_pattern("Promo*")("\u200bPROMO x")
    assert compile_pattern("Stra?e")("Stra\u00dfe")
    assert compile_pattern("\uff0a")("*")
    assert not compile_pattern("\uff0a")("x")
