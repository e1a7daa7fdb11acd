"""A load test by several processes: one schedule, divided between them, and one report of all.

The parent forks them off before it has an event loop or a thread, so that each has the list and the settings, secrets
among them, without these going anywhere. Each has an event loop, a transport and tokens of its own. Of the requests the
process k of N sends k, k+N, k+2N ...; all begin at one moment of the monotonic clock, which the processes of a machine
share. What they measure and write comes back over a socket each, whose other direction carries the orders.
"""

import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.engine.tasks import run_concurrently
from bulkstop.errors import BulkstopError
from bulkstop.events import LoadBegan
from bulkstop.report.load.intervals import IntervalMerger
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.log import log_event
from bulkstop.runs import host
from bulkstop.runs.load.part import IntervalReport, run_worker
from bulkstop.runs.load.recorder import Outputs, Recorder, Say, report_progress
from bulkstop.runs.load.run import LOST, Connect, Load, Share, Summary, sum_up
from bulkstop.runs.wiring import make_load_transport
from bulkstop.settings import Settings
from bulkstop.workers.fork import WorkerProcess, fork_workers
from bulkstop.workers.link import ABORT, BEGIN, DRAIN, Ended, Lines, ParentLink, Ready

AHEAD_S = 0.1
"""The beginning is agreed on so long before: to make a thousand workers takes some of it."""
TOLD_AFTER_S = 0.15
"""So long after it ended a second has been told by all."""


def run(
    load: Load,
    campaigns: Share,
    settings: Settings,
    outputs: Outputs,
    *,
    processes: int,
    connect: Connect = make_load_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    progress: Say | None = None,
) -> Summary:
    """Carry a load test out by several processes, as `load.carry_out` does by one; where there is no thread yet.

    `load.max_in_flight`, and the number of requests of a closed model, are divided between them. A process that dies
    ends the run: what the others have measured stands in the summary, and the fault says what is missing.
    """

    def work(link: ParentLink, number: int) -> BulkstopError | None:
        part, share = load.part(number, processes), campaigns(number, processes)
        job = run_worker(link, part, share, settings, connect, has_lines=outputs.results is not None)
        return host.run(job)

    with fork_workers(work, processes) as children:
        crew = _Crew(children, Recorder(Metrics(max_late_s=load.max_late_s), outputs), outputs)
        return host.run(_execute(load, crew, settings, signals=signals, say=say, progress=progress))


class _Crew:
    """All the processes of a run: begins, drains and aborts them as one, and puts together what they tell."""

    def __init__(self, children: Sequence[WorkerProcess], recorder: Recorder, outputs: Outputs) -> None:
        self.recorder = recorder
        self.fault: BulkstopError | None = None
        self._children = children
        self._outputs = outputs
        self._unix_s = math.nan
        self._together = IntervalMerger(recorder.tell, len(children))

    @property
    def in_flight(self) -> int:
        """How many requests were in flight when each of them told it last."""
        return sum(child.in_flight for child in self._children)

    def __len__(self) -> int:
        return len(self._children)

    def drain(self) -> None:
        """Let nothing more leave."""
        for child in self._children:
            child.order(DRAIN)

    def abort(self) -> None:
        """Cut off what is in flight."""
        for child in self._children:
            child.order(ABORT)

    def kill(self) -> None:
        """End them at once: one that is stuck would outlive this process."""
        for child in self._children:
            child.kill()

    async def ready(self) -> int:
        """Wait until all can begin, and give how many requests may be in flight; raises what keeps one from it."""
        places: list[int] = []

        async def wait_for(worker: WorkerProcess) -> None:
            await worker.connect()
            match await worker.read_message():
                case Ready(found):
                    places.append(found)
                case Ended(BulkstopError() as fault):
                    raise fault
                case _:
                    raise BulkstopError(f"{self._named(worker)} {worker.death()}; nothing was sent")

        await self._each(wait_for)
        return sum(places)

    async def work(self, begin_at: float) -> None:
        """Let them begin, and hear them until all have ended."""
        self._unix_s = time.time() + begin_at - time.monotonic()
        for child in self._children:
            child.order(BEGIN, repr(begin_at).encode())
        await self._each(self._hear)

    async def disconnect(self) -> None:
        """Have no more to do with any of them."""
        await self._each(WorkerProcess.disconnect)

    async def _each(self, do: Callable[[WorkerProcess], Awaitable[None]]) -> None:
        await run_concurrently([partial(do, child) for child in self._children], len(self))

    async def _hear(self, worker: WorkerProcess) -> None:
        while not worker.has_ended:
            told = await worker.read_message()
            if told is None:
                self._fail(self._died(worker))
                told = Ended(None)
            try:
                self._take(worker, told)
            except BulkstopError as fault:
                self._fail(fault)

    def _take(self, worker: WorkerProcess, told: object) -> None:
        match told:
            case Lines(data) if self._outputs.results is not None:
                self._outputs.results.write(data)
            case IntervalReport() as second:
                self._take_second(worker, second)
            case Ended(fault):
                worker.has_ended, worker.in_flight = True, 0
                if fault is not None:
                    self._fail(fault)
                self._together.passed(worker.number, math.inf)

    def _take_second(self, worker: WorkerProcess, second: IntervalReport) -> None:
        worker.in_flight, worker.upto_s = second.in_flight, second.upto_s
        self.recorder.metrics.merge(second.metrics)
        if second.metrics.requests:
            if math.isnan(self.recorder.began):
                self.recorder.begin(self._unix_s)
            self._together.add(second.interval)
        self._together.passed(worker.number, second.upto_s)

    def _fail(self, fault: BulkstopError) -> None:
        if self.fault is None:
            self.fault = fault
            self.drain()

    def _named(self, worker: WorkerProcess) -> str:
        return f"process {worker.number + 1} of {len(self)}"

    def _died(self, worker: WorkerProcess) -> BulkstopError:
        return BulkstopError(
            f"{self._named(worker)} {worker.death()}: ITS REQUESTS SINCE {worker.upto_s:.1f} s ARE MISSING in the "
            f"figures"
            "; the others were ended"
        )


async def _execute(
    load: Load, crew: _Crew, settings: Settings, *, signals: Sequence[int], say: Say, progress: Say | None
) -> Summary:
    recorder, run_id = crew.recorder, str(uuid.uuid4())
    shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST, kill=crew.kill)
    with handle_signals(shutdown, signals):
        try:
            places = await crew.ready()
            log_event(LoadBegan(run_id, settings.host, load.planned, places))
            shutdown.attach(crew)
            begin_at = time.monotonic() + AHEAD_S
            with report_progress(progress, recorder.metrics, begin_at + TOLD_AFTER_S):
                await crew.work(begin_at)
        finally:
            await crew.disconnect()
    measured = recorder.metrics
    measured.full_s, measured.full_busy_s = measured.full_s / len(crew), measured.full_busy_s / len(crew)
    return sum_up(load, recorder, run_id, shutdown.signum, crew.fault, in_flight=places, processes=len(crew))
