"""The display of a moment to a person: by the clock, always with its zone."""

from datetime import datetime, timedelta, timezone, tzinfo


def format_clock(at: float, now: float, zone: tzinfo | None = None) -> str:
    """Return a unix time with its zone, by default this machine's: `18:00:00 CET`; on another day with its date."""
    try:
        then, today = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone).date()
        then = then.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"
    text = f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M:%S}"
    return f"{text} {name_zone(then)}"


def name_zone(moment: datetime) -> str:
    """Return the abbreviation of a moment's zone, or its offset: `CET`, `UTC+05:30`."""
    name = moment.tzname() or ""
    return name if name[:1].isalpha() else str(timezone(moment.utcoffset() or timedelta()))
