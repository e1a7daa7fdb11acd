"""The calls besides the stop call: what is sent, and the meaning of any response."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.errors import SettingsError
from bulkstop.kore.calls import (
    PAGE,
    V1,
    V2,
    disable_schedule_call,
    find_page,
    get_call,
    list_call,
    name_fault,
    status_call,
    stop_call,
)
from bulkstop.kore.exchange import PageRange, Response, TransportFailure
from bulkstop.kore.interpret import NAME_CHARS, PAGE_CAP, Disabled, Page, Status, read_disabled, read_page, read_status
from bulkstop.model import Allowance, Attempt, Campaign, CampaignType, ListedCampaign, Outcome, RetryHint, Scope
from bulkstop.simulator.calls import Operation, read_call

VOICE = Scope("a" * 24, "st-1", "app-1", CampaignType.VOICE)
SMS = VOICE._replace(campaign_type=CampaignType.SMS)
FIRST = PageRange(0, PAGE, 1)
ROW = {
    "_id": "cd-835ee4a-1",
    "name": "Promo",
    "status": "Active",
    "priority": "2",
    "schedule": {"isSchedulingEnabled": True, "isRecurrenceEnabled": True},
    "updatedAt": "2025-12-05T12:01:35.312Z",
}
ENTRY = ListedCampaign("cd-835ee4a-1", CampaignType.VOICE, "Promo", "Active", 2, True, True, "2025-12-05T12:01:35.312Z")


def answer(body: object, status: int = 200, **more: Any) -> Response:
    """Make an answer with a JSON body, or with the bytes given."""
    return Response(status, body if isinstance(body, bytes) else json.dumps(body).encode(), 1.0, **more)


def listing(*rows: object, **data: object) -> Response:
    """Make the documented answer of a list call."""
    return answer({"status": "success", "message": "ok", "data": {"results": list(rows), **data}})


def page_of(response: Response | TransportFailure, scope: Scope = VOICE, at: PageRange = FIRST) -> Page:
    """Read an answer that is a page."""
    result = read_page(response, scope, at)
    assert isinstance(result, Page), result
    return result


def failed(result: object) -> Attempt:
    """Take what was read for a failure."""
    assert isinstance(result, Attempt), result
    return result


class TestTargets:
    """The requests are those that the vendor documents, with every id in its place."""

    def test_list(self) -> None:
        """The list call has the account in its query, and all filters in its body."""
        call = list_call(SMS, PageRange(98, 49, 3), ["Active", "Scheduled"], [1, 2])
        assert call.target == f"/campaign/api/v2/public/st-1/campaign/getAllCampaignDetails?accountId={'a' * 24}"
        assert (call.where, call.cap) == (SMS, PAGE_CAP)
        assert orjson.loads(call.body) == {
            "limit": 49,
            "skip": 98,
            "page": 3,
            "type": "sms",
            "sortBy": {"createdAt": "desc"},
            "filters": {"status": ["Active", "Scheduled"], "priority": [1, 2]},
        }

    def test_list_of_all(self) -> None:
        """Without filters the body names none."""
        assert orjson.loads(list_call(VOICE, FIRST).body)["filters"] == {}

    def test_status(self) -> None:
        """The status call names the campaign in its path."""
        call = status_call(Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "app-1", "list.csv", 2), "cd-1")
        assert call.target == "/campaign/api/v2/public/st-1/campaign/cd-1/status?accountId=a1&view=status"
        assert call.body == b"{}"

    def test_schedule(self) -> None:
        """A schedule is disabled by the campaign's name."""
        call = disable_schedule_call(VOICE, "Promo & more/100%")
        path, _, query = call.target.partition("?")
        assert path == "/campaign/api/v2/public/st-1/campaign/schedule"
        assert parse_qs(query) == {"enableSchedule": ["false"], "campaignName": ["Promo & more/100%"]}
        assert call.body == b"{}"

    def test_get(self) -> None:
        """One campaign is read by a GET without a body."""
        call = get_call(VOICE, "cd-1")
        assert (call.target, call.body) == (f"/campaign/api/v2/public/st-1/campaign/cd-1?accountId={'a' * 24}", b"")

    def test_v1(self) -> None:
        """The older form names the application in its paths, and the account in the query of stops alone."""
        campaign = Campaign.of_row("cd-1", CampaignType.SMS, "a1", "st-1", "app-1", "list.csv", 2)
        calls = stop_call(campaign), list_call(VOICE, FIRST), status_call(VOICE, "cd-1"), get_call(VOICE, "cd-1")
        assert [call.at(V1) for call in calls] == [
            "/campaign/api/v1/public/st-1/campaign/cd-1?accountId=a1&campaignType=sms&trigger=stop",
            "/agentassist/api/v1/public/app-1/campaign/getAllCampaignDetails",
            "/agentassist/api/v1/public/app-1/campaign/cd-1/status?view=status",
            "/agentassist/api/v1/public/app-1/campaign/cd-1",
        ]
        with pytest.raises(SettingsError, match="schedule_path"):
            disable_schedule_call(VOICE, "Promo").at(V1)

    def test_own_paths(self) -> None:
        """A template of the user's takes the place of a path, with each id as one segment of it; the query stays."""
        scope = Scope("a/1", "st 1", "app?1", CampaignType.VOICE)
        paths = V2._replace(
            list="/l/{accountId}/{streamId}/{iid}", status="/t/{iid}/{campaignId}", get="/g/{campaignId}", schedule="/d"
        )
        calls = list_call(scope, FIRST), status_call(scope, "a/b"), get_call(scope, "cd-1")
        assert [call.at(paths) for call in (*calls, disable_schedule_call(scope, "P"))] == [
            "/l/a%2F1/st%201/app%3F1?accountId=a%2F1",
            "/t/app%3F1/a%2Fb?accountId=a%2F1&view=status",
            "/g/cd-1?accountId=a%2F1",
            "/d?enableSchedule=false&campaignName=P",
        ]

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
    def test_nothing_leaves_its_place(self, text: str) -> None:
        """Any id or name is one segment of the path or one value of the query."""
        if text not in (".", ".."):
            call = read_call(status_call(VOICE, text).target)
            assert (call.operation, call.campaign_id) == (Operation.STATUS, text)
        target = disable_schedule_call(VOICE, text).target
        assert dict(read_call(target).query) == {"enableSchedule": "false", "campaignName": text}
        stream = list_call(VOICE._replace(stream_id=text, account_id=text), FIRST).target
        assert urlsplit(stream).path.count("/") == 7
        assert read_call(stream).query["accountId"] == text

    @pytest.mark.parametrize("name", [None, "", "x" * (NAME_CHARS + 1), "a\nb", "a\x9bb", "\ud800"])
    def test_names_that_cannot_be_sent(self, name: str | None) -> None:
        """A name that cannot be sent is reported in advance."""
        assert name_fault(name)

    def test_names_that_can(self) -> None:
        """Any other name can be sent."""
        assert name_fault("Promo 100% / \u30ad\u30e3\u30f3") is None


class TestPlace:
    """A page begins at the requested row, in both paging fields."""

    def test_the_first(self) -> None:
        """The first page is as in the vendor's sample."""
        assert find_page(0) == PageRange(0, 50, 1)

    @given(st.integers(0, 10**6), st.integers(20, 100))
    def test_any(self, start: int, most: int) -> None:
        """`skip` and `page` mean the same page; it has the requested row, and others after it."""
        at = find_page(start, most)
        assert at.skip == (at.page - 1) * at.limit
        assert at.skip <= start < at.skip + at.limit
        assert at.limit <= most
        assert start == 0 or at.skip + at.limit > start + 1

    def test_few_rows_are_read_twice(self) -> None:
        """Ten thousand rows take hardly more pages than without the rows that tie each page to the one before."""
        start = pages = 0
        while start < 10_000:
            at = find_page(start)
            start, pages = at.skip + at.limit - 1, pages + 1
        assert pages <= 10_000 // PAGE * 1.25


class TestPage:
    """A page is read as far as it can be, and what cannot be used is named."""

    def test_documented(self) -> None:
        """The documented row becomes a campaign, of either type."""
        assert page_of(listing(ROW, hasMore=False, totalPages=1, totalResults=1)) == Page((ENTRY,), (), 1, False, 1)
        row = {"id": "cd-2", "name": "S", "status": "Paused", "totalMessagesSent": 3, "campaignExecutionType": "NORMAL"}
        sms = ListedCampaign("cd-2", CampaignType.SMS, "S", "Paused", execution_type="NORMAL", messages_sent=3)
        assert page_of(listing(row), SMS).items == (sms,)

    def test_what_tells_of_harm(self) -> None:
        """A campaign's dialing mode and instance time are kept; values of other types are ignored."""
        told = {"dialingMode": "Power", "campaignInstanceUpdatedAt": "2025-12-05T12:01:35.312Z"}
        entry = ENTRY._replace(dialing_mode="Power", instance_updated_at="2025-12-05T12:01:35.312Z")
        assert page_of(listing(ROW | told)).items == (entry,)
        odd = {"dialingMode": ["Power"], "campaignExecutionType": {}, "totalMessagesSent": "many"}
        assert page_of(listing(ROW | odd)).items == (ENTRY,)

    def test_either_key(self) -> None:
        """The id may have either name; if both exist, the documented one counts."""
        assert page_of(listing({"id": "cd-1"})).items[0].campaign_id == "cd-1"
        assert page_of(listing({"_id": "cd-1"}), SMS).items[0].campaign_id == "cd-1"
        both = {"_id": "cd-1", "id": "cd-2"}
        assert page_of(listing(both)).items[0].campaign_id == "cd-1"
        assert page_of(listing(both), SMS).items[0].campaign_id == "cd-2"

    def test_unknown_status(self) -> None:
        """An undocumented status is kept, without characters that control a terminal."""
        assert page_of(listing(ROW | {"status": "Throttled"})).items[0].status == "Throttled"
        assert page_of(listing(ROW | {"status": "Act\x1b[2Jive"})).items[0].status == "Act [2Jive"

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ({"name": "Nameless"}, "campaign 'Nameless': no campaign id"),
            ({"_id": None}, "campaign '?': no campaign id"),
            ({"_id": True}, "campaign '?': no campaign id"),
            ({"_id": ["cd-1"]}, "campaign '?': no campaign id"),
            ({"_id": "cd\n1"}, "campaign 'cd 1': campaign id 'cd\\n1' holds U+000A CONTROL"),
            ({"_id": ".."}, "campaign '..': campaign id '..' is a path step"),
            ({"_id": " cd-1"}, "campaign 'cd-1': campaign id with blanks around it"),
            ({"_id": "x" * 2000}, f"campaign '{'x' * 300}': campaign id has 2,000 characters"),
            ({"_id": "cd-0/../cd-1"}, "campaign 'cd-0/../cd-1': campaign id 'cd-0/../cd-1' holds U+002F SOLIDUS"),
            (None, "a row that is not an object: null"),
            ("cd-1", 'a row that is not an object: "cd-1"'),
        ],
    )
    def test_unusable(self, row: object, fault: str) -> None:
        """A row whose id cannot be used is named and counted, and the others are used."""
        page = page_of(listing(row, ROW))
        assert (page.items, page.rows) == ((ENTRY,), 2)
        (fault_named,) = page.faults
        assert fault_named.startswith(fault)

    def test_odd_values(self) -> None:
        """Values of the wrong kind are as good as none, and an id that is a number is its text."""
        odd = {"_id": 17, "name": 3, "status": {}, "priority": "high", "schedule": "none", "updatedAt": []}
        assert page_of(listing(odd)).items == (ListedCampaign("17", CampaignType.VOICE),)
        huge = ROW | {"name": "n" * 5000, "status": "s" * 5000, "priority": 1e30}
        assert page_of(listing(huge)).items == (ENTRY._replace(name=None, status="s" * 300, priority=None),)

    @pytest.mark.parametrize(
        ("scheduled", "recurring", "recurs"),
        [(True, True, True), (True, False, False), (False, True, False), (None, True, True), (None, None, None)],
    )
    def test_recurring(self, scheduled: bool | None, recurring: bool | None, recurs: bool | None) -> None:
        """A recurring campaign has an active schedule; without a value nothing is known."""
        assert ENTRY._replace(is_scheduled=scheduled, is_recurring=recurring).recurs is recurs

    @pytest.mark.parametrize(
        ("data", "rows", "more"),
        [
            ({"hasMore": True}, 1, True),
            ({"hasMore": False}, 50, False),
            ({"hasMore": False, "totalResults": 51}, 50, True),  # one of the two is wrong; one more call tells
            ({"hasMore": False, "totalResults": 51}, 49, False),
            ({"totalResults": 51}, 50, True),
            ({"totalResults": "51"}, 50, True),
            ({"totalResults": 50}, 50, False),
            ({"totalPages": 2}, 50, True),
            ({"totalPages": 1}, 50, False),
            ({}, 50, True),
            ({}, 49, False),
            ({"hasMore": "yes", "totalResults": -1, "totalPages": None}, 49, False),
        ],
    )
    def test_more(self, data: dict[str, object], rows: int, more: bool) -> None:
        """Any of the known fields says whether more pages follow, otherwise a full page does."""
        page = page_of(listing(*({"_id": f"cd-{n}"} for n in range(rows)), **data))
        assert page.more is more


class TestFailures:
    """A response of another kind than requested is a failure, never an empty list."""

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"null",
            b"<html>",
            {"status": "success"},
            {"status": "success", "data": None},
            {"status": "success", "data": []},
            {"status": "success", "data": {"results": None}},
            {"status": "error", "message": "no", "data": {"results": []}},
            {"status": "Stopped", "message": "Campaign Stopped"},
            {"status": 7, "data": {"results": []}},
            {"message": "the campaign is not active"},
        ],
    )
    def test_no_page(self, body: object) -> None:
        """A 2xx without a list is not a page, and is retried."""
        result = failed(read_page(answer(body), VOICE, FIRST))
        assert (result.outcome, result.again) == (Outcome.UNCONFIRMED, RetryHint.LATER)
        assert result.error == "HTTP 200, but the answer is not a page of campaigns"

    def test_too_long(self) -> None:
        """A page that was cut off at the cap is reported as such, and not retried."""
        result = failed(read_page(answer(b"x" * PAGE_CAP), VOICE, FIRST))
        assert (result.error, result.again) == ("HTTP 200, but the answer is longer than 4 MiB", RetryHint.NO)

    @pytest.mark.parametrize(
        ("row", "count", "what"),
        [
            ("1", 10_001, "10,001 rows"),
            ("{}", 100_000, "more than 100,000 objects"),
            ("[]", 10**6, "more than 100,000"),
        ],
    )
    def test_more_rows_than_any_page_has(self, row: str, count: int, what: str) -> None:
        """A page of very many rows is refused before it takes memory and time, and not requested again."""
        page = f'{{"status":"success","data":{{"results":[{",".join([row] * count)}]}}}}'
        result = failed(read_page(answer(page.encode()), VOICE, FIRST))
        assert f"the answer has {what}" in (result.error or "")
        assert result.again is RetryHint.NO

    @pytest.mark.parametrize(
        ("response", "outcome", "again", "error"),
        [
            (answer(b"", 429, retry_after="7"), Outcome.THROTTLED, RetryHint.THROTTLED, "rate limit (HTTP 429)"),
            (
                answer({"status": "error", "message": "You've exceeded the per-minute rate limit."}),
                Outcome.THROTTLED,
                RetryHint.THROTTLED,
                "rate limit (HTTP 200)",
            ),
            (answer(b"", 503), Outcome.SERVER_ERROR, RetryHint.LATER, "HTTP 503"),
            (answer(b"", 401), Outcome.UNAUTHORIZED, RetryHint.NO, "HTTP 401: wrong token, stream id or scope"),
            (answer(b"", 404), Outcome.NOT_FOUND, RetryHint.NO, "HTTP 404: no such stream, or the path of the list is"),
            (answer({"message": "campaign is not active"}, 409), Outcome.REJECTED, RetryHint.NO, "HTTP 409"),
            (
                answer(b"", 302, location="https://x/"),
                Outcome.REJECTED,
                RetryHint.NO,
                "HTTP 302: a redirect to https://x/",
            ),
            (
                TransportFailure(Outcome.TIMEOUT, "no answer within 30 s", 30_000.0, may_have_arrived=True),
                Outcome.TIMEOUT,
                RetryHint.LATER,
                "no answer within 30 s",
            ),
        ],
    )
    def test_failed(
        self, response: Response | TransportFailure, outcome: Outcome, again: RetryHint, error: str
    ) -> None:
        """Other failures are those of a stop call, without the words that only a stop can mean."""
        result = failed(read_page(response, VOICE, FIRST))
        assert (result.outcome, result.again) == (outcome, again)
        assert result.error is not None
        assert result.error.startswith(error)
        assert "may have arrived" not in result.error

    def test_a_wait_that_is_asked_for(self) -> None:
        """The time that the service states arrives with the failure."""
        assert failed(read_page(answer(b"", 429, retry_after="7"), VOICE, FIRST)).retry_after_s == 7.0

    def test_what_is_left(self) -> None:
        """Every response, good or bad, has the remaining calls of the service."""
        fields: Any = {"rate_limit": (("ratelimit-remaining", "3"), ("ratelimit-reset", "2"))}
        good = {"status": "success", "data": {"results": [], "status": "Paused"}}
        assert page_of(answer(good, **fields)).allowance == Allowance(3, 2.0)
        for read in (lambda it: read_page(it, VOICE, FIRST), lambda it: read_status(it, "cd-1"), read_disabled):
            for status in (200, 429, 500):
                assert read(answer(good, status, **fields)).allowance == Allowance(3, 2.0)
                assert read(answer(good, status)).allowance is None

    def test_names_that_speak_of_limits(self) -> None:
        """A campaign called like an error is a campaign."""
        page = page_of(
            listing(ROW | {"name": "rate limit reached", "message": "You've exceeded the hourly rate limit"})
        )
        assert page.items[0].name == "rate limit reached"


class TestStatus:
    """One campaign's status, or why it is not known."""

    def test_documented(self) -> None:
        """The documented answer is read."""
        response = answer({"status": "success", "data": {"id": "cd-1", "status": "Paused", "name": "P"}})
        assert read_status(response, "cd-1") == Status("cd-1", "Paused", "P")

    @pytest.mark.parametrize("data", [None, {}, {"status": None}, {"status": ""}, {"status": []}])
    def test_nothing_said(self, data: object) -> None:
        """Without a status there is none."""
        result = failed(read_status(answer({"status": "success", "data": data}), "cd-1"))
        assert result.error == "HTTP 200, but the answer tells no status"

    def test_of_another(self) -> None:
        """A response about another campaign is not used for this one."""
        result = failed(read_status(answer({"status": "success", "data": {"id": "cd-2", "status": "Stopped"}}), "cd-1"))
        assert result.error == "HTTP 200, but the answer tells of another campaign"

    def test_gone(self) -> None:
        """A campaign that is not there is not found."""
        assert failed(read_status(answer({"status": "failure"}, 404), "cd-1")).outcome is Outcome.NOT_FOUND


class TestDisabled:
    """A schedule is disabled when the service says so."""

    def test_documented(self) -> None:
        """The documented answer tells the campaign that was found by its name."""
        response = answer({"status": "success", "message": "disabled", "id": "cd-1"})
        assert read_disabled(response) == Disabled("cd-1", "disabled")

    @pytest.mark.parametrize("body", [b"{}", b"[]", {"status": "failure", "message": "no"}, {"message": "disabled"}])
    def test_not_said(self, body: object) -> None:
        """Anything else proves nothing."""
        assert failed(read_disabled(answer(body))).outcome is Outcome.UNCONFIRMED


KEYS = [
    *("status", "data", "results", "_id", "id", "name", "priority", "schedule", "isSchedulingEnabled", "updatedAt"),
    *("hasMore", "totalResults", "totalPages", "errors", "message", "code", "retryAfterMs"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["success", "Active", "cd-1"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)
PAGES = st.fixed_dictionaries(
    {"status": st.just("success"), "data": st.fixed_dictionaries({"results": st.lists(VALUES)}) | VALUES}
)


@settings(max_examples=300)
@given(st.one_of(st.binary(), (VALUES | PAGES).map(lambda value: json.dumps(value).encode())), st.integers(200, 599))
def test_any_answer(body: bytes, status: int) -> None:
    """Any response is a value or a failure with a one-line reason; nothing raises."""
    response = Response(status, body, 1.0)
    for result in (read_page(response, VOICE, FIRST), read_status(response, "cd-1"), read_disabled(response)):
        if isinstance(result, Attempt):
            assert result.error
            assert result.error.isprintable()
            assert result.outcome not in (Outcome.STOPPED, Outcome.ALREADY_STOPPED)
        else:
            assert 200 <= status < 300
        if isinstance(result, Page):
            assert len(result.items) + len(result.faults) == result.rows
            for item in result.items:
                account_id, stream_id, iid, kind, _ = VOICE
                assert Campaign.of_row(item.campaign_id, kind, account_id, stream_id, iid, "", 0).fault is None
