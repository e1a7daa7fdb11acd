"""The rows of usual lines are those that the long way makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Row
from bulkstop.source import read
from bulkstop.source.forms import csvfile
from bulkstop.source.understood import Understood

NAMES = ("campaign_id", "type", "account_id", "stream_id", "iid", "priority", "name", "profile", "region", "")
CELLS = st.one_of(
    st.sampled_from(
        [
            *(
                "cd-1",
                "cd-2",
                "cd-0a1b2c3-5f0a-4b1e-9c3d-2a7e8f6b1c0d",
                "cd--1",
                "cid-1",
                "cd-1 cd-2",
                "cd-" + "a" * 40,
            ),
            *(
                "voice",
                "sms",
                "Voice",
                "email",
                "acc",
                "'acc'",
                "st-1",
                "a b",
                "5",
                "5.0",
                "high",
                "",
                " ",
                "here",
                "gone",
            ),
            *(
                "'=1+1",
                "\\u202e",
                "Rückruf",
                "#N/A",
                "# no",
                "---",
                "(2 rows)",
                '"',
                '""',
                '"a',
                "\r",
                "\0",
                "campaign_id",
            ),
        ]
    ),
    st.text(st.sampled_from("ab1 '\",;\r\n\\#\u00e4\ufeff\0"), max_size=4),
)
LINES = st.tuples(st.lists(CELLS, min_size=1, max_size=6), st.booleans(), st.sampled_from(["\n", "\r\n", "\r\r\n", ""]))


def find_defaults(name: str) -> Defaults:
    """Know one profile."""
    if name != "here":
        raise ValueError("no such profile")
    return Defaults(CampaignType.SMS, "acc-here", "st-here", "iid-here")


@contextmanager
def long_way() -> Iterator[None]:
    """Take no line for a usual one."""
    with mock.patch.object(csvfile, "UsualRows", return_value=()):
        yield


def outcome(text: bytes, defaults: Defaults, *, any_id: bool) -> tuple[list[Row], str | None, list[Understood]]:
    """Return the rows up to the error that ends them, that error, and what was understood."""
    understood: list[Understood] = []
    rows: list[Row] = []
    error = None
    found = read(
        ["-"],
        defaults=defaults,
        fmt="csv",
        stdin=BytesIO(text),
        any_id=any_id,
        understood=understood,
        find_defaults=find_defaults,
    )
    try:
        rows.extend(found)
    except InputError as fault:
        error = str(fault)
    return rows, error, understood


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True),
    st.lists(LINES, max_size=8),
    st.sampled_from([Defaults(CampaignType.VOICE, "acc", "st-1"), Defaults()]),
    st.booleans(),
)
@example(
    ["campaign_id", "profile"],
    [(["cd-1", "here"], False, "\n"), (["cd-2", "here"], False, "\n")] * 2,
    Defaults(),
    False,
)
def test_same_as_the_long_way(
    names: list[str], lines: list[tuple[list[str], bool, str]], defaults: Defaults, any_id: bool
) -> None:
    """For any lines, rows, errors and findings are those of the general reader."""
    texts = [",".join(["campaign_id", *names[1:]]) + "\n"]
    texts += [",".join(f'"{cell}"' if is_quoted else cell for cell in cells) + end for cells, is_quoted, end in lines]
    texts += texts[1:]  # once more, now that its scopes are known
    content = "".join(texts).encode() + b"cd-1,\xe4\n"
    with long_way():
        expected = outcome(content, defaults, any_id=any_id)
    assert outcome(content, defaults, any_id=any_id) == expected


def test_most_lines_are_usual() -> None:
    """Of equal lines only the first takes the general reader, with or without quotes."""
    lines = [f"cd-{number},voice,acc,st-1,N {number},5,east\n" for number in range(3000)]
    lines += ['"' + line.strip().replace(",", '","') + '"\r\n' for line in lines]
    content = "campaign_id,type,account_id,stream_id,name,priority,region\n" + "".join(lines)
    with mock.patch.object(csvfile, "_row", side_effect=csvfile._row) as long:
        rows, error, _ = outcome(content.encode(), Defaults(), any_id=False)
    assert (len(rows), error, long.call_count) == (6000, None, 1)
    assert rows[-1] == Campaign.of_row(
        "cd-2999", CampaignType.VOICE, "acc", "st-1", "st-1", "-", 6001, 5, "N 2999", {"region": "east"}
    )
