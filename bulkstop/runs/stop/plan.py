"""Plans a run: reads every row of the inputs, and describes what the run will do."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bulkstop import source
from bulkstop.engine.limits.timetable import LEAD_S
from bulkstop.errors import InputError, SettingsError
from bulkstop.impact import execution_type_of, is_normal
from bulkstop.model import Campaign, Defaults, Outcome, Pace, Result, Row, utc_text
from bulkstop.redact import hide_password
from bulkstop.report.stop.plan import (
    SPECIAL_SHOWN,
    UNUSABLE_SHOWN,
    Deadline,
    Forecast,
    GuardFacts,
    PlanFacts,
    SpecialCampaign,
    StopTimeFacts,
    UnusableRow,
)
from bulkstop.report.store import StoreFacts
from bulkstop.runs.stop.input_files import paths_in
from bulkstop.runs.stop.reading import check_clean, describe_reading
from bulkstop.runs.wiring import plan_waves
from bulkstop.settings import Settings
from bulkstop.settings.finish_by import find_moment
from bulkstop.settings.targets import Profiles
from bulkstop.source.digest import Digest
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.source.rows import ColumnChoice, read_campaigns, refuse_profile
from bulkstop.source.understood import Understood
from bulkstop.text import format_count, printable
from bulkstop.text.clock import format_clock

if TYPE_CHECKING:
    from bulkstop.report.lists.discovery import Discovery

Inputs = Sequence[str] | Iterable[Campaign]
"""Paths of lists, `-` for standard input, or campaigns made by hand."""


def make_plan(
    inputs: Inputs,
    settings: Settings,
    *,
    fmt: str | None = None,
    settled: Callable[[Row], Outcome | None] | None = None,
    find_unusable: Callable[[Row], Result | None] | None = None,
    recorded: Mapping[str, Digest] | None = None,
    profiles: Profiles | None = None,
    repeats: bool = False,
    now: float | None = None,
) -> Plan:
    """Read every row of the inputs (paths, `-`, or campaigns made by hand) and plan the run; nothing is sent.

    `settled`, `find_unusable` and `recorded` come from an earlier run, and go to `Plan` like `repeats`; `profiles` are
    those that rows may name. A time of day in a list is the next one after `now`. Raises InputError for an input that
    cannot be read completely, or has changed.
    """
    understood: list[Understood] = []
    return Plan(
        _rows(inputs, settings, fmt, understood, profiles),
        understood=understood,
        order=settings.order,
        settled=settled,
        find_unusable=find_unusable,
        recorded=recorded,
        protection=read_protection(settings.protect),
        most=settings.max_input_size,
        repeats=repeats,
        account_of=attrgetter("account_id") if profiles is None else profiles.name_account,
        now=now,
    )


def check_usable(plan: Plan) -> None:
    """Raise InputError for a row that cannot be used, or an id that was cleaned."""
    if invalid := plan.held_invalid + plan.settled[Outcome.INVALID]:
        why = f" (first {plan.first_invalid})" if plan.held_invalid else ""
        raise InputError(f": {format_count(invalid, 'row')} cannot be used{why}; nothing was sent", setting="strict")
    check_clean(plan)


def describe_plan(
    plan: Plan,
    settings: Settings,
    output: str,
    *,
    forecasts: Sequence[Forecast] | None = None,
    warnings: Sequence[str] = (),
    retry: Set[Outcome] = frozenset(),
    begins_at: float | None = None,
    config: str | None = None,
    profile: str | None = None,
    unusable: int | None = UNUSABLE_SHOWN,
    store: StoreFacts | None = None,
    running: "tuple[str, Discovery] | None" = None,
    hosts: Mapping[str, str] = MappingProxyType({}),
) -> PlanFacts:
    """Return all facts of a plan; `begins_at` is the unix time at which the run would begin, by default now.

    `config` and `profile` are the source of the settings, if any. `unusable` limits the unusable rows that are listed,
    and the campaigns that are not NORMAL; None lists all. `store` is the quota store, `running` the list that the run
    made itself, `hosts` the hosts of other profiles by name. Without `forecasts` the duration is omitted. Raises
    SettingsError for impossible waves.
    """
    begins_at = time.time() if begins_at is None else begins_at
    return PlanFacts(
        host=settings.host,
        rows=plan.rows,
        to_send=plan.to_send,
        listed=plan.listed,
        types=plan.types,
        held=plan.held,
        ended_before=plan.settled,
        retry=tuple(each for each in Outcome if each in retry),
        quota=settings.quota,
        pace=Pace(settings.pace),
        adaptive=settings.adaptive,
        order=settings.order,
        forecasts=tuple(forecasts or ()),
        deadline=None if forecasts is None else _deadline(plan, settings, forecasts, begins_at),
        guards=_guards(plan, settings),
        only_running=settings.only_running,
        disable_schedule=settings.disable_schedule,
        lists_first=_count_lists(plan, settings),
        warnings=tuple(warnings),
        output=output,
        begins_at=begins_at,
        config=config,
        profile=profile,
        proxy=None if settings.proxy is None else hide_password(settings.proxy),
        ca=settings.ca,
        cert=settings.cert,
        unusable=tuple(islice(_find_unusable(plan), unusable)),
        store=store,
        inputs=describe_reading(plan.understood, settings),
        not_normal=plan.looks.not_normal,
        special=tuple(islice(_find_special(plan), None if unusable is None else SPECIAL_SHOWN)),
        running=running,
        hosts=hosts,
        timetable=tuple(_list_times(plan, begins_at)),
    )


def _list_times(plan: Plan, now: float) -> Iterator[StopTimeFacts]:
    times = Counter(
        pair
        for account_id in plan.stop_times.accounts
        for pair in zip(plan.stop_times.moments(account_id), plan.stop_times.zones(account_id), strict=False)
    )
    for (at, name), count in sorted(times.items()):
        zone = ZoneInfo(name) if "/" in name else datetime.fromisoformat(utc_text(at)).tzinfo
        yield StopTimeFacts(at, name, count, format_clock(at, now, zone))


def _find_unusable(plan: Plan) -> Iterator[UnusableRow]:
    if plan.held_invalid:
        yield from (UnusableRow.of(each) for each in plan.held_results() if each.outcome is Outcome.INVALID)


def _find_special(plan: Plan) -> Iterator[SpecialCampaign]:
    if not plan.looks.not_normal:
        return
    for account_id in plan.accounts:
        for each in plan.campaigns(account_id):
            if not is_normal(kind := execution_type_of(each)):
                yield SpecialCampaign(each.campaign_id, each.name, account_id, kind or "")


def _deadline(plan: Plan, settings: Settings, forecasts: Sequence[Forecast], begins_at: float) -> Deadline | None:
    if settings.finish_by is None:
        return None
    moment = find_moment(settings.finish_by, settings.tz, datetime.fromtimestamp(begins_at, UTC))
    late, at = plan.to_send - sum(each.fit for each in forecasts), moment.timestamp()
    moments = map(plan.stop_times.moments, plan.stop_times.accounts)
    late = max(late, sum(each - LEAD_S > at for times in moments for each in times))
    return Deadline(settings.finish_by, settings.tz, at, late, format_clock(at, begins_at, moment.tzinfo))


def _guards(plan: Plan, settings: Settings) -> GuardFacts:
    return GuardFacts(
        protect=settings.protect,
        protected_rules=plan.protection.rules,
        protected=plan.protected,
        max_campaigns=settings.max_campaigns,
        max_failures=None if settings.max_failures is None else str(settings.max_failures),
        waves=None if settings.waves is None else tuple(plan_waves(settings, plan.to_send)),
        soak_s=settings.soak_s,
        max_outage_s=settings.max_outage_s,
    )


def _count_lists(plan: Plan, settings: Settings) -> int:
    if not (settings.only_running or settings.disable_schedule):
        return 0
    from bulkstop.runs.stop.precheck import list_scopes  # most runs do not need it

    return len(list_scopes(plan, settings))


def _rows(
    inputs: Inputs, settings: Settings, fmt: str | None, understood: list[Understood], profiles: Profiles | None
) -> Iterator[Row]:
    defaults = _make_defaults(settings)
    find_defaults = refuse_profile if profiles is None else partial(_find_defaults, profiles)
    if paths := paths_in(inputs):
        return source.read(
            paths,
            defaults=defaults,
            fmt=fmt,
            any_id=settings.any_id,
            most=settings.max_input_size,
            encoding=settings.encoding,
            choice=ColumnChoice.of(settings.id_column, settings.column, has_header=not settings.no_header),
            sheet=settings.sheet,
            understood=understood,
            find_defaults=find_defaults,
        )
    return read_campaigns(inputs, defaults=defaults, any_id=settings.any_id, find_defaults=find_defaults)


def _make_defaults(settings: Settings) -> Defaults:
    return Defaults(settings.type, settings.account_id, settings.stream_id, settings.iid)


def _find_defaults(profiles: Profiles, name: str) -> Defaults:
    """Return the defaults for rows of a profile; raises ValueError for an unknown profile."""
    try:
        return _make_defaults(profiles.settings(name))
    except SettingsError as fault:
        raise ValueError(printable(str(fault))) from None
