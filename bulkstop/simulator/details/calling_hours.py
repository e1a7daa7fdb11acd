"""The calling hours of campaigns."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

MIXED: Final = "mixed"
NONE: Final = "none"
_ZONES: Final = ("Asia/Kolkata", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Australia/Sydney")
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY: Final = (("9:00 AM", "6:00 PM"),)
_TWICE_A_DAY: Final = (("9:00 AM", "12:00 PM"), ("1:30 PM", "6:00 PM"))


def format_strategy(form: str, campaign_id: str) -> dict[str, object]:
    """Return a campaign's `dialingStrategy` for an option that `check_form` accepts, if it has one."""
    if form == NONE:
        return {}
    if (written := _parse(form)) is not None:
        windows, zone = written
        return _format("DAILY", zone, _DAYS, windows)
    number = zlib.crc32(campaign_id.encode())
    zone, kind = _ZONES[number % len(_ZONES)], number // len(_ZONES) % 10
    if kind == 0:
        return {}
    if kind == 1:
        return _format("CUSTOM", zone, _DAYS, _TWICE_A_DAY)
    return _format("DAILY", zone, _DAYS, _DAY) if kind < 6 else _format("WEEKLY", zone, _DAYS[:5], _DAY)


def check_form(form: str) -> str | None:
    """Return what is wrong with an option for calling hours, or None; impossible hours are served unchanged."""
    if form in (MIXED, NONE) or _parse(form) is not None:
        return None
    return f"give {MIXED}, {NONE}, or all campaigns the same, such as '9:00 AM-6:00 PM Asia/Kolkata'"


def _parse(form: str) -> tuple[list[tuple[str, str]], str] | None:
    """Return the windows and the zone of an option; None for another form."""
    windows, _, zone = form.rpartition(" ")
    pairs = [tuple(each.strip() for each in part.split("-")) for part in windows.split(",")]
    is_written = zone and all(len(pair) == 2 and all(pair) for pair in pairs)
    return ([(pair[0], pair[1]) for pair in pairs], zone) if is_written else None


def _format(frequency: str, zone: str, days: Iterable[str], windows: Sequence[tuple[str, str]]) -> dict[str, object]:
    named = [{"day": day, "start": start, "end": end} for day in days for start, end in windows]
    return {"dialingStrategy": {"callingHours": {"frequency": frequency, "timezone": zone, "days": named}}}
