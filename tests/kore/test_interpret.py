"""The request that stops a campaign, and what a response proves: no sockets, only values."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bulkstop.kore.calls import V2, headers, target
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.interpret import interpret
from bulkstop.model import Attempt, Campaign, CampaignType, Outcome, RetryHint
from bulkstop.text import TEXT_CHARS

ACCOUNT = "5f8d0d55b54764421b7156d9"
STREAM = "st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913"
VOICE_ID = "cd-835ee4a-6c1d-5b2e-8f90-1a2b3c4d5e6f"  # seven hex digits first, as in the vendor's sample
TYPES = pytest.mark.parametrize("kind", list(CampaignType))
NOW = datetime(2025, 12, 5, 12, 0, 0, tzinfo=UTC)
LIMIT_TEXTS = [
    "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
    "Rate limit for this API has been reached. Please try again later",
    "Rate limit for this API has been reached. Please try again after some time.",
    "You've exceeded the hourly rate limit. Please wait for sometime before retrying.",
    "Hourly rate limit reached",
]

KEYS = [
    "status",
    "message",
    "msg",
    "error",
    "errors",
    "code",
    "retryAfterMs",
    "updatedAt",
    "campaignInstanceId",
    "data",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2**63)
    | st.floats()
    | st.text()
    | st.sampled_from(["stopped", *LIMIT_TEXTS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
).map(orjson.dumps)


def campaign(
    kind: CampaignType = CampaignType.VOICE,
    *,
    campaign_id: str = VOICE_ID,
    account_id: str = ACCOUNT,
    stream_id: str = STREAM,
    iid: str = STREAM,
) -> Campaign:
    """Make a campaign of which a test changes what it is about."""
    return Campaign.of_row(campaign_id, kind, account_id, stream_id, iid, source="list.csv", line=2)


def answered(status: int, body: bytes | object = b"", **fields: Any) -> Attempt:
    """Return what an answer means; a body that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return interpret(Response(status, data, 12.5, **fields), wall=lambda: NOW)


class TestRequest:
    """Path, query and headers are the documented ones, for any ids."""

    def test_voice_target(self) -> None:
        """The voice call's path and query are those of the vendor's page, to the byte."""
        assert target(campaign(CampaignType.VOICE)) == (
            "/api/v2/public/st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913/campaign/trigger/"
            "cd-835ee4a-6c1d-5b2e-8f90-1a2b3c4d5e6f"
            "?accountId=5f8d0d55b54764421b7156d9&campaignType=voice&trigger=stop"
        )

    def test_sms_target(self) -> None:
        """The SMS call's path has the prefix and the double slash of the vendor's page."""
        assert target(campaign(CampaignType.SMS)) == (
            "/campaign/api/v2/public/st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913/campaign//trigger/"
            "cd-835ee4a-6c1d-5b2e-8f90-1a2b3c4d5e6f"
            "?accountId=5f8d0d55b54764421b7156d9&campaignType=sms&trigger=stop"
        )

    @TYPES
    def test_headers(self, kind: CampaignType) -> None:
        """Both calls carry the four documented headers in that spelling, and the token without `Bearer`."""
        assert headers(campaign(kind, iid="st-other"), "t.o.k") == {
            "auth": "t.o.k",
            "accountid": ACCOUNT,
            "iid": "st-other",
            "Content-Type": "application/json",
        }

    def test_own_paths(self) -> None:
        """A template of the user's replaces the path of its type alone, and the query stays."""
        paths = V2._replace(voice="/v/{campaignId}/of/{streamId}", sms="/s/{accountId}/{iid}/{campaignId}")
        query = f"?accountId={ACCOUNT}&campaignType="
        voice, sms = (target(campaign(kind, iid="app-1"), paths) for kind in (CampaignType.VOICE, CampaignType.SMS))
        assert voice == f"/v/{VOICE_ID}/of/{STREAM}{query}voice&trigger=stop"
        assert sms == f"/s/{ACCOUNT}/app-1/{VOICE_ID}{query}sms&trigger=stop"

    def test_id_twice(self) -> None:
        """A template may hold the id more than once."""
        path = target(campaign(), V2._replace(voice="/{campaignId}/stop/{campaignId}")).partition("?")[0]
        assert path == f"/{VOICE_ID}/stop/{VOICE_ID}"

    @TYPES
    @given(campaign_id=st.text(min_size=1, max_size=60))
    @example(campaign_id="a?c=d&e#f..;é\u200b{streamId}{}+ ")
    @example(campaign_id="...")
    def test_any_id_is_one_segment(self, kind: CampaignType, campaign_id: str) -> None:
        """Any id is one path segment that decodes to it, and the rest of the request does not change."""
        made = campaign(kind, campaign_id=campaign_id)
        assume(made.fault_with(any_id=True) is None)
        usual, attempt = target(campaign(kind)), target(made)
        before, after = usual.split(VOICE_ID)
        segment = attempt.removeprefix(before).removesuffix(after)
        assert before + segment + after == attempt
        assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", segment)
        assert unquote(segment, errors="strict") == campaign_id
        assert segment not in (".", "..")
        assert headers(made, "t") == headers(campaign(kind), "t")

    @TYPES
    @given(ids=st.tuples(*[st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)] * 3))
    @example(ids=("a&trigger=play", "x..y?z#", "i:,;"))
    def test_any_account_stream_and_iid(self, kind: CampaignType, ids: tuple[str, str, str]) -> None:
        """Account, stream and application id stay in their places: a query value, a segment, a header each."""
        account_id, stream_id, iid = ids
        made = campaign(kind, account_id=account_id, stream_id=stream_id, iid=iid)
        assume(made.fault_with(any_id=True) is None)
        path, _, query = target(made).partition("?")
        usual_path = target(campaign(kind)).partition("?")[0]
        assert [unquote(part) for part in path.split("/")] == [
            stream_id if part == STREAM else part for part in usual_path.split("/")
        ]
        wanted = [("accountId", account_id), ("campaignType", kind.value), ("trigger", "stop")]
        assert parse_qsl(query, strict_parsing=True) == wanted
        assert headers(made, "t") == {**headers(campaign(kind), "t"), "accountid": account_id, "iid": iid}

    @pytest.mark.parametrize("field", ["account_id", "stream_id", "iid"])
    @pytest.mark.parametrize("value", ["", ".", "..", "a b", "a\r\nauth: x", "é", "\x00", "a/b", "%2e%2e", "..;x"])
    def test_what_fits_no_header_is_no_campaign(self, field: str, value: str) -> None:
        """A value that could end a header or change the path is a fault of the row."""
        made = Campaign.of_row(**{**campaign()._asdict(), field: value})
        assert (made.fault or "").startswith((f"{field} ", f"no {field}"))
        assert made.fault_with(any_id=True)

    @pytest.mark.parametrize("value", ["", ".", "..", "a\nb", "\x7f", "\x85", "\ud800", "x" * 257, "../x", "%2e%2e"])
    def test_what_fits_no_segment_is_no_campaign(self, value: str) -> None:
        """An id that could be another path, holds a control character or is too long is a fault of the row."""
        assert campaign(campaign_id=value).fault
        assert campaign(campaign_id=value).fault_with(any_id=True)

    def test_other_characters_are_for_those_who_ask(self) -> None:
        """An id with other characters than ids have is a fault that names one, unless any_id allows them."""
        made = campaign(campaign_id="cd-1\u00a0x", account_id="a:b")
        assert (made.fault or "").startswith("campaign id 'cd-1\\xa0x' holds U+00A0 NO-BREAK SPACE")
        assert made.fault_with(any_id=True) is None


class TestStopped:
    """Success is 2xx and status "Stopped", and nothing else is."""

    def test_voice_answer(self) -> None:
        """The documented voice answer is a success with all its fields."""
        body = {
            "status": "Stopped",
            "message": "Campaign Stopped",
            "updatedAt": "2025-12-05T12:01:35.312Z",
            "campaignInstanceId": "cid-835ee4a-1",
        }
        assert answered(200, body) == Attempt(
            Outcome.STOPPED,
            RetryHint.NO,
            200,
            12.5,
            "Campaign Stopped",
            "2025-12-05T12:01:35.312Z",
            campaign_instance_id="cid-835ee4a-1",
        )

    def test_sms_answer(self) -> None:
        """The documented SMS answer is a success with all its fields."""
        attempt = answered(200, {"status": "Stopped", "updatedAt": "2025-12-05", "campaignExecutionType": "NORMAL"})
        assert attempt == Attempt(
            Outcome.STOPPED, RetryHint.NO, 200, 12.5, None, "2025-12-05", None, campaign_execution_type="NORMAL"
        )

    @pytest.mark.parametrize("status", [200, 201, 202, 299])
    @pytest.mark.parametrize("word", ["Stopped", "stopped", "STOPPED"])
    def test_letter_case(self, status: int, word: str) -> None:
        """Any 2xx and any letter case of the word will do; nothing else need be there."""
        assert answered(status, {"status": word}).outcome is Outcome.STOPPED

    def test_odd_fields(self) -> None:
        """Fields of another kind than documented do not spoil a success: numbers are kept, the rest is left out."""
        deep = b"[" * 300 + b"]" * 300  # deeper than orjson writes, not deeper than it reads
        body = b'{"status":"Stopped","message":{"a":1},"updatedAt":1764936095,"campaignInstanceId":' + deep + b"}"
        attempt = answered(200, body)
        assert (attempt.outcome, attempt.message, attempt.updated_at) == (Outcome.STOPPED, None, "1764936095")
        assert attempt.campaign_instance_id is None

    @pytest.mark.parametrize(
        "body",
        [
            {"status": None},
            {"status": True},
            {"status": "success"},
            {"status": "Active"},
            {"status": "Stopping"},
            {"status": "Not Stopped"},
            {"message": "Campaign fetched"},
            {"errors": []},
            {"data": {}},
        ],
    )
    def test_other_2xx(self, body: object) -> None:
        """Any other answer of this API is unconfirmed and not tried again."""
        attempt = answered(200, body)
        assert (attempt.outcome, attempt.again, attempt.is_foreign) == (Outcome.UNCONFIRMED, RetryHint.NO, False)
        assert attempt.error == 'HTTP 200 without status "Stopped"'

    @pytest.mark.parametrize(
        "body",
        [
            {"status": "Stopped "},
            {"Status": "Stopped"},
            {"status": ["Stopped"]},
            {"status": {"status": "Stopped"}},
            {"data": {"status": "Stopped"}},
            {"status": "success", "message": "Campaign Stopped"},
        ],
    )
    def test_the_word_in_another_place(self, body: object) -> None:
        """The word in another place than documented is a claim to be read back, not a success."""
        attempt = answered(200, body)
        assert (attempt.outcome, attempt.again, attempt.is_foreign) == (Outcome.UNCONFIRMED, RetryHint.READ_BACK, False)
        assert attempt.error == 'HTTP 200: the service claims "stopped", which proves nothing by itself'

    @pytest.mark.parametrize(
        ("body", "glimpse"),
        [
            ({}, '"{}"'),
            ([], '"[]"'),
            ([{"status": "Stopped"}], '"[{"status":"Stopped"}]"'),
            ("Stopped", '""Stopped""'),
            (0, '"0"'),
            (None, '"null"'),
            (True, '"true"'),
            ({"id": 7}, '"{"id":7}"'),
            (b"", "empty"),
            (b" \r\n", "empty"),
            (b"Stopped", '"Stopped"'),
            (b"Campaign already stopped", '"Campaign already stopped"'),
            (b"<html>\r\n<b>Stopped</b></html>", '"<html> <b>Stopped</b></html>"'),
            (
                b"<!doctype html><title>Sign in to go on</title>",
                'begins with "<!doctype html><title>Sign in to go on</…"',
            ),
            (b'{"status":"Stopped"', '"{"status":"Stopped""'),
            (b'{"status":"Stopped"}{', '"{"status":"Stopped"}{"'),
            (b'"status":"Stopped"', '""status":"Stopped""'),
            (b"\xff\xfe\x00", '"\ufffd\ufffd"'),
            (b"[" * 60_000, f'begins with "{"[" * 40}…"'),
            (b'{"a":' * 60_000, 'begins with "' + '{"a":' * 8 + '…"'),
            (b'{"status":"St\\u006fpped', '"{"status":"St\\u006fpped"'),
            (b'{"status":NaN}', '"{"status":NaN}"'),
        ],
    )
    def test_foreign_2xx(self, body: object, glimpse: str) -> None:
        """A 2xx that is not an answer of this API is marked as such, and its error shows how it begins, on one line."""
        attempt = answered(200, body)
        assert (attempt.outcome, attempt.again, attempt.is_foreign) == (Outcome.UNCONFIRMED, RetryHint.NO, True)
        assert attempt.error == f"HTTP 200, but no answer of this API ({glimpse})"

    @pytest.mark.parametrize("status", [302, 400, 404, 500])
    def test_only_a_2xx_is_foreign(self, status: int) -> None:
        """A failure by its HTTP status needs no such mark."""
        assert not answered(status, b"<html>").is_foreign

    @pytest.mark.parametrize("status", [100, 199, 300, 302, 400, 401, 403, 404, 408, 409, 412, 429, 500, 503, 600])
    def test_the_word_needs_a_2xx(self, status: int) -> None:
        """The word alone is not a success under another HTTP status."""
        assert answered(status, {"status": "Stopped"}).outcome is not Outcome.STOPPED

    @given(
        status=st.integers(0, 999),
        body=st.binary(max_size=200) | JSON,
        retry_after=st.none() | st.text(max_size=40),
        date=st.none() | st.text(max_size=40),
        location=st.none() | st.text(st.characters(), max_size=40),
    )
    def test_anything_at_all(
        self, status: int, body: bytes, retry_after: str | None, date: str | None, location: str | None
    ) -> None:
        """Nothing a server can say raises, only 2xx with "Stopped" is a success, and what is kept is one clean line."""
        attempt = answered(status, body, retry_after=retry_after, date=date, location=location)
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        proof = isinstance(said, dict) and str(said.get("status")).lower() == "stopped"
        assert (attempt.outcome is Outcome.STOPPED) == (proof and 200 <= status < 300)
        assert (attempt.error is None) == (attempt.outcome is Outcome.STOPPED)
        assert attempt.retry_after_s is None or attempt.retry_after_s >= 0
        for text in attempt:
            if isinstance(text, str):
                assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)
                assert len(text) <= TEXT_CHARS + 100


class TestThrottled:
    """Over the limit is a 429, one of the known texts, or one of the known codes, under any HTTP status."""

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 429, 500, 503])
    @pytest.mark.parametrize("text", LIMIT_TEXTS)
    def test_texts(self, status: int, text: str) -> None:
        """Each text that the vendor has used is known in each shape."""
        shapes = [
            {"errors": [{"msg": text, "code": 4029}]},
            {"status": "error", "message": text},
            {"message": "Error", "errors": [{"code": 1}, {"msg": text}]},
            {"error": {"message": text}},
            {"error": text},
            text.upper().encode(),
            b"<html><head><title>Sorry</title></head><body>" + b" " * 400 + text.encode() + b"</body></html>",
        ]
        for body in shapes:
            attempt = answered(status, body)
            assert (attempt.outcome, attempt.again) == (Outcome.THROTTLED, RetryHint.THROTTLED), body
            assert attempt.error == f"rate limit (HTTP {status})"

    @pytest.mark.parametrize("body", [b"", {}, {"status": "Stopped"}, b"<html>", b"\xff"])
    def test_429(self, body: object) -> None:
        """A 429 needs no words."""
        assert answered(429, body).outcome is Outcome.THROTTLED

    @pytest.mark.parametrize("code", ["RATE_LIMIT_EXCEEDED", "QUEUE_FULL"])
    @pytest.mark.parametrize("status", [200, 400, 403, 500])
    def test_codes(self, status: int, code: str) -> None:
        """A code in the body is enough, and its `retryAfterMs` goes before the header."""
        for body in (
            {"code": code, "retryAfterMs": 1500},
            {"errors": [{"code": code, "retryAfterMs": 1500}]},
            {"error": {"code": code, "retryAfterMs": 1500}},
        ):
            attempt = answered(status, body, retry_after="60")
            assert (attempt.outcome, attempt.retry_after_s) == (Outcome.THROTTLED, 1.5)

    @pytest.mark.parametrize(
        "text",
        [
            "rate limit",
            "Your rate limit is 60 per minute",
            "Unable to stop",
            "exceeded the maximum number of campaigns",
            "Rate limits are explained in our documentation.",
        ],
    )
    def test_near_misses(self, text: str) -> None:
        """Words about limits that do not say one was passed are not throttling."""
        assert answered(400, {"message": text}).outcome is Outcome.REJECTED

    @pytest.mark.parametrize(
        ("status", "page"),
        [
            (400, b"<html><head><title>400 No required SSL certificate was sent</title></head></html>"),
            (400, b"<html><head><title>400 The SSL certificate error</title></head></html>"),
            (403, b"Client certificate required"),
        ],
    )
    def test_a_certificate_that_is_wanted(self, status: int, page: bytes) -> None:
        """A server that asks for a client certificate is not a wrong path: the options for one are named."""
        attempt = interpret(Response(status, page, 1.0))
        assert (attempt.outcome, attempt.again) == (Outcome.REJECTED, RetryHint.NO)
        assert attempt.error == f"HTTP {status}: a client certificate is wanted: give one that it takes (cert, key)"

    @pytest.mark.parametrize("code", [4002, None, True, [], {}, "OTHER", "rate_limit_exceeded "])
    def test_other_codes(self, code: object) -> None:
        """Other codes are neither of the two."""
        assert answered(400, {"code": code, "errors": [{"code": code}]}).outcome is Outcome.REJECTED


class TestRetryAfter:
    """How long the service asks to wait."""

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("0", 0.0),
            ("1", 1.0),
            (" 120 ", 120.0),
            ("999999999", 999999999.0),
            ("Fri, 05 Dec 2025 12:00:30 GMT", 30.0),
            ("Friday, 05-Dec-25 12:00:30 GMT", 30.0),
            ("Fri Dec  5 12:00:30 2025", 30.0),
            ("Fri, 05 Dec 2025 13:00:30 +0100", 30.0),
            ("Fri, 05 Dec 2025 11:59:00 GMT", 0.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - NOW).total_seconds()),
            ("", None),
            ("-5", None),
            ("1.5", 1.5),
            ("-1.5", None),
            (".5.5", None),
            ("1e3", None),
            ("soon", None),
            ("\u0661\u0662", None),
            ("9" * 10, None),
            ("9" * 5000, None),
            ("Fri, 05 Dec 99999 12:00:30 GMT", None),
            ("Fri, 99 Dec 2025 12:00:30 GMT", None),
            ("Fri, 05 Dec 2025 12:00:30 +9999", None),
            ("Fri, 05 Dec 2025 12:00:30 +9999999999999999", None),
            (None, None),
        ],
    )
    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_header(self, status: int, header: str | None, seconds: float | None) -> None:
        """Seconds and dates in all three forms are read, a past date is not a wait, and anything else is not there."""
        assert answered(status, retry_after=header).retry_after_s == seconds

    def test_clock_of_the_server(self) -> None:
        """A date is relative to the server's own Date, for any clock of this machine."""
        there = {"retry_after": "Sat, 06 Dec 2025 08:00:10 GMT", "date": "Sat, 06 Dec 2025 08:00:00 GMT"}
        assert answered(503, **there).retry_after_s == 10.0
        assert answered(503, **{**there, "date": "yesterday"}).retry_after_s == 20 * 3600 + 10

    @pytest.mark.parametrize("ms", [-1, True, "1500", None, [], 10**13])
    def test_unsound_body_field(self, ms: object) -> None:
        """A `retryAfterMs` that is not a sound number leaves it to the header."""
        assert answered(429, {"retryAfterMs": ms}, retry_after="7").retry_after_s == 7.0

    @pytest.mark.parametrize("status", [200, 302, 400, 401, 404])
    def test_only_where_it_is_tried_again(self, status: int) -> None:
        """An answer that is final carries no wait."""
        assert answered(status, {}, retry_after="7").retry_after_s is None


class TestFailures:
    """Every other response is the outcome of the contract, with words for a person."""

    @pytest.mark.parametrize(
        ("status", "outcome", "again", "error"),
        [
            (400, Outcome.REJECTED, RetryHint.NO, "HTTP 400"),
            (401, Outcome.UNAUTHORIZED, RetryHint.NO, "HTTP 401: wrong token, stream id or scope"),
            (403, Outcome.UNAUTHORIZED, RetryHint.NO, "HTTP 403: wrong token, stream id or scope"),
            (404, Outcome.NOT_FOUND, RetryHint.NO, "HTTP 404: no such campaign, or the path template is wrong here"),
            (405, Outcome.REJECTED, RetryHint.NO, "HTTP 405"),
            (408, Outcome.REJECTED, RetryHint.LATER, "HTTP 408"),
            (409, Outcome.REJECTED, RetryHint.NO, "HTTP 409"),
            (412, Outcome.REJECTED, RetryHint.NO, "HTTP 412"),
            (500, Outcome.SERVER_ERROR, RetryHint.LATER, "HTTP 500"),
            (502, Outcome.SERVER_ERROR, RetryHint.LATER, "HTTP 502"),
            (599, Outcome.SERVER_ERROR, RetryHint.LATER, "HTTP 599"),
            (304, Outcome.REJECTED, RetryHint.NO, "HTTP 304: a redirect is not followed"),
            (101, Outcome.REJECTED, RetryHint.NO, "HTTP 101"),
        ],
    )
    def test_statuses(self, status: int, outcome: Outcome, again: RetryHint, error: str) -> None:
        """The HTTP status decides the outcome and whether it is tried again."""
        attempt = answered(status)
        assert (attempt.outcome, attempt.again, attempt.error, attempt.http_status) == (outcome, again, error, status)

    @pytest.mark.parametrize(
        ("location", "where"),
        [("https://login.example/?a=b", " to https://login.example/?a=b"), ("", ""), (" \t", ""), ("\udcff", "")],
    )
    def test_redirect(self, location: str, where: str) -> None:
        """A redirect is an error that says where it led."""
        attempt = answered(307, location=location)
        assert (attempt.outcome, attempt.error) == (Outcome.REJECTED, f"HTTP 307: a redirect{where} is not followed")

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"errors": [{"msg": "Invalid scope", "code": 4002}]}, "Invalid scope"),
            ({"errors": [{"msg": "a"}, {"msg": "b"}, {"msg": "a"}]}, "a; b"),
            ({"status": "failure", "message": "Bad stream"}, "Bad stream"),
            ({"status": "error", "message": "Oops", "errors": [{"msg": "Details"}]}, "Oops; Details"),
            ({"error": "Forbidden"}, "Forbidden"),
            ({"error": {"message": "Forbidden", "details": {"a": 1}}}, "Forbidden"),
            ({"message": ["a", "b"]}, None),
            ({"errors": "text"}, "text"),
            ({"errors": [1, None, [], {"msg": 5}]}, None),
            ({"message": "  "}, None),
            ({"code": 7}, None),
            (b"plain text", "plain text"),
            (b" \r\n ", None),
            (b"", None),
            (b"<html>\r\n<h1>502 Bad Gateway</h1>\r\n</html>", "<html> <h1>502 Bad Gateway</h1> </html>"),
            ([{"msg": "in a list"}], '[{"msg":"in a list"}]'),
            (12345, "12345"),
            ("a string", '"a string"'),
            ({"message": "one\ntwo\x1b[31m\u2028three\x00"}, "one two [31m three"),
            ({"message": "x" * 5000}, "x" * TEXT_CHARS),
            (b"y" * 60_000, "y" * TEXT_CHARS),
            (b"caf\xe9", "caf\ufffd"),
        ],
    )
    def test_messages(self, body: object, message: str | None) -> None:
        """The words meant for a person are found in every shape, as one short line without control characters."""
        assert answered(400, body).message == message

    def test_other_fields_are_kept(self) -> None:
        """A failure's values for the campaign are also in its result."""
        attempt = answered(400, {"updatedAt": "now", "campaignInstanceId": "cid-1", "campaignExecutionType": "NORMAL"})
        assert (attempt.updated_at, attempt.campaign_instance_id, attempt.campaign_execution_type) == (
            "now",
            "cid-1",
            "NORMAL",
        )

    def test_no_answer(self) -> None:
        """A call without an answer keeps its reason, its status, whether to try again, and whether it has left."""
        broken = TransportFailure(Outcome.TIMEOUT, "why", 3.5, 200, RetryHint.LATER)
        assert interpret(broken) == Attempt(Outcome.TIMEOUT, RetryHint.LATER, 200, 3.5, error="why")
        untrusted = TransportFailure(Outcome.CONNECTION_ERROR, "why", 3.5, None, RetryHint.NO)
        unsent = Attempt(Outcome.CONNECTION_ERROR, RetryHint.NO, None, 3.5, error="why", has_left=False)
        assert interpret(untrusted) == unsent
        lost = interpret(TransportFailure(Outcome.TIMEOUT, "why", 3.5, may_have_arrived=True))
        assert (lost.error, lost.has_left) == ("why; the stop may have arrived", True)


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("Fri, 05 Dec 2025 12:00:00 GMT", "; this machine's clock is 2.0 s ahead of the service's"),
        ("Fri, 05 Dec 2025 12:05:02 GMT", "; this machine's clock is 5 min behind the service's"),
        ("Fri, 05 Dec 2025 12:00:02 GMT", ""),
        ("no date", ""),
        (None, ""),
    ],
)
def test_clock_of_a_refusal(date: str | None, words: str) -> None:
    """A refused token's error has the difference of this machine's clock, if that is known."""
    now = datetime(2025, 12, 5, 12, 0, 2, 500_000, UTC)
    attempt = interpret(Response(401, b"{}", 1.0, None, date), wall=lambda: now)
    assert attempt.error == f"HTTP 401: wrong token, stream id or scope{words}"


def test_byte_order_mark() -> None:
    """A byte order mark before the JSON is not one of it."""
    body = b'\xef\xbb\xbf{"status":"Stopped","message":"Campaign Stopped"}'
    assert interpret(Response(200, body, 1.0)).outcome is Outcome.STOPPED
