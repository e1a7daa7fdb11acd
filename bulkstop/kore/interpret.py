"""The meaning of a response, to a stop and to every other call.

Pure functions. The paths, the header names and the responses are those of the vendor's two pages on stopping a campaign
("voice v2" and "SMS v2"); where they are unclear, a response is never read as a success.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import orjson

from bulkstop.kore.allowance import read_allowance
from bulkstop.kore.body import parse_json
from bulkstop.kore.claims import read_claim
from bulkstop.kore.exchange import PageRange, Response, TransportFailure
from bulkstop.model import (
    CERTIFICATE_WANTED,
    Allowance,
    Attempt,
    Campaign,
    CampaignType,
    ListedCampaign,
    Outcome,
    RetryHint,
    Scope,
)
from bulkstop.naming import name_setting
from bulkstop.text import TEXT_CHARS, format_count, format_duration, one_line

PAGE_CAP = 4 * 1024 * 1024
"""The bytes of a page that are read."""
PAGE_ROWS = 10_000
"""The rows of a page that are read; more, if a service ignores the limit, would block the event loop."""
COUNTS = ("totalResults", "totalPages")
"""The fields of a page with counts of the list."""
PAGE_VALUES = 10 * PAGE_ROWS
"""The objects and lists of a page that are read: empty ones take 60 times the memory of their text."""
CLOCK_NOISE_S = 1.4
"""A smaller difference between two clocks may result from the whole seconds of a date."""
NAME_CHARS = 1024
"""The longest name that is kept; with a longer one the request line would exceed the usual 8 KiB of a server."""


def interpret(
    response: Response | TransportFailure,
    *,
    campaign_id: str | None = None,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Attempt:
    """Return what a response proves about the campaign to be stopped; only a 2xx that says "Stopped" is a success.

    A response that names another campaign than `campaign_id` proves nothing; without `campaign_id`, one that names any.
    """
    if isinstance(response, TransportFailure):
        attempt = failure(response)
        error = f"{response.error}; the stop may have arrived"
        return attempt._replace(error=error) if response.may_have_arrived else attempt
    fields = json_object(response.body)
    get = fields.get
    is_good = 200 <= response.status < 300
    if is_good and isinstance(status := get("status"), str) and status.lower() == "stopped":
        return Attempt(
            Outcome.STOPPED,
            RetryHint.NO,
            response.status,
            response.latency_ms,
            one_line(get("message")),
            one_line(get("updatedAt")),
            one_line(get("campaignInstanceId")),
            one_line(get("campaignExecutionType")),
            allowance=find_allowance(response, wall) if response.rate_limit else None,
        )
    attempt = failure(response, wall=wall)
    if attempt.again is RetryHint.THROTTLED or 300 <= response.status < 400:
        return attempt
    if is_good and not _is_of_this_api(fields):
        error = f"HTTP {response.status}, but no answer of this API ({_glimpse(response.body)})"
        return attempt._replace(error=error, is_foreign=True)
    return _with_claim(attempt, response, campaign_id)


def read_stopped(response: Response) -> Attempt | None:
    """Return the success that a response proves, without its texts and its latency; None if it proves none."""
    status = json_object(response.body).get("status")
    if not 200 <= response.status < 300 or not isinstance(status, str) or status.lower() != "stopped":
        return None
    return Attempt(Outcome.STOPPED, RetryHint.NO, response.status)


def failure(
    response: Response | TransportFailure, *, wall: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Attempt:
    """Return how any call failed; its words count only if they mention a limit."""
    if isinstance(response, TransportFailure):
        return Attempt(
            response.outcome,
            response.again,
            http_status=response.status,
            latency_ms=response.latency_ms,
            error=response.error,
            has_left=response.may_have_arrived or response.status is not None,
        )
    fields = json_object(response.body)
    words = _words(fields, response.body)
    outcome, again, error = _interpret_failure(response, fields, words)
    if outcome is Outcome.UNAUTHORIZED:
        error += explain_clock(read_clock_ahead_s(response, wall()))
    return Attempt(
        outcome,
        again,
        response.status,
        response.latency_ms,
        one_line(words),
        one_line(fields.get("updatedAt")),
        one_line(fields.get("campaignInstanceId")),
        one_line(fields.get("campaignExecutionType")),
        error,
        _retry_after_s(response, fields, wall) if again in (RetryHint.LATER, RetryHint.THROTTLED) else None,
        allowance=find_allowance(response, wall),
    )


def find_allowance(
    response: Response | TransportFailure, wall: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Allowance | None:
    """Return the allowance in a response; None if it states none."""
    if isinstance(response, TransportFailure) or not response.rate_limit:
        return None
    return read_allowance(response.rate_limit, response.date, wall=wall)


def _with_claim(attempt: Attempt, response: Response, campaign_id: str | None) -> Attempt:
    """Apply a response's claim: a proof overrides any status, a weak claim only a status that says less."""
    claim = read_claim(response.status, response.body, campaign_id)
    if claim is None:
        return attempt
    if claim.is_proof:
        error = f"HTTP {response.status}: the service says that the campaign was at rest before"
        return attempt._replace(outcome=Outcome.ALREADY_STOPPED, again=RetryHint.NO, error=error, retry_after_s=None)
    is_weak = claim.is_bare or (claim.is_doubted and attempt.again is RetryHint.LATER)
    if attempt.outcome is Outcome.UNAUTHORIZED or (is_weak and attempt.outcome in _SAY_MORE):
        return attempt
    error = f'HTTP {response.status}: the service claims "{claim.words}", which proves nothing by itself'
    return attempt._replace(outcome=Outcome.UNCONFIRMED, again=RetryHint.READ_BACK, error=error, retry_after_s=None)


_FIELDS = frozenset(
    {
        *("status", "message", "msg", "error", "errors", "code", "errorcode", "errormessage", "data", "updatedat"),
        *("campaigninstanceid", "campaignexecutiontype", "retryafterms"),
    }
)
_GLIMPSE_CHARS = 40
_SAY_MORE = (Outcome.NOT_FOUND, Outcome.SERVER_ERROR)
"""Outcomes that outweigh a weak claim."""


def _is_of_this_api(fields: Mapping[str, object]) -> bool:
    """Return whether a response has any field of this API's responses; a sign-in page has none."""
    return any(key.replace("_", "").lower() in _FIELDS for key in fields)


def _glimpse(body: bytes) -> str:
    begins = one_line(body[: 4 * _GLIMPSE_CHARS].decode(errors="replace"))
    if begins is None:
        return "empty"
    return f'begins with "{begins[:_GLIMPSE_CHARS].strip()}…"' if len(begins) > _GLIMPSE_CHARS else f'"{begins}"'


# The three documented texts begin differently; all contain "rate limit" with "exceeded" or "reached".
_LIMIT_TEXT = re.compile(
    r"exceeded the (?:per-\w+|hourly|daily) rate limit|rate limit\b.{0,60}\b(?:reached|exceeded)", re.IGNORECASE
)
_OF_CERTIFICATES = frozenset({400, 403, 495, 496})
_CERTIFICATE_TEXT = re.compile(
    r"no required SSL certificate|the SSL certificate error|client certificate (?:is |was )?(?:required|missing)",
    re.IGNORECASE,
)
_LIMIT_CODES = frozenset({"RATE_LIMIT_EXCEEDED", "QUEUE_FULL"})


def _interpret_failure(response: Response, fields: Mapping[str, object], words: str) -> tuple[Outcome, RetryHint, str]:
    status = response.status
    if status == 429 or _LIMIT_TEXT.search(words) or _codes(fields) & _LIMIT_CODES:
        return Outcome.THROTTLED, RetryHint.THROTTLED, f"rate limit (HTTP {status})"
    if status in _OF_CERTIFICATES and _CERTIFICATE_TEXT.search(words):
        give = f"give one that it takes ({name_setting('cert')}, {name_setting('key')})"
        return Outcome.REJECTED, RetryHint.NO, f"HTTP {status}: {CERTIFICATE_WANTED}: {give}"
    if status == 503 and _says_when(response, fields):
        return Outcome.SERVER_ERROR, RetryHint.THROTTLED, "HTTP 503 with a time to wait"
    if status >= 500:
        return Outcome.SERVER_ERROR, RetryHint.LATER, f"HTTP {status}"
    if status in (401, 403):
        return Outcome.UNAUTHORIZED, RetryHint.NO, f"HTTP {status}: wrong token, stream id or scope"
    if status == 404:
        return Outcome.NOT_FOUND, RetryHint.NO, "HTTP 404: no such campaign, or the path template is wrong here"
    if 200 <= status < 300:
        return Outcome.UNCONFIRMED, RetryHint.NO, f'HTTP {status} without status "Stopped"'
    if 300 <= status < 400:
        where = f" to {place}" if (place := one_line(response.location)) else ""
        return Outcome.REJECTED, RetryHint.NO, f"HTTP {status}: a redirect{where} is not followed"
    return Outcome.REJECTED, RetryHint.LATER if status == 408 else RetryHint.NO, f"HTTP {status}"


def json_object(body: bytes) -> Mapping[str, object]:
    """Return a body that is one JSON object; an empty one for any other."""
    try:
        fields = parse_json(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _parts(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the objects that may describe a failure: the response, and those in its `error` or `errors`."""
    parts = [fields]
    for inner in (fields.get("error"), fields.get("errors")):
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, dict):
                parts.append(part)
            elif isinstance(part, str):
                parts.append({"message": part})
    return parts


def _codes(fields: Mapping[str, object]) -> frozenset[object]:
    return frozenset(code for part in _parts(fields) if isinstance(code := part.get("code"), str))


def _words(fields: Mapping[str, object], body: bytes) -> str:
    """Return the words for a person in any known shape: message, errors[].msg, plain text."""
    if not fields:
        return body[: 4 * TEXT_CHARS].decode("utf-8-sig", errors="replace")
    texts = [text for part in _parts(fields) for key in ("message", "msg") if isinstance(text := part.get(key), str)]
    return "; ".join(dict.fromkeys(text.strip() for text in texts if text.strip()))[: 4 * TEXT_CHARS]


def _says_when(response: Response, fields: Mapping[str, object]) -> bool:
    return response.retry_after is not None or any("retryAfterMs" in part for part in _parts(fields))


def _retry_after_s(response: Response, fields: Mapping[str, object], wall: Callable[[], datetime]) -> float | None:
    """Return `retryAfterMs` or `Retry-After` (seconds or a date, RFC 9110 10.2.3); None if neither is valid."""
    for part in _parts(fields):
        ms = part.get("retryAfterMs")
        if isinstance(ms, int | float) and not isinstance(ms, bool) and 0 <= ms < 1e12:
            return ms / 1000
    if response.retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := response.retry_after.strip(), re.ASCII):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    # The server's own clock if it states one: ours may be off by more than the wait.
    since = (_http_date(response.date) if response.date else None) or wall()
    return max(0.0, (until - since).total_seconds())


def read_clock_ahead_s(response: Response, now: datetime) -> float | None:
    """Return roughly by how much this machine's clock is ahead of the service's; None if a response has no date."""
    date = _http_date(response.date) if response.date else None
    if date is None:
        return None
    # A date has whole seconds, and was written about half way through the call.
    return (now - date).total_seconds() - 0.5 - response.latency_ms / 2000


def explain_clock(ahead_s: float | None) -> str:
    """Return by how much this machine's clock is off, if that is more than the rounding of a date."""
    if ahead_s is None or abs(ahead_s) < CLOCK_NOISE_S:
        return ""
    way = "ahead of" if ahead_s > 0 else "behind"
    return f"; this machine's clock is {format_duration(round(abs(ahead_s)))} {way} the service's"


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


class Page(NamedTuple):
    """A page: its usable items, a line for each unusable one, its number of rows, and whether more follow.

    `total` is the service's count, None without one, as for `allowance`. `is_known` says whether the length of the list
    is known.
    """

    items: tuple[ListedCampaign, ...]
    faults: tuple[str, ...]
    rows: int
    more: bool
    total: int | None = None
    allowance: Allowance | None = None
    is_known: bool = True


class Status(NamedTuple):
    """The response to the status call of one campaign."""

    campaign_id: str
    status: str
    name: str | None = None
    allowance: Allowance | None = None


class Disabled(NamedTuple):
    """A schedule was disabled; `campaign_id` is the campaign that the service found by name, if it says so."""

    campaign_id: str | None = None
    message: str | None = None
    allowance: Allowance | None = None


def read_page(
    response: Response | TransportFailure, scope: Scope, at: PageRange, *, any_id: bool = False
) -> Page | Attempt:
    """Return a page of the list call; an id that is impossible (even with `any_id`) makes a row unusable."""
    if isinstance(response, Response) and _count_values(response.body) > PAGE_VALUES:
        return _refuse_page(response, f"has more than {PAGE_VALUES:,} objects, where {at.limit} were asked for")
    data = read_success(response).get("data")
    rows = data.get("results") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(rows, list):
        return call_failure(
            response, "is not a page of campaigns", f"no such stream, or the path of the list {_elsewhere('list_path')}"
        )
    if len(rows) > PAGE_ROWS:
        return _refuse_page(response, f"has {format_count(len(rows), 'row')}, where {at.limit} were asked for")
    read = [_read_item(row, scope, any_id=any_id) for row in rows]
    return Page(
        tuple(item for item in read if isinstance(item, ListedCampaign)),
        tuple(fault for fault in read if isinstance(fault, str)),
        len(rows),
        _more(data, len(rows), at),
        _read_count(data.get("totalResults")),
        find_allowance(response),
        _says_end(data, len(rows), at),
    )


def read_status(response: Response | TransportFailure, campaign_id: str) -> Status | Attempt:
    """Return the status of one campaign; a response about another is a failure."""
    data = read_success(response).get("data")
    status = one_line(data.get("status")) if isinstance(data, dict) else None
    if not isinstance(data, dict) or status is None:
        return call_failure(
            response, "tells no status", f"no such campaign, or the path of the status call {_elsewhere('status_path')}"
        )
    if _read_id(data.get("id")) not in (None, campaign_id):
        return call_failure(response, "tells of another campaign", "")
    return Status(campaign_id, status, _read_name(data.get("name")), find_allowance(response))


def read_campaign(response: Response | TransportFailure, scope: Scope, campaign_id: str) -> ListedCampaign | Attempt:
    """Return one complete campaign; a response about another is a failure."""
    data = read_success(response).get("data")
    item = _read_item(data, scope, any_id=True) if isinstance(data, dict) else None
    if not isinstance(item, ListedCampaign):
        return call_failure(response, "is not a campaign", f"no such campaign, or the path {_elsewhere('get_path')}")
    if item.campaign_id != campaign_id:
        return call_failure(response, "tells of another campaign", "")
    return item


def read_disabled(response: Response | TransportFailure) -> Disabled | Attempt:
    """Return the result of disabling a schedule; only an explicit success counts."""
    fields = read_success(response)
    if not fields.get("status"):
        absent = f"no campaign of this name, or the path {_elsewhere('schedule_path')}"
        return call_failure(response, "tells no success", absent)
    return Disabled(one_line(fields.get("id")), one_line(fields.get("message")), find_allowance(response))


def read_success(response: Response | TransportFailure) -> Mapping[str, object]:
    """Return the fields of a 2xx without a sign of failure; nothing for any other response."""
    if isinstance(response, TransportFailure) or not 200 <= response.status < 300:
        return {}
    fields = json_object(response.body)
    status = fields.get("status")
    is_good = status is None or (isinstance(status, str) and status.lower() == "success")
    return fields if is_good else {}


def call_failure(response: Response | TransportFailure, what: str, absent: str) -> Attempt:
    """Return how a call failed."""
    attempt = failure(response)
    if isinstance(response, TransportFailure):
        return attempt
    if attempt.outcome is Outcome.NOT_FOUND:
        return attempt._replace(error=f"HTTP 404: {absent}")
    if 200 <= response.status < 300 and attempt.again is not RetryHint.THROTTLED:
        again = RetryHint.LATER  # reading again is harmless
        if len(response.body) >= PAGE_CAP:
            what, again = f"is longer than {PAGE_CAP // 2**20} MiB", RetryHint.NO
        error = f"HTTP {response.status}, but the answer {what}"
        return attempt._replace(outcome=Outcome.UNCONFIRMED, again=again, error=error)
    return attempt


def _elsewhere(setting: str) -> str:
    """Return which settings change a path where nothing was found."""
    return f"is another here ({name_setting('api')}, {name_setting(setting)})"


def _count_values(body: bytes) -> int:
    """Return an upper bound of the objects and lists in a page that was read completely."""
    return body.count(b"{") + body.count(b"[") if len(body) < PAGE_CAP else 0


def _refuse_page(response: Response | TransportFailure, why: str) -> Attempt:
    """Return what is wrong with a page, as an attempt that a retry would not improve."""
    return call_failure(response, why, "")._replace(again=RetryHint.NO)


def _more(data: Mapping[str, object], rows: int, at: PageRange) -> bool:
    """Return whether more pages follow; if its fields contradict each other, the one that means more rows wins.

    An incomplete page that says it is the last one is believed, and so is one with more rows than requested. A count
    below the rows read is that of the page, or invalid.
    """
    has_more, read, is_full = data.get("hasMore"), at.skip + rows, rows >= at.limit
    total, pages = (_read_count(data.get(name)) for name in COUNTS)
    if has_more is True or (has_more is False and not is_full):
        return has_more
    if total is not None and (read < total or (rows == at.limit and total < read)):
        return True
    if pages is None:
        return is_full and total is None and has_more is None
    return read <= (pages - 1) * at.limit or (is_full and total is None and read < pages * at.limit)


def _says_end(data: Mapping[str, object], rows: int, at: PageRange) -> bool:
    """Return whether a page shows how long the list is: by a count, or by its flag together with a short page."""
    is_counted = any(_read_count(data.get(name)) is not None for name in COUNTS)
    return is_counted or (isinstance(data.get("hasMore"), bool) and rows != at.limit)


def _read_item(row: object, scope: Scope, *, any_id: bool) -> ListedCampaign | str:
    """Return the campaign in a row, or why it cannot be used."""
    if not isinstance(row, dict):
        return f"a row that is not an object: {one_line(orjson.dumps(row).decode())}"
    keys = ("_id", "id") if scope.campaign_type is CampaignType.VOICE else ("id", "_id")
    campaign_id = next((value for key in keys if (value := _read_id(row.get(key))) is not None), None)
    if fault := _id_fault(campaign_id, scope, any_id=any_id):
        return f"campaign {one_line(campaign_id) or one_line(row.get('name')) or '?'!r}: {fault}"
    assert campaign_id is not None  # noqa: S101 - otherwise there was a fault
    schedule = row.get("schedule")
    schedule = schedule if isinstance(schedule, dict) else {}
    return ListedCampaign(
        campaign_id,
        scope.campaign_type,
        _read_name(row.get("name")),
        one_line(row.get("status")),
        _read_count(row.get("priority")),
        _read_flag(schedule.get("isSchedulingEnabled")),
        _read_flag(schedule.get("isRecurrenceEnabled")),
        one_line(row.get("updatedAt")),
        one_line(row.get("dialingMode")),
        one_line(row.get("campaignExecutionType")),
        one_line(row.get("campaignInstanceUpdatedAt")),
        _read_count(row.get("totalMessagesSent")),
    )


def _read_id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _id_fault(campaign_id: str | None, scope: Scope, *, any_id: bool) -> str | None:
    if campaign_id is None:
        return "no campaign id"
    if campaign_id != campaign_id.strip():
        return "campaign id with blanks around it"
    account_id, stream_id, iid, kind, _ = scope
    return Campaign.of_row(campaign_id, kind, account_id, stream_id, iid, "", 0).fault_with(any_id=any_id)


def _read_name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= NAME_CHARS else None


def _read_count(value: object) -> int | None:
    """Return a number from 0 on, even if it is written as text; None for any other value."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value, re.ASCII):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _read_flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
