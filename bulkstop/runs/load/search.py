"""Find what a service takes: short runs at one rate after another, until the highest that holds is known."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn

from bulkstop.engine.load.arrivals import OpenModel, Schedule, constant
from bulkstop.engine.load.rate_search import TRIES, RateSearch, TrialResult
from bulkstop.engine.load.refusals import Refusals
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError
from bulkstop.events import SearchBegan
from bulkstop.model import AtOnce, Campaign, Endable, Outcome, Send
from bulkstop.naming import name_setting
from bulkstop.report.load.limit import NO_HOLD, SPARE, Hold, LimitSummary, Probe, SearchPlan
from bulkstop.report.load.metrics import MAX_LATE_S, Metrics
from bulkstop.report.load.summary import explain_few_files
from bulkstop.report.load.thresholds import Threshold, parse_threshold
from bulkstop.report.log import log_event
from bulkstop.runs.clients import Connect
from bulkstop.runs.load.recorder import Say
from bulkstop.runs.load.run import LOST, choose_max_in_flight
from bulkstop.runs.load.sending import generate_load
from bulkstop.runs.load.watch import Rest, Watch
from bulkstop.runs.parts import make_stop_at_once, make_stop_send, open_load_parts
from bulkstop.runs.wiring import make_load_transport
from bulkstop.settings import Settings
from bulkstop.text import format_count, format_duration

START, TOP, STEP_S = 10.0, 100_000.0, 10.0
LEAST_REQUESTS = 10
"""A rate at which fewer leave in a step is not tried: they would say nothing."""
LEAST_PATIENCE_S = 1.0
PATIENCE_S = 5.0
"""There are places for answers that take so long, at every rate that is tried."""
LONGEST_STEP_S = 600.0
"""No rate is held for longer, unless that is asked for: a service that counts over hours cannot be searched."""
PROOF_S = 120.0
"""How long a rate has to hold before it is written as a quota: many count over minutes, one of them is whole in it."""
SLACK = 1.25
"""How much longer a step is than the time for which the service is known to count: that was when it last refused."""
SOON = 3.01
"""Number of intervals after a refusal in which no calls are saved up, while earlier ones are still counted."""
SHORTEST_S = 1e-6
SETTLING_SHARE = 0.25
"""Share of the requests before a held rate that may be refused, until no faster ones are counted."""
RECOVERY_S = 120.0
"""A service that has not caught up with what it did not answer in time after so long may never do."""
AGAIN_S = 0.5
"""How soon to ask again whether it has."""
CAUGHT_UP, CAUGHT_UP_S = 0.2, 0.02
"""It has where two answers in a row take alike: they differ by no more than that share, or by so much."""
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
    replaced = named | (OF_ERRORS if named & {"errors", "failed"} else set())
    if any(each.is_time for each in require):
        replaced |= {"p99"}
    lines = (*(each for each in require if each.name != "rate"), *(each for each in USUAL if each.name not in replaced))
    return tuple(each.of_all for each in lines)  # a campaign that is not found says nothing against a rate


def count_tolerated_throttles(lines: Sequence[Threshold], planned: int) -> float:
    """Return how many of the planned requests may be throttled before the rate cannot hold any more."""
    return min((each.bound * planned for each in lines if each.name == "throttled"), default=math.inf)


def judge(
    metrics: Metrics, planned: int, lines: Sequence[Threshold], *, cut_short: bool, growth: str = "", left: str = ""
) -> tuple[TrialResult, str]:
    """Judge a short run, and say why it did not hold; `cut_short` is one that ended since too many were throttled.

    `growth` says how a queue has grown, if one has, and `left` what was left of one at the end.
    """
    if not metrics.is_punctual:
        return TrialResult.LATE, f"this machine was late with {metrics.late_share * 100:.2g}% of the requests"
    if not metrics.reads_in_time:
        return TrialResult.LATE, "this machine was late with reading the answers"
    if not (cut_short or metrics.has_room):
        return TrialResult.LATE, f"{format_count(metrics.most_in_flight, 'place')}: too few for what an answer takes"
    unsent = 0 if cut_short else planned - metrics.requests
    if unsent and (metrics.was_busy or not metrics.full_s):
        return TrialResult.LATE, f"this machine was too slow to send {unsent:,} of the requests"
    if cut_short:
        return TrialResult.GAVE_WAY, _describe_throttled(metrics)
    failed = [str(verdict) for each in lines if not (verdict := each.judge(metrics)).held]
    if unsent:
        failed.insert(0, f"{format_count(unsent, 'request')} got no place, as all were taken")
    if growth:
        failed.append(growth)
    if failed:
        return TrialResult.GAVE_WAY, "; ".join(failed)
    return (TrialResult.UNCLEAR, left) if left else (TrialResult.HELD, "")


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
        return self.max_in_flight or choose_max_in_flight(constant(self.top, self.step_s), PATIENCE_S)

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
    note: Say = lambda text: None,
) -> LimitSummary:
    """Try one rate after another until the limit is known, or something ends that; `tell` is told of each.

    `note` is told what takes long, before it does.

    Raises a BulkstopError for what keeps the search from starting; what ends it later stands in what is found.
    """
    shutdown, run_id = Shutdown(grace_s=settings.grace_s, say=say, lost=LOST, observe=log_event), str(uuid.uuid4())
    with handle_signals(shutdown, signals):
        async with open_load_parts(settings, search.room, connect=connect) as parts:
            await parts.tokens.get()
            log_event(SearchBegan(run_id, settings.host, search.start))
            sends = make_stop_send(parts), make_stop_at_once(parts, is_brief=True)
            prober = _Prober(search, campaigns, sends, shutdown, parts.settings, tell, note)
            with suppress(_Ended):
                await prober.search()
    return prober.summary(run_id)


class _Ended(Exception):  # noqa: N818 - no error
    """The search cannot go on; why is known."""


class _Purpose(Enum):
    """What a run is for: to measure a rate, or to have the service in a known state before one is held for longer."""

    MEASURE = auto()
    USE_UP = auto()
    """Send fast until that is refused, so that nothing is saved up."""
    SETTLE = auto()
    """Send at the rate, until no faster requests are counted."""


class _Prober:
    """Sends at the rates that the search asks for."""

    def __init__(
        self,
        search: Search,
        campaigns: Iterator[Campaign],
        sends: tuple[Send, AtOnce],
        shutdown: Shutdown,
        settings: Settings,
        tell: Callable[[Probe], object],
        note: Say,
    ) -> None:
        self._search, self._settings = search, settings
        self._campaigns, self._shutdown = campaigns, shutdown
        self._send, self._at_once = sends
        self._tell, self._note = tell, note
        self._rates = RateSearch(search.start, bottom=LEAST_REQUESTS / search.step_s, top=search.top)
        self._probes: list[Probe] = []
        self._longest_wait_s = 0.0
        self._refusals, self._step_s, self._began_s = Refusals(search.step_s), search.step_s, time.monotonic()
        self._taken_s = self._refused_s = -math.inf
        self._fastest_refused: float | None = None
        self._left_rate: float | None = None
        self._last: Watch | None = None
        self._was_rested, self._is_low_short = True, False
        self._is_used_up, self._wait_s = False, 0.0
        self._is_unsettled, self._settled_rate = False, 0.0
        self._is_behind = False
        self._hold, self._holds = NO_HOLD, dict[float, Hold]()
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
            hold=self._holds.get(rates.low or 0.0, NO_HOLD),
        )

    async def search(self) -> None:
        """Try what is to be tried; raises _Ended when that cannot go on."""
        while True:
            while (rate := self._rates.rate) is not None:
                await self._try(rate)
            if self._rates.low is None or await self._prove(self._rates.low):
                return

    async def _try(self, rate: float) -> None:
        if self._rates.is_long:
            await self._prepare(rate)
        trial = await self._probe(rate, self._step_s * (LONG if self._rates.is_long else 1))
        self._rates.record(trial)
        if self._is_low_short and self._rates.high is not None and trial is not TrialResult.HELD:
            self._rates.forget_held()
        if trial is TrialResult.HELD or self._rates.high is not None:
            self._is_low_short = False
        if self._rates.rate is not None:
            await self._rest(self._rest_s(trial, rate))

    async def _prepare(self, rate: float) -> None:
        """Have the service save up nothing, and count no faster requests, before a rate is to hold for longer."""
        if self._is_unsettled:
            self._is_unsettled, self._settled_rate = False, rate
            await self._probe(rate, LONG * self._step_s, _Purpose.SETTLE)
            await self._rest(1 / rate)
        if self._is_used_up or self._fastest_refused is None:
            return
        trial = await self._probe(self._fastest_refused, LONG * self._step_s, _Purpose.USE_UP)
        if not self._is_used_up and self._search.proof_s:
            self._end(f"{self._fastest_refused:,g}/s was refused and holds now, so the limit is not known")
        await self._rest(self._rest_s(trial, rate))

    async def _prove(self, rate: float) -> bool:
        """Have the rate that was found hold for long enough to be written down; if it does not, it gave way."""
        late = 0
        while (left_s := self._search.proof_s - self._hold.held_s) > SHORTEST_S and late < TRIES:
            if not self._hold.held_s:
                await self._prepare(rate)
            await self._rest(1 / rate)
            self._note(f"holding {rate:,g}/s for {format_duration(left_s)} more, so that a limit per minute would show")
            trial = await self._probe(rate, left_s)
            late += trial is TrialResult.LATE
            if trial is TrialResult.GAVE_WAY:
                self._lengthen(self._probes[-1].metrics.elapsed_s / LONG)
                self._rates.refute()
                await self._rest(self._rest_s(trial, rate))
                return False
            if trial is not TrialResult.HELD:
                await self._rest(self._rest_s(trial, rate))
        if late == TRIES:
            self._end(f"this machine was late at {rate:,g}/s, so that it is not known whether it holds")
        return True

    async def _probe(self, rate: float, length_s: float, purpose: _Purpose = _Purpose.MEASURE) -> TrialResult:
        schedule = constant(rate, length_s)
        if self._is_behind:
            await self._let_catch_up(rate)
        self._check_room(schedule)
        metrics = Metrics(max_late_s=self._search.max_late_s)
        watch = Watch(metrics, self._most_throttled(schedule, purpose), schedule.length_s)
        begin_s = time.monotonic()
        await self._send_load(schedule, watch)
        if not watch.cut_short:
            watch.metrics.elapsed_s = max(watch.metrics.elapsed_s, schedule.length_s)
            watch.metrics.sending_s = schedule.length_s
        trial, why = self._judge(schedule, watch, purpose)
        if watch.cut_short and (earlier := self._explain_by_earlier(rate, begin_s, watch, purpose)):
            why = f"{why}: {earlier}"
            trial = TrialResult.UNCLEAR if trial is TrialResult.GAVE_WAY else trial
        self._probes.append(Probe(rate, length_s, watch.metrics, trial, why))
        self._remember(rate, begin_s, watch, purpose)
        self._hold_on(self._probes[-1], begin_s)
        if self._shutdown.signum is not None or self._fault is not None:
            raise _Ended
        self._tell(self._probes[-1])
        self._check(watch.metrics)
        return trial

    async def _let_catch_up(self, rate: float) -> None:
        """Ask now and then until the service has worked off what it did not answer in time; it may have it still."""
        began_s, before_s, metrics = time.monotonic(), math.inf, Metrics()
        while True:
            one, asked_s = await self._ask_once(), time.monotonic() - began_s
            metrics.merge(one)
            metrics.elapsed_s = metrics.sending_s = asked_s
            took_s = one.latency.max_s if one.answered else math.inf
            if took_s < math.inf and abs(took_s - before_s) <= max(CAUGHT_UP_S, CAUGHT_UP * took_s):
                break
            if self._shutdown.signum is not None or self._fault is not None or asked_s > RECOVERY_S:
                break
            before_s = took_s
            await self._rest(AGAIN_S if took_s == math.inf else 1 / rate)
        self._is_behind = False
        why = f"requests that were not answered in time were worked off for {format_duration(asked_s)}"
        self._probes.append(Probe(rate, asked_s, metrics, TrialResult.BEHIND, why))
        if self._shutdown.signum is not None or self._fault is not None:
            raise _Ended
        self._tell(self._probes[-1])
        if asked_s > RECOVERY_S:
            self._end(f"the service answers no more as it did, {format_duration(asked_s)} after it was asked too much")

    async def _ask_once(self) -> Metrics:
        """Send a single request, and measure it."""
        schedule = constant(1.0, count=1)
        self._check_room(schedule)
        watch = Watch(Metrics(), math.inf, schedule.length_s)
        await self._send_load(schedule, watch)
        return watch.metrics

    def _most_throttled(self, schedule: Schedule, purpose: _Purpose) -> float:
        if purpose is _Purpose.MEASURE:
            return count_tolerated_throttles(self._search.lines, len(schedule))
        return SETTLING_SHARE * len(schedule) if purpose is _Purpose.SETTLE else 0.0

    def _judge(self, schedule: Schedule, watch: Watch, purpose: _Purpose) -> tuple[TrialResult, str]:
        growth, left = watch.backlog.describe_growth(), watch.backlog.describe_left()
        trial, why = judge(
            watch.metrics, len(schedule), self._search.lines, cut_short=watch.cut_short, growth=growth, left=left
        )
        if purpose is _Purpose.MEASURE:
            trial = self._look_twice(schedule.peak, trial)
        places = self._settings.concurrency
        if trial is TrialResult.GAVE_WAY and watch.metrics.held and places < self._wanted_places(schedule):
            return TrialResult.LATE, explain_few_files(places)
        if purpose is _Purpose.MEASURE:
            return trial, why
        end = "nothing is saved up" if purpose is _Purpose.USE_UP else "no faster requests are counted"
        return TrialResult.USED_UP, f"{_describe_throttled(watch.metrics)}, so that {end}"

    def _look_twice(self, rate: float, trial: TrialResult) -> TrialResult:
        """Have a rate give way where a queue is left for the second time; the first time it may have been a pause."""
        is_second = self._left_rate == rate
        self._left_rate = rate if trial is TrialResult.UNCLEAR else None
        return TrialResult.GAVE_WAY if trial is TrialResult.UNCLEAR and is_second else trial

    def _remember(self, rate: float, begin_s: float, watch: Watch, purpose: _Purpose) -> None:
        """Know when the service last took and refused something, and from what it is to recover."""
        self._last = watch
        self._longest_wait_s = max(self._longest_wait_s, watch.longest_wait_s)
        self._is_used_up = watch.cut_short or purpose is _Purpose.SETTLE
        self._is_behind = watch.metrics.answered < watch.metrics.requests
        if watch.cut_short:
            self._fastest_refused = max(rate, self._fastest_refused or 0.0)
        if watch.taken:
            self._wait_s = 0.0
            if purpose is not _Purpose.SETTLE:
                self._refusals.record(rate, watch.taken)
        self._taken_s = max(self._taken_s, begin_s + watch.last_taken_s)

    def _hold_on(self, probe: Probe, begin_s: float) -> None:
        """Know for how long this rate has held, without a pause, and how long before that something was refused."""
        before, watch = self._probes[-2:-1], self._last
        if probe.trial != TrialResult.HELD:
            self._hold = NO_HOLD
        elif self._hold.held_s and before and before[0].rate == probe.rate:
            self._hold = self._hold._replace(held_s=self._hold.held_s + probe.length_s)
        else:
            most_s = max(SPARE / probe.rate, min(self._longest_wait_s, LEAST_PATIENCE_S))
            self._hold = Hold(probe.length_s, min(begin_s - self._refused_s, most_s))
        if probe.trial == TrialResult.HELD:
            self._holds[probe.rate] = self._hold
        if watch is not None:
            self._refused_s = max(self._refused_s, begin_s + watch.last_refused_s)

    def _check_room(self, schedule: Schedule) -> None:
        """End a search that has no requests or no time left for what comes."""
        search, length_s = self._search, schedule.length_s
        sent = sum(probe.metrics.requests for probe in self._probes)
        if search.count is not None and sent + len(schedule) > search.count:
            self._end(f"{name_setting('count')} {search.count:,}: is used up before the limit is known")
        self._check_time(length_s, f"; a rate has to hold for {format_duration(length_s)}")

    def _check_time(self, next_s: float, why: str = "") -> None:
        """End a search that has not so much time left."""
        length_s = self._search.length_s
        if length_s is not None and time.monotonic() - self._began_s + next_s > length_s:
            over = f"{format_duration(length_s)}: is over before the limit is known{why}"
            self._end(f"{name_setting('duration')} {over}")

    def _explain_by_earlier(self, rate: float, begin_s: float, watch: Watch, purpose: _Purpose) -> str:
        """Say that the refusals of a rate come of earlier requests, as far as that can be; or nothing."""
        gap_s = begin_s + watch.first_refused_s - self._taken_s
        is_counted = not watch.taken and gap_s < math.inf
        earlier = "requests of earlier steps still count"
        if is_counted and gap_s > max(self._step_s, SPARE / rate):
            self._lengthen(gap_s)
            self._is_low_short = True
            earlier = f"{earlier}; steps take {format_duration(self._step_s)} from here on"
        if purpose is not _Purpose.MEASURE:
            return ""
        is_early = self._is_early(rate, begin_s, watch) if self._is_used_up and self._is_steady else None
        if is_early is None:
            most_s, was_rested = LONG * self._step_s, self._was_rested or self._is_steady
            is_early = self._refusals.is_of_earlier(rate, watch.taken, was_rested=was_rested, most_s=most_s)
        return earlier if is_early else ""

    def _is_early(self, rate: float, begin_s: float, watch: Watch) -> bool | None:
        """Tell whether a rate was refused too soon after a faster one; None if it was left alone before."""
        if not watch.taken:
            self._wait_longer(rate)
            return True
        if begin_s - self._refused_s >= SOON / rate:
            return None
        self._is_unsettled = watch.first_refused_s < self._step_s and self._settled_rate != rate
        return self._is_unsettled

    @property
    def _is_steady(self) -> bool:
        """Tell whether a rate is to hold with nothing saved up."""
        return self._rates.is_long or self._rates.rate is None

    def _wait_longer(self, rate: float) -> None:
        """Have the next request wait: for what saves up little, then until all is forgotten, then twice as long."""
        if not self._wait_s:
            self._wait_s = SPARE / rate
            return
        if self._wait_s >= self._refusals.rest_s:
            self._refusals.rest_s *= 2
        self._wait_s = self._refusals.rest_s

    def _lengthen(self, counted_s: float) -> None:
        """Take longer steps, as the service counts for so long at least."""
        if counted_s * SLACK > self._step_s:
            self._step_s = counted_s * SLACK
            self._refusals.rest_s = max(self._refusals.rest_s, self._step_s)
            self._rates.extend_down(LEAST_REQUESTS / self._step_s)

    def _wanted_places(self, schedule: Schedule) -> int:
        return self._search.max_in_flight or choose_max_in_flight(schedule, PATIENCE_S)

    def _end(self, dead_end: str) -> NoReturn:
        self._dead_end = dead_end
        raise _Ended

    async def _send_load(self, schedule: Schedule, watch: Watch) -> None:
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
            at_once=self._at_once,
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

    def _rest_s(self, trial: TrialResult, rate: float) -> float:
        """Return how long to leave the service alone: until it has forgotten, or as long as it asked.

        Where a rate is to be held with nothing saved up, no longer than it refuses.
        """
        until_s, was_throttled = (self._last.wait_until, self._last.throttled) if self._last else (-math.inf, 0)
        asked_s = min(until_s - time.monotonic(), self._settings.max_retry_after_s)
        is_short = self._is_used_up and self._is_steady
        self._was_rested = not is_short and (trial is TrialResult.GAVE_WAY or was_throttled > 0)
        rest_s = self._refusals.rest_s if self._was_rested else 1 / (self._rates.rate or rate) if is_short else 1 / rate
        if is_short:
            rest_s = max(rest_s, self._wait_s)
        if rest_s > max(LONGEST_STEP_S, self._search.step_s):
            self._end(f"the service still refuses after a rest of {format_duration(rest_s / 2)}")
        return max(rest_s, asked_s)

    async def _rest(self, seconds: float) -> None:
        """Send nothing for so long; where nothing gave way, so that the next request keeps its distance as well."""
        self._check_time(seconds)
        rest = Rest()
        self._shutdown.attach(rest)
        await rest.take(seconds)
        if self._shutdown.signum is not None:
            raise _Ended
