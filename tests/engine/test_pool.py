"""The pool in virtual time: each campaign once, none delayed by others, however the run ends."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.followup import Follow, FollowUp
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.lanes import WAITING_RETRIES, Lane, Turn
from bulkstop.engine.limits.quota import NoQuota, RollingWindow
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.results import BROKEN, CUT_OFF, NOT_TRIED, NOT_TRIED_AGAIN
from bulkstop.engine.retry import BACKOFF_BASE_S, THROTTLES, Retry
from bulkstop.errors import CredentialsError, InputError, OutputError
from bulkstop.model import Attempt, Campaign, Limit, Outcome, Result, RetryHint, Send, never_at_once, utc_text
from tests.engine.parts import (
    AT_REST,
    BUSY,
    CLAIM,
    MIDNIGHT,
    RENEWED,
    STOPPED,
    Call,
    Job,
    Lists,
    Reply,
    Service,
    accounts,
    always,
    campaign,
    campaigns,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

MINUTE = [Limit(60, 60)]
GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")


def first_calls(answer: Attempt, latency_s: float, *, every: int = 1) -> Callable[[Campaign, int], Reply]:
    """Make a script: the first call of every n-th campaign gets `answer`, all others stop it."""
    return lambda one, call: Reply(latency_s, answer if call == 1 and one.line % every == 0 else STOPPED)


# --- each campaign once ---------------------------------------------------------------------------------------------


def test_a_result_says_what_the_run_knows() -> None:
    """Ids, place in the list, times and what the service said all arrive in the one result."""
    answer = Attempt(Outcome.STOPPED, RetryHint.NO, 200, 12.5, "Campaign Stopped", "2025-12-05", "cid-1", "NORMAL")
    job = Job([campaign(7)], always(answer, 0.25).send)
    run(job.pool.run())
    assert job.results == [
        Result(
            "cd-a1-7",
            campaign(7).campaign_type,
            "a1",
            "st-1",
            Outcome.STOPPED,
            200,
            1,
            12.5,
            "Campaign Stopped",
            "2025-12-05",
            "cid-1",
            "NORMAL",
            None,
            "list.csv",
            7,
            "2025-12-05T00:00:00.000Z",
            "2025-12-05T00:00:00.250Z",
            "run-1",
        )
    ]


def test_an_empty_list_ends_at_once() -> None:
    """Nothing to do is done in no time."""
    job = Job([], always(STOPPED).send)
    assert run(job.pool.run()) == (None, 0.0)
    assert job.results == []


@pytest.mark.parametrize("concurrency", [1, 7, 64])
def test_no_more_calls_are_open_than_allowed_and_no_fewer(concurrency: int) -> None:
    """Every worker is used, none twice, and the work takes as long as it must."""
    service = always(STOPPED, 0.5)
    job = Job(campaigns(640), service, concurrency=concurrency)
    _, took_s = run(job.pool.run())
    assert service.most_in_flight == concurrency
    assert took_s == -(-640 // concurrency) * 0.5
    assert job.pool.calls == 640
    job.check()


def test_idle_workers_cost_nothing() -> None:
    """If 500 workers wait for one account's quota, a due place wakes as many as it needs, not all."""
    job = Job(campaigns(100), always(STOPPED, 0.1).send, limits=[Limit(2, 5)], concurrency=500)
    draws, draw = 0, job.lanes.draw

    def counted(now: float) -> Turn | float | None:
        nonlocal draws
        draws += 1
        return draw(now)

    job.lanes.draw = counted  # type: ignore[method-assign]
    run(job.pool.run())
    assert draws <= 2 * 500 + 4 * 100  # each worker once at the start and once at the end


def test_the_pool_tells_how_many_calls_are_in_flight() -> None:
    """The number that the first signal announces is what the service sees, or is about to see."""

    def script(one: Campaign, call: int) -> Reply:
        assert service.in_flight <= job.pool.in_flight <= 6
        return Reply(one.line % 4 / 4, BUSY if call < 3 and one.line % 2 else STOPPED)

    service = Service(script)
    job = Job(campaigns(50), service, concurrency=6)
    run(job.pool.run())
    assert job.pool.in_flight == 0
    assert job.outcomes() == {Outcome.STOPPED: 50}


replies = st.builds(
    Reply,
    st.integers(0, 40).map(lambda n: n / 8),
    st.sampled_from([STOPPED, STOPPED, GONE, BUSY, BUSY, RENEWED, throttled(), throttled(2.0)]),
)
quotas = st.sampled_from([[], [Limit(2, 3)], [Limit(1, 1), Limit(3, 10)]])


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=4),
    st.lists(replies, min_size=1, max_size=9),
    quotas,
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_campaign_is_reported_once(
    sizes: list[int], script: list[Reply], limits: list[Limit], concurrency: int, attempts: int, over_wire: bool
) -> None:
    """For any responses: one line a campaign, attempts and calls within bounds, and the run ends."""
    service = Service(lambda one, call: script[(one.line * 5 + call) % len(script)])
    rows = [one for number, size in enumerate(sizes) for one in campaigns(size, f"a{number}")]
    at_once = service.begin if over_wire else never_at_once
    job = Job(rows, service, limits=limits, concurrency=concurrency, attempts=attempts, at_once=at_once)
    run(job.pool.run())
    job.check()
    assert service.most_in_flight <= concurrency
    assert job.pool.calls == len(service.log)
    for result in job.results:
        answers = [script[((result.line or 0) * 5 + call) % len(script)].answer for call in range(1, 200)]
        assert settled(answers, attempts) == (result.outcome, result.attempts)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 6), st.booleans())
def test_a_line_is_written_before_its_place_sends_again(
    latencies: list[int], concurrency: int, over_wire: bool
) -> None:
    """At any moment, at most as many sent campaigns lack a line as there are places."""
    without_line: list[int] = []

    def script(one: Campaign, call: int) -> Reply:
        without_line.append(len(service.log) - len(job.results))
        return Reply(latencies[one.line % len(latencies)] / 8, STOPPED)

    service = Service(script)
    at_once = service.begin if over_wire else never_at_once
    job = Job(campaigns(40), service, concurrency=concurrency, at_once=at_once)
    assert job.to_its_end() is None
    assert max(without_line) == concurrency


def settled(answers: list[Attempt | BaseException], attempts: int) -> tuple[Outcome, int]:
    """Say, from the rules alone, how a campaign ends that is answered like this and never cut off."""
    tries, throttles, renewed = 0, 0, False
    for answer in answers:
        assert isinstance(answer, Attempt)
        if answer.again is RetryHint.NOW and not renewed:
            renewed = True
            continue
        if answer.again is RetryHint.THROTTLED:
            throttles += 1
            if throttles == THROTTLES:
                return answer.outcome, tries or 1
            continue
        tries += 1
        if answer.again in (RetryHint.NO, RetryHint.NOW) or tries == attempts:
            return answer.outcome, tries
    raise AssertionError("never settled")


# --- quota ----------------------------------------------------------------------------------------------------------


def test_a_thousand_campaigns_of_one_account_take_sixteen_windows() -> None:
    """At 60 per minute the last 40 of 1,000 leave after exactly 16 minutes."""
    service = always(STOPPED)
    _, took_s = run(Job(campaigns(1_000), service, limits=MINUTE).pool.run())
    assert took_s == 16 * 60
    assert Counter(service.began_s("a1")) == {minute * 60.0: 60 for minute in range(16)} | {960.0: 40}


def test_fifty_accounts_with_latency_take_nearly_as_long_as_one() -> None:
    """32 workers carry 50 accounts at 100 ms: what waits for quota keeps none of them."""
    names = [f"a{number}" for number in range(50)]
    _, one_s = run(Job(campaigns(300), always(STOPPED, 0.1).send, limits=MINUTE).pool.run())
    _, all_s = run(Job(accounts(names, 300), always(STOPPED, 0.1).send, limits=MINUTE).pool.run())
    assert 240 <= one_s <= all_s <= 1.05 * one_s


def test_no_account_is_ever_over_its_limit() -> None:
    """Tries count, not campaigns; with failures and latency no rolling minute sees more than 60 calls."""
    service = Service(first_calls(BUSY, 0.7, every=3))
    run(Job(accounts(["a", "b"], 200), service, limits=MINUTE).pool.run())
    for name in "ab":
        seen = service.began_s(name)
        assert len(seen) == 200 + 66
        assert all(later - earlier >= 60 for earlier, later in zip(seen, seen[60:], strict=False))


# --- nobody held up -------------------------------------------------------------------------------------------------


def test_an_account_that_hangs_does_not_delay_the_others() -> None:
    """With one of four accounts hanging for 30 s a call, the others are done as fast as a quarter of the workers is."""
    service = Service(lambda one, call: Reply(30.0 if one.account_id == "slow" else 0.125, STOPPED))
    job = Job(accounts(["slow", "b", "c", "d"], 160), service, concurrency=32)
    run(job.pool.run())
    for name in "bcd":
        assert job.finished_s(name) == 160 / 8 * 0.125
    job.check()


def test_an_account_that_waits_for_quota_keeps_no_worker() -> None:
    """While one account waits out its minute, the other uses the workers without a pause."""
    service = Service(lambda one, call: Reply(0.5, STOPPED))
    job = Job(
        {"a": campaigns(61, "a"), "b": campaigns(60, "b")},
        service.send,
        limits=MINUTE,
        concurrency=2,
    )
    _, took_s = run(job.pool.run())
    assert job.finished_s("b") == 30.0
    assert took_s == 61.0


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_throttled_account_pauses_as_a_whole(attempts: int) -> None:
    """After a 429 with Retry-After 10 no call of that account leaves for 10 s, and the refused call cost no attempt.

    The other account does not notice.
    """
    service = Service(
        lambda one, call: Reply(0.5, throttled(10.0) if (one.account_id, one.line, call) == ("a", 1, 1) else STOPPED)
    )
    job = Job(accounts(["a", "b"], 20), service, concurrency=4, attempts=attempts)
    run(job.pool.run())
    assert [at for at in service.began_s("a") if 0.5 <= at < 10.5] == []
    assert len(service.began_s("a")) == 20 + 1
    assert job.finished_s("b") <= 5.0
    assert job.outcomes() == {Outcome.STOPPED: 40}
    assert {result.attempts for result in job.results} == {1}


def test_a_list_is_not_burnt_on_a_throttled_account() -> None:
    """With a single try each, an account that is over its limit for a minute loses no campaign at all."""
    service = Service(lambda one, call: Reply(0.5, throttled(60.0) if now_is_before(60.0) else STOPPED))
    job = Job(campaigns(100), service, concurrency=4, attempts=1)
    run(job.pool.run())
    assert job.outcomes() == {Outcome.STOPPED: 100}


def test_calls_refused_together_are_one_event() -> None:
    """One throttling of eight calls in flight makes the account rest once, not once a call."""
    service = Service(lambda one, call: Reply(0.5, throttled(None) if now_is_before(0.5) else STOPPED))
    job = Job(campaigns(40), service, concurrency=8)
    _, took_s = run(job.pool.run())
    assert job.outcomes() == {Outcome.STOPPED: 40}
    assert took_s <= 0.5 + BACKOFF_BASE_S + 5 * 0.5


def test_a_call_that_waits_for_the_store_rests_with_its_account() -> None:
    """A call permitted by the store waits while the account backs off, and is counted again when it is sent."""
    service = Service(lambda one, call: Reply(0.5, throttled(10.0) if len(service.log) == 1 else STOPPED))
    claims = 0

    async def claim() -> float:
        nonlocal claims
        claims += 1
        await asyncio.sleep(1.0 if claims > 1 else 0.0)
        return 0.0

    job = Job(campaigns(3), service.send, claim=claim)
    run(job.pool.run())
    assert job.outcomes() == {Outcome.STOPPED: 3}
    assert service.began_s("a1")[1:] == [11.5] * 3
    assert claims == 3 + 3


def test_a_call_that_the_store_has_counted_leaves() -> None:
    """A call permitted by the store is sent, even if another worker must ask again later: no place is lost."""
    service, answers = always(STOPPED), iter([5.0, 0.0, 0.0])

    async def claim() -> float:
        wait_s = next(answers)
        await asyncio.sleep(0)  # both workers have asked before the first has its answer
        return wait_s

    job = Job(campaigns(2), service.send, concurrency=2, claim=claim)
    run(job.pool.run())
    assert job.outcomes() == {Outcome.STOPPED: 2}
    assert service.began_s("a1") == [0.0, 5.0]


def test_a_lane_rests_with_the_other_calls_of_its_account() -> None:
    """A back-off that another caller of the account received also delays its stops."""
    service, rest = always(STOPPED), AccountRest()
    rest.extend(7.0)
    job = Job(campaigns(2), service, make_lane=lambda name, own: Lane(name, own, NoQuota(), rest=rest))
    run(job.pool.run())
    assert service.began_s("a1") == [7.0] * 2


# --- what follows a stop --------------------------------------------------------------------------------------------


def following(send: Send) -> Follow:
    """Let a call follow each campaign, whose last attempt is in the line."""

    def follow(one: Campaign, result: Result) -> FollowUp:
        return FollowUp(send, lambda last: replace(result, schedule=last.error or last.outcome), "who knows")

    return follow


@pytest.mark.parametrize("answer", [STOPPED, CLAIM])
def test_what_follows_stands_in_the_line(answer: Attempt) -> None:
    """For a campaign at rest, by response or list, the line has the result of the follow-up; its calls count."""
    after = Service(first_calls(BUSY, 1.0))
    rows = campaigns(3)
    lists = Lists(lambda of, number: {one.campaign_id: AT_REST for one in rows})
    service = Service(lambda one, call: Reply(1.0, Attempt(Outcome.REJECTED) if one.line == 2 else answer))
    job = Job(rows, service, lists=lists, follow=following(after.send))
    assert job.to_its_end() is None
    assert sorted(call.campaign.line for call in after.log) == [1, 1, 3, 3]
    assert {result.line: result.schedule for result in job.results} == {1: "stopped", 2: None, 3: "stopped"}
    assert {result.attempts for result in job.results} == {1}
    assert job.pool.calls == 3 + 2 * 2 + len(lists.log)


def test_a_follow_up_that_waits_for_quota_keeps_no_worker() -> None:
    """With one worker, an account whose follow-ups are out of quota does not hold up another."""
    service = always(STOPPED, 0.5)
    follow = following(always(STOPPED, 0.5).send)
    job = Job(
        accounts("ab", 20),
        service,
        make_lane=lambda name, own: Lane(name, own, RollingWindow([Limit(3, 60)]) if name == "a" else NoQuota()),
        concurrency=1,
        follow=lambda one, result: follow(one, result) if one.account_id == "a" else result,
    )
    assert job.to_its_end() is None
    assert job.finished_s("b") == 20 * 0.5 + 3 * 0.5
    assert {result.schedule for result in job.results} == {None, "stopped"}


def test_a_slip_in_what_follows_costs_no_line() -> None:
    """An error of a follow-up ends the run, and the answer that came before it is kept."""
    slip = Service(lambda one, call: Reply(0.0, ZeroDivisionError("slip")))
    job = Job(campaigns(3), always(STOPPED, 1.0), concurrency=1, follow=following(slip.send))
    with pytest.raises(ZeroDivisionError):
        run(job.pool.run())
    job.check()
    assert job.outcomes() == {Outcome.STOPPED: 1, Outcome.NOT_SENT: 2}
    assert job.results[0].schedule == "the call failed inside this program; who knows"


def test_what_follows_tells_nothing_of_an_outage() -> None:
    """Failed follow-up calls never open the breaker; one that is left while it is open ends too."""
    breaker = Breaker(3)
    job = Job(campaigns(9), always(STOPPED), breaker=breaker, follow=following(always(BUSY, 0.5).send))
    assert job.to_its_end() is None
    assert not breaker.is_open
    broken = Attempt(Outcome.SERVER_ERROR)
    service = Service(lambda one, call: Reply(2.0, STOPPED) if one.line == 1 else Reply(0.5, broken))
    job = Job(campaigns(4), service, breaker=breaker, follow=following(always(STOPPED, 0.5).send))
    assert (job.to_its_end(), breaker.is_open, job.took_s) == (None, True, 2.5)
    assert job.results[-1].schedule == "stopped"


def now_is_before(second: float) -> bool:
    """Return whether it is earlier than this virtual time."""
    return asyncio.get_running_loop().time() < second


@pytest.mark.parametrize("concurrency", [8, 50])
def test_failures_cost_their_calls_and_hardly_more(concurrency: int) -> None:
    """5 % of first tries failing, with back-off, cost at most 15 % of the throughput at 100 ms latency."""
    random.seed(11)
    _, plain_s = run(Job(campaigns(4_000), always(STOPPED, 0.1).send, concurrency=concurrency).pool.run())
    job = Job(campaigns(4_000), Service(first_calls(BUSY, 0.1, every=20)).send, concurrency=concurrency)
    _, failing_s = run(job.pool.run())
    assert plain_s <= failing_s <= 1.15 * plain_s
    assert job.outcomes() == {Outcome.STOPPED: 4_000}


def test_a_waiting_retry_holds_no_worker() -> None:
    """A single worker continues with other campaigns while one is in a back-off of 100 s."""
    later = Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, 503, retry_after_s=100.0)
    service = Service(first_calls(later, 0.5, every=11))  # of 20 campaigns, the eleventh
    job = Job(campaigns(20), service, concurrency=1)
    _, took_s = run(job.pool.run())
    assert [call.campaign.line for call in service.log] == [*range(1, 21), 11]
    assert [call.began_s for call in service.log][:20] == [number / 2 for number in range(20)]
    assert took_s == 5.5 + 100.0 + 0.5
    assert {result.line: result.attempts for result in job.results}[11] == 2


def test_waiting_retries_are_bounded() -> None:
    """Of a million campaigns that only fail, a bounded number has been taken when the first ones still wait."""
    later = Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, 503, retry_after_s=100.0)
    service = always(later, 0.125)
    handed_out = 0

    def million() -> Iterator[Campaign]:
        nonlocal handed_out
        for number in range(1, 1_000_001):
            if job is not None and job.results:
                return  # drained: reporting the rest of the million would only make the test long
            handed_out += 1
            yield campaign(number)

    job: Job | None = None
    job = Job({"a1": million()}, service, concurrency=100)

    async def main() -> None:
        asyncio.get_running_loop().call_later(99.0, job.pool.drain)
        await job.pool.run()

    _, took_s = run(main())
    assert took_s == 99.0
    assert WAITING_RETRIES <= len(service.log) <= WAITING_RETRIES + 100
    assert handed_out <= len(service.log) + 2
    assert job.outcomes()[Outcome.SERVER_ERROR] == len(service.log)


# --- drain and abort ------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=3),
    st.lists(replies, min_size=1, max_size=9),
    quotas,
    st.integers(1, 6),
    st.integers(0, 100).map(lambda n: n / 8),
    st.none() | st.integers(0, 40).map(lambda n: n / 8),
    st.booleans(),
)
def test_drain_and_abort_leave_one_true_line_a_campaign(
    sizes: list[int],
    script: list[Reply],
    limits: list[Limit],
    concurrency: int,
    drain_s: float,
    grace_s: float | None,
    over_wire: bool,
) -> None:
    """Whenever it happens: nothing leaves after the drain, the end waits for calls alone, every line is true."""
    service = Service(lambda one, call: script[(one.line * 5 + call) % len(script)])
    rows = [one for number, size in enumerate(sizes) for one in campaigns(size, f"a{number}")]
    at_once = service.begin if over_wire else never_at_once
    job = Job(rows, service, limits=limits, concurrency=concurrency, attempts=3, at_once=at_once)
    acts: list[tuple[float, Callable[[], object]]] = [(drain_s, job.pool.drain)]
    if grace_s is not None:
        acts.append((drain_s + grace_s, job.pool.abort))
    assert job.to_its_end(*acts) is None
    assert all(call.began_s <= drain_s for call in service.log)
    last_answer_s = max((call.ended_s for call in service.log if call.ended_s is not None), default=0.0)
    if job.pool.abort in job.acted:
        assert job.took_s == drain_s + (grace_s or 0.0)
    elif job.pool.drain in job.acted:
        assert job.took_s == max(drain_s, last_answer_s)
    assert job.pool.calls == len(service.log)
    for result in job.results:
        check_line(result, [call for call in service.log if call.campaign.campaign_id == result.campaign_id], script)


def check_line(result: Result, calls: list[Call], script: list[Reply]) -> None:
    """Check a result against what the service saw of its campaign."""
    replies_seen = [script[((result.line or 0) * 5 + call) % len(script)].answer for call in range(1, len(calls) + 1)]
    answers = [reply for reply in replies_seen if isinstance(reply, Attempt)]
    first_renewal = next((n for n, answer in enumerate(answers) if answer.again is RetryHint.NOW), None)
    cut_off = bool(calls) and calls[-1].ended_s is None
    if first_renewal is not None and not (cut_off and first_renewal == len(calls) - 1):
        del answers[first_renewal]  # it cost no attempt, and no line may end with it
    # A call that was cut off counts, whatever its answer would have been.
    known = answers[:-1] if cut_off else answers
    counted = sum(answer.again is not RetryHint.THROTTLED for answer in known) + cut_off
    if not answers:
        assert (result.outcome, result.error) == (Outcome.NOT_SENT, NOT_TRIED)
        assert (result.attempts, result.started_at, result.finished_at) == (0, None, None)
        return
    assert result.attempts == max(1, counted)
    assert result.started_at == utc_text(MIDNIGHT + calls[0].began_s)
    if cut_off:
        assert (result.outcome, result.error) == (Outcome.UNKNOWN, CUT_OFF)
        assert result.finished_at is not None
        return
    last = answers[-1]
    assert (result.outcome, result.http_status) == (last.outcome, last.http_status)
    waited = (last.again is RetryHint.LATER and counted < 3) or (
        last.again is RetryHint.THROTTLED and len(answers) - counted < THROTTLES
    )
    assert result.error == (f"{last.error}; {NOT_TRIED_AGAIN}" if waited else last.error)
    assert (result.finished_at is None) == waited


def test_while_it_is_paused_nothing_leaves() -> None:
    """A pause waits for calls in flight and sends no other, not even one that becomes due meanwhile."""
    service = Service(first_calls(BUSY, 1.0, every=3))
    job = Job(accounts(["a", "b"], 20), service.send, limits=[Limit(5, 10.0)], concurrency=4)
    job.to_its_end((0.5, job.pool.pause), (100.0, job.pool.resume))
    left = sorted(call.began_s for call in service.log)
    assert [at for at in left if 0.5 < at < 100.0] == []
    assert sum(at < 0.5 for at in left) == 4
    assert sum(at == 100.0 for at in left) == 4
    assert job.outcomes() == {Outcome.STOPPED: 40}


def test_a_paused_run_can_be_drained() -> None:
    """A paused run can be ended without resuming it."""
    job = Job(campaigns(10), always(STOPPED, 1.0).send, concurrency=2)
    job.to_its_end((0.5, job.pool.pause), (50.0, job.pool.drain))
    assert job.took_s == 50.0
    assert job.outcomes() == {Outcome.STOPPED: 2, Outcome.NOT_SENT: 8}


@pytest.mark.parametrize("limits", [(), MINUTE])
def test_the_rate_can_be_changed_meanwhile(limits: list[Limit]) -> None:
    """From then on the calls of each account are spread evenly at that rate, until it is taken back."""
    service = always(STOPPED, 0.25)
    job = Job(accounts(["a", "b"], 30), service.send, limits=limits, concurrency=4)
    acts = (1.0, lambda: job.pool.set_rate([Limit(30, 60.0)])), (21.0, lambda: job.pool.set_rate([]))
    job.to_its_end(*acts)
    for name in ("a", "b"):
        slow = [call.began_s for call in service.log if call.campaign.account_id == name and 1.0 < call.began_s < 21.0]
        assert len(slow) == 9
        assert {round(after - before, 6) for before, after in pairwise(slow)} == {2.0}
    assert job.outcomes() == {Outcome.STOPPED: 60}
    assert job.took_s < 25.0


def test_a_quota_that_another_run_uses_is_looked_at_again() -> None:
    """A lane that waits for an answer of another run continues when it looks again."""
    quota = RollingWindow([Limit(1, 1.0)])
    quota.take(0.0)  # by the other run
    job = Job(campaigns(1), always(STOPPED, 0.0).send, make_lane=lambda name, own: Lane(name, own, quota, left=1))

    def answer() -> None:
        quota.answered(5.0, 0.0, throttled=False)
        job.pool.look_again()

    job.to_its_end((5.0, answer))
    assert job.took_s == 6.0


def test_a_drain_between_a_renewal_and_its_try_leaves_the_campaign_unsent() -> None:
    """A 401 whose fresh token was never tried is no answer: a resumed run must send that campaign."""

    def script(one: Campaign, call: int) -> Reply:
        if one.line == 1:
            job.pool.drain()
        return Reply(0.5, RENEWED)

    job = Job(campaigns(2), Service(script).send, concurrency=1)
    run(job.pool.run())
    assert [(r.outcome, r.attempts, r.started_at) for r in job.results] == [(Outcome.NOT_SENT, 0, None)] * 2


def test_the_last_answer_is_kept_also_when_it_had_no_error_text() -> None:
    """A line of a waiting retry says why there was no other try, and nothing that is not there."""
    job = Job(campaigns(1), always(Attempt(Outcome.TIMEOUT, RetryHint.LATER, retry_after_s=50.0)).send)
    job.to_its_end((1.0, job.pool.drain))
    assert [(r.outcome, r.attempts, r.error) for r in job.results] == [(Outcome.TIMEOUT, 1, NOT_TRIED_AGAIN)]


def test_ended_before_it_began() -> None:
    """A pool that was drained or aborted beforehand sends nothing and reports every row."""
    for end in ("drain", "abort"):
        job = Job(campaigns(5), always(STOPPED).send)
        getattr(job.pool, end)()
        run(job.pool.run())
        assert job.outcomes() == {Outcome.NOT_SENT: 5}


def test_a_send_that_cleans_up_slowly_is_waited_for() -> None:
    """An abort lets a call close its connection; a second one during that loses no line."""

    async def send(one: Campaign) -> Attempt:
        try:
            await asyncio.sleep(100.0)
        finally:
            await asyncio.sleep(2.0)
        return STOPPED

    job = Job(campaigns(5), send, concurrency=2)
    job.to_its_end((1.0, job.pool.abort))
    assert job.took_s == 3.0
    job = Job(campaigns(5), send, concurrency=2)
    job.to_its_end((1.0, job.pool.abort), (2.0, job.pool.abort))
    assert job.took_s == 2.0
    assert job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}


@pytest.mark.parametrize("end", ["drain", "abort"])
def test_a_report_may_end_the_run(end: str) -> None:
    """A callback that sees a result may stop the run at once; each row still has its one line."""

    def report(results: Sequence[Result]) -> None:
        job.results += results
        getattr(job.pool, end)()

    job = Job(campaigns(20), always(STOPPED, 0.5).send, concurrency=4, report=report)
    run(job.pool.run())
    job.check()
    assert job.outcomes()[Outcome.NOT_SENT] == 16


# --- faults ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 40), st.booleans(), st.lists(replies, min_size=1, max_size=9), st.booleans())
def test_a_result_that_cannot_be_written_ends_the_sending(
    written: int, heals: bool, script: list[Reply], over_wire: bool
) -> None:
    """On a full disk nothing more leaves; what was sent and is not written is kept, and the fault is raised last."""
    tried: list[Result] = []
    failed_s: list[float] = []
    full = OutputError("out.jsonl: no space left on device")

    def report(results: Sequence[Result]) -> None:
        tried.extend(results)
        if len(job.results) + len(results) > written and not (heals and failed_s):
            failed_s.append(asyncio.get_running_loop().time())
            raise full
        job.results += results

    service = Service(lambda one, call: script[(one.line * 5 + call) % len(script)])
    at_once = service.begin if over_wire else never_at_once
    job = Job(accounts(["a", "b"], 20), service, concurrency=6, report=report, attempts=3, at_once=at_once)
    loop = VirtualLoop()
    with pytest.raises(OutputError) if written < 40 else nullcontext():
        run(job.pool.run(), loop=loop)
    unwritten = [result for result in tried if result not in job.results]
    assert len({result.campaign_id for result in tried}) == len(tried) == 40
    assert job.pool.fault is (full if failed_s else None)
    assert job.pool.unwritten == [result for result in unwritten if result.outcome is not Outcome.NOT_SENT]
    assert all(call.began_s <= min(failed_s, default=math.inf) for call in service.log)
    assert loop.time() == max(call.ended_s or 0.0 for call in service.log)


def test_credentials_that_end_end_the_run() -> None:
    """Without a token nothing is sent: calls in flight finish, the rest is reported, the fault is raised."""
    gone = CredentialsError("the token expired")
    service = Service(lambda one, call: Reply(0.25, gone) if one.line == 5 else Reply(0.5, STOPPED))
    job = Job(campaigns(20), service, concurrency=4)
    assert job.to_its_end() is gone
    assert job.took_s == 1.0
    assert job.outcomes() == {Outcome.STOPPED: 7, Outcome.NOT_SENT: 13}
    assert {(r.attempts, r.started_at) for r in job.results if r.outcome is Outcome.NOT_SENT} == {(0, None)}


def test_credentials_that_end_between_two_tries_keep_the_last_answer() -> None:
    """A campaign that failed before and now cannot be tried again says what it knows, and is not final."""
    service = Service(lambda one, call: Reply(0.5, BUSY if call == 1 else CredentialsError("gone")))
    job = Job(campaigns(1), service.send)
    assert isinstance(job.to_its_end(), CredentialsError)
    assert [(r.outcome, r.attempts, r.error, r.started_at, r.finished_at) for r in job.results] == [
        (Outcome.SERVER_ERROR, 1, f"HTTP 503; {NOT_TRIED_AGAIN}", "2025-12-05T00:00:00.000Z", None)
    ]


def test_the_first_fault_is_the_one_that_is_told() -> None:
    """Faults that follow from the first do not hide it."""
    service = Service(lambda one, call: Reply(one.line / 8, CredentialsError(f"line {one.line}")))
    job = Job(campaigns(4), service, concurrency=4)
    assert str(job.to_its_end()) == "line 1"
    assert job.outcomes() == {Outcome.NOT_SENT: 4}


def test_a_send_that_breaks_its_promise_costs_no_line() -> None:
    """An unforeseen exception makes its campaign unknown and drains the run, which then raises it."""
    slip = KeyError("slip")
    service = Service(lambda one, call: Reply(0.25, slip) if one.line == 5 else Reply(0.5, STOPPED))
    job = Job(campaigns(20), service, concurrency=4)
    with pytest.raises(KeyError) as caught:
        run(job.pool.run())
    assert caught.value is slip is job.pool.fault
    job.check()
    assert job.outcomes() == {Outcome.STOPPED: 7, Outcome.UNKNOWN: 1, Outcome.NOT_SENT: 12}
    assert [(r.line, r.error) for r in job.results if r.outcome is Outcome.UNKNOWN] == [(5, BROKEN)]


@pytest.mark.parametrize("answer", [BUSY, throttled()])
def test_a_next_try_that_cannot_be_planned_costs_no_line(answer: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no file descriptor left for an import, the campaign keeps its answer, is not final, and the run drains."""
    fault = OSError(24, "Too many open files")

    def fails(*args: object) -> NoReturn:
        raise fault

    monkeypatch.setattr(Retry, "_ask", fails)
    service = Service(lambda one, call: Reply(0.25, answer) if one.line == 5 else Reply(0.5, STOPPED))
    job = Job(campaigns(20), service, concurrency=4)
    with pytest.raises(OSError, match="Too many open files") as caught:
        run(job.pool.run())
    assert caught.value is fault
    job.check()
    assert job.outcomes() == {Outcome.STOPPED: 7, answer.outcome: 1, Outcome.NOT_SENT: 12}
    kept = next(result for result in job.results if result.line == 5)
    assert (kept.error, kept.finished_at) == (f"{answer.error}; {NOT_TRIED_AGAIN}", None)
    assert job.pool.in_flight == 0


def test_a_report_that_breaks_its_promise_costs_no_other_line() -> None:
    """A callback with a slip ends the sending, is offered every other row, and its own exception is raised."""
    offered: list[Result] = []

    def report(results: Sequence[Result]) -> None:
        offered.extend(results)
        raise ValueError(results[0].campaign_id)

    job = Job(accounts(["a", "b"], 10), always(STOPPED, 0.5).send, concurrency=4, report=report)
    with pytest.raises(ValueError, match="cd-a-1"):
        run(job.pool.run())
    assert Counter(result.outcome for result in offered) == {Outcome.STOPPED: 4, Outcome.NOT_SENT: 16}
    assert len({result.campaign_id for result in offered}) == 20
    assert job.pool.unwritten == offered[:4]


def test_an_interrupt_within_a_report_loses_no_result() -> None:
    """A line during whose writing the process was interrupted may have been written: it is kept."""

    def report(results: Sequence[Result]) -> None:
        if results[0].line == 2:
            raise KeyboardInterrupt
        job.results += results

    job = Job(campaigns(4), always(STOPPED, 0.5).send, concurrency=1, report=report)
    with pytest.raises(KeyboardInterrupt):
        run(job.pool.run())
    assert [(result.line, result.outcome) for result in job.pool.unwritten] == [(2, Outcome.STOPPED)]
    assert [result.line for result in job.results] == [1, 3, 4]


def test_a_list_that_breaks_off_ends_the_run_with_its_own_fault() -> None:
    """When the source cannot be read on, all that was read is reported and the fault is raised as it is."""
    fault = InputError("list.csv: line 8 cannot be read")

    def broken() -> Iterator[Campaign]:
        yield from campaigns(7)
        raise fault

    job = Job({"a1": broken(), "b": campaigns(50, "b")}, always(STOPPED, 0.5).send, concurrency=4)
    with pytest.raises(InputError) as caught:
        run(job.pool.run())
    assert caught.value is fault
    expected = [one.campaign_id for one in campaigns(7) + campaigns(50, "b")]
    assert sorted(r.campaign_id for r in job.results) == sorted(expected)


@pytest.mark.parametrize("fault", [InputError("the list cannot be read"), OSError(5, "Input/output error")])
def test_a_list_that_breaks_off_while_the_rest_is_reported_costs_no_other_line(fault: Exception) -> None:
    """The rest of the other accounts is reported even if one list breaks off only then, with a message."""

    def broken(name: str) -> Iterator[Campaign]:
        yield from campaigns(7, name)
        raise fault

    names = ["a", "b", "c", "d"]
    job = Job(
        {name: broken(name) if name in "ac" else iter(campaigns(5, name)) for name in names},
        always(STOPPED, 0.5).send,
        concurrency=4,
    )
    job.pool.drain()
    with pytest.raises(type(fault)) as caught:
        run(job.pool.run())
    assert caught.value is fault
    expected = {name: 7 if name in "ac" else 5 for name in names}
    assert Counter(result.account_id for result in job.results) == expected
    assert len({result.campaign_id for result in job.results}) == sum(expected.values())


def test_a_list_that_breaks_off_again_and_again_ends_the_run() -> None:
    """A list that repeatedly breaks off is given up after a bounded number of readings."""

    class Broken:
        def __init__(self) -> None:
            self.rows = iter(campaigns(3))

        def __iter__(self) -> Iterator[Campaign]:
            return self

        def __next__(self) -> Campaign:
            for one in self.rows:
                return one
            raise InputError("the list cannot be read")

    job = Job({"a1": Broken()}, always(STOPPED, 0.5).send, concurrency=1)
    job.pool.drain()
    with pytest.raises(InputError):
        run(job.pool.run())
    assert [result.line for result in job.results] == [1, 2, 3]
