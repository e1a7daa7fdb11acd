"""Find what a service takes: short runs at one rate after another, until the highest that holds is known."""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from bulkstop.engine.load.arrivals import OpenModel, Schedule, constant
from bulkstop.engine.load.generator import Sample
from bulkstop.engine.load.rate_search import RateSearch, TrialResult
from bulkstop.engine.load.refusals import Refusals, Sent
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError
from bulkstop.events import SearchBegan
from bulkstop.model import Campaign, Endable, Outcome, Send
from bulkstop.naming import name_setting
from bulkstop.report.load.limit import LimitSummary, Probe, SearchPlan
from bulkstop.report.load.metrics import MAX_LATE_S, Metrics
from bulkstop.report.load.summary import explain_few_files
from bulkstop.report.load.thresholds import Threshold, parse_threshold
from bulkstop.report.log import log_event
from bulkstop.runs.load.recorder import NOWHERE, Recorder, Say
from bulkstop.runs.load.run import LOST, choose_max_in_flight
from bulkstop.runs.load.sending import generate_load
from bulkstop.runs.parts import Connect, make_stop_send, open_load_parts
from bulkstop.runs.wiring import make_load_transport
from bulkstop.settings import Settings
from bulkstop.text import format_count, format_duration

START, TOP, STEP_S = 10.0, 100_000.0, 10.0
LEAST_REQUESTS = 10
"""A rate at which fewer leave in a step is not tried: they would say nothing."""
LEAST_PATIENCE_S = 1.0
LONGEST_STEP_S = 600.0
"""No rate is held for longer, unless that is asked for: a service that counts over hours cannot be searched."""
PROOF_S = 60.0
"""How long a rate has to hold at least before it is written down as a quota: the vendor counts over a minute."""
SLACK = 1.25
"""How much longer a step is than the time over which the service is known to count."""
LONG = 2
"""How many steps a rate has to hold before it is reported."""
_USUAL = ("throttled<=0%", "p99<1s", "server_error<1%", "timeout<1%", "connection_error<1%", "unauthorized<1%")
USUAL = tuple(map(parse_threshold, _USUAL))
"""What must hold unless it is said. A campaign that is not found, as a made-up one, says nothing against a rate."""
OF_ERRORS = frozenset({"server_error", "timeout", "connection_error", "unauthorized"})
"""What a line for all errors stands in for."""


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


def judge(metrics: Metrics, planned: int, lines: Sequence[Threshold], *, cut_short: bool) -> tuple[TrialResult, str]:
    """Judge a short run, and say why it did not hold; `cut_short` is one that ended since too many were throttled."""
    if not metrics.is_punctual:
        return TrialResult.LATE, f"this machine was late with {metrics.late_share * 100:.2g}% of the requests"
    unsent = 0 if cut_short else planned - metrics.requests
    if unsent and (metrics.was_busy or not metrics.full_s):
        return TrialResult.LATE, f"this machine was too slow to send {unsent:,} of the requests"
    if cut_short:
        return TrialResult.GAVE_WAY, _describe_throttled(metrics)
    failed = [str(verdict) for each in lines if not (verdict := each.judge(metrics)).held]
    if unsent:
        failed.insert(0, f"{format_count(unsent, 'request')} got no place, as all were taken")
    return (TrialResult.GAVE_WAY, "; ".join(failed)) if failed else (TrialResult.HELD, "")


def _describe_throttled(metrics: Metrics) -> str:
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
    length_s: float | None = None
    """The longest that the whole search may take."""
    proof_s: float = 0.0
    """How long the rate that is found has to hold at least."""

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

    def plan(self, settings: Settings, targets: str = "") -> SearchPlan:
        """Return what there is to be told of it; `targets` says which campaigns the requests are for."""
        return SearchPlan(
            host=settings.host,
            targets=targets,
            start=self.start,
            top=self.top,
            step_s=self.step_s,
            count=self.count,
            lines=self.lines,
            require=self.require,
        )


async def execute(
    search: Search,
    campaigns: Iterator[Campaign],
    settings: Settings,
    *,
    connect: Connect = make_load_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    tell: Callable[[Probe], object] = lambda probe: None,
) -> LimitSummary:
    """Try one rate after another until the limit is known, or something ends that; `tell` is told of each.

    Raises a BulkstopError for what keeps the search from starting; what ends it later stands in what is found.
    """
    shutdown, run_id = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST, observe=log_event), str(uuid.uuid4())
    with handle_signals(shutdown, signals):
        async with open_load_parts(settings, search.room, connect=connect) as parts:
            await parts.tokens.get()
            log_event(SearchBegan(run_id, settings.host, search.start))
            prober = _Prober(search, campaigns, make_stop_send(parts), shutdown, parts.settings, tell)
            with suppress(_Ended):
                await prober.search()
    return prober.summary(run_id)


class _Ended(Exception):  # noqa: N818 - no error
    """The search cannot go on; why is known."""


class _Prober:
    """Sends at the rates that the search asks for."""

    def __init__(
        self,
        search: Search,
        campaigns: Iterator[Campaign],
        send: Send,
        shutdown: Shutdown,
        settings: Settings,
        tell: Callable[[Probe], object],
    ) -> None:
        self._search, self._settings = search, settings
        self._campaigns, self._send, self._shutdown, self._tell = campaigns, send, shutdown, tell
        self._rates = RateSearch(search.start, bottom=LEAST_REQUESTS / search.step_s, top=search.top)
        self._probes: list[Probe] = []
        self._longest_wait_s = 0.0
        self._refusals, self._step_s, self._began_s = Refusals(), search.step_s, time.monotonic()
        self._dead_end, self._is_unanswered = "", False
        self._fault: BulkstopError | None = None

    def summary(self, run_id: str) -> LimitSummary:
        """Return what it has come to."""
        rates, signum = self._rates, self._shutdown.signum
        return LimitSummary(
            plan=self._search.plan(self._settings),
            run_id=run_id,
            probes=tuple(self._probes),
            low=rates.low,
            high=rates.high,
            by_machine=rates.by_machine,
            is_over=rates.rate is None and not (self._dead_end or self._fault or signum),
            dead_end=self._dead_end,
            is_unanswered=self._is_unanswered,
            signum=signum,
            fault=None if self._fault is None else str(self._fault),
        )

    async def search(self) -> None:
        """Try what is to be tried; raises _Ended when that cannot go on."""
        rates = self._rates
        while (rate := rates.rate) is not None:
            long_s = max(LONG * self._step_s, self._search.proof_s)
            watch, trial = await self._probe(rate, long_s if rates.is_long else self._step_s)
            self._longest_wait_s = max(self._longest_wait_s, watch.longest_wait_s)
            if self._shutdown.signum is not None or self._fault is not None:
                raise _Ended
            self._tell(self._probes[-1])
            rates.record(trial)
            self._check(watch.metrics)
            if rates.rate is not None:
                gave_way = trial is TrialResult.GAVE_WAY or watch.metrics.outcomes[Outcome.THROTTLED] > 0
                await self._rest(self._rest_s(watch) if gave_way else 1 / rate)

    async def _probe(self, rate: float, length_s: float) -> tuple["_Watch", TrialResult]:
        schedule, search = constant(rate, length_s), self._search
        sent = sum(probe.metrics.requests for probe in self._probes)
        if search.count is not None and sent + len(schedule) > search.count:
            self._end(f"{name_setting('count')} {search.count:,}: is used up before the limit is known")
        if search.length_s is not None and time.monotonic() - self._began_s + length_s > search.length_s:
            over = f"{format_duration(search.length_s)}: is over before the limit is known"
            self._end(f"{name_setting('duration')} {over}; a rate has to hold for {format_duration(length_s)}")
        most_throttled = count_tolerated_throttles(search.lines, len(schedule))
        watch = _Watch(Metrics(max_late_s=search.max_late_s), most_throttled)
        begin_s = time.monotonic()
        await self._send_load(schedule, watch)
        if not watch.cut_short:
            watch.metrics.elapsed_s = max(watch.metrics.elapsed_s, schedule.length_s)
        trial, why = judge(watch.metrics, len(schedule), search.lines, cut_short=watch.cut_short)
        places = self._settings.concurrency
        earlier = self._learn(rate, begin_s, watch)
        if trial is TrialResult.GAVE_WAY and watch.metrics.held and places < self._wanted_places(schedule):
            trial, why = TrialResult.LATE, explain_few_files(places)
        elif trial is TrialResult.GAVE_WAY and earlier:
            trial, why = TrialResult.UNCLEAR, f"{why}: {earlier}"
        self._probes.append(Probe(rate, length_s, watch.metrics, trial, why))
        return watch, trial

    def _wanted_places(self, schedule: Schedule) -> int:
        return self._search.max_in_flight or choose_max_in_flight(schedule)

    def _learn(self, rate: float, begin_s: float, watch: "_Watch") -> str:
        """Take longer steps where a refusal shows that the service counts over a longer time; say so, or nothing."""
        taken = watch.metrics.requests - watch.metrics.outcomes[Outcome.THROTTLED]
        self._refusals.record(Sent(begin_s, 1 / rate, taken))
        if not watch.cut_short or watch.refused_s is None:
            return ""
        window_s = self._refusals.find_window_s(begin_s + watch.refused_s)
        if window_s <= self._step_s:
            return ""
        self._step_s = window_s * SLACK
        self._rates.extend_down(LEAST_REQUESTS / self._step_s)
        return f"requests of earlier steps still count; steps take {format_duration(self._step_s)} from here on"

    def _end(self, dead_end: str) -> NoReturn:
        self._dead_end = dead_end
        raise _Ended

    async def _send_load(self, schedule: Schedule, watch: "_Watch") -> None:
        """Send what is on a schedule; what is held up then has a while more, and each request its own deadline."""

        def attach(sending: Endable) -> None:
            watch.end = sending.drain
            self._shutdown.attach(sending)

        self._fault = await generate_load(
            OpenModel(schedule),
            self._campaigns,
            self._send,
            watch,
            attach,
            max_in_flight=min(self._settings.concurrency, self._wanted_places(schedule)),
            length_s=schedule.length_s + self._search.patience_s,
        )

    def _check(self, metrics: Metrics) -> None:
        """End a search that would only go on in vain."""
        if not metrics.requests:
            return
        if not any(each.metrics.answered for each in self._probes):
            self._is_unanswered = True
            self._end("no request was answered")
        if metrics.outcomes[Outcome.UNAUTHORIZED] == metrics.requests:
            self._end("every request was refused as unauthorized")
        if self._step_s > max(LONGEST_STEP_S, self._search.step_s):
            step = f"give a longer {name_setting('step_s')}"
            self._end(f"the service counts over {format_duration(self._step_s / SLACK)} or more; {step}")
        if (wait_s := self._longest_wait_s) > LONG * self._step_s:
            over = "so it counts over a longer time than any rate is held here"
            step = f"give {name_setting('step_s', f'{math.ceil(wait_s)}s')}"
            self._end(f"the service asked to wait {format_duration(wait_s)}, {over}; {step}")

    def _rest_s(self, watch: "_Watch") -> float:
        """Return how long to leave the service alone: one step, or as long as it asked; it may still be throttling."""
        return max(self._step_s, min(watch.wait_until - time.monotonic(), self._settings.max_retry_after_s))

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
        self.refused_s: float | None = None
        """When the first request left that was throttled, since the beginning."""
        self.end: Callable[[], None] = lambda: None
        self._most_throttled = most_throttled

    def note(self, sample: Sample) -> None:
        """Take a request."""
        super().note(sample)
        if sample.attempt.outcome is Outcome.THROTTLED:
            self.refused_s = min(sample.started_s, math.inf if self.refused_s is None else self.refused_s)
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
