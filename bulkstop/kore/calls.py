"""Every call of the API: its path, its headers, its body.

Pure functions. Where the vendor's pages are unclear, reading is defensive: an unexpected response is a failure, never
an empty list.
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
"""The campaigns requested at once, as in the vendor's samples; the service's maximum is undocumented."""
CONTACTS_PAGE = 100
"""The contacts requested at once, the service's maximum."""
STATUSES = ("Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled", "Rescheduled")
"""The documented states of a campaign."""


class Paths(NamedTuple):
    """The paths of a deployment's calls, each as a template; None if no path is documented.

    `is_account_named` says whether the query for a list, a status or one campaign names the account; the headers always
    do.
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
        """Return path and query of a call; the query names the account if the deployment requires it."""
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
"""The paths in the vendor's documents, by version."""


class HasScope(Protocol):
    """The account, stream and application of a call; a Campaign has all three."""

    @property
    def account_id(self) -> str:
        """The account whose quota counts the call."""
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
        """The profile whose credentials are used; None means those of the run."""
        ...


_STAYS = re.compile(r"[A-Za-z0-9_.~-]+")
"""What `quote` leaves unchanged, as in nearly every id; the check takes a quarter of its time."""


def target(campaign: Campaign, paths: Paths = V2) -> str:
    """Return path and query of the stop call; every id is exactly one percent-encoded path segment or query value."""
    return _quote_id(campaign.campaign_id).join(_find_parts(campaign, paths))


class StopTargets:
    """Writes target and headers of stop calls: what calls of one scope and token share is written once in a row."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._shared: tuple[object, ...] = ()
        self._parts: tuple[str, ...] = ()
        self._headers: dict[str, str] = {}

    def write(self, campaign: Campaign, token: str) -> tuple[str, dict[str, str]]:
        """Return path with query, and the headers; nobody changes these."""
        shared = (campaign.stream_id, campaign.account_id, campaign.campaign_type, campaign.iid, token)
        if shared != self._shared:
            self._parts, self._headers = _find_parts(campaign, self._paths), headers(campaign, token)
            self._shared = shared
        return _quote_id(campaign.campaign_id).join(self._parts), self._headers


def _quote_id(campaign_id: str) -> str:
    return campaign_id if _STAYS.fullmatch(campaign_id) else quote(campaign_id, safe="")


def _find_parts(campaign: Campaign, paths: Paths) -> tuple[str, ...]:
    """Return what a target has before and behind the id."""
    kind = campaign.campaign_type
    template = paths.voice if kind is CampaignType.VOICE else paths.sms
    return _around_id(template, kind, campaign.account_id, campaign.stream_id, campaign.iid)


@lru_cache(maxsize=1024)
def _around_id(template: str, kind: str, account_id: str, stream_id: str, iid: str) -> tuple[str, ...]:
    """Fill in all but the campaign id; a list has few accounts and streams, so a run does this a few times."""
    account, stream, app = quote(account_id, safe=""), quote(stream_id, safe=""), quote(iid, safe="")
    whole = f"{template}?accountId={account}&campaignType={kind}&trigger=stop"
    parts = whole.split("{campaignId}")
    return tuple(part.format(streamId=stream, accountId=account, iid=app) for part in parts)


def headers(where: HasScope, token: str) -> dict[str, str]:
    """Return the documented headers of a call; `auth` contains the token alone, without `Bearer`."""
    return {
        "auth": token,
        "accountid": where.account_id,
        "iid": where.iid,
        "Content-Type": "application/json",
    }


class Call(NamedTuple, Generic[T]):
    """One call: its scope, its target, its body, and how to read the response.

    Reading returns a value, or the Attempt that failed. With an empty body the call is a GET.
    """

    where: HasScope
    at: Callable[[Paths], str]
    body: bytes
    read: Callable[[Response | TransportFailure], T | Attempt]
    cap: int = BODY_CAP

    @property
    def target(self) -> str:
        """The path and query documented for v2."""
        return self.at(V2)


def stop_call(campaign: Campaign) -> Call[Attempt]:
    """Return the call that stops a campaign."""
    return Call(
        campaign, partial(target, campaign), BODY, lambda answer: interpret(answer, campaign_id=campaign.campaign_id)
    )


def find_page(start: int, most: int = PAGE) -> PageRange:
    """Return the page of at most `most` rows that contains row number `start` (from 0) and extends furthest.

    It is undocumented whether a service follows `skip` or `page`, so here both agree: the limit is chosen so that a
    page of that length begins at `start`, or slightly before it.
    """
    limit = max(range(most, most // 2, -1), key=lambda limit: (start // limit + 1) * limit)
    return PageRange(start // limit * limit, limit, start // limit + 1)


def list_call(
    scope: Scope, at: PageRange, statuses: Sequence[str] = (), priorities: Sequence[int] = (), *, any_id: bool = False
) -> Call[Page]:
    """Return the call for a page of a list, newest first; without statuses or priorities it has all of them."""
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
    """Return the call for the status of one campaign."""
    return Call(
        where,
        lambda paths: paths.target_with_account(paths.status, where, "view=status", campaign_id=campaign_id),
        BODY,
        lambda answer: read_status(answer, campaign_id),
    )


def get_call(scope: Scope, campaign_id: str) -> Call[ListedCampaign]:
    """Return the call for one campaign."""
    return Call(
        scope,
        lambda paths: paths.target_with_account(paths.get, scope, campaign_id=campaign_id),
        b"",
        lambda answer: read_campaign(answer, scope, campaign_id),
        PAGE_CAP,
    )


def hours_call(scope: Scope, campaign_id: str) -> Call[Hours]:
    """Return the call for the calling hours of one campaign, which no list contains."""
    at = get_call(scope, campaign_id).at
    return Call(scope, at, b"", lambda answer: read_hours(answer, scope, campaign_id), PAGE_CAP)


def disable_schedule_call(where: HasScope, name: str) -> Call[Disabled]:
    """Return the call that disables the schedule of the campaign called `name`, which has no `name_fault`.

    Making the call raises SettingsError if no path for it is known.
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
    """Return the call for a page of an application's outbound contacts started between two whole unix seconds."""
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
    """Return why no call can use this name; None if one can."""
    if not name:
        return "the campaign has no name"
    if len(name) > NAME_CHARS:
        return f"a name of {format_count(len(name), 'character')}; at most {NAME_CHARS} can be sent"
    if has_controls(name):
        return "the name holds a control character or half a surrogate pair"
    return None
