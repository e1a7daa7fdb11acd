"""The stop call: what to send for a campaign, and what an answer means.

Pure functions. The paths, the header names and the answers are those of the vendor's two pages on stopping a
campaign ("voice v2" and "SMS v2"); what they leave open is read defensively and never as a success.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote

import orjson

from bulkstop.kore.claims import read_claim
from bulkstop.model import Again, Attempt, Campaign, CampaignType, Outcome

VOICE_PATH = "/api/v2/public/{streamId}/campaign/trigger/{campaignId}"
SMS_PATH = "/campaign/api/v2/public/{streamId}/campaign//trigger/{campaignId}"
BODY = b"{}"
TEXT_CHARS = 300
"""How much of a server's text is kept in a result line."""


class Where(Protocol):
    """The account, stream and application that a call is made for; a Campaign says all three."""

    @property
    def account_id(self) -> str:
        """The account that the call counts for."""
        ...

    @property
    def stream_id(self) -> str:
        """The stream in the path."""
        ...

    @property
    def iid(self) -> str:
        """The application in the headers."""
        ...


class Answer(NamedTuple):
    """What came back over the wire: status, the headers that matter, the body up to the cap."""

    status: int
    body: bytes
    latency_ms: float
    retry_after: str | None = None
    date: str | None = None
    location: str | None = None


class NoAnswer(NamedTuple):
    """Nothing usable came back: a timeout or a broken connection, and why."""

    outcome: Outcome
    error: str
    latency_ms: float
    status: int | None = None
    again: Again = Again.LATER


_STAYS = re.compile(r"[A-Za-z0-9_.~-]+")
"""What `quote` leaves as it is: nearly every id, found out in a quarter of the time."""


def target(campaign: Campaign, *, voice_path: str = VOICE_PATH, sms_path: str = SMS_PATH) -> str:
    """Give path and query of the stop call; every id is exactly one percent-encoded path segment or query value."""
    kind = campaign.campaign_type
    template = voice_path if kind is CampaignType.VOICE else sms_path
    parts = _around_id(template, kind, campaign.account_id, campaign.stream_id)
    campaign_id = campaign.campaign_id
    if not _STAYS.fullmatch(campaign_id):
        campaign_id = quote(campaign_id, safe="")
    return campaign_id.join(parts)


@lru_cache(maxsize=1024)
def _around_id(template: str, kind: str, account_id: str, stream_id: str) -> tuple[str, ...]:
    """Fill in all but the campaign id; a list has few accounts and streams, so this is done a few times a run."""
    account, stream = quote(account_id, safe=""), quote(stream_id, safe="")
    whole = f"{template}?accountId={account}&campaignType={kind}&trigger=stop"
    return tuple(part.format(streamId=stream, accountId=account) for part in whole.split("{campaignId}"))


def headers(where: Where, token: str) -> dict[str, str]:
    """Give the documented headers of a call; `auth` carries the token alone, without `Bearer`."""
    return {
        "auth": token,
        "accountid": where.account_id,
        "iid": where.iid,
        "Content-Type": "application/json",
    }


def meaning(
    answer: Answer | NoAnswer,
    *,
    campaign_id: str | None = None,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Attempt:
    """Return what an answer proves of the campaign that was to be stopped; only a 2xx that says "Stopped" is a success.

    What names another campaign than `campaign_id` proves nothing, nor does what names one when that is not given.
    """
    if isinstance(answer, NoAnswer):
        return failure(answer)
    said = json_object(answer.body)
    get = said.get
    is_good = 200 <= answer.status < 300
    if is_good and isinstance(status := get("status"), str) and status.lower() == "stopped":
        return Attempt(
            Outcome.STOPPED,
            Again.NO,
            answer.status,
            answer.latency_ms,
            one_line(get("message")),
            one_line(get("updatedAt")),
            one_line(get("campaignInstanceId")),
            one_line(get("campaignExecutionType")),
        )
    attempt = failure(answer, wall=wall)
    if attempt.again is Again.THROTTLED or 300 <= answer.status < 400:
        return attempt
    if is_good and not _is_of_this_api(said):
        error = f"HTTP {answer.status}, but no answer of this API ({_glimpse(answer.body)})"
        return attempt._replace(error=error, is_foreign=True)
    return _with_claim(attempt, answer, campaign_id)


def failure(answer: Answer | NoAnswer, *, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Attempt:
    """Return how a call failed, whatever it was to do; its words count only where they speak of a limit."""
    if isinstance(answer, NoAnswer):
        return Attempt(
            answer.outcome,
            answer.again,
            http_status=answer.status,
            latency_ms=answer.latency_ms,
            error=answer.error,
        )
    said = json_object(answer.body)
    words = _words(said, answer.body)
    outcome, again, error = _failure(answer, said, words)
    return Attempt(
        outcome,
        again,
        answer.status,
        answer.latency_ms,
        one_line(words),
        one_line(said.get("updatedAt")),
        one_line(said.get("campaignInstanceId")),
        one_line(said.get("campaignExecutionType")),
        error,
        _retry_after_s(answer, said, wall) if again in (Again.LATER, Again.THROTTLED) else None,
    )


def _with_claim(attempt: Attempt, answer: Answer, campaign_id: str | None) -> Attempt:
    """Let count what an answer claims: a proof under any status, else where the status speaks of nothing else."""
    claim = read_claim(answer.status, answer.body, campaign_id)
    if claim is None:
        return attempt
    if claim.is_proof:
        error = f"HTTP {answer.status}: the service says that the campaign was at rest before"
        return attempt._replace(outcome=Outcome.ALREADY_STOPPED, again=Again.NO, error=error, retry_after_s=None)
    is_weak = claim.is_bare or (claim.is_doubted and attempt.again is Again.LATER)
    if attempt.outcome is Outcome.UNAUTHORIZED or (is_weak and attempt.outcome in _SAY_MORE):
        return attempt
    error = f'HTTP {answer.status}: the service claims "{claim.words}", which proves nothing by itself'
    return attempt._replace(outcome=Outcome.UNCONFIRMED, again=Again.READ_BACK, error=error, retry_after_s=None)


_FIELDS = frozenset(
    {
        *("status", "message", "msg", "error", "errors", "code", "errorcode", "errormessage", "data", "updatedat"),
        *("campaigninstanceid", "campaignexecutiontype", "retryafterms"),
    }
)
_GLIMPSE_CHARS = 40
_SAY_MORE = (Outcome.NOT_FOUND, Outcome.SERVER_ERROR)
"""Outcomes that count for more than a weak claim."""


def _is_of_this_api(said: Mapping[str, object]) -> bool:
    """Tell whether an answer has any of the fields that answers of this API have; a page to sign in has none."""
    return any(key.replace("_", "").lower() in _FIELDS for key in said)


def _glimpse(body: bytes) -> str:
    begins = one_line(body[: 4 * _GLIMPSE_CHARS].decode(errors="replace"))
    if begins is None:
        return "empty"
    return f'begins with "{begins[:_GLIMPSE_CHARS].strip()}…"' if len(begins) > _GLIMPSE_CHARS else f'"{begins}"'


# The three documented texts differ in their first words; "rate limit" with "exceeded" or "reached" is common to all.
_LIMIT_TEXT = re.compile(
    r"exceeded the (?:per-\w+|hourly|daily) rate limit|rate limit\b.{0,60}\b(?:reached|exceeded)", re.IGNORECASE
)
_LIMIT_CODES = frozenset({"RATE_LIMIT_EXCEEDED", "QUEUE_FULL"})


def _failure(answer: Answer, said: Mapping[str, object], words: str) -> tuple[Outcome, Again, str]:
    status = answer.status
    if status == 429 or _LIMIT_TEXT.search(words) or _codes(said) & _LIMIT_CODES:
        return Outcome.THROTTLED, Again.THROTTLED, f"rate limit (HTTP {status})"
    if status == 503 and _says_when(answer, said):
        return Outcome.SERVER_ERROR, Again.THROTTLED, "HTTP 503 with a time to wait"
    if status >= 500:
        return Outcome.SERVER_ERROR, Again.LATER, f"HTTP {status}"
    if status in (401, 403):
        return Outcome.UNAUTHORIZED, Again.NO, f"HTTP {status}: wrong token, stream id or scope"
    if status == 404:
        return Outcome.NOT_FOUND, Again.NO, "HTTP 404: no such campaign, or the path template is wrong here"
    if 200 <= status < 300:
        return Outcome.UNCONFIRMED, Again.NO, f'HTTP {status} without status "Stopped"'
    if 300 <= status < 400:
        where = f" to {place}" if (place := one_line(answer.location)) else ""
        return Outcome.REJECTED, Again.NO, f"HTTP {status}: a redirect{where} is not followed"
    return Outcome.REJECTED, Again.LATER if status == 408 else Again.NO, f"HTTP {status}"


def json_object(body: bytes) -> Mapping[str, object]:
    """Read a body that is one JSON object; anything else is an empty one."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _parts(said: Mapping[str, object]) -> list[Mapping[str, object]]:
    """List the objects that may speak of a failure: the answer, and what stands under its `error` or `errors`."""
    parts = [said]
    for inner in (said.get("error"), said.get("errors")):
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, dict):
                parts.append(part)
            elif isinstance(part, str):
                parts.append({"message": part})
    return parts


def _codes(said: Mapping[str, object]) -> frozenset[object]:
    return frozenset(code for part in _parts(said) if isinstance(code := part.get("code"), str))


def _words(said: Mapping[str, object], body: bytes) -> str:
    """Find the words meant for a person in any of the shapes seen: message, errors[].msg, plain text."""
    if not said:
        return body[: 4 * TEXT_CHARS].decode(errors="replace")
    found = [text for part in _parts(said) for key in ("message", "msg") if isinstance(text := part.get(key), str)]
    return "; ".join(dict.fromkeys(text.strip() for text in found if text.strip()))[: 4 * TEXT_CHARS]


# Control characters, line ends of other sorts, halves of pairs, and what turns the direction of writing.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def one_line(value: object) -> str | None:
    """Keep a server's text as one short line without control characters: it goes to files and terminals."""
    if value is None:  # as most are
        return None
    if isinstance(value, str) and len(value) <= TEXT_CHARS and value.isprintable():
        return value.strip() or None
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        return None
    return _UNPRINTABLE.sub(" ", value[:TEXT_CHARS]).strip() or None


def _says_when(answer: Answer, said: Mapping[str, object]) -> bool:
    return answer.retry_after is not None or any("retryAfterMs" in part for part in _parts(said))


def _retry_after_s(answer: Answer, said: Mapping[str, object], wall: Callable[[], datetime]) -> float | None:
    """Read `retryAfterMs` or `Retry-After` (seconds or a date, RFC 9110 10.2.3); None when neither is sound."""
    for part in _parts(said):
        ms = part.get("retryAfterMs")
        if isinstance(ms, int | float) and not isinstance(ms, bool) and 0 <= ms < 1e12:
            return ms / 1000
    if answer.retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}", value := answer.retry_after.strip(), re.ASCII):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    # The server's own clock, where it tells it: ours may be off by more than the wait.
    since = (_http_date(answer.date) if answer.date else None) or wall()
    return max(0.0, (until - since).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
