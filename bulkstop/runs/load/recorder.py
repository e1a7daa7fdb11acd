"""Records a load test: measures each request, writes its line, and reports progress at intervals."""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from bulkstop.engine.load.generator import Generator, Sample, Turns
from bulkstop.errors import BulkstopError
from bulkstop.files.output import Sink
from bulkstop.model import Outcome, RetryHint
from bulkstop.outbox import Outbox, make_room
from bulkstop.report.load.histogram import format_log_head, format_log_line
from bulkstop.report.load.intervals import Interval, Intervals
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.requests import format_request
from bulkstop.report.load.timeline import Timeline
from bulkstop.runs.host import every
from bulkstop.runs.load.abort import RecentRequests
from bulkstop.text import format_count, format_duration

FIRST_PROGRESS_S, PROGRESS_EVERY_S = 1.0, 10.0

Say = Callable[[str], None]
SLACK_S = 1e-6
"""Rounding tolerance in seconds, for a time compared with a sum of times."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where measurements are written: result lines, a histogram log, and the points of a page.

    No request is sent while one of the `outboxes` is full; they are listed when the run begins.
    """

    results: Sink | None = None
    hdr: Sink | None = None
    timeline: Timeline | None = None
    outboxes: Callable[[], Sequence[Outbox[Any]]] = tuple


NOWHERE = Outputs()


class Recorder:
    """Measures each request, and writes it to the outputs."""

    def __init__(
        self, metrics: Metrics, outputs: Outputs, *, warmup_s: float = 0.0, recent: RecentRequests | None = None
    ) -> None:
        self.metrics = metrics
        self.began = math.nan
        self.recent = recent
        self._warmup_s = warmup_s
        self._results, self._hdr, self._timeline = outputs.results, outputs.hdr, outputs.timeline
        self._outboxes = outputs.outboxes()
        self._intervals = list[Intervals]()
        if self._timeline is not None:  # not shared with the log: joining its intervals of a second takes milliseconds
            self._intervals.append(Intervals(self._timeline.add, self._timeline.width_s))
        if self._hdr is not None:
            self._intervals.append(Intervals(self._log))

    def note(self, sample: Sample) -> None:
        """Record a request, with its times since the run began; a warm-up request is written but not counted."""
        if self._warmup_s:
            sample = _shift(sample, self._warmup_s)
            if sample.intended_s < -SLACK_S:
                self._note_warmup(sample)
                return
        self.count(sample)

    def count(self, sample: Sample) -> None:
        """Count a request, then write it."""
        campaign, attempt, intended_s, started_s, ended_s, held_s = sample
        if attempt.again is RetryHint.READ_BACK:
            # A load test measures the service and need not prove anything: the claim that a campaign does not run
            # counts.
            attempt = attempt._replace(outcome=Outcome.ALREADY_STOPPED)
        latency_s, service_s = ended_s - intended_s, ended_s - started_s
        self.metrics.add(
            attempt.outcome,
            latency_s=latency_s,
            service_s=service_s,
            late_s=sample.late_s,
            held_s=held_s,
            answered=attempt.http_status is not None,
            intended_s=intended_s,
            error=attempt.error,
        )
        self.metrics.elapsed_s = ended_s
        if self.recent is not None:
            self.recent.count(sample, attempt)
        if self.began != self.began:  # nan before the first request
            self.begin(time.time() - ended_s)
        if self._results is not None:
            self._results.write(
                format_request(campaign, attempt, intended_s=intended_s, started_s=started_s, ended_s=ended_s)
            )
        for intervals in self._intervals:
            intervals.add(ended_s, attempt.outcome, latency_s, service_s)

    def probe(self, elapsed_s: float, passed_s: float, late_s: float, turns: Turns) -> None:
        """Record the lag of the event loop `elapsed_s` after the beginning; all responses up to now have been read.

        `turns` is how its thread had a processor in the `passed_s` since the probe before.
        """
        if elapsed_s >= self._warmup_s:
            metrics = self.metrics
            metrics.reading.record(late_s)
            metrics.watched_s += passed_s
            metrics.ran_s += turns.ran_s
            metrics.waited_s += turns.waited_s
            metrics.turns += turns.turns
            metrics.mark(elapsed_s - self._warmup_s)

    def finish(self, generator: Generator) -> None:
        """Add the figures of an ended generator: the requests never sent, and what delayed them."""
        metrics, warmup_s = self.metrics, self._warmup_s
        for due_s, waited_s in generator.list_unsent():
            if due_s >= warmup_s - SLACK_S:
                metrics.add_unsent(waited_s)
        metrics.mark(generator.elapsed_s - warmup_s)
        metrics.sending_s = max(0.0, generator.sending_s - warmup_s)
        metrics.most_in_flight = generator.most_in_flight
        metrics.full_s, metrics.full_busy_s = generator.full_s, generator.full_busy_s

    def make_room(self) -> Awaitable[None] | None:
        """Return an awaitable until the readers of the outputs keep up; None if they do."""
        return make_room(self._outboxes)

    def hurry(self) -> None:
        """Wait for a slow reader only while it takes data."""
        for outbox in self._outboxes:
            outbox.hurry()

    async def flush(self) -> None:
        """Wait until all is written, or no more can be."""
        for outbox in self._outboxes:
            await outbox.flush()

    def close(self) -> BulkstopError | None:
        """Write what is left; return the error of that, or None."""
        fault = None
        last: list[Callable[[], object]] = [partial(each.close, self.metrics.elapsed_s) for each in self._intervals]
        for finish in (*last, *(output.close for output in (self._results, self._hdr) if output)):
            try:
                finish()
            except BulkstopError as error:
                fault = fault or error
        return fault

    def begin(self, unix_s: float) -> None:
        """Set when the run began, in unix seconds, and write the head of the log."""
        self.began = unix_s
        if self._hdr is not None:
            self._hdr.write("".join(format_log_head(self.began)).encode())

    def add_interval(self, interval: Interval) -> None:
        """Add the requests of a second that other processes have counted."""
        if self._timeline is not None:
            self._timeline.add(interval)
        if self._hdr is not None:
            self._log(interval)

    def _note_warmup(self, sample: Sample) -> None:
        self.metrics.warmup += 1
        if self._results is not None:
            campaign, attempt, intended_s, started_s, ended_s, _ = sample
            self._results.write(
                format_request(campaign, attempt, intended_s=intended_s, started_s=started_s, ended_s=ended_s)
            )

    def _log(self, interval: Interval) -> None:
        assert self._hdr is not None, "there are no intervals without a log"  # noqa: S101 - a slip of the caller
        for histogram, tag in ((interval.latency, ""), (interval.service, "service")):
            self._hdr.write(format_log_line(interval.start_s, interval.length_s, histogram, tag).encode())


def _shift(sample: Sample, by_s: float) -> Sample:
    """Return a request with its times moved back by some seconds."""
    return sample._replace(
        intended_s=sample.intended_s - by_s, started_s=sample.started_s - by_s, ended_s=sample.ended_s - by_s
    )


def report_progress(progress: Say | None, metrics: Metrics, began: float) -> AbstractContextManager[None]:
    """Report progress at intervals within the block; `began` is a time of the monotonic clock."""
    if progress is None:
        return nullcontext()

    def report() -> float:
        progress(_format_line(metrics, time.monotonic() - began))
        return PROGRESS_EVERY_S

    return every(report, began + FIRST_PROGRESS_S - time.monotonic())


def _format_line(metrics: Metrics, elapsed_s: float) -> str:
    counts = (
        f"{format_count(metrics.requests, 'request')}, "
        f"{metrics.requests / elapsed_s:,.1f}/s, {format_count(metrics.errors, 'error')}"
    )
    p99 = f", p99 {metrics.latency.at(99)[0] * 1e3:,.1f} ms" if len(metrics.latency) else ""
    return f"{format_duration(elapsed_s)}: {counts}{p99}"
