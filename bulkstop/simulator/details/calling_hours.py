"""The calling hours that campaigns have."""

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

MIXED: Final = "mixed"
NONE: Final = "none"
_ZONES: Final = ("Asia/Kolkata", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Australia/Sydney")
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY: Final = (("9:00 AM", "6:00 PM"),)
_TWICE_A_DAY: Final = (("9:00 AM", "12:00 PM"), ("1:30 PM", "6:00 PM"))
_WRITTEN: Final = re.compile(r"(?P<windows>[^,-]+-[^,-]+(?:,[^,-]+-[^,-]+)*) (?P<zone>\S+)")


def format_strategy(form: str, campaign_id: str) -> dict[str, object]:
    """Return the `dialingStrategy` of a campaign by an option that `check_form` lets through, if it has one."""
    if form == NONE:
        return {}
    if (match := _WRITTEN.fullmatch(form)) is not None:
        pairs = [part.split("-") for part in match["windows"].split(",")]
        return _format("DAILY", match["zone"], _DAYS, [(start.strip(), end.strip()) for start, end in pairs])
    number = zlib.crc32(campaign_id.encode())
    zone, kind = _ZONES[number % len(_ZONES)], number // len(_ZONES) % 10
    if kind == 0:
        return {}
    if kind == 1:
        return _format("CUSTOM", zone, _DAYS, _TWICE_A_DAY)
    return _format("DAILY", zone, _DAYS, _DAY) if kind < 6 else _format("WEEKLY", zone, _DAYS[:5], _DAY)


def check_form(form: str) -> str | None:
    """Say what is wrong with an option for calling hours; those that make no sense are served as they are."""
    if form in (MIXED, NONE) or _WRITTEN.fullmatch(form):
        return None
    return f"give {MIXED}, {NONE}, or all campaigns the same, such as '9:00 AM-6:00 PM Asia/Kolkata'"


def _format(frequency: str, zone: str, days: Iterable[str], windows: Sequence[tuple[str, str]]) -> dict[str, object]:
    named = [{"day": day, "start": start, "end": end} for day in days for start, end in windows]
    return {"dialingStrategy": {"callingHours": {"frequency": frequency, "timezone": zone, "days": named}}}
