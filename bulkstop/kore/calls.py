"""The calls around the stop call: list, status of one, disable a schedule; what to send, and what an answer means.

Pure functions. What the vendor's pages leave open is read defensively: an answer that is not what was asked for is a
failure, never an empty list.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

import orjson

from bulkstop.kore.interpret import BODY, Answer, NoAnswer, Where, failure, json_object, one_line
from bulkstop.model import Again, Attempt, Campaign, CampaignType, Outcome

T = TypeVar("T")

PAGE = 50
"""Campaigns asked for at once, as in the vendor's samples; the most that a service gives is not documented."""
PAGE_CAP = 4 * 1024 * 1024
"""Bytes of a page that are read."""
ANSWER_CAP = 64 * 1024
"""Bytes of any other answer that are read."""
NAME_CHARS = 1024
"""The longest name that is kept; with a longer one the request line would pass the usual 8 KiB of a server."""
STATUSES = ("Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled", "Rescheduled")
"""The documented states of a campaign."""

_V2 = "/campaign/api/v2/public/{}/campaign"
_ARRIVED = "; the stop may have arrived"  # what the client says of a call whose answer is missing; none here stops


class Group(NamedTuple):
    """The campaigns of one type in one stream: what a list call can ask for."""

    account_id: str
    stream_id: str
    iid: str
    campaign_type: CampaignType


class Place(NamedTuple):
    """Where a page begins and how long it is, in the words of the list call."""

    skip: int
    limit: int
    page: int


class Listed(NamedTuple):
    """A campaign as a list tells of it; None is what it does not tell, and a status may be one that nobody documented.

    `name` is as the service has it, whatever it holds.
    """

    campaign_id: str
    campaign_type: CampaignType
    name: str | None = None
    status: str | None = None
    priority: int | None = None
    is_scheduled: bool | None = None
    is_recurring: bool | None = None
    updated_at: str | None = None

    @property
    def recurs(self) -> bool | None:
        """Whether its schedule starts it again and again."""
        return self.is_recurring if self.is_scheduled is not False else False


class Page(NamedTuple):
    """One page: the usable items, a line for each unusable one, the rows of both, whether more follow, and of how many.

    `total` is what the service counts, None if it does not say.
    """

    items: tuple[Listed, ...]
    faults: tuple[str, ...]
    rows: int
    more: bool
    total: int | None = None


class Status(NamedTuple):
    """What the status call says of one campaign."""

    campaign_id: str
    status: str
    name: str | None = None


class Disabled(NamedTuple):
    """A schedule was disabled; `campaign_id` is the campaign that the service found by the name, if it says so."""

    campaign_id: str | None = None
    message: str | None = None


class Call(NamedTuple, Generic[T]):
    """One call: whom it is for, what to send, and how to read the answer (a value, or the Attempt that failed)."""

    where: Where
    target: str
    body: bytes
    read: Callable[[Answer | NoAnswer], T | Attempt]
    cap: int = ANSWER_CAP


def place(start: int, most: int = PAGE) -> Place:
    """Give the page of at most `most` rows that holds row number `start` (from 0) and reaches furthest.

    Whether a service heeds `skip` or `page` is not documented, so here both say the same: the limit is such that a page
    of that length begins at `start`, or a little before it.
    """
    limit = max(range(most, most // 2, -1), key=lambda limit: (start // limit + 1) * limit)
    return Place(start // limit * limit, limit, start // limit + 1)


def list_call(
    group: Group, at: Place, statuses: Sequence[str] = (), priorities: Sequence[int] = (), *, any_id: bool = False
) -> Call[Page]:
    """Ask for a page of a group, newest first; without statuses or priorities for those of any."""
    filters = {"status": list(statuses), "priority": list(priorities)}
    body: dict[str, object] = {
        "limit": at.limit,
        "skip": at.skip,
        "page": at.page,
        "type": group.campaign_type.value,
        "sortBy": {"createdAt": "desc"},
        "filters": {name: wanted for name, wanted in filters.items() if wanted},
    }
    target = f"{_base(group)}/getAllCampaignDetails?accountId={quote(group.account_id, safe='')}"
    return Call(group, target, orjson.dumps(body), lambda answer: read_page(answer, group, at, any_id=any_id), PAGE_CAP)


def status_call(where: Where, campaign_id: str) -> Call[Status]:
    """Ask for the status of one campaign."""
    account = quote(where.account_id, safe="")
    target = f"{_base(where)}/{quote(campaign_id, safe='')}/status?accountId={account}&view=status"
    return Call(where, target, BODY, lambda answer: read_status(answer, campaign_id))


def disable_schedule_call(where: Where, name: str) -> Call[Disabled]:
    """Ask to disable the schedule of the campaign called `name`, which has no `name_fault`."""
    target = f"{_base(where)}/schedule?enableSchedule=false&campaignName={quote(name, safe='')}"
    return Call(where, target, BODY, read_disabled)


def name_fault(name: str | None) -> str | None:
    """Say why no call can be made by this name; None when one can."""
    if not name:
        return "the campaign has no name"
    if len(name) > NAME_CHARS:
        return f"a name of {len(name)} characters; at most {NAME_CHARS} can be sent"
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", name):
        return "the name holds a control character or half a surrogate pair"
    return None


def read_page(answer: Answer | NoAnswer, group: Group, at: Place, *, any_id: bool = False) -> Page | Attempt:
    """Read a page of the list call; an id that is not possible (or not even with `any_id`) makes a row unusable."""
    data = _said(answer).get("data")
    rows = data.get("results") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(rows, list):
        return _failure(answer, "is no page of campaigns", "no such stream, or the path of the list is another here")
    read = [_listed(row, group, any_id=any_id) for row in rows]
    return Page(
        tuple(item for item in read if isinstance(item, Listed)),
        tuple(fault for fault in read if isinstance(fault, str)),
        len(rows),
        _more(data, len(rows), at),
        _count(data.get("totalResults")),
    )


def read_status(answer: Answer | NoAnswer, campaign_id: str) -> Status | Attempt:
    """Read the answer about one campaign; one about another is a failure."""
    data = _said(answer).get("data")
    status = one_line(data.get("status")) if isinstance(data, dict) else None
    if not isinstance(data, dict) or status is None:
        return _failure(answer, "tells no status", "no such campaign, or the path of the status call is another here")
    if _id(data.get("id")) not in (None, campaign_id):
        return _failure(answer, "tells of another campaign", "")
    return Status(campaign_id, status, _name(data.get("name")))


def read_disabled(answer: Answer | NoAnswer) -> Disabled | Attempt:
    """Read the answer to disabling a schedule; only an explicit success is one."""
    said = _said(answer)
    if not said.get("status"):
        return _failure(answer, "tells no success", "no campaign of this name, or the path is another here")
    return Disabled(one_line(said.get("id")), one_line(said.get("message")))


def _base(where: Where) -> str:
    return _V2.format(quote(where.stream_id, safe=""))


def _said(answer: Answer | NoAnswer) -> Mapping[str, object]:
    """Give the fields of a 2xx that tells of no failure; nothing for any other answer."""
    if isinstance(answer, NoAnswer) or not 200 <= answer.status < 300:
        return {}
    said = json_object(answer.body)
    status = said.get("status")
    is_good = status is None or (isinstance(status, str) and status.lower() == "success")
    return said if is_good else {}


def _failure(answer: Answer | NoAnswer, what: str, absent: str) -> Attempt:
    """Say how a call failed."""
    told = failure(answer)
    if isinstance(answer, NoAnswer):
        return told._replace(error=answer.error.removesuffix(_ARRIVED))
    if told.outcome is Outcome.NOT_FOUND:
        return told._replace(error=f"HTTP 404: {absent}")
    if 200 <= answer.status < 300 and told.again is not Again.THROTTLED:
        again = Again.LATER  # to read once more harms nobody
        if len(answer.body) >= PAGE_CAP:
            what, again = f"is longer than {PAGE_CAP // 2**20} MiB", Again.NO
        error = f"HTTP {answer.status}, but the answer {what}"
        return told._replace(outcome=Outcome.UNCONFIRMED, again=again, error=error)
    return told


def _more(data: Mapping[str, object], rows: int, at: Place) -> bool:
    """Tell whether a page is not the last; when its fields contradict each other, the one that says more is believed.

    An incomplete page that says it is the last one is believed too.
    """
    has_more, total = data.get("hasMore"), _count(data.get("totalResults"))
    if has_more is True:
        return True
    if has_more is False and (total is None or rows < at.limit):
        return False
    if total is not None:
        return at.skip + rows < total
    pages, read = _count(data.get("totalPages")), at.skip + rows
    if pages is None:
        return rows >= at.limit
    return read <= (pages - 1) * at.limit or (rows >= at.limit and read < pages * at.limit)


def _listed(row: object, group: Group, *, any_id: bool) -> Listed | str:
    """Read a row, or say why it cannot be used."""
    if not isinstance(row, dict):
        return f"a row that is no object: {one_line(orjson.dumps(row).decode())}"
    keys = ("_id", "id") if group.campaign_type is CampaignType.VOICE else ("id", "_id")
    campaign_id = next((found for key in keys if (found := _id(row.get(key))) is not None), None)
    if fault := _id_fault(campaign_id, group, any_id=any_id):
        return f"campaign {one_line(campaign_id) or one_line(row.get('name')) or '?'!r}: {fault}"
    assert campaign_id is not None  # noqa: S101 - else there was a fault
    schedule = row.get("schedule")
    schedule = schedule if isinstance(schedule, dict) else {}
    return Listed(
        campaign_id,
        group.campaign_type,
        _name(row.get("name")),
        one_line(row.get("status")),
        _count(row.get("priority")),
        _flag(schedule.get("isSchedulingEnabled")),
        _flag(schedule.get("isRecurrenceEnabled")),
        one_line(row.get("updatedAt")),
    )


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _id_fault(campaign_id: str | None, group: Group, *, any_id: bool) -> str | None:
    if campaign_id is None:
        return "no campaign id"
    if campaign_id != campaign_id.strip():
        return "campaign id with blanks around it"
    account_id, stream_id, iid, kind = group
    return Campaign(campaign_id, kind, account_id, stream_id, iid, "", 0).fault_with(any_id=any_id)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= NAME_CHARS else None


def _count(value: object) -> int | None:
    """Read a number from 0, also one that is written as a text."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value, re.ASCII):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
