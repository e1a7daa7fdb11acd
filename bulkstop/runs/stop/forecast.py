"""When a plan will be done, account by account."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bulkstop.engine.limits.quota import count_calls_within, min_duration_s
from bulkstop.model import Limit
from bulkstop.report.stop.plan import Forecast
from bulkstop.runs import host
from bulkstop.runs.wiring import open_quota_store
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan


def forecast_accounts(plan: Plan, settings: Settings, seconds_left: float | None) -> list[Forecast]:
    """Say for each account what the quota leaves right now, and when its first and last stop can leave.

    Raises SettingsError when the quota store cannot be used.
    """
    rooms = host.run(_rooms(plan, settings), fast=False)
    return [
        _forecast(account_id, campaigns, rooms.get(account_id), settings, seconds_left)
        for account_id, campaigns in plan.accounts.items()
    ]


def find_earliest_end(plan: Plan, settings: Settings) -> datetime:
    """Return the time at which the last stop can leave at the earliest, by the quota alone."""
    last_s = max((_last_s(campaigns, settings) for campaigns in plan.accounts.values()), default=0.0)
    return datetime.now(UTC) + timedelta(seconds=last_s)


async def _rooms(plan: Plan, settings: Settings) -> dict[str, int]:
    async with open_quota_store(settings) as store:
        return {} if store is None else {account_id: await store.room(account_id) for account_id in plan.accounts}


def _forecast(
    account_id: str, campaigns: int, room: int | None, settings: Settings, seconds_left: float | None
) -> Forecast:
    # What others made in the current window may be old enough in a moment: only the list itself is sure to take time.
    fit = campaigns if seconds_left is None else _fit(seconds_left, campaigns, settings)
    return Forecast(account_id, campaigns, room, _last_s(campaigns, settings), fit)


def _last_s(campaigns: int, settings: Settings) -> float:
    least = min_duration_s(campaigns, settings.quota)
    return max(least, _interval_s(settings.quota) * (campaigns - 1)) if settings.pace == "even" else least


def _fit(seconds: float, campaigns: int, settings: Settings) -> int:
    fit = count_calls_within(seconds, campaigns, settings.quota)
    if settings.pace == "even" and settings.quota:
        return min(fit, int(seconds / _interval_s(settings.quota)) + 1)
    return fit


def _interval_s(quota: Sequence[Limit]) -> float:
    return max((limit.window_s / limit.calls for limit in quota), default=0.0)
