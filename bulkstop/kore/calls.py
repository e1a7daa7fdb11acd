"""Every call of the API: its path, its headers, its body.

Pure functions. What the vendor's pages leave open is read defensively: an answer that is not what was asked for is a
failure, never an empty list.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

import orjson

from bulkstop.errors import SettingsError
from bulkstop.kore.details.calling_hours import Hours, read_hours
from bulkstop.kore.details.contacts import ContactPage, read_contacts
from bulkstop.kore.exchange import BODY, BODY_CAP, PageRange, Response, TransportFailure
from bulkstop.kore.interpret import (
    NAME_CHARS,
    PAGE_CAP,
    Disabled,
    Page,
    Status,
    interpret,
    read_campaign,
    read_disabled,
    read_page,
    read_status,
)
from bulkstop.model import ApiVersion, Attempt, Campaign, CampaignType, ListedCampaign, Scope
from bulkstop.text import format_count, has_controls

T = TypeVar("T")

PAGE = 50
"""Campaigns asked for at once, as in the vendor's samples; the most that a service gives is not documented."""
CONTACTS_PAGE = 100
"""Contacts asked for at once: the most that the service gives."""
STATUSES = ("Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled", "Rescheduled")
"""The documented states of a campaign."""


class Paths(NamedTuple):
    """Where the calls of a deployment go, each as a template; None where no path is documented.

    `is_account_named` tells whether the query of a list, of a status and of one campaign names the account: the headers
    always do.
    """

    voice: str
    sms: str
    list: str
    status: str
    get: str
    schedule: str | None
    is_account_named: bool = True

    def target(self, template: str, where: "HasScope", query: str, campaign_id: str = "") -> str:
        """Return path and query of a call; every id is exactly one percent-encoded path segment or query value."""
        account, stream, iid, campaign = (
            quote(each, safe="") for each in (where.account_id, where.stream_id, where.iid, campaign_id)
        )
        path = template.format(accountId=account, streamId=stream, iid=iid, campaignId=campaign)
        return f"{path}?{query}" if query else path

    def target_with_account(self, template: str, where: "HasScope", *queries: str, campaign_id: str = "") -> str:
        """Return path and query of a call whose query names the account, where the deployment's does."""
        account = (f"accountId={quote(where.account_id, safe='')}",) if self.is_account_named else ()
        return self.target(template, where, "&".join((*account, *queries)), campaign_id)


_V2 = "/campaign/api/v2/public/{streamId}/campaign"
_V1_STOP = "/campaign/api/v1/public/{streamId}/campaign/{campaignId}"
_V1 = "/agentassist/api/v1/public/{iid}/campaign"

V2 = Paths(
    voice="/api/v2/public/{streamId}/campaign/trigger/{campaignId}",
    sms=f"{_V2}//trigger/{{campaignId}}",
    list=f"{_V2}/getAllCampaignDetails",
    status=f"{_V2}/{{campaignId}}/status",
    get=f"{_V2}/{{campaignId}}",
    schedule=f"{_V2}/schedule",
)
V1 = Paths(
    voice=_V1_STOP,
    sms=_V1_STOP,
    list=f"{_V1}/getAllCampaignDetails",
    status=f"{_V1}/{{campaignId}}/status",
    get=f"{_V1}/{{campaignId}}",
    schedule=None,
    is_account_named=False,
)
_CONTACTS = "/agentassist/api/public/analytics/account/{accountId}/v2/interactionDetails"

DOCUMENTED = {ApiVersion.V1: V1, ApiVersion.V2: V2}
"""The paths that the vendor's pages state, by version."""


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

    @property
    def profile(self) -> str | None:
        """The profile with whose credentials the call is made; None is that of the run."""
        ...


_STAYS = re.compile(r"[A-Za-z0-9_.~-]+")
"""What `quote` leaves as it is: nearly every id, found out in a quarter of the time."""


def target(campaign: Campaign, paths: Paths = V2) -> str:
    """Return path and query of the stop call; every id is exactly one percent-encoded path segment or query value."""
    kind = campaign.campaign_type
    template = paths.voice if kind is CampaignType.VOICE else paths.sms
    parts = _around_id(template, kind, campaign.account_id, campaign.stream_id, campaign.iid)
    campaign_id = campaign.campaign_id
    if not _STAYS.fullmatch(campaign_id):
        campaign_id = quote(campaign_id, safe="")
    return campaign_id.join(parts)


@lru_cache(maxsize=1024)
def _around_id(template: str, kind: str, account_id: str, stream_id: str, iid: str) -> tuple[str, ...]:
    """Fill in all but the campaign id; a list has few accounts and streams, so this is done a few times a run."""
    account, stream, app = quote(account_id, safe=""), quote(stream_id, safe=""), quote(iid, safe="")
    whole = f"{template}?accountId={account}&campaignType={kind}&trigger=stop"
    parts = whole.split("{campaignId}")
    return tuple(part.format(streamId=stream, accountId=account, iid=app) for part in parts)


def headers(where: HasScope, token: str) -> dict[str, str]:
    """Return the documented headers of a call; `auth` carries the token alone, without `Bearer`."""
    return {
        "auth": token,
        "accountid": where.account_id,
        "iid": where.iid,
        "Content-Type": "application/json",
    }


class Call(NamedTuple, Generic[T]):
    """One call: whom it is for, where it goes, what to send, and how to read the answer.

    What is read is a value, or the Attempt that failed. Without a body (b"") the call is a GET.
    """

    where: HasScope
    at: Callable[[Paths], str]
    body: bytes
    read: Callable[[Response | TransportFailure], T | Attempt]
    cap: int = BODY_CAP

    @property
    def target(self) -> str:
        """Path and query as they are documented for v2."""
        return self.at(V2)


def stop_call(campaign: Campaign) -> Call[Attempt]:
    """Ask to stop a campaign."""
    return Call(
        campaign, partial(target, campaign), BODY, lambda answer: interpret(answer, campaign_id=campaign.campaign_id)
    )


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
    return Call(
        scope,
        lambda paths: paths.target_with_account(paths.list, scope),
        orjson.dumps(body),
        lambda answer: read_page(answer, scope, at, any_id=any_id),
        PAGE_CAP,
    )


def status_call(where: HasScope, campaign_id: str) -> Call[Status]:
    """Ask for the status of one campaign."""
    return Call(
        where,
        lambda paths: paths.target_with_account(paths.status, where, "view=status", campaign_id=campaign_id),
        BODY,
        lambda answer: read_status(answer, campaign_id),
    )


def get_call(scope: Scope, campaign_id: str) -> Call[ListedCampaign]:
    """Ask for one campaign."""
    return Call(
        scope,
        lambda paths: paths.target_with_account(paths.get, scope, campaign_id=campaign_id),
        b"",
        lambda answer: read_campaign(answer, scope, campaign_id),
        PAGE_CAP,
    )


def hours_call(scope: Scope, campaign_id: str) -> Call[Hours]:
    """Ask for the calling hours of one campaign: they stand in no list."""
    at = get_call(scope, campaign_id).at
    return Call(scope, at, b"", lambda answer: read_hours(answer, scope, campaign_id), PAGE_CAP)


def disable_schedule_call(where: HasScope, name: str) -> Call[Disabled]:
    """Ask to disable the schedule of the campaign called `name`, which has no `name_fault`.

    The call raises SettingsError where no path is known for it.
    """
    query = f"enableSchedule=false&campaignName={quote(name, safe='')}"

    def at(paths: Paths) -> str:
        if paths.schedule is None:
            raise SettingsError(
                ": is needed to disable schedules, because v1 documents no such call", setting="schedule_path"
            )
        return paths.target(paths.schedule, where, query)

    return Call(where, at, BODY, read_disabled)


def contacts_call(scope: Scope, begin_s: float, end_s: float, offset: int) -> Call[ContactPage]:
    """Ask for a page of the outbound contacts of an application that started between two unix times, whole seconds."""
    body = {
        "startDate": _utc_second(begin_s),
        "endDate": _utc_second(end_s),
        "timeZoneOffset": 0,
        "direction": "Outbound",
        "selectedFields": ["campaigninfo"],
    }
    query = f"offset={offset}&limit={CONTACTS_PAGE}"
    return Call(
        scope,
        lambda paths: paths.target(_CONTACTS, scope, query),
        orjson.dumps(body),
        read_contacts,
        PAGE_CAP,
    )


def _utc_second(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def name_fault(name: str | None) -> str | None:
    """Say why no call can be made by this name; None when one can."""
    if not name:
        return "the campaign has no name"
    if len(name) > NAME_CHARS:
        return f"a name of {format_count(len(name), 'character')}; at most {NAME_CHARS} can be sent"
    if has_controls(name):
        return "the name holds a control character or half a surrogate pair"
    return None
