"""The contacts that running campaigns make, and the call that reports them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from bulkstop.simulator.faults import share

LENGTH_S: Final = 20.0
MOST_ROWS: Final = 100
MOST_OFFSET: Final = 10
MOST_DAYS: Final = 7
BEFORE_S: Final = 3600.0
"""Seconds that a campaign has run when it is first seen running."""


class Asked(NamedTuple):
    """The request of a call: contacts that started between two unix times, and the page of them."""

    begin_s: float
    end_s: float
    offset_minutes: int
    is_outbound: bool
    has_campaign: bool
    offset: int
    limit: int


@dataclass(slots=True)
class _Span:
    since_s: float
    until_s: float | None = None


class Contacts:
    """Running campaigns that each make some contacts per minute, of 20 seconds each.

    A stopped campaign starts contacts for `after_stop_s` more.
    """

    def __init__(self, *, per_minute: float, after_stop_s: float, seed: int) -> None:
        self._per_minute = per_minute
        self._after_stop_s = after_stop_s
        self._seed = seed
        self._spans: dict[str, _Span] = {}

    def note_running(self, campaign_id: str, at_s: float) -> None:
        """Record that a campaign runs, as it has for an hour."""
        if self._per_minute:
            self._spans.setdefault(campaign_id, _Span(at_s - BEFORE_S))

    def note_stopped(self, campaign_id: str, at_s: float) -> None:
        """Record that a running campaign was stopped."""
        self.note_running(campaign_id, at_s)
        if self._per_minute:
            self._spans[campaign_id].until_s = at_s + self._after_stop_s

    def page(self, asked: Asked, now_s: float, is_asked: Callable[[str], bool]) -> dict[str, object]:
        """Return the response to a call: a page of the campaigns' contacts, the newest first, with their number."""
        starts = sorted(self._list_starts(asked, now_s, is_asked), reverse=True) if asked.is_outbound else []
        first = asked.offset * asked.limit
        rows = [_row(asked, start_s, key, now_s) for start_s, key in starts[first : first + asked.limit]]
        return {"numResults": len(rows), "data": rows}

    def _list_starts(self, asked: Asked, now_s: float, is_asked: Callable[[str], bool]) -> Iterator[tuple[float, str]]:
        for key, span in self._spans.items():
            if not is_asked(key):
                continue
            every_s = 60.0 / self._per_minute
            last_s = min(now_s, asked.end_s + 1, now_s if span.until_s is None else span.until_s)
            start_s = span.since_s + share(self._seed, "contact", key) * every_s
            skipped = max(0, int((asked.begin_s - start_s) // every_s))
            start_s += skipped * every_s
            while start_s < last_s:
                if int(start_s) >= asked.begin_s:
                    yield start_s, key
                start_s += every_s


def read_contacts_call(body: Mapping[str, object], query: Mapping[str, str]) -> Asked:
    """Return the request of a call; raises ValueError, naming the field, for an invalid one."""
    offset_minutes = body.get("timeZoneOffset")
    if not isinstance(offset_minutes, int) or isinstance(offset_minutes, bool):
        raise ValueError("timeZoneOffset must be a number")  # noqa: TRY004 - one error for any bad request
    begin_s, end_s = (_read_time(body, name, offset_minutes) for name in ("startDate", "endDate"))
    if not 0 <= end_s - begin_s <= MOST_DAYS * 86400:
        raise ValueError("the range of days cannot be more than seven days")
    fields = body.get("selectedFields", [])
    return Asked(
        begin_s,
        end_s,
        offset_minutes,
        body.get("direction", "Both") in ("Outbound", "Both"),
        isinstance(fields, list) and "campaigninfo" in fields,
        _read_number(query, "offset", 0, 0, MOST_OFFSET),
        _read_number(query, "limit", MOST_ROWS, 1, MOST_ROWS),
    )


def _read_time(body: Mapping[str, object], name: str, offset_minutes: int) -> float:
    text = body.get(name)
    try:
        local = datetime.strptime(text if isinstance(text, str) else "", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - below
    except ValueError:
        raise ValueError(f"{name} must be a time such as 2022-08-25 07:20:15") from None
    return (local.replace(tzinfo=UTC) + timedelta(minutes=offset_minutes)).timestamp()


def _read_number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}")
    return int(text)


def _row(asked: Asked, start_s: float, campaign_id: str, now_s: float) -> dict[str, object]:
    end_s = start_s + LENGTH_S
    row: dict[str, object] = {
        "sessionId": uuid5(NAMESPACE_OID, f"{campaign_id} {start_s}").hex[:24],
        "channel": "Voice",
        "Direction": "Outbound",
        "sessionStartTime": _write_time(start_s, asked.offset_minutes),
        **({"sessionEndTime": _write_time(end_s, asked.offset_minutes)} if end_s <= now_s else {}),
        "metaInfo": {"Initiation": "Campaign"},
    }
    if asked.has_campaign:
        instance_id = f"cid-{uuid5(NAMESPACE_OID, campaign_id)}"
        contact = {"campaignId": campaign_id, "campaignInstanceId": instance_id, "contactStatus": "no-answer"}
        row["campaigninfo"] = contact
    return row


def _write_time(unix_s: float, offset_minutes: int) -> str:
    local = datetime.fromtimestamp(unix_s, UTC) - timedelta(minutes=offset_minutes)
    return local.strftime("%Y-%m-%dT%H:%M:%S")
