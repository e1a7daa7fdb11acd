"""A load test by several processes that share one schedule and produce one report.

The parent forks them before it has an event loop or a thread, so that each has the list and the settings, including
secrets, without sending them. Each has its own event loop, transport and tokens. Process k of N sends requests k, k+N,
k+2N …; all begin at one moment of the monotonic clock, which the processes of a machine share. Each returns
measurements and lines over a socket, which also carries its orders.
"""

import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial

from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.engine.tasks import run_concurrently
from bulkstop.errors import BulkstopError
from bulkstop.events import LoadBegan
from bulkstop.report.load.intervals import IntervalMerger
from bulkstop.report.load.summary import LoadSummary, warn_few_files
from bulkstop.report.log import log_event
from bulkstop.runs import host
from bulkstop.runs.clients import Connect
from bulkstop.runs.load.abort import watch_recent
from bulkstop.runs.load.part import IntervalReport, run_worker
from bulkstop.runs.load.recorder import Outputs, Recorder, Say, report_progress
from bulkstop.runs.load.run import LOST, Load, Share, sum_up
from bulkstop.runs.wiring import make_transport
from bulkstop.settings import Settings
from bulkstop.workers.fork import WorkerProcess, fork_workers
from bulkstop.workers.link import ABORT, BEGIN, DRAIN, Ended, Lines, ParentLink, Ready

AHEAD_S = 0.25
"""Seconds between agreeing on the beginning and beginning; starting some thousand workers takes part of it."""
REPORTED_AFTER_S = 0.15
"""Seconds after the end of a second by which all processes have reported it."""


def run(
    load: Load,
    campaigns: Share,
    settings: Settings,
    outputs: Outputs,
    *,
    connect: Connect = make_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    progress: Say | None = None,
) -> LoadSummary:
    """Run a load test with `load.processes` processes; call it before any thread is started.

    `load.max_in_flight`, and the requests of a closed model, are divided between them. A process that dies ends the
    run: the summary has the measurements of the others, and its fault says what is missing.
    """

    def work(link: ParentLink, number: int) -> BulkstopError | None:
        part, share = load.part(number), campaigns(number, load.processes)
        job = run_worker(link, part, share, settings, connect, has_lines=outputs.results is not None)
        return host.run(job)

    with fork_workers(work, load.processes) as workers:
        recent = watch_recent(load.abort_on)
        recorder = Recorder(load.make_metrics(), outputs, warmup_s=load.warmup_s, recent=recent)
        crew = Crew(workers, recorder, outputs, warmup_s=load.warmup_s)
        return host.run(execute(load, crew, settings, signals=signals, say=say, progress=progress))


class Crew:
    """The processes of a run: begins, drains and aborts them together, and combines their reports."""

    def __init__(
        self, workers: Sequence[WorkerProcess], recorder: Recorder, outputs: Outputs, *, warmup_s: float = 0.0
    ) -> None:
        self.recorder = recorder
        self._warmup_s = warmup_s
        if recorder.recent is not None:
            recorder.recent.end, recorder.recent.in_flight = self.abort, lambda: self.in_flight
        self.fault: BulkstopError | None = None
        self._workers = workers
        self._outputs = outputs
        self._unix_s = math.nan
        self._merger = IntervalMerger(recorder.add_interval, len(workers))

    @property
    def in_flight(self) -> int:
        """The requests in flight, by each process's latest report."""
        return sum(worker.in_flight for worker in self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def drain(self) -> None:
        """Send no more requests."""
        for worker in self._workers:
            worker.order(DRAIN)

    def abort(self) -> None:
        """Abort the requests in flight."""
        for worker in self._workers:
            worker.order(ABORT)
        self.recorder.hurry()

    def kill(self) -> None:
        """Kill the processes, because one that is stuck would outlive this process."""
        for worker in self._workers:
            worker.kill()

    async def ready(self) -> int:
        """Wait until all can begin; return how many requests may be in flight. Raises the error of one that cannot."""
        places: list[int] = []

        async def wait_for(worker: WorkerProcess) -> None:
            await worker.connect()
            match await worker.read_message():
                case Ready(max_in_flight):
                    places.append(max_in_flight)
                case Ended(BulkstopError() as fault):
                    raise fault
                case _:
                    raise BulkstopError(f"{self._named(worker)} {worker.death()}; nothing was sent")

        await self._each(wait_for)
        return sum(places)

    async def work(self, begin_at: float) -> None:
        """Start the processes, and process their reports until all have ended."""
        self._unix_s = time.time() + begin_at + self._warmup_s - time.monotonic()
        for worker in self._workers:
            worker.order(BEGIN, repr(begin_at).encode())
        await self._each(self._read_messages)
        await self.recorder.flush()

    async def disconnect(self) -> None:
        """Close the connections to all processes."""
        await self._each(lambda worker: worker.disconnect())

    async def _each(self, do: Callable[[WorkerProcess], Awaitable[None]]) -> None:
        await run_concurrently([partial(do, worker) for worker in self._workers], len(self))

    async def _read_messages(self, worker: WorkerProcess) -> None:
        while not worker.has_ended:
            message = await worker.read_message()
            if message is None:
                self._fail(self._died(worker))
                message = Ended(None)
            try:
                self._handle(worker, message)
            except BulkstopError as fault:
                self._fail(fault)

    def _handle(self, worker: WorkerProcess, message: object) -> None:
        match message:
            case Lines(data) if self._outputs.results is not None:
                self._outputs.results.write(data)
            case IntervalReport() as report:
                self._add_report(worker, report)
            case Ended(fault):
                worker.has_ended, worker.in_flight = True, 0
                if fault is not None:
                    self._fail(fault)
                self._merger.passed(worker.number, math.inf)

    def _add_report(self, worker: WorkerProcess, report: IntervalReport) -> None:
        worker.in_flight, worker.upto_s = report.in_flight, report.upto_s
        self.recorder.metrics.merge(report.metrics)
        if self.recorder.recent is not None:
            length_s = (report.upto_s - report.start_s) / len(self)
            self.recorder.recent.add(report.metrics, worker.number, length_s)
        if report.metrics.requests:
            if math.isnan(self.recorder.began):
                self.recorder.begin(self._unix_s)
            self._merger.add(report.interval)
        self._merger.passed(worker.number, report.upto_s)

    def _fail(self, fault: BulkstopError) -> None:
        if self.fault is None:
            self.fault = fault
            self.drain()

    def _named(self, worker: WorkerProcess) -> str:
        return f"process {worker.number + 1} of {len(self)}"

    def _died(self, worker: WorkerProcess) -> BulkstopError:
        missing = f"ITS REQUESTS SINCE {worker.upto_s:.1f} s ARE MISSING in the figures"
        return BulkstopError(f"{self._named(worker)} {worker.death()}: {missing}; the others were ended")


async def execute(
    load: Load, crew: Crew, settings: Settings, *, signals: Sequence[int], say: Say, progress: Say | None
) -> LoadSummary:
    """Run a load test with a crew, and return the combined summary."""
    recorder, run_id = crew.recorder, str(uuid.uuid4())
    shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST, observe=log_event, kill=crew.kill)
    with handle_signals(shutdown, signals):
        try:
            places = await crew.ready()
            if warning := warn_few_files(load.plan(settings), places):
                say(warning)
            log_event(LoadBegan(run_id, settings.host, load.planned, places))
            shutdown.attach(crew)
            begin_at = time.monotonic() + AHEAD_S
            with (
                report_progress(progress, recorder.metrics, begin_at + load.warmup_s + REPORTED_AFTER_S),
                nullcontext() if recorder.recent is None else recorder.recent.watch(),
            ):
                await crew.work(begin_at)
        finally:
            await crew.disconnect()
    metrics = recorder.metrics
    metrics.full_s, metrics.full_busy_s = metrics.full_s / len(crew), metrics.full_busy_s / len(crew)
    return sum_up(load, settings, recorder, run_id, shutdown.signum, crew.fault, in_flight=places)
