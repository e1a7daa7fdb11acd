"""Computes triggers for schedulers that only know local time, so that no firing is omitted."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bulkstop.schedule.firings import Timetable, list_firings
from bulkstop.schedule.free_days import FreeDays
from bulkstop.schedule.zones import is_twice

YEARS_AHEAD = 10
MOST_DATED = 24
"""Most dates of all years on which a time of day is triggered by date; it comes from a change of the clock."""
LATEST = timedelta(minutes=5)
"""Longest delay of a trigger after its firing."""


@dataclass(frozen=True, slots=True, order=True)
class Weekly:
    """A trigger at a time of day, on days of the week; 0 is Monday."""

    at: time
    weekdays: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Dated:
    """A trigger at a time of day, on a date of each year."""

    month: int
    day: int
    at: time


@dataclass(frozen=True, slots=True)
class Triggers:
    """Triggers by the clock of a zone that call at each firing; surplus ones end as not due.

    `doubled` are firings at local times that occur twice; schedulers differ in which one they run.
    """

    zone: str
    weekly: tuple[Weekly, ...]
    dated: tuple[Dated, ...]
    doubled: tuple[datetime, ...]


def list_moments(table: Timetable, since: datetime, *, before: timedelta = timedelta()) -> list[datetime]:
    """Return the moments in ten years that may fire, regardless of free days, each `before` earlier."""
    until = since.replace(year=since.year + YEARS_AHEAD + 1)
    moments = set[datetime]()
    for each in (table, replace(table, free_days=FreeDays())):
        moments |= {firing.moment for firing in list_firings(each, since, until) if firing.fires}
    return sorted(moment - before for moment in moments)


def plan_triggers(moments: Iterable[datetime], zone: ZoneInfo) -> Triggers:
    """Return triggers by the clock of a zone for all of these moments."""
    by_time: dict[time, set[datetime]] = defaultdict(set)
    doubled = []
    for moment in moments:
        local = moment.astimezone(zone)
        if is_twice(moment, zone):
            doubled.append(moment)
        by_time[local.time().replace(second=0, microsecond=0, fold=0)].add(local)
    weekly, dated = [], []
    for at, locals_ in by_time.items():
        if len(locals_) > MOST_DATED:
            weekly.append(Weekly(at, tuple(sorted({each.weekday() for each in locals_}))))
        else:
            dated += [Dated(month, day, at) for month, day in {(each.month, each.day) for each in locals_}]
    return Triggers(zone.key, tuple(sorted(weekly)), tuple(sorted(dated)), tuple(sorted(doubled)))


def begin_of_year(now: datetime) -> datetime:
    """Return the moment from which triggers are planned, the same for a whole year."""
    return datetime(now.year, 1, 1, tzinfo=UTC)
