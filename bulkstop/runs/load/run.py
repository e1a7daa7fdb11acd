"""Load-test the API: send on a schedule, measure everything, judge it."""

import math
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol

from bulkstop.engine.load.arrivals import Arrivals, AtOnce, OnSchedule, Schedule
from bulkstop.engine.shutdown import Shutdown, listening
from bulkstop.errors import BulkstopError
from bulkstop.kore.exchange import Post
from bulkstop.model import Campaign, Endable, Send
from bulkstop.report.load.metrics import MAX_LATE_S, Measured
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.report.log import event
from bulkstop.runs.host import fitting
from bulkstop.runs.load.recorder import NOWHERE, Outputs, Recorder, Say, told
from bulkstop.runs.load.sending import sent
from bulkstop.runs.wiring import load_client_of, send_of, tokens_of
from bulkstop.settings import Settings

LEAST_IN_FLIGHT, MOST_IN_FLIGHT = 32, 1000
"""Unless it is said, as many requests may be in flight as leave in a second, but no fewer and no more than these."""
LOST = "what was measured is lost"
"""Said where a load test is ended by force."""

Share = Callable[[int, int], Iterator[Campaign]]
"""Gives the campaigns that a process sends: of all, from number `first` on every `step`-th."""


class Transport(Protocol):
    """One exchange is one call of `post`; the client over aiohttp is one of these."""

    @property
    def post(self) -> Post:
        """Send a request and give its answer."""
        ...


Connect = Callable[[Settings], AbstractAsyncContextManager[Transport]]
"""Opens a transport with as many connections as `settings.concurrency` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How a service is to be loaded, and what is to come of it.

    With a `schedule` it is an open model. Without, it is a closed one: `max_in_flight` requests at a time, each after
    the answer to the one before it, until `count` are sent or `length_s` is over. Of a schedule every `step`-th request
    from number `first` on is sent: others send the rest.
    """

    schedule: Schedule | None = None
    count: int | None = None
    length_s: float | None = None
    max_in_flight: int = LEAST_IN_FLIGHT
    max_late_s: float = MAX_LATE_S
    require: tuple[Threshold, ...] = ()
    first: int = 0
    step: int = 1

    @property
    def planned(self) -> int | None:
        """How many requests there will be; None if only the time says it."""
        return self.count if self.schedule is None else len(self.schedule)

    def arrivals(self) -> Arrivals:
        """Say when each request is due."""
        if self.schedule is not None:
            return OnSchedule(self.schedule.every(self.first, self.step))
        return AtOnce(math.inf if self.count is None else self.count)

    def sent_for_s(self, grace_s: float) -> float | None:
        """Give for how long requests may leave: on a schedule, what was held up has its time as well."""
        return self.length_s if self.schedule is None else self.schedule.length_s + grace_s

    def lasted_s(self, measured: Measured) -> float:
        """Give how long it took when nothing ended it early: until the last answer, or for as long as the schedule.

        The last request of a schedule has its part of the time as well: 20 at 20/s take a second, and not 0.95 s.
        """
        return max(measured.elapsed_s, 0.0 if self.schedule is None else self.schedule.length_s)

    def verdicts(self, measured: Measured) -> tuple[Verdict, ...]:
        """Say what became of all that is required; where nothing was due at a time, latency is service time."""
        if self.schedule is None:
            measured = copy(measured)
            measured.latency = measured.service
        return tuple(threshold.judge(measured) for threshold in self.require)

    def part(self, number: int, of: int) -> "Load":
        """Give what the process of this number, from 0, has to do of it, if there are so many."""
        return replace(
            self,
            count=None if self.count is None else _part(self.count, number, of),
            max_in_flight=_part(self.max_in_flight, number, of),
            first=number,
            step=of,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """How a load test went; `signum` and `fault` say what ended it early, if anything did."""

    load: Load
    measured: Measured
    verdicts: tuple[Verdict, ...]
    run_id: str
    began: float
    in_flight: int
    """How many requests could be in flight."""
    signum: int | None = None
    fault: BulkstopError | None = None
    processes: int = 1

    @property
    def is_open(self) -> bool:
        """Tell whether requests were due at times of their own."""
        return self.load.schedule is not None

    @property
    def unsent(self) -> int:
        """Requests that were due and never left, because those before them had no answer in all the time there was."""
        if not self.is_open or self.signum is not None or self.fault is not None:
            return 0
        return (self.load.planned or 0) - self.measured.requests

    @property
    def reason(self) -> str:
        """What ended it, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.signum is not None:
            return f"by {signal.Signals(self.signum).name}, before all were sent"
        return f"with {self.unsent:,} requests not sent" if self.unsent else "all sent"

    @property
    def exit_code(self) -> int:
        """The exit code that the contract gives to such an end."""
        if self.fault is not None:
            return 3
        if self.signum is not None:
            return 128 + self.signum
        if self.is_open and not self.measured.is_punctual:
            return 3
        if not self.measured.answered or not all(verdict.held for verdict in self.verdicts):
            return 1  # also with requests unsent: they could only have made it worse
        return 3 if self.unsent else 0


def _part(whole: int, number: int, of: int) -> int:
    return whole // of + (number < whole % of)


def room_for(schedule: Schedule) -> int:
    """Give how many requests may be in flight unless it is said."""
    return max(LEAST_IN_FLIGHT, min(MOST_IN_FLIGHT, round(schedule.peak)))


async def carry_out(
    load: Load,
    campaigns: Iterator[Campaign],
    settings: Settings,
    outputs: Outputs = NOWHERE,
    *,
    connect: Connect = load_client_of,
    signals: Sequence[int] = (),
    say: Say = lambda text: None,
    progress: Say | None = None,
) -> Summary:
    """Send one request for each arrival, each once, and measure all of them, whatever ends the run.

    Raises a BulkstopError for what keeps the run from starting; what ends it later stands in the summary.
    """
    settings = replace(settings, concurrency=fitting(load.max_in_flight))
    tokens, shutdown = tokens_of(settings), Shutdown(grace_s=settings.grace_s, say=say, lost=LOST)
    recorder, run_id = Recorder(Measured(max_late_s=load.max_late_s), outputs), str(uuid.uuid4())
    with listening(shutdown, signals):
        await tokens.get()  # before anything is sent: a run without credentials measures nothing
        event("load_began", run_id=run_id, host=settings.host, requests=load.planned, in_flight=settings.concurrency)
        async with connect(settings) as transport:
            send = send_of(settings, transport.post, tokens)
            with told(progress, recorder.measured, time.monotonic()):
                fault = await sent_all(load, campaigns, send, recorder, shutdown.attach, settings)
    return summed_up(load, recorder, run_id, shutdown.signum, fault, in_flight=settings.concurrency)


def summed_up(
    load: Load,
    recorder: Recorder,
    run_id: str,
    signum: int | None,
    fault: BulkstopError | None,
    *,
    in_flight: int,
    processes: int = 1,
) -> Summary:
    """Write what is left, whatever ended the run, and put together how it went; what went wrong first is its fault."""
    closing = recorder.close()
    fault, measured = fault or closing, recorder.measured
    if fault is None and signum is None:
        measured.elapsed_s = load.lasted_s(measured)
    return Summary(load, measured, load.verdicts(measured), run_id, recorder.began, in_flight, signum, fault, processes)


async def sent_all(
    load: Load,
    campaigns: Iterator[Campaign],
    send: Send,
    recorder: Recorder,
    attach: Callable[[Endable], None],
    settings: Settings,
    begin_at: float | None = None,
) -> BulkstopError | None:
    """Let the requests of a load leave, `settings.concurrency` at a time; give what ended that early."""
    return await sent(
        load.arrivals(),
        campaigns,
        send,
        recorder,
        attach,
        max_in_flight=settings.concurrency,
        length_s=load.sent_for_s(settings.grace_s),
        begin_at=begin_at,
    )
