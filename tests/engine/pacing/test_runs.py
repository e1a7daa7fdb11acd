"""A pool whose accounts pace themselves: refused calls, their events, and the lanes that wait for it."""

import random
from collections.abc import Callable, Iterable

import pytest
from limiter_models import Gcra

from bulkstop.engine.lanes import Lane
from bulkstop.engine.pacing.auto import AutoPacer
from bulkstop.engine.pacing.overload import Overload
from bulkstop.events import Event, PaceLearnt
from bulkstop.model import Attempt, Campaign, Limit, Outcome, Wait, WaitReason
from tests.engine.parts import (
    BUSY,
    STOPPED,
    Asking,
    Job,
    Reply,
    Service,
    accounts,
    campaigns,
    now_s,
    size_of,
    throttled,
)

QUICK = Limit(20, 5.0)


def paced(overload: Overload | None = None) -> Callable[[str, Iterable[Campaign]], Lane]:
    """Return what makes the lanes of a run whose accounts pace themselves."""
    shared = overload or Overload()

    def make_lane(name: str, own: Iterable[Campaign]) -> Lane:
        return Lane(name, own, AutoPacer([QUICK], shared), left=size_of(own), paces_itself=True)

    return make_lane


@pytest.mark.parametrize("refusal", [throttled(), BUSY], ids=["429", "503"])
def test_a_burst_of_a_tenth(refusal: Attempt) -> None:
    """120 campaigns end within 1.10 of the least time, with no attempt lost, whether it is refused by 429 or by 503."""
    limiter, events = Gcra(QUICK, 2), list[Event]()
    service = Service(lambda one, call: Reply(0.01, STOPPED if limiter.call(now_s()) else refusal))
    job = Job(campaigns(120), service, make_lane=paced(), observe=events.append)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 120}
    assert {result.attempts for result in job.results} == {1}
    assert len(service.log) <= 123
    assert job.took_s <= 1.10 * 118 * 0.25
    (learnt, *_) = [event for event in events if isinstance(event, PaceLearnt)]
    assert (learnt.account_id, learnt.at_once, learnt.share) == ("a1", 2, 1.0)


def test_one_of_three_backends_is_ill() -> None:
    """503 from every third call costs attempts, and no more than a tenth of the time of a run without pacing."""

    def script(one: Campaign, call: int) -> Reply:
        return Reply(0.01, BUSY if len(service.log) % 3 == 0 else STOPPED)

    random.seed(1)  # of the back-offs
    service = Service(script)
    job = Job(campaigns(120), service, make_lane=paced())
    assert job.to_its_end() is None
    random.seed(1)
    plain = Job(campaigns(120), service := Service(script), limits=[QUICK])
    assert plain.to_its_end() is None
    assert job.took_s <= 1.10 * plain.took_s
    assert job.outcomes()[Outcome.STOPPED] >= 115


def test_accounts_share_what_503_means() -> None:
    """Once one account has found that 503 is a fault, no other slows down for it."""
    service = Service(lambda one, call: Reply(0.01, BUSY if len(service.log) % 3 == 0 else STOPPED))
    job = Job(accounts([f"a{number}" for number in range(20)], 20), service, make_lane=paced(), concurrency=4)
    assert job.to_its_end() is None
    assert job.took_s < 60


def test_a_service_that_is_down_counts_attempts() -> None:
    """503 without a good answer is no limit: it ends as it did."""
    service = Service(lambda one, call: Reply(0.01, BUSY))
    job = Job(campaigns(3), service, make_lane=paced(), attempts=2)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.SERVER_ERROR: 3}
    assert {result.attempts for result in job.results} == {2}


def test_why_nothing_leaves() -> None:
    """A lane that has learnt its pace waits for that, one that has not for its quota."""
    job = Job(campaigns(40), Service(lambda one, call: Reply(0.01, STOPPED)), make_lane=paced())
    (lane,) = job.lanes.unfinished
    assert job.lanes.find_pace() is None
    for number in range(20):
        lane.quota.take(0.0)
        lane.quota.answered(0.01 * number, 0.0, throttled=False)
    assert job.lanes.find_wait(1.0) == Wait(WaitReason.QUOTA, 5.0)
    lane.quota.take(6.0)
    lane.quota.answered(6.1, 6.0, throttled=True)
    wait = job.lanes.find_wait(6.1)
    assert wait is not None
    assert wait.reason is WaitReason.PACE
    assert job.lanes.find_pace() == lane.quota.finding()


def test_a_run_begins_with_what_another_has_learnt() -> None:
    """If two runs share a store, the second has no refused calls."""

    async def ask() -> float:
        return 0.0

    def run_once(claim: Asking) -> int:
        def make_lane(name: str, own: Iterable[Campaign]) -> Lane:
            return Lane(name, own, AutoPacer([QUICK]), claim, left=size_of(own), paces_itself=True)

        limiter = Gcra(QUICK, 2)
        service = Service(lambda one, call: Reply(0.01, STOPPED if limiter.call(now_s()) else throttled()))
        assert Job(campaigns(40), service, make_lane=make_lane).to_its_end() is None
        return len(service.log) - 40

    claim = Asking(ask)
    assert [run_once(claim), run_once(claim)] == [1, 0]
