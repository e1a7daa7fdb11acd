"""What a load test measured: outcomes and times, of every request.

`latency` is from when a request was due to its answer, what a user would have waited: a server that stands still for a
while is seen in it, whether or not a request could leave meanwhile (no "coordinated omission"). `service` is from when
it left to its answer. `lateness` is how late it left because the generator was late, and for no other reason.
"""

from collections import Counter

from bulkstop.model import DONE, Outcome
from bulkstop.report.load.error_counts import ErrorCounts
from bulkstop.report.load.histogram import Histogram

MAX_LATE_S = 0.01
"""How late a request may leave through the generator's own fault."""
MAX_LATE_SHARE = 0.01
"""The share of requests that may leave later than that; with more, the figures are not the service's."""
BUSY_SHARE = 0.8
"""At work for so much of the time in which no place was free, it was the generator that could not keep up."""


class Metrics:
    """Counts every request of a load test; what several generators have measured adds up."""

    def __init__(self, *, max_late_s: float = MAX_LATE_S) -> None:
        self.max_late_s = max_late_s
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons = ErrorCounts()
        self.answered = 0
        self.latency, self.service, self.lateness = Histogram(), Histogram(), Histogram()
        self.held = self.late = self.late_or_held = 0
        self.longest_held_s = 0.0
        self.most_in_flight = 0
        self.full_s = self.full_busy_s = 0.0
        self.elapsed_s = 0.0

    def add(
        self,
        outcome: Outcome,
        *,
        latency_s: float,
        service_s: float,
        late_s: float,
        held_s: float,
        answered: bool,
        error: str | None = None,
    ) -> None:
        """Count one request; one that was cut off counts with the time up to then: it would have taken longer."""
        self.outcomes[outcome] += 1
        if answered:
            self.answered += 1
        if error is not None and outcome not in DONE:
            self.reasons.add(outcome, error)
        self.lateness.record(late_s)
        if late_s > self.max_late_s:
            self.late += 1
        if held_s > 0:
            self._add_held(late_s, held_s)
        self.latency.record(latency_s)
        self.service.record(service_s)

    def merge(self, other: "Metrics") -> None:
        """Add what another has measured at the same time."""
        self.outcomes.update(other.outcomes)
        self.reasons.merge(other.reasons)
        for name in ("latency", "service", "lateness"):
            getattr(self, name).add(getattr(other, name))
        for name in ("answered", "held", "late", "late_or_held", "most_in_flight", "full_s", "full_busy_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("longest_held_s", "elapsed_s"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))

    @property
    def requests(self) -> int:
        """All that were sent."""
        return self.outcomes.total()

    @property
    def errors(self) -> int:
        """Requests that did not end with a campaign that is proven not to run."""
        return self.requests - sum(self.outcomes[outcome] for outcome in DONE)

    @property
    def rate(self) -> float:
        """Requests a second, over the whole time up to the last answer."""
        return self.requests / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def was_busy(self) -> bool:
        """Tell whether places were taken because the generator did not get round to freeing them."""
        return self.full_busy_s > BUSY_SHARE * self.full_s

    @property
    def late_share(self) -> float:
        """The share of requests that left too late, and not because of the service."""
        late = self.late + (self.late_or_held if self.was_busy else 0)
        return late / self.requests if self.requests else 0.0

    @property
    def is_punctual(self) -> bool:
        """Tell whether the generator kept its schedule, so that the figures are the service's."""
        return self.late_share <= MAX_LATE_SHARE

    def _add_held(self, late_s: float, held_s: float) -> None:
        self.held += 1
        self.longest_held_s = max(self.longest_held_s, held_s)
        self.late_or_held += late_s <= self.max_late_s < late_s + held_s
