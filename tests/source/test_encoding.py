"""Bytes to text: by their mark, by NULs, as UTF-8, line by line as Windows-1252; and nothing is guessed."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.model import Campaign, CampaignType, Defaults, Result, Row
from bulkstop.source import read
from bulkstop.source.encoding import find_encoding, open_text
from bulkstop.source.understood import Finding, Understood

Read = Callable[[str, bytes], list[Row]]
DEFAULTS = Defaults(CampaignType.VOICE, "a1", "st-1")
TABLE = "Campaign ID\tName\r\ncd-1\tMüller €\r\ncd-2\tŁódź\r\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_what_unicode_shows(encoding: str, mark: str, rows_of: Read) -> None:
    """Unicode in any encoding is read, with a byte order mark or without."""
    content = (mark + TABLE).encode(encoding)
    assert find_encoding(content) == encoding
    assert [(row.line, row.campaign_id, getattr(row, "name", None)) for row in rows_of("list.csv", content)] == [
        (2, "cd-1", "Müller €"),
        (3, "cd-2", "Łódź"),
    ]


def test_lines_in_windows_1252(tmp_path: Path) -> None:
    """A line that is not UTF-8 is read as Windows-1252 and counted; the lines around it stay what they are."""
    path = tmp_path / "list.csv"
    path.write_bytes("id;name\ncd-1;Łódź\n".encode() + "cd-2;Müller €\ncd-3;Ende\n".encode("cp1252") + b"cd-4;\x81\n")
    understood: list[Understood] = []
    rows = list(read([str(path)], defaults=DEFAULTS, understood=understood))
    assert [row.name for row in rows if isinstance(row, Campaign)] == ["Łódź", "Müller €", "Ende", "\ufffd"]
    assert understood[0].counts[Finding.CP1252_LINES] == 2
    assert understood[0].examples[Finding.CP1252_LINES].line == 3


def test_an_id_that_is_no_ascii(rows_of: Read) -> None:
    """An id with such a character is invalid, and the reason names it."""
    (row,) = rows_of("ids.txt", b"cd-1\xfc2\n")
    assert isinstance(row, Result)
    assert "U+00FC LATIN SMALL LETTER U WITH DIAERESIS" in (row.error or "")


@pytest.mark.parametrize(
    ("encoding", "text", "name"),
    [
        ("cp1251", "id;name\ncd-1;Привет\n", "Привет"),
        ("utf-16", "id;name\ncd-1;Müller\n", "Müller"),
        ("shift_jis", "id;name\ncd-1;日本\n", "日本"),
        ("utf-8", "id;name\ncd-1;Müller\n", "Müller"),
        ("mac-roman", "id;name\rcd-1;Müller\r", "Müller"),
    ],
)
def test_the_encoding_that_is_given(encoding: str, text: str, name: str) -> None:
    """A given encoding is used, whatever the bytes indicate."""
    stdin = io.BytesIO(text.encode(encoding))
    (row,) = read(["-"], defaults=DEFAULTS, stdin=stdin, encoding=encoding)
    assert isinstance(row, Campaign)
    assert row.name == name


def test_bytes_that_are_not_in_it() -> None:
    """A line that is not in the encoding that is given is invalid; the others are read."""
    rows = list(read(["-"], defaults=DEFAULTS, stdin=io.BytesIO(b"id\ncd-1\ncd-\xff\n"), encoding="utf-8"))
    assert [isinstance(row, Campaign) for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\rb\rc", ["a\n", "b\n", "c"]),
        (b"a\r\rb\r\nc\nd", ["a\n", "\n", "b\n", "c\n", "d"]),
        (b"a\r\r\nb\r\r\n", ["a\r\r\n", "b\r\r\n"]),
        (b'"x\ry",b\nc\rd\n', ['"x\ry",b\n', "c\rd\n"]),
        (b"a\nb\rc\n", ["a\n", "b\rc\n"]),
        (b"a\r", ["a\n"]),
    ],
)
def test_ends_of_lines(content: bytes, lines: list[str]) -> None:
    """CR alone ends lines if it ends the first one, outside quotes; otherwise it is part of them."""
    assert list(open_text(io.BytesIO(content), "list.csv").stream) == lines


class Trickle(io.BytesIO):
    """Bytes that come one at a time, as through a slow pipe."""

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read a byte."""
        return super().read1(1)


@given(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_however_it_comes(encoding: str, end: str) -> None:
    """Bytes that come one by one are the same text."""
    text = TABLE.replace("Łódź", "Ende").replace("\r\n", end)
    for stdin in (Trickle(text.encode(encoding)), io.BytesIO(text.encode(encoding))):
        rows = list(read(["-"], defaults=DEFAULTS, stdin=stdin))
        assert [(row.line, getattr(row, "name", None)) for row in rows] == [(2, "Müller €"), (3, "Ende")]
