"""A plan for machines: what `stop --dry-run --json` prints."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bulkstop.model import Outcome, utc_text
from bulkstop.runs.stop.forecast import Forecast
from bulkstop.runs.wiring import plan_waves
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan


def plan_to_json(
    plan: Plan,
    settings: Settings,
    output: str,
    forecasts: Sequence[Forecast],
    warnings: Sequence[str] = (),
    *,
    now: float | None = None,
) -> dict[str, Any]:
    """Return a plan as JSON values, every key always there; times are UTC and the earliest that the quota allows.

    `now` is the unix time at which the run would begin, by default the present.
    """
    now = datetime.now(UTC).timestamp() if now is None else now
    return {
        "host": settings.host,
        "rows": plan.rows,
        "to_send": plan.to_send,
        "types": _counts_to_json(plan.types),
        "duplicates": plan.held[Outcome.DUPLICATE],
        "invalid": plan.held[Outcome.INVALID],
        "protected": plan.held[Outcome.PROTECTED],
        "ended_before": _counts_to_json(plan.settled),
        "quota": [str(limit) for limit in settings.quota],
        "pace": settings.pace,
        "adaptive": settings.adaptive,
        "order": settings.order,
        "accounts": [_account(each, now) for each in forecasts],
        "first_stop": _first_stop(forecasts, now),
        "last_stop": utc_text(now + max(each.last_s for each in forecasts)) if forecasts else None,
        "finish_by": _finish_by(plan, settings, forecasts, now),
        "confirmation": {"type": plan.to_send, "expect": plan.listed} if plan.to_send else None,
        "guards": _guards(plan, settings),
        "only_running": settings.only_running,
        "disable_schedule": settings.disable_schedule,
        "warnings": list(warnings),
        "output": output,
    }


def _account(each: Forecast, now: float) -> dict[str, Any]:
    return {
        "account_id": each.account_id,
        "campaigns": each.campaigns,
        "calls_left_now": each.room,
        "first_stop": _first_stop([each], now),
        "last_stop": utc_text(now + each.last_s),
    }


def _guards(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return what holds a run back, or ends it, whatever is confirmed."""
    cap = settings.max_failures
    return {
        "protect": list(settings.protect),
        "max_campaigns": settings.max_campaigns,
        "max_failures": None if cap is None else str(cap),
        "waves": None if settings.waves is None else plan_waves(settings, plan.to_send),
        "soak_s": settings.soak_s if settings.waves else None,
        "max_outage_s": settings.max_outage_s,
    }


def _first_stop(forecasts: Sequence[Forecast], now: float) -> str | None:
    """Return the time of the first stop; None when no account has a call left, and nobody knows when it has."""
    return utc_text(now) if any(each.room != 0 for each in forecasts) else None


def _finish_by(plan: Plan, settings: Settings, forecasts: Sequence[Forecast], now: float) -> dict[str, Any] | None:
    seconds_left = settings.seconds_left(datetime.fromtimestamp(now, UTC))
    if seconds_left is None:
        return None
    late = plan.to_send - sum(each.fit for each in forecasts)
    return {
        "time": settings.finish_by,
        "tz": settings.tz,
        "at": utc_text(now + seconds_left),
        "can_be_met": not late,
        "not_sent_by_then": late,
    }


def _counts_to_json(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): number for name, number in counts.items()}
