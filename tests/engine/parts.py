"""Helpers for tests of the engine: campaigns, a scripted service, a pool in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from bulkstop.engine.followup import Follow, follow_nothing
from bulkstop.engine.guards.admission import Admission
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.guards import Guards
from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.lanes import Lane, Lanes, Turn
from bulkstop.engine.limits.quota import NoQuota, RollingWindow
from bulkstop.engine.pool import Pool
from bulkstop.engine.readback import IsEnough, ListedState, ListProgress, Reading, ReadList
from bulkstop.engine.retry import Retry
from bulkstop.errors import BulkstopError
from bulkstop.events import Observe, ignore
from bulkstop.model import (
    AtOnce,
    Attempt,
    Campaign,
    CampaignType,
    Cancellable,
    Done,
    Limit,
    Outcome,
    Report,
    Result,
    RetryHint,
    Send,
    never_at_once,
)
from tests.virtual_time import VirtualLoop, run

MIDNIGHT = 1_764_892_800.0
"""The start of 2025-12-05 in unix seconds, when every virtual run begins."""
STOPPED = Attempt(Outcome.STOPPED, http_status=200)
BUSY = Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, http_status=503, error="HTTP 503")
CLAIM = Attempt(Outcome.UNCONFIRMED, RetryHint.READ_BACK, http_status=200, error="not active")
"""The service claims that it does not run the campaign."""
AT_REST = ListedState("Stopped", is_at_rest=True)
RUNS = ListedState("Active", is_at_rest=False)
RENEWED = Attempt(Outcome.UNAUTHORIZED, RetryHint.NOW, http_status=401, error="HTTP 401")


def throttled(retry_after_s: float | None = None) -> Attempt:
    """Return the response of a service that is called too often."""
    return Attempt(Outcome.THROTTLED, RetryHint.THROTTLED, 429, error="rate limit", retry_after_s=retry_after_s)


def campaign(number: int, account_id: str = "a1") -> Campaign:
    """Make a campaign whose line is its number."""
    return Campaign.of_row(
        f"cd-{account_id}-{number}", CampaignType.VOICE, account_id, "st-1", "st-1", "list.csv", number
    )


def campaigns(count: int, account_id: str = "a1") -> list[Campaign]:
    """Make the campaigns 1 to `count` of an account."""
    return [campaign(number, account_id) for number in range(1, count + 1)]


def accounts(names: Iterable[str], count: int) -> list[Campaign]:
    """Make `count` campaigns for each account."""
    return [one for name in names for one in campaigns(count, name)]


class Reply(NamedTuple):
    """What a service does with a call: it waits, then answers or raises."""

    latency_s: float
    answer: Attempt | BaseException


@dataclass(slots=True)
class Call:
    """One call as the service saw it."""

    campaign: Campaign
    began_s: float
    ended_s: float | None = None


class Service:
    """A Send that does what `script` says for the n-th call (from 1) of a campaign, and logs every call."""

    def __init__(self, script: Callable[[Campaign, int], Reply]) -> None:
        self.log: list[Call] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._script = script
        self._tries: Counter[str] = Counter()

    async def send(self, campaign: Campaign) -> Attempt:
        """Serve one call."""
        call, (latency_s, answer) = self.take_call(campaign)
        try:
            await asyncio.sleep(latency_s)
        finally:
            self.in_flight -= 1
        call.ended_s = now_s()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def begin(self, campaign: Campaign, done: Done) -> Cancellable | None:
        """Serve one call of every campaign but each third without a task, as an AtOnce."""
        return Served(self, campaign, done) if campaign.line % 3 else None

    def take_call(self, campaign: Campaign) -> tuple[Call, Reply]:
        """Note a call that comes in, and say what it gets."""
        call = Call(campaign, now_s())
        self.log.append(call)
        self._tries[campaign.campaign_id] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return call, self._script(campaign, self._tries[campaign.campaign_id])

    def began_s(self, account_id: str) -> list[float]:
        """Return the times at which the calls of an account came in."""
        return [call.began_s for call in self.log if call.campaign.account_id == account_id]


class Served:
    """A call that a timer answers; a renewed token is returned as an awaitable."""

    def __init__(self, service: Service, campaign: Campaign, done: Done) -> None:
        self._service, self._done = service, done
        self._call, (latency_s, self._answer) = service.take_call(campaign)
        self._timer = asyncio.get_running_loop().call_later(latency_s, self._end)

    def cancel(self) -> None:
        """Say that it was cut off."""
        self._timer.cancel()
        self._service.in_flight -= 1
        self._done(asyncio.CancelledError())

    def _end(self) -> None:
        self._service.in_flight -= 1
        self._call.ended_s = now_s()
        answer = self._answer
        is_renewed = isinstance(answer, Attempt) and answer.again is RetryHint.NOW
        self._done(_later(answer) if is_renewed else answer)


async def _later(answer: Attempt | BaseException) -> Attempt:
    assert isinstance(answer, Attempt)
    return answer


def always(answer: Attempt, latency_s: float = 0.0) -> Service:
    """Make a service that knows one answer."""
    return Service(lambda campaign, call: Reply(latency_s, answer))


class Lists:
    """A ReadList that takes `latency_s` and gives what `script` says for the n-th reading (from 1) of a group."""

    def __init__(
        self,
        script: Callable[[Campaign, int], Mapping[str, ListedState] | Reading | BaseException],
        latency_s: float = 1.0,
    ) -> None:
        self.log: list[tuple[Campaign, float]] = []
        self.in_progress: Counter[str] = Counter()
        self.most_in_progress = 0
        self.finished = 0
        self._script = script
        self._latency_s = latency_s
        self._readings: Counter[tuple[str, str, CampaignType]] = Counter()

    async def read(self, of: Campaign, is_enough: IsEnough, progress: ListProgress) -> Reading:
        """Read a list; of one account never two at the same time."""
        self.log.append((of, now_s()))
        group = (of.account_id, of.stream_id, of.campaign_type)
        self._readings[group] += 1
        number = self._readings[group]
        assert not self.in_progress[of.account_id], "two lists of one account at the same time"
        self.in_progress[of.account_id] += 1
        self.most_in_progress = max(self.most_in_progress, self.in_progress.total())
        try:
            await asyncio.sleep(self._latency_s)
        finally:
            self.in_progress[of.account_id] -= 1
        self.finished += 1
        found = self._script(of, number)
        if isinstance(found, BaseException):
            raise found
        return found if isinstance(found, Reading) else Reading(found, calls=1)


async def read_nothing(of: Campaign, is_enough: IsEnough, progress: ListProgress) -> Reading:
    """Be the ReadList of a run in which nothing waits for a list."""
    raise AssertionError("a list was read")


Ask = Callable[[], Awaitable[float]]
"""Asks a store for one place: 0.0 for it, else the seconds after which to ask again."""


class Asking:
    """A claim that calls the store for every call, keeps no places, and counts their use."""

    held = 0
    is_away = False

    def __init__(self, ask: Ask) -> None:
        self.in_use = 0
        self._ask = ask

    def take_now(self) -> bool:
        """Have none."""
        return False

    async def take(self, want: int) -> float:
        """Ask for one."""
        wait_s = await self._ask()
        self.in_use += not wait_s
        return wait_s

    def answered(self) -> None:
        """Count it no more."""
        self.in_use -= 1

    def give_back(self) -> None:
        """Count it no more."""
        self.in_use -= 1

    def release(self) -> None:
        """Have nothing."""

    note: str | None = None

    def save_note(self, text: str) -> None:
        """Keep it."""
        self.note = text


def claim_with(ask: Ask | None) -> Asking | None:
    """Return the claim of an account that asks like that; None for none."""
    return None if ask is None else Asking(ask)


class Job:
    """A pool in virtual time with what it reported, and when; run it with `to_its_end`, or `run(job.pool.run())`."""

    def __init__(
        self,
        rows: Iterable[Campaign] | Mapping[str, Iterable[Campaign]],
        send: Service | Send,
        *,
        limits: Sequence[Limit] = (),
        concurrency: int = 32,
        attempts: int = 5,
        at_once: AtOnce = never_at_once,
        report: Report | None = None,
        admission: Admission | None = None,
        breaker: Breaker | None = None,
        scopes: ScopeBreaker[Turn] | None = None,
        lists: Lists | None = None,
        read_list: ReadList | None = None,
        follow: Follow = follow_nothing,
        at_rest: Callable[[], Iterable[Lane]] = tuple,
        claim: Ask | None = None,
        make_lane: Callable[[str, Iterable[Campaign]], Lane] | None = None,
        seen: Callable[[Result], object] = lambda result: None,
        observe: Observe = ignore,
        look_at_clock: Callable[[], object] = lambda: None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.results: list[Result] = []
        self.times: list[float] = []
        self.rows = rows if isinstance(rows, Mapping) else by_account(rows)
        self.took_s = 0.0
        self.acted: list[Callable[[], object]] = []
        if isinstance(send, Service):
            self.service = send
        self._seen = seen
        lanes = (
            make_lane(name, own)
            if make_lane is not None
            else Lane(name, own, RollingWindow(limits) if limits else NoQuota(), claim_with(claim), left=size_of(own))
            for name, own in self.rows.items()
        )
        self.lanes = Lanes(lanes, concurrency, Guards(admission, breaker, scopes))
        self.pool = Pool(
            self.lanes,
            send.send if isinstance(send, Service) else send,
            report or self._report,
            retry=Retry(attempts),
            concurrency=concurrency,
            at_once=at_once,
            read_list=read_list or (read_nothing if lists is None else lists.read),
            follow=follow,
            at_rest=at_rest,
            run_id="run-1",
            observe=observe,
            look_at_clock=look_at_clock,
            now=now or now_s,
            tick_s=0.0,
            wall=clock_time,
        )

    def _report(self, results: Sequence[Result]) -> None:
        for result in results:
            self.results.append(result)
            self.times.append(now_s())
            self._seen(result)

    def to_its_end(self, *acts: tuple[float, Callable[[], object]]) -> BulkstopError | None:
        """Run with acts at given times; check that each campaign has one line, and return the fault of the run."""
        fault, loop = None, VirtualLoop()

        def do(act: Callable[[], object]) -> None:
            self.acted.append(act)
            act()

        async def main() -> None:
            timers = [loop.call_later(at, do, act) for at, act in acts]
            try:
                await self.pool.run()
            finally:
                for timer in timers:
                    timer.cancel()

        try:
            run(main(), loop=loop)
        except BulkstopError as error:
            fault = error
        self.took_s = loop.time()
        self.check()
        return fault

    def check(self) -> None:
        """Check that each campaign has one line, and that no count is left over."""
        expected = sorted(one.campaign_id for own in self.rows.values() for one in own)
        assert sorted(result.campaign_id for result in self.results) == expected
        assert self.pool.in_flight == 0

    def outcomes(self) -> Counter[Outcome]:
        """Count the reported outcomes."""
        return Counter(result.outcome for result in self.results)

    def finished_s(self, account_id: str) -> float:
        """Return the time at which the last result of an account was settled."""
        texts = [result.finished_at for result in self.results if result.account_id == account_id]
        return max(datetime.fromisoformat(text).timestamp() for text in texts if text is not None) - MIDNIGHT


def size_of(rows: Iterable[Campaign]) -> int:
    """Return how many rows there are, 0 when that is not known before they are read."""
    return len(rows) if isinstance(rows, list) else 0


def now_s() -> float:
    """Tell the virtual time."""
    return asyncio.get_running_loop().time()


def clock_time() -> float:
    """Tell the virtual time of day in unix seconds."""
    return MIDNIGHT + now_s()


def by_account(rows: Iterable[Campaign]) -> dict[str, list[Campaign]]:
    """Return the campaigns of each account."""
    accounts: dict[str, list[Campaign]] = {}
    for row in rows:
        accounts.setdefault(row.account_id, []).append(row)
    return accounts
