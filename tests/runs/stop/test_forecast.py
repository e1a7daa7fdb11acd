"""From settings to limits and forecasts."""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from bulkstop.engine.limits.blocks import Blocks
from bulkstop.engine.limits.quota import AllOf, NoQuota, RollingWindow
from bulkstop.engine.limits.windows import Change, Grant, Take
from bulkstop.engine.pacing.auto import AutoPacer
from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, CampaignType, Limit
from bulkstop.runs.stop.forecast import forecast_accounts
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.stop.work import make_lanes
from bulkstop.runs.wiring import Accounts, check_time, make_quota
from bulkstop.settings import NO_LIMIT, Settings
from tests.engine.limits.shelf import Shelf

HOST = "https://platform.example.com"


def settings(**more: object) -> Settings:
    """Make settings for a host that is never called."""
    return Settings(host=HOST, token="t", **{"quota_store": "memory", **more})  # type: ignore[arg-type]


def campaigns(count: int, account_id: str = "a") -> list[Campaign]:
    """Make campaigns of one account."""
    return [
        Campaign.of_row(f"cd-{n}", CampaignType.VOICE, account_id, "s", "s", "list.csv", n) for n in range(1, count + 1)
    ]


def test_quotas_are_put_together_as_asked() -> None:
    """No quota has no limit, windows are a log, and all that is requested holds at the same time."""
    assert isinstance(make_quota(settings(quota=NO_LIMIT)), NoQuota)
    assert isinstance(make_quota(settings()), AutoPacer)
    assert isinstance(make_quota(settings(pace="burst")), RollingWindow)
    assert isinstance(make_quota(settings(pace="even")), AllOf)
    even = make_quota(settings(pace="even"))
    even.take(0.0)
    assert even.ready_at() == 1.0
    assert make_quota(settings(quota=NO_LIMIT, adaptive=True)).ready_at() < math.inf


async def test_an_account_is_counted_in_one_place() -> None:
    """The lane of an account and its single calls use the same limits and the same store; others have their own."""
    claimed = list[str]()

    class Store(Shelf):
        async def settle(
            self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
        ) -> list[Grant]:
            claimed.extend(take.account_id for take in takes)
            return await super().settle(takes, changes, notes)

    accounts = Accounts(settings(quota=(Limit(1, 60.0),)), Blocks(Store([Limit(1, 60.0)])))
    with make_plan([*campaigns(3, "a"), *campaigns(3, "b")], settings()) as plan:
        a, b = make_lanes(plan, accounts)
        caller = accounts.caller("a")
        assert accounts.caller("a") is caller

        async def page() -> str:
            return "page"

        assert await caller.call(page) == "page"
        assert a.quota.ready_at() > time.monotonic() + 50
        assert b.quota.ready_at() == -math.inf
        assert (a.claim, claimed) != (None, [])
        assert b.claim is not None
        assert await b.claim.take(1) == 0.0
    assert claimed == ["a", "b"]
    assert Accounts(settings(), None).claim("a") is None


def test_forecast_is_arithmetic() -> None:
    """The last stop of 130 campaigns leaves two windows after the first; evenly spread, after 129 intervals."""
    with make_plan(campaigns(130), settings()) as plan:
        (burst,) = forecast_accounts(plan, settings(), None)
        (even,) = forecast_accounts(plan, settings(pace="even"), None)
    assert (burst.campaigns, burst.last_s, burst.fit) == (130, 120.3, 130)  # windows of 60.15 s
    assert even.last_s == pytest.approx(129.3)  # as each window is 0.15 s longer than it is said to be


@pytest.mark.parametrize(
    ("seconds", "fit"), [(0.5, 60), (60.0, 60), (61.0, 120), (120.0, 120), (122.0, 130), (9e9, 130)]
)
def test_forecast_says_how_many_fit(seconds: float, fit: int) -> None:
    """With a time to finish by the plan knows how many campaigns will have left by then."""
    with make_plan(campaigns(130), settings()) as plan:
        assert forecast_accounts(plan, settings(), seconds)[0].fit == fit


def test_forecast_counts_what_the_store_remembers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Calls made a moment ago by another run leave less room; a stop leaves when they are old enough."""
    import asyncio

    from bulkstop.runs.wiring import open_quota_store

    stored = settings(quota_store=str(tmp_path_factory.mktemp("quota") / "q.sqlite"), quota=(Limit(10, 60.0),))

    async def call(times: int) -> None:
        async with open_quota_store(stored) as store:
            assert store is not None
            for _ in range(times):
                assert await store.account("a").take(1) == 0.0

    asyncio.run(call(4))
    with make_plan(campaigns(7), stored) as plan:
        (seen,) = forecast_accounts(plan, stored, None)
        assert (seen.room, seen.first_s) == (6, 0.0)
        assert 0 < seen.last_s <= 61
        asyncio.run(call(6))
        (full,) = forecast_accounts(plan, stored, None)
        assert (full.room, full.fit) == (0, 7)
        assert 0 < full.first_s <= full.last_s <= 61


@pytest.mark.parametrize(
    ("now", "tz", "finish_by", "seconds"),
    [
        ("2026-06-01T15:00:00", "Europe/Berlin", "18:00", 3_600.0),  # 17:00 there
        ("2026-06-01T15:00:00", "UTC", "18:00", 3 * 3_600.0),
        ("2026-06-01T22:30:00", "Europe/Berlin", "18:00", 17.5 * 3_600.0),  # half past midnight there, the next day
        ("2026-10-24T23:30:00", "Europe/Berlin", "18:00", 17.5 * 3_600.0),  # the clocks go back in between
        ("2026-06-01T16:00:01", "Europe/Berlin", "18:00", -1.0),
    ],
)
def test_the_time_to_finish_by_is_that_of_the_zone(now: str, tz: str, finish_by: str, seconds: float) -> None:
    """It is a time of day in the given zone, on any date and length of day."""
    given = settings(finish_by=finish_by, tz=tz)
    assert given.seconds_left(datetime.fromisoformat(now).replace(tzinfo=UTC)) == seconds


def test_a_time_that_has_passed_is_refused() -> None:
    """Nothing is sent on the day after by mistake."""
    with pytest.raises(SettingsError, match=r"finish_by 00:00:00: has passed today"):
        check_time(settings(finish_by="00:00:00"))
