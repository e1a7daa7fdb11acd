"""What a unit behind a number means: times in seconds, sizes in bytes, percentages as shares."""

import re
from collections.abc import Mapping

SECONDS: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
"""The seconds in each unit of time; a reader takes those of them that make sense where it reads."""
BYTES: Mapping[str, int] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
"""The bytes in each unit of size, in upper case."""
PERCENT = 0.01
_PERCENTAGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)%", re.ASCII)


def in_seconds(*units: str) -> dict[str, float]:
    """Return the part of the table that has these units."""
    return {unit: SECONDS[unit] for unit in units}


def parse_percentage(text: str) -> float | None:
    """Return the share that a percentage such as `2.5%` is, which may be above 1; None for another text."""
    found = _PERCENTAGE.fullmatch(text.strip())
    return float(found[1]) / 100 if found else None
