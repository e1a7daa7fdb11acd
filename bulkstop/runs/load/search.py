"""Searches the highest rate that a service sustains, with short runs at one rate after another."""

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
from bulkstop.runs.wiring import make_transport
from bulkstop.settings import Settings
from bulkstop.text import format_count, format_duration

START, TOP, STEP_S = 10.0, 100_000.0, 10.0
LEAST_REQUESTS = 10
"""Least requests of a step; a rate that sends fewer is not tried."""
LEAST_PATIENCE_S = 1.0
PATIENCE_S = 5.0
"""Response time in seconds for which every tried rate has enough requests in flight."""
LONGEST_STEP_S = 600.0
"""Longest step in seconds, unless a longer one is given; limits that are counted over hours cannot be searched."""
PROOF_S = 120.0
"""Seconds that a rate must hold before it is written as a quota; they contain a whole minute, as many limits count."""
SLACK = 1.25
"""Ratio of a step's length to the known counting time of the service, which is measured at its last refusal."""
SOON = 3.01
"""Intervals after a refusal in which no calls are saved up, and earlier calls still count."""
SHORTEST_S = 1e-6
SETTLING_SHARE = 0.25
"""Share of the requests before a held rate that may be refused, until no faster ones are counted."""
RECOVERY_S = 120.0
"""Seconds after which the search ends if the service has not worked off late requests."""
AGAIN_S = 0.5
"""Seconds until the next single request after one without a response."""
CAUGHT_UP, CAUGHT_UP_S = 0.2, 0.02
"""The service has caught up if two responses in a row differ by at most this share, or by these seconds."""
LONG = 2
"""Number of steps that a rate must hold before it is reported."""
_USUAL = ("throttled<=0%", "p99<1s", "server_error<1%", "timeout<1%", "connection_error<1%", "unauthorized<1%")
USUAL = tuple(map(parse_threshold, _USUAL))
"""Default requirements; a campaign that is not found, such as a made-up one, does not count against a rate."""
OF_ERRORS = frozenset({"server_error", "timeout", "connection_error", "unauthorized"})
"""Errors that a requirement on all errors replaces."""


def choose_thresholds(require: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """Return the requirements of each short run: those given, and the defaults that they do not replace."""
    named = {each.name for each in require}
    replaced = named | (OF_ERRORS if named & {"errors", "failed"} else set())
    if any(each.is_time for each in require):
        replaced |= {"p99"}
    lines = (*(each for each in require if each.name != "rate"), *(each for each in USUAL if each.name not in replaced))
    return tuple(each.of_all for each in lines)  # see USUAL


def count_tolerated_throttles(lines: Sequence[Threshold], planned: int) -> float:
    """Return how many of the planned requests may be throttled before the rate has failed."""
    return min((each.bound * planned for each in lines if each.name == "throttled"), default=math.inf)


def judge(
    metrics: Metrics, planned: int, lines: Sequence[Threshold], *, cut_short: bool, growth: str = "", left: str = ""
) -> tuple[TrialResult, str]:
    """Return the result of a short run, and why it did not hold; `cut_short` means that too many were throttled.

    `growth` describes a queue that grew, if one did, and `left` a queue that was left at the end.
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
    """Where to search for the limit, and what a rate must satisfy."""

    start: float = START
    top: float = TOP
    step_s: float = STEP_S
    require: tuple[Threshold, ...] = ()
    count: int | None = None
    """Most requests of the whole search."""
    max_in_flight: int | None = None
    max_late_s: float = MAX_LATE_S
    length_s: float | None = None
    """Longest duration of the whole search in seconds."""
    proof_s: float = 0.0
    """Least seconds that the rate found must hold."""

    @property
    def lines(self) -> tuple[Threshold, ...]:
        """The requirements of every rate."""
        return choose_thresholds(self.require)

    @property
    def patience_s(self) -> float:
        """Seconds after its due time in which a request may still be sent."""
        return max(self.step_s, LEAST_PATIENCE_S)

    @property
    def room(self) -> int:
        """Requests that may be in flight at the highest rate."""
        return self.max_in_flight or choose_max_in_flight(constant(self.top, self.step_s), PATIENCE_S)

    def plan(self, settings: Settings, targets: str = "") -> SearchPlan:
        """Return the facts of the plan; `targets` describes the campaigns of the requests."""
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
    connect: Connect = make_transport,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    tell: Callable[[Probe], object] = lambda probe: None,
    note: Say = lambda text: None,
) -> LimitSummary:
    """Try one rate after another until the limit is known or the search is ended; `tell` gets each result.

    `note` gets a message before a long step. Raises a BulkstopError if the search cannot start; a later fault is in the
    summary.
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
    """Ends the search; its reason has been stored."""


class _Purpose(Enum):
    """The purpose of a run: to measure a rate, or to put the service in a known state before a rate is held longer."""

    MEASURE = auto()
    USE_UP = auto()
    """Send fast until a refusal, so that no calls are saved up."""
    SETTLE = auto()
    """Send at the rate until no faster requests are counted."""


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
        """Return the result of the search so far."""
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
        """Try rates until the limit is known; raises _Ended when the search cannot continue."""
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
        """Make the service save up no calls and count no faster requests, before a rate is held for longer."""
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
        """Hold the rate that was found for `proof_s`; return False if it failed, so that the search continues."""
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
            self._end(f"this machine was late at {rate:,g}/s, so nobody knows whether it holds")
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
        """Send single requests until the service has worked off those that it did not answer in time."""
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
            self._end(f"the service has not caught up, {format_duration(asked_s)} after a rate that was too high")

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
        """Return GAVE_WAY if a rate leaves a queue for the second time in a row; once may have been a pause."""
        is_second = self._left_rate == rate
        self._left_rate = rate if trial is TrialResult.UNCLEAR else None
        return TrialResult.GAVE_WAY if trial is TrialResult.UNCLEAR and is_second else trial

    def _remember(self, rate: float, begin_s: float, watch: Watch, purpose: _Purpose) -> None:
        """Record when the service last accepted and refused requests, and how it must recover."""
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
        """Record for how long this rate has held without a pause, and how long before that a request was refused."""
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
        """End a search without enough requests or time for the next step."""
        search, length_s = self._search, schedule.length_s
        sent = sum(probe.metrics.requests for probe in self._probes)
        if search.count is not None and sent + len(schedule) > search.count:
            self._end(f"{name_setting('count')} {search.count:,}: is used up before the limit is known")
        self._check_time(length_s, f"; a rate has to hold for {format_duration(length_s)}")

    def _check_time(self, next_s: float, why: str = "") -> None:
        """End a search that has less time left than `next_s`."""
        length_s = self._search.length_s
        if length_s is not None and time.monotonic() - self._began_s + next_s > length_s:
            over = f"{format_duration(length_s)}: is over before the limit is known{why}"
            self._end(f"{name_setting('duration')} {over}")

    def _explain_by_earlier(self, rate: float, begin_s: float, watch: Watch, purpose: _Purpose) -> str:
        """Return a message if earlier requests explain the refusals of a rate; else an empty text."""
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
        """Return whether a rate was refused too soon after a faster one; None if a pause preceded it."""
        if not watch.taken:
            self._wait_longer(rate)
            return True
        if begin_s - self._refused_s >= SOON / rate:
            return None
        self._is_unsettled = watch.first_refused_s < self._step_s and self._settled_rate != rate
        return self._is_unsettled

    @property
    def _is_steady(self) -> bool:
        """Return whether a rate must hold without saved-up calls."""
        return self._rates.is_long or self._rates.rate is None

    def _wait_longer(self, rate: float) -> None:
        """Lengthen the pause before the next request: first to save up little, then to forget all, then twice that."""
        if not self._wait_s:
            self._wait_s = SPARE / rate
            return
        if self._wait_s >= self._refusals.rest_s:
            self._refusals.rest_s *= 2
        self._wait_s = self._refusals.rest_s

    def _lengthen(self, counted_s: float) -> None:
        """Lengthen the steps to the time over which the service counts, at least `counted_s`."""
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
        """Send the requests of a schedule; delayed ones get `patience_s` more, and each has its own deadline."""

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
        """End a search that cannot succeed."""
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
        """Return the seconds of the pause: until the service has forgotten, at least as long as it asked.

        Before a rate that must hold without saved-up calls, the pause is no longer than needed.
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
        """Send nothing for some seconds; without a refusal this keeps the interval to the next request."""
        self._check_time(seconds)
        rest = Rest()
        self._shutdown.attach(rest)
        await rest.take(seconds)
        if self._shutdown.signum is not None:
            raise _Ended
