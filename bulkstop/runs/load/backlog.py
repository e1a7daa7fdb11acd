"""Detects from the latencies of a steady rate whether a queue grows at the service.

The requests of a step are divided into nine parts by their due time. A growing queue makes every third of the step
slower than the one before, and the last part wait for what was left over. A service with one pause is slow in one third
only; one that varies shows no order of its thirds, by a rank test (Mann-Whitney). The test needs a constant rate and at
least LEAST_REQUESTS requests; with fewer it finds no queue.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from bulkstop.report.load.histogram import Histogram

PARTS, THIRD = 9, 3
LEAST_REQUESTS = 30
SURE = 3.0
"""Standard deviations by which one third must be slower; chance exceeds this once in a thousand times."""
GROWTH = 1.25
"""Least ratio of the median of the last third to that of the first …"""
GROWTH_S = 0.001
"""… and the least difference in seconds."""
DRAIN, DRAIN_S = 3.0, 0.02
"""The last part may take this many times the first, plus these seconds."""


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
        if sum(map(len, self._parts)) < LEAST_REQUESTS or not all(map(len, self._parts)):
            return ""
        thirds = [_sum(self._parts[at : at + THIRD]) for at in range(0, PARTS, THIRD)]
        medians_s = [third.at(50)[0] for third in thirds]
        if _has_grown(medians_s) and all(_is_slower(*pair) for pair in pairwise(thirds)):
            return f"a queue grew: p50 was {', '.join(f'{each * 1e3:,.1f}' for each in medians_s)} ms in thirds of it"
        first_s, last_s = self._parts[0].at(50)[0], self._parts[-1].at(50)[0]
        if last_s > DRAIN * first_s + DRAIN_S and _is_slower(self._parts[0], self._parts[-1]):
            return f"a queue was left: p50 was {first_s * 1e3:,.1f} ms at first and {last_s * 1e3:,.1f} ms at the end"
        return ""


def _has_grown(medians_s: Sequence[float]) -> bool:
    """Tell whether each third is slower than the one before, and the last by much."""
    first_s, middle_s, last_s = medians_s
    return first_s < middle_s < last_s and last_s > max(GROWTH * first_s, first_s + GROWTH_S)


def _is_slower(one: Histogram, other: Histogram) -> bool:
    """Tell whether the times of `other` are longer than those of `one`, by more than chance."""
    ones, others = one.counts(), other.counts()
    number, total = len(one), len(other)
    below, wins = 0, 0.0
    for place in range(max(len(ones), len(others))):
        here = ones[place] if place < len(ones) else 0
        there = others[place] if place < len(others) else 0
        wins += there * (below + here / 2)
        below += here
    deviation = math.sqrt(number * total * (number + total + 1) / 12)
    return wins - number * total / 2 > SURE * deviation


def _sum(parts: Sequence[Histogram]) -> Histogram:
    whole = Histogram()
    for part in parts:
        whole.add(part)
    return whole
