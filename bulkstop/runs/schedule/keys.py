"""The keys of a schedule: how each value is read, and its meaning."""

import re
import shlex
from collections.abc import Callable, Mapping
from datetime import date, time
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from bulkstop.runs.options import parse_expected
from bulkstop.schedule.days import parse_days, parse_time
from bulkstop.schedule.firings import OnHoliday
from bulkstop.schedule.free_days import check_region, parse_own_dates
from bulkstop.schedule.zones import list_zones, open_zone
from bulkstop.settings import OPTION_SPECS, default_of, is_empty, key_of, suggest_value
from bulkstop.settings.finish_by import parse_finish_by
from bulkstop.settings.parse import parse_notify_url, parse_seconds
from bulkstop.settings.spec import (
    CONCURRENCY,
    GRACE,
    GUARDS,
    INPUT,
    PROTECTION,
    QUOTA,
    RETRY_AFTER,
    SCOPE,
    SELECTION,
    TARGETS,
    TYPE,
)
from bulkstop.settings.values import write_text
from bulkstop.text.likeness import suggest_near

_CLOCK = re.compile(r"\d{1,2}:\d{2}", re.ASCII)
DAY_S = 86_400.0
EMPTY_LIST = "is an empty list; leave it out, or put something into it"
_DAYS = re.compile(r"(\d{1,5})\s*d(?:ays?)?", re.ASCII)
VERIFY_S = 120.0
GROUPS = (SCOPE, TARGETS, INPUT, TYPE, SELECTION, PROTECTION, GUARDS, QUOTA, RETRY_AFTER, CONCURRENCY, GRACE)
"""Groups of `stop` settings that a schedule may set itself; the others come from its profile."""


class Overlap(StrEnum):
    """What a firing does while the one before still runs."""

    WAIT = "wait"
    SKIP = "skip"
    FAIL = "fail"


class Key(NamedTuple):
    """A key of a schedule: how its value is read, and its meaning."""

    read: Callable[[Any], Any]
    about: str


def read_text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")  # noqa: TRY004 - the caller names the key
    if is_empty(value):
        raise ValueError("is empty; give it a value, or leave it out")
    return value


def read_path(value: object) -> str:
    """Return the path of a file or a folder."""
    text = read_text(value)
    if "\0" in text:
        raise ValueError("has a character that no file name can have; take it out")
    return text


def read_texts(value: object) -> tuple[str, ...]:
    """Return texts, from a text or a list."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(EMPTY_LIST)
    return tuple(map(read_text, values))


def read_flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError("is true or false, without quotes")  # noqa: TRY004 - the caller names the key
    return value


def read_span(value: object) -> float:
    """Return a time in seconds, from `10m`, `2h` or `30d`."""
    text = write_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else read_text(value)
    if match := _DAYS.fullmatch(text.strip()):
        return int(match[1]) * DAY_S
    return parse_seconds(text)


def read_times(value: object) -> tuple[time, ...]:
    """Return times of the day, sorted."""
    values = value if isinstance(value, list) else [value]
    times = [each if isinstance(each, time) else parse_time(read_text(each)) for each in values]
    if not times:
        raise ValueError("is an empty list; give a time such as 18:00")
    return tuple(sorted({each.replace(second=0, microsecond=0) for each in times}))


def read_days(value: object) -> str:
    """Return days of the week or of the month."""
    return parse_days([str(each) if isinstance(each, int) else read_text(each) for each in _listed(value)])


def read_zone(value: object) -> str:
    """Return the name of a time zone."""
    name = read_text(value)
    try:
        return open_zone(name).key
    except ValueError as error:
        near = suggest_near(name, list_zones(), 0.75)
        raise ValueError(str(error).partition(";")[0] + near if near else str(error)) from None


def read_regions(value: object) -> tuple[str, ...]:
    """Return countries, or regions of them."""
    return tuple(map(check_region, read_texts(value)))


def read_dates(value: object) -> Mapping[date, str]:
    """Return the dates in a file."""
    path = read_path(value)
    try:
        return parse_own_dates(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'it is not text'})") from None


def read_verify(value: object) -> float | None:
    """Return the seconds from the end to the verification; true is two minutes, false is None."""
    if isinstance(value, bool):
        return VERIFY_S if value else None
    return read_span(value)


def read_deadline(value: object) -> str:
    """Return a time to finish by: a time of the day, or a time after the firing."""
    given = value.strftime("%H:%M") if isinstance(value, time) else read_text(value)
    how = "give a time of the day in the schedule's zone such as 18:30, or +30m after the firing"
    try:
        text = parse_finish_by(given)
    except ValueError:
        raise ValueError(f"{given[:40]!r} is not a time to finish by; {how}") from None
    if not text.startswith("+") and not _CLOCK.fullmatch(text):
        raise ValueError(f"{text!r} has a date or a zone; {how}")
    return text


def read_command(value: object) -> str:
    """Return a command that prints a list."""
    text = read_text(value)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is no command ({error})") from None
    if not words:
        raise ValueError("is no command")
    return text


def read_urls(value: object) -> tuple[str, ...]:
    """Return URLs."""
    return tuple(map(read_url, read_texts(value)))


def read_url(value: object) -> str:
    """Return the URL of a receiver: https://, or http:// on this machine; an error does not repeat it."""
    return parse_notify_url(read_text(value))


def one_of(words: type[StrEnum]) -> Callable[[object], Any]:
    """Return a reader for one of these words."""

    def read(value: object) -> Any:
        text = read_text(value)
        if text not in list(words):
            raise ValueError(f"{text[:20]!r} is not one of {', '.join(words)}{suggest_near(text, list(words))}")
        return words(text)

    return read


def read_expect(value: object) -> str:
    """Return how many campaigns a list must have."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value)
    parse_expected(text)
    return text


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


KEYS: Mapping[str, Key] = {
    "at": Key(read_times, "times of the day, in its zone: 18:00"),
    "days": Key(read_days, "days of the week (mon-fri, mon#1) or the month (1, 15, last)"),
    "tz": Key(read_zone, "its time zone, by the IANA name: Europe/Berlin"),
    "holidays": Key(read_regions, "public holidays of a country or a part of it: DE, DE-BY"),
    "holidays_file": Key(read_dates, "own free days, one date a line"),
    "on_holiday": Key(one_of(OnHoliday), "what a firing on a free day does: skip, run-before"),
    "profile": Key(read_text, "the profile whose settings it has"),
    "input": Key(read_path, "the list to stop"),
    "command": Key(read_command, "a command whose output is the list to stop"),
    "running": Key(read_flag, "stop what runs then"),
    "status": Key(read_text, "with running: campaigns in these states"),
    "priority": Key(read_text, "with running: campaigns of these priorities"),
    "name": Key(read_text, "with running: campaigns with a matching name"),
    "calling_hours": Key(read_flag, "with running: stop each campaign by the end of its calling hours"),
    "expect": Key(read_expect, "how many campaigns the list must have: 20, 20..30"),
    "strict": Key(read_flag, "send nothing if a row cannot be used"),
    "finish_by": Key(read_deadline, "the time to finish by, in its zone: 18:30, or a time after the firing: +30m"),
    "results": Key(read_path, "the folder of results, journal and lock"),
    "keep": Key(read_span, "results older than this are compressed: 30d"),
    "keep_delete": Key(read_flag, "delete them instead"),
    "verify": Key(read_verify, "how long after the end to check what still runs; false: never"),
    "catch_up": Key(read_span, "how late a missed firing may still begin"),
    "overlap": Key(one_of(Overlap), "what a firing does while the previous one still runs: wait, skip, fail"),
    "preflight": Key(read_span, "how long before a firing to check everything"),
    "notify": Key(read_urls, "addresses that are notified"),
    "on_success": Key(read_url, "an address that is called after a firing that ended well"),
    "on_failure": Key(read_url, "an address that is called after a firing that failed"),
}
"""All keys of a schedule besides the settings of `stop`."""
OF_STOP = {key_of(name): name for name, spec in OPTION_SPECS.items() if spec.group in GROUPS and not spec.secret}
OF_RUNNING = ("status", "priority", "name")
FLAGS = ("strict", "calling_hours")
"""Keys that become options without a value."""
BOUNDS = ("expect", "max_campaigns")


def write_option(name: str, value: object) -> list[str]:
    """Return a setting as command-line words; raises ValueError for an invalid value."""
    spec, flag = OPTION_SPECS[name], OPTION_SPECS[name].option(name)
    if isinstance(default_of(name), bool):
        return (
            [flag]
            if read_flag(value)
            else [f"--{flag.removeprefix('--no-')}" if flag.startswith("--no-") else f"--no-{flag[2:]}"]
        )
    if value == []:
        raise ValueError(EMPTY_LIST)
    values = value if isinstance(value, list) and spec.repeatable else [value]
    if any(isinstance(each, bool | list | dict) for each in values):
        raise ValueError("must be a text in quotes")
    words = list[str]()
    for each in values:
        text = write_text(each)
        if is_empty(text):
            raise ValueError(f"is empty; {suggest_value(name)}")
        if name != "type":  # --running accepts several types
            spec.read(text)
        words += [f"{flag}={text}"]
    return words
