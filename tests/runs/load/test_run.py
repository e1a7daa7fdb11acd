"""The whole load test, against servers of our own and against nginx: every request counted, honestly."""

import asyncio
import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkstop.engine.load.arrivals import Schedule, constant
from bulkstop.errors import CredentialsError, OutputError, SettingsError
from bulkstop.files import Output
from bulkstop.kore.calls import target
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Campaign, Outcome
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.summary import format_metrics as shown
from bulkstop.report.load.summary import metrics_to_json
from bulkstop.report.load.thresholds import Verdict, parse_threshold
from bulkstop.runs import host
from bulkstop.runs.load.recorder import Outputs
from bulkstop.runs.load.run import Load, Summary, choose_max_in_flight, execute
from bulkstop.settings import Settings
from tests.engine.parts import campaigns
from tests.loads import assert_same_times, counts_of, reference
from tests.servers import SMS_ANSWER, VOICE_ANSWER, Connection, Nginx, http, listening, replying

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
PATIENT_S = 60.0
"""How late this program may be: what a busy machine does is not what these tests are about."""
HELD = Verdict("p99<1s", held=True, value=1.0, unit="ms")
FAILED = HELD._replace(held=False)


def load(schedule: Schedule | None = None, **how: Any) -> Load:
    """Make a load test that is patient with this machine."""
    return Load(**{"schedule": schedule, "max_late_s": PATIENT_S, **how})


def endless(count: int = 5) -> Iterator[Campaign]:
    """Return the same few campaigns for ever."""
    return itertools.cycle(campaigns(count))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read the lines of the requests."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Heard:
    """Listens to how it goes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.once = asyncio.Event()

    def __call__(self, text: str) -> None:
        """Hear it."""
        self.said.append(text)
        self.once.set()


class TestAgainstNginx:
    """An HTTP server that nobody here wrote counts as well."""

    @pytest.mark.real
    @pytest.mark.parametrize("how", ["open", "closed"])
    def test_every_request_counts(self, nginx_server: Nginx, tmp_path: Path, how: str) -> None:
        """The server's log, the lines and the counts agree to the last request; figures are those of the lines."""
        todo, settings = campaigns(7), Settings(host=nginx_server.url, token=TOKEN)
        outputs = Outputs(Output(str(tmp_path / "r.jsonl"), "--results"), Output(str(tmp_path / "h.hlog"), "--hdr"))
        schedule = constant(400, count=500) if how == "open" else None
        what = load(schedule, count=500, max_in_flight=20)
        found = host.run(execute(what, itertools.cycle(todo), settings, outputs))
        assert (found.exit_code, found.reason, found.unsent) == (0, "all sent", 0)
        assert found.metrics.outcomes == {Outcome.STOPPED: 500}
        assert Counter(nginx_server.stop()) == {
            f"POST {target(each)} HTTP/1.1|200|{TOKEN}|{each.account_id}|{each.iid}|application/json|2": 500 // 7
            + (place < 500 % 7)
            for place, each in enumerate(todo)
        }
        rows = lines_of(tmp_path / "r.jsonl")
        assert len(rows) == 500
        assert_same_times(metrics_to_json(found.metrics, is_open=True), rows, ("latency_ms", "service_ms"))
        if how == "open":
            assert sorted(row["intended_s"] for row in rows) == pytest.approx([n / 400 for n in range(500)], abs=2e-6)
        assert all(row["started_s"] >= row["intended_s"] for row in rows)
        assert counts_of(tmp_path / "h.hlog") == {None: 500, "service": 500}

    @pytest.mark.alone
    async def test_freeze(self, nginx_server: Nginx, tmp_path: Path) -> None:
        """A server that stands still for a tenth of the time: a caller's p99 is that long, the service time's is not.

        As few are in flight as with a tool that waits for answers: only those have the freeze in their service time.
        """
        loop, freeze_s, length_s = asyncio.get_running_loop(), 0.5, 5.0
        nginx_group = os.getpgid(nginx_server._process.pid)
        loop.call_later(2.0, os.killpg, nginx_group, signal.SIGSTOP)
        loop.call_later(2.0 + freeze_s, os.killpg, nginx_group, signal.SIGCONT)
        outputs = Outputs(Output(str(tmp_path / "r.jsonl"), "--results"))
        job = load(constant(200, length_s), max_in_flight=8)
        found = await execute(job, endless(), Settings(host=nginx_server.url, token=TOKEN), outputs)
        measured = found.metrics
        assert (measured.outcomes, found.exit_code) == ({Outcome.STOPPED: 1000}, 0)
        latency_s, service_s = measured.latency.at(99)[0], measured.service.at(99)[0]
        assert 0.8 * freeze_s < latency_s < 2 * freeze_s
        assert service_s < 0.3 * freeze_s
        assert 0.9 * freeze_s < measured.service.max_s < 2 * freeze_s
        rows = lines_of(tmp_path / "r.jsonl")
        assert latency_s * 1e3 == pytest.approx(reference([row["latency_ms"] for row in rows], 99), rel=1e-3)
        assert service_s * 1e3 == pytest.approx(reference([row["service_ms"] for row in rows], 99), rel=1e-3, abs=2e-3)
        assert 60 < measured.held < 200  # those of the freeze, but for the eight in flight
        assert not measured.was_busy
        told = "\n".join(f"{name} {value}" for name, value in shown(measured, is_open=True))
        assert re.search(r"^latency .* from the intended time\nservice .* from the actual send$", told, re.MULTILINE)
        assert "requests waited for a place, up to " in told
        assert "as the answers took long; the waiting is counted in the latency" in told


class TestOneTry:
    """A request is sent once, whatever is answered."""

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            (http(b"busy", status="503 Busy"), Outcome.SERVER_ERROR),
            (http(b"slow down", "Retry-After: 30", status="429 Too Many"), Outcome.THROTTLED),
            (http(b"{}"), Outcome.UNCONFIRMED),
        ],
        ids=["503", "429", "200"],
    )
    async def test_failure(self, answer: bytes, outcome: Outcome) -> None:
        """What fails is counted and neither tried again nor waited for."""
        async with listening(replying(answer)) as server:
            found = await execute(load(constant(200, count=20)), endless(), Settings(host=server.url, token=TOKEN))
        assert found.metrics.outcomes == {outcome: 20}
        assert len(server.requests) == 20
        assert found.metrics.errors == 20
        assert found.exit_code == 0  # nothing was required

    @pytest.mark.real
    async def test_refused_token(self, tmp_path: Path) -> None:
        """A token that is refused is renewed for those that follow; the request itself was one, and failed."""
        file = tmp_path / "token"
        file.write_text("old.old.old")

        async def handle(connection: Connection) -> None:
            while (request := await connection.request()) is not None:
                if b"old.old.old" in request:
                    file.write_text("new.new.new")
                    await connection.write(http(b"{}", status="401 No"))
                else:
                    await connection.write(http(SMS_ANSWER))

        async with listening(handle) as server:
            settings = Settings(host=server.url, token_file=str(file))
            found = await execute(load(count=10, max_in_flight=1), endless(), settings)
        assert found.metrics.outcomes == {Outcome.UNAUTHORIZED: 1, Outcome.STOPPED: 9}
        assert len(server.requests) == 10


class TestEnds:
    """How a run ends, and what is said of it."""

    @pytest.mark.real
    async def test_more_than_the_service_takes(self) -> None:
        """Requests that never got a place are told, and without them the run says nothing."""
        async with listening(replying(b"", end="hang")) as server:
            settings = Settings(host=server.url, token=TOKEN, grace_s=0.05, timeout_s=0.6)
            job = load(constant(100, count=20), max_in_flight=3, require=(parse_threshold("rate>0/s"),))
            found = await execute(job, endless(), settings)
        assert found.metrics.outcomes == {Outcome.TIMEOUT: 3}
        assert (found.unsent, found.reason) == (17, "with 17 requests not sent")
        assert found.exit_code == 1  # for there was no answer at all
        assert found.metrics.held == 0

    @pytest.mark.real
    async def test_nobody_is_there(self) -> None:
        """A service that is not there is a failure, though nothing was required."""
        async with listening(replying(http(VOICE_ANSWER))) as server:
            pass
        found = await execute(load(constant(100, count=5)), endless(), Settings(host=server.url, token=TOKEN))
        assert found.metrics.outcomes == {Outcome.CONNECTION_ERROR: 5}
        assert (found.metrics.answered, found.exit_code) == (0, 1)

    @pytest.mark.real
    async def test_closed_model_ends_with_its_time(self) -> None:
        """A closed model without a number ends when its time is over, with the answers to what is in flight."""
        async with listening(replying(http(VOICE_ANSWER))) as server:
            job = load(length_s=0.2, max_in_flight=2)
            found = await execute(job, endless(), Settings(host=server.url, token=TOKEN))
        assert found.exit_code == 0
        assert 0.19 < found.metrics.elapsed_s < 5
        assert found.metrics.requests == len(server.requests) > 2

    @pytest.mark.real
    async def test_no_credentials(self) -> None:
        """Without a token nothing is sent, and nothing is measured."""
        async with listening(replying(http(VOICE_ANSWER))) as server:
            for settings in (Settings(host=server.url), Settings(host=server.url, token_file="/nonexistent")):
                with pytest.raises((SettingsError, CredentialsError)):
                    await execute(load(count=1), endless(), settings)
        assert server.connections == 0

    @pytest.mark.real
    async def test_results_that_cannot_be_written(self, tmp_path: Path) -> None:
        """A full disk ends the run early, with what was measured until then."""
        async with listening(replying(http(VOICE_ANSWER))) as server:
            output = Output("/dev/full", "--results", now=itertools.count(0, 2).__next__)
            job = load(constant(100, count=400), max_in_flight=1)
            found = await execute(job, endless(), Settings(host=server.url, token=TOKEN), Outputs(results=output))
        assert isinstance(found.fault, OutputError)
        assert (found.exit_code, found.reason) == (3, str(found.fault))
        assert found.metrics.requests == len(server.requests) == 1
        assert found.unsent == 0

    @pytest.mark.real
    async def test_progress(self) -> None:
        """Who watches is told after a second how it goes."""
        progress = Heard()

        async def handle(connection: Connection) -> None:
            while await connection.request() is not None:
                if len(server.requests) == 3:
                    await progress.once.wait()
                await connection.write(http(VOICE_ANSWER))

        async with listening(handle) as server:
            job = load(count=3, max_in_flight=1)
            await execute(job, endless(), Settings(host=server.url, token=TOKEN), progress=progress)
        (said,) = progress.said
        assert "s: 2 requests, " in said
        assert "/s, 0 errors, p99 " in said

    @pytest.mark.real
    async def test_progress_counts_from_the_first_request(self, tmp_path: Path) -> None:
        """What came before, such as a slow token command, is not in the rate; without an answer there is no p99."""
        progress = Heard()

        async def handle(connection: Connection) -> None:
            while await connection.request() is not None:
                await progress.once.wait()
                await connection.write(http(VOICE_ANSWER))

        began = time.monotonic()
        async with listening(handle) as server:
            settings = Settings(host=server.url, token_command=f"sleep 0.6; echo {TOKEN}")
            await execute(load(count=1, max_in_flight=1), endless(), settings, progress=progress)
        assert time.monotonic() - began >= 1.6
        assert progress.said == ["1.0 s: 0 requests, 0.0/s, 0 errors"]


class TestTransport:
    """Any transport does that sends a request and gives its answer."""

    async def test_another_one(self) -> None:
        """It is opened once, with as many connections as may be in flight, and sees every request."""
        seen: list[tuple[str, str]] = []
        opened: list[int] = []

        class Mine:
            async def post(self, path: str, headers: Any) -> Response | TransportFailure:
                await asyncio.sleep(0)
                seen.append((path, headers["auth"]))
                return Response(200, VOICE_ANSWER, 1.0)

        @asynccontextmanager
        async def connect(settings: Settings) -> AsyncIterator[Mine]:
            opened.append(settings.concurrency)
            yield Mine()

        settings = Settings(host="http://127.0.0.1:1", token=TOKEN, concurrency=5)
        found = await execute(load(count=50, max_in_flight=9), endless(), settings, connect=connect)
        assert opened == [9]
        assert len(seen) == found.metrics.requests == 50
        assert Counter(seen) == {(target(each), TOKEN): 10 for each in campaigns(5)}


def measured(*, late: bool = False, answered: bool = True, count: int = 100) -> Metrics:
    """Measure some requests, all too late or none."""
    found = Metrics()
    for _ in range(count):
        found.add(
            Outcome.STOPPED,
            latency_s=0.1,
            service_s=0.1,
            late_s=0.05 if late else 0.0,
            held_s=0.0,
            answered=answered,
        )
    return found


@pytest.mark.parametrize(
    ("how", "verdicts", "ended", "code"),
    [
        ({}, (), {}, 0),
        ({}, (HELD, HELD), {}, 0),
        ({}, (HELD, FAILED), {}, 1),
        ({"answered": False}, (HELD,), {}, 1),
        ({"late": True}, (), {}, 3),
        ({"late": True}, (FAILED,), {}, 3),
        ({"count": 99}, (HELD,), {}, 3),
        ({"count": 99}, (FAILED,), {}, 1),
        ({"count": 99}, (FAILED,), {"signum": 2}, 130),
        ({"late": True}, (FAILED,), {"signum": 15}, 143),
        ({"count": 0, "answered": False}, (FAILED,), {"signum": 2}, 130),
        ({}, (HELD,), {"fault": CredentialsError("no token")}, 3),
        ({"count": 50}, (FAILED,), {"fault": CredentialsError("no token"), "signum": 2}, 3),
    ],
)
def test_exit_codes(how: dict[str, Any], verdicts: tuple[Verdict, ...], ended: dict[str, Any], code: int) -> None:
    """The exit code: a generator that was late says nothing, failed is failed, and what is missing is no success."""
    job = Load(schedule=constant(100, 1))
    assert Summary(job, measured(**how), verdicts, "run-1", 0.0, 32, **ended).exit_code == code


def test_closed_model_is_judged_by_what_it_shows() -> None:
    """Where nothing was due at a time, a latency that is required is the service time, which alone is shown."""
    found = Metrics()
    found.add(Outcome.STOPPED, latency_s=2.0, service_s=1.0, late_s=0.0, held_s=0.0, answered=True)
    (verdict,) = load(None, count=1, require=(parse_threshold("p99<1.5s"),)).verdicts(found)
    assert (verdict.held, verdict.value) == (True, 1.0)
    (verdict,) = load(constant(1, count=1), require=(parse_threshold("p99<1.5s"),)).verdicts(found)
    assert not verdict.held
    assert found.latency.max_s == 2.0


def test_closed_model_cannot_be_late() -> None:
    """Where nothing is due there is no lateness."""
    assert Summary(Load(count=100), measured(late=True), (), "run-1", 0.0, 32).exit_code == 0


@pytest.mark.parametrize(("rate", "room"), [(1, 32), (500, 500), (50_000, 1000)])
def test_room(rate: float, room: int) -> None:
    """Unless it is said, as many may be in flight as leave in a second, within bounds."""
    assert choose_max_in_flight(constant(rate, 10)) == room
