"""Single calls in virtual time: within the quota, tried as the pool tries, ended at once."""

import asyncio
import math
from collections.abc import Callable, Coroutine

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import NoQuota, RollingWindow
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.results import NOT_TRIED, NOT_TRIED_AGAIN
from bulkstop.engine.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, THROTTLES, Retry
from bulkstop.engine.tasks import run_concurrently
from bulkstop.errors import CredentialsError, QuotaError
from bulkstop.model import Attempt, Limit, Outcome
from tests.engine.parts import BUSY, RENEWED, claim_with, now_s, throttled
from tests.virtual_time import run

GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
Answer = str | Attempt | BaseException


class Api:
    """Gives the answers in turn, the last one for ever, and notes when it was asked."""

    def __init__(self, *answers: Answer, latency_s: float = 0.0) -> None:
        self.asked_s: list[float] = []
        self._answers = list(answers)
        self._latency_s = latency_s

    async def ask(self) -> str | Attempt:
        """Be a try."""
        self.asked_s.append(now_s())
        await asyncio.sleep(self._latency_s)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def window(calls: int, window_s: float) -> RollingWindow:
    """Make a quota."""
    return RollingWindow([Limit(calls, window_s)])


def caller(quota: RollingWindow | None = None, **more: object) -> Caller:
    """Make a caller in virtual time."""
    claim = claim_with(more.pop("claim", None))  # type: ignore[arg-type]
    return Caller(quota or NoQuota(), claim, **{"retry": Retry(), "now": now_s, **more})  # type: ignore[arg-type]


def times(number: int, one: Caller, api: Api) -> Callable[[], Coroutine[object, object, None]]:
    """Return a job of this many calls."""

    async def job() -> None:
        for _ in range(number):
            assert await one.call(api.ask) == "page"

    return job


@pytest.mark.parametrize(
    ("answers", "calls"),
    [
        (("page",), 1),
        ((GONE,), 1),
        ((BUSY, BUSY, "page"), 3),
        ((BUSY,), 3),
        ((RENEWED, BUSY, "page"), 3),
        ((RENEWED,), 2),
    ],
)
def test_the_last_answer_is_given_back(answers: tuple[Answer, ...], calls: int) -> None:
    """A value, or the failure that another try could not change, after as many tries as the rules give a call."""
    api, one = Api(*answers), caller(retry=Retry(3))
    answer, took_s = run(one.call(api.ask))
    assert (answer, len(api.asked_s), one.calls) == (answers[-1], calls, calls)
    assert took_s <= 3 * BACKOFF_BASE_S + 0.01


def test_the_quota_is_kept() -> None:
    """No window holds more calls than the quota, also when each takes its time."""
    api = Api("page", latency_s=0.3)
    run(times(7, caller(window(3, 10)), api)())
    assert all(later - earlier >= 10 for earlier, later in zip(api.asked_s, api.asked_s[3:], strict=False))
    assert api.asked_s[-1] < 23


def test_the_quota_is_shared() -> None:
    """Two callers with one quota count together."""
    quota, api = window(4, 10), Api("page")
    run(run_concurrently([times(4, caller(quota), api), times(4, caller(quota), api)], 2))
    assert api.asked_s == [0.0] * 4 + [10.0] * 4


def test_the_store_is_asked() -> None:
    """A call leaves when the store that others use has counted it; a refusal gives the own place back."""
    answers = [2.0, 0.5, 0.0, 0.0]
    quota = window(1, 1)

    async def claim() -> float:
        return answers.pop(0)

    api, rests = Api("page"), list[float]()
    run(times(2, caller(quota, claim=claim, rests=lambda seconds, why: rests.append(seconds)), api)())
    assert api.asked_s == [2.5, 3.5]
    assert rests == [2.0, 0.5, 1.0]


def test_a_store_that_fails() -> None:
    """A call that cannot be counted is not made, and the place is free again."""
    quota, api = window(1, 60), Api("page")

    async def claim() -> float:
        raise QuotaError("no store")

    with pytest.raises(QuotaError):
        run(caller(quota, claim=claim).call(api.ask))
    assert api.asked_s == []
    assert quota.ready_at() == -math.inf


def test_a_place_that_somebody_else_frees() -> None:
    """While calls of another hold the whole quota, it waits for one of their answers."""
    quota, api = window(1, 5), Api("page")

    async def job() -> None:
        quota.take(now_s())
        asyncio.get_running_loop().call_later(3.0, lambda: quota.answered(3.0, 0.0, throttled=False))
        assert await caller(quota).call(api.ask) == "page"

    run(job())
    assert 8.0 <= api.asked_s[0] <= 8.3


def test_throttled() -> None:
    """A refused call rests as long as the service says, costs no attempt, and shrinks the quota."""
    quota, api = window(10, 1), Api(throttled(7.0), throttled(5.0), "page")
    assert run(caller(quota, retry=Retry(1)).call(api.ask))[0] == "page"
    assert api.asked_s == [0.0, 7.0, 12.0]
    assert quota.share < 1.0


def test_throttled_for_ever() -> None:
    """Finally a refused call is returned, and the next one of the account still backs off."""
    one, api = caller(), Api(throttled(BACKOFF_CAP_S))

    async def job() -> None:
        found = await one.call(api.ask)
        assert isinstance(found, Attempt)
        assert (found.outcome, len(api.asked_s)) == (Outcome.THROTTLED, THROTTLES)
        await one.call(api.ask)

    run(job())
    assert api.asked_s[THROTTLES] == THROTTLES * BACKOFF_CAP_S


def test_the_rest_is_shared() -> None:
    """When a call of one caller must wait, those of another caller of the account wait too."""
    rest, told, other = AccountRest(), Api(throttled(7.0), "page"), Api("page", latency_s=1.0)
    run(run_concurrently([times(1, caller(rest=rest), told), times(3, caller(rest=rest), other)], 2))
    assert (told.asked_s, other.asked_s) == ([0.0, 7.0], [0.0, 7.0, 8.0])


def test_a_backoff_is_not_shared() -> None:
    """A failure that may pass holds only its own call up, and not the account."""
    rest, failing, other = AccountRest(), Api(BUSY._replace(retry_after_s=9.0), "page"), Api("page", latency_s=1.0)
    run(run_concurrently([times(1, caller(rest=rest), failing), times(3, caller(rest=rest), other)], 2))
    assert (failing.asked_s, other.asked_s) == ([0.0, 9.0], [0.0, 1.0, 2.0])


def test_told_to_rest_while_the_store_is_asked() -> None:
    """A permitted call waits if the account must back off meanwhile, and is counted again later."""
    quota, rest, api, claims = window(2, 60), AccountRest(), Api("page"), list[float]()

    async def claim() -> float:
        claims.append(now_s())
        rest.extend(5.0)
        return 0.0

    assert run(caller(quota, claim=claim, rest=rest).call(api.ask))[0] == "page"
    assert (claims, api.asked_s) == ([0.0, 5.0], [5.0])
    assert quota.ready_at() == -math.inf  # one of two places is used


@pytest.mark.parametrize("why", ["quota", "backoff", "throttled", "store"])
def test_drained(why: str) -> None:
    """A run that is to end ends every wait at once, and tells how far the call got."""

    async def claim() -> float:
        return 0.0 if why != "store" else 1000.0

    async def job() -> Attempt | str:
        drained = asyncio.Event()
        quota = window(1, 1000)
        one = caller(quota if why == "quota" else None, claim=claim, retry=Retry(2), drained=drained)
        first: Answer = {"backoff": BUSY._replace(retry_after_s=1000.0), "throttled": throttled(1000.0)}.get(
            why, "page"
        )
        api = Api(first)
        if why == "quota":
            await one.call(api.ask)
        asyncio.get_running_loop().call_later(3.0, drained.set)
        return await one.call(api.ask)

    found, took_s = run(job())
    assert took_s == 3.0
    assert isinstance(found, Attempt)
    if why in ("quota", "store"):
        assert (found.outcome, found.error) == (Outcome.NOT_SENT, NOT_TRIED)
    else:
        assert found.outcome is not Outcome.NOT_SENT
        assert (found.error or "").endswith(f"; {NOT_TRIED_AGAIN}")


def test_drained_before_and_meanwhile() -> None:
    """Nothing is sent once the run must end, not even with a place that the store has just given."""
    quota, api = window(1, 60), Api("page")

    async def job() -> None:
        drained = asyncio.Event()

        async def claim() -> float:
            drained.set()
            return 0.0

        for _ in range(2):
            found = await caller(quota, claim=claim, drained=drained).call(api.ask)
            assert isinstance(found, Attempt)
            assert found.outcome is Outcome.NOT_SENT

    run(job())
    assert api.asked_s == []
    assert quota.ready_at() == -math.inf


def test_in_flight_when_drained() -> None:
    """A call that has left is waited for, and its answer counts."""
    api = Api("page", latency_s=5.0)

    async def job() -> str | Attempt:
        drained = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, drained.set)
        return await caller(drained=drained).call(api.ask)

    assert run(job()) == ("page", 5.0)


def test_cut_off() -> None:
    """A call that is cancelled keeps its place in the quota: it may have been counted."""
    quota, api = window(1, 60), Api("page", latency_s=9.0)

    async def job() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await caller(quota).call(api.ask)

    run(job())
    assert quota.ready_at() == 61.0


def test_no_token() -> None:
    """An error that ends a run is raised, not returned."""
    with pytest.raises(CredentialsError):
        run(caller().call(Api(CredentialsError("no token")).ask))


class TestSideBySide:
    """Jobs go at the same time, within bounds, and end together."""

    def test_bounded(self) -> None:
        """No more jobs are open at once than allowed, and all are done."""
        open_now = most = done = 0

        async def job() -> None:
            nonlocal open_now, most, done
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(1)
            open_now -= 1
            done += 1

        assert run(run_concurrently([job] * 10, 3)) == (None, 4.0)
        assert (most, done) == (3, 10)

    def test_none(self) -> None:
        """Nothing to do is done in no time."""
        assert run(run_concurrently([], 0)) == (None, 0.0)

    def test_what_one_raises(self) -> None:
        """The error of one job is raised unchanged, in no group, and the others are ended."""
        ended = list[str]()

        async def long() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                ended.append("long")
                raise

        async def failing() -> None:
            await asyncio.sleep(1)
            raise CredentialsError("no token")

        with pytest.raises(CredentialsError, match="no token"):
            run(run_concurrently([long, failing, long], 2))
        assert ended == ["long"]

    def test_cancelled(self) -> None:
        """A cancellation from outside stays one."""

        async def job() -> None:
            async with asyncio.timeout(1.0):
                await run_concurrently([lambda: asyncio.sleep(100)], 1)

        with pytest.raises(TimeoutError):
            run(job())


@pytest.mark.parametrize(
    ("answers", "limit", "why"),
    [
        ((BUSY, "page"), 9, "HTTP 503; it is tried again"),
        ((throttled(7.0), "page"), 9, "the service asks to wait"),
        (("page",), 1, "its quota is used up"),
    ],
)
def test_a_wait_has_its_reason(answers: tuple[Answer, ...], limit: int, why: str) -> None:
    """The reasons of waits are distinguished: another attempt, a service that asks to wait, a used-up quota."""
    reasons = list[str]()
    run(times(2, caller(window(limit, 60), rests=lambda seconds, reason: reasons.append(reason)), Api(*answers))())
    assert reasons == [why]
