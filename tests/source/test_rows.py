"""From the values of a row to a campaign, or to the reason why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result
from bulkstop.source.rows import RowParser, id_alone, unreadable_priority
from bulkstop.text import shorten

ORIGIN = RowParser("list.csv", Defaults(CampaignType.VOICE, "acc", "st-1"))


def test_defaults() -> None:
    """Missing or blank values come from the defaults; the iid defaults to the stream."""
    row = ORIGIN.row(7, ("cd-1", " ", "", None, None, "", None, None))
    assert row == Campaign.of_row("cd-1", CampaignType.VOICE, "acc", "st-1", "st-1", "list.csv", 7)


@pytest.mark.parametrize(
    ("own", "default", "iid"),
    [("st-9", "st-8", "st-9"), (None, "st-8", "st-8"), ("", None, "st-2"), (None, None, "st-2")],
)
def test_iid(own: str | None, default: str | None, iid: str) -> None:
    """The iid is the row's own, else the default, else the row's stream."""
    origin = RowParser("x", Defaults(CampaignType.SMS, "acc", "st-1", default))
    row = origin.row(1, ("cd-1", None, None, "st-2", own, None, None, None))
    assert isinstance(row, Campaign)
    assert (row.iid, row.stream_id) == (iid, "st-2")


@pytest.mark.parametrize(
    ("defaults", "option"),
    [
        (Defaults(None, "acc", "st-1"), "type"),
        (Defaults(CampaignType.SMS, None, "st-1"), "account_id"),
        (Defaults(CampaignType.SMS, "acc", None), "stream_id"),
    ],
)
def test_what_is_missing_names_the_option(defaults: Defaults, option: str) -> None:
    """A row that lacks what no default gives is invalid, and the reason names the option."""
    row = RowParser("x", defaults).row(1, id_alone("cd-1"))
    assert isinstance(row, Result)
    assert f"give {option} " in (row.error or "")


def test_missing_id_comes_first() -> None:
    """For an empty row, the missing id is the reason."""
    row = RowParser("x", Defaults()).row(1, id_alone(" "))
    assert isinstance(row, Result)
    assert row.error == "no campaign id"


@pytest.mark.parametrize(("text", "kind"), [("voice", "voice"), ("SMS", "sms"), (" Voice ", "voice")])
def test_types(text: str, kind: str) -> None:
    """The type is voice or sms in any letter case."""
    assert ORIGIN.row(1, ("cd-1", text, None, None, None, None, None, None)).campaign_type == kind


def test_unknown_type() -> None:
    """Any other type is invalid, and not replaced by the default."""
    row = ORIGIN.row(1, ("cd-1", "fax\n", None, None, None, None, None, None))
    assert isinstance(row, Result)
    assert row.error == "campaign_type is 'fax'; it can be voice or sms"
    assert row.campaign_type is None


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        *(("3", 3), (" -2 ", -2), ("+1", 1), (0, 0), ("007", 7), (None, None), ("", None), (" ", None)),
        *(("1.0", 1), (5.0, 5), ("5.", 5), ("2,0", 2), ("3.000000", 3), (" 4.0\t", 4), (-1.0, -1)),
    ],
)
def test_priorities(value: object, priority: int | None) -> None:
    """A priority is a whole number, as text or not, also as spreadsheets write it."""
    row = ORIGIN.row(1, ("cd-1", None, None, None, None, value, None, None))
    assert isinstance(row, Campaign)
    assert (row.priority, row.row) == (priority, None)
    assert unreadable_priority(row) is None


@pytest.mark.parametrize(
    "value",
    [
        *("high", "1_0", "٣", "1e3", "9" * 5000, "0x1", "- 1", "P3", "1.5", "1,000", "NaN", "02. Jan"),
        *(1.5, 10**20, 1e30, True, False, [1], {"a": 1}),
    ],
)
def test_priorities_that_are_none(value: object) -> None:
    """Another value does not invalidate a row: it is carried along, and differs from a missing one."""
    row = ORIGIN.row(1, ("cd-1", None, None, None, None, value, None, None), {"tag": "x"})
    assert isinstance(row, Campaign)
    assert (row.priority, row.row) == (None, {"tag": "x", "priority": value})
    assert unreadable_priority(row) == shorten(str(value))


@pytest.mark.parametrize(
    ("value", "name"),
    [(7, "7"), (2026.5, "2026.5"), (True, "true"), (["a", 1], '["a",1]'), ({"a": None}, '{"a":null}')],
)
def test_names_of_another_kind(value: object, name: str) -> None:
    """A name that is not text is its JSON text."""
    row = ORIGIN.row(1, ("cd-1", None, None, None, None, None, value, None))
    assert isinstance(row, Campaign)
    assert row.name == name


def test_what_is_known_of_an_invalid_row() -> None:
    """An invalid line says where it came from, why, and what is known of it, safe to print and to encode."""
    row = ORIGIN.row(7, ("\t", "sms", "a\ud800\x1bc", "st-2", None, None, None, None), {"tag": "x"})
    assert row == Result(
        campaign_id="",
        campaign_type=CampaignType.SMS,
        account_id="a\ufffd\ufffdc",
        stream_id="st-2",
        outcome=Outcome.INVALID,
        error="no campaign id",
        source="list.csv",
        line=7,
        row={"tag": "x"},
    )
    assert ORIGIN.row(7, id_alone("..")).account_id == "acc"


def test_ids_that_cannot_be_sent() -> None:
    """The reasons of the campaign itself become the reasons of the row."""
    for campaign_id, account_id, why in (
        (".", "acc", "campaign id '.' is a path step"),
        ("a\x01b", "acc", "U+0001 CONTROL CHARACTER"),
        ("a/../b", "acc", "campaign id 'a/../b' holds U+002F SOLIDUS"),
        ("a", "ä", "account_id 'ä' holds U+00E4 LATIN SMALL LETTER A WITH DIAERESIS"),
    ):
        row = ORIGIN.row(1, (campaign_id, None, account_id, None, None, None, None, None))
        assert isinstance(row, Result)
        assert why in (row.error or "")


def test_any_id() -> None:
    """With `any_id` a row with unusual characters is a campaign, except ids that are never sent."""
    origin = RowParser("list.csv", Defaults(CampaignType.VOICE, "acc", "st-1"), any_id=True)
    assert isinstance(origin.row(1, id_alone("cd 1é")), Campaign)
    assert isinstance(ORIGIN.row(1, id_alone("cd 1é")), Result)
    for value in ("../cd-1", "..;x", "\uff0e\uff0e", "a%2fb", "a\\b"):
        assert isinstance(origin.row(1, id_alone(value)), Result)


@given(st.text(), st.text(), st.text(), st.text())
def test_any_text(campaign_id: str, account_id: str, priority: str, name: str) -> None:
    """Any texts are a campaign or an invalid result that can be encoded."""
    row = ORIGIN.row(1, (campaign_id, None, account_id, None, None, priority, name, None))
    assert f"{row.campaign_id}{row.account_id}".encode()
    if isinstance(row, Result):
        assert row.error
        assert row.error.encode()
        assert len(row.campaign_id) <= 200
