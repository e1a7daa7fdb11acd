"""The time zone of this machine, as the variable TZ names it."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

_DAY_S = 86400
# A POSIX zone with its offset, and with the rule of its summer time: EST5EDT, <+03>-3, CET-1CEST,M3.5.0,M10.5.0/3
_POSIX = re.compile(r"([A-Za-z]{3,10}|<[A-Za-z0-9+-]{1,10}>)[+-]?\d{1,3}[A-Za-z0-9<>+:,./-]{0,60}", re.ASCII)


def read_machine_zone() -> ZoneInfo | None:
    """Return the zone in TZ; None if TZ is not set, or only the C library understands it."""
    with suppress(ValueError, OSError, LookupError):
        return ZoneInfo(_name())
    return None


def explain_machine_zone() -> str | None:
    """Return why TZ is invalid, or None; the C library treats an unknown name as UTC."""
    name = _name()
    if read_machine_zone() is not None or name in ("", "UTC", "GMT") or _POSIX.fullmatch(name) or _is_zone_file(name):
        return explain_offset()
    return f"TZ {name[:40]!r} is not a time zone that this machine knows"


def explain_offset() -> str | None:
    """Return a message if the offset of this machine's zone exceeds a day, which no time can have; else None."""
    offsets = (time.timezone, time.altzone if time.daylight else 0)
    return f"TZ {_name()[:40]!r} is off by a day or more" if max(map(abs, offsets)) >= _DAY_S else None


def _name() -> str:
    return os.environ.get("TZ", "").removeprefix(":")


def _is_zone_file(name: str) -> bool:
    if not name.startswith("/"):
        return False
    with suppress(OSError, ValueError):
        return Path(name).is_file() and Path(name).read_bytes()[:4] == b"TZif"
    return False
