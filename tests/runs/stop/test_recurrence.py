"""Schedules disabled after the stops, in virtual time: the order, the quota, the lines, and every way to end it."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.guards.admission import Admission
from bulkstop.engine.lanes import Claim
from bulkstop.engine.limits.quota import AllOf, EvenPacer, NoQuota, Quota, RollingWindow
from bulkstop.engine.pool import Pool
from bulkstop.engine.results import NOT_TRIED_AGAIN
from bulkstop.errors import CredentialsError, GuardError, OutputError, QuotaError
from bulkstop.events import AccountThrottled, Event
from bulkstop.kore.calls import Call, T
from bulkstop.kore.interpret import Disabled
from bulkstop.model import (
    Attempt,
    Campaign,
    CampaignType,
    FailureCap,
    Limit,
    ListedCampaign,
    Outcome,
    Report,
    Result,
    RetryHint,
    Scope,
)
from bulkstop.report.stop.resume import is_final
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.lists.listing import Listing
from bulkstop.runs.lists.roster import Roster
from bulkstop.runs.lists.states import scope_of
from bulkstop.runs.stop.precheck import KnownStates
from bulkstop.runs.stop.recurrence import DOUBT, NAMELESS, RUN_ENDED, ScheduleCalls
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import Settings
from tests.engine.parts import (
    BUSY,
    RENEWED,
    STOPPED,
    Ask,
    Job,
    accounts,
    by_account,
    campaigns,
    claim_with,
    now_s,
    size_of,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

REFUSED = Attempt(Outcome.REJECTED, http_status=400, message="no", error="HTTP 400")
ENDED = f"failed: {RUN_ENDED}"
CUT_OFF = f"in flight when the run was cut off; {DOUBT}"
BROKEN = f"the call failed inside this program; {DOUBT}"
Answer = Attempt | Disabled | BaseException
Script = Callable[[Campaign, int], Answer]


@dataclass(slots=True, eq=False)
class Made:
    """A call as the service saw it: of which kind, when it began, when it was answered, and the rest it then stated."""

    kind: str
    campaign_id: str
    account_id: str
    began_s: float
    ended_s: float = math.inf
    rest_s: float = 0.0


class Window(RollingWindow):
    """A window that counts its places."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        super().__init__(limits)
        self.open = 0

    def take(self, now: float) -> None:
        """Count a place that is taken."""
        self.open += 1
        super().take(now)

    def give_back(self, taken_at: float) -> None:
        """Count a place that is given back."""
        self.open -= 1
        super().give_back(taken_at)

    def answered(self, now: float, sent_at: float, *, throttled: bool, failed: bool = False) -> None:
        """Count a place that ages."""
        self.open -= 1
        assert self.open >= 0
        super().answered(now, sent_at, throttled=throttled, failed=failed)


class Bounded(Accounts):
    """Accounts with limits of our own, and a store that lets each call leave, or raises."""

    def __init__(self, quota_of: Callable[[], Quota], claim: Ask | None) -> None:
        super().__init__(Settings(host="api.example", token="t"), None)
        self.of: dict[str, Quota] = {}
        self._make, self._claim = quota_of, claim_with(claim)

    def quota(self, account_id: str) -> Quota:
        """Return the limits of an account."""
        return self.of.setdefault(account_id, self._make())

    def claim(self, account_id: str) -> Claim | None:
        """Return the claim, the same for all."""
        return self._claim


@dataclass
class Scene:
    """A run of `rows`: those in `recurring` have a schedule, those in `resting` are at rest and have one too."""

    rows: Sequence[Campaign]
    recurring: Callable[[Campaign], bool] = lambda campaign: True
    resting: Sequence[Campaign] = ()
    limits: Sequence[Limit] = ()
    even: bool = False
    latency_s: float = 0.1
    concurrency: int = 4
    stops: Script = lambda campaign, call: STOPPED
    answers: Script = lambda campaign, call: Disabled(campaign.campaign_id)
    claim: Ask | None = None
    admission: Admission | None = None
    report: Report = lambda results: None
    attempts: int = 5

    log: list[Made] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    most_without_line: int = 0

    def __post_init__(self) -> None:
        """Count the calls of each campaign."""
        self._stopped = 0
        self._calls = Counter[tuple[str, str]]()
        self.accounts = Bounded(self._quota, self.claim)

    def pool(self) -> Pool:
        """Plug the run together."""
        calls, at_rest = ScheduleCalls(self._known(), self._ask), by_account(self.resting)
        return Job(
            self.rows,
            self._stop,
            make_lane=lambda name, own: self.accounts.lane(name, own, left=size_of(own)),
            follow=calls.follow,
            at_rest=lambda: calls.lanes_at_rest(at_rest, self.accounts, "run-1"),
            admission=self.admission,
            attempts=self.attempts,
            concurrency=self.concurrency,
            report=self._report,
            observe=self.events.append,
        ).pool

    async def run(self) -> None:
        """Run it to its end."""
        await self.pool().run()

    def said(self) -> dict[str, str | None]:
        """Return what the line of each campaign says of its schedule."""
        return {result.campaign_id: result.schedule for result in self.results}

    def kinds(self, account_id: str = "a1") -> str:
        """Return the calls of an account in order: S for a stop, d for a schedule."""
        return "".join(made.kind for made in self.log if made.account_id == account_id)

    def check(self) -> None:
        """Check what has to be true however a run has ended."""
        expected = sorted(each.campaign_id for each in (*self.rows, *self.resting))
        assert sorted(result.campaign_id for result in self.results) == expected
        for quota in self.accounts.of.values():
            if isinstance(quota, Window):
                assert quota.open == 0
        for name in self.accounts.of:
            _check_rests([made for made in self.log if made.account_id == name])
        for limit in self.limits:
            for name in self.accounts.of:
                _check_limit([made for made in self.log if made.account_id == name], limit)
        assert self.most_without_line <= self.concurrency + max(0, len({row.account_id for row in self.rows}) - 1)

    def _quota(self) -> Quota:
        quotas: list[Quota] = [Window(self.limits)] if self.limits else []
        if self.even and self.limits:
            quotas.append(EvenPacer(self.limits))
        return AllOf(quotas) if len(quotas) > 1 else quotas[0] if quotas else NoQuota()

    def _known(self) -> KnownStates:
        items: dict[Scope, dict[str, ListedCampaign]] = {}
        for each in (*self.rows, *self.resting):
            is_resting = each in self.resting
            name, status = f"name of {each.campaign_id}", "Stopped" if is_resting else "Active"
            item = ListedCampaign(each.campaign_id, each.campaign_type, name, status)
            recurs = is_resting or self.recurring(each)
            items.setdefault(scope_of(each), {})[each.campaign_id] = item._replace(is_recurring=recurs)
        roster = Roster({scope: Listing(scope, known) for scope, known in items.items()})
        return KnownStates(roster, only_running=True, disable_schedule=True)

    async def _stop(self, campaign: Campaign) -> Attempt:
        found = await self._answer("S", campaign, self.stops)
        assert isinstance(found, Attempt)
        if found.outcome in (Outcome.STOPPED, Outcome.ALREADY_STOPPED):
            self._stopped += 1
            self.most_without_line = max(self.most_without_line, self._stopped)
        return found

    async def _ask(self, call: Call[T], /) -> T | Attempt:
        where = call.where
        assert isinstance(where, Campaign)
        name = f"name%20of%20{where.campaign_id}"
        base = f"/campaign/api/v2/public/{where.stream_id}/campaign/schedule"
        assert call.target == f"{base}?enableSchedule=false&campaignName={name}"
        return await self._answer("d", where, self.answers)  # type: ignore[return-value]

    async def _answer(self, kind: str, campaign: Campaign, script: Script) -> Attempt | Disabled:
        self.log.append(made := Made(kind, campaign.campaign_id, campaign.account_id, now_s()))
        self._calls[kind, campaign.campaign_id] += 1
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            made.ended_s = now_s()
        answer = script(campaign, self._calls[kind, campaign.campaign_id])
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Attempt) and answer.again is RetryHint.THROTTLED:
            made.rest_s = answer.retry_after_s or 0.0
        return answer

    def _report(self, results: Sequence[Result]) -> None:
        self.report(results)
        self.results += results
        for result in results:
            if result.outcome in (Outcome.STOPPED, Outcome.ALREADY_STOPPED) and result.started_at:
                self._stopped -= 1


def _check_limit(log: Sequence[Made], limit: Limit) -> None:
    """Check that no window holds more calls, though the server may count each at any moment until it was answered."""
    for number, made in enumerate(log):
        earlier = [each for each in log[:number] if each.ended_s > made.began_s - limit.window_s + 1e-9]
        assert len(earlier) < limit.calls, (made, limit)


def _check_rests(log: Sequence[Made]) -> None:
    """Check that no call of an account is sent while the account must wait, for any kind of call."""
    for told in log:
        until_s = told.ended_s + told.rest_s - 1e-9
        assert not [each for each in log if told.ended_s < each.began_s < until_s], told


def ran(scene: Scene) -> float:
    """Run a scene to its end and give the seconds that took."""
    _, took_s = run(scene.run())
    scene.check()
    return took_s


# --- what is called, and what is said -------------------------------------------------------------------------------


def test_after_its_stop_and_before_its_line() -> None:
    """A recurring campaign is disabled once, after its stop; its line comes last and says so."""
    at_line: list[str] = []
    scene = Scene(campaigns(3), concurrency=1, recurring=lambda each: each.line != 2)
    scene.report = lambda results: at_line.append(scene.kinds())
    ran(scene)
    assert at_line == ["Sd", "SdS", "SdSSd"]
    assert list(scene.said().values()) == ["disabled", "none", "disabled"]
    assert {result.outcome for result in scene.results} == {Outcome.STOPPED}
    assert all(is_final(result) for result in scene.results)


def test_also_of_what_was_stopped_already() -> None:
    """Its schedule would start a campaign again that the service reports as not running."""
    scene = Scene(campaigns(1), stops=lambda each, call: Attempt(Outcome.ALREADY_STOPPED, http_status=409))
    ran(scene)
    assert (scene.kinds(), list(scene.said().values())) == ("Sd", ["disabled"])


@pytest.mark.parametrize("answer", [REFUSED, Attempt(Outcome.UNCONFIRMED, http_status=200)])
def test_nothing_of_what_was_not_stopped(answer: Attempt) -> None:
    """The schedule of a campaign that is not proven to be stopped stays, and its line says nothing of it."""
    scene = Scene(campaigns(2), stops=lambda each, call: answer)
    ran(scene)
    assert (scene.kinds(), list(scene.said().values())) == ("SS", [None, None])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (REFUSED, "failed: HTTP 400 (no)"),
        (Disabled("cd-9"), "failed: the service disabled the schedule of another campaign of that name: cd-9"),
        (Disabled(None), f"failed: {NAMELESS}"),
        (QuotaError("the store is gone"), "failed: the store is gone"),
        (CredentialsError("no token"), "failed: no token"),
    ],
)
def test_a_schedule_that_is_not_disabled(answer: Answer, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The campaign is stopped; its line has the failure; a resumed run tries again."""
    scene = Scene(campaigns(1), answers=lambda each, call: answer)
    ran(scene)
    (result,) = scene.results
    assert (result.outcome, result.schedule, is_final(result)) == (Outcome.STOPPED, said, False)
    assert result.finished_at is not None
    assert [vars(record)["event"] for record in caplog.records] == ["schedule_of_another_disabled"] * (
        "another" in said
    )


def test_what_cannot_be_disabled_is_not_tried() -> None:
    """If a schedule is known not to be disabled, the line says why and no call is made."""
    scene = Scene(campaigns(1))
    known = replace(scene._known(), name_counts={("a1", "st-1", "name of cd-a1-1"): 2})
    scene._known = lambda: known  # type: ignore[method-assign]
    ran(scene)
    assert (scene.kinds(), scene.said()) == ("S", {"cd-a1-1": "failed: 2 campaigns have that name"})


def test_tried_again() -> None:
    """A failure that may pass and a token that is renewed are tried again; the stop is not."""
    script: list[Answer] = [BUSY, RENEWED, throttled(), Disabled("cd-a1-1")]
    scene = Scene(campaigns(1), answers=lambda each, call: script[call - 1])
    ran(scene)
    assert (scene.kinds(), scene.said()) == ("Sdddd", {"cd-a1-1": "disabled"})


def test_given_up() -> None:
    """A persistent failure is given up after as many attempts as a stop has."""
    scene = Scene(campaigns(1), answers=lambda each, call: BUSY, attempts=3)
    ran(scene)
    assert (scene.kinds(), scene.said()) == ("Sddd", {"cd-a1-1": "failed: HTTP 503"})


def test_all_calls_are_counted() -> None:
    """The calls of a run are the stops and those for schedules, tries included."""
    scene = Scene(
        campaigns(3),
        resting=campaigns(2, "a2"),
        answers=lambda each, call: BUSY if call == 1 else Disabled(each.campaign_id),
    )

    async def counted() -> int:
        await (pool := scene.pool()).run()
        return pool.calls

    assert run(counted())[0] == len(scene.log) == 3 + 2 * (3 + 2)


# --- within the quota, and before the next stop ---------------------------------------------------------------------


def test_before_the_next_stop() -> None:
    """A schedule call precedes the next stop of its account, so that none waits long, however few calls are allowed."""
    scene = Scene(campaigns(20), limits=[Limit(1, 1.0)], concurrency=8, recurring=lambda each: each.line == 1)
    ran(scene)
    assert scene.kinds() == "Sd" + 19 * "S"


def test_told_to_wait() -> None:
    """When a call for a schedule is throttled its account rests: no stop goes before its next try."""
    answers: list[Answer] = [throttled(5.0), Disabled("cd-a1-1")]
    scene = Scene(campaigns(3), concurrency=2, recurring=lambda each: each.line == 1)
    scene.answers = lambda each, call: answers[call - 1]
    ran(scene)
    assert scene.kinds() == "SSddS"


@pytest.mark.parametrize("kind", ["S", "d"])
def test_an_account_rests_as_a_whole(kind: str) -> None:
    """When one call must wait, all of its account do, and no others; observers are notified once."""
    scene = Scene(accounts(["a1", "a2"], 32), limits=[Limit(33, 5.0)], concurrency=64)
    waits = iter([throttled(10.0)])
    own = {"S": iter(()), "d": iter(()), kind: waits}
    scene.stops = lambda each, call: next(own["S"], STOPPED) if each.account_id == "a1" else STOPPED
    scene.answers = lambda each, call: next(own["d"] if each.account_id == "a1" else iter(()), Disabled(each[0]))
    ran(scene)
    assert set(scene.said().values()) == {"disabled"}
    (told,) = [made for made in scene.log if made.rest_s]
    assert {made.account_id for made in scene.log if told.ended_s < made.began_s < told.ended_s + 10.0} == {"a2"}
    assert scene.events == [AccountThrottled("a1", 10.0, "rate limit", is_expected=True)]


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize(
    "limits", [[Limit(1, 1.0)], [Limit(2, 1.0)], [Limit(5, 10.0)], [Limit(3, 1.0), Limit(8, 20.0)]]
)
@pytest.mark.parametrize("concurrency", [1, 3, 32])
def test_small_quotas(limits: list[Limit], concurrency: int, even: bool) -> None:
    """With any few calls allowed and any number in flight, it finishes within the limits."""
    scene = Scene(campaigns(12), limits=limits, concurrency=concurrency, even=even)
    ran(scene)
    assert set(scene.said().values()) == {"disabled"}
    assert Counter(scene.kinds()) == {"S": 12, "d": 12}


def test_the_quota_is_used() -> None:
    """Calls for schedules cost their places and no more: 60 stops and 60 schedules take as long as 120 calls."""
    scene = Scene(campaigns(60), limits=[Limit(10, 10.0)], concurrency=32, latency_s=0.01)
    assert ran(scene) < 111.5


def test_without_a_quota_they_go_together() -> None:
    """Nothing waits where nothing must: calls for schedules are in flight together."""
    scene = Scene(campaigns(64), concurrency=32, latency_s=1.0)
    assert ran(scene) == 4.0


def test_a_store_that_says_wait() -> None:
    """The shared store is used for every call, and its waits are kept."""
    waits = [0.0, 0.0, 7.0, 0.0]

    async def claim() -> float:
        return waits.pop(0) if waits else 0.0

    scene = Scene(
        campaigns(1), claim=claim, answers=lambda each, call: Disabled(each.campaign_id) if call > 1 else BUSY
    )
    ran(scene)
    assert [made.kind for made in scene.log] == ["S", "d", "d"]
    assert scene.log[2].began_s >= 7.0


def test_a_broken_schedule_call_holds_no_stops_up_for_ever() -> None:
    """If no schedule can be disabled, all campaigns are stopped, and each line says so."""
    scene = Scene(campaigns(40), answers=lambda each, call: BUSY, concurrency=8)
    ran(scene)
    assert Counter(scene.said().values()) == {"failed: HTTP 503": 40}
    assert Counter(scene.kinds()) == {"S": 40, "d": 200}


@settings(max_examples=60)
@given(data=st.data())
def test_any_run(data: st.DataObject) -> None:
    """For any failures and throttling, under any limits: every row has one line, and no limit is exceeded."""
    rows = accounts(["a1", "a2", "a3"][: data.draw(st.integers(1, 3))], data.draw(st.integers(1, 8)))
    recurring = data.draw(st.sets(st.sampled_from([each.campaign_id for each in rows])))
    answers = st.sampled_from([None, None, BUSY, REFUSED, RENEWED, throttled(), throttled(3.0)])
    stops = st.sampled_from([STOPPED, STOPPED, BUSY, REFUSED, RENEWED, throttled(), throttled(3.0)])

    def answer(each: Campaign, call: int) -> Answer:
        found: Answer | None = data.draw(answers)
        return found or Disabled(each.campaign_id)

    scene = Scene(
        rows,
        recurring=lambda each: each.campaign_id in recurring,
        limits=data.draw(st.sampled_from([[], [Limit(1, 1.0)], [Limit(3, 5.0)], [Limit(2, 1.0), Limit(5, 9.0)]])),
        even=data.draw(st.booleans()),
        concurrency=data.draw(st.sampled_from([1, 2, 5, 32])),
        latency_s=data.draw(st.sampled_from([0.0, 0.1, 2.0])),
        stops=lambda each, call: data.draw(stops),
        answers=answer,
        attempts=3,
    )
    ran(scene)
    for result in scene.results:
        is_stopped = result.outcome is Outcome.STOPPED
        assert (result.schedule is None) is not is_stopped
        assert (result.schedule == "none") is (is_stopped and result.campaign_id not in recurring)


# --- campaigns at rest ----------------------------------------------------------------------------------------------


def test_at_rest() -> None:
    """A campaign at rest gets no stop; its schedule is disabled after all stops, and its line says both."""
    scene = Scene(campaigns(3), resting=campaigns(2, "a2"))
    ran(scene)
    assert (scene.kinds("a1"), scene.kinds("a2")) == ("SSSddd", "dd")
    assert [made.account_id for made in scene.log[-2:]] == ["a2", "a2"]
    for result in scene.results[-2:]:
        assert (result.outcome, result.attempts, result.schedule) == (Outcome.ALREADY_STOPPED, 0, "disabled")
        assert result.message == "listed as Stopped; no stop call was made"
        assert (result.run_id, result.started_at, result.finished_at, is_final(result)) == ("run-1", None, None, True)


def test_only_at_rest() -> None:
    """A run without a stop disables what there is to disable, within the quota."""
    scene = Scene([], resting=campaigns(7), limits=[Limit(2, 10.0)])
    assert ran(scene) > 30.0
    assert Counter(scene.said().values()) == {"disabled": 7}


# --- how it ends ----------------------------------------------------------------------------------------------------


def ended_by(scene: Scene, act: Callable[[Pool], object], *, at_s: float) -> float:
    """Run a scene, do something at a time, and give the seconds that all took."""

    async def main() -> None:
        pool = scene.pool()
        timer = asyncio.get_running_loop().call_later(at_s, act, pool)
        try:
            await pool.run()
        finally:
            timer.cancel()

    _, took_s = run(main())
    scene.check()
    return took_s


def test_a_drain_ends_the_wait() -> None:
    """A wait for a schedule call ends at once; the stop remains, and a resumed run disables the schedule."""
    scene = Scene(campaigns(3), resting=campaigns(1, "a2"), limits=[Limit(2, 1000.0)], concurrency=2)
    assert ended_by(scene, Pool.drain, at_s=50.0) == 50.0
    assert scene.kinds() == "SS"
    assert Counter((result.outcome, result.schedule) for result in scene.results) == {
        (Outcome.STOPPED, ENDED): 2,
        (Outcome.NOT_SENT, None): 1,
        (Outcome.ALREADY_STOPPED, ENDED): 1,
    }
    assert not any(is_final(result) for result in scene.results)


def test_a_drain_between_two_tries() -> None:
    """The result of the last attempt is kept."""
    busy = Attempt(Outcome.SERVER_ERROR, RetryHint.LATER, 503, error="HTTP 503", retry_after_s=100.0)
    scene = Scene(campaigns(1), answers=lambda each, call: busy)
    assert ended_by(scene, Pool.drain, at_s=20.0) == 20.0
    assert scene.said() == {"cd-a1-1": f"failed: HTTP 503; {NOT_TRIED_AGAIN}"}


def test_a_drain_waits_for_what_is_in_flight() -> None:
    """A call that has left is waited for, and its answer counts."""
    scene = Scene(campaigns(1), latency_s=10.0)
    assert ended_by(scene, Pool.drain, at_s=15.0) == 20.0
    assert scene.said() == {"cd-a1-1": "disabled"}


def test_an_abort_cuts_off() -> None:
    """Calls in flight are cut off: the stop is known, the schedule is not."""
    scene = Scene(campaigns(2), latency_s=10.0, concurrency=1)
    assert ended_by(scene, Pool.abort, at_s=15.0) == 15.0
    first, second = scene.results
    assert (first.outcome, first.schedule, is_final(first)) == (Outcome.STOPPED, f"failed: {CUT_OFF}", False)
    assert (second.outcome, second.schedule) == (Outcome.NOT_SENT, None)


def test_an_abort_while_at_rest() -> None:
    """Also of what is at rest the call is cut off, and the rest has its lines at once."""
    scene = Scene([], resting=campaigns(5), latency_s=10.0, concurrency=2)
    assert ended_by(scene, Pool.abort, at_s=15.0) == 15.0
    assert Counter(scene.said().values()) == {"disabled": 2, f"failed: {CUT_OFF}": 2, ENDED: 1}


def test_a_drain_while_at_rest() -> None:
    """For campaigns at rest too, calls in flight finish and no further one is sent."""
    scene = Scene([], resting=campaigns(5), latency_s=10.0, concurrency=2)
    assert ended_by(scene, Pool.drain, at_s=15.0) == 20.0
    assert Counter(scene.said().values()) == {"disabled": 4, ENDED: 1}


def test_a_cancelled_task_while_at_rest() -> None:
    """A task that is cancelled makes no further call, and leaves no row without a line."""
    scene = Scene([], resting=campaigns(5), latency_s=10.0, concurrency=2)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(15.0):
                await scene.run()

    assert run(main())[1] == 15.0
    scene.check()
    assert Counter(scene.said().values()) == {"disabled": 2, f"failed: {CUT_OFF}": 2, ENDED: 1}


@pytest.mark.parametrize("is_resting", [False, True])
def test_a_slip_of_our_own(is_resting: bool) -> None:
    """An unforeseen error ends the run, after every row has its line; stopped campaigns stay stopped."""
    rows = campaigns(3)
    answers: Script = lambda each, call: ZeroDivisionError("slip")  # noqa: E731 - a script as all are
    scene = Scene([] if is_resting else rows, resting=rows if is_resting else (), concurrency=1, answers=answers)
    with pytest.raises(ZeroDivisionError):
        run(scene.run())
    scene.check()
    assert scene.results[0].schedule == f"failed: {BROKEN}"
    assert scene.results[0].outcome is (Outcome.ALREADY_STOPPED if is_resting else Outcome.STOPPED)
    assert len([made for made in scene.log if made.kind == "d"]) == 1


def test_a_guard_ends_the_run() -> None:
    """When a guard ends the run no schedule call leaves any more, and all have their lines."""
    scene = Scene(
        campaigns(5),
        resting=campaigns(2, "a2"),
        stops=lambda each, call: REFUSED if each.line > 2 else STOPPED,
        admission=Admission(FailureCap(1)),
    )
    with pytest.raises(GuardError):
        run(scene.run())
    scene.check()
    assert [scene.said()[each.campaign_id] for each in scene.resting] == [ENDED] * 2
    assert scene.kinds("a2") == ""


def test_a_full_disk_at_rest() -> None:
    """Once lines cannot be written no call is sent, and completed work is reported."""

    def full(results: Sequence[Result]) -> None:
        raise OutputError("no space left")

    scene = Scene([], resting=campaigns(5), concurrency=2, report=full)

    async def main() -> list[Result]:
        pool = scene.pool()
        with pytest.raises(OutputError, match="no space left"):
            await pool.run()
        return pool.unwritten

    unwritten, _ = run(main())
    assert len(scene.log) <= 4
    assert {"disabled", ENDED} == {result.schedule for result in unwritten}


def test_a_full_disk_after_a_stop() -> None:
    """An unwritable result is reported with the state of its schedule."""

    def full(results: Sequence[Result]) -> None:
        raise OutputError("no space left")

    scene = Scene(campaigns(1), report=full)

    async def main() -> list[Result]:
        pool = scene.pool()
        with pytest.raises(OutputError):
            await pool.run()
        return pool.unwritten

    assert [result.schedule for result in run(main())[0]] == ["disabled"]


Act = Callable[[Pool, "asyncio.Task[None]"], object]
ACTS: dict[str, Act] = {
    "drain": lambda pool, task: pool.drain(),
    "abort": lambda pool, task: pool.abort(),
    "cancel": lambda pool, task: task.cancel(),
}


def ends_at(step: int, names: Sequence[str], scene: Scene) -> bool:
    """Run a scene and end it in these ways from a round of the loop on; False when it was over before."""
    loop = VirtualLoop()
    acted: list[str] = []

    def act(name: str, pool: Pool, task: "asyncio.Task[None]") -> None:
        if not task.done():
            acted.append(name)
            ACTS[name](pool, task)

    async def main() -> None:
        pool = scene.pool()
        task = asyncio.create_task(pool.run())
        for number, name in enumerate(names):
            loop.at_step(loop.step + 1 + step + number, partial(act, name, pool, task))
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        assert "cancel" in acted or not task.cancelled()

    run(main(), loop=loop)
    scene.check()
    return bool(acted)


@pytest.mark.parametrize("names", [["drain"], ["abort"], ["cancel"], ["drain", "abort"], ["cancel", "cancel"]])
@pytest.mark.parametrize("limits", [[], [Limit(2, 5.0)]])
def test_the_end_at_every_moment(names: list[str], limits: list[Limit]) -> None:
    """Ended at any moment in any way: one line each, no place of the quota lost, and all lines are true."""
    step, has_ended = 1, False
    while not has_ended:
        scene = Scene(
            accounts(["a1", "a2"], 3),
            recurring=lambda each: each.line != 2,
            resting=campaigns(3, "a3"),
            limits=limits,
            concurrency=2,
            answers=lambda each, call: BUSY if call == 1 and each.line == 3 else Disabled(each.campaign_id),
        )
        has_ended = not ends_at(step, names, scene)
        for result in scene.results:
            check_truth(scene, result)
        step += 1
    assert step > 20


def check_truth(scene: Scene, result: Result) -> None:
    """Check that a line says of a schedule what the service saw."""
    made = [each for each in scene.log if each.campaign_id == result.campaign_id]
    calls = [each for each in made if each.kind == "d"]
    if result.schedule == "disabled":
        assert calls
    elif result.schedule == ENDED:
        assert not calls
    elif result.schedule == f"failed: {CUT_OFF}":
        assert not is_final(result)
    elif result.schedule is None:
        assert not calls
        assert result.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT)


# --- the parts ------------------------------------------------------------------------------------------------------


def test_exit_code() -> None:
    """A run that has stopped all is not done while a schedule may start one again, and the counts say so."""
    stats = Stats()
    done = Result("cd-1", CampaignType.VOICE, "a", "st", Outcome.STOPPED, schedule="disabled")
    stats.add(done)
    assert StopSummary(stats, 1, 2, 1.0, "run").exit_code == 0
    stats.add(Result("cd-2", CampaignType.VOICE, "a", "st", Outcome.STOPPED, schedule="failed: HTTP 503"))
    assert (stats.done, stats.schedules_failed) == (2, 1)
    assert StopSummary(stats, 2, 4, 1.0, "run").exit_code == 1
