"""A worker process of a load test: sends its part of the requests, and reports measurements to the parent."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from bulkstop.engine.load.generator import Sample
from bulkstop.errors import BulkstopError
from bulkstop.files.output import BUFFER
from bulkstop.model import Campaign
from bulkstop.report.load.intervals import EVERY_S, Interval
from bulkstop.report.load.metrics import Metrics
from bulkstop.runs.clients import Connect
from bulkstop.runs.host import every
from bulkstop.runs.load.recorder import Outputs, Recorder
from bulkstop.runs.load.run import Load, send_load
from bulkstop.runs.parts import make_stop_at_once, make_stop_send, open_load_parts
from bulkstop.settings import Settings
from bulkstop.workers.link import Lines, ParentLink, Ready


class IntervalReport(NamedTuple):
    """Measurements from `start_s` up to `upto_s`, and the requests in flight at its end."""

    start_s: float
    upto_s: float
    in_flight: int
    metrics: Metrics

    @property
    def interval(self) -> Interval:
        """The requests of this report as an interval."""
        length_s = min(EVERY_S, max(self.upto_s - self.start_s, 0.001))
        metrics = self.metrics
        return Interval(self.start_s, length_s, metrics.outcomes, metrics.latency, metrics.service)


class _PartRecorder(Recorder):
    """Measures the requests of one process, and reports each second to the parent when it is over."""

    def __init__(self, link: ParentLink, load: Load, *, has_lines: bool) -> None:
        self._lines = _LineSender(link) if has_lines else None
        super().__init__(load.make_metrics(), Outputs(results=self._lines), warmup_s=load.warmup_s)
        self._link = link
        self._make_metrics = load.make_metrics
        self._start_s = 0.0

    def count(self, sample: Sample) -> None:
        """Count a request."""
        if sample.ended_s >= self._start_s + EVERY_S:
            self.report(sample.ended_s)
        super().count(sample)

    def report(self, upto_s: float) -> None:
        """Report the measurements up to this second, and begin anew."""
        if self._lines is not None:
            self._lines.close()
        self.metrics.mark(upto_s)
        metrics, self.metrics = self.metrics, self._make_metrics()
        self._link.send(IntervalReport(self._start_s, upto_s, self._link.in_flight, metrics))
        self._start_s = upto_s // EVERY_S * EVERY_S


class _LineSender:
    """Sends result lines to the parent, many at a time."""

    def __init__(self, link: ParentLink) -> None:
        self._link = link
        self._lines: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Add a line."""
        self._lines.append(data)
        self._bytes += len(data)
        if self._bytes >= BUFFER:
            self.close()

    def close(self) -> None:
        """Send all remaining lines."""
        if self._lines:
            self._link.send(Lines(b"".join(self._lines)))
            self._lines.clear()
            self._bytes = 0


async def run_worker(
    link: ParentLink,
    load: Load,
    campaigns: Iterator[Campaign],
    settings: Settings,
    connect: Connect,
    *,
    has_lines: bool,
) -> BulkstopError | None:
    """Run a part of a load test when the parent says so; return the error that ended it early, or None."""
    recorder = _PartRecorder(link, load, has_lines=has_lines)
    with link.listen():
        async with open_load_parts(settings, load.max_in_flight, connect=connect) as parts:
            await parts.tokens.get()
            link.send(Ready(parts.settings.concurrency))
            begin_at = await link.wait_for_begin()
            with _each_second(recorder, begin_at + load.warmup_s):
                fault = await send_load(
                    load,
                    campaigns,
                    make_stop_send(parts),
                    recorder,
                    link.attach,
                    parts.settings,
                    begin_at,
                    at_once=make_stop_at_once(parts, is_brief=True),
                )
            recorder.report(max(0.0, time.monotonic() - begin_at - load.warmup_s))
    return fault


def _each_second(recorder: _PartRecorder, begin_at: float) -> AbstractContextManager[None]:
    """Report each second, even if the next one has no response."""

    def report() -> float:
        now_s = max(0.0, time.monotonic() - begin_at)
        recorder.report(now_s)
        return EVERY_S - now_s % EVERY_S

    return every(report, begin_at + EVERY_S - time.monotonic())
