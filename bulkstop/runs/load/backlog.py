"""Whether a service keeps up with a steady rate, or a queue grows before it; told by how long its answers take.

The requests of a step are put into nine parts by the time that they were due. A queue that grows makes every third of
the step slower than the one before, and the last part wait for what was left over. A service that stands still once is
slow in one third; one that is only unsteady has no order in its thirds, which a test of ranks (Mann and Whitney's)
tells. What it needs is a rate that does not change, and requests enough: with fewer than LEAST_REQUESTS all holds.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from bulkstop.report.load.histogram import Histogram

PARTS, THIRD = 9, 3
LEAST_REQUESTS = 30
SURE = 3.0
"""Standard deviations by which one third is slower than another; by chance once in a thousand times."""
GROWTH = 1.25
"""The median of the last third is so many times that of the first at least ..."""
GROWTH_S = 0.001
"""... and so much more."""
DRAIN, DRAIN_S = 3.0, 0.02
"""What is left at the end takes no more than so many times what it took at first, and so much more."""


class Backlog:
    """Counts the latencies of a step of `length_s`, by when each request was due."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._parts = [Histogram() for _ in range(PARTS)]

    def add(self, intended_s: float, latency_s: float) -> None:
        """Count a request."""
        part = int(intended_s / self._length_s * PARTS)
        self._parts[min(max(0, part), PARTS - 1)].record(latency_s)

    def describe_growth(self) -> str:
        """Say how the queue has grown; empty where the service kept up."""
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
    """Tell whether what the other has counted is longer, by more than chance brings."""
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
