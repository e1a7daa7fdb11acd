"""The rows of JSON lines: an object a line, or a bare id; plain lists: one id a line."""

import io
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result, Row
from bulkstop.source import read
from bulkstop.source.rows import ColumnChoice

Read = Callable[[str, bytes], list[Row]]


def reason(row: Row) -> str:
    """Return why the row is invalid."""
    assert isinstance(row, Result)
    assert row.outcome is Outcome.INVALID
    return row.error or ""


def test_objects(rows_of: Read) -> None:
    """Every known key finds its field; the others are carried along as they are."""
    (row,) = rows_of(
        "list.jsonl",
        b' {"_id": "cd-1", "Type": "Sms", "accountId": "acc", "streamId": "st-1", "iid": "st-2", "priority": 4,'
        b' "name": "Reminder", "schedule": {"isSchedulingEnabled": [true, null, 1.5]}, "": 1} ',
    )
    assert isinstance(row, Campaign)
    assert (row.campaign_id, row.campaign_type, row.account_id, row.stream_id) == ("cd-1", "sms", "acc", "st-1")
    assert (row.iid, row.priority, row.name) == ("st-2", 4, "Reminder")
    assert row.row == {"schedule": {"isSchedulingEnabled": [True, None, 1.5]}, "": 1}


def test_bare_ids(rows_of: Read) -> None:
    """A bare string is an id; so is a whole number."""
    rows = rows_of("list.jsonl", b'"cd-1"\n42\n{"id": 43, "account_id": 44}\n')
    assert [row.campaign_id for row in rows if isinstance(row, Campaign)] == ["cd-1", "42", "43"]
    assert rows[2].account_id == "44"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"1.5", "fraction"),
        (b"123456789012345678901234", "quotes"),
        (b"true", "true or false"),
        (b"null", "no campaign id"),
        (b'""', "no campaign id"),
        (b'[["cd-1"]]', "a list"),
        (b'{"$oid": "cd-1"}', "an object"),
    ],
)
def test_ids_that_are_none(rows_of: Read, value: bytes, why: str) -> None:
    """An id that is neither text nor a whole number is invalid, in an object or, where it can be, bare."""
    (row,) = rows_of("list.jsonl", b'{"id": %b, "tag": 1}' % value)
    assert why in reason(row)
    assert row.row == {"tag": 1}
    if not value.startswith(b"{"):
        assert why in reason(rows_of("list.jsonl", value)[0])


@pytest.mark.parametrize("key", ["campaign_type", "account_id", "stream_id", "iid"])
@pytest.mark.parametrize("value", [True, 1.5, ["x"], {"x": 1}])
def test_other_fields_are_text(rows_of: Read, key: str, value: object) -> None:
    """A known key whose value is not text is invalid, and the reason names the key."""
    (row,) = rows_of("list.jsonl", orjson.dumps({"id": "cd-1", key: value}))
    assert reason(row).startswith(f"{key} is ")
    assert row.campaign_id == "cd-1"


@pytest.mark.parametrize("value", [True, 1.5, ["x"], {"x": 1}])
def test_what_is_not_needed_makes_no_row_unusable(rows_of: Read, value: object) -> None:
    """A priority or a name that is not text does not invalidate a campaign, and is kept."""
    (row,) = rows_of("list.jsonl", orjson.dumps({"id": "cd-1", "Priority": value, "name": value, "tag": 1}))
    assert isinstance(row, Campaign)
    assert (row.priority, row.name) == (None, orjson.dumps(value).decode())
    assert row.row == {"tag": 1, "priority": value}


def test_null_is_absent(rows_of: Read) -> None:
    """A key with null says nothing."""
    (row,) = rows_of("list.jsonl", b'{"id": "cd-1", "type": null, "account_id": null, "priority": null, "name": null}')
    assert isinstance(row, Campaign)
    assert (row.campaign_type, row.account_id, row.priority, row.name) == ("voice", "a" * 24, None, None)


def test_bad_lines(rows_of: Read) -> None:
    """A line that is not JSON is invalid with the reason and what was there; the rows around it are not touched."""
    rows = rows_of(
        "list.jsonl", b'"cd-1"\n\n{"id": "cd-2"\ncd-3\n"\xff"\n"a\0b"\n' + b'"%b"\n' % (b"x" * 10_000_000) + b'"cd-9"'
    )
    assert [row.line for row in rows] == [1, 3, 4, 5, 6, 7, 8]
    assert [type(row) for row in rows] == [Campaign, Result, Result, Result, Result, Result, Campaign]
    assert reason(rows[1]).startswith("not JSON: ")
    assert rows[1].campaign_id == '{"id": "cd-2"'
    assert reason(rows[2]).endswith("(column 1)")
    assert "U+00FF LATIN SMALL LETTER Y WITH DIAERESIS" in reason(rows[3])
    assert reason(rows[4]) == "the row holds a NUL byte"
    assert reason(rows[5]) == "the row is longer than 1,048,576 characters"
    assert len(rows[5].campaign_id) == 200


def test_two_keys_for_one_field(rows_of: Read) -> None:
    """campaign_id wins over the other names of the id; any other two keys that mean the same are invalid."""
    rows = rows_of(
        "list.jsonl",
        b'{"id": "x", "campaign_id": "cd-1", "campaignId": "y"}\n'
        b'{"id": "x", "_id": "y"}\n{"id": "cd-3", "type": "sms", "campaign_type": "voice"}\n{"id": "cd-4"}\n',
    )
    assert rows[0].campaign_id == "cd-1"
    assert rows[0].row == {"id": "x", "campaignId": "y"}
    assert reason(rows[1]) == "'id' and '_id' both give the campaign_id; keep one"
    assert reason(rows[2]) == "'type' and 'campaign_type' both give the campaign_type; keep one"
    assert isinstance(rows[3], Campaign)


@pytest.mark.parametrize("depth", [10, 200, 250, 260, 1000, 5000])
def test_deep_nesting(rows_of: Read, depth: int) -> None:
    """Carried values can be written again; a value nested too deeply for that is invalid."""
    (row,) = rows_of("list.jsonl", b'{"id": "cd-1", "x": ' + b"[" * depth + b"]" * depth + b"}")
    if isinstance(row, Campaign):
        assert depth <= 250
        assert orjson.loads(orjson.dumps({"row": row.row}))["row"] == row.row
    else:
        assert depth >= 250
        assert reason(row)
        assert row.row is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "type", "priority"]), inner),
    max_leaves=8,
)


@given(st.lists(JSON))
def test_every_line_is_a_row(values: list[object]) -> None:
    """There are as many rows as values, counting the items of lists, and each can be written again."""
    stdin = io.BytesIO(b"".join(orjson.dumps(value) + b"\n" for value in values))
    rows = list(read(["-"], defaults=Defaults(CampaignType.SMS, "a", "s"), fmt="jsonl", stdin=stdin))
    counts = [len(value) if isinstance(value, list) else 1 for value in values]
    assert [row.line for row in rows] == [line for line, count in enumerate(counts, start=1) for _ in range(count)]
    for row in rows:
        orjson.dumps([row.campaign_id, row.row, row.error if isinstance(row, Result) else row.name])


def test_a_key_that_was_chosen(tmp_path: Path) -> None:
    """A key that was chosen counts wherever it is there; one that no object has is refused, and no default taken."""
    path, defaults = tmp_path / "list.json", Defaults(CampaignType.VOICE, "a", "s")
    path.write_text('[{"id": "cd-1"}, {"id": "cd-2", "Channel": "sms"}]')
    for name in ("Channel", "chan-nel"):
        rows = read([str(path)], defaults=defaults, choice=ColumnChoice.of(None, [f"campaign_type={name}"]))
        assert [row.campaign_type for row in rows] == ["voice", "sms"]
    for choice in (ColumnChoice.of(None, ["campaign_type=Chanel"]), ColumnChoice.of("Chanel", [])):
        with pytest.raises(InputError, match="no object has the key 'Chanel'"):
            list(read([str(path)], defaults=defaults, choice=choice))
