"""Finds the time by which each listed campaign is to be stopped: the end of its own calling hours.

No list has calling hours: they take a call for each campaign. So they are cached with the time of the campaign's last
change, which the list does have, and are read again once that has changed.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bulkstop.engine.caller import Caller, OnRest, ignore_rest
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.estimate import Departures, add_stored
from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import hours_call
from bulkstop.kore.details.calling_hours import CallingHours, Hours, Window
from bulkstop.model import Attempt, ListedCampaign, Scope
from bulkstop.report.lists.calling_hours import UNKNOWN, HoursCost, HoursFound, StopCells
from bulkstop.report.lists.discovery import Discovery
from bulkstop.runs.lists.hours_cache import HoursCache, Key
from bulkstop.runs.lists.roster import run_by_account
from bulkstop.runs.lists.states import describe_failure
from bulkstop.runs.parts import Parts
from bulkstop.runs.wiring import Accounts
from bulkstop.source.due.stop_at import find_stop_time
from bulkstop.text import shorten

Row = tuple[Scope, ListedCampaign]
OnCost = Callable[[HoursCost], object]
"""Receives the cost of the calling hours of a list, before the first call for them."""

FAILED_AT_FIRST, FAILED_IN_A_ROW = 3, 10
"""Failed calls, before the first success or in a row, after which an account gets no more calls."""
DAYS_AHEAD = 8
"""Days searched for the next end of calling hours, from yesterday to a week from now."""


class End(NamedTuple):
    """The next end of a day of calling hours; whether the day has several windows, and whether it is after today."""

    cells: StopCells
    has_several: bool
    is_later: bool


def ignore_cost(cost: HoursCost) -> None:
    """Ignore the cost."""


async def add_stop_times(
    parts: Parts,
    discovery: Discovery,
    *,
    on_cost: OnCost = ignore_cost,
    rests: OnRest = ignore_rest,
    cache: HoursCache | None = None,
    now: Callable[[], float] = time.time,
) -> Discovery:
    """Return the campaigns with their times to stop by; what was read is cached even if the reading fails.

    `now` is in unix seconds. A campaign whose calling hours cannot be read gets a note, and stops no other.
    """
    cache = HoursCache() if cache is None else cache
    asked = _Asked(parts, parts.accounts.of_run(rests=rests), cache)
    asked.look_up(discovery.rows)
    on_cost(await asked.estimate(len(discovery.rows)))
    began = time.monotonic()
    try:
        await asked.ask()
    finally:
        fault = cache.save()
    found = tell_stop_times([item.campaign_id for _, item in discovery.rows], asked.answers, now())
    own = [note for note in (cache.note, fault) if note is not None]
    return replace(
        discovery,
        notes=(*discovery.notes, *own, *found.notes()),
        calls=discovery.calls + asked.calls,
        elapsed_s=discovery.elapsed_s + time.monotonic() - began,
        hours=replace(found, calls=asked.calls),
    )


@dataclass(slots=True)
class _Asked:
    """The calling hours of a list's rows, by index, from the cache or from calls."""

    parts: Parts
    accounts: Accounts
    cache: HoursCache
    answers: dict[int, Hours] = field(default_factory=dict)
    calls: int = 0
    _left: dict[str, list[tuple[int, Scope, ListedCampaign]]] = field(default_factory=dict)

    def look_up(self, rows: Iterable[Row]) -> None:
        """Take the cached calling hours; queue the other rows by account."""
        for place, (scope, item) in enumerate(rows):
            key = self._key(scope, item)
            hours = None if key is None else self.cache.find(key)
            if hours is None:
                self._left.setdefault(self.accounts.name(scope), []).append((place, scope, item))
            else:
                self.answers[place] = hours

    async def estimate(self, campaigns: int) -> HoursCost:
        """Return how many calls are needed, and the least seconds until the last of them is sent."""
        stored, now = await self.accounts.read_stored(self._left, elapsed_s), elapsed_s()
        least_s = 0.0
        for name, rows in self._left.items():
            places = add_stored(self.accounts.quota(name).places(now, 0.0), stored.get(name))
            least_s = max(least_s, Departures(places, len(rows), now=now).leave(len(rows)) - now)
        return HoursCost(sum(map(len, self._left.values())), campaigns, least_s)

    async def ask(self) -> None:
        """Make the queued calls: all accounts at once, those of one account in sequence."""
        jobs = [(name, partial(self._ask_account, rows)) for name, rows in self._left.items()]
        await run_by_account(jobs, max(1, len(jobs)))

    async def _ask_account(self, rows: Sequence[tuple[int, Scope, ListedCampaign]]) -> None:
        failed, most = 0, FAILED_AT_FIRST
        for number, (place, scope, item) in enumerate(rows):
            answer = await self._call(self.accounts.caller_of(scope), scope, item)
            self.answers[place] = Hours(fault=f"not read: {answer}") if isinstance(answer, str) else answer
            if not isinstance(answer, str):
                failed, most = 0, FAILED_IN_A_ROW
                continue
            failed += 1
            if failed >= most:
                rest = Hours(fault="not asked for, as the calls before it failed")
                self.answers |= {place: rest for place, *_ in rows[number + 1 :]}
                return

    async def _call(self, caller: Caller, scope: Scope, item: ListedCampaign) -> Hours | str:
        before = caller.calls
        try:
            answer = await caller.call(partial(self.parts.perform, hours_call(scope, item.campaign_id)))
        except BulkstopError as fault:  # without a token, the list found is still valid
            return str(fault)
        finally:
            self.calls += caller.calls - before
        if isinstance(answer, Attempt):
            return describe_failure(answer)
        if (key := self._key(scope, item)) is not None:
            self.cache.add(key, answer)
        return answer

    def _key(self, scope: Scope, item: ListedCampaign) -> Key | None:
        """Return the cache key of a campaign; None if the list does not say when it changed."""
        host = self.accounts.terms(self.accounts.name(scope)).settings.host or ""
        if item.updated_at is None:
            return None
        return Key(host, scope.account_id, scope.stream_id, item.campaign_id, item.updated_at)


def tell_stop_times(campaign_ids: Sequence[str], answers: Mapping[int, Hours], now: float) -> HoursFound:
    """Return the time by which each campaign is to be stopped, from `answers` by index; `now` is in unix seconds."""
    cells: list[StopCells] = []
    without, several, later, faults = list[str](), list[str](), list[str](), list[str]()
    for place, campaign_id in enumerate(campaign_ids):
        hours = answers[place]
        if hours.found is None and hours.fault is None:
            cells.append(StopCells())
            without.append(campaign_id)
            continue
        try:
            end = find_end(_found(hours), now)
        except ValueError as fault:
            cells.append(StopCells(UNKNOWN))
            faults.append(f"{campaign_id}: {fault}")
            continue
        cells.append(end.cells)
        if end.has_several:
            several.append(campaign_id)
        if end.is_later:
            later.append(campaign_id)
    return HoursFound(tuple(cells), 0, tuple(without), tuple(several), tuple(later), tuple(faults))


def _found(hours: Hours) -> CallingHours:
    if hours.found is None:
        raise ValueError(hours.fault)
    return hours.found


def find_end(hours: CallingHours, now: float) -> End:
    """Return the end of the next day of calling hours after `now`; raises ValueError for an unknown zone.

    A day with several windows ends with the last: a campaign stopped at noon would call everybody again.
    """
    try:
        today = datetime.fromtimestamp(now, ZoneInfo(hours.timezone)).date()
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError(f"timezone is {shorten(hours.timezone)!r}, which is not a known time zone") from None
    for ahead in range(-1, DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        windows = [window for window in hours.windows if window.day == day.weekday()]
        if windows:
            text = max(_end(day, window) for window in windows).strftime("%Y-%m-%dT%H:%M")
            if find_stop_time(text, hours.timezone, now).at > now:
                return End(StopCells(text, hours.timezone), len(windows) > 1, ahead > 0)
    raise ValueError("days names no day that comes")


def _end(day: date, window: Window) -> datetime:
    """Return the local time at which a window of a day ends, possibly after midnight."""
    at = datetime.combine(day, datetime.min.time()) + timedelta(minutes=window.end)
    return at + timedelta(days=1) if window.end < window.start else at
