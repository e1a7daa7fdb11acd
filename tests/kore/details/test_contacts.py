"""The contacts in interaction details, for any response of the service."""

import json
from typing import Any

import pytest

from bulkstop.kore.details.contacts import Contact, ContactPage, read_contacts, read_time
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, Outcome

AT_S = 1771270840.0
ROW = {
    "sessionId": "6993256027d16c0edd2",
    "Direction": "Outbound",
    "metaInfo": {"Initiation": "Campaign"},
    "sessionStartTime": "2026-02-16T19:40:40",
    "sessionEndTime": "2026-02-16T19:40:41",
    "campaigninfo": {"campaignId": "cd-1", "campaignInstanceId": "cid-1", "contactStatus": "no-answer"},
}


def read(body: object, status: int = 200) -> ContactPage | Attempt:
    """Read an answer."""
    return read_contacts(Response(status, json.dumps(body).encode(), 1.0))


def contact(**fields: Any) -> Contact:
    """Read the one contact of a page, with these fields in the place of some."""
    page = read({"numResults": 1, "data": [{**ROW, **fields}]})
    assert isinstance(page, ContactPage)
    return page.contacts[0]


def test_contact() -> None:
    """A contact has its key, its campaign and its times, which are in UTC."""
    assert contact() == Contact("6993256027d16c0edd2", "cd-1", "cid-1", AT_S, AT_S + 1, True)


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("2026-02-16T19:40:40", AT_S),
        ("2026-02-16 19:40:40", AT_S),
        ("2026-02-16T19:40:40.5", AT_S + 0.5),
        ("2026-02-16T19:40:40.500Z", AT_S + 0.5),
        ("2026-02-17T01:10:40+05:30", AT_S),
        ("2026-02-17 01:10:40 +0530", AT_S),
        ("2026-02-16 9:40:40", AT_S - 36000),
        ("soon", None),
        ("2026-02-16", None),
        ("2026-02-30T00:00:00", None),
        ("2026-02-16T25:00:00", None),
        (1771270840, None),
    ],
)
def test_times(text: object, at_s: float | None) -> None:
    """A time is read in the formats of the vendor's pages; other texts are not times."""
    assert read_time(text) == at_s


@pytest.mark.parametrize(
    ("fields", "started_s", "ended_s"),
    [
        ({"sessionEndTime": None}, AT_S, None),
        ({"sessionEndTime": ""}, AT_S, None),
        ({"sessionEndTime": "later"}, None, None),
        ({"sessionStartTime": "once"}, None, AT_S + 1),
    ],
)
def test_ends(fields: dict[str, object], started_s: float | None, ended_s: float | None) -> None:
    """A contact without an end lasts; of one whose times cannot be read that is known."""
    assert contact(**fields)[3:5] == (started_s, ended_s)


def test_whose() -> None:
    """A contact without a campaign says whether it may belong to one; inbound ones do not."""
    assert contact(campaigninfo={"attempt": ""}, metaInfo={}).may_be_of_campaign is False
    assert contact(campaigninfo={}).may_be_of_campaign is True
    assert contact(campaigninfo={"campaignName": "Promo"}, metaInfo=None).may_be_of_campaign is True
    without = {name: value for name, value in ROW.items() if name not in ("campaigninfo", "metaInfo")}
    page = read({"data": [without, {**ROW, "Direction": "Inbound"}, {**ROW, "sessionId": None}]})
    assert isinstance(page, ContactPage)
    assert [each.may_be_of_campaign for each in page.contacts] == [True, True]
    assert page.rows == 3
    assert page.contacts[1].key not in ("", page.contacts[0].key)


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({}, 200, Outcome.UNCONFIRMED),
        ({"data": {}}, 200, Outcome.UNCONFIRMED),
        ({"data": [1]}, 200, Outcome.UNCONFIRMED),
        ({"status": "failure", "data": []}, 200, Outcome.UNCONFIRMED),
        ([], 200, Outcome.UNCONFIRMED),
        ({"errors": [{"msg": "no scope", "code": 4002}]}, 401, Outcome.UNAUTHORIZED),
        ({}, 404, Outcome.NOT_FOUND),
    ],
)
def test_what_is_no_page(body: object, status: int, outcome: Outcome) -> None:
    """An answer that is not a page of contacts is a failure, never an empty page."""
    answer = read(body, status)
    assert isinstance(answer, Attempt)
    assert answer.outcome is outcome


def test_nobody() -> None:
    """A service without contacts need not list them."""
    assert read({"numResults": 0, "data": None}) == ContactPage((), 0, 0)
