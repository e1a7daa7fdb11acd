"""Find what a service takes: short runs at one rate after another, until the highest that holds is known."""

import asyncio
import math
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bulkstop.engine.load.arrivals import OpenModel, Schedule, constant
from bulkstop.engine.load.generator import Generator, Sample
from bulkstop.engine.load.rate_search import RateSearch, TrialResult
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError
from bulkstop.events import SearchBegan
from bulkstop.model import DONE, Campaign, Limit, Outcome, Send
from bulkstop.report.load.error_counts import ErrorCounts
from bulkstop.report.load.metrics import MAX_LATE_S, Metrics
from bulkstop.report.load.thresholds import Threshold, Verdict, parse_threshold
from bulkstop.report.log import log_event
from bulkstop.runs.host import fit_open_files
from bulkstop.runs.load.recorder import NOWHERE, Recorder, Say
from bulkstop.runs.load.run import LOST, Connect, choose_max_in_flight
from bulkstop.runs.load.sending import generate_load
from bulkstop.runs.wiring import make_load_transport, make_send, make_tokens
from bulkstop.settings import Settings
from bulkstop.text import format_duration

START, TOP, STEP_S = 10.0, 100_000.0, 10.0
LEAST_REQUESTS = 10
"""A rate at which fewer leave in a step is not tried: they would say nothing."""
LEAST_PATIENCE_S = 1.0
LONG = 2
"""How many steps a rate has to hold before it is reported."""
WINDOWS_S = (1.0, 10.0, 60.0, 600.0, 3600.0)
LEAST_CALLS = 20
"""With so many calls to a window, what is lost by rounding down to a whole call is at most 5 %."""
REFUSED_SHARE = 0.5

_USUAL = ("throttled<=0%", "p99<1s", "server_error<1%", "timeout<1%", "connection_error<1%", "unauthorized<1%")
USUAL = tuple(map(parse_threshold, _USUAL))
"""What must hold unless it is said. A campaign that is not found, as a made-up one, says nothing against a rate."""
OF_ERRORS = frozenset({"server_error", "timeout", "connection_error", "unauthorized"})
"""What a line for all errors stands in for."""


class Judgement(NamedTuple):
    """What became of a rate, and why it did not hold."""

    trial: TrialResult
    why: str = ""


def choose_thresholds(require: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """Return what every short run has to come to: what is required, and the usual where nothing is said about it."""
    named = {each.name for each in require}
    replaced = named | (OF_ERRORS if "errors" in named else set())
    if any(each.is_time for each in require):
        replaced |= {"p99"}
    return (*(each for each in require if each.name != "rate"), *(each for each in USUAL if each.name not in replaced))


def count_tolerated_throttles(lines: Sequence[Threshold], planned: int) -> float:
    """Return how many of the planned requests may be throttled before the rate cannot hold any more."""
    return min((each.bound * planned for each in lines if each.name == "throttled"), default=math.inf)


def judge(metrics: Metrics, planned: int, lines: Sequence[Threshold], *, cut_short: bool) -> Judgement:
    """Judge a short run; `cut_short` is one that ended since too many were throttled."""
    if not metrics.is_punctual:
        return Judgement(
            TrialResult.LATE, f"this machine was late with {metrics.late_share * 100:.2g}% of the requests"
        )
    unsent = 0 if cut_short else planned - metrics.requests
    if unsent and (metrics.was_busy or not metrics.full_s):
        return Judgement(TrialResult.LATE, f"this machine was too slow to send {unsent:,} of the requests")
    if cut_short:
        return Judgement(TrialResult.GAVE_WAY, _throttled(metrics))
    failed = [str(verdict) for each in lines if not (verdict := each.judge(metrics)).held]
    if unsent:
        failed.insert(0, f"{unsent:,} requests got no place, as all were taken")
    return Judgement(TrialResult.GAVE_WAY, "; ".join(failed)) if failed else Judgement(TrialResult.HELD)


def _throttled(metrics: Metrics) -> str:
    count = metrics.outcomes[Outcome.THROTTLED]
    return f"{count:,} of {metrics.requests:,} throttled in {format_duration(metrics.elapsed_s)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where a limit is looked for, and what a rate has to come to."""

    start: float = START
    top: float = TOP
    step_s: float = STEP_S
    require: tuple[Threshold, ...] = ()
    count: int | None = None
    """The most requests of the whole search."""
    max_in_flight: int | None = None
    max_late_s: float = MAX_LATE_S

    @property
    def lines(self) -> tuple[Threshold, ...]:
        """What every rate has to come to."""
        return choose_thresholds(self.require)

    @property
    def patience_s(self) -> float:
        """How long after its time a request may still leave."""
        return max(self.step_s, LEAST_PATIENCE_S)

    @property
    def room(self) -> int:
        """How many requests may be in flight at the highest rate."""
        return self.max_in_flight or choose_max_in_flight(constant(self.top, self.step_s))

    def knee(self) -> RateSearch:
        """Begin."""
        return RateSearch(self.start, bottom=LEAST_REQUESTS / self.step_s, top=self.top)


class Probe(NamedTuple):
    """One short run: the rate, for how long, what was measured, what became of it and why."""

    rate: float
    length_s: float
    metrics: Metrics
    trial: TrialResult
    why: str


@dataclass(slots=True)
class SearchResult:
    """What a search has come to; `signum`, `fault` and `stuck` say what ended it before the limit was known."""

    search: Search
    knee: RateSearch
    run_id: str
    probes: list[Probe] = field(default_factory=list)
    longest_wait_s: float = 0.0
    """The longest that the service asked to wait."""
    stuck: str = ""
    is_unanswered: bool = False
    """Whether it is stuck as nothing is there that answers."""
    signum: int | None = None
    fault: BulkstopError | None = None

    @property
    def requests(self) -> int:
        """All that were sent."""
        return sum(probe.metrics.requests for probe in self.probes)

    @property
    def outcomes(self) -> Counter[Outcome]:
        """What became of them."""
        return sum((probe.metrics.outcomes for probe in self.probes), Counter[Outcome]())

    @property
    def reasons(self) -> ErrorCounts:
        """Why those failed that did."""
        found = ErrorCounts()
        for probe in self.probes:
            found.merge(probe.metrics.reasons)
        return found

    @property
    def is_over(self) -> bool:
        """Tell whether all is known that can be."""
        return self.knee.rate is None and not (self.stuck or self.fault or self.signum)

    @property
    def rate(self) -> float | None:
        """The highest rate that held, also for the longer time; None unless all is known."""
        return self.knee.low if self.is_over else None

    @property
    def confirmed(self) -> Probe | None:
        """The longer run at that rate."""
        return next((probe for probe in reversed(self.probes) if probe.rate == self.rate), None)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What became of what is required of the rate that was found."""
        measured = self.confirmed.metrics if self.confirmed else Metrics()
        return tuple(each.judge(measured) for each in self.search.require if each.name == "rate")

    @property
    def refused(self) -> str:
        """Name how most requests at that rate ended, if no campaign was stopped by them."""
        outcomes = self.confirmed.metrics.outcomes if self.confirmed else Counter[Outcome]()
        much = [each for each, count in outcomes.items() if count > REFUSED_SHARE * outcomes.total()]
        return next((outcome.value for outcome in much if outcome not in DONE), "")

    @property
    def reason(self) -> str:
        """What ended it, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.signum is not None:
            return f"by {signal.Signals(self.signum).name}, before the limit was known"
        if self.is_over and self.rate is None:
            return f"no rate held, down to {self.knee.high:,g}/s"
        return self.stuck or "all known"

    @property
    def exit_code(self) -> int:
        """The exit code: 0 found, 1 nothing held or not what is required, 3 the limit is not the service's."""
        if self.signum is not None and self.fault is None:
            return 128 + self.signum
        if self.is_unanswered:
            return 1
        if not self.is_over or self.knee.by_machine:
            return 3
        return 0 if self.rate is not None and all(verdict.held for verdict in self.verdicts) else 1


def format_limit(rate: float) -> Limit:
    """Write a rate as a quota, rounded down."""
    for window_s in WINDOWS_S:
        if (calls := math.floor(rate * window_s + 1e-6)) >= LEAST_CALLS:
            return Limit(calls, window_s)
    return Limit(max(1, calls), WINDOWS_S[-1])


async def execute(
    search: Search,
    campaigns: Iterator[Campaign],
    settings: Settings,
    *,
    connect: Connect = make_load_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    tell: Callable[[Probe], object] = lambda probe: None,
) -> SearchResult:
    """Try one rate after another until the limit is known, or something ends that; `tell` is told of each.

    Raises a BulkstopError for what keeps the search from starting; what ends it later stands in what is found.
    """
    settings = replace(settings, concurrency=fit_open_files(search.room))
    tokens, shutdown = make_tokens(settings), Shutdown(grace_s=settings.grace_s, say=say, lost=LOST)
    found = SearchResult(search, search.knee(), str(uuid.uuid4()))
    with handle_signals(shutdown, signals):
        await tokens.get()
        log_event(SearchBegan(found.run_id, settings.host, search.start))
        async with connect(settings) as transport:
            send = make_send(settings, transport.post, tokens)
            with suppress(_Ended):
                await _Prober(found, campaigns, send, shutdown, settings, tell).search()
    found.signum = shutdown.signum
    return found


class _Ended(Exception):  # noqa: N818 - no error
    """The search cannot go on; why stands in what was found."""


class _Prober:
    """Sends at the rates that the knee asks for."""

    def __init__(
        self,
        result: SearchResult,
        campaigns: Iterator[Campaign],
        send: Send,
        shutdown: Shutdown,
        settings: Settings,
        tell: Callable[[Probe], object],
    ) -> None:
        self._found, self._search = result, result.search
        self._campaigns, self._send, self._shutdown, self._tell = campaigns, send, shutdown, tell
        self._room, self._most_wait_s = settings.concurrency, settings.max_retry_after_s

    async def search(self) -> None:
        """Try what is to be tried; raises _Ended when that cannot go on."""
        knee = self._found.knee
        while (rate := knee.rate) is not None:
            watch, probe = await self._probe(rate, self._search.step_s * (LONG if knee.is_long else 1))
            self._found.probes.append(probe)
            self._found.longest_wait_s = max(self._found.longest_wait_s, watch.longest_wait_s)
            if self._shutdown.signum is not None or self._found.fault is not None:
                raise _Ended
            self._tell(probe)
            knee.record(probe.trial)
            self._check(probe)
            if knee.rate is not None:
                gave_way = probe.trial is TrialResult.GAVE_WAY or probe.metrics.outcomes[Outcome.THROTTLED] > 0
                await self._rest(self._rest_s(watch) if gave_way else 1 / rate)

    async def _probe(self, rate: float, length_s: float) -> tuple["_Watch", Probe]:
        schedule = constant(rate, length_s)
        if self._search.count is not None and self._found.requests + len(schedule) > self._search.count:
            self._found.stuck = f"--count {self._search.count:,}: is used up before the limit is known"
            raise _Ended
        watch = _Watch(
            Metrics(max_late_s=self._search.max_late_s), count_tolerated_throttles(self._search.lines, len(schedule))
        )
        await self._send_load(schedule, watch)
        if not watch.cut_short:
            watch.metrics.elapsed_s = max(watch.metrics.elapsed_s, schedule.length_s)
        judged = judge(watch.metrics, len(schedule), self._search.lines, cut_short=watch.cut_short)
        return watch, Probe(rate, length_s, watch.metrics, *judged)

    async def _send_load(self, schedule: Schedule, watch: "_Watch") -> None:
        """Send what is on a schedule; what is held up then has a while more, and each request its own deadline."""

        def attach(generator: Generator) -> None:
            watch.end = generator.drain
            self._shutdown.attach(generator)

        self._found.fault = await generate_load(
            OpenModel(schedule),
            self._campaigns,
            self._send,
            watch,
            attach,
            max_in_flight=min(self._room, self._search.max_in_flight or choose_max_in_flight(schedule)),
            length_s=schedule.length_s + self._search.patience_s,
        )

    def _check(self, probe: Probe) -> None:
        """End a search that would only go on in vain."""
        measured = probe.metrics
        if not measured.requests:
            return
        if not any(each.metrics.answered for each in self._found.probes):
            self._found.stuck, self._found.is_unanswered = "no request was answered", True
        elif measured.outcomes[Outcome.UNAUTHORIZED] == measured.requests:
            self._found.stuck = "every request was refused as unauthorized"
        elif self._found.longest_wait_s > LONG * self._search.step_s:
            self._found.stuck = (
                f"the service asked to wait {format_duration(self._found.longest_wait_s)}, so it counts over a longer "
                f"time "
                f"than any rate is held here; give --step {math.ceil(self._found.longest_wait_s)}s"
            )
        else:
            return
        raise _Ended

    def _rest_s(self, watch: "_Watch") -> float:
        """Return how long to leave the service alone: one step, or as long as it asked; it may still be throttling."""
        return max(self._search.step_s, min(watch.wait_until - time.monotonic(), self._most_wait_s))

    async def _rest(self, seconds: float) -> None:
        """Send nothing for so long; where nothing gave way, so that the next request keeps its distance as well."""
        rest = _Rest()
        self._shutdown.attach(rest)
        await rest.take(seconds)
        if self._shutdown.signum is not None:
            raise _Ended


class _Watch(Recorder):
    """Measures the requests of a probe, and ends it when too many are throttled."""

    def __init__(self, metrics: Metrics, most_throttled: float) -> None:
        super().__init__(metrics, NOWHERE)
        self.cut_short = False
        self.wait_until, self.longest_wait_s = -math.inf, 0.0
        self.end: Callable[[], None] = lambda: None
        self._most_throttled = most_throttled

    def note(self, sample: Sample) -> None:
        """Take a request."""
        super().note(sample)
        retry_after_s = sample.attempt.retry_after_s
        if retry_after_s is not None:
            self.longest_wait_s = max(self.longest_wait_s, retry_after_s)
            self.wait_until = max(self.wait_until, time.monotonic() + retry_after_s)
        if not self.cut_short and self.metrics.outcomes[Outcome.THROTTLED] > self._most_throttled:
            self.cut_short = True
            self.end()


class _Rest:
    """A wait that can be ended as a pool is."""

    in_flight = 0

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self.drain = self.abort = self._over.set

    async def take(self, seconds: float) -> None:
        """Wait so long, or until it is ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
