"""The reports of several processes are one: in virtual time, with scripted processes."""

import asyncio
import math
import re
from typing import cast

import pytest

from bulkstop.engine.load.arrivals import constant
from bulkstop.errors import BulkstopError, CredentialsError
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.summary import LoadSummary
from bulkstop.runs.load.part import IntervalReport
from bulkstop.runs.load.processes import AHEAD_S, Crew, execute
from bulkstop.runs.load.recorder import Outputs, Recorder
from bulkstop.runs.load.run import Load
from bulkstop.settings import Settings
from bulkstop.workers.fork import WorkerProcess
from bulkstop.workers.link import BEGIN, DRAIN, Ended, Lines, Ready
from tests.loads import FullDisk, measured
from tests.virtual_time import run

Script = list[tuple[float, object]]
"""After how many more seconds a process tells something, and what; None that it is gone."""
DIED = "process 1 of 2 was killed (SIGKILL)"


class Worker:
    """A process that says what it should."""

    def __init__(self, number: int, script: Script) -> None:
        self.number, self.in_flight, self.upto_s, self.has_ended = number, 0, 0.0, False
        self.orders: list[bytes] = []
        self._script = iter(script)

    async def connect(self) -> None:
        """Be there."""

    async def disconnect(self) -> None:
        """Be gone."""

    async def read_message(self) -> object:
        """Tell the next."""
        after_s, message = next(self._script)
        await asyncio.sleep(after_s)
        return message

    def order(self, *words: bytes) -> None:
        """Note an order."""
        self.orders.append(words[0])

    def death(self) -> str:
        """Have been killed."""
        return "was killed (SIGKILL)"


def report(start_s: float, upto_s: float, requests: int, *, full_s: float = 0.0) -> IntervalReport:
    """Report requests of a hundredth of a second."""
    metrics = measured(requests, latency_s=0.01)
    metrics.elapsed_s, metrics.full_s, metrics.full_busy_s = upto_s, full_s, full_s / 4
    return IntervalReport(start_s, upto_s, requests, metrics)


def told(*scripts: Script, progress: list[str] | None = None) -> tuple[LoadSummary, list[Worker]]:
    """Run processes that report, without lines; return the combined result."""
    workers = [Worker(number, script) for number, script in enumerate(scripts)]
    load = Load(schedule=constant(10, count=30), processes=len(scripts))
    crew = Crew(cast("list[WorkerProcess]", workers), Recorder(Metrics(), Outputs()), Outputs(FullDisk()))
    say = None if progress is None else progress.append
    job = execute(load, crew, Settings(host="https://h"), signals=(), say=lambda text: None, progress=say)
    return run(job)[0], workers


def of(*seconds: tuple[float, object]) -> Script:
    """Be ready at once, begin on request, and then report at these seconds."""
    first, *rest = seconds
    return [(0.0, Ready(4)), (AHEAD_S + first[0], first[1]), *rest]


@pytest.mark.usefixtures("virtual")
class TestCrew:
    """Several processes are heard as one."""

    def test_added_up(self) -> None:
        """Requests, places and requests in flight are sums; the time without a free place is that of one process."""
        both = of((1.0, report(0.0, 1.0, 10, full_s=0.8)), (0.5, report(1.0, 1.5, 5)), (0.0, Ended(None)))
        summary, workers = told(both, both)
        assert (summary.metrics.requests, summary.in_flight, summary.reason) == (30, 8, "all sent")
        assert (summary.metrics.full_s, summary.metrics.full_busy_s) == pytest.approx((0.8, 0.2))
        assert [worker.orders for worker in workers] == [[BEGIN], [BEGIN]]

    def test_progress_is_of_all(self) -> None:
        """The progress has the requests of all processes, once all have reported the second."""
        progress = list[str]()
        one = of((1.0, report(0.0, 1.0, 10)), (1.0, report(1.0, 2.0, 10)), (0.0, Ended(None)))
        other = of((1.1, report(0.0, 1.0, 9)), (0.9, report(1.0, 2.0, 1)), (0.0, Ended(None)))
        told(one, other, progress=progress)
        assert progress == ["1.0 s: 19 requests, 19.0/s, 0 errors, p99 10.0 ms"]

    @pytest.mark.parametrize(
        ("message", "why"),
        [
            ([None], f"{DIED}: ITS REQUESTS SINCE 1.0 s ARE MISSING in the figures; the others were ended"),
            ([Ended(CredentialsError("no token"))], "no token"),
            ([Lines(b"{}\n"), None], "full"),
        ],
    )
    def test_one_ends_early(self, message: list[object], why: str) -> None:
        """If one process dies or fails, or a disk is full, all drain; the first fault is reported, with all figures."""
        one = of((1.0, report(0.0, 1.0, 10)), *((0.2, each) for each in message))
        other = of((1.0, report(0.0, 1.0, 7)), (0.5, report(1.0, 1.5, 3)), (0.0, Ended(None)))
        summary, workers = told(one, other)
        assert summary.reason == why
        assert (summary.metrics.requests, summary.exit_code) == (20, 3)
        assert [worker.orders for worker in workers] == [[BEGIN, DRAIN], [BEGIN, DRAIN]]

    @pytest.mark.parametrize(
        ("message", "why"),
        [(Ended(CredentialsError("no token")), "no token"), (None, f"{re.escape(DIED)}; nothing was sent")],
    )
    def test_never_ready(self, message: object, why: str) -> None:
        """A fault that keeps one of them from beginning prevents the whole run."""
        with pytest.raises(BulkstopError, match=why):
            told([(0.5, message)], [(0.0, Ready(4)), (math.inf, None)])
