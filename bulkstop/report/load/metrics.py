"""The measurements of a load test: outcomes and times of every request that was due.

`latency` runs from when a request was due to its response, which is what a user waits: it shows a server that stalls,
whether or not requests could be sent meanwhile (no "coordinated omission"). `service` runs from when it was sent to its
response. `lateness` is the delay in sending that the generator alone caused. `reading` is the delay of the generator's
event loop, and so of reading responses.
"""

import math
from collections import Counter
from typing import NamedTuple

from bulkstop.model import DONE, Outcome
from bulkstop.report.load.error_counts import ErrorCounts
from bulkstop.report.load.histogram import Histogram

MAX_LATE_S = 0.01
"""The delay that the generator may cause in sending a request."""
MAX_LATE_SHARE = 0.01
"""The share of requests that may exceed that delay; with more, the figures are not the service's."""
BUSY_SHARE = 0.8
"""If the generator was busy for this share of the time without a free place, it was the bottleneck."""
READING_SHARE = 0.2
"""The median delay of the event loop may be this share of the median service time ..."""
READING_SLACK = 0.1
"""... or this part of the permitted delay in sending, which is a millisecond."""
WAIT_SHARE = 0.03
"""The mean wait of a response for a processor may be this share of the median service time …"""
WAIT_SLACK = 0.02
"""… or this part of the permitted delay in sending, which is a fifth of a millisecond."""
FEW_LOOKS = 3
"""The number of late turns of the event loop that are always permitted."""
ROOM_SHARE = 0.01
"""The share of requests that may wait for a place, whatever the cause."""
QUICK = 10.0
"""The percentile for response times without queueing: while a queue grows, its first requests are quick."""
SLOWER = 1.25
"""If requests that waited for a place were at most this many times slower than others, no queue grew at the service."""
PARTS = 9
"""The first and the last of this many parts of a schedule are compared, to see how far the service fell behind."""
SHIFTS = (10.0, 30.0, 50.0, 70.0, 90.0)
"""The percentiles compared; the median of their differences counts, because some responses are always slow."""
LEAST_ANSWERS = 10
"""Least responses in each of the two parts for that comparison."""
LAG_S, LAG_SHARE = 0.02, 0.005
"""A service that is at most this far behind at the end, in seconds or as a share of the sending time, has kept up."""
SLOT_S = 0.1
"""Responses are counted in time slots of this length."""
ALIKE = 0.02
"""The times of sending and answering count as equal up to this difference."""
ANSWERED_SHARE = 0.99
"""The time of answering ends with this share of responses; the last ones may take any time."""


HISTOGRAMS = (
    *("latency", "service", "lateness", "failed_latency", "failed_service", "crowded_service"),
    *("first_latency", "last_latency", "reading"),
)


class Rates(NamedTuple):
    """Requests per second: how many were due, were answered, and stopped a campaign."""

    offered: float
    answered: float
    successful: float


class Metrics:
    """Counts every request of a load test; measurements of several generators can be merged.

    `length_s` is the length of the schedule, if there is one.
    """

    def __init__(self, *, max_late_s: float = MAX_LATE_S, length_s: float | None = None) -> None:
        self.max_late_s, self.length_s = max_late_s, length_s
        self._first_until_s = -math.inf if length_s is None else length_s / PARTS
        self._last_from_s = math.inf if length_s is None else length_s * (PARTS - 1) / PARTS
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons = ErrorCounts()
        self.answered = 0
        self.latency, self.service, self.lateness = Histogram(), Histogram(), Histogram()
        self.failed_latency, self.failed_service, self.crowded_service = Histogram(), Histogram(), Histogram()
        self.first_latency, self.last_latency = Histogram(), Histogram()
        """Latencies of the answered requests that were due in the first and the last part of the schedule."""
        self.reading = Histogram()
        self.held = self.late = self.late_or_held = 0
        self.longest_held_s = 0.0
        self.most_in_flight = 0
        self.full_s = self.full_busy_s = 0.0
        self.elapsed_s = self.sending_s = self.taken_s = 0.0
        """`taken_s` is the mean time that a place of a closed model was taken."""
        self.unsent = self.warmup = 0
        self.watched_s = self.ran_s = self.waited_s = 0.0
        self.turns = 0
        """Seconds that generators were watched, ran on a processor, and waited for one; how often they got one."""
        self.answers: Counter[int] = Counter()
        """The number of responses in each slot of SLOT_S."""
        self._marked = 0

    def add(
        self,
        outcome: Outcome,
        *,
        latency_s: float,
        service_s: float,
        late_s: float,
        held_s: float,
        answered: bool,
        intended_s: float = math.nan,
        error: str | None = None,
    ) -> None:
        """Count one request; a cancelled one counts with its time so far, which is a lower bound."""
        self.outcomes[outcome] += 1
        if answered:
            self.answered += 1
            if intended_s < self._first_until_s:
                self.first_latency.record(latency_s)
            elif intended_s >= self._last_from_s:
                self.last_latency.record(latency_s)
        if outcome not in DONE:
            self._add_failed(outcome, latency_s, service_s, error)
        if held_s > 0 or not answered:
            self.crowded_service.record(service_s)
        self.lateness.record(late_s)
        if late_s > self.max_late_s:
            self.late += 1
        if held_s > 0:
            self._add_held(late_s, held_s)
        self.latency.record(latency_s)
        self.service.record(service_s)

    def add_unsent(self, waited_s: float) -> None:
        """Count a request that was due and never sent, with its wait so far, which is a lower bound."""
        self.unsent += 1
        self.latency.record(waited_s)
        self.failed_latency.record(waited_s)

    def mark(self, at_s: float) -> None:
        """Assign the responses since the last mark to the time `at_s`, in seconds since the beginning."""
        if self.answered > self._marked:
            self.answers[int(max(0.0, at_s) / SLOT_S)] += self.answered - self._marked
            self._marked = self.answered

    def merge(self, other: "Metrics") -> None:
        """Add another's measurements of the same time."""
        self.outcomes.update(other.outcomes)
        self.reasons.merge(other.reasons)
        self.answers.update(other.answers)
        for name in HISTOGRAMS:
            if part := getattr(other, name):
                getattr(self, name).add(part)
        for name in ("answered", "held", "late", "late_or_held", "most_in_flight", "full_s", "full_busy_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("unsent", "warmup", "_marked", "watched_s", "ran_s", "waited_s", "turns"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("longest_held_s", "elapsed_s", "sending_s", "taken_s"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))

    @property
    def requests(self) -> int:
        """The number of requests sent."""
        return self.outcomes.total()

    @property
    def due(self) -> int:
        """The number of requests due, whether sent or not."""
        return self.requests + self.unsent

    @property
    def successes(self) -> int:
        """The requests after which a campaign is proven not to run."""
        return sum(self.outcomes[outcome] for outcome in DONE)

    @property
    def errors(self) -> int:
        """The requests that were sent and did not succeed."""
        return self.requests - self.successes

    @property
    def failed(self) -> int:
        """The requests that were due and did not succeed."""
        return self.errors + self.unsent

    @property
    def failed_share(self) -> float:
        """Their share of the requests due."""
        return self.failed / self.due if self.due else 0.0

    @property
    def cut_off(self) -> int:
        """The requests with an unknown longer time: they were never sent, or were cancelled."""
        return self.unsent + self.outcomes[Outcome.UNKNOWN]

    @property
    def success_latency(self) -> Histogram:
        """The latency of the successes."""
        return self.latency.without(self.failed_latency)

    @property
    def success_service(self) -> Histogram:
        """The service time of the successes."""
        return self.service.without(self.failed_service)

    @property
    def rates(self) -> Rates:
        """Requests per second: offered in the time of sending, the others in that of sending or of answering.

        If these times differ the longer one counts; slow last responses do not lower a rate.
        """
        sending_s = self.sending_s or self.elapsed_s
        if not sending_s > 0:
            return Rates(0.0, 0.0, 0.0)
        answering_s = self._find_answering_s(sending_s)
        return Rates(self.due / sending_s, self.answered / answering_s, self.successes / answering_s)

    @property
    def was_busy(self) -> bool:
        """Whether places were taken because the generator was too busy to free them."""
        return self.full_busy_s > BUSY_SHARE * self.full_s

    @property
    def late_share(self) -> float:
        """The share of requests that were sent too late because of the generator."""
        late = self.late + (self.late_or_held if self.was_busy else 0)
        return late / self.requests if self.requests else 0.0

    @property
    def is_punctual(self) -> bool:
        """Whether the generator sent requests when they were due."""
        return self.late_share <= MAX_LATE_SHARE

    @property
    def reads_in_time(self) -> bool:
        """Whether responses were read early enough for the times to be the service's.

        The event loop may be late by a fifth of the median service time, and in one of a hundred probes by as much as
        a request may be sent late. A probe runs only when the event loop has a processor anyway, so the wait of
        responses for a processor is checked separately.
        """
        looks = len(self.reading)
        seldom = max(FEW_LOOKS, math.floor(MAX_LATE_SHARE * looks))
        if looks <= seldom:
            return True
        usual_s, seldom_s = self.reading.of_ranks(math.ceil(looks / 2), looks - seldom)
        (service_s,) = self.service.at(50)
        allowed_s = max(READING_SLACK * self.max_late_s, READING_SHARE * service_s)
        allowed_wait_s = max(WAIT_SLACK * self.max_late_s, WAIT_SHARE * service_s)
        return seldom_s <= self.max_late_s and usual_s <= allowed_s and self.mean_wait_s <= allowed_wait_s

    @property
    def mean_wait_s(self) -> float:
        """The mean time that a response waited until the generator had a processor.

        A response that arrives while the generator sleeps waits for a whole turn, one that arrives while the generator
        waits for a processor waits for half a turn at most, and one that arrives while it runs does not wait.
        """
        if not (self.turns and self.watched_s > 0):
            return 0.0
        idle_share = 1 - (self.ran_s + self.waited_s / 2) / self.watched_s
        return self.waited_s / self.turns * min(1.0, max(0.0, idle_share))

    @property
    def has_room(self) -> bool:
        """Whether there were enough places for the response times without queueing.

        With fewer, requests must wait even if the service is perfect.
        """
        return self.held <= ROOM_SHARE * self.due or self.wanted_places <= self.most_in_flight

    @property
    def wanted_places(self) -> int:
        """The number of requests in flight at the offered rate if none had to wait.

        The response time without queueing is estimated from the requests that had a place at once: from all of them if
        the others were not slower, else from the fastest ones, because a queue grew at the service.
        """
        alone = self.service.without(self.crowded_service)
        (alone_s,) = alone.at(QUICK)
        if self.crowded_service.mean_s <= SLOWER * alone.mean_s:
            alone_s = max(alone_s, alone.mean_s)
        return math.ceil(self.rates.offered * alone_s)

    @property
    def kept_schedule(self) -> bool:
        """Whether everything due was sent in time, as far as the generator is concerned."""
        return self.is_punctual and self.reads_in_time and self.has_room and not self.unsent

    def _find_answering_s(self, sending_s: float) -> float:
        """Return the seconds in which the requests that were sent in `sending_s` were answered."""
        if min(len(self.first_latency), len(self.last_latency)) >= LEAST_ANSWERS:
            lag_s = self._lag_s
            return sending_s + (lag_s if lag_s > max(LAG_S, LAG_SHARE * sending_s) else 0.0)
        answering_s = max(self._answered_after_s, self.taken_s)
        return answering_s if answering_s > sending_s + max(SLOT_S, ALIKE * sending_s) else sending_s

    @property
    def _lag_s(self) -> float:
        """How much slower responses were at the end of the schedule than at its beginning."""
        pairs = zip(self.first_latency.at(*SHIFTS), self.last_latency.at(*SHIFTS), strict=True)
        shifts_s = sorted(last_s - first_s for first_s, last_s in pairs)
        return shifts_s[len(shifts_s) // 2] * PARTS / (PARTS - 1)  # scaled from the middles of both parts

    @property
    def _answered_after_s(self) -> float:
        """The time of answering: from the first response to nearly the last."""
        total = self.answers.total()
        if not total:
            return 0.0
        before, wanted = 0, ANSWERED_SHARE * total
        first = min(self.answers)
        for slot, count in sorted(self.answers.items()):
            if before + count >= wanted:
                return (slot + (wanted - before) / count - first) * SLOT_S
            before += count
        return 0.0

    def _add_failed(self, outcome: Outcome, latency_s: float, service_s: float, error: str | None) -> None:
        self.failed_latency.record(latency_s)
        self.failed_service.record(service_s)
        if error is not None:
            self.reasons.add(outcome, error)

    def _add_held(self, late_s: float, held_s: float) -> None:
        self.held += 1
        self.longest_held_s = max(self.longest_held_s, held_s)
        self.late_or_held += late_s <= self.max_late_s < late_s + held_s
