"""The guards in the pool, in virtual time: what they delay, what continues, and how they end a run."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.followup import FollowUp
from bulkstop.engine.guards.admission import FAILURES, Admission
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.scopes import FIRST, ScopeBreaker
from bulkstop.engine.lanes import Turn
from bulkstop.engine.readback import NOT_READ_BACK, REVIEWS, Reading
from bulkstop.engine.results import NOT_TRIED
from bulkstop.errors import BulkstopError, QuotaError
from bulkstop.model import Attempt, Campaign, FailureCap, Limit, Outcome, Result, RetryHint
from tests.engine.parts import (
    AT_REST,
    BUSY,
    CLAIM,
    RENEWED,
    RUNS,
    STOPPED,
    Job,
    Lists,
    Reply,
    Service,
    accounts,
    always,
    campaigns,
    now_s,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

CONCURRENCIES = (1, 8, 64)
BROKEN = Attempt(Outcome.SERVER_ERROR, RetryHint.NO, 500, error="HTTP 500")
REFUSED = Attempt(Outcome.UNAUTHORIZED, http_status=401, error="HTTP 401")
GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
BAD = Attempt(Outcome.REJECTED, http_status=400, error="HTTP 400")
MOVED = Attempt(Outcome.REJECTED, http_status=302, error="HTTP 302")
FOREIGN = Attempt(Outcome.UNCONFIRMED, http_status=200, error="a page", is_foreign=True)
NO_ROUTE = Attempt(Outcome.CONNECTION_ERROR, RetryHint.LATER, error="no route")


def fails_after(calls: int, answer: Attempt = BROKEN, seed: int = 0) -> Service:
    """Return a service that fails everything after some calls, and answers in random order."""
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
    """If all fails after 100 calls, exactly as many campaigns fail as the cap says, and the rest is not sent."""
    rows = accounts(names, 400 // len(names))
    job = Job(rows, fails_after(100), admission=Admission(FailureCap(count)), concurrency=concurrency)
    fault = job.to_its_end()
    assert str(fault).startswith(f"max_failures {count}: {count} of {100 + count} campaigns failed, the first cd-")
    assert job.outcomes() == {
        Outcome.STOPPED: 100,
        Outcome.SERVER_ERROR: count,
        Outcome.NOT_SENT: 300 - count,
    }
    assert {result.error for result in job.results if result.outcome is Outcome.NOT_SENT} == {NOT_TRIED}


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_tries_count_once(concurrency: int) -> None:
    """A campaign fails when its tries have run out: its tries are no failures, and go on while nothing new begins."""
    job = Job(
        campaigns(300), fails_after(100, BUSY), admission=Admission(FailureCap(5)), concurrency=concurrency, attempts=3
    )
    assert "5 of " in str(job.to_its_end())
    assert job.outcomes()[Outcome.SERVER_ERROR] == 5
    assert {result.attempts for result in job.results if result.outcome is Outcome.SERVER_ERROR} <= {2, 3}
    assert job.outcomes()[Outcome.NOT_SENT] == 300 - 5 - job.outcomes()[Outcome.STOPPED]


def test_the_last_failure_of_a_finished_list_ends_nothing() -> None:
    """If no campaign is left, a reached cap does not end the run: it is complete."""
    job = Job(campaigns(101), fails_after(100), admission=Admission(FailureCap(1)), concurrency=1)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 100, Outcome.SERVER_ERROR: 1}


def test_accounts_take_turns_at_a_tight_cap() -> None:
    """With one place at a time, no account waits for another to be done."""
    job = Job(accounts("abc", 20), always(STOPPED, 1.0), admission=Admission(FailureCap(1)), concurrency=8)
    assert job.to_its_end() is None
    assert job.service.most_in_flight == 1
    order = [call.campaign.account_id for call in job.service.log]
    for turn in range(20):
        assert sorted(order[3 * turn : 3 * turn + 3]) == ["a", "b", "c"]


def test_a_throttled_account_does_not_hold_the_places_of_others_for_ever() -> None:
    """Campaigns that wait for another try are under way; when they end, their places are free again."""
    service = Service(lambda one, call: Reply(0.1, throttled(5.0) if call == 1 and one.account_id == "a" else STOPPED))
    job = Job(accounts("ab", 50), service, admission=Admission(FailureCap(4)), concurrency=8)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 100}


def test_what_fails_while_a_drain_waits_is_not_the_reason() -> None:
    """When a signal has ended the run already, the cap that is reached by what was in flight changes nothing."""
    job = Job(campaigns(50), always(BROKEN, 10.0), admission=Admission(FailureCap(4)), concurrency=8)

    assert job.to_its_end((5.0, job.pool.drain)) is None
    assert job.outcomes() == {Outcome.SERVER_ERROR: 4, Outcome.NOT_SENT: 46}


# --- waves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("names", ["a", "abcd"])
def test_waves_and_their_soaks(names: str, concurrency: int) -> None:
    """The next wave's first call leaves one soak after the last answer of the wave before, and not earlier."""
    jitter = random.Random(7)
    service = Service(lambda one, call: Reply(jitter.random(), BUSY if call == 1 and not one.line % 7 else STOPPED))
    admission = Admission(waves=[1, 20, 200], soak_s=60.0)
    job = Job(accounts(names, 200 // len(names)), service, admission=admission, concurrency=concurrency)
    assert job.to_its_end() is None
    first_calls = sorted({call.campaign: call.began_s for call in reversed(service.log)}.values())
    for wave in (1, 20):
        assert first_calls[wave] == job.times[wave - 1] + 60.0


def test_a_drain_ends_a_soak() -> None:
    """Nobody waits for a soak that a signal has made pointless, and the signal stays the reason."""
    job = Job(campaigns(50), always(STOPPED, 1.0), admission=Admission(waves=[1, 50], soak_s=3600.0))

    assert job.to_its_end((10.0, job.pool.drain)) is None
    assert job.took_s == 10.0
    assert job.outcomes() == {Outcome.STOPPED: 1, Outcome.NOT_SENT: 49}


# --- the breaker ----------------------------------------------------------------------------------------------------


def down(began_s: float, ended_s: float, answer: Attempt = NO_ROUTE) -> Service:
    """Make a service that is down for a while."""
    return Service(lambda one, call: Reply(0.25, answer if began_s <= now_s() < ended_s else STOPPED))


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [NO_ROUTE, BROKEN])
def test_one_probe_at_a_time_while_the_service_is_down(answer: Attempt, concurrency: int) -> None:
    """After the tenth failure only single probes are sent, at doubling pauses, until one succeeds."""
    service = down(5.0, 40.0, answer)
    job = Job(accounts("ab", 60 * concurrency), service, breaker=Breaker(10), concurrency=concurrency, attempts=99)
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
    job = Job(
        campaigns(5000), down(5.0, math.inf), breaker=Breaker(10, bound_s=300.0), concurrency=concurrency, attempts=5
    )
    assert str(job.to_its_end()).startswith("max_outage_s 300s: every probe has failed for 300 s, ")
    assert job.outcomes()[Outcome.NOT_SENT] > 4000 - 20 * concurrency


def test_a_list_that_ends_while_it_is_open_is_done() -> None:
    """No probe is waited for if no campaign is left for one."""
    job = Job(campaigns(10), always(BROKEN, 0.25), breaker=Breaker(10), concurrency=8)
    assert job.to_its_end() is None
    assert job.took_s == 0.5


def test_a_probe_that_the_store_holds_back_is_made_up_for() -> None:
    """When the shared store says wait to the probe, the next call that it lets through is the probe."""
    asked = Counter[str]()

    async def claim() -> float:
        asked["all"] += 1
        return 3.0 if asked["all"] == 11 else 0.0

    service = down(0.0, 2.5, BROKEN)
    job = Job(campaigns(20), service, breaker=Breaker(10), concurrency=1, claim=claim)
    assert job.to_its_end() is None
    assert [call.began_s for call in service.log][10] == pytest.approx(2.5 + 1.0 + 3.0)
    assert job.outcomes() == {Outcome.SERVER_ERROR: 10, Outcome.STOPPED: 10}


def test_a_probe_that_is_cancelled_from_within_is_made_up_for() -> None:
    """A call that dies inside this program tells nothing of the service, and does not keep the run waiting for it."""
    answer = dict.fromkeys(range(1, 11), BROKEN)
    service = Service(
        lambda one, call: Reply(0.25, asyncio.CancelledError() if one.line == 11 else answer.get(one.line, STOPPED))
    )
    job = Job(campaigns(20), service, breaker=Breaker(10), concurrency=1)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.SERVER_ERROR: 10, Outcome.UNKNOWN: 1, Outcome.STOPPED: 9}
    assert [call.began_s for call in service.log][10:12] == [3.5, 3.75]


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [REFUSED, GONE])
def test_a_wrong_account_ends_alone(answer: Attempt, concurrency: int) -> None:
    """The others are stopped to the last one; of the wrong one no call leaves once its first five have ended."""
    service = Service(lambda one, call: Reply(0.25, answer if one.account_id == "b" else STOPPED))
    job = Job(accounts("abc", 300), service, scopes=ScopeBreaker(), concurrency=concurrency)
    fault = job.to_its_end()
    wrong = [call for call in service.log if call.campaign.account_id == "b"]
    assert len(wrong) == FIRST
    assert job.outcomes() == {Outcome.STOPPED: 600, answer.outcome: FIRST, Outcome.NOT_SENT: 300 - FIRST}
    assert {result.finished_at for result in job.results if result.outcome is answer.outcome} == {None}
    (why,) = {result.error for result in job.results if result.outcome is Outcome.NOT_SENT}
    assert why is not None
    assert why.startswith("the first calls of account b, stream st-1, voice failed (5 ")
    way_on = "correct the cause, then go on with resume=True, which sends the refused ones again"
    assert str(fault) == f"{why}; {300 - FIRST} more of them were not sent: {way_on}"


def test_a_closed_group_uses_no_quota() -> None:
    """In an account with 10 calls a minute, 5 are spent on the wrong stream and 5 are left for the right one."""
    wrong = [one._replace(stream_id="st-2", campaign_id=f"w-{one.line}") for one in campaigns(200)]
    service = Service(lambda one, call: Reply(0.25, REFUSED if one.stream_id == "st-2" else STOPPED))
    job = Job([*wrong, *campaigns(5)], service, scopes=ScopeBreaker(), limits=[Limit(10, 60)], concurrency=1)
    assert "stream st-2" in str(job.to_its_end())
    assert len(service.log) == 10
    assert job.times[-1] < 60.0
    assert job.lanes.left() == {"a1": 0}


def test_a_closed_group_takes_no_place_in_a_wave() -> None:
    """A campaign that is not sent is neither admitted nor a failure: the wave continues with the next one."""
    wrong = [one._replace(stream_id="st-2", campaign_id=f"w-{one.line}") for one in campaigns(50)]
    service = Service(lambda one, call: Reply(0.25, GONE if one.stream_id == "st-2" else STOPPED))
    admission = Admission(FailureCap(20), waves=[12, 24, 100], soak_s=5.0)
    job = Job([*wrong, *campaigns(50)], service, admission=admission, scopes=ScopeBreaker(), concurrency=2)
    assert "stream st-2" in str(job.to_its_end())
    assert job.outcomes() == {Outcome.NOT_FOUND: 5, Outcome.NOT_SENT: 45, Outcome.STOPPED: 50}
    began = [call.began_s for call in service.log]
    for wave in (12, 24):
        assert began[wave] >= began[wave - 1] + 0.25 + 5.0


def test_a_campaign_of_a_closed_group_that_was_tried_keeps_its_tries() -> None:
    """Only campaigns that were never sent are omitted: one between two attempts gets all its attempts."""
    service = Service(lambda one, call: Reply(0.25, BUSY if one.line == 1 and call < 3 else GONE))
    job = Job(campaigns(50), service, scopes=ScopeBreaker(), concurrency=2)
    assert job.to_its_end() is not None
    (first,) = [result for result in job.results if result.line == 1]
    assert (first.outcome, first.attempts) == (Outcome.NOT_FOUND, 3)


def test_a_long_closed_group_keeps_nobody_waiting() -> None:
    """While thousands of lines are written for one account, the answers of another are taken in between."""
    service = Service(lambda one, call: Reply(0.0, REFUSED if one.account_id == "b" else STOPPED))
    job = Job([*campaigns(300, "a"), *campaigns(3000, "b")], service, scopes=ScopeBreaker(), concurrency=4)
    assert job.to_its_end() is not None
    outcomes = [result.outcome for result in job.results]
    last_stop = len(outcomes) - outcomes[::-1].index(Outcome.STOPPED)
    in_a_row = max(map(len, "".join("n" if one is Outcome.NOT_SENT else " " for one in outcomes[:last_stop]).split()))
    assert in_a_row < 50


def test_a_signal_stays_the_reason_beside_a_closed_group() -> None:
    """A run that was drained ends for that; the lines of the group say the rest."""
    service = Service(lambda one, call: Reply(1.0, REFUSED if one.account_id == "b" else STOPPED))
    job = Job([*campaigns(500, "a"), *campaigns(20, "b")], service, scopes=ScopeBreaker(), concurrency=4)

    assert job.to_its_end((30.0, job.pool.drain)) is None
    assert any("account b" in (result.error or "") for result in job.results)


# --- a slow start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [STOPPED, CLAIM])
def test_calls_in_flight_double_with_each_answer_time(answer: Attempt, concurrency: int) -> None:
    """A group has 1, 2, 4 … calls in flight, up to the concurrency: the 63rd is sent in the sixth answer time."""
    lists = Lists(lambda of, number: {one.campaign_id: AT_REST for one in campaigns(200)})
    job = Job(campaigns(200), always(answer, 1.0), scopes=ScopeBreaker(), concurrency=concurrency, lists=lists)
    assert job.to_its_end() is None
    together = Counter(call.began_s for call in job.service.log)
    for number in range(7):
        assert together[float(number)] == min(2**number, concurrency)


def test_a_group_begins_slowly_beside_one_that_works() -> None:
    """The success of one stream says nothing about another of the account: each begins with one call."""
    other = [one._replace(stream_id="st-2", campaign_id=f"o-{one.line}") for one in campaigns(100)]
    job = Job([*campaigns(100), *other], always(STOPPED, 1.0), scopes=ScopeBreaker(), concurrency=64)
    assert job.to_its_end() is None
    assert [sum(call.began_s == number for call in job.service.log) for number in range(4)] == [2, 4, 8, 16]


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_a_try_in_a_group_without_a_success_is_its_call_in_flight(concurrency: int) -> None:
    """While a group has no success, neither new campaigns nor due attempts are sent beside its one call."""
    service = Service(lambda one, call: Reply(5.0, BUSY if call < 3 else STOPPED if one.line > 6 else GONE))
    job = Job(campaigns(4), service, scopes=ScopeBreaker(), concurrency=concurrency)
    assert job.to_its_end() is not None
    assert service.most_in_flight == 1
    assert len(service.log) == 12


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_a_refused_group_holds_up_no_other_of_its_account(concurrency: int) -> None:
    """The right stream behind five hundred campaigns of a wrong one takes only five calls longer than alone."""
    wrong = [one._replace(stream_id="st-2", campaign_id=f"w-{one.line}") for one in campaigns(500)]
    service = Service(lambda one, call: Reply(1.0, REFUSED if one.stream_id == "st-2" else STOPPED))
    alone = Job(campaigns(300), always(STOPPED, 1.0), scopes=ScopeBreaker(), concurrency=concurrency)
    assert alone.to_its_end() is None
    job = Job([*wrong, *campaigns(300)], service, scopes=ScopeBreaker(), concurrency=concurrency)
    assert job.to_its_end() is not None
    assert job.outcomes() == {Outcome.UNAUTHORIZED: 5, Outcome.NOT_SENT: 495, Outcome.STOPPED: 300}
    assert job.took_s <= alone.took_s + FIRST


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("answer", [REFUSED, RENEWED, GONE, FOREIGN, MOVED, BAD])
@pytest.mark.parametrize("size", [1, 4, 5, 6, 500])
def test_at_most_five_calls_are_lost_to_a_wrong_group(answer: Attempt, size: int, concurrency: int) -> None:
    """At any concurrency, and with a renewed token, five calls are enough."""
    job = Job(campaigns(size), always(answer, 0.5), scopes=ScopeBreaker(), concurrency=concurrency)
    assert job.to_its_end() is not None
    assert len(job.service.log) == min(FIRST, size + (answer is RENEWED))
    assert not any(result.finished_at for result in job.results)


def test_a_list_of_refused_accounts_ends_with_every_row_open() -> None:
    """Hundreds of accounts, each with a wrong stream: five calls each, and one line with the first three of them."""
    job = Job(accounts([f"a{number}" for number in range(200)], 9), always(REFUSED, 1.0), scopes=ScopeBreaker())
    message = str(job.to_its_end())
    assert message.count("failed (5 refused; ") == 3
    assert message.endswith("; and 197 more groups")
    assert Counter(call.campaign.account_id for call in job.service.log).most_common()[0][1] == FIRST


@pytest.mark.parametrize(("cap", "said"), [(5, "max_failures 5"), (6, "stream st-1")])
def test_a_closed_group_at_the_cap(cap: int, said: str) -> None:
    """Refused campaigns are failures: with a cap of five it ends the run, above it the closed group does."""
    job = Job(campaigns(50), always(REFUSED, 1.0), scopes=ScopeBreaker(), admission=Admission(FailureCap(cap)))
    assert said in str(job.to_its_end())
    assert job.outcomes() == {Outcome.UNAUTHORIZED: 5, Outcome.NOT_SENT: 45}
    assert not any(result.finished_at for result in job.results)


# --- lists that decide ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("size", [1, 4, 5, 60])
def test_stale_rows_at_the_top_are_not_found_when_none_is_listed(size: int, concurrency: int) -> None:
    """The list is read once; the stale rows are final, and the others are stopped."""
    service = Service(lambda one, call: Reply(0.5, GONE if one.line <= size else STOPPED))
    lists = Lists(lambda of, number: {})
    job = Job(campaigns(size + 20), service, scopes=ScopeBreaker(can_list=True), concurrency=concurrency, lists=lists)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.NOT_FOUND: size, Outcome.STOPPED: 20}
    assert len(lists.log) == (size >= FIRST)
    assert all(result.finished_at for result in job.results)
    assert job.pool.calls == size + 20 + len(lists.log)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading({"cd-a1-2": AT_REST}, 1), "the service lists such a campaign"),
        (Reading({"cd-a1-2": RUNS}, 1, "HTTP 500"), "the service lists such a campaign"),
        (Reading({}, 1, "HTTP 403"), "it cannot be read (HTTP 403)"),
        (Reading({"other": RUNS}, 3, "it did not come to rest"), "it cannot be read (it did not come to rest)"),
    ],
)
def test_a_listed_campaign_or_no_list_closes_the_group(reading: Reading, said: str, concurrency: int) -> None:
    """After the list no call leaves any more; the refused rows are open."""
    lists = Lists(lambda of, number: reading)
    groups: ScopeBreaker[Turn] = ScopeBreaker(can_list=True)
    job = Job(campaigns(60), always(GONE, 0.5), scopes=groups, concurrency=concurrency, lists=lists)
    assert said in str(job.to_its_end())
    assert job.outcomes() == {Outcome.NOT_FOUND: FIRST, Outcome.NOT_SENT: 55}
    assert not any(result.finished_at for result in job.results)
    assert (len(lists.log), len(job.service.log)) == (1, FIRST)


# --- claims ---------------------------------------------------------------------------------------------------------


def listing(rows: Iterable[Campaign], running: Callable[[Campaign, int], bool], latency_s: float = 1.0) -> Lists:
    """Return lists with all rows; the campaigns in `running` for the n-th reading run."""
    rows = list(rows)
    return Lists(
        lambda of, number: {
            one.campaign_id: RUNS if running(one, number) else AT_REST
            for one in rows
            if one.account_id == of.account_id
        },
        latency_s,
    )


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("groups", [True, False])
def test_claims_that_the_list_has_at_rest_were_stopped_before(concurrency: int, groups: bool) -> None:
    """One reading settles all of an account, after everything else of it was sent; what runs is tried again."""
    rows = campaigns(30)
    service = Service(lambda one, call: Reply(0.5, CLAIM if one.line % 2 and call == 1 else STOPPED))
    lists = listing(rows, lambda one, number: one.line % 4 == 1)
    job = Job(rows, service, scopes=ScopeBreaker() if groups else None, concurrency=concurrency, lists=lists)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: 7, Outcome.STOPPED: 23}
    assert Counter(result.attempts for result in job.results) == {1: 22, 2: 8}
    ((_, at),) = lists.log
    assert at == max(call.ended_s or 0.0 for call in service.log[:30])
    assert {result.error for result in job.results if result.outcome is Outcome.ALREADY_STOPPED} == {
        "not active; the list has it as Stopped"
    }


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_campaign_that_runs_whatever_is_claimed_is_unconfirmed(attempts: int) -> None:
    """After its last attempt it is not reported as stopped."""
    rows = campaigns(3)
    lists = listing(rows, lambda one, number: True)
    job = Job(rows, always(CLAIM, 0.5), scopes=ScopeBreaker(), attempts=attempts, lists=lists)
    assert job.to_its_end() is None
    assert {(result.outcome, result.attempts) for result in job.results} == {(Outcome.UNCONFIRMED, attempts)}
    assert all((result.error or "").endswith("the list has it as Active") for result in job.results)
    assert all(result.finished_at for result in job.results)
    assert len(job.service.log) == 3 * attempts


@pytest.mark.parametrize(
    ("reading", "remedy"),
    [
        (Reading({}, 1), "(verify with singly=True), or try again"),
        (Reading({}, 1, "HTTP 403"), "(HTTP 403); try again with"),
    ],
)
def test_a_claim_that_the_list_does_not_prove_is_unconfirmed(reading: Reading, remedy: str) -> None:
    """Not listed, or no list: the line says what to do."""
    job = Job(campaigns(3), always(CLAIM, 0.5), scopes=ScopeBreaker(), lists=Lists(lambda of, number: reading))
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.UNCONFIRMED: 3}
    assert all(remedy in (result.error or "") and result.finished_at for result in job.results)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_a_wave_waits_for_the_list(concurrency: int) -> None:
    """A claim is under way until its list is read; the next wave begins one soak after that, and not earlier."""
    rows = campaigns(30)
    lists = listing(rows, lambda one, number: False, latency_s=3.0)
    admission = Admission(waves=[1, 10, 30], soak_s=60.0)
    job = Job(
        rows,
        always(CLAIM, 1.0),
        admission=admission,
        scopes=ScopeBreaker(),
        concurrency=concurrency,
        lists=lists,
    )
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: 30}
    began = [call.began_s for call in job.service.log]
    for wave in (1, 10):
        assert began[wave] == job.times[wave - 1] + 60.0
    assert len(lists.log) == 3


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("cap", [1, 3, 10])
@pytest.mark.parametrize("names", ["a", "abc"])
def test_a_cap_waits_for_the_list(names: str, cap: int, concurrency: int) -> None:
    """Claims keep their places in a cap until they are decided; then the run continues, and none is lost."""
    rows = accounts(names, 12)
    lists = listing(rows, lambda one, number: False)
    job = Job(
        rows,
        always(CLAIM, 1.0),
        admission=Admission(FailureCap(cap)),
        scopes=ScopeBreaker(),
        concurrency=concurrency,
        lists=lists,
    )
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: len(rows)}
    assert job.service.most_in_flight <= cap


def test_claims_that_the_list_does_not_prove_reach_a_cap() -> None:
    """Unconfirmed is a failure: exactly as many as the cap allows are."""
    lists = Lists(lambda of, number: {})
    job = Job(campaigns(50), always(CLAIM, 1.0), admission=Admission(FailureCap(7)), scopes=ScopeBreaker(), lists=lists)
    assert str(job.to_its_end()).startswith("max_failures 7: 7 of 7 campaigns failed")
    assert job.outcomes() == {Outcome.UNCONFIRMED: 7, Outcome.NOT_SENT: 43}


def test_lists_of_many_accounts_are_read_a_few_at_a_time() -> None:
    """At most REVIEWS lists are read concurrently, for any number of accounts, and each once."""
    rows = accounts([f"a{number}" for number in range(50)], 3)
    lists = listing(rows, lambda one, number: False, latency_s=5.0)
    job = Job(rows, always(CLAIM, 1.0), scopes=ScopeBreaker(), concurrency=64, lists=lists)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: 150}
    assert lists.most_in_progress == REVIEWS
    assert Counter(of.account_id for of, _ in lists.log) == {f"a{number}": 1 for number in range(50)}


def test_a_list_holds_up_no_other_account() -> None:
    """While a slow list is read, the stops of other accounts go on."""
    rows = [*campaigns(1, "a"), *campaigns(300, "b")]
    service = Service(lambda one, call: Reply(1.0, CLAIM if one.account_id == "a" else STOPPED))
    lists = listing(rows, lambda one, number: False, latency_s=500.0)
    job = Job(rows, service, scopes=ScopeBreaker(), concurrency=8, lists=lists)
    assert job.to_its_end() is None
    assert max(call.ended_s or 0.0 for call in service.log) < 100.0
    assert job.took_s == 501.0


def test_a_renewed_claim_of_several_streams_reads_each_list() -> None:
    """Each stream and type of an account has a list of its own."""
    other = [one._replace(stream_id="st-2", campaign_id=f"o-{one.line}") for one in campaigns(5)]
    rows = [*campaigns(5), *other]
    lists = Lists(lambda of, number: {one.campaign_id: AT_REST for one in rows if one.stream_id == of.stream_id})
    job = Job(rows, always(CLAIM, 1.0), scopes=ScopeBreaker(), lists=lists)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: 10}
    assert len(lists.log) == 2


@pytest.mark.parametrize(("end", "finished", "took_s"), [("drain", [1, 2, 3], 12.0), ("abort", [], 4.0)])
def test_what_follows_a_list_is_waited_for_by_a_drain_and_cut_off_by_an_abort(
    end: str, finished: list[int], took_s: float
) -> None:
    """A follow-up call of a list is in flight; neither a drain nor an abort loses the result of the list."""
    rows, lists, after = campaigns(3), listing(campaigns(3), lambda one, number: False), always(STOPPED, 10.0)

    def follow(one: Campaign, result: Result) -> FollowUp:
        return FollowUp(after.send, lambda last: replace(result, schedule=last.outcome), "")

    job = Job(rows, always(CLAIM, 1.0), concurrency=3, lists=lists, follow=follow)
    assert job.to_its_end((4.0, getattr(job.pool, end))) is None
    assert job.took_s == took_s
    assert job.outcomes() == {Outcome.ALREADY_STOPPED: 3}
    assert sorted(result.line or 0 for result in job.results if result.schedule == "stopped") == finished
    assert all(result.schedule in ("stopped", "unknown") for result in job.results)


def a_mixed_list() -> tuple[list[Campaign], Service, Lists]:
    """Make accounts with claims, stale rows and a wrong path, of which the lists decide."""
    rows = [*campaigns(6, "a"), *campaigns(7, "b"), *campaigns(7, "c")]
    kinds = {"a": CLAIM, "b": GONE, "c": GONE}
    service = Service(
        lambda one, call: Reply(0.5, STOPPED if one.account_id == "a" and call > 1 else kinds[one.account_id])
    )
    lists = Lists(
        lambda of, number: (
            {} if of.account_id == "b" else {f"cd-{of.account_id}-{n}": RUNS if n % 2 else AT_REST for n in range(9)}
        )
    )
    return rows, service, lists


@pytest.mark.parametrize("end", ["drain", "abort", "cancel"])
def test_a_run_that_ends_while_lists_are_read_leaves_nothing_behind(end: str) -> None:
    """At every moment: each row has one line, what waited for a list has no end, and no task is left."""
    seen = Counter[str]()
    for step in range(1, 120):
        rows, service, lists = a_mixed_list()
        job = Job(rows, service, scopes=ScopeBreaker(can_list=True), concurrency=3, lists=lists)
        loop = VirtualLoop()

        async def main(job: Job = job, loop: VirtualLoop = loop, step: int = step) -> None:
            task = asyncio.create_task(job.pool.run())
            await asyncio.sleep(0)
            acts: dict[str, Callable[[], object]] = {
                "drain": job.pool.drain,
                "abort": job.pool.abort,
                "cancel": task.cancel,
            }
            loop.at_step(loop.step + step, acts[end])
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is job.pool.fault

        run(main(), loop=loop)
        job.check()
        assert not lists.in_progress.total()
        for result in job.results:
            if NOT_READ_BACK in (result.error or ""):
                seen["unread"] += 1
                assert (result.outcome, result.finished_at) == (Outcome.UNCONFIRMED, None)
            if result.account_id == "c":
                assert result.finished_at is None or result.outcome is Outcome.UNKNOWN
        seen["ended"] += any(NOT_TRIED in (result.error or "") for result in job.results)
    assert seen["unread"] > 5
    assert seen["ended"] > 5


@pytest.mark.parametrize("answer", [CLAIM, GONE])
@pytest.mark.parametrize(
    "fault", [QuotaError("the store is gone"), ValueError("a slip"), asyncio.CancelledError()], ids=repr
)
def test_a_list_that_raises_ends_the_run_with_every_line(answer: Attempt, fault: BaseException) -> None:
    """Its error is raised once all rows have their lines; a stray cancellation is reported as such."""
    rows = [*campaigns(8, "a"), *campaigns(200, "b")]
    service = Service(lambda one, call: Reply(1.0, answer if one.account_id == "a" else STOPPED))
    lists = Lists(lambda of, number: fault)
    job = Job(rows, service, scopes=ScopeBreaker(can_list=True), concurrency=4, lists=lists)
    with pytest.raises(BulkstopError if isinstance(fault, asyncio.CancelledError) else type(fault)):
        run(job.pool.run())
    job.check()
    held = {(result.outcome, result.finished_at) for result in job.results if result.account_id == "a"}
    assert held <= {(answer.outcome, None), (Outcome.NOT_SENT, None)}
    assert (answer.outcome, None) in held


# --- all at once ----------------------------------------------------------------------------------------------------

answers = st.sampled_from(
    [
        *[STOPPED, BROKEN, BUSY, NO_ROUTE, REFUSED, RENEWED, FOREIGN, throttled(2.0), throttled()],
        *[GONE, CLAIM, STOPPED] * 2,
    ]
)
readings = st.sampled_from(
    [Reading({}, 1), Reading({}, 2, "HTTP 500")]
    + [Reading({f"cd-a{a}-{n}": state for a in range(4) for n in range(26)}, 1) for state in (RUNS, AT_REST)]
    + [Reading({f"cd-a{a}-{n}": RUNS if n % 2 else AT_REST for a in range(4) for n in range(9)}, 1)]
)


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 8).map(lambda n: n / 8), answers), min_size=1, max_size=25),
    st.sampled_from(CONCURRENCIES),
    st.none()
    | st.integers(1, 12).map(FailureCap)
    | st.integers(2, 50).map(lambda n: FailureCap(share=n / 100, sample=50)),
    st.lists(st.integers(1, 80), max_size=3, unique=True).map(sorted),
    st.none() | st.builds(Limit, st.integers(1, 9), st.just(10.0)),
    st.booleans(),
    st.lists(readings, min_size=1, max_size=4),
)
def test_whatever_happens_each_campaign_has_its_line_and_the_cap_holds(
    sizes: list[int],
    script: list[tuple[float, Attempt]],
    concurrency: int,
    cap: FailureCap | None,
    waves: list[int],
    limit: Limit | None,
    shared: bool,
    read: list[Reading],
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
    job = Job(
        [row for number, size in enumerate(sizes) for row in campaigns(size, f"a{number}")],
        service,
        admission=Admission(cap, waves=waves, soak_s=7.0),
        breaker=Breaker(4, bound_s=60.0),
        scopes=ScopeBreaker(3, can_list=not shared),
        lists=Lists(lambda of, number: read[number % len(read)]),
        concurrency=concurrency,
        attempts=3,
        limits=[limit] if limit else [],
        claim=claim if shared else None,
        seen=seen,
    )
    fault = job.to_its_end()
    assert fault is not None or not job.outcomes()[Outcome.NOT_SENT]


# --- what cannot pass by itself -------------------------------------------------------------------------------------

EXPIRED = Attempt(Outcome.CONNECTION_ERROR, RetryHint.NEVER, error="the certificate has expired")


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_certificate_ends_the_run_at_once(attempts: int) -> None:
    """With one that has expired from the start nothing more leaves, and all campaigns are left to be sent again."""
    job = Job(campaigns(30), always(EXPIRED, 0.1), breaker=Breaker(), attempts=attempts, concurrency=1)
    assert str(job.to_its_end()) == "the certificate has expired"
    assert job.outcomes() == {Outcome.CONNECTION_ERROR: 1, Outcome.NOT_SENT: 29}
    assert all(result.finished_at is None for result in job.results)
    assert len(job.service.log) == 1


def test_a_certificate_that_changes_is_waited_for() -> None:
    """A certificate that expires during a working run is an outage: once it is replaced, every campaign is stopped."""
    service = Service(lambda one, call: Reply(0.1, EXPIRED if 10 < len(service.log) <= 30 else STOPPED))
    job = Job(campaigns(60), service, breaker=Breaker(3))
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 60}


def test_an_answer_is_no_lasting_failure() -> None:
    """A call that was answered ends only its own campaign, at once, whatever the failure."""
    refused = REFUSED._replace(outcome=Outcome.REJECTED, again=RetryHint.NEVER)
    job = Job(campaigns(5), always(refused, 0.1), breaker=Breaker())
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.REJECTED: 5}
    assert len(job.service.log) == 5
