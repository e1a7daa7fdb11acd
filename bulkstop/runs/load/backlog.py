"""Detects from the latencies of a steady rate whether a queue grows at the service.

The requests of a step are divided into nine parts by their due time. A growing queue makes each third of the step
slower than the one before. The growth shows how far the rate is above the capacity of the service: at a rate that is
one percent too high, latencies grow by one percent of the time that passes, whatever the response time without a queue
is. A service with one pause is slow in one third only; one that varies shows no order of its parts, by a rank test
(Jonckheere's). The test needs a constant rate and at least LEAST_REQUESTS requests; with fewer it finds no queue.
"""

import math
from collections import Counter
from collections.abc import Sequence

from bulkstop.report.load.histogram import Histogram

PARTS, THIRD = 9, 3
LEAST_REQUESTS = 10
SURE = 3.0
"""Standard deviations by which later parts must be slower; chance exceeds this once in a thousand times."""
GROWTH = 0.01
"""Least growth of the median from the first third to the last, as a share of the time between them …"""
GROWTH_S = 0.001
"""… and in seconds."""
STEADY = 0.1
"""Least share of that growth between each third and the next."""
DRAIN = 2.0
"""A queue is left if the last part takes longer than the first by more than this many times the first, …"""
LEFT = 0.05
"""… or by more than this share of the step, whichever is less, …"""
DRAIN_S = 0.02
"""… and by more than these seconds."""


class Backlog:
    """Counts the latencies of a step of `length_s`, by the due time of each request."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._parts = [Histogram() for _ in range(PARTS)]

    def add(self, intended_s: float, latency_s: float) -> None:
        """Count a request; both times are in seconds."""
        part = int(intended_s / self._length_s * PARTS)
        self._parts[min(max(0, part), PARTS - 1)].record(latency_s)

    def describe_growth(self) -> str:
        """Return how the queue has grown; empty if the service kept up."""
        thirds = [_sum(self._parts[at : at + THIRD]) for at in range(0, PARTS, THIRD)]
        if sum(map(len, thirds)) < LEAST_REQUESTS or not all(map(len, thirds)):
            return ""
        medians_s = [third.at(50)[0] for third in thirds]
        if not self._has_grown(*medians_s) or _find_trend(self._parts) <= SURE:
            return ""
        return f"a queue grew: p50 was {', '.join(f'{each * 1e3:,.1f}' for each in medians_s)} ms in thirds of it"

    def describe_left(self) -> str:
        """Return what queue was left at the end, or after a pause of the service just then; empty if there was none."""
        first, last = self._parts[0], self._parts[-1]
        if not (len(first) and len(last)):
            return ""
        first_s, last_s = first.at(50)[0], last.at(50)[0]
        if not self._is_left(first_s, last_s) or _find_trend((first, last)) <= SURE:
            return ""
        return f"a queue was left: p50 was {first_s * 1e3:,.1f} ms at first and {last_s * 1e3:,.1f} ms at the end"

    def _has_grown(self, first_s: float, middle_s: float, last_s: float) -> bool:
        """Return whether each third is slower than the one before, and the last by much."""
        growth_s, between_s = last_s - first_s, self._length_s * (PARTS - THIRD) / PARTS
        is_steady = min(middle_s - first_s, last_s - middle_s) >= STEADY * growth_s
        return is_steady and growth_s > max(GROWTH_S, GROWTH * between_s)

    def _is_left(self, first_s: float, last_s: float) -> bool:
        """Return whether the last part was slow enough to show a queue that was left."""
        return last_s - first_s > max(DRAIN_S, min(DRAIN * first_s, LEFT * self._length_s))


def _find_trend(parts: Sequence[Histogram]) -> float:
    """Return by how many standard deviations later parts are slower than earlier ones (Jonckheere's test)."""
    before, wins = Counter[int](), 0.0
    for part in parts:
        counts = Counter({place: count for place, count in enumerate(part.counts()) if count})
        shorter = 0
        for place in sorted(before | counts):
            wins += counts[place] * (shorter + before[place] / 2)
            shorter += before[place]
        before += counts
    sizes = [len(part) for part in parts]
    total = sum(sizes)
    mean = (total**2 - sum(size**2 for size in sizes)) / 4
    variance = (total**2 * (2 * total + 3) - sum(size**2 * (2 * size + 3) for size in sizes)) / 72
    return (wins - mean) / math.sqrt(variance) if variance else 0.0


def _sum(parts: Sequence[Histogram]) -> Histogram:
    whole = Histogram()
    for part in parts:
        whole.add(part)
    return whole
