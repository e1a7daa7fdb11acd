"""The units of numbers in texts: times in seconds, sizes in bytes, percentages as shares."""

import re
from collections.abc import Mapping

SECONDS: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
"""The seconds in each unit of time; each parser accepts some of these units."""
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
"""The bytes in each unit of size; the keys are in upper case."""
PERCENT = 0.01
_PERCENTAGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)%", re.ASCII)


def in_seconds(*units: str) -> dict[str, float]:
    """Return the table of these units alone."""
    return {unit: SECONDS[unit] for unit in units}


def parse_percentage(text: str) -> float | None:
    """Return a percentage such as `2.5%` as a share, which may exceed 1; None for any other text."""
    found = _PERCENTAGE.fullmatch(text.strip())
    return float(found[1]) / 100 if found else None
