"""Forecasts when a run will be done, from its plan or from what is left of it."""

import heapq
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from bulkstop.engine.lanes import Lane, Lanes
from bulkstop.engine.limits.estimate import Departures, Places, Stored, Workers, add_stored, count_leaving
from bulkstop.engine.limits.timetable import LEAD_S
from bulkstop.engine.readback import ListWork
from bulkstop.report.stop.plan import Forecast
from bulkstop.runs import host
from bulkstop.runs.wiring import Accounts, make_quota, open_quota_store
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles, account_id_of
from bulkstop.source.plan import Plan

LAST_LANES = 3
"""Number of accounts, the slowest by a rough estimate, whose end is computed."""


class CallCost(NamedTuple):
    """The cost of calls so far: seconds per response, 0 before the first, and calls per campaign."""

    latency_s: float = 0.0
    calls_each: float = 1.0


def forecast_accounts(
    plan: Plan,
    settings: Settings,
    seconds_left: float | None,
    known: Accounts | None = None,
    profiles: Profiles | None = None,
) -> list[Forecast]:
    """Return for each account what its quota leaves right now, and when its first and last stop can be sent.

    Calls that this process made for the accounts in `known` count where no store has them. The limits of an account are
    those of its profile. Raises SettingsError when the quota store cannot be used.
    """
    bound, accounts = _sort_by_terms(plan, settings, profiles), plan.accounts
    ages = host.run(read_ages(plan, settings, known, profiles), fast=False)
    forecasts: dict[str, Forecast] = {}
    for its, names in bound:
        forecast = _Forecaster(its, seconds_left)
        forecasts |= {name: forecast(name, accounts[name], ages.get(name)) for name in names}
    return [_with_stop_times(forecasts[name], plan) for name in accounts]


def _with_stop_times(forecast: Forecast, plan: Plan) -> Forecast:
    """Return a forecast that includes the times to stop by; a campaign with such a time is not sent early."""
    moments = plan.stop_times.moments(forecast.account_id)
    if not moments:
        return forecast
    now, others = time.time(), plan.stop_times.count_without(forecast.account_id)
    first_s = forecast.first_s if others else max(forecast.first_s, moments[0] - LEAD_S - now - forecast.last_s)
    return forecast._replace(first_s=first_s, last_s=max(forecast.last_s, moments[-1] - LEAD_S - now))


def _sort_by_terms(plan: Plan, settings: Settings, profiles: Profiles | None) -> list[tuple[Settings, list[str]]]:
    """Return the accounts of a plan grouped by settings; an account of several profiles counts for the first."""
    bound: dict[object, tuple[Settings, list[str]]] = {}
    for name in plan.accounts:
        its = settings
        if profiles is not None and profiles.others:
            its = profiles.others.get(plan.first(name).profile or "", settings)
        key = its.host, its.quota, its.pace, its.adaptive
        bound.setdefault(key, (replace(its, quota_store=settings.quota_store), []))[1].append(name)
    return list(bound.values())


def find_earliest_end(plan: Plan, settings: Settings, profiles: Profiles | None = None) -> datetime:
    """Return the earliest time at which the last stop can be sent, by the quotas alone."""
    last_s, accounts = 0.0, plan.accounts
    for its, names in _sort_by_terms(plan, settings, profiles):
        forecast = _Forecaster(its, None)
        last_s = max(last_s, *(forecast(name, accounts[name], None).last_s for name in names))
    return datetime.now(UTC) + timedelta(seconds=last_s)


async def read_ages(
    plan: Plan, settings: Settings, known: Accounts | None = None, profiles: Profiles | None = None
) -> dict[str, Sequence[float]]:
    """Return how many seconds ago the calls of each account were made, from the store.

    Without a store they come from the accounts in `known`. Raises SettingsError when the store cannot be used.
    """
    bound, ages = _sort_by_terms(plan, settings, profiles), dict[str, Sequence[float]]()
    for its, names in bound:
        async with open_quota_store(its) as store:
            if store is not None:
                ages |= zip(names, await store.read_ages([account_id_of(name) for name in names]), strict=True)
    if known is not None and not ages:
        ages = {name: known.read_ages(name) for its, names in bound if its.quota for name in names}
    return ages


class _Forecaster:
    """Forecasts accounts, and reuses the result for equal numbers of campaigns and calls."""

    def __init__(self, settings: Settings, seconds_left: float | None) -> None:
        self._places = make_quota(settings).places(0.0, 0.0) if settings.quota else []
        self._seconds_left = seconds_left
        self._compute = lru_cache(maxsize=None)(self._forecast)

    def __call__(self, account_id: str, campaigns: int, ages: Sequence[float] | None) -> Forecast:
        room, last_s, fit, first_s = self._compute(campaigns, None if ages is None else tuple(ages))
        return Forecast(account_id, campaigns, room, last_s, fit, first_s)

    def _forecast(self, campaigns: int, ages: tuple[float, ...] | None) -> tuple[int | None, float, int, float]:
        stored = None if ages is None else Stored(0.0, tuple(-age for age in ages))
        places = [_drop_free(each) for each in add_stored(self._places, stored)]
        first_s = Departures(places, 1).leave(1)
        last_s = Departures(places, campaigns).leave(campaigns)
        fits_all = self._seconds_left is None or last_s <= self._seconds_left
        fit = campaigns if fits_all else count_leaving(self._seconds_left or 0.0, campaigns, places)
        rooms = [max(0, each.size - len(each.taken_until)) for each in places if each.is_shared]
        return (None if ages is None else min(rooms, default=None)), last_s, fit, first_s


def _drop_free(places: Places) -> Places:
    return places._replace(taken_until=tuple(until for until in places.taken_until if until > 0))


def forecast_left_s(
    lanes: Lanes,
    now: float,
    cost: CallCost,
    stored: Mapping[str, Stored],
    find_list_work: Callable[[Lane], ListWork] = lambda lane: ListWork(),
) -> float | None:
    """Return the seconds until all lanes are done, without disturbances; None if that is not known yet.

    `stored` has the calls of each account in the store. After its stops a lane makes the list calls of
    `find_list_work`.
    """
    outlooks = [_Outlook(lane, now, cost, find_list_work(lane)) for lane in lanes.unfinished]
    if not outlooks:
        return 0.0
    leaves_at = lanes.guards.leaves_at()
    begins_at = max(now, leaves_at if leaves_at < math.inf else now)
    total, in_flight = sum(each.calls for each in outlooks), sum(each.lane.in_flight for each in outlooks)
    if not cost.latency_s and not any(each.places for each in outlooks):
        return None
    last = heapq.nlargest(LAST_LANES, outlooks, key=lambda each: each.rough_s)
    for each in last:
        part = each.calls / total if total else 1.0  # the share of the workers: each account keeps some to its end
        each.depart(lanes, begins_at, cost, stored.get(each.lane.account_id), part)
    limit = sum(lanes.guards.limit_of(each.lane.account_id) for each in outlooks)
    workers = Workers(limit, lanes.concurrency, in_flight)
    everything = Departures([], total, now=begins_at, latency_s=cost.latency_s, workers=workers)
    opens = lanes.guards.find_wait(begins_at)
    at = opens.until if opens is not None and opens.until < math.inf else begins_at
    begun_before = level_before = 0
    for begun, soak_s in _list_ends(lanes, total, cost):
        level = _find_level([each.calls for each in outlooks], begun)
        ends = [at, everything.leave(begun - begun_before, at), *(each.leave(level_before, level, at) for each in last)]
        at, begun_before, level_before = max(ends) + cost.latency_s + soak_s, begun, level
    stopped_at = max(at if total or in_flight else begins_at, *(each.lane.ends_after for each in outlooks))
    return max(stopped_at, *(each.read_lists(begins_at, cost) for each in last)) - now


def _list_ends(lanes: Lanes, total: int, cost: CallCost) -> Iterator[tuple[int, float]]:
    """Yield the number of calls at the end of each wave, and the seconds of the soak after it."""
    stages = lanes.guards.list_stages()
    for begun, (_, soak_s) in zip(accumulate(size for size, _ in stages), stages, strict=True):
        if begun * cost.calls_each >= total:
            yield total, 0.0
            return
        yield int(begun * cost.calls_each), soak_s


def _find_level(calls: Sequence[int], begun: int) -> int:
    """Return how many of the first calls each account has made; accounts take turns while they have any."""
    level, left = 0, begun
    for number, most in enumerate(sorted(calls)):
        sharing = len(calls) - number
        step = min(most - level, math.ceil(left / sharing))
        level, left = level + step, max(0, left - step * sharing)
    return level


class _Outlook:
    """The remaining work of an account."""

    def __init__(self, lane: Lane, now: float, cost: CallCost, lists: ListWork) -> None:
        self.lane = lane
        self.lists = lists
        self.page_s = lists.page_s or cost.latency_s
        self.calls = math.ceil(lane.unsent * cost.calls_each)
        self._last_left = -math.inf
        self.places = lane.quota.places(now, cost.latency_s)
        self.rests_until = max(now, lane.rests_until)
        slowest = max((each.interval_s for each in self.places), default=0.0)
        all_calls_s = (self.calls + lists.calls) * max(slowest, cost.latency_s * 1e-6)
        self.rough_s = self.rests_until - now + all_calls_s + lists.calls * self.page_s * 1e-3

    def depart(self, lanes: Lanes, now: float, cost: CallCost, stored: Stored | None, part: float) -> None:
        """Start computing when its calls are sent, with its share of the workers."""
        places = add_stored(self.places, stored, cost.latency_s)
        limit = lanes.guards.limit_of(self.lane.account_id)
        workers = Workers(limit, max(1.0, lanes.concurrency * part), self.lane.in_flight)
        self._departures = Departures(places, self.calls, now=now, latency_s=cost.latency_s, workers=workers)

    def leave(self, level_before: int, level: int, not_before: float) -> float:
        """Return when the calls from `level_before` to `level` have been sent."""
        calls = min(level, self.calls) - min(level_before, self.calls)
        if not calls:
            return not_before
        self._last_left = self._departures.leave(calls, max(not_before, self.rests_until))
        return self._last_left

    def read_lists(self, now: float, cost: CallCost) -> float:
        """Return when its lists have been read, one page at a time, after all responses."""
        calls, asked_at = self.lists.calls, self.lists.asked_at
        at = max(now, self._last_left + cost.latency_s, now + cost.latency_s * bool(self.lane.in_flight))
        if not calls:
            return now
        if asked_at is not None:
            calls, at = calls - 1, max(at, asked_at + self.page_s)
        return self._departures.leave_in_turn(calls, max(at, self.rests_until), self.page_s)
