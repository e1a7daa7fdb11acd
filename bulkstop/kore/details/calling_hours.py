"""The calling hours of a campaign, read from a response; pure functions.

The vendor's pages have one sample of calling hours. Any ambiguous difference from it is a fault, never a guess.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.interpret import find_allowance, read_campaign, read_success
from bulkstop.model import Allowance, Attempt, Scope
from bulkstop.text import shorten

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MOST_WINDOWS = 100
"""No week's calling hours have more windows."""
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_ZONE_CHARS = 64
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::00)?(?: ?([AP])\.?M\.?)?", re.ASCII | re.IGNORECASE)


class Window(NamedTuple):
    """The minutes of a day (0 is Monday) in which a campaign may call; an end before the start is on the next day."""

    day: int
    start: int
    end: int


class CallingHours(NamedTuple):
    """The windows of a week in a zone by its IANA name, which is not validated yet."""

    timezone: str
    windows: tuple[Window, ...]


class Hours(NamedTuple):
    """A campaign's calling hours: `found` is None if it has none, or if `fault` says why they cannot be read."""

    found: CallingHours | None = None
    fault: str | None = None
    allowance: Allowance | None = None


def read_hours(response: Response | TransportFailure, scope: Scope, campaign_id: str) -> Hours | Attempt:
    """Return the calling hours in the response with one complete campaign; one about another is a failure."""
    item = read_campaign(response, scope, campaign_id)
    if isinstance(item, Attempt):
        return item
    allowance = find_allowance(response)
    try:
        return Hours(parse_calling_hours(read_success(response).get("data")), allowance=allowance)
    except ValueError as fault:
        return Hours(fault=str(fault), allowance=allowance)


def parse_calling_hours(campaign: object) -> CallingHours | None:
    """Return the calling hours of a campaign; None without any; raises ValueError if they are malformed."""
    strategy = campaign.get("dialingStrategy") if isinstance(campaign, Mapping) else None
    if strategy in (None, {}):
        return None
    if not isinstance(strategy, Mapping):
        raise ValueError(f"dialingStrategy is {_show(strategy)}")  # noqa: TRY004 - one kind of error for all of them
    hours = strategy.get("callingHours")
    if hours in (None, {}):
        return None
    if not isinstance(hours, Mapping):
        raise ValueError(f"callingHours is {_show(hours)}")  # noqa: TRY004
    zone, entries = hours.get("timezone"), hours.get("days")
    if not isinstance(zone, str) or not _ZONE.fullmatch(zone.strip()) or len(zone) > _ZONE_CHARS:
        raise ValueError(f"timezone is {_show(zone)}")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST_WINDOWS:
        raise ValueError(f"days is {_show(entries)}")
    is_daily = str(hours.get("frequency")).upper() == "DAILY"
    windows = [window for entry in entries for window in _read_windows(entry, is_daily=is_daily)]
    if is_daily and len({window.day for window in windows}) < len(DAYS):
        raise ValueError("frequency is DAILY, but days does not name every day")
    return CallingHours(zone.strip(), tuple(dict.fromkeys(windows)))


def _read_windows(entry: object, *, is_daily: bool) -> list[Window]:
    """Return the windows of one entry: of its day, or of every day if the hours are daily and it names none."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"days has {_show(entry)}")  # noqa: TRY004
    start, end = (_read_minutes(name, entry.get(name)) for name in ("start", "end"))
    if start == end:
        raise ValueError(f"start and end are both {_show(entry.get('end'))}")
    named = entry.get("day")
    days = range(len(DAYS)) if is_daily and named is None else [_read_day(named)]
    return [Window(day, start, end) for day in days]


def _read_day(value: object) -> int:
    word = value.strip().upper() if isinstance(value, str) else ""
    meant = [number for number, day in enumerate(DAYS) if len(word) > 1 and day.startswith(word)]
    if not meant:
        raise ValueError(f"day is {_show(value)}")
    return meant[0]


def _read_minutes(name: str, value: object) -> int:
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        hour, minute, half = int(match[1]), int(match[2]), match[3]
        if minute < 60 and (1 <= hour <= 12 if half else hour < 24):
            return (hour % 12 + 12 * (half in "Pp") if half else hour) * 60 + minute
    raise ValueError(f"{name} is {_show(value)}")


def _show(value: object) -> str:
    if value is None:
        return "missing"
    return shorten(repr(value))
