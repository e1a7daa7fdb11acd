"""What a unit behind a number means: times in seconds, percentages as shares."""

import re
from collections.abc import Mapping

SECONDS: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
"""The seconds in each unit of time; a reader takes those of them that make sense where it reads."""
PERCENT = 0.01
_PERCENTAGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)%", re.ASCII)


def in_seconds(*units: str) -> dict[str, float]:
    """Return the part of the table that has these units."""
    return {unit: SECONDS[unit] for unit in units}


def parse_percentage(text: str) -> float | None:
    """Return the share that a percentage such as `2.5%` is, which may be above 1; None for another text."""
    found = _PERCENTAGE.fullmatch(text.strip())
    return float(found[1]) / 100 if found else None
