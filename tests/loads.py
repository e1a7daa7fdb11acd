"""Helpers for tests of load tests."""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import click
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from bulkstop.cli.load.command import command
from bulkstop.errors import BulkstopError, OutputError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Campaign, Outcome
from bulkstop.report.load.histogram import HIGHEST_US, PERCENTILES, Histogram, percentile_name
from bulkstop.report.load.intervals import Interval
from bulkstop.report.load.metrics import Metrics
from bulkstop.settings import Settings
from tests.engine.parts import campaigns, now_s
from tests.processes import TOKEN
from tests.servers import VOICE_ANSWER

WHERE = ("--account-id", "a1", "--stream-id", "st-1")
"""The settings that made-up campaigns need."""
NOWHERE = ("--host", "http://127.0.0.1:1", "--proxy", "http://127.0.0.1:1")
"""With any host, no request gets further than a dead proxy."""
PATIENT = ("--max-late", "60s")
"""Options that tolerate a busy machine's delays, which these tests are not about."""

OK = Response(200, VOICE_ANSWER, 1.0)
Reply = Callable[[int], Response | TransportFailure]
"""The response to the n-th request, from 0."""


class Service:
    """A service, and the transport to it: answers each request after `latency_s`, and notes when they came."""

    def __init__(self, reply: Reply = lambda number: OK, latency_s: float = 0.0, opening_s: float = 0.0) -> None:
        self.opened: list[int] = []
        self.seen: list[tuple[float, str, str]] = []
        self._reply = reply
        self._latency_s, self._opening_s = latency_s, opening_s

    def connect(self, settings: Settings) -> Self:
        """Open the transport, with as many connections as the settings say."""
        self.opened.append(settings.concurrency)
        return self

    async def __aenter__(self) -> Self:
        """Take a while."""
        await asyncio.sleep(self._opening_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0
    ) -> Response | TransportFailure:
        """Answer."""
        self.seen.append((now_s(), target, headers["auth"]))
        number = len(self.seen) - 1
        await asyncio.sleep(self._latency_s)
        return self._reply(number)


def endless(count: int = 5) -> Iterator[Campaign]:
    """Return the same few campaigns for ever."""
    return itertools.cycle(campaigns(count))


def refusal(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> str:
    """Return the line with which the command refuses, here in this process: there are many of them."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BULKSTOP_TOKEN", TOKEN)
    there = sorted(folder.iterdir())
    with pytest.raises((click.UsageError, BulkstopError)) as caught:
        command.main([*NOWHERE, *WHERE, *args], standalone_mode=False)
    assert sorted(folder.iterdir()) == there
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reference(values_ms: list[float], percentile: float) -> float:
    """Return a percentile of the values themselves, by the nearest rank."""
    return sorted(values_ms)[max(1, math.ceil(percentile / 100 * len(values_ms) - 1e-9)) - 1]


def assert_same_times(told: Mapping[str, Any], rows: list[dict[str, Any]], names: Iterable[str]) -> None:
    """Compare the percentiles of a report with those of its lines."""
    for name in names:
        values = [row[name] for row in rows]
        assert told[name]["max"] == max(values)
        for percentile in PERCENTILES:
            exact = reference(values, percentile)
            assert told[name][percentile_name(percentile)] == pytest.approx(exact, rel=1e-3, abs=0.002)


def counts_of(path: Path) -> Counter[str | None]:
    """Sum up what a histogram log holds, by tag; no two of its lines are of the same second."""
    reader, found = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_US, 3)), Counter[str | None]()
    while (interval := reader.get_next_interval_histogram()) is not None:
        found[interval.get_tag()] += interval.get_total_count()
    reader.close()
    starts = [line.split(",")[0] for line in path.read_text().splitlines() if line[0].isdigit()]
    assert len(starts) == len(set(starts)) > 0
    assert starts == sorted(starts, key=float)
    return found


def measured(
    count: int = 1,
    outcome: Outcome = Outcome.STOPPED,
    *,
    latency_s: float = 0.1,
    service_s: float | None = None,
    late_s: float = 0.0,
    answered: bool = True,
    error: str | None = None,
    before: Metrics | None = None,
    unsent: int = 0,
) -> Metrics:
    """Measure equal requests, after earlier ones and some that were never sent."""
    metrics = before or Metrics()
    for _ in range(unsent):
        metrics.add_unsent(latency_s)
    service_s = latency_s if service_s is None else service_s
    for _ in range(count):
        metrics.add(
            outcome,
            latency_s=latency_s,
            service_s=service_s,
            late_s=late_s,
            held_s=0.0,
            answered=answered,
            error=error,
        )
    return metrics


def interval(start_s: float, *latencies_s: float, length_s: float = 1.0) -> Interval:
    """Make an interval of requests that were stopped."""
    found = Interval(start_s, length_s, Counter({Outcome.STOPPED: len(latencies_s)}), Histogram(), Histogram())
    for latency_s in latencies_s:
        found.latency.record(latency_s)
        found.service.record(latency_s / 2)
    return found


class FullDisk:
    """Takes nothing."""

    def write(self, data: bytes) -> None:
        """Refuse it."""
        raise OutputError("full")

    def close(self) -> None:
        """Have nothing left to write."""
