"""The pure parts of `bench.py`: runs in turn, their ratios within a round, their spread, and the table of targets."""

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tables import table

K = TypeVar("K")
T = TypeVar("T")


def in_turn(runners: Mapping[K, Callable[[], T]], number: int) -> dict[K, list[T]]:
    """Run all in turn, `number` times, each round beginning with another one."""
    runs: dict[K, list[T]] = {name: [] for name in runners}
    order = deque(runners)
    for _ in range(number):
        for name in order:
            runs[name].append(runners[name]())
        order.rotate(-1)
    return runs


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratios of two series from the same rounds; a round without a figure is omitted."""
    return [one / other for one, other in zip(ones, others, strict=False) if other]


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of a row, and its bar: the least that is required, or the most if `is_most`."""

    name: str
    values: Sequence[float]
    bar: float | None = None
    stretch: float | None = None
    unit: str = ""
    is_most: bool = False
    excuse: str = ""
    """Why the row passes although its figure misses the bar: the command reported that itself."""

    @property
    def median(self) -> float:
        """The median of all runs."""
        return statistics.median(self.values)

    def verdict(self) -> str:
        """Return whether the bar is reached, or even the stretch."""
        if self.bar is None:
            return ""
        if self._meets(self.stretch):
            return "reached, stretch too"
        if self._meets(self.bar):
            return "reached"
        return self.excuse or "NOT REACHED"

    def _meets(self, bar: float | None) -> bool:
        return bar is not None and (self.median <= bar if self.is_most else self.median >= bar)


def targets_table(rows: Sequence[Measured]) -> str:
    """Return each row with its median, its lowest and highest run, and its bars."""
    head = ("", "median", "lowest-highest", "runs", "target", "stretch", "verdict")
    return table(head, map(_target_row, rows))


def _target_row(row: Measured) -> list[str]:
    sign = "<= " if row.is_most else ">= "
    bars = ["" if each is None else f"{sign}{each:g}" for each in (row.bar, row.stretch)]
    spread = f"{figure(min(row.values))}-{figure(max(row.values))}"
    return [
        f"{row.name}{row.unit and f', {row.unit}'}",
        figure(row.median),
        spread,
        f"{len(row.values)}",
        *bars,
        row.verdict(),
    ]


def figure(value: float) -> str:
    """Return a figure with about three digits."""
    return (
        f"{value:,.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 20
        else f"{value:.2f}"
        if value >= 0.1
        else f"{value:.3f}"
    )
