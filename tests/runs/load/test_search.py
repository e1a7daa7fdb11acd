"""The search for a limit, at services of our own: what is tried, when it rests, and how it ends."""

import asyncio
import math
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bulkstop.engine.load.rate_search import TrialResult
from bulkstop.errors import CredentialsError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Outcome
from bulkstop.report.load.limit import LimitSummary, Probe
from bulkstop.report.load.thresholds import Threshold, parse_threshold
from bulkstop.runs import host
from bulkstop.runs.load.search import Search, execute
from bulkstop.settings import Settings
from bulkstop.simulator.faults import RollingQuota
from tests.engine.parts import now_s
from tests.loads import OK, Reply, Service, endless
from tests.processes import ROOT
from tests.servers import NGINX
from tests.virtual_time import run

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
SETTINGS = Settings(host="http://127.0.0.1:1", token=TOKEN)
STEP_S = 0.05


def throttled(after_s: float | None = None) -> Response:
    """Make the answer to a call that is one too many."""
    return Response(429, b"{}" if after_s is None else b'{"retryAfterMs":%d}' % (after_s * 1e3), 1.0)


def search(*, require: Sequence[Threshold] = (), **how: Any) -> Search:
    """Make a short search."""
    return Search(**{"start": 1000.0, "top": 1e5, "step_s": STEP_S, "require": tuple(require), **how})


class Searched(Service):
    """Answers each run by its number, from 0."""

    def __init__(self, reply: Reply) -> None:
        self.done: list[Probe] = []
        super().__init__(lambda _: reply(len(self.done)))

    def searched(self, **how: Any) -> LimitSummary:
        """Search at this service."""
        job = execute(search(**how), endless(), SETTINGS, connect=self.connect, tell=self.done.append)
        return run(job)[0]


class OneByOne(Searched):
    """Takes 5 ms for each request, one after the other."""

    free_at = 0.0
    patience_s = math.inf
    """Seconds after which the caller gives up; the service handles the request anyway."""

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0
    ) -> Response | TransportFailure:
        """Answer when those before have their answers."""
        self.free_at = max(self.free_at, now_s()) + 0.005
        takes_s = self.free_at - now_s()
        await asyncio.sleep(min(self.patience_s, takes_s))
        response = await super().post(target, headers)
        return response if takes_s < self.patience_s else TransportFailure(Outcome.TIMEOUT, "late", 1.0)


class Pausing(Searched):
    """Pauses at the end of some runs."""

    def __init__(self, runs: Sequence[int]) -> None:
        super().__init__(lambda number: OK)
        self._runs, self._began = runs, dict[int, float]()

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0
    ) -> Response | TransportFailure:
        """Respond at once, or after the pause."""
        number = len(self.done)
        into_s = now_s() - self._began.setdefault(number, now_s())
        await asyncio.sleep(0.03 if number in self._runs and into_s > 0.88 * STEP_S else 0.001)
        return await super().post(target, headers)


@pytest.mark.usefixtures("virtual")
class TestSearch:
    """The rates that are tried, by the number of the run, in virtual time."""

    def test_found(self) -> None:
        """Doubles, halves, confirms; one connection pool for all; every request is counted."""
        quota = RollingQuota(((120, STEP_S),))
        service = Searched(lambda number: OK if quota.admit("a", now_s()) else throttled())
        found = service.searched()
        assert [probe.rate for probe in found.probes][:3] == [1000, 2000, 4000]
        assert found.rate is not None
        assert 2400 / 1.06 <= found.rate <= 2400
        assert found.probes[-1].length_s >= 2 * STEP_S
        assert (found.probes[-1].rate, found.exit_code, found.reason) == (found.rate, 0, "the limit is known")
        assert list(found.probes) == service.done
        assert found.requests == len(service.seen)
        assert len(service.opened) == 1
        assert found.outcomes[Outcome.STOPPED] == found.requests - found.outcomes[Outcome.THROTTLED]

    @pytest.mark.parametrize(
        ("runs", "trials"),
        [
            ([0], [TrialResult.UNCLEAR, TrialResult.HELD]),
            ([0, 1], [TrialResult.UNCLEAR, TrialResult.GAVE_WAY]),
        ],
    )
    def test_pause_at_the_end(self, runs: Sequence[int], trials: Sequence[TrialResult]) -> None:
        """If responses are late only at the end of a run, its rate is tried once more, as it may have been a pause."""
        found = Pausing(runs).searched(start=4000.0, top=4000.0)
        assert [(probe.rate, probe.trial) for probe in found.probes[:2]] == [(4000, trial) for trial in trials]

    def test_ends_at_the_first_throttled(self) -> None:
        """One request is throttled, and nothing more leaves at that rate; unless more of them are allowed."""
        service = Searched(lambda number: throttled() if number == 1 else OK)
        found = service.searched(top=2000)
        over = found.probes[1]
        assert over.metrics.requests == 1
        assert over.why.startswith("1 of 1 throttled in ")
        patient = Searched(lambda number: throttled() if number == 1 else OK).searched(
            top=2000, require=(parse_threshold("throttled<=100%"),)
        )
        assert patient.rate == 2000
        assert patient.probes[1].metrics.outcomes == {Outcome.THROTTLED: 100}

    def test_nothing_holds(self) -> None:
        """A service that takes nothing: it goes down as far as a run still says something, and ends with exit 1."""
        found = Searched(lambda number: Response(503, b"{}", 1.0)).searched(start=600.0)
        assert [probe.rate for probe in found.probes] == [600, 300, 200]  # 10 requests in 50 ms
        assert (found.rate, found.exit_code, found.reason) == (None, 1, "no rate held, down to 200/s")

    def test_required_rate(self) -> None:
        """A rate that is required is asked of the limit that was found."""
        for text, code in (("rate>500/s", 0), ("rate>5000/s", 1)):
            found = Searched(lambda number: OK).searched(top=1000, require=(parse_threshold(text),))
            assert (found.exit_code, [each.held for each in found.verdicts]) == (code, [code == 0])

    def test_count(self) -> None:
        """The number of requests is never passed; without the limit being known by then it is exit 3."""
        service = Searched(lambda number: OK)
        found = service.searched(count=349)
        assert len(service.seen) == found.requests == 50 + 100
        assert (found.rate, found.low, found.exit_code) == (None, 2000, 3)
        assert found.reason == "count 349: is used up before the limit is known"

    @pytest.mark.parametrize(
        ("answer", "code", "why"),
        [
            (TransportFailure(Outcome.CONNECTION_ERROR, "refused", 1.0), 1, "no request was answered"),
            (Response(401, b"{}", 1.0), 3, "every request was refused as unauthorized"),
            (throttled(60), 3, "the service asked to wait 60 s, so it counts over a longer time than any rate is held"),
        ],
    )
    def test_in_vain(self, answer: Response | TransportFailure, code: int, why: str) -> None:
        """If other rates would give the same result, the first run is the last."""
        found = Searched(lambda number: answer).searched()
        assert (len(found.probes), found.exit_code, found.rate) == (1, code, None)
        assert found.reason.startswith(why)

    def test_collapse(self) -> None:
        """A service that stops answering at one rate failed there; the search continues below."""
        service = Searched(lambda number: TransportFailure(Outcome.TIMEOUT, "late", 1.0) if number == 2 else OK)
        found = service.searched()
        assert [probe.rate for probe in found.probes][:4] == [1000, 2000, 4000, 2828]
        assert found.probes[2].why == "timeout<1%: FAILED (100%)"
        assert (found.exit_code, found.low) == (0, found.rate)

    def test_latency(self) -> None:
        """A service that takes 5 ms for each, one after the other, is found by what its requests have to wait."""
        service = OneByOne(lambda number: OK)
        found = service.searched(start=50.0, step_s=0.5, require=(parse_threshold("p99<100ms"),))
        assert found.exit_code == 0
        assert found.rate is not None
        assert 190 <= found.rate <= 201
        assert any("p99<100ms: FAILED" in probe.why for probe in found.probes)

    @pytest.mark.parametrize("step_s", [1.0, 2.0])
    def test_queue(self, step_s: float) -> None:
        """A rate at which a queue grows does not hold, however quick the answers still are when a step is over."""
        service = OneByOne(lambda number: OK)
        found = service.searched(start=50.0, step_s=step_s)
        assert found.rate is not None
        assert 190 <= found.rate <= 202
        assert any("a queue grew" in probe.why for probe in found.probes)

    def test_catches_up(self) -> None:
        """The next rate is tried only after late requests are worked off, so they make no rate give way."""
        service = OneByOne(lambda number: OK)
        service.patience_s = 0.2
        found = service.searched(start=2000.0, step_s=0.5)
        assert found.rate is not None
        assert 190 <= found.rate <= 202
        assert [probe.trial for probe in found.probes[:2]] == [TrialResult.GAVE_WAY, TrialResult.BEHIND]
        assert found.requests == len(service.seen)

    def test_never_catches_up(self) -> None:
        """If a service stops responding after a rate, the search ends after two minutes without a limit."""
        service = Searched(lambda number: OK if number < 1 else TransportFailure(Outcome.TIMEOUT, "late", 1.0))
        found = service.searched()
        assert (found.rate, found.exit_code) == (None, 3)
        assert found.reason.startswith("the service has not caught up, 2 min after")

    def test_refused(self) -> None:
        """A limit that most requests reached without a stop is reported as such."""
        found = Searched(lambda number: Response(404, b"{}", 1.0)).searched(top=1000)
        assert (found.rate, found.refused, found.exit_code) == (1000, "not_found", 0)
        assert Searched(lambda number: OK).searched(top=1000).refused == ""


@pytest.mark.usefixtures("virtual")
class TestRest:
    """A pause follows when a service gave way."""

    @pytest.mark.parametrize(("asked_s", "least_s"), [(None, 0.2), (0.35, 0.35)])
    def test_rests(self, asked_s: float | None, least_s: float) -> None:
        """The pause lasts a step, or as long as the service asked."""
        service = Searched(lambda number: throttled(asked_s) if number == 0 else OK)
        found = service.searched(start=100.0, step_s=0.2, count=20)
        first = found.probes[0].metrics.requests
        assert service.seen[first][0] - service.seen[first - 1][0] == pytest.approx(least_s)

    def test_keeps_its_distance(self) -> None:
        """Between two runs that hold the requests keep their distance: at the seam no service sees more than a rate."""
        service = Searched(lambda number: OK)
        service.searched(start=50.0, top=50.0, step_s=0.2)
        assert service.seen[10][0] - service.seen[9][0] == pytest.approx(1 / 50)

    def test_signal(self) -> None:
        """Ctrl-C also ends a pause, with the result so far, and the usual exit code."""
        service = Searched(lambda number: OK if number == 0 else throttled())

        def tell(probe: Probe) -> None:
            service.done.append(probe)
            if probe.trial is not TrialResult.HELD:
                os.kill(os.getpid(), signal.SIGINT)

        job = execute(search(), endless(), SETTINGS, connect=service.connect, signals=[signal.SIGINT], tell=tell)
        was = signal.getsignal(signal.SIGINT)
        try:
            found, _ = run(job)
        finally:
            signal.signal(signal.SIGINT, was)
        assert (found.exit_code, found.rate, found.low) == (130, None, 1000)
        assert found.reason == "by SIGINT, before the limit was known"
        assert len(found.probes) == 2


@pytest.mark.usefixtures("virtual")
def test_a_dead_token() -> None:
    """Credentials that expire during a search end it: exit 3, with the reason."""

    def reply(number: int) -> Response:
        if number:
            raise CredentialsError("no token")
        return OK

    found = Searched(reply).searched()
    assert (found.exit_code, found.low, found.rate, found.reason) == (3, 1000, None, "no token")


async def test_this_machine_is_the_limit() -> None:
    """A machine that is late at every rate knows nothing of the service: exit 3. In real time, where all are."""
    found = await execute(search(max_late_s=1e-9), endless(), SETTINGS, connect=Searched(lambda number: OK).connect)
    assert {probe.trial for probe in found.probes} == {TrialResult.LATE}
    assert found.exit_code == 3


@pytest.mark.alone
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed here")
def test_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of an independent server, 50 a second and 5 at once, is found; nginx saw no other requests."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from limited_nginx import limited

    with limited(50, burst=5) as server:
        how = Search(start=10.0, step_s=0.5, max_late_s=1.0)  # what a busy machine does is not what this is about
        found = host.run(execute(how, endless(), Settings(host=server.url, token=TOKEN)))
        calls = server.stop()
    assert found.exit_code == 0
    assert found.rate is not None
    assert 44 <= found.rate <= 50 + 5  # what it lets through at once is in it, over a second
    assert found.outcomes[Outcome.STOPPED] == sum(call.status == 200 for call in calls)
    assert found.outcomes[Outcome.THROTTLED] == sum(call.status == 429 for call in calls)
