"""Reads the time by which a row says that its campaign is to be stopped."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bulkstop.text import shorten

STOP_AT, TIMEZONE = "stop_at", "timezone"
"""The columns: a time with its zone or offset, or a local time with an IANA zone in the second column."""
FORMS = "such as 18:00 with a column timezone, 2026-03-02T18:00+01:00 or 18:00 Europe/Berlin"
MOST_AHEAD_S = 366 * 86_400.0
"""The most distant time, a year ahead, because a later one is a typing mistake."""
_KEYS = {"stopat": STOP_AT, "timezone": TIMEZONE}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_PARTS = re.compile(
    r"(?:(?P<date>\d{4}-\d{2}-\d{2})(?:[Tt]| +))?"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d{1,9})?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
    r"(?: ?(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)| +(?P<zone>[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*))?",
    re.ASCII,
)


class StopTime(NamedTuple):
    """The moment by which a campaign is to be stopped, in unix seconds, and the zone in its row."""

    at: float
    zone: str


@lru_cache(maxsize=1024)
def time_column(name: str) -> str | None:
    """Return STOP_AT or TIMEZONE if a column or key of this name means that; else None."""
    return _KEYS.get("".join(filter(str.isalnum, name)).lower())


def is_time_column(name: str, names: Iterable[str]) -> bool:
    """Return whether a column, one of `names`, has times to stop by or their zones."""
    return time_column(name) is not None and STOP_AT in map(time_column, names)


def read_stop_time(row: Mapping[str, object] | None, now: float) -> StopTime | None:
    """Return the time to stop the campaign of a row by, None if it has none; raises ValueError for an invalid time.

    `row` are the values carried along. A time of day is its next occurrence after `now`, in unix seconds.
    """
    said: dict[str, object] = {}
    for name in row or ():
        if (column := time_column(name)) is not None and row is not None and row[name] not in (None, ""):
            said[column] = row[name]
    if not str(said.get(STOP_AT, "")).strip():
        return None
    for column, value in said.items():
        if not isinstance(value, str):
            raise ValueError(f"{column} is not text; write it {FORMS}")  # noqa: TRY004 - one error for all rows
    text, zone = (str(said.get(column, "")).strip() for column in (STOP_AT, TIMEZONE))
    return find_stop_time(text, zone or None, now)


@lru_cache(maxsize=4096)  # a list has few different times, and the rules of a zone are slow
def find_stop_time(text: str, zone_name: str | None, now: float) -> StopTime:
    """Return the moment of a text; a time that the clock skips is the first moment after the gap.

    A time that occurs twice is the first of the two. Raises ValueError, which says what is wrong.
    """
    match = _PARTS.fullmatch(text)
    if match is None:
        lacks = ", which has no time of the day" if _DAY.fullmatch(text) else ""
        raise ValueError(f"stop_at is {shorten(text)!r}{lacks}; write it {FORMS}")
    zone, name = _read_zone(match["offset"], match["zone"] or zone_name, text)
    clock = _read_time(text, match["hour"], match["minute"], match["second"], match["half"])
    if match["date"]:
        at = find_moment(_read_date(text, match["date"]), clock, zone)
    else:
        today = datetime.fromtimestamp(now, zone).date()
        at = find_moment(today, clock, zone)
        if at < now:
            at = find_moment(today + timedelta(days=1), clock, zone)
    if at - now > MOST_AHEAD_S:
        raise ValueError(f"stop_at is {shorten(text)!r}, which is more than a year away; give a nearer date")
    return StopTime(at, name)


def find_moment(day: date, clock: time, zone: tzinfo) -> float:
    """Return the unix time of a local time: the first of two, or the first moment after a gap."""
    local = datetime.combine(day, clock)
    at, later = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if datetime.fromtimestamp(at, zone).replace(tzinfo=None) == local:
        return at
    low, high = int(min(at, later)) - 1, int(max(at, later)) + 1  # in a gap, the offset changes between these two
    before = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return float(high)


def _read_zone(offset: str | None, name: str | None, text: str) -> tuple[tzinfo, str]:
    if offset is not None:
        zone = _read_offset(offset, text)
        return zone, "UTC" if zone is UTC else str(zone).removeprefix("UTC")
    if name is None:
        raise ValueError(
            f"stop_at is {shorten(text)!r}, which has no zone; "
            "add a column timezone with one such as Europe/Berlin, or an offset to the time"
        )
    try:
        return ZoneInfo(name), name
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError(f"timezone {shorten(name)!r} is not a known time zone, such as Europe/Berlin") from None


def _read_offset(offset: str, text: str) -> tzinfo:
    if offset in "Zz":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:].removeprefix(":") or 0)
    if not -12 * 60 <= (minutes if offset[0] == "+" else -minutes) <= 14 * 60:
        raise ValueError(f"stop_at is {shorten(text)!r}; an offset is -12:00 to +14:00")
    return timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)) if minutes else UTC


def _read_time(text: str, hour: str, minute: str, second: str | None, half: str | None) -> time:
    hours = int(hour)
    if half:
        hours = hours % 12 + (12 if half in "Pp" else 0) if 1 <= hours <= 12 else 24
    try:
        return time(hours, int(minute), int(second or 0))
    except ValueError:
        raise ValueError(f"stop_at is {shorten(text)!r}; a time of the day is 00:00 to 23:59:59") from None


def _read_date(text: str, written: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise ValueError(f"stop_at is {shorten(text)!r}; the calendar has no {written}") from None
