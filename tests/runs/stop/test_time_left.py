"""The forecast end of a run is its actual end, in virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.guards.admission import Admission, parse_waves
from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.lanes import Lane
from bulkstop.engine.limits.estimate import Stored
from bulkstop.engine.limits.quota import AllOf, EvenPacer, NoQuota, Quota, RollingWindow
from bulkstop.engine.pacing.adaptive import Adaptive
from bulkstop.engine.readback import IsEnough, ListProgress, Reading, ReadList
from bulkstop.engine.retry import Retry
from bulkstop.kore.calls import Call, T
from bulkstop.model import Attempt, Campaign, Limit, Outcome
from bulkstop.report.stop.stats import Stats
from bulkstop.runs.stop.forecast import CallCost, forecast_left_s
from bulkstop.runs.stop.readback import list_reader
from tests.engine.parts import CLAIM, STOPPED, Asking, Job, Reply, Service, campaigns, now_s, throttled
from tests.runs.stop.test_readback import Service as Pages

MINUTE = (Limit(60, 60),)


class Shape(NamedTuple):
    """A run: the campaigns of each account, its limits, the latency, and when the forecast is read."""

    sizes: tuple[int, ...] = (126,)
    quota: tuple[Limit, ...] = MINUTE
    latency_s: float = 0.3
    concurrency: int = 32
    pace: str = "burst"
    waves: str | None = None
    soak_s: float = 0.0
    used: tuple[float, ...] = ()
    """The times of calls that a store remembers, which others made before the run."""
    told_at_s: float = 10.0
    at_rest: int = 0
    """One of this many campaigns is at rest already, so that the list must say so; 0 means none."""
    listed: int = 0
    """The campaigns that a list has, more than those of the run."""
    page_s: float = 0.3


SHAPES = {
    "one window and a bit": Shape(),
    "the last window": Shape(told_at_s=60.9),
    "one call in the next window": Shape((61,)),
    "many windows": Shape((1_000,)),
    "more than is followed call by call": Shape((8_000,)),
    "a large window": Shape((5_000,), (Limit(1_800, 3_600),)),
    "two windows": Shape((3_000,), (Limit(60, 60), Limit(1_800, 3_600))),
    "windows that share no divisor": Shape((2_500,), (Limit(7, 1), Limit(1_000, 600))),
    "slow answers": Shape((200,), latency_s=4.0),
    "slower than the quota": Shape((200,), latency_s=5.0, concurrency=4),
    "no quota": Shape((4_000,), (), latency_s=0.2, concurrency=8),
    "no quota, still beginning": Shape((600,), (), latency_s=5.0),
    "evenly": Shape((200,), pace="even"),
    "evenly, slow": Shape((200,), pace="even", latency_s=3.0),
    "three accounts, the last one decides": Shape((10, 300, 70)),
    "many accounts": Shape((90,) * 12, latency_s=1.0, concurrency=16),
    "unlike accounts without a quota": Shape((3_000, 1_000), (), latency_s=1.0),
    "a window that others have used": Shape((126,), used=tuple(-n / 2 for n in range(60))),
    "a window that was used just now": Shape((61,), used=(-0.5,) * 60),
    "a window that is half used": Shape((100,), used=(-30.0,) * 30),
    "waves": Shape((200,), waves="1,10%,100%", soak_s=30.0, told_at_s=35.0),
    "waves, slow": Shape((200,), (), latency_s=2.0, waves="1,50%,100%", soak_s=60.0),
    "waves of two accounts": Shape((150, 50), waves="10,50%,100%", soak_s=20.0),
    "many accounts of all sizes": Shape(tuple(range(5, 150, 12)), latency_s=1.0, concurrency=16),
    "a few workers for two accounts": Shape((200, 30), latency_s=2.0, concurrency=3),
    "a limit that nobody knows": Shape((4_000,), (Limit(20, 1),), pace="adaptive", told_at_s=30.0),
}

AT_REST = Shape((159,), (Limit(20, 10),), at_rest=3)
"""Campaigns that the service says are not active, at rest by its list, which is read at the end."""
LISTS = {
    "a list in a window of its own": AT_REST._replace(listed=300),
    "a list of many pages": AT_REST._replace(listed=700),
    "while the list waits for its window": AT_REST._replace(listed=700, told_at_s=75.0),
    "while the list is read": Shape((60,), (), at_rest=1, listed=2_000, page_s=1.5, told_at_s=12.0),
    "a list and slow answers, no quota": Shape((159,), (), latency_s=1.5, concurrency=4, at_rest=3, page_s=1.5),
    "one call that is out": Shape((20,), (), latency_s=1.0, at_rest=1, listed=140, page_s=9.0, told_at_s=26.0),
    "lists of several accounts": Shape((30, 90, 60), (Limit(20, 10),), at_rest=2, listed=100, told_at_s=20.0),
    "a list and an even pace": AT_REST._replace(pace="even", listed=300, told_at_s=60.0),
}


class Store:
    """A memory of calls that others share, in virtual time."""

    def __init__(self, limits: Iterable[Limit], used: Iterable[float]) -> None:
        self._limits = tuple(limits)
        self._calls = sorted(used)

    async def claim(self) -> float:
        """Count a call, or say when to ask again."""
        now = now_s()
        for limit in self._limits:
            recent = [at for at in self._calls if at > now - limit.window_s]
            if len(recent) >= limit.calls:
                return recent[-limit.calls] + limit.window_s - now + 0.001
        self._calls.append(now)
        return 0.0


class Told(NamedTuple):
    """The forecast end of a run, and its actual end."""

    left_s: float | None
    came_s: float


def make_quota(shape: Shape) -> Quota:
    """Make the limits of one account."""
    if shape.pace == "adaptive":
        return Adaptive()
    quotas: list[Quota] = [RollingWindow(shape.quota)] if shape.quota else []
    if shape.pace == "even":
        quotas.append(EvenPacer(shape.quota))
    return AllOf(quotas) if quotas else NoQuota()


def make_service(shape: Shape) -> Service:
    """Return a service with approximate latencies, and with its own limit if the client does not know it."""
    chance = random.Random(1)
    passed: list[float] = []

    def answer(campaign: Campaign, call: int) -> Reply:
        if shape.at_rest and campaign.line and campaign.line % shape.at_rest == 0:
            return Reply(shape.latency_s, CLAIM)
        latency_s = shape.latency_s * chance.uniform(0.8, 1.2)
        if shape.pace == "adaptive":
            limit, now = shape.quota[0], now_s()
            passed[:] = [at for at in passed if at > now - limit.window_s]
            if len(passed) >= limit.calls:
                return Reply(latency_s, throttled())
            passed.append(now)
        return Reply(latency_s, STOPPED)

    return Service(answer)


def make_list_reader(shape: Shape, quotas: Mapping[str, Quota]) -> ReadList:
    """Make what reads the lists of a service, which have the campaigns of a run and others, in the quota of stops."""
    callers = {name: Caller(quota, retry=Retry(1), now=now_s) for name, quota in quotas.items()}

    async def read(of: Campaign, is_enough: IsEnough, progress: ListProgress) -> Reading:
        ids = [each.campaign_id for each in campaigns(max(shape.sizes), of.account_id)]
        others = [f"other-{number}" for number in range(shape.listed - len(ids))]
        service = Pages([{"_id": key, "status": "Stopped"} for key in (*others, *ids)])

        async def ask(call: Call[T], /) -> T | Attempt:
            await asyncio.sleep(shape.page_s)
            return await service.ask(call)

        return await list_reader(ask, lambda scope: callers[scope.account_id])(of, is_enough, progress)

    return read


def follow(shape: Shape) -> Told:
    """Run in virtual time; return the forecast at that moment, and the time that the rest took."""
    rows = {f"a{n}": campaigns(size, f"a{n}") for n, size in enumerate(shape.sizes)}
    stats = Stats()
    total = sum(shape.sizes)
    admission = shape.waves and Admission(waves=parse_waves(shape.waves, total), soak_s=shape.soak_s)
    quotas: dict[str, Quota] = {}
    stored = {name: Stored(0.0, shape.used) for name in rows} if shape.used else {}

    def make_lane(name: str, own: Iterable[Campaign]) -> Lane:
        quotas[name] = make_quota(shape)
        claim = Asking(Store(shape.quota, shape.used).claim) if shape.used else None
        listed = list(own)
        return Lane(name, listed, quotas[name], claim, left=len(listed), paces_itself=shape.pace == "adaptive")

    job = Job(
        rows,
        make_service(shape),
        concurrency=shape.concurrency,
        admission=admission or None,
        scopes=ScopeBreaker(),
        make_lane=make_lane,
        seen=stats.add,
        read_list=lambda *of: make_list_reader(shape, quotas)(*of),
    )
    told: list[float | None] = []

    def tell() -> None:
        cost = CallCost(shape.latency_s if job.pool.calls else 0.0, stats.calls_each)
        told.append(forecast_left_s(job.lanes, now_s(), cost, stored, job.pool.find_list_work))

    assert job.to_its_end((shape.told_at_s, tell)) is None
    at_rest = sum(size // shape.at_rest for size in shape.sizes) if shape.at_rest else 0
    assert job.outcomes() == Counter({Outcome.STOPPED: total - at_rest, Outcome.ALREADY_STOPPED: at_rest})
    return Told(told[0], max(job.times) - shape.told_at_s)


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_that_are_read_at_the_end_are_part_of_it(name: str) -> None:
    """If campaigns are at rest already, the forecast includes their list, also while only that is waited for."""
    told, came_s = follow(LISTS[name])
    assert told is not None
    assert told == pytest.approx(came_s, rel=0.1, abs=2.0)


SLOW = ("more than is followed call by call", "two windows", "windows that share no divisor", "a large window")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.full] * (name in SLOW)) for name in SHAPES])
def test_the_end_that_is_told_comes(name: str) -> None:
    """In a run that nothing disturbs it is within a tenth of the time left, or 2 s."""
    told, came_s = follow(SHAPES[name])
    assert told is not None
    assert told == pytest.approx(came_s, rel=0.1, abs=2.0)
