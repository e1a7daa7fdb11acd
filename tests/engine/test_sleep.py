"""A machine that sleeps during a run: its clocks continue, and its timers stop."""

import asyncio
import time

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.quota import RollingWindow
from bulkstop.engine.retry import Retry
from bulkstop.errors import GuardError
from bulkstop.model import Attempt, Limit, Outcome
from tests.engine.parts import BUSY, STOPPED, Job, Reply, Service, always, campaigns, now_s, throttled
from tests.virtual_time import run

HOUR = Limit(10, 3600.0)


class Sleep:
    """A sleep that a virtual loop knows nothing of: `at_s` the clock moves on by `length_s`."""

    def __init__(self, at_s: float, length_s: float) -> None:
        self._at_s, self._length_s = at_s, length_s

    def now(self) -> float:
        """Return the seconds of the clock that continues during sleep."""
        awake_s = now_s()
        return awake_s + (self._length_s if awake_s >= self._at_s else 0.0)


def test_the_clock_is_one_that_goes_on() -> None:
    """It is the machine's time since its start, sleep included, where there is such a clock; it never goes back."""
    before = elapsed_s()
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert time.clock_gettime(time.CLOCK_BOOTTIME) - before < 60
    assert elapsed_s() >= before


def test_a_window_that_passed_meanwhile_is_not_waited_for() -> None:
    """The calls of the next window leave within a second of the end of a sleep, and no window has too many."""
    sleep = Sleep(600.5, 3000.0)
    service = Service(lambda campaign, call: Reply(1.0, STOPPED))
    job = Job(campaigns(30), service, limits=[HOUR], now=sleep.now)
    job.to_its_end()
    began_s = service.began_s("a1")
    assert began_s[9] < 600 < began_s[10] <= 603
    true_s = [at_s + (3000.0 if at_s > 600.5 else 0.0) for at_s in began_s]
    assert all(later - earlier > HOUR.window_s for earlier, later in zip(true_s, true_s[10:], strict=False))


@pytest.mark.parametrize("answer", [throttled(100.0), BUSY._replace(retry_after_s=100.0)], ids=["rest", "retry"])
def test_a_wait_that_passed_meanwhile_is_over(answer: Attempt) -> None:
    """A try that was to wait 100 s leaves within a second of the end of a longer sleep."""
    sleep = Sleep(10.25, 500.0)
    service = Service(lambda campaign, call: Reply(0.0, answer if call == 1 else STOPPED))
    Job(campaigns(1), service, now=sleep.now).to_its_end()
    assert 10.25 <= service.began_s("a1")[1] <= 11.25


def test_a_single_call_as_well() -> None:
    """A call outside of the pool waits by the same clock."""
    sleep, asked_s = Sleep(10.25, 7200.0), list[float]()
    quota = RollingWindow([Limit(1, 3600.0)])
    one = Caller(quota, retry=Retry(), now=sleep.now)

    async def ask() -> Attempt:
        asked_s.append(now_s())
        return STOPPED

    async def job() -> None:
        await one.call(ask)
        await one.call(ask)

    run(job())
    assert asked_s[0] == 0.0
    assert 10.25 <= asked_s[1] <= 11.25


def test_what_the_service_did_not_fail_is_no_outage() -> None:
    """The time asleep does not count for the longest outage: the network comes back after the machine does."""
    sleep = Sleep(20.5, 3600.0)
    service = Service(lambda campaign, call: Reply(0.0, BUSY if now_s() < 60.0 else STOPPED))
    breaker = Breaker(threshold=3, bound_s=300.0, awake_s=now_s)
    job = Job(campaigns(20), service, concurrency=4, attempts=9, breaker=breaker, now=sleep.now)
    assert job.to_its_end() is None
    assert job.outcomes() == {Outcome.STOPPED: 20}


def test_an_outage_still_ends_the_run() -> None:
    """With a sleep in it the run ends once the service has failed for the bound while the machine was awake."""
    sleep = Sleep(20.5, 3600.0)
    breaker = Breaker(threshold=3, bound_s=300.0, awake_s=now_s)
    job = Job(campaigns(20), always(BUSY), concurrency=4, attempts=99, breaker=breaker, now=sleep.now)
    assert isinstance(job.to_its_end(), GuardError)
    assert 300 <= job.took_s <= 310


def test_nothing_leaves_once_the_time_is_over() -> None:
    """The deadline by the wall clock is checked before each call, also before one that waited for a store."""
    service, end_s = always(STOPPED, 0.25), 5.0

    def look() -> None:
        if now_s() >= end_s:
            job.pool.drain()

    async def claim() -> float:
        await asyncio.sleep(0.5)
        return 0.0

    job = Job(campaigns(50), service, concurrency=2, claim=claim, look_at_clock=look)
    job.to_its_end()
    assert 10 <= len(service.log) < 50
    assert max(service.began_s("a1")) < end_s
    assert job.outcomes()[Outcome.NOT_SENT] == 50 - len(service.log)
