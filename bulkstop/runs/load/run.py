"""Load-tests the API: sends on a schedule, measures every request, and judges the result."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain

from bulkstop.engine.load.arrivals import Arrivals, ClosedModel, OpenModel, Schedule, constant
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError
from bulkstop.events import LoadBegan
from bulkstop.model import AtOnce, Campaign, Endable, Send
from bulkstop.report.load.metrics import MAX_LATE_S, Metrics
from bulkstop.report.load.summary import LoadPlan, LoadSummary, warn_few_files
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.report.log import log_event
from bulkstop.runs.clients import Connect
from bulkstop.runs.load.abort import watch_recent
from bulkstop.runs.load.recorder import NOWHERE, Outputs, Recorder, Say, report_progress
from bulkstop.runs.load.sending import generate_load
from bulkstop.runs.parts import Hooks, Parts, make_stop_at_once, make_stop_send, open_load_parts
from bulkstop.runs.wiring import make_transport
from bulkstop.settings import Settings

LEAST_IN_FLIGHT, MOST_IN_FLIGHT = 32, 5000
"""Bounds for the default number of requests in flight, which is as many as are sent within a call's deadline."""
LOST = "what was measured is lost"
"""The last words of a load test that is ended by force."""

Share = Callable[[int, int], Iterator[Campaign]]
"""Returns the campaigns of one process: every `step`-th of all, from number `first` on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How a service is loaded, and what the result must satisfy.

    With a `schedule` it is an open model. Otherwise it is a closed one: `max_in_flight` requests at a time, each sent
    after the response to the one before, until `count` are sent or `length_s` is over. Only every `step`-th request of
    a schedule is sent, from number `first` on: other `processes` send the rest. `shape` and `targets` describe the load
    to a person.
    """

    schedule: Schedule | None = None
    count: int | None = None
    length_s: float | None = None
    max_in_flight: int = LEAST_IN_FLIGHT
    max_late_s: float = MAX_LATE_S
    require: tuple[Threshold, ...] = ()
    abort_on: tuple[Threshold, ...] = ()
    warmup_s: float = 0.0
    """Seconds of requests before those that count, at the first rate of the schedule."""
    processes: int = 1
    first: int = 0
    step: int = 1
    shape: str = ""
    targets: str = ""

    @property
    def planned(self) -> int | None:
        """The number of requests; None if only the duration limits it."""
        return self.count if self.schedule is None else len(self.schedule)

    def make_metrics(self) -> Metrics:
        """Return new metrics that count its requests."""
        length_s = None if self.schedule is None else self.schedule.length_s
        return Metrics(max_late_s=self.max_late_s, length_s=length_s)

    def arrivals(self) -> Arrivals:
        """Return the due time of each request."""
        if self.schedule is not None:
            return OpenModel(chain(self._warmup_times_s(self.schedule.first_rate), self._times_s(self.schedule)))
        return ClosedModel(math.inf if self.count is None else self.count)

    def sending_s(self, grace_s: float) -> float | None:
        """Return for how many seconds requests may be sent; on a schedule, delayed ones get `grace_s` more."""
        if self.schedule is None:
            return None if self.length_s is None else self.warmup_s + self.length_s
        return self.warmup_s + self.schedule.length_s + grace_s

    def elapsed_s(self, metrics: Metrics) -> float:
        """Return the seconds that a complete run took: until the last response, at least as long as the schedule.

        The last request of a schedule has its interval too: 20 at 20/s take 1 s, not 0.95 s.
        """
        return max(metrics.elapsed_s, 0.0 if self.schedule is None else self.schedule.length_s)

    def offering_s(self, metrics: Metrics, *, is_early: bool) -> float:
        """Return for how many seconds requests were due: the whole schedule, unless the run was ended early."""
        if self.schedule is None:
            return metrics.sending_s
        return min(metrics.sending_s, self.schedule.length_s) if is_early else self.schedule.length_s

    def taken_s(self, metrics: Metrics) -> float:
        """Return the mean seconds that a place of a closed model was taken; 0 in an open model."""
        if self.schedule is not None or not metrics.most_in_flight:
            return 0.0
        return metrics.service.mean_s * len(metrics.service) / metrics.most_in_flight

    def judge(self, metrics: Metrics) -> tuple[Verdict, ...]:
        """Return the verdict on each requirement; in a closed model, latency is service time."""
        if self.schedule is None:
            metrics = copy(metrics)
            metrics.latency, metrics.failed_latency = metrics.service, metrics.failed_service
        return tuple(threshold.judge(metrics) for threshold in self.require)

    def plan(self, settings: Settings) -> LoadPlan:
        """Return the facts of the plan."""
        return LoadPlan(
            host=settings.host,
            shape=self.shape,
            targets=self.targets,
            planned=self.planned,
            max_in_flight=self.max_in_flight,
            processes=self.processes,
            require=self.require,
            is_open=self.schedule is not None,
            intended=() if self.schedule is None else tuple(self.schedule.course),
        )

    def part(self, number: int) -> "Load":
        """Return the part of process `number`, counted from 0."""
        return replace(
            self,
            count=None if self.count is None else _share(self.count, number, self.processes),
            max_in_flight=_share(self.max_in_flight, number, self.processes),
            first=number,
            step=self.processes,
        )

    def _warmup_times_s(self, rate: float) -> Iterator[float]:
        return constant(rate, self.warmup_s).every(self.first, self.step) if self.warmup_s else iter(())

    def _times_s(self, schedule: Schedule) -> Iterator[float]:
        times_s = schedule.every(self.first, self.step)
        return (self.warmup_s + time_s for time_s in times_s) if self.warmup_s else times_s


def _share(whole: int, number: int, of: int) -> int:
    return whole // of + (number < whole % of)


def choose_max_in_flight(schedule: Schedule, timeout_s: float) -> int:
    """Return the default number of requests in flight."""
    return max(LEAST_IN_FLIGHT, min(MOST_IN_FLIGHT, math.ceil(schedule.peak * timeout_s)))


async def execute(
    load: Load,
    campaigns: Iterator[Campaign],
    settings: Settings,
    outputs: Outputs = NOWHERE,
    *,
    hooks: Hooks | None = None,
    shared: Parts | None = None,
    connect: Connect = make_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    progress: Say | None = None,
) -> LoadSummary:
    """Send each request once, and measure all of them, however the run ends.

    `hooks` and `shared` come from an engine, if one runs the test. Raises a BulkstopError if the test cannot start; a
    later fault is in the summary.
    """
    shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST, observe=log_event)
    recent, run_id = watch_recent(load.abort_on), str(uuid.uuid4())
    recorder = Recorder(load.make_metrics(), outputs, warmup_s=load.warmup_s, recent=recent)

    def attach(sending: Endable) -> None:
        if recent is not None:
            recent.end, recent.in_flight = sending.abort, lambda: sending.in_flight
        shutdown.attach(sending)

    with handle_signals(shutdown, signals):
        async with open_load_parts(settings, load.max_in_flight, hooks, shared=shared, connect=connect) as parts:
            settings = parts.settings
            await parts.tokens.get()  # without credentials a test would measure nothing
            if warning := warn_few_files(load.plan(settings), settings.concurrency):
                say(warning)
            log_event(LoadBegan(run_id, settings.host, load.planned, settings.concurrency))
            at_once = make_stop_at_once(parts, is_brief=True)
            with (
                report_progress(progress, recorder.metrics, time.monotonic() + load.warmup_s),
                nullcontext() if recent is None else recent.watch(),
            ):
                fault = await send_load(
                    load, campaigns, make_stop_send(parts), recorder, attach, settings, at_once=at_once
                )
    return sum_up(load, settings, recorder, run_id, shutdown.signum, fault, in_flight=settings.concurrency)


def sum_up(
    load: Load,
    settings: Settings,
    recorder: Recorder,
    run_id: str,
    signum: int | None,
    fault: BulkstopError | None,
    *,
    in_flight: int,
) -> LoadSummary:
    """Write what is left, however the run ended, and return the summary; the first error is its fault."""
    closing = recorder.close()
    fault, metrics = fault or closing, recorder.metrics
    aborted = None if recorder.recent is None else recorder.recent.verdict
    is_early = fault is not None or signum is not None or aborted is not None
    metrics.sending_s, metrics.taken_s = load.offering_s(metrics, is_early=is_early), load.taken_s(metrics)
    if not is_early:
        metrics.elapsed_s = load.elapsed_s(metrics)
    plan, verdicts = load.plan(settings), load.judge(metrics)
    return LoadSummary(plan, metrics, verdicts, run_id, recorder.began, in_flight, signum, fault, aborted)


async def send_load(
    load: Load,
    campaigns: Iterator[Campaign],
    send: Send,
    recorder: Recorder,
    attach: Callable[[Endable], None],
    settings: Settings,
    begin_at: float | None = None,
    *,
    at_once: AtOnce,
) -> BulkstopError | None:
    """Send the requests of a load, at most `settings.concurrency` at a time; return the error that ended it early."""
    return await generate_load(
        load.arrivals(),
        campaigns,
        send,
        recorder,
        attach,
        max_in_flight=settings.concurrency,
        length_s=load.sending_s(settings.grace_s),
        begin_at=begin_at,
        at_once=at_once,
    )
