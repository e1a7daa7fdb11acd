"""From the values of a row to a campaign, or to the reason why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.model import Campaign, CampaignType, Defaults, Outcome, Result
from bulkstop.source.rows import Origin, id_alone

ORIGIN = Origin("list.csv", Defaults(CampaignType.VOICE, "acc", "st-1"))


def test_defaults() -> None:
    """What a row does not say, or leaves blank, the defaults say; the iid is the stream otherwise."""
    row = ORIGIN.row(7, ("cd-1", " ", "", None, None, "", None))
    assert row == Campaign("cd-1", CampaignType.VOICE, "acc", "st-1", "st-1", "list.csv", 7)


@pytest.mark.parametrize(
    ("own", "default", "iid"),
    [("st-9", "st-8", "st-9"), (None, "st-8", "st-8"), ("", None, "st-2"), (None, None, "st-2")],
)
def test_iid(own: str | None, default: str | None, iid: str) -> None:
    """The iid is the row's own, else the default, else the row's stream."""
    origin = Origin("x", Defaults(CampaignType.SMS, "acc", "st-1", default))
    row = origin.row(1, ("cd-1", None, None, "st-2", own, None, None))
    assert isinstance(row, Campaign)
    assert (row.iid, row.stream_id) == (iid, "st-2")


@pytest.mark.parametrize(
    ("defaults", "option"),
    [
        (Defaults(None, "acc", "st-1"), "--type"),
        (Defaults(CampaignType.SMS, None, "st-1"), "--account-id"),
        (Defaults(CampaignType.SMS, "acc", None), "--stream-id"),
    ],
)
def test_what_is_missing_names_the_option(defaults: Defaults, option: str) -> None:
    """A row that lacks what no default gives is invalid, and the reason names the option."""
    row = Origin("x", defaults).row(1, id_alone("cd-1"))
    assert isinstance(row, Result)
    assert f"give {option} " in (row.error or "")


def test_missing_id_comes_first() -> None:
    """Of a row without anything the missing id is the reason."""
    row = Origin("x", Defaults()).row(1, id_alone(" "))
    assert isinstance(row, Result)
    assert row.error == "no campaign id"


@pytest.mark.parametrize(("text", "kind"), [("voice", "voice"), ("SMS", "sms"), (" Voice ", "voice")])
def test_types(text: str, kind: str) -> None:
    """The type is voice or sms in any letter case."""
    assert ORIGIN.row(1, ("cd-1", text, None, None, None, None, None)).campaign_type == kind


def test_unknown_type() -> None:
    """Any other type is invalid, and is not taken for the default."""
    row = ORIGIN.row(1, ("cd-1", "fax\n", None, None, None, None, None))
    assert isinstance(row, Result)
    assert row.error == "campaign_type is 'fax'; it can be voice or sms"
    assert row.campaign_type is None


@pytest.mark.parametrize(("value", "priority"), [("3", 3), (" -2 ", -2), ("+1", 1), (0, 0), ("007", 7), (None, None)])
def test_priorities(value: object, priority: int | None) -> None:
    """A priority is a whole number, as text or not."""
    row = ORIGIN.row(1, ("cd-1", None, None, None, None, value, None))
    assert isinstance(row, Campaign)
    assert row.priority == priority


@pytest.mark.parametrize("value", ["high", "1.0", "1_0", "٣", "1e3", "9" * 5000, "0x1", "- 1"])
def test_priorities_that_are_none(value: str) -> None:
    """Anything else is invalid."""
    row = ORIGIN.row(1, ("cd-1", None, None, None, None, value, None))
    assert isinstance(row, Result)
    assert (row.error or "").startswith("priority is ")
    assert len(row.error or "") < 300


def test_what_is_known_of_an_invalid_row() -> None:
    """An invalid line says where it came from, why, and what is known of it, safe to print and to encode."""
    row = ORIGIN.row(7, ("\t", "sms", "a\ud800\x1bc", "st-2", None, None, None), {"tag": "x"})
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
    for campaign_id, account_id, why in ((".", "acc", "path step"), ("a\x01b", "acc", "control"), ("a", "ä", "ASCII")):
        row = ORIGIN.row(1, (campaign_id, None, account_id, None, None, None, None))
        assert isinstance(row, Result)
        assert why in (row.error or "")


@given(st.text(), st.text(), st.text(), st.text())
def test_any_text(campaign_id: str, account_id: str, priority: str, name: str) -> None:
    """Whatever the texts, there is a campaign or an invalid line that can be encoded."""
    row = ORIGIN.row(1, (campaign_id, None, account_id, None, None, priority, name))
    assert f"{row.campaign_id}{row.account_id}".encode()
    if isinstance(row, Result):
        assert row.error
        assert row.error.encode()
        assert len(row.campaign_id) <= 200
