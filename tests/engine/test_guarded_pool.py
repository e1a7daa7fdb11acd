"""The guards at work in the pool, in virtual time: what they hold back, what goes on, and how a run ends for them."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.breaker import Breaker
from bulkstop.engine.groups import FIRST, Groups
from bulkstop.engine.guard import FAILURES, Admission
from bulkstop.engine.lanes import Claim, Lane, Lanes
from bulkstop.engine.pool import NOT_TRIED, Pool
from bulkstop.engine.quota import NoQuota, RollingWindow
from bulkstop.engine.retry import Retry
from bulkstop.errors import GuardError
from bulkstop.model import Again, Attempt, Campaign, Cap, Limit, Outcome, Result
from tests.engine.parts import (
    BUSY,
    STOPPED,
    Reply,
    Service,
    accounts,
    always,
    campaigns,
    clock_time,
    now_s,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

CONCURRENCIES = (1, 8, 64)
BROKEN = Attempt(Outcome.SERVER_ERROR, Again.NO, 500, error="HTTP 500")
REFUSED = Attempt(Outcome.UNAUTHORIZED, http_status=401, error="HTTP 401")
GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
NO_ROUTE = Attempt(Outcome.CONNECTION_ERROR, Again.LATER, error="no route")


class Guarded:
    """A pool with guards in virtual time, and what it reported, with the time of each result."""

    def __init__(
        self,
        rows: Iterable[Campaign],
        service: Service,
        *,
        admission: Admission | None = None,
        breaker: Breaker | None = None,
        groups: Groups | None = None,
        concurrency: int = 8,
        attempts: int = 5,
        limits: Sequence[Limit] = (),
        claim: Claim | None = None,
        seen: Callable[[Result], None] = lambda result: None,
    ) -> None:
        self.results: list[Result] = []
        self.times: list[float] = []
        self.service = service
        self.rows = list(rows)
        own: dict[str, list[Campaign]] = {}
        for row in self.rows:
            own.setdefault(row.account_id, []).append(row)
        lanes = Lanes(
            (
                Lane(name, its, RollingWindow(limits) if limits else NoQuota(), claim, left=len(its))
                for name, its in own.items()
            ),
            concurrency,
            admission,
        )
        self.lanes = lanes
        self.pool = Pool(
            lanes,
            service.send,
            self._report,
            retry=Retry(attempts),
            concurrency=concurrency,
            breaker=breaker,
            groups=groups,
            now=now_s,
            tick_s=0.0,
            wall=clock_time,
        )
        self._seen = seen

    def _report(self, result: Result) -> None:
        self.results.append(result)
        self.times.append(now_s())
        self._seen(result)

    def to_its_end(self) -> GuardError | None:
        """Run; check that each campaign has one line and that no count is left over; give the guard's fault."""
        fault = None
        loop = VirtualLoop()
        try:
            run(self.pool.run(), loop=loop)
        except GuardError as error:
            fault = error
        self.took_s = loop.time()
        assert sorted(result.campaign_id for result in self.results) == sorted(row.campaign_id for row in self.rows)
        assert self.service.in_flight == self.pool.in_flight == 0
        return fault

    def outcomes(self) -> Counter[Outcome]:
        """Count the reported outcomes."""
        return Counter(result.outcome for result in self.results)


def fails_after(calls: int, answer: Attempt = BROKEN, seed: int = 0) -> Service:
    """Make a service that fails everything after so many calls, and answers in no order."""
    random_s = random.Random(seed)
    service = Service(
        lambda one, call: Reply(random_s.uniform(0.01, 0.5), STOPPED if len(service.log) <= calls else answer)
    )
    return service


# --- the cap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("names", ["a", "abcdefgh"])
@pytest.mark.parametrize("count", [1, 10, 64])
def test_exactly_the_cap_fails(count: int, names: str, concurrency: int) -> None:
    """When all fails after 100 calls, exactly so many campaigns fail as the cap says, and the rest was not sent."""
    rows = accounts(names, 400 // len(names))
    job = Guarded(rows, fails_after(100), admission=Admission(Cap(count)), concurrency=concurrency)
    fault = job.to_its_end()
    assert str(fault).startswith(f"--max-failures {count}: {count} of {100 + count} campaigns failed, the first cd-")
    assert job.outcomes() == {
        Outcome.STOPPED: 100,
        Outcome.SERVER_ERROR: count,
        Outcome.NOT_SENT: 300 - count,
    }
    assert {result.error for result in job.results if result.outcome is Outcome.NOT_SENT} == {NOT_TRIED}


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_tries_count_once(concurrency: int) -> None:
    """A campaign fails when its tries have run out: its tries are no failures, and go on while nothing new begins."""
    job = Guarded(
        campaigns(300), fails_after(100, BUSY), admission=Admission(Cap(5)), concurrency=concurrency, attempts=3
    )
    assert "5 of " in str(job.to_its_end())
    assert job.outcomes()[Outcome.SERVER_ERROR] == 5
    assert {result.attempts for result in job.results if result.outcome is Outcome.SERVER_ERROR} <= {2, 3}
    assert job.outcomes()[Outcome.NOT_SENT] == 300 - 5 - job.outcomes()[Outcome.STOPPED]


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_a_share_is_never_overshot(concurrency: int) -> None:
    """At no result are there more failures than 10% of those that have ended, of at least 100."""
    failed = settled = 0

    def seen(result: Result) -> None:
        nonlocal failed, settled
        if result.outcome is not Outcome.NOT_SENT:
            settled += 1
            failed += result.outcome in FAILURES
            assert failed <= max(settled, 100) // 10

    chance = random.Random(concurrency)
    service = Service(lambda one, call: Reply(chance.random(), BROKEN if chance.random() < 0.15 else STOPPED))
    job = Guarded(campaigns(1000), service, admission=Admission(Cap(share=0.1)), concurrency=concurrency, seen=seen)
    assert "--max-failures 10%" in str(job.to_its_end())
    assert failed == max(settled, 100) // 10


def test_the_last_failure_of_a_finished_list_ends_nothing() -> None:
    """When nothing is left to hold back, a cap that is reached is no reason: the run has come to its end."""
    job = Guarded(campaigns(101), fails_after(100), admission=Admission(Cap(1)), concurrency=1)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 100, Outcome.SERVER_ERROR: 1}


def test_accounts_take_turns_at_a_tight_cap() -> None:
    """With one place at a time, no account waits for another to be done."""
    job = Guarded(accounts("abc", 20), always(STOPPED, 1.0), admission=Admission(Cap(1)), concurrency=8)
    assert job.to_its_end() is None
    assert job.service.most_in_flight == 1
    order = [call.campaign.account_id for call in job.service.log]
    for turn in range(20):
        assert sorted(order[3 * turn : 3 * turn + 3]) == ["a", "b", "c"]


def test_a_throttled_account_does_not_hold_the_places_of_others_for_ever() -> None:
    """Campaigns that wait for another try are under way; when they end, their places are free again."""
    service = Service(lambda one, call: Reply(0.1, throttled(5.0) if call == 1 and one.account_id == "a" else STOPPED))
    job = Guarded(accounts("ab", 50), service, admission=Admission(Cap(4)), concurrency=8)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 100}


def test_what_fails_while_a_drain_waits_is_not_the_reason() -> None:
    """When a signal has ended the run already, the cap that is reached by what was in flight changes nothing."""
    job = Guarded(campaigns(50), always(BROKEN, 10.0), admission=Admission(Cap(4)), concurrency=8)

    async def main() -> None:
        asyncio.get_running_loop().call_later(5.0, job.pool.drain)
        await job.pool.run()

    run(main())
    assert job.outcomes() == {Outcome.SERVER_ERROR: 4, Outcome.NOT_SENT: 46}


# --- waves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("names", ["a", "abcd"])
def test_waves_and_their_soaks(names: str, concurrency: int) -> None:
    """The next wave's first call leaves one soak after the last answer of the wave before, and not earlier."""
    jitter = random.Random(7)
    service = Service(lambda one, call: Reply(jitter.random(), BUSY if call == 1 and not one.line % 7 else STOPPED))
    admission = Admission(waves=[1, 20, 200], soak_s=60.0)
    job = Guarded(accounts(names, 200 // len(names)), service, admission=admission, concurrency=concurrency)
    assert job.to_its_end() is None
    first_calls = sorted({call.campaign: call.began_s for call in reversed(service.log)}.values())
    for wave in (1, 20):
        assert first_calls[wave] == job.times[wave - 1] + 60.0


def test_a_canary_saves_the_list() -> None:
    """When the first campaign fails, it is the only one that was sent."""
    job = Guarded(campaigns(500), always(GONE, 0.1), admission=Admission(waves=[1, 50, 500], soak_s=60.0))
    assert str(job.to_its_end()).startswith("--waves: wave 1 of 3 did not pass: 1 of its first 1 campaigns failed, ")
    assert len(job.service.log) == 1


def test_a_drain_ends_a_soak() -> None:
    """Nobody waits for a soak that a signal has made pointless, and the signal stays the reason."""
    job = Guarded(campaigns(50), always(STOPPED, 1.0), admission=Admission(waves=[1, 50], soak_s=3600.0))

    async def main() -> None:
        asyncio.get_running_loop().call_later(10.0, job.pool.drain)
        await job.pool.run()

    _, took_s = run(main())
    assert took_s == 10.0
    assert job.outcomes() == {Outcome.STOPPED: 1, Outcome.NOT_SENT: 49}


# --- the breaker ----------------------------------------------------------------------------------------------------


def down(began_s: float, ended_s: float, answer: Attempt = NO_ROUTE) -> Service:
    """Make a service that is down for a while."""
    return Service(lambda one, call: Reply(0.25, answer if began_s <= now_s() < ended_s else STOPPED))


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [NO_ROUTE, BROKEN])
def test_one_probe_at_a_time_while_the_service_is_down(answer: Attempt, concurrency: int) -> None:
    """What leaves after the tenth failure are single probes, at pauses that double, until one finds it working."""
    service = down(5.0, 40.0, answer)
    job = Guarded(accounts("ab", 60 * concurrency), service, breaker=Breaker(10), concurrency=concurrency, attempts=99)
    assert job.to_its_end() is None
    failures = sorted((call.ended_s or 0.0) for call in service.log if 5.0 <= call.began_s < 40.0)
    opened_at = failures[9]
    probes = [call.began_s for call in service.log if opened_at < call.began_s < 40.0]
    expected, pause_s = [opened_at + 1.0], 1.0
    while expected[-1] < 40.0:
        pause_s = min(30.0, 2 * pause_s)
        expected.append(expected[-1] + 0.25 + pause_s)
    assert probes == pytest.approx(expected[:-1])
    back_at = expected[-1]
    assert [call for call in service.log if 40.0 <= call.began_s < back_at + 0.25] == [
        call for call in service.log if call.began_s == pytest.approx(back_at)
    ]
    assert sum(call.began_s == pytest.approx(back_at) for call in service.log) == 1


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_an_outage_beyond_the_bound_ends_the_run(concurrency: int) -> None:
    """The run ends with one line, and what was not tried is left for a resume."""
    job = Guarded(
        campaigns(5000), down(5.0, math.inf), breaker=Breaker(10, bound_s=300.0), concurrency=concurrency, attempts=5
    )
    assert str(job.to_its_end()).startswith("--max-outage 300s: the service has failed every probe for 300 s, ")
    assert job.outcomes()[Outcome.NOT_SENT] > 4000 - 20 * concurrency


def test_a_list_that_ends_while_it_is_open_is_done() -> None:
    """Nobody waits for a probe when there is no campaign left to be one."""
    job = Guarded(campaigns(10), always(BROKEN, 0.25), breaker=Breaker(10), concurrency=8)
    assert job.to_its_end() is None
    assert job.took_s == 0.5


def test_a_probe_that_the_store_holds_back_is_made_up_for() -> None:
    """When the shared store says wait to the probe, the next call that it lets through is the probe."""
    asked = Counter[str]()

    async def claim() -> float:
        asked["all"] += 1
        return 3.0 if asked["all"] == 11 else 0.0

    service = down(0.0, 2.5, BROKEN)
    job = Guarded(campaigns(20), service, breaker=Breaker(10), concurrency=1, claim=claim)
    assert job.to_its_end() is None
    assert [call.began_s for call in service.log][10] == pytest.approx(2.5 + 1.0 + 3.0)
    assert job.outcomes() == {Outcome.SERVER_ERROR: 10, Outcome.STOPPED: 10}


def test_a_probe_that_is_cancelled_from_within_is_made_up_for() -> None:
    """A call that dies inside this program tells nothing of the service, and does not keep the run waiting for it."""
    answer = dict.fromkeys(range(1, 11), BROKEN)
    service = Service(
        lambda one, call: Reply(0.25, asyncio.CancelledError() if one.line == 11 else answer.get(one.line, STOPPED))
    )
    job = Guarded(campaigns(20), service, breaker=Breaker(10), concurrency=1)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.SERVER_ERROR: 10, Outcome.UNKNOWN: 1, Outcome.STOPPED: 9}
    assert [call.began_s for call in service.log][10:12] == [3.5, 3.75]


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [REFUSED, GONE])
def test_a_wrong_account_ends_alone(answer: Attempt, concurrency: int) -> None:
    """The others are stopped to the last one; of the wrong one no call leaves once its first five have ended."""
    service = Service(lambda one, call: Reply(0.25, answer if one.account_id == "b" else STOPPED))
    job = Guarded(accounts("abc", 300), service, groups=Groups(), concurrency=concurrency)
    fault = job.to_its_end()
    wrong = [call for call in service.log if call.campaign.account_id == "b"]
    share = math.ceil(concurrency / 3)
    assert FIRST <= len(wrong) <= FIRST + 2 * share
    assert job.outcomes()[Outcome.STOPPED] == 600
    skipped = 300 - len(wrong)
    assert job.outcomes()[Outcome.NOT_SENT] == skipped
    (why,) = {result.error for result in job.results if result.outcome is Outcome.NOT_SENT}
    assert why is not None
    assert why.startswith("the first 5 of account b, stream st-1, voice were ")
    assert str(fault) == f"{why}; {skipped} more of them were not sent: put it right, then go on with --resume"


def test_a_closed_group_uses_no_quota() -> None:
    """Of an account with 10 calls a minute, 5 are spent on the wrong stream and 5 are left for the right one."""
    wrong = [one._replace(stream_id="st-2", campaign_id=f"w-{one.line}") for one in campaigns(200)]
    service = Service(lambda one, call: Reply(0.25, REFUSED if one.stream_id == "st-2" else STOPPED))
    job = Guarded([*wrong, *campaigns(5)], service, groups=Groups(), limits=[Limit(10, 60)], concurrency=1)
    assert "stream st-2" in str(job.to_its_end())
    assert len(service.log) == 10
    assert job.times[-1] < 60.0
    assert job.lanes.left() == {"a1": 0}


def test_a_closed_group_takes_no_place_in_a_wave() -> None:
    """What is not sent is neither admitted nor a failure: the wave goes on with the next campaign that is."""
    wrong = [one._replace(stream_id="st-2", campaign_id=f"w-{one.line}") for one in campaigns(50)]
    service = Service(lambda one, call: Reply(0.25, GONE if one.stream_id == "st-2" else STOPPED))
    admission = Admission(Cap(20), waves=[12, 24, 100], soak_s=5.0)
    job = Guarded([*wrong, *campaigns(50)], service, admission=admission, groups=Groups(), concurrency=2)
    assert "stream st-2" in str(job.to_its_end())
    assert job.outcomes() == {Outcome.NOT_FOUND: 6, Outcome.NOT_SENT: 44, Outcome.STOPPED: 50}
    began = [call.began_s for call in service.log]
    for wave in (12, 24):
        assert began[wave] >= began[wave - 1] + 0.25 + 5.0


def test_a_group_that_ends_with_its_first_five_is_no_fault_of_the_run() -> None:
    """When nothing was held back, five failed campaigns are five failed campaigns."""
    job = Guarded(campaigns(5), always(GONE, 0.1), groups=Groups())
    assert job.to_its_end() is None


def test_a_campaign_of_a_closed_group_that_was_tried_keeps_its_tries() -> None:
    """Only what was never sent is held back: a campaign between two tries is tried to its end."""
    service = Service(lambda one, call: Reply(0.25, BUSY if one.line == 1 and call < 3 else GONE))
    job = Guarded(campaigns(50), service, groups=Groups(), concurrency=2)
    assert job.to_its_end() is not None
    (first,) = [result for result in job.results if result.line == 1]
    assert (first.outcome, first.attempts) == (Outcome.NOT_FOUND, 3)


def test_a_long_closed_group_keeps_nobody_waiting() -> None:
    """While thousands of lines are written for one account, the answers of another are taken in between."""
    service = Service(lambda one, call: Reply(0.0, REFUSED if one.account_id == "b" else STOPPED))
    job = Guarded([*campaigns(300, "a"), *campaigns(3000, "b")], service, groups=Groups(), concurrency=4)
    assert job.to_its_end() is not None
    outcomes = [result.outcome for result in job.results]
    last_stop = len(outcomes) - outcomes[::-1].index(Outcome.STOPPED)
    in_a_row = max(map(len, "".join("n" if one is Outcome.NOT_SENT else " " for one in outcomes[:last_stop]).split()))
    assert in_a_row < 50


def test_many_closed_groups_are_still_one_short_line() -> None:
    """A hundred accounts without the scope are told of by the first three and a number."""
    job = Guarded(accounts([f"a{number}" for number in range(100)], 10), always(REFUSED, 0.1), groups=Groups())
    said = str(job.to_its_end())
    assert said.count("were refused") == 3
    assert said.endswith("; and 97 more groups")


def test_a_signal_stays_the_reason_beside_a_closed_group() -> None:
    """A run that was drained ends for that; the lines of the group say the rest."""
    service = Service(lambda one, call: Reply(1.0, REFUSED if one.account_id == "b" else STOPPED))
    job = Guarded([*campaigns(500, "a"), *campaigns(20, "b")], service, groups=Groups(), concurrency=4)

    async def main() -> None:
        asyncio.get_running_loop().call_later(30.0, job.pool.drain)
        await job.pool.run()

    run(main())
    assert job.pool.fault is None
    assert any("account b" in (result.error or "") for result in job.results)


# --- all at once ----------------------------------------------------------------------------------------------------

answers = st.sampled_from(
    [STOPPED, STOPPED, STOPPED, BROKEN, BUSY, NO_ROUTE, REFUSED, GONE, throttled(2.0), throttled()]
)


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 8).map(lambda n: n / 8), answers), min_size=1, max_size=25),
    st.sampled_from(CONCURRENCIES),
    st.none() | st.integers(1, 12).map(Cap) | st.integers(2, 50).map(lambda n: Cap(share=n / 100, sample=50)),
    st.lists(st.integers(1, 80), max_size=3, unique=True).map(sorted),
    st.none() | st.builds(Limit, st.integers(1, 9), st.just(10.0)),
    st.booleans(),
)
def test_whatever_happens_each_campaign_has_its_line_and_the_cap_holds(
    sizes: list[int],
    script: list[tuple[float, Attempt]],
    concurrency: int,
    cap: Cap | None,
    waves: list[int],
    limit: Limit | None,
    shared: bool,
) -> None:
    """With all guards at once a run never hangs, loses no line and never has more failures than it may."""
    asked = Counter[str]()

    async def claim() -> float:
        asked["all"] += 1
        return 1.5 if asked["all"] % 4 == 0 else 0.0

    ended = Counter[str]()

    def seen(result: Result) -> None:
        if result.outcome is not Outcome.NOT_SENT and result.finished_at is not None:
            ended["settled"] += 1
            ended["failed"] += result.outcome in FAILURES
            assert cap is None or ended["failed"] <= cap.allows(ended["settled"])

    service = Service(lambda one, call: Reply(*script[(one.line * 5 + call) % len(script)]))
    job = Guarded(
        [row for number, size in enumerate(sizes) for row in campaigns(size, f"a{number}")],
        service,
        admission=Admission(cap, waves=waves, soak_s=7.0),
        breaker=Breaker(4, bound_s=60.0),
        groups=Groups(3),
        concurrency=concurrency,
        attempts=3,
        limits=[limit] if limit else [],
        claim=claim if shared else None,
        seen=seen,
    )
    fault = job.to_its_end()
    assert fault is not None or not job.outcomes()[Outcome.NOT_SENT]
