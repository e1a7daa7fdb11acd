"""The generator in virtual time: when requests are sent, for any service, and who caused lateness."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.load.arrivals import ClosedModel, OpenModel, constant
from bulkstop.engine.load.generator import Busy, Generator, Sample
from bulkstop.errors import BulkstopError, CredentialsError
from bulkstop.model import AtOnce, Attempt, Campaign, Outcome, Send, never_at_once
from tests.engine.parts import STOPPED, always, campaign, now_s
from tests.virtual_time import VirtualLoop, run


class Scene:
    """A generator in virtual time, and what it noted."""

    def __init__(
        self,
        times_s: Iterable[float] | OpenModel | ClosedModel,
        send: Send,
        *,
        places: int = 1000,
        note: Callable[[Sample], None] | None = None,
        busy: Callable[[], float] = lambda: 0.0,
        at_once: AtOnce = never_at_once,
        make_room: Callable[[], Awaitable[None] | None] = lambda: None,
    ) -> None:
        self.samples: list[Sample] = []
        self.generator = Generator(
            times_s if isinstance(times_s, OpenModel | ClosedModel) else OpenModel(times_s),
            map(campaign, itertools.count(1)),
            send,
            note or self.samples.append,
            max_in_flight=places,
            at_once=at_once,
            make_room=make_room,
            now=now_s,
            tick_s=0.0,
            busy=busy,
        )

    def run(self, *, begin_at: float | None = None, until_s: float = 0.0, end: str = "") -> "Scene":
        """Run it until its end, or until `end` is called after some seconds."""

        async def main() -> None:
            timer = asyncio.get_running_loop().call_later(until_s, getattr(self.generator, end)) if end else None
            try:
                await self.generator.run(begin_at)
            finally:
                if timer is not None:
                    timer.cancel()

        run(main())
        return self

    def latencies(self) -> list[float]:
        """Return how long each was waited for."""
        return [sample.ended_s - sample.intended_s for sample in self.samples]

    def services(self) -> list[float]:
        """Return how long each took once it had left."""
        return [sample.ended_s - sample.started_s for sample in self.samples]


def p99(times: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]


def freezing(from_s: float, to_s: float, latency_s: float = 0.01) -> Send:
    """Make a server that answers in some time, but nothing while it is frozen."""

    async def send(_: Campaign) -> Attempt:
        await asyncio.sleep(latency_s)
        if from_s <= (now := now_s()) < to_s:
            await asyncio.sleep(to_s - now)
        return STOPPED

    return send


def stalling(at: int, seconds: float, latency_s: float = 0.001) -> Send:
    """Make a send whose n-th call keeps the whole program from running for some time."""
    calls = itertools.count(1)

    async def send(_: Campaign) -> Attempt:
        if next(calls) == at:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop._passed_s += seconds
        await asyncio.sleep(latency_s)
        return STOPPED

    return send


def test_arrivals_do_not_wait_for_answers() -> None:
    """An open model: requests leave to the microsecond when they are due, though no answer has come yet."""
    service = always(STOPPED, latency_s=60.0)
    schedule = constant(100, 5)
    scene = Scene(schedule, service.send).run()
    assert service.began_s("a1") == pytest.approx(list(schedule), abs=1e-6)
    assert service.most_in_flight == scene.generator.most_in_flight == 500
    assert scene.services() == pytest.approx([60.0] * 500)


@pytest.mark.parametrize("arrivals", [OpenModel(constant(10, 2)), ClosedModel(20)], ids=["open", "closed"])
def test_begins_when_it_is_told(arrivals: OpenModel | ClosedModel) -> None:
    """With a moment to begin at nothing leaves before, and all times are since then."""
    service = always(STOPPED, latency_s=0.5)
    scene = Scene(arrivals, service.send, places=10).run(begin_at=3.0)
    assert len(scene.samples) == 20
    assert service.began_s("a1")[0] == pytest.approx(3.0)
    assert min(sample.intended_s for sample in scene.samples) == pytest.approx(0.0)
    assert scene.samples[0].ended_s == pytest.approx(0.5)


def test_each_arrival_has_one_request() -> None:
    """Campaigns are drawn in order, one for each arrival, and each is sent once."""
    service = always(STOPPED, latency_s=0.3)
    scene = Scene(constant(50, 4), service.send, places=7).run()
    sent = [call.campaign.line for call in service.log]
    assert sent == list(range(1, 201))
    assert sorted(sample.campaign.line for sample in scene.samples) == sent


@pytest.mark.stalls("in virtual time all that came due while the server was frozen leaves at once")
def test_server_that_freezes() -> None:
    """A server frozen for 2 of 20 s shows in the p99 of latency; in the service's only with room for all."""
    scene = Scene(constant(500, 20), freezing(8, 10), places=32).run()
    assert len(scene.samples) == 10_000
    assert p99(scene.latencies()) > 1.5
    assert p99(scene.services()) < 0.02
    assert max(scene.services()) > 1.9
    roomy = Scene(constant(500, 20), freezing(8, 10), places=2000).run()
    assert p99(roomy.services()) == pytest.approx(p99(roomy.latencies())) == pytest.approx(1.8, abs=0.05)
    assert {sample.held_s for sample in roomy.samples} == {0.0}
    assert roomy.generator.full_s == 0


@settings(max_examples=60)
@given(
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=40),
    latencies=st.lists(st.floats(0.001, 2), min_size=40, max_size=40),
    places=st.integers(1, 6),
)
def test_queue(gaps: list[float], latencies: list[float], places: int) -> None:
    """Requests leave as from a queue with so many servers: when due, else as soon as the first place is free."""
    due = list(itertools.accumulate(gaps, initial=0.0))[: len(gaps)]
    free, expected = [0.0] * places, []
    for at, latency_s in zip(due, latencies, strict=False):
        started = max(at, heapq.heappop(free))
        expected.append(started)
        heapq.heappush(free, started + latency_s)

    async def send(one: Campaign) -> Attempt:
        await asyncio.sleep(latencies[one.line - 1])
        return STOPPED

    scene = Scene(due, send, places=places).run()
    by_line = sorted(scene.samples, key=lambda sample: sample.campaign.line)
    assert [sample.started_s for sample in by_line] == pytest.approx(expected, abs=1e-6)
    assert [sample.intended_s for sample in by_line] == pytest.approx(due)
    assert [sample.late_s for sample in by_line] == pytest.approx([0.0] * len(due), abs=1e-6)
    held = [start - at for start, at in zip(expected, due, strict=True)]
    assert [sample.held_s for sample in by_line] == pytest.approx(held, abs=1e-6)
    assert scene.generator.most_in_flight <= places


def test_held_up_for_the_whole_run() -> None:
    """A service too slow for the rate gets all requests, increasingly late, and none is lost."""
    scene = Scene(constant(100, 2), always(STOPPED, latency_s=0.1).send, places=5).run()
    assert len(scene.samples) == 200
    assert scene.latencies()[-1] == pytest.approx(200 / 50 - 199 / 100, abs=0.11)
    assert max(sample.late_s for sample in scene.samples) < 1e-6
    # From the fifth request to the last.
    assert scene.generator.full_s == pytest.approx(3.9 - 0.04, abs=0.05)


class TestWhoseFault:
    """Lateness is the generator's own unless all places were taken."""

    def test_program_that_stands_still(self) -> None:
        """Requests due while the program was suspended are late through its fault, by their full delay."""
        scene = Scene(constant(100, 2), stalling(51, 0.4)).run()
        late = {sample.campaign.line: sample.late_s for sample in scene.samples}
        assert sorted(line for line, late_s in late.items() if late_s > 1e-6) == list(range(52, 91))
        assert late[52] == pytest.approx(0.39)
        assert late[90] == pytest.approx(0.01)
        assert not any(sample.held_s for sample in scene.samples)

    def test_stall_with_few_places(self) -> None:
        """Places that are taken because so much was due at once after a stall do not excuse it."""
        scene = Scene(constant(100, 2), stalling(51, 0.4, latency_s=0.001), places=2).run()
        by_line = sorted(scene.samples, key=lambda sample: sample.campaign.line)
        for sample in by_line[52:90]:  # all that was due in the stall, but for the one that found a place
            assert sample.late_s == pytest.approx(0.9 - sample.intended_s, abs=1e-6)
            assert sample.held_s == pytest.approx(sample.started_s - 0.9, abs=1e-6)

    def test_busy_while_full(self) -> None:
        """How much the generator worked while no place was free is counted, from one clock to the other."""
        worked = itertools.count()
        scene = Scene([0.0, 0.0, 5.0, 5.0], always(STOPPED, 1.0).send, places=1, busy=lambda: float(next(worked))).run()
        assert scene.generator.full_s == pytest.approx(3.0)  # up to the answer at 2 s, then from 5 s to the last turn
        assert scene.generator.full_busy_s == 2.0

    def test_busy_clock(self) -> None:
        """The clock of work hardly advances while this thread sleeps, and advances while it works."""
        busy = Busy()
        began = busy()
        while busy() == began:
            pass
        busy.close()
        assert busy() > 0


class TestEnd:
    """However a run ends, its requests in flight are recorded."""

    @pytest.mark.parametrize("over_wire", [False, True])
    @pytest.mark.parametrize(
        ("end", "places", "stopped", "unknown"), [("drain", 99, 31, 0), ("drain", 2, 6, 0), ("abort", 99, 21, 10)]
    )
    def test_told_to_end(self, end: str, places: int, stopped: int, unknown: int, over_wire: bool) -> None:
        """A drain waits for requests in flight, an abort cuts them off; no further request is sent."""
        service = always(STOPPED, latency_s=1.0)
        scene = Scene(
            constant(10, 60), service.send, places=places, at_once=service.begin if over_wire else never_at_once
        ).run(until_s=3.05 if places > 2 else 2.55, end=end)
        assert len(service.log) == stopped + unknown
        outcomes = [sample.attempt.outcome for sample in scene.samples]
        assert outcomes == [Outcome.STOPPED] * stopped + [Outcome.UNKNOWN] * unknown
        assert {sample.attempt.error for sample in scene.samples[stopped:]} <= {
            "in flight when the run was cut off; the stop may have arrived"
        }

    def test_no_room(self) -> None:
        """An abort never waits for room for its records."""
        latencies = itertools.count(1)

        async def send(_: Campaign) -> Attempt:
            await asyncio.sleep(next(latencies))
            return STOPPED

        async def room() -> None:
            await asyncio.Event().wait()

        scene = Scene([0.0] * 4, send, make_room=room).run(until_s=2.5, end="abort")
        assert [sample.attempt.outcome for sample in scene.samples] == [Outcome.STOPPED] * 2 + [Outcome.UNKNOWN] * 2

    def test_drain_in_the_last_moment(self) -> None:
        """Nothing is sent after a drain, however much is due by then."""
        scene: Scene

        async def send(_: Campaign) -> Attempt:
            scene.generator.drain()
            return STOPPED

        scene = Scene([0.0] * 5, send, places=1)
        assert len(scene.run().samples) == 1

    @pytest.mark.parametrize(("late_s", "places", "unsent"), [(0.005, 99, 0), (0.5, 99, 5), (0.005, 2, 1)])
    def test_just_due(self, late_s: float, places: int, unsent: int) -> None:
        """A request that was due just before the end does not count as unsent, unless it had no place."""
        scene = Scene(constant(10, 60), always(STOPPED, latency_s=60.0).send, places=places)

        async def main() -> int:
            def end() -> None:
                asyncio.get_running_loop()._passed_s += late_s  # type: ignore[attr-defined]
                scene.generator.abort()

            asyncio.get_running_loop().call_later(0.1999, end)
            await scene.generator.run()
            return len(scene.generator.list_unsent())

        assert run(main())[0] == unsent

    def test_before_it_has_begun(self) -> None:
        """Drained before it runs, it sends nothing and ends."""
        service = always(STOPPED)
        scene = Scene(constant(10, 60), service.send)
        scene.generator.drain()
        assert scene.run().samples == []
        assert service.log == []

    def test_lost_credentials(self) -> None:
        """An error that prevents a request ends the run; those in flight are recorded first, then it is raised."""
        calls = itertools.count(1)

        async def send(_: Campaign) -> Attempt:
            if next(calls) == 5:
                raise CredentialsError("no token")
            await asyncio.sleep(1.0)
            return STOPPED

        scene = Scene(constant(10, 60), send)
        with pytest.raises(CredentialsError, match="no token"):
            scene.run()
        assert len(scene.samples) == 4

    def test_full_disk(self) -> None:
        """An error of `note` also ends the run, once."""
        noted: list[Sample] = []

        def note(sample: Sample) -> None:
            noted.append(sample)
            if len(noted) >= 3:
                raise BulkstopError("disk full")

        scene = Scene(constant(10, 60), always(STOPPED, latency_s=0.25).send, note=note)
        with pytest.raises(BulkstopError, match="disk full"):
            scene.run()
        assert len(noted) == 5  # two were in flight

    def test_slip_in_send(self) -> None:
        """A send that breaks leaves its request unknown, and ends the run with what it raised."""

        async def send(one: Campaign) -> Attempt:
            await asyncio.sleep(0.5)
            if one.line == 2:
                raise ZeroDivisionError
            return STOPPED

        scene = Scene(constant(10, 60), send)
        with pytest.raises(ZeroDivisionError):
            scene.run()
        assert [sample.attempt.outcome for sample in scene.samples][:2] == [Outcome.STOPPED, Outcome.UNKNOWN]

    def test_stray_cancellation(self) -> None:
        """A stray cancellation ends the run instead of losing a place for ever."""

        async def send(one: Campaign) -> Attempt:
            if one.line == 2:
                raise asyncio.CancelledError
            await asyncio.sleep(0.5)
            return STOPPED

        scene = Scene(constant(10, 60), send, places=2)
        with pytest.raises(BulkstopError, match="cancelled from within"):
            scene.run()

    def test_cancelled_from_outside(self) -> None:
        """Cancelled as a whole, it notes what was in flight and leaves nothing behind."""
        scene = Scene(constant(10, 60), always(STOPPED, latency_s=9.0).send)

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.05):
                    await scene.generator.run()

        run(main())
        assert [sample.attempt.outcome for sample in scene.samples] == [Outcome.UNKNOWN] * 11


class TestClosed:
    """A closed model: so many at a time, each after an answer."""

    def test_count(self) -> None:
        """It sends as many as it should, never more at a time, and leaves no place empty."""
        service = always(STOPPED, latency_s=0.5)
        scene = Scene(ClosedModel(100), service.send, places=8).run()
        assert len(scene.samples) == 100
        assert service.most_in_flight == 8
        assert max(sample.ended_s for sample in scene.samples) == pytest.approx(math.ceil(100 / 8) * 0.5)

    def test_latency_is_service_time(self) -> None:
        """Nothing is due before it can be sent, so there is no lateness."""
        scene = Scene(ClosedModel(50), freezing(0.1, 2), places=4).run()
        assert scene.latencies() == pytest.approx(scene.services())
        assert {sample.held_s for sample in scene.samples} == {0.0}

    def test_together(self) -> None:
        """Places that become free in one round of the event loop are used again together, after all are noted."""
        done: list[str] = []

        async def send(_: Campaign) -> Attempt:
            done.append("sent")
            await asyncio.sleep(0.5)
            return STOPPED

        Scene(ClosedModel(6), send, places=3, note=lambda _: done.append("noted")).run()
        assert done == [*["sent"] * 3, *["noted"] * 3] * 2

    def test_time(self) -> None:
        """Without a number it continues until it is drained."""
        scene = Scene(ClosedModel(), always(STOPPED, latency_s=0.5).send, places=3).run(until_s=2.2, end="drain")
        assert len(scene.samples) == 15


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_on_a_real_loop(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """On a real clock no request is sent before it is due, all are sent, and those due together together."""
    samples: list[Sample] = []
    service = always(STOPPED, latency_s=0.001)
    times = [0.0, 0.0, 0.0, *(0.01 + n / 2000 for n in range(100))]

    async def main() -> None:
        busy = Busy()
        await Generator(
            OpenModel(times),
            map(campaign, itertools.count(1)),
            service.send,
            samples.append,
            max_in_flight=20,
            busy=busy,
        ).run()
        busy.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert len(samples) == len(times)
    assert sorted(sample.intended_s for sample in samples) == pytest.approx(times)
    assert all(sample.started_s >= sample.intended_s for sample in samples)
