"""Every call of the API: its path, its headers, its body.

Pure functions. What the vendor's pages leave open is read defensively: an answer that is not what was asked for is a
failure, never an empty list.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

import orjson

from bulkstop.kore.exchange import BODY, BODY_CAP, PageRange, Response, TransportFailure
from bulkstop.kore.interpret import (
    NAME_CHARS,
    PAGE_CAP,
    Disabled,
    Page,
    Status,
    interpret,
    read_disabled,
    read_page,
    read_status,
)
from bulkstop.model import Attempt, Campaign, CampaignType, Scope
from bulkstop.text import format_count, has_controls

T = TypeVar("T")

PAGE = 50
"""Campaigns asked for at once, as in the vendor's samples; the most that a service gives is not documented."""
STATUSES = ("Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled", "Rescheduled")
"""The documented states of a campaign."""

_V2 = "/campaign/api/v2/public/{}/campaign"

VOICE_PATH = "/api/v2/public/{streamId}/campaign/trigger/{campaignId}"
SMS_PATH = "/campaign/api/v2/public/{streamId}/campaign//trigger/{campaignId}"


class HasScope(Protocol):
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


_STAYS = re.compile(r"[A-Za-z0-9_.~-]+")
"""What `quote` leaves as it is: nearly every id, found out in a quarter of the time."""


def target(campaign: Campaign, *, voice_path: str = VOICE_PATH, sms_path: str = SMS_PATH) -> str:
    """Return path and query of the stop call; every id is exactly one percent-encoded path segment or query value."""
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


def headers(where: HasScope, token: str) -> dict[str, str]:
    """Return the documented headers of a call; `auth` carries the token alone, without `Bearer`."""
    return {
        "auth": token,
        "accountid": where.account_id,
        "iid": where.iid,
        "Content-Type": "application/json",
    }


class Call(NamedTuple, Generic[T]):
    """One call: whom it is for, what to send, and how to read the answer (a value, or the Attempt that failed)."""

    where: HasScope
    target: str
    body: bytes
    read: Callable[[Response | TransportFailure], T | Attempt]
    cap: int = BODY_CAP


def stop_call(campaign: Campaign, *, voice_path: str = VOICE_PATH, sms_path: str = SMS_PATH) -> Call[Attempt]:
    """Ask to stop a campaign."""
    path = target(campaign, voice_path=voice_path, sms_path=sms_path)
    return Call(campaign, path, BODY, lambda answer: interpret(answer, campaign_id=campaign.campaign_id))


def find_page(start: int, most: int = PAGE) -> PageRange:
    """Return the page of at most `most` rows that holds row number `start` (from 0) and reaches furthest.

    Whether a service heeds `skip` or `page` is not documented, so here both say the same: the limit is such that a page
    of that length begins at `start`, or a little before it.
    """
    limit = max(range(most, most // 2, -1), key=lambda limit: (start // limit + 1) * limit)
    return PageRange(start // limit * limit, limit, start // limit + 1)


def list_call(
    scope: Scope, at: PageRange, statuses: Sequence[str] = (), priorities: Sequence[int] = (), *, any_id: bool = False
) -> Call[Page]:
    """Ask for a page of a group, newest first; without statuses or priorities for those of any."""
    filters = {"status": list(statuses), "priority": list(priorities)}
    body: dict[str, object] = {
        "limit": at.limit,
        "skip": at.skip,
        "page": at.page,
        "type": scope.campaign_type.value,
        "sortBy": {"createdAt": "desc"},
        "filters": {name: wanted for name, wanted in filters.items() if wanted},
    }
    target = f"{_base(scope)}/getAllCampaignDetails?accountId={quote(scope.account_id, safe='')}"
    return Call(scope, target, orjson.dumps(body), lambda answer: read_page(answer, scope, at, any_id=any_id), PAGE_CAP)


def status_call(where: HasScope, campaign_id: str) -> Call[Status]:
    """Ask for the status of one campaign."""
    account = quote(where.account_id, safe="")
    target = f"{_base(where)}/{quote(campaign_id, safe='')}/status?accountId={account}&view=status"
    return Call(where, target, BODY, lambda answer: read_status(answer, campaign_id))


def disable_schedule_call(where: HasScope, name: str) -> Call[Disabled]:
    """Ask to disable the schedule of the campaign called `name`, which has no `name_fault`."""
    target = f"{_base(where)}/schedule?enableSchedule=false&campaignName={quote(name, safe='')}"
    return Call(where, target, BODY, read_disabled)


def name_fault(name: str | None) -> str | None:
    """Say why no call can be made by this name; None when one can."""
    if not name:
        return "the campaign has no name"
    if len(name) > NAME_CHARS:
        return f"a name of {format_count(len(name), 'character')}; at most {NAME_CHARS} can be sent"
    if has_controls(name):
        return "the name holds a control character or half a surrogate pair"
    return None


def _base(where: HasScope) -> str:
    return _V2.format(quote(where.stream_id, safe=""))
