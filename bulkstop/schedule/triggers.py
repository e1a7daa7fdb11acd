"""Triggers for schedulers that know a clock on the wall and no more, so that none of the firings is left out."""

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
"""A time of the day on so few dates of all years is triggered on these alone: it comes of a change of the clock."""
LATEST = timedelta(minutes=5)
"""A trigger comes no later than this after a firing."""


@dataclass(frozen=True, slots=True, order=True)
class Weekly:
    """A trigger at a time of the day, on some days of the week: 0 is Monday."""

    at: time
    weekdays: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Dated:
    """A trigger at a time of the day, on a date of each year."""

    month: int
    day: int
    at: time


@dataclass(frozen=True, slots=True)
class Triggers:
    """What has a scheduler call at each firing, by the clock of a zone; surplus triggers end as not due.

    `doubled` are firings at times that the clock shows twice: schedulers differ in which of both they mean.
    """

    zone: str
    weekly: tuple[Weekly, ...]
    dated: tuple[Dated, ...]
    doubled: tuple[datetime, ...]


def list_moments(table: Timetable, since: datetime, *, before: timedelta = timedelta()) -> list[datetime]:
    """Return what may fire in ten years, whatever days are free, so long before each."""
    until = since.replace(year=since.year + YEARS_AHEAD + 1)
    moments = set[datetime]()
    for each in (table, replace(table, free_days=FreeDays())):
        moments |= {firing.moment for firing in list_firings(each, since, until) if firing.fires}
    return sorted(moment - before for moment in moments)


def plan_triggers(moments: Iterable[datetime], zone: ZoneInfo) -> Triggers:
    """Return the triggers by the clock of a zone that come at all of these moments."""
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
    """Return the moment from which triggers are planned, so that those of a whole year are the same."""
    return datetime(now.year, 1, 1, tzinfo=UTC)
