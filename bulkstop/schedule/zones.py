"""Time zones: the moment of a local time, and the age of the zone data."""

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
"""Age in days after which zone data is old; somewhere a zone changes its rules several times a year."""
_MINUTE = timedelta(minutes=1)
_VERSION = re.compile(r"(\d{4})([a-z])")


@cache
def open_zone(name: str) -> ZoneInfo:
    """Return a zone by its IANA name; raises ValueError for an unknown name."""
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError):
        raise ValueError(f"{name[:60]!r} is not a time zone; write it as Europe/Berlin") from None


def list_zones() -> Iterable[str]:
    """Return the names of all zones."""
    return available_timezones()


def resolve(nominal: datetime, zone: tzinfo) -> tuple[datetime, str]:
    """Return the UTC moment of a local time in a zone, with a note if that is not simple.

    A time that the clock skips is the first moment after the gap; one that occurs twice is the first.
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
    """Return whether the local time of a moment occurs twice in a zone."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _exists(at: datetime, zone: tzinfo) -> bool:
    return at.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == at


def find_version() -> str | None:
    """Return the version of the zone data, such as 2025b; None if it is unknown."""
    for folder in map(Path, TZPATH):
        if not (folder / "Europe").is_dir():
            continue
        for name, begin in (("tzdata.zi", "# version "), ("+VERSION", ""), ("version.txt", "")):
            with suppress(OSError, UnicodeDecodeError), (folder / name).open() as file:
                if match := _VERSION.search(file.readline().removeprefix(begin)):
                    return match[0]
        return None
    with suppress(PackageNotFoundError):  # the zones come from it if the system has none
        year, number = package_version("tzdata").split(".")[:2]
        return f"{year}{chr(ord('a') + int(number) - 1)}"
    return None


def explain_age(version: str | None, today: date) -> str | None:
    """Return a warning for zone data that may be older than a year, or has no version; None for newer data.

    A version has a year and a letter but no date; about five appear each year, so that a letter is about two months.
    """
    match = _VERSION.fullmatch(version or "")
    if match is None:
        return "the version of the time-zone data is not known; update the package tzdata"
    released = date(int(match[1]), min(12, 1 + 2 * (ord(match[2]) - ord("a"))), 1)
    if (today - released).days <= DAYS_UNTIL_OLD:
        return None
    return f"the time-zone data {version} is older than a year, and rules may have changed; update the package tzdata"
