"""Parses the time to finish by, and finds its moment."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from bulkstop.naming import name_setting
from bulkstop.settings.machine_zone import read_machine_zone
from bulkstop.settings.parse import parse_seconds
from bulkstop.text.clock import format_clock

FORMS = "such as 18:00, 2026-12-01T18:00, 18:00+05:30 or +2h"
MOST_AHEAD_S = 366 * 86_400.0
"""The most distant time, a year ahead, because a later one is a typing mistake."""
_YEARS = range(2000, 3000)
_OFFSET_MINUTES = range(-12 * 60, 14 * 60 + 1)
_PARTS = re.compile(
    r"(?:(?P<date>\d{4}-\d{2}-\d{2})(?:[Tt]| ))?"
    r"(?P<hour>\d{1,2})(?P<rest>:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)"
    r"(?: ?(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?))?",
    re.ASCII,
)
_WITH_NAME = re.compile(r"[\d: T-]+\d\s*[A-Za-z][A-Za-z0-9_+/-]{2,}", re.ASCII)


class _Written(NamedTuple):
    """The parts of a time: the time of day, and the date and offset if it has them."""

    date: date | None
    time: time
    offset: timezone | None


def parse_finish_by(text: str) -> str:
    """Return a valid time to finish by: of today or a date, with or without an offset, or relative as in `+2h`."""
    text = text.strip()
    if text.startswith("+"):
        return f"+{_check_span(text)}"
    written = _read(text)
    day = f"{written.date}T" if written.date else ""
    match = _PARTS.fullmatch(text)
    return f"{day}{match['hour']:0>2}{match['rest']}{_write_offset(written.offset)}" if match else text


def has_own_zone(text: str) -> bool:
    """Return whether a time needs no zone: it has an offset, or is relative."""
    return text.startswith("+") or _read(text).offset is not None


def find_moment(text: str, tz: str | None, now: datetime) -> datetime:
    """Return the moment of a text at `now`, in the zone in which to show it.

    With an offset in the text, `tz` is only the zone for display. A time that occurs twice in a night is the first
    until that has passed; one that the clock skips has the offset before the gap.
    """
    zone = ZoneInfo(tz) if tz else read_machine_zone()  # None: the machine's zone at that time
    if text.startswith("+"):
        return (now + timedelta(seconds=parse_seconds(text[1:]))).astimezone(zone)
    written = _read(text)
    there = written.offset or zone
    day = written.date or now.astimezone(there).date()
    first, second = (_to_timestamp(day, written.time.replace(fold=fold), there) for fold in (0, 1))
    at = second if first <= now.timestamp() < second else first
    return datetime.fromtimestamp(at, UTC).astimezone(zone if tz else there)


def explain_moment(text: str, tz: str | None, now: datetime) -> str | None:
    """Return why a time to finish by is impossible, beginning with it: it has passed, or is too distant; else None."""
    at = find_moment(text, tz, now)
    if (left_s := (at - now).total_seconds()) > MOST_AHEAD_S:
        return f"{text}: is more than a year away; give an earlier date"
    if left_s > 0:
        return None
    clock, written = format_clock(now.timestamp(), now.timestamp(), at.tzinfo), _read(text)
    if written.date is not None:
        return f"{text}: has passed; it is {now.astimezone(at.tzinfo):%Y-%m-%d} {clock}"
    today = at.astimezone(written.offset or at.tzinfo).date()
    return f"{text}: has passed today; it is {clock}; if you mean tomorrow, give {today + timedelta(days=1)}T{text}"


def _to_timestamp(day: date, clock: time, zone: tzinfo | None) -> float:
    return datetime.combine(day, clock, zone).timestamp()


def _check_span(text: str) -> str:
    """Return the time after the plus; raises ValueError."""
    span = text[1:].strip()
    try:
        seconds = parse_seconds(span)
    except ValueError as error:
        raise ValueError(f"behind the + of {text!r}: {error}") from None
    if seconds > MOST_AHEAD_S:
        raise ValueError(f"{text!r} is more than a year; give a shorter time")
    return span


def _read(text: str) -> _Written:
    match = _PARTS.fullmatch(text)
    if match is None:
        if _WITH_NAME.fullmatch(text):
            raise ValueError(f"{text!r}: give the zone with {name_setting('tz')}, or an offset such as +05:30")
        raise ValueError(f"{text!r} is not a time to finish by {FORMS}")
    return _Written(
        _read_date(text, match["date"]),
        _read_time(text, f"{match['hour']:0>2}{match['rest']}"),
        _read_offset(text, match["offset"]),
    )


def _read_date(text: str, written: str | None) -> date | None:
    if written is None:
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise ValueError(f"{text!r}: the calendar has no {written}") from None
    if day.year not in _YEARS:
        raise ValueError(f"{text!r}: the year {day.year} is not a year to finish in")
    return day


def _read_time(text: str, written: str) -> time:
    try:
        if not written.startswith("24:"):  # later versions of Python accept it
            return time.fromisoformat(written)
    except ValueError:
        raise ValueError(f"{text!r}: a time of the day is 00:00 to 23:59:59") from None
    raise ValueError(f"{text!r}: a day ends at 23:59:59; give 00:00 with the date of the day after")


def _read_offset(text: str, written: str | None) -> timezone | None:
    if written is None:
        return None
    if written in "Zz":
        return UTC
    hours, minutes = int(written[1:3]), int(written[3:].removeprefix(":") or 0)
    offset = (hours * 60 + minutes) * (-1 if written.startswith("-") else 1)
    if minutes > 59 or offset not in _OFFSET_MINUTES:
        raise ValueError(f"{text!r}: an offset is -12:00 to +14:00")
    return timezone(timedelta(minutes=offset)) if offset else UTC


def _write_offset(offset: timezone | None) -> str:
    if offset is None:
        return ""
    return "Z" if offset is UTC else str(offset).removeprefix("UTC")
