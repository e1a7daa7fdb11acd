"""A plan, for a person to check before the run, and for a machine."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkstop.model import CampaignType, Limit, Order, Outcome, Pace, Result, utc_text
from bulkstop.naming import name_setting
from bulkstop.report.stop.reading import ReadingFacts, format_reading, reading_to_json
from bulkstop.report.store import StoreFacts, format_store, store_to_json
from bulkstop.text import format_count, format_duration, format_table, printable, shorten
from bulkstop.text.clock import format_clock

if TYPE_CHECKING:
    from bulkstop.report.lists.discovery import Discovery

ACCOUNTS_SHOWN = 5
UNUSABLE_SHOWN = 5
INPUTS_SHOWN = 5
SPECIAL_SHOWN = 10
TIMES_SHOWN = 24
REMEDY = "correct the row, or take it out of the list"
"""The remedy for an unusable row whose reason does not name one."""


class Forecast(NamedTuple):
    """The forecast for an account: `room` calls may be sent at once, the last stop not before `last_s` seconds.

    At most `fit` campaigns can be sent in the time available. `room` is None if no store remembers the calls. The first
    stop is sent in `first_s` seconds.
    """

    account_id: str
    campaigns: int
    room: int | None
    last_s: float
    fit: int
    first_s: float = 0.0


class Deadline(NamedTuple):
    """The time to finish by, as given and as unix time, and how many campaigns will be unsent by then.

    `clock` is the moment for a person, with its zone.
    """

    time: str
    zone: str | None
    at: float
    late: int
    clock: str


class StopTimeFacts(NamedTuple):
    """How many campaigns must be stopped by a moment, in unix seconds, stated by their rows in this zone."""

    at: float
    zone: str
    campaigns: int
    clock: str
    """The moment for a person in that zone."""


class UnusableRow(NamedTuple):
    """A row that cannot be used: its place, the reason, and the remedy."""

    source: str
    line: int | None
    reason: str
    remedy: str

    @classmethod
    def of(cls, result: Result) -> "UnusableRow":
        """Return the row of an `invalid` result; a remedy at the end of its reason becomes a field."""
        reason, _, remedy = (
            (result.error or "").rpartition("; ") if "; " in (result.error or "") else (result.error, "", "")
        )
        return cls(result.source or "", result.line, reason or "", remedy or REMEDY)


class SpecialCampaign(NamedTuple):
    """A campaign to stop whose execution type is not NORMAL: an emergency, or an undocumented type."""

    campaign_id: str
    name: str | None
    account_id: str
    execution_type: str


class GuardFacts(NamedTuple):
    """The guards, which slow or end a run whatever is confirmed; `waves` has the campaigns at which each wave ends.

    `protected` are the campaigns that rules exclude, each counted once.
    """

    protect: tuple[str, ...]
    protected_rules: int
    protected: int
    max_campaigns: int | None
    max_failures: str | None
    waves: tuple[int, ...] | None
    soak_s: float
    max_outage_s: float


class PlanFacts(NamedTuple):
    """Everything that a run will do, for display; `begins_at` is the unix time at which it would start.

    `forecasts` is empty if they are not shown; `lists_first` counts the calls that read lists before the first stop.
    """

    host: str
    rows: int
    to_send: int
    listed: int
    types: Mapping[CampaignType, int]
    held: Mapping[Outcome, int]
    ended_before: Mapping[Outcome, int]
    retry: tuple[Outcome, ...]
    quota: tuple[Limit, ...]
    pace: Pace
    adaptive: bool
    order: str
    forecasts: tuple[Forecast, ...]
    deadline: Deadline | None
    guards: GuardFacts
    only_running: bool
    disable_schedule: bool
    lists_first: int
    warnings: tuple[str, ...]
    output: str
    begins_at: float
    config: str | None = None
    """The settings file and its profile; None without one."""
    profile: str | None = None
    proxy: str | None = None
    """The URL without its password."""
    ca: str | None = None
    cert: str | None = None
    unusable: tuple[UnusableRow, ...] = ()
    """The unusable rows: all of them, or the first."""
    store: StoreFacts | None = None
    """Where calls are counted; None without a quota."""
    inputs: tuple[ReadingFacts, ...] = ()
    """How each input was read."""
    not_normal: int = 0
    """The campaigns to stop whose execution type is not NORMAL."""
    special: tuple[SpecialCampaign, ...] = ()
    """All of them, or the first."""
    running: "tuple[str, Discovery] | None" = None
    """The list that the run made itself, and its source."""
    hosts: Mapping[str, str] = MappingProxyType({})
    """The other hosts that are called, by the profiles that campaigns name."""
    timetable: tuple[StopTimeFacts, ...] = ()
    """By when campaigns must be stopped, the earliest first."""

    @property
    def last_s(self) -> float:
        """The seconds after which the last stop can be sent at the earliest."""
        return max((each.last_s for each in self.forecasts), default=0.0)


def format_plan(plan: PlanFacts, *, asks: bool = False) -> list[str]:
    """Return the lines of a plan for a person; `asks` if a number must be typed."""
    ended_before = [("earlier runs", _format_counts(plan.ended_before))] if plan.ended_before else []
    retry = [("sent again", f"what ended as {', '.join(plan.retry)}")] if plan.retry else []
    rows = [
        ("host", plan.host),
        *_format_hosts(plan),
        *format_way(plan.config, plan.profile, plan.proxy, plan.ca, plan.cert),
        *_format_inputs(plan.inputs),
        ("to stop", f"{plan.to_send:,}" + (f" ({_format_counts(plan.types)})" if plan.types else "")),
        *_format_running(plan),
        *_format_special(plan),
        *_format_order(plan),
        ("not sent", _format_counts(plan.held) or "0"),
        *_format_unusable(plan),
        *ended_before,
        *retry,
        ("quota", f"{' '.join(map(str, plan.quota)) or 'none'} per account{_format_pace(plan)}"),
        *([("store", format_store(plan.store))] if plan.store else []),
        *_format_forecasts(plan),
        *_format_timetable(plan),
        *_format_deadline(plan),
        *_format_guards(plan),
        *_format_lists(plan),
        ("results", plan.output),
    ]
    if asks and plan.to_send:
        rows.append(("confirm", f"type {plan.to_send} here; without a terminal --expect {plan.listed}"))
    return format_table("Plan", rows)


def plan_to_json(plan: PlanFacts) -> dict[str, Any]:
    """Return a plan as JSON values, every key always present; times are UTC and the earliest that the quota permits."""
    return {
        "host": plan.host,
        "hosts": dict(plan.hosts),
        "config": plan.config,
        "profile": plan.profile,
        "proxy": plan.proxy,
        "ca": plan.ca,
        "cert": plan.cert,
        "inputs": [reading_to_json(each) for each in plan.inputs],
        "rows": plan.rows,
        "to_send": plan.to_send,
        "types": _counts_to_json(plan.types),
        "running": _running_to_json(plan),
        "not_normal": [each._asdict() for each in plan.special],
        "duplicates": plan.held.get(Outcome.DUPLICATE, 0),
        "invalid": plan.held.get(Outcome.INVALID, 0),
        "protected": plan.held.get(Outcome.PROTECTED, 0),
        "unusable": [each._asdict() for each in plan.unusable],
        "ended_before": _counts_to_json(plan.ended_before),
        "quota": [str(limit) for limit in plan.quota],
        **store_to_json(plan.store),
        "pace": plan.pace,
        "adaptive": plan.adaptive,
        "order": plan.order,
        "accounts": [_forecast_to_json(each, plan.begins_at) for each in plan.forecasts],
        "first_stop": _first_stop(plan.forecasts, plan.begins_at),
        "last_stop": utc_text(plan.begins_at + plan.last_s) if plan.forecasts else None,
        "timetable": [
            {"at": utc_text(each.at), "zone": each.zone, "local": each.clock, "campaigns": each.campaigns}
            for each in plan.timetable
        ],
        "finish_by": _deadline_to_json(plan.deadline),
        "confirmation": {"type": plan.to_send, "expect": plan.listed} if plan.to_send else None,
        "guards": _guards_to_json(plan.guards),
        "only_running": plan.only_running,
        "disable_schedule": plan.disable_schedule,
        "warnings": list(plan.warnings),
        "output": plan.output,
    }


def format_way(
    config: str | None, profile: str | None, proxy: str | None, ca: str | None, cert: str | None = None
) -> list[tuple[str, str]]:
    """Return where settings come from, and what is between here and the host: another person may have chosen it."""
    chosen = f"profile {profile}" if profile else "no profile used"
    file = f"{config} ({chosen})" if config else None
    rows = (("config", file), ("proxy", proxy), ("ca", ca), ("cert", cert))
    return [(name, printable(value)) for name, value in rows if value]


def _format_inputs(inputs: Sequence[ReadingFacts]) -> list[tuple[str, str]]:
    """Return what is not obvious about how the inputs were read."""
    lines = [line for each in inputs if (line := format_reading(each))]
    rows = [("read as", line) for line in lines[:INPUTS_SHOWN]]
    return [*rows, ("", f"and {len(lines) - INPUTS_SHOWN:,} more inputs")] if len(lines) > INPUTS_SHOWN else rows


def _format_unusable(plan: PlanFacts) -> list[tuple[str, str]]:
    """Return the first unusable rows, each with its remedy."""
    shown = plan.unusable[:UNUSABLE_SHOWN]
    rows = [("unusable", printable(f"{each.source} line {each.line}: {each.reason}; {each.remedy}")) for each in shown]
    more = plan.held.get(Outcome.INVALID, 0) - len(shown)
    if shown and more > 0:
        rows.append(
            ("", f"and {more:,} more; {name_setting('dry_run', True)} {name_setting('json', True)} has them all")
        )
    return rows


def _format_running(plan: PlanFacts) -> list[tuple[str, str]]:
    if plan.running is None:
        return []
    from bulkstop.report.lists.discovery import describe_calls, describe_rest  # most runs have a list

    path, made_of = plan.running
    found = f"{len(made_of.rows):,} found; {describe_rest(made_of)}; {describe_calls(made_of)}"
    return [("list", printable(f"{path} ({found})"))]


def _running_to_json(plan: PlanFacts) -> dict[str, object] | None:
    if plan.running is None:
        return None
    from bulkstop.report.lists.discovery import discovery_to_json  # as above

    path, made_of = plan.running
    return discovery_to_json(made_of) | {"list": path}


def _format_special(plan: PlanFacts) -> list[tuple[str, str]]:
    """Return the first campaigns whose execution type is not NORMAL."""
    shown = plan.special[:SPECIAL_SHOWN]
    rows = [("not NORMAL", printable(_describe_special(each))) for each in shown]
    if shown and (more := plan.not_normal - len(shown)) > 0:
        rows.append(
            ("", f"and {more:,} more; {name_setting('dry_run', True)} {name_setting('json', True)} has them all")
        )
    return rows


def _describe_special(each: SpecialCampaign) -> str:
    name = f" ({shorten(each.name)})" if each.name else ""
    return f"{each.campaign_id}{name}: execution type {shorten(each.execution_type)}, account {each.account_id}"


def _format_order(plan: PlanFacts) -> list[tuple[str, str]]:
    return [("order", _ORDERS[Order(plan.order)])] if plan.order in _ORDERS else []


_ORDERS = {
    Order.PRIORITY: "the highest priority first",
    Order.PRIORITY_ASCENDING: "the lowest priority first",
    Order.IMPACT: "most harmful first: not NORMAL, then dialing mode, priority, newest instance",
}


def _format_hosts(plan: PlanFacts) -> list[tuple[str, str]]:
    rows = [("", f"{host} (profile {printable(name)})") for name, host in plan.hosts.items()]
    more = len(rows) - ACCOUNTS_SHOWN
    return rows if more <= 0 else [*rows[:ACCOUNTS_SHOWN], ("", f"and {format_count(more, 'profile')} more")]


def _format_forecasts(plan: PlanFacts) -> list[tuple[str, str]]:
    if not plan.forecasts:
        return []
    rows = [("account", _format_forecast(each, plan.begins_at)) for each in plan.forecasts[:ACCOUNTS_SHOWN]]
    if (more := len(plan.forecasts) - ACCOUNTS_SHOWN) > 0:
        rows.append(("", f"and {format_count(more, 'account')} more"))
    last = format_clock(plan.begins_at + plan.last_s, plan.begins_at)
    takes = f"at least {format_duration(plan.last_s)}: the last stop is sent at {last} or later"
    return [*rows, ("takes", takes)]


def _format_forecast(each: Forecast, begins_at: float) -> str:
    room = "" if each.room is None else f"; {format_count(each.room, 'call')} free now"
    first = format_clock(begins_at + each.first_s, begins_at)
    return (
        f"{printable(each.account_id)}: {each.campaigns:,} to stop{room}; first stop {first}, last "
        f"{format_clock(begins_at + each.last_s, begins_at)} or later"
    )


_PACES = {
    Pace.AUTO: ", in bursts until the service refuses one, then evenly",
    Pace.BURST: ", in bursts",
    Pace.EVEN: ", evenly",
}


def _format_pace(plan: PlanFacts) -> str:
    if plan.adaptive:
        return ", adaptive"
    return _PACES[plan.pace] if plan.quota else ""


def _format_timetable(plan: PlanFacts) -> list[tuple[str, str]]:
    """Return by when how many are stopped, by the clock of each zone."""
    shown = plan.timetable[:TIMES_SHOWN]
    rows = [("stop by", printable(f"{each.clock} ({each.zone}): {each.campaigns:,}")) for each in shown]
    more = sum(each.campaigns for each in plan.timetable[TIMES_SHOWN:])
    return [*rows, ("", f"and {format_count(more, 'campaign')} later")] if more else rows


def _format_deadline(plan: PlanFacts) -> list[tuple[str, str]]:
    if plan.deadline is None:
        return []
    late = plan.deadline.late
    verdict = f"CANNOT BE MET: at least {late:,} of {plan.to_send:,} cannot be sent by then"
    return [("finish by", f"{plan.deadline.clock}: {verdict if late else 'can be met'}")]


def _format_guards(plan: PlanFacts) -> list[tuple[str, str]]:
    """Return the guards of the run, except the breaker, which is always active."""
    guards, parts = plan.guards, []
    if guards.max_campaigns is not None:
        parts.append(f"at most {format_count(guards.max_campaigns, 'campaign')}")
    if guards.max_failures is not None:
        parts.append(f"ends at {guards.max_failures} {'failure' if guards.max_failures == '1' else 'failures'}")
    if guards.waves is not None:
        sizes = ", ".join(f"{size:,}" for size in guards.waves)
        parts.append(f"waves up to {sizes}, {format_duration(guards.soak_s)} apart")
    if guards.protect:
        rules, campaigns = format_count(guards.protected_rules, "rule"), format_count(guards.protected, "campaign")
        parts.append(f"{rules} of {name_setting('protect')}: {campaigns} protected")
    return [("guards", "; ".join(parts))] if parts else []


def _format_lists(plan: PlanFacts) -> list[tuple[str, str]]:
    rows = []
    if plan.lists_first:
        spares = (
            "; campaigns that it shows as completed or stopped get a line without a call" if plan.only_running else ""
        )
        rows.append(("list first", f"at least {format_count(plan.lists_first, 'call')} of the quota{spares}"))
    if plan.disable_schedule:
        rows.append(("schedules", "the recurring schedule of each stopped campaign is DISABLED as well"))
    return rows


def _format_counts(counts: Mapping[CampaignType, int] | Mapping[Outcome, int]) -> str:
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())


def _forecast_to_json(each: Forecast, begins_at: float) -> dict[str, Any]:
    return {
        "account_id": each.account_id,
        "campaigns": each.campaigns,
        "calls_left_now": each.room,
        "first_stop": _first_stop([each], begins_at),
        "last_stop": utc_text(begins_at + each.last_s),
    }


def _first_stop(forecasts: Sequence[Forecast], begins_at: float) -> str | None:
    """Return the time of the first stop; None without any."""
    return utc_text(begins_at + min(each.first_s for each in forecasts)) if forecasts else None


def _guards_to_json(guards: GuardFacts) -> dict[str, Any]:
    return {
        "protect": list(guards.protect),
        "max_campaigns": guards.max_campaigns,
        "max_failures": guards.max_failures,
        "waves": None if guards.waves is None else list(guards.waves),
        "soak_s": guards.soak_s if guards.waves is not None else None,
        "max_outage_s": guards.max_outage_s,
    }


def _deadline_to_json(deadline: Deadline | None) -> dict[str, Any] | None:
    if deadline is None:
        return None
    return {
        "time": deadline.time,
        "tz": deadline.zone,
        "at": utc_text(deadline.at),
        "can_be_met": not deadline.late,
        "not_sent_by_then": deadline.late,
    }


def _counts_to_json(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): number for name, number in counts.items()}
