"""From settings to what an account may do, and when a plan will be done."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bulkstop.engine.caller import Caller
from bulkstop.engine.lanes import Claim, Lane
from bulkstop.engine.limits.quota import AllOf, Even, NoQuota, Quota, RollingWindow, fit_in, least_s
from bulkstop.engine.limits.store import QuotaStore, default_path, open_store
from bulkstop.engine.limits.windows import guarded
from bulkstop.engine.retry import Retry
from bulkstop.model import Limit
from bulkstop.runs import host
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an account has before it: `room` calls may leave at once, the last stop in `last_s` seconds at the earliest.

    `fit` campaigns can be sent in the time there is, at most.
    """

    account_id: str
    campaigns: int
    room: int | None
    last_s: float
    fit: int


class Accounts:
    """What each account may do, counted in one place whoever calls: its limits, and its claim on the shared store.

    `drained`, once set, ends the waits of every caller; `rests` is told of each wait.
    """

    def __init__(
        self,
        settings: Settings,
        store: QuotaStore | None,
        *,
        drained: asyncio.Event | None = None,
        rests: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.paced = settings.adaptive
        self._settings = settings
        self._store = store
        self._drained = drained
        self._rests = rests
        self._quotas: dict[str, Quota] = {}
        self._callers: dict[str, Caller] = {}

    def quota(self, account_id: str) -> Quota:
        """Give the limits of an account, always the same object."""
        if account_id not in self._quotas:
            self._quotas[account_id] = quota_of(self._settings)
        return self._quotas[account_id]

    def claim(self, account_id: str) -> Claim | None:
        """Give the account's claim on the store, None without a store."""
        return None if self._store is None else partial(self._store.claim, account_id)

    def caller(self, account_id: str) -> Caller:
        """Give what makes single calls for an account, always the same object."""
        if account_id not in self._callers:
            self._callers[account_id] = Caller(
                self.quota(account_id),
                self.claim(account_id),
                retry=Retry(self._settings.attempts, max_retry_after_s=self._settings.max_retry_after_s),
                paces_itself=self.paced,
                drained=self._drained,
                rests=self._rests,
            )
        return self._callers[account_id]


def lanes_of(plan: Plan, accounts: Accounts) -> Iterator[Lane]:
    """Give every account of a plan its lane, within what the account may do."""
    for account_id, campaigns in plan.accounts.items():
        quota, claim = accounts.quota(account_id), accounts.claim(account_id)
        yield Lane(account_id, plan.campaigns(account_id), quota, claim, left=campaigns, paces_itself=accounts.paced)


def quota_of(settings: Settings) -> Quota:
    """Make the limits of one account."""
    quotas: list[Quota] = []
    if settings.quota:
        quotas.append(RollingWindow([guarded(limit) for limit in settings.quota]))
        if settings.pace == "even":
            quotas.append(Even(settings.quota))
    if settings.adaptive:
        from bulkstop.engine.limits.adaptive import Adaptive  # seldom wanted: a short run need not wait for it

        quotas.append(Adaptive())
    if len(quotas) > 1:
        return AllOf(quotas)
    return quotas[0] if quotas else NoQuota()


@asynccontextmanager
async def store_of(settings: Settings) -> AsyncIterator[QuotaStore | None]:
    """Open the store that remembers the calls made, if there is a quota to remember; raises SettingsError."""
    if not settings.quota or settings.quota_store == MEMORY:
        yield None
        return
    where = settings.quota_store or str(default_path())
    store = open_store(where, host=settings.host, limits=settings.quota)
    try:
        yield store
    finally:
        await store.close()


def forecast(plan: Plan, settings: Settings, seconds_left: float | None) -> list[Forecast]:
    """Say for each account what the quota leaves right now, and when its first and last stop can leave.

    Raises SettingsError when the quota store cannot be used.
    """
    rooms = host.run(_rooms(plan, settings), fast=False)
    return [
        _forecast(account_id, campaigns, rooms.get(account_id), settings, seconds_left)
        for account_id, campaigns in plan.accounts.items()
    ]


async def _rooms(plan: Plan, settings: Settings) -> dict[str, int]:
    async with store_of(settings) as store:
        return {} if store is None else {account_id: await store.room(account_id) for account_id in plan.accounts}


def _forecast(
    account_id: str, campaigns: int, room: int | None, settings: Settings, seconds_left: float | None
) -> Forecast:
    # What others made in the current window may be old enough in a moment: only the list itself is sure to take time.
    fit = campaigns if seconds_left is None else _fit(seconds_left, campaigns, settings)
    return Forecast(account_id, campaigns, room, _last_s(campaigns, settings), fit)


def _last_s(campaigns: int, settings: Settings) -> float:
    least = least_s(campaigns, settings.quota)
    return max(least, _interval_s(settings.quota) * (campaigns - 1)) if settings.pace == "even" else least


def _fit(seconds: float, campaigns: int, settings: Settings) -> int:
    fit = fit_in(seconds, campaigns, settings.quota)
    if settings.pace == "even" and settings.quota:
        return min(fit, int(seconds / _interval_s(settings.quota)) + 1)
    return fit


def _interval_s(quota: Sequence[Limit]) -> float:
    return max((limit.window_s / limit.calls for limit in quota), default=0.0)
