"""Parses times of the day, and days of the week or the month."""

import re
from datetime import time

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORKING_DAYS = frozenset(WEEKDAYS[:5])
DAILY = "* *"
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_NTH = re.compile(r"([a-z]+)#([1-5])", re.ASCII)
_DAY_OF_MONTH = re.compile(r"[1-9]|[12]\d|3[01]", re.ASCII)


def parse_time(text: str) -> time:
    """Return a time of the day; raises ValueError."""
    if match := _TIME.fullmatch(text.strip()):
        return time(int(match[1]), int(match[2]))
    raise ValueError(f"{text[:40]!r} is not a time of day; write it as 18:00")


def parse_days(words: list[str]) -> str:
    """Return days as the cron fields for the day of the month and of the week; raises ValueError.

    Accepts days of the week (mon-fri, sat, mon#1 for the first Monday of a month), or of the month (1, 15, last).
    """
    terms = [term.strip().lower() for word in words for term in word.split(",") if term.strip()]
    if not terms:
        raise ValueError("names no day; write mon-fri, or leave it out for every day")
    if terms in (["daily"], ["every day"]):
        return DAILY
    of_month = [_read_day_of_month(term) for term in terms if term == "last" or term[0].isdigit()]
    of_week = [day for term in terms if not (term == "last" or term[0].isdigit()) for day in _read_weekdays(term)]
    if of_month and of_week:
        raise ValueError("mixes days of the week and of the month; write two schedules")
    return f"{','.join(of_month) or '*'} {','.join(dict.fromkeys(of_week)) or '*'}"


def has_weekend(days: str) -> bool:
    """Return whether days, as cron fields, name a Saturday or a Sunday explicitly."""
    return any(word in days for word in ("SAT", "SUN"))


def _read_day_of_month(term: str) -> str:
    if term == "last":
        return "L"
    if not _DAY_OF_MONTH.fullmatch(term):
        raise ValueError(f"{term[:20]!r} is not a day of a month; those are 1 to 31, and last")
    return term


def _read_weekdays(term: str) -> list[str]:
    if match := _NTH.fullmatch(term):
        return [f"{_read_weekday(match[1]).upper()}#{match[2]}"]
    first, dash, last = term.partition("-")
    if not dash:
        return [_read_weekday(first).upper()]
    begin, end = WEEKDAYS.index(_read_weekday(first)), WEEKDAYS.index(_read_weekday(last))
    return [WEEKDAYS[(begin + at) % 7].upper() for at in range((end - begin) % 7 + 1)]


def _read_weekday(word: str) -> str:
    word = word.strip()
    if word[:3] in WEEKDAYS and _FULL[word[:3]].startswith(word):
        return word[:3]
    raise ValueError(f"{word[:20]!r} is not a day of the week; those are {', '.join(WEEKDAYS)}")


_FULL = dict(
    zip(
        WEEKDAYS,
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        strict=True,
    )
)
