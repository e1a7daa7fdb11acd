"""The whole load test, in virtual time: every request counted, honestly."""

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bulkstop.engine.load.arrivals import Schedule, constant
from bulkstop.errors import CredentialsError, OutputError, SettingsError
from bulkstop.files.output import Output
from bulkstop.kore.calls import target
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Outcome
from bulkstop.report.load.figures import metrics_to_json
from bulkstop.report.load.summary import LoadSummary
from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.runs.load.recorder import Outputs
from bulkstop.runs.load.run import Load, choose_max_in_flight, execute
from bulkstop.settings import Settings
from tests.engine.parts import campaigns
from tests.loads import OK, FullDisk, Service, assert_same_times, counts_of, endless, measured
from tests.processes import TOKEN
from tests.virtual_time import run

PATIENT_S = 60.0
"""How late this program may be: what a busy machine does is not what these tests are about."""
SETTINGS = Settings(host="http://127.0.0.1:1", token=TOKEN)


def load(schedule: Schedule | None = None, **how: Any) -> Load:
    """Make a load test that is patient with this machine."""
    return Load(**{"schedule": schedule, "max_late_s": PATIENT_S, **how})


def loaded(service: Service, what: Load, settings: Settings = SETTINGS, *args: Any, **how: Any) -> LoadSummary:
    """Load a service in virtual time."""
    return run(execute(what, endless(), settings, *args, connect=service.connect, **how))[0]


@pytest.mark.usefixtures("virtual")
class TestOneTry:
    """A request is sent once, for any response."""

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            (Response(503, b"busy", 1.0), Outcome.SERVER_ERROR),
            (Response(429, b"slow down", 1.0, retry_after="30"), Outcome.THROTTLED),
            (Response(200, b"{}", 1.0), Outcome.UNCONFIRMED),
        ],
        ids=["503", "429", "200"],
    )
    def test_failure(self, answer: Response, outcome: Outcome) -> None:
        """A failed request is counted, and neither retried nor waited for."""
        service = Service(lambda number: answer)
        summary = loaded(service, load(constant(200, count=20)))
        assert summary.metrics.outcomes == {outcome: 20}
        assert [at_s for at_s, *_ in service.seen] == pytest.approx([number / 200 for number in range(20)])
        assert summary.metrics.errors == 20
        assert summary.exit_code == 0  # nothing was required

    def test_refused_token(self, tmp_path: Path) -> None:
        """A token that is refused is renewed for those that follow; the request itself was one, and failed."""
        file = tmp_path / "token"
        file.write_text("old.old.old")

        def reply(number: int) -> Response:
            file.write_text("new.new.new")
            return Response(401, b"{}", 1.0) if service.seen[number][2] == "old.old.old" else OK

        service = Service(reply)
        settings = Settings(host="http://127.0.0.1:1", token_file=str(file))
        summary = loaded(service, load(count=10, max_in_flight=1), settings)
        assert summary.metrics.outcomes == {Outcome.UNAUTHORIZED: 1, Outcome.STOPPED: 9}
        assert [auth for *_, auth in service.seen] == ["old.old.old"] + ["new.new.new"] * 9


@pytest.mark.usefixtures("virtual")
class TestEnds:
    """The end of a run, and its messages."""

    def test_more_than_the_service_takes(self) -> None:
        """Requests that never got a place are reported, and the run then says nothing."""
        service = Service(lambda number: TransportFailure(Outcome.TIMEOUT, "late", 1.0), latency_s=0.6)
        job = load(constant(100, count=20), max_in_flight=3, require=(parse_threshold("rate>0/s"),))
        summary = loaded(service, job, Settings(host="http://127.0.0.1:1", token=TOKEN, grace_s=0.05))
        assert summary.metrics.outcomes == {Outcome.TIMEOUT: 3}
        assert (summary.unsent, summary.reason) == (17, "with 17 requests not sent")
        assert summary.exit_code == 1  # for there was no answer at all
        assert summary.metrics.held == 0

    def test_closed_model_ends_with_its_time(self) -> None:
        """A closed model without a number ends when its time is over, with the answers to what is in flight."""
        service = Service(latency_s=0.15)
        summary = loaded(service, load(length_s=0.2, max_in_flight=2))
        assert (summary.exit_code, summary.metrics.requests) == (0, 4)
        assert summary.metrics.elapsed_s == pytest.approx(0.3)

    def test_rate_is_at_most_what_was_asked_for(self) -> None:
        """Twenty requests at 40/s are 40/s and no more, though the last is answered before its part of the time."""
        summary = loaded(Service(), load(constant(40, count=20), require=(parse_threshold("rate>40/s"),)))
        assert summary.metrics.rates.successful == pytest.approx(40)
        assert (summary.exit_code, [each.held for each in summary.verdicts]) == (1, [False])

    def test_no_credentials(self) -> None:
        """Without a token nothing is sent, and nothing is measured."""
        service = Service()
        for credentials in ({}, {"token_file": "/nonexistent"}):
            with pytest.raises((SettingsError, CredentialsError)):
                loaded(service, load(count=1), Settings(host="http://127.0.0.1:1", **credentials))
        assert service.seen == []

    def test_results_that_cannot_be_written(self) -> None:
        """A full disk ends the run early, with what was measured until then."""
        service = Service(latency_s=0.02)
        outputs = Outputs(results=FullDisk())
        summary = loaded(service, load(constant(100, count=400), max_in_flight=1), SETTINGS, outputs)
        assert (summary.exit_code, type(summary.fault), summary.reason) == (3, OutputError, "full")
        assert summary.metrics.requests == len(service.seen) == 1
        assert summary.unsent == 2  # due at 10 and 20 ms

    def test_progress(self) -> None:
        """The progress is reported after a second and then every ten, without the warm-up."""
        progress = list[str]()
        service = Service(latency_s=0.4, opening_s=5.0)
        loaded(service, load(count=30, max_in_flight=1), progress=progress.append)
        assert progress == [
            "1.0 s: 2 requests, 2.0/s, 0 errors, p99 400.0 ms",
            "11 s: 27 requests, 2.5/s, 0 errors, p99 400.0 ms",
        ]
        progress.clear()
        loaded(Service(latency_s=1.5), load(count=1, max_in_flight=1), progress=progress.append)
        assert progress == ["1.0 s: 0 requests, 0.0/s, 0 errors"]

    def test_latency_and_service_time(self, tmp_path: Path) -> None:
        """A service with one place and no hurry: latency counts from the intended time, in the lines as in figures."""
        outputs = Outputs(Output(str(tmp_path / "r.jsonl"), "--results"), Output(str(tmp_path / "h.hlog"), "--hdr"))
        summary = loaded(Service(latency_s=0.5), load(constant(10, count=20), max_in_flight=2), SETTINGS, outputs)
        lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
        assert_same_times(metrics_to_json(summary.metrics, is_open=True), lines, ("latency_ms", "service_ms"))
        assert summary.metrics.service.max_s == pytest.approx(0.5)
        assert summary.metrics.latency.max_s == pytest.approx(20 / 2 * 0.5 - 1.8)
        assert [line["intended_s"] for line in lines] == pytest.approx([number / 10 for number in range(20)])
        assert counts_of(tmp_path / "h.hlog") == {None: 20, "service": 20}

    def test_warmup(self, tmp_path: Path) -> None:
        """Warm-up requests are sent and written, with negative times, but not counted."""
        outputs = Outputs(Output(str(tmp_path / "r.jsonl"), "--results"))
        service = Service(lambda number: OK if number >= 10 else Response(503, b"", 1.0))
        what = load(constant(10, count=20), warmup_s=1.0, require=(parse_threshold("failed<=0%"),))
        summary = loaded(service, what, SETTINGS, outputs)
        lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
        assert [line["intended_s"] for line in lines] == pytest.approx([number / 10 - 1 for number in range(30)])
        assert (summary.metrics.warmup, summary.metrics.requests, summary.exit_code) == (10, 20, 0)
        assert summary.metrics.elapsed_s == pytest.approx(2.0)
        assert summary.metrics.rates.successful == pytest.approx(10.0)

    def test_aborted(self) -> None:
        """A condition to abort on ends the run at once: what is in flight is cut off, and the exit code is 1."""
        service = Service(lambda number: Response(503, b"", 1.0) if number > 100 else OK)
        slow = Service(lambda number: Response(503, b"", 1.0), latency_s=1.5)
        for each, least_s, most_s in ((service, 2.0, 5.0), (slow, 2.0, 3.0)):
            job = load(constant(50, 60), max_in_flight=500, abort_on=(parse_threshold("failed>20%"),))
            summary, took_s = run(execute(job, endless(), SETTINGS, connect=each.connect))
            assert least_s <= took_s <= most_s
            assert summary.aborted is not None
            assert (summary.exit_code, summary.aborted.held) == (1, True)
            assert summary.reason.startswith("by --abort-on, before all were sent: failed>20% (")
        assert summary.metrics.outcomes[Outcome.UNKNOWN] > 50

    @pytest.mark.parametrize(("latency_s", "least_s", "most_s"), [(2.5, 20.0, 24.0), (1000.0, 9.0, 11.0)])
    def test_aborted_for_a_rate(self, latency_s: float, least_s: float, most_s: float) -> None:
        """A rate counts from the first response, however late; without any response it is 0 after ten seconds."""
        job = load(constant(50, 20), max_in_flight=5000, abort_on=(parse_threshold("rate<45/s"),))
        service = Service(latency_s=latency_s)
        summary, took_s = run(execute(job, endless(), SETTINGS, connect=service.connect))
        assert least_s <= took_s <= most_s
        assert (summary.aborted is None) is (latency_s < 100)

    def test_stall_that_is_ended(self) -> None:
        """Requests due while a service was suspended count, even after a signal, with the time that they waited."""
        service = Service(latency_s=3.0)
        timer = []

        def attach_end() -> None:
            os.kill(os.getpid(), signal.SIGINT)

        async def main() -> LoadSummary:
            timer.append(asyncio.get_running_loop().call_later(2.5, attach_end))
            job = execute(
                load(constant(100, 60), max_in_flight=50), endless(), SETTINGS, connect=service.connect, **how
            )
            return await job

        how: dict[str, Any] = {"signals": [signal.SIGINT]}
        was = signal.getsignal(signal.SIGINT)
        try:
            summary, _ = run(main())
        finally:
            signal.signal(signal.SIGINT, was)
        assert (summary.exit_code, summary.metrics.requests) == (130, 50)
        assert summary.unsent == pytest.approx(201, abs=1)
        assert summary.metrics.latency.at(50)[0] > 1.8
        assert summary.as_dict()["kept_schedule"] is False

    def test_one_transport(self) -> None:
        """The transport is opened once, with as many connections as may be in flight, and sees every request."""
        service = Service()
        summary = loaded(service, load(count=50, max_in_flight=9))
        assert service.opened == [9]
        assert summary.metrics.requests == 50
        assert Counter(seen[1:] for seen in service.seen) == {(target(each), TOKEN): 10 for each in campaigns(5)}


def test_closed_model_is_judged_by_what_it_shows() -> None:
    """In a closed model, a required latency is the service time, which alone is shown."""
    metrics = measured(latency_s=2.0, service_s=1.0)
    (verdict,) = load(None, count=1, require=(parse_threshold("p99<1.5s"),)).judge(metrics)
    assert (verdict.held, verdict.value) == (True, 1.0)
    (verdict,) = load(constant(1, count=1), require=(parse_threshold("p99<1.5s"),)).judge(metrics)
    assert not verdict.held
    assert metrics.latency.max_s == 2.0


@pytest.mark.parametrize(("rate", "room"), [(1, 32), (100, 3000), (50_000, 5000)])
def test_room(rate: float, room: int) -> None:
    """By default, as many may be in flight as are sent within a call's deadline, within bounds."""
    assert choose_max_in_flight(constant(rate, 10), 30.0) == room
