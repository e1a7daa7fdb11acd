"""Lists the firings of a schedule in order, and the days that it skips."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from bulkstop.schedule.days import DAILY, has_weekend
from bulkstop.schedule.free_days import FreeDays
from bulkstop.schedule.zones import open_zone, resolve

MOST_DAYS_BEFORE = 14
"""Most days that a firing is moved back from a holiday."""
_DAY = timedelta(days=1)
_SATURDAY = 5


class OnHoliday(StrEnum):
    """What happens to a firing on a free day."""

    SKIP = "skip"
    RUN_BEFORE = "run-before"


@dataclass(frozen=True)
class Timetable:
    """When a schedule fires: at these times of day, on these days (as cron fields), in this zone."""

    name: str
    at: tuple[time, ...]
    zone: str
    days: str = DAILY
    free_days: FreeDays = field(default_factory=FreeDays)
    on_holiday: OnHoliday = OnHoliday.SKIP


@dataclass(frozen=True, slots=True)
class Firing:
    """A firing, identified by its schedule, nominal local time and zone; or a skipped one, with `fires` False."""

    schedule: str
    nominal: datetime
    zone: str
    moment: datetime
    note: str = ""
    fires: bool = True

    @property
    def key(self) -> str:
        """The key of the firing within its schedule."""
        return f"{self.nominal:%Y-%m-%dT%H:%M}[{self.zone}]"

    @property
    def local(self) -> datetime:
        """Its moment by the clock of its zone."""
        return self.moment.astimezone(open_zone(self.zone))


def list_firings(table: Timetable, since: datetime, until: datetime | None = None) -> Iterator[Firing]:
    """Yield the firings and skipped days from `since` until `until`, if given, in the order of their moments.

    If clocks are set forward over several times, these share one moment; then only the last of them fires.
    """
    for moment, together in groupby(_in_order(table, _find_start(table, since)), attrgetter("moment")):
        if until is not None and moment > until:
            return
        if moment >= since:
            yield from _leave_one(list(together))


def _find_start(table: Timetable, since: datetime) -> date:
    return since.astimezone(open_zone(table.zone)).date() - 2 * _DAY


def _leave_one(together: list[Firing]) -> list[Firing]:
    """Return the firings of one moment with all but the last marked as skipped."""
    last = next((each for each in reversed(together) if each.fires), None)
    return [
        each
        if last is None or each is last or not each.fires
        else replace(
            each,
            fires=False,
            note=f"skipped: {each.nominal:%H:%M} does not exist that day; {last.nominal:%H:%M} fires at that moment",
        )
        for each in together
    ]


def find_last(table: Timetable, now: datetime, back: timedelta) -> Firing | None:
    """Return the last firing at or before `now`, at most `back` before it; None without one."""
    last = None
    for firing in list_firings(table, now - back, now):
        last = firing if firing.fires else last
    return last


def find_next(table: Timetable, now: datetime) -> Firing | None:
    """Return the first firing after `now`; None for a schedule that never fires again."""
    return next((each for each in list_firings(table, now) if each.fires and each.moment > now), None)


def _in_order(table: Timetable, first: date) -> Iterator[Firing]:
    """Yield the firings of all days in the order of their moments; one moved back from a holiday precedes its day."""
    waiting: list[tuple[datetime, datetime, int, Firing]] = []
    taken: set[datetime] = set()
    for number, day in enumerate(_list_days(table, first)):
        for firing in _fire_on(table, day, taken):
            heapq.heappush(waiting, (firing.moment, firing.nominal, number, firing))
        settled = datetime.combine(day - (MOST_DAYS_BEFORE + 2) * _DAY, time(), UTC)
        while waiting and waiting[0][0] < settled:
            yield heapq.heappop(waiting)[-1]
    while waiting:
        yield heapq.heappop(waiting)[-1]


def _list_days(table: Timetable, first: date) -> Iterator[date]:
    from cronsim import CronSim  # only schedules need it

    begin = datetime.combine(first, time()) - timedelta(seconds=1)
    return (moment.date() for moment in CronSim(f"0 0 {table.days.split()[0]} * {table.days.split()[1]}", begin))


def _fire_on(table: Timetable, day: date, taken: set[datetime]) -> Iterator[Firing]:
    """Yield the firings of a day; `taken` has the nominal times that were moved to another day."""
    free = table.free_days.find(day)
    if free is None:
        yield from (_make(table, datetime.combine(day, at)) for at in table.at)
        return
    why = f"{free.name}{' (estimated)' if free.is_estimated else ''}"
    earlier = _find_day_before(table, day) if table.on_holiday is OnHoliday.RUN_BEFORE else None
    for nominal in (datetime.combine(day, at) for at in table.at):
        if earlier is None:
            yield _make(table, nominal, f"skipped: {why}", fires=False)
            continue
        moved = datetime.combine(earlier, nominal.time())
        if moved in taken or _is_usual(table, earlier):
            yield _make(table, nominal, f"skipped: {why}; it fires on {earlier} anyway", fires=False)
        else:
            taken.add(moved)
            yield _make(table, moved, f"runs before {why} on {day}")


def _find_day_before(table: Timetable, day: date) -> date | None:
    """Return the day to which a holiday's firing is moved back: not free, and on a weekend only if the days name it."""
    for back in range(1, MOST_DAYS_BEFORE + 1):
        earlier = day - back * _DAY
        is_weekend = earlier.weekday() >= _SATURDAY and not (table.days == DAILY or has_weekend(table.days))
        if not is_weekend and table.free_days.find(earlier) is None:
            return earlier
    return None


def _is_usual(table: Timetable, day: date) -> bool:
    return next(_list_days(table, day), None) == day


def _make(table: Timetable, nominal: datetime, note: str = "", *, fires: bool = True) -> Firing:
    moment, odd = resolve(nominal, open_zone(table.zone))
    notes = "; ".join(filter(None, (note, odd if fires else "")))
    return Firing(table.name, nominal, table.zone, moment, notes, fires)
