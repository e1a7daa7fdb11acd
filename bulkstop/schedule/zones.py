"""Time zones: which moment a local time is, and how old the data of zones is."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

DAYS_UNTIL_OLD = 365
"""Zones change their rules several times a year, somewhere."""
_MINUTE = timedelta(minutes=1)
_VERSION = re.compile(r"(\d{4})([a-z])")


@cache
def open_zone(name: str) -> ZoneInfo:
    """Return a zone by its IANA name; raises ValueError for a name that is none."""
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError):
        raise ValueError(f"{name[:60]!r} is not a time zone; write it as Europe/Berlin") from None


def list_zones() -> Iterable[str]:
    """Return the names of all zones."""
    return available_timezones()


def resolve(nominal: datetime, zone: tzinfo) -> tuple[datetime, str]:
    """Return the moment at which a clock in the zone shows a time, in UTC, and a note where that is not simple.

    A time that the clock leaves out is the first moment after the gap; of one that it shows twice it is the first.
    """
    at = nominal
    while not _exists(at, zone):
        at += _MINUTE
    moment = at.replace(tzinfo=zone).astimezone(UTC)
    if at != nominal:
        return (
            moment,
            f"{nominal:%H:%M} does not exist that day; fires once, at {at:%H:%M}, the first moment after the gap",
        )
    if is_twice(moment, zone):
        return moment, f"{nominal:%H:%M} comes twice that day; fires once, at the first"
    return moment, ""


def is_twice(moment: datetime, zone: tzinfo) -> bool:
    """Tell whether the clock of a zone shows the local time of a moment twice."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _exists(at: datetime, zone: tzinfo) -> bool:
    return at.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == at


def find_version() -> str | None:
    """Return the version of the data that zones are read from, such as 2025b; None where nothing tells it."""
    for folder in map(Path, TZPATH):
        if not (folder / "Europe").is_dir():
            continue
        for name, begin in (("tzdata.zi", "# version "), ("+VERSION", ""), ("version.txt", "")):
            with suppress(OSError, UnicodeDecodeError), (folder / name).open() as file:
                if match := _VERSION.search(file.readline().removeprefix(begin)):
                    return match[0]
        return None
    with suppress(PackageNotFoundError):  # zones are read from it where the system has none
        year, number = package_version("tzdata").split(".")[:2]
        return f"{year}{chr(ord('a') + int(number) - 1)}"
    return None


def explain_age(version: str | None, today: date) -> str | None:
    """Warn of data of zones that may be older than a year, or that tells no version; None for newer data.

    Versions have a year and a letter, and no date: about five come a year, so that a letter is about two months.
    """
    match = _VERSION.fullmatch(version or "")
    if match is None:
        return "the version of the time-zone data is not known; update the package tzdata"
    released = date(int(match[1]), min(12, 1 + 2 * (ord(match[2]) - ord("a"))), 1)
    if (today - released).days <= DAYS_UNTIL_OLD:
        return None
    return f"the time-zone data {version} is older than a year, and rules may have changed; update the package tzdata"
