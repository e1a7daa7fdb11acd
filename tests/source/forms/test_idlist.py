"""Lists of ids: a row for each id, and nothing for the rest."""

import io
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.model import Campaign, CampaignType, Defaults, Result, Row
from bulkstop.source import read
from bulkstop.source.forms.remarks import is_rule
from bulkstop.source.rows import field_of

Read = Callable[[str, bytes], list[Row]]


def test_plain_ids(rows_of: Read) -> None:
    """Every line is an id, except blank ones and those that start with #."""
    rows = rows_of("list.txt", b"# what\n\ncd-1\n  cd-2\t\n  # more\ncd-3\r\n#\xff\n")
    assert [(row.line, row.campaign_id) for row in rows] == [(3, "cd-1"), (4, "cd-2"), (6, "cd-3")]
    assert [isinstance(row, Campaign) and row.row is None for row in rows] == [True, True, True]


def test_bad_plain_ids(rows_of: Read) -> None:
    """A line that cannot be an id is invalid with the reason, at any length; the next one is not affected."""
    rows = rows_of("list.txt", b"c\xff\nc\0d\n" + b"x" * 10_000_000 + b"\n" + b" " * 2_000_000 + b"cd-1\n..\ncd-2")
    assert [(row.line, (row.error or "")[:44]) for row in rows if isinstance(row, Result)] == [
        (1, "campaign id 'c\u00ff' holds U+00FF LATIN SMALL LE"),
        (2, "the row holds a NUL byte"),
        (3, "the row is longer than 1,048,576 characters"),
        (4, "the row is longer than 1,048,576 characters"),
        (5, "campaign id '..' is a path step, not an id"),
    ]
    assert [row.campaign_id for row in rows] == ["c\u00ff", "c\ufffdd", "x" * 200, "", "..", "cd-2"]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)))
@example([":"])
@example(["--", "id", "x"])
def test_every_plain_line_is_a_row(ids: list[str]) -> None:
    """There are as many rows as lines with text, except drawn lines and column names."""
    lines = [f"-{value}" for value in ids]
    stdin = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    rows = list(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt="txt", stdin=stdin))
    is_row = [not is_rule(line) and field_of(line) != "campaign_id" for line in lines]
    assert [row.line for row in rows] == [number for number, it_is in enumerate(is_row, start=1) if it_is]
