"""The search for a limit, at services of our own: what is tried, when it rests, and how it ends."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.load.generator import Generator
from bulkstop.engine.load.rate_search import TrialResult
from bulkstop.errors import CredentialsError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Campaign, Outcome
from bulkstop.report.load.thresholds import Threshold, parse_threshold
from bulkstop.runs import host
from bulkstop.runs.load import search as search_module
from bulkstop.runs.load import sending
from bulkstop.runs.load.search import Probe, Search, SearchResult, execute, format_limit
from bulkstop.settings import Settings
from tests.engine.parts import campaigns, now_s
from tests.processes import ROOT, simulator
from tests.servers import NGINX, VOICE_ANSWER, Connection, http, listening
from tests.virtual_time import run

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
SETTINGS = Settings(host="http://127.0.0.1:1", token=TOKEN)
OK = Response(200, VOICE_ANSWER, 1.0)
STEP_S = 0.05
Reply = Callable[[int], Response | TransportFailure]
"""What the n-th run is answered, from 0."""


def throttled(after_s: float | None = None) -> Response:
    """Make the answer to a call that is one too many."""
    return Response(429, b"{}" if after_s is None else b'{"retryAfterMs":%d}' % (after_s * 1e3), 1.0)


def endless() -> Iterator[Campaign]:
    """Return the same few campaigns for ever."""
    return itertools.cycle(campaigns(5))


def search(*, require: Sequence[Threshold] = (), **how: Any) -> Search:
    """Make a short search."""
    return Search(**{"start": 1000.0, "top": 1e5, "step_s": STEP_S, "require": tuple(require), **how})


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the search count in the time of a virtual loop."""
    monkeypatch.setattr(sending, "Generator", partial(Generator, now=now_s, tick_s=0.0))
    monkeypatch.setattr(search_module, "time", SimpleNamespace(monotonic=now_s))


class Service:
    """Answers each run as it is told to, and notes when requests came."""

    def __init__(self, reply: Reply) -> None:
        self.done: list[Probe] = []
        self.seen: list[float] = []
        self.opened = 0
        self._reply = reply

    @asynccontextmanager
    async def connect(self, settings: Settings) -> AsyncIterator["Service"]:
        """Open a transport."""
        self.opened += 1
        yield self

    async def post(self, path: str, headers: Mapping[str, str], body: bytes, cap: int) -> Response | TransportFailure:
        """Answer."""
        await asyncio.sleep(0)
        self.seen.append(now_s())
        return self._reply(len(self.done))

    def searched(self, **how: Any) -> SearchResult:
        """Search at this service."""
        job = execute(search(**how), endless(), SETTINGS, connect=self.connect, tell=self.done.append)
        return run(job)[0]


@given(rate=st.floats(0.001, 1e6))
def test_as_limit(rate: float) -> None:
    """A rate is written as a quota that is never more, and at most 5 % less."""
    limit = format_limit(rate)
    assert limit.calls <= max(1, rate * limit.window_s + 1e-6)
    if rate >= 20 / 3600:
        assert limit.calls >= 0.95 * rate * limit.window_s


@pytest.mark.parametrize(("rate", "text"), [(48.3, "48/1s"), (20, "20/1s"), (19.9, "199/10s"), (1, "60/60s")])
def test_as_limit_is_short(rate: float, text: str) -> None:
    """The window is the shortest that loses little."""
    assert str(format_limit(rate)) == text


@pytest.mark.usefixtures("virtual")
class TestSearch:
    """What is tried, told by the number of the run alone, in virtual time."""

    def test_found(self) -> None:
        """Doubles, halves, confirms; one connection pool for all; every request is counted."""
        service = Service(lambda number: throttled() if number in (2, 3, 5) else OK)
        found = service.searched()
        rates = [probe.rate for probe in found.probes]
        assert rates == [1000, 2000, 4000, 2828, 2378, 2593, 2483, 2483]
        assert [probe.length_s for probe in found.probes] == [*[STEP_S] * 7, 2 * STEP_S]
        assert [probe.trial is TrialResult.HELD for probe in found.probes] == [
            True,
            True,
            *[False] * 2,
            True,
            False,
            *[True] * 2,
        ]
        assert (found.rate, found.exit_code, found.reason) == (2483, 0, "all known")
        assert found.probes == service.done
        assert found.requests == len(service.seen)
        assert service.opened == 1
        assert found.outcomes == {Outcome.STOPPED: found.requests - 3, Outcome.THROTTLED: 3}

    def test_ends_at_the_first_throttled(self) -> None:
        """One request is throttled, and nothing more leaves at that rate; unless more of them are allowed."""
        service = Service(lambda number: throttled() if number == 1 else OK)
        found = service.searched(top=2000)
        over = found.probes[1]
        assert over.metrics.requests == 1
        assert over.why.startswith("1 of 1 throttled in ")
        patient = Service(lambda number: throttled() if number == 1 else OK).searched(
            top=2000, require=(parse_threshold("throttled<=100%"),)
        )
        assert patient.rate == 2000
        assert patient.probes[1].metrics.outcomes == {Outcome.THROTTLED: 100}

    def test_nothing_holds(self) -> None:
        """A service that takes nothing: it goes down as far as a run still says something, and ends with exit 1."""
        found = Service(lambda number: Response(503, b"{}", 1.0)).searched(start=600.0)
        assert [probe.rate for probe in found.probes] == [600, 300, 200]  # 10 requests in 50 ms
        assert (found.rate, found.exit_code, found.reason) == (None, 1, "no rate held, down to 200/s")

    def test_top(self) -> None:
        """A service that takes all there is to try: the top, told as that."""
        found = Service(lambda number: OK).searched(top=3000)
        assert [probe.rate for probe in found.probes] == [1000, 2000, 3000, 3000]
        assert (found.rate, found.knee.high, found.exit_code) == (3000, None, 0)

    def test_required_rate(self) -> None:
        """A rate that is required is asked of the limit that was found."""
        for text, code in (("rate>500/s", 0), ("rate>5000/s", 1)):
            found = Service(lambda number: OK).searched(top=1000, require=(parse_threshold(text),))
            assert (found.exit_code, [each.held for each in found.verdicts]) == (code, [code == 0])

    def test_count(self) -> None:
        """The number of requests is never passed; without the limit being known by then it is exit 3."""
        service = Service(lambda number: OK)
        found = service.searched(count=349)
        assert len(service.seen) == found.requests == 50 + 100
        assert (found.rate, found.knee.low, found.exit_code) == (None, 2000, 3)
        assert found.reason == "--count 349: is used up before the limit is known"

    @pytest.mark.parametrize(
        ("answer", "code", "why"),
        [
            (TransportFailure(Outcome.CONNECTION_ERROR, "refused", 1.0), 1, "no request was answered"),
            (Response(401, b"{}", 1.0), 3, "every request was refused as unauthorized"),
            (throttled(60), 3, "the service asked to wait 60 s, so it counts over a longer time than any rate is held"),
        ],
    )
    def test_in_vain(self, answer: Response | TransportFailure, code: int, why: str) -> None:
        """Where other rates would tell no more, the first run is the last."""
        found = Service(lambda number: answer).searched()
        assert (len(found.probes), found.exit_code, found.rate) == (1, code, None)
        assert found.reason.startswith(why)

    def test_collapse(self) -> None:
        """A service that answers nothing any more at one rate gave way there; the search goes on below."""
        service = Service(lambda number: TransportFailure(Outcome.TIMEOUT, "late", 1.0) if number == 2 else OK)
        found = service.searched()
        assert [probe.rate for probe in found.probes][:4] == [1000, 2000, 4000, 2828]
        assert found.probes[2].why == "timeout<1%: FAILED (100%)"
        assert (found.exit_code, found.knee.low) == (0, found.rate)

    def test_refused(self) -> None:
        """A limit that most requests reached without a stop is told as what it is."""
        found = Service(lambda number: Response(404, b"{}", 1.0)).searched(top=1000)
        assert (found.rate, found.refused, found.exit_code) == (1000, "not_found", 0)
        assert Service(lambda number: OK).searched(top=1000).refused == ""


@pytest.mark.usefixtures("virtual")
class TestRest:
    """A service that gave way is left alone for a while."""

    @pytest.mark.parametrize(("asked_s", "least_s"), [(None, 0.2), (0.35, 0.35)])
    def test_rests(self, asked_s: float | None, least_s: float) -> None:
        """For a step, or for as long as it asked for."""
        service = Service(lambda number: throttled(asked_s) if number == 0 else OK)
        found = service.searched(start=100.0, step_s=0.2, count=20)
        first = found.probes[0].metrics.requests
        assert service.seen[first] - service.seen[first - 1] == pytest.approx(least_s)

    def test_keeps_its_distance(self) -> None:
        """Between two runs that hold the requests keep their distance: at the seam no service sees more than a rate."""
        service = Service(lambda number: OK)
        service.searched(start=50.0, top=50.0, step_s=0.2)
        assert service.seen[10] - service.seen[9] == pytest.approx(1 / 50)

    def test_signal(self) -> None:
        """Ctrl-C ends the rest, too: with what is known by then, and the usual exit code."""
        service = Service(lambda number: OK if number == 0 else throttled())

        def tell(probe: Probe) -> None:
            service.done.append(probe)
            if probe.trial is TrialResult.GAVE_WAY:
                os.kill(os.getpid(), signal.SIGINT)

        job = execute(search(), endless(), SETTINGS, connect=service.connect, signals=[signal.SIGINT], tell=tell)
        was = signal.getsignal(signal.SIGINT)
        try:
            found, _ = run(job)
        finally:
            signal.signal(signal.SIGINT, was)
        assert (found.exit_code, found.rate, found.knee.low) == (130, None, 1000)
        assert found.reason == "by SIGINT, before the limit was known"
        assert len(found.probes) == 2


@pytest.mark.usefixtures("virtual")
def test_a_dead_token() -> None:
    """Credentials that end in mid-search end it: exit 3, with the reason."""

    def reply(number: int) -> Response:
        if number:
            raise CredentialsError("no token")
        return OK

    found = Service(reply).searched()
    assert (found.exit_code, found.knee.low, found.rate, found.reason) == (3, 1000, None, "no token")


async def test_this_machine_is_the_limit() -> None:
    """A machine that is late at every rate knows nothing of the service: exit 3. In real time, where all are."""
    found = await execute(search(max_late_s=1e-9), endless(), SETTINGS, connect=Service(lambda number: OK).connect)
    assert {probe.trial for probe in found.probes} == {TrialResult.LATE}
    assert found.exit_code == 3


REAL: dict[str, Any] = {"start": 10.0, "step_s": 0.5}
"""A search in real time, with steps as short as a few of the service's windows."""


@pytest.mark.alone
class TestRealLimits:
    """Limits in real time: that of nginx, of the simulator, and of a server that can do no more."""

    @pytest.mark.skipif(NGINX is None, reason="nginx is not installed here")
    def test_nginx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A limit that nobody here wrote, 50 a second and 5 at once, is found; nginx saw no other requests."""
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        from limited_nginx import limited

        with limited(50, burst=5) as server:
            found = host.run(execute(Search(**REAL), endless(), Settings(host=server.url, token=TOKEN)))
            calls = server.stop()
        assert found.exit_code == 0
        assert found.rate is not None
        assert 44 <= found.rate <= 50 + 5  # what it lets through at once is in it, over a second
        assert found.outcomes[Outcome.STOPPED] == sum(call.status == 200 for call in calls)
        assert found.outcomes[Outcome.THROTTLED] == sum(call.status == 429 for call in calls)

    def test_simulator(self, tmp_path: Path) -> None:
        """A quota of 40 in any second is found, to 5 % and what a machine with other work does to it."""
        with simulator(tmp_path, "--quota", "40/1s") as sim:
            found = host.run(execute(Search(**REAL), endless(), Settings(host=sim.url, token=TOKEN)))
            assert found.requests == len(sim.requests())
        assert found.exit_code == 0
        assert found.rate is not None
        assert 35 <= found.rate <= 40

    async def test_latency(self) -> None:
        """A server that takes 5 ms for each, one after the other, is found by what its requests have to wait."""
        free_at = 0.0

        async def handle(connection: Connection) -> None:
            nonlocal free_at
            loop = asyncio.get_running_loop()
            while await connection.request() is not None:
                free_at = max(free_at, loop.time()) + 0.005
                await asyncio.sleep(free_at - loop.time())
                await connection.write(http())

        async with listening(handle) as server:
            job = Search(start=50.0, step_s=0.5, max_late_s=0.05, require=(parse_threshold("p99<100ms"),))
            found = await execute(job, endless(), Settings(host=server.url, token=TOKEN))
        assert found.exit_code == 0
        assert found.rate is not None
        assert 170 <= found.rate <= 225  # in a second 100 ms of waiting come together only at 10 % above
        assert any("p99<100ms: FAILED" in probe.why for probe in found.probes)
