"""Aligned tables in Markdown, and the figures in them."""

import math
from collections.abc import Iterable, Sequence

SLACK = 1e-9
"""Tolerance for a product above a whole number: 99.9 % of 3,000 are 2997.0000000000005."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with the first column left-aligned, figures right-aligned."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(cells, widths) for cells in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    told = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
    return f"| {' | '.join(told)} |"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the least of these sorted values that at least `percent` of them do not exceed."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered) - SLACK) - 1)]


def ms(milliseconds: float) -> str:
    """Return a time in milliseconds with three digits."""
    return f"{milliseconds:,.3f}" if milliseconds < 10 else f"{milliseconds:,.0f}"
