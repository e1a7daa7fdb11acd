"""Which ids can be sent: no gateway on the way can make another call of one that can."""

import re
import time
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.ids import LIKELY, POSSIBLE, id_fault, name_of, plain_id

ONLY = "an id has only letters, digits, '-', '_', '.' and '~'"
CHARS = st.text(
    st.sampled_from("cd-1_.~/\\%;?# \t\u00a0\u200b\uff0e\uff0f\uff3c\uff05\u2024\u2025\u2100\u2044é\x00\ud800")
)


@pytest.mark.parametrize("value", ["cd-835ee4a-6c1d", "a", "...", ".a", "~", "_", "-", "A.9", "x" * 256])
def test_possible(value: str) -> None:
    """Letters, digits and four marks make an id, of at most 256 characters."""
    assert id_fault(value) is None
    assert id_fault(value, any_id=True, in_header=True) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a/b", f"'a/b' holds U+002F SOLIDUS; {ONLY}"),
        ("a b", f"'a b' holds U+0020 SPACE; {ONLY}; any_id=True allows it"),
        ("cd\u00a01", f"'cd\\xa01' holds U+00A0 NO-BREAK SPACE; {ONLY}; any_id=True allows it"),
        ("a\tb", f"'a\\tb' holds U+0009 CONTROL CHARACTER; {ONLY}"),
        ("\x85", f"'\\x85' holds U+0085 CONTROL CHARACTER; {ONLY}"),
        ("\ud800", f"'\\ud800' holds U+D800 HALF OF A SURROGATE PAIR; {ONLY}"),
        ("\ue000", f"'\\ue000' holds U+E000 PRIVATE USE CHARACTER; {ONLY}; any_id=True allows it"),
        ("\u0378", f"'\\u0378' holds U+0378 UNASSIGNED CHARACTER; {ONLY}; any_id=True allows it"),
        ("é", f"'é' holds U+00E9 LATIN SMALL LETTER E WITH ACUTE; {ONLY}; any_id=True allows it"),
        ("1\n", f"'1\\n' holds U+000A CONTROL CHARACTER; {ONLY}"),
        ("\u0661", f"'\u0661' holds U+0661 ARABIC-INDIC DIGIT ONE; {ONLY}; any_id=True allows it"),
        (".", "'.' is a path step, not an id"),
        ("..", "'..' is a path step, not an id"),
        ("", "is empty"),
        ("x" * 257, "has 257 characters; at most 256 can be sent"),
        ("x" * 99 + "/", f"'{'x' * 60}'... holds U+002F SOLIDUS; {ONLY}"),
    ],
)
def test_not_possible(value: str, why: str) -> None:
    """Other texts are not ids, and the reason names the character, even an invisible one."""
    assert id_fault(value) == why


@pytest.mark.parametrize("value", ["a b", "é", "a?b=c&d", "a:b", "cd-1;x", "#1", ";x", "🎉", "{a}", "a+b", "'"])
def test_any_id(value: str) -> None:
    """With any_id other characters are allowed."""
    assert id_fault(value)
    assert id_fault(value, any_id=True) is None


@pytest.mark.parametrize(
    "value",
    [
        *("a/b", "a\\b", "%2e%2e", "a%2Fb", "../x", "a\x00b", "a\x7fb", "a\x9fb", "\udfff", "a\u2028b", "\r\n"),
        *(
            ".",
            "..",
            ". .",
            " ..",
            ".. ",
            "..\u00a0",
            "\u200b..",
            "..;x",
            ".;",
            "..;/",
            "..?x",
            "..#",
            " ",
            "\u200b",
        ),
        *("\uff0e\uff0e", "\uff0e", "\u2024.", "\u2025", "\u2026", "\uff0e\uff0e\uff1bx", "\ufe52."),
        *(
            "a\uff0fb",
            "a\uff3cb",
            "a\uff05b",
            "\ufe68",
            "\ufe6a",
            "\u2100",
            "\u2105x",
            "\u2044",
            "\u2215",
            "\u2216",
            "½",
        ),
        *("", "x " * 129),
    ],
)
def test_never(value: str) -> None:
    """An id that may become another path when it is decoded and normalised is refused even with any_id."""
    assert id_fault(value, any_id=True)


@pytest.mark.parametrize("value", ["é", "a b", "a\u00adb"])
def test_in_a_header(value: str) -> None:
    """An id that is also in a header is visible ASCII, whatever else is allowed."""
    assert id_fault(value, any_id=True) is None
    assert "cannot stand in a header" in (id_fault(value, any_id=True, in_header=True) or "")
    assert id_fault("a:b&c", any_id=True, in_header=True) is None


@given(CHARS | st.text())
@example("..;/")
def test_stays_one_segment(value: str) -> None:
    """However often an allowed id is decoded and normalised, it is one path segment, and no path step."""
    if id_fault(value) is None:
        assert re.fullmatch(r"[A-Za-z0-9_.~-]{1,256}", value)
        assert id_fault(value, any_id=True) is None
    if id_fault(value, any_id=True) is None:
        for seen in (value, unquote(value), unquote(unquote(value)), unicodedata.normalize("NFKC", value)):
            assert not set("/\\%").intersection(seen)
            assert re.split("[;?#]", seen)[0].strip() not in (".", "..")
        assert value.encode()


@given(st.characters())
def test_every_character_has_a_name(char: str) -> None:
    """The name of a character can be written and read everywhere."""
    assert re.fullmatch(r"U\+[0-9A-F]{4,6} [A-Z0-9 <>()-]+", name_of(char))


@pytest.mark.parametrize(
    "value", ["cd-1;x", "cd-1?x", "cd-1#x", " cd-1", "cd-1\u200b", "cd\uff0d1", "\uff43\uff44-1", "c\u00add-1"]
)
def test_plain(value: str) -> None:
    """The plain id is what a lenient service may take another one for."""
    assert plain_id(value) == "cd-1"


@pytest.mark.parametrize("value", ["cd-7", "cd-835ee4a-6c1d-5b2e-8f90-1a2b3c4d5e6f", "cd-AB12"])
def test_likely(value: str) -> None:
    """A likely id is cd- and groups of hex digits; it is possible, too."""
    assert LIKELY.fullmatch(value)
    assert POSSIBLE.fullmatch(value)
    for odd in (f"{value}-", f"{value}x", value[1:], f"{value}\n", f" {value}", value.replace("cd", "CD")):
        assert not LIKELY.fullmatch(odd)


def test_a_long_id_takes_no_time() -> None:
    """A huge cell in the place of an id is refused at once."""
    began = time.process_time()
    assert id_fault(" " * 1_000_000, any_id=True) == "has 1,000,000 characters; at most 256 can be sent"
    assert time.process_time() - began < 1.0
