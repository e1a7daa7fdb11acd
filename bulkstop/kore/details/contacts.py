"""The contacts in the service's interaction details: whom a campaign called or wrote to, and when.

Pure functions. Times have no zone; they use the offset that was requested, here UTC.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

import orjson

from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.interpret import call_failure, find_allowance, read_success
from bulkstop.model import Allowance, Attempt

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d{1,2}):(\d\d(?::\d\d(?:\.\d{1,6})?)?)\d*\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII)


class Contact(NamedTuple):
    """One contact: its key, its campaign and instance, and its start and end in unix time.

    `ended_s` is None while it lasts; `started_s` is None if a time cannot be read. A contact without a campaign id
    `may_be_of_campaign` if a campaign made it, or if that is unknown.
    """

    key: str
    campaign_id: str | None
    instance_id: str | None
    started_s: float | None
    ended_s: float | None
    may_be_of_campaign: bool


class ContactPage(NamedTuple):
    """A page of contacts: the outbound ones of `rows`; `total` is the service's count, None without one."""

    contacts: tuple[Contact, ...]
    rows: int
    total: int | None = None
    allowance: Allowance | None = None


def read_contacts(response: Response | TransportFailure) -> ContactPage | Attempt:
    """Return a page of interaction details; anything else is a failure, never an empty page."""
    fields = read_success(response)
    rows, total = fields.get("data"), fields.get("numResults")
    if rows is None and total == 0 and not isinstance(total, bool):
        rows = []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return call_failure(response, "has no interaction details", "the service has no interaction details there")
    return ContactPage(
        tuple(_read_contact(row) for row in rows if _is_outbound(row)),
        len(rows),
        total if isinstance(total, int) and not isinstance(total, bool) else None,
        find_allowance(response),
    )


def read_time(text: object) -> float | None:
    """Return a time of the service in unix seconds, in UTC unless stated otherwise; None if it cannot be read."""
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        when = datetime.fromisoformat(f"{match[1]}T{int(match[2]):02}:{match[3]}{match[4] or ''}")
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _is_outbound(row: Mapping[str, object]) -> bool:
    direction = row.get("Direction", row.get("direction"))
    return not isinstance(direction, str) or direction.strip().lower() != "inbound"


def _read_contact(row: Mapping[str, object]) -> Contact:
    campaign, more = _read_object(row.get("campaigninfo")), _read_object(row.get("metaInfo"))
    key = _read_text(row.get("sessionId")) or _read_text(row.get("conversationId"))
    is_named = any(_read_text(value) for value in (campaign.get("campaignName"), more.get("campaignName")))
    end, ended_s = row.get("sessionEndTime"), read_time(row.get("sessionEndTime"))
    is_readable = end is None or end == "" or ended_s is not None
    return Contact(
        key or blake2b(orjson.dumps(row), digest_size=16).hexdigest(),
        _read_text(campaign.get("campaignId")),
        _read_text(campaign.get("campaignInstanceId")),
        read_time(row.get("sessionStartTime")) if is_readable else None,
        ended_s,
        is_named or more.get("Initiation") == "Campaign" or "campaigninfo" not in row,
    )


def _read_object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _read_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
