"""Two load tests side by side: what changed, what of it is noise, and what is worse than it may be."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SCHEMA = "bulkstop-load/1"
"""What the figures of a load test as JSON are called; the number changes when a key goes or means something else."""
MAX_REGRESSION = 0.1
"""How much worse a figure may be unless it is said."""
COMPARED = ("p50", "p90", "p99", "p99.9")
NORMAL_99 = 2.576
SAME = ("host", "load", "max_in_flight", "processes")
"""What two runs should have in common."""

Values = Mapping[str, Any]
Range = tuple[float, float]


class Change(NamedTuple):
    """A figure of an earlier run and of this one; `is_noise` tells that two runs alike may differ by as much."""

    figure: str
    unit: str
    old: float
    new: float
    is_noise: bool
    is_worse: bool
    max_regression: float

    @property
    def share(self) -> float | None:
        """By what share of the old one the new one differs; None where the old one is nothing."""
        return (self.new - self.old) / self.old if self.old else None

    @property
    def is_regression(self) -> bool:
        """Tell whether it is worse by more than it may be, and by more than noise."""
        is_much = self.share is None or abs(self.share) > self.max_regression
        return self.is_worse and is_much and not self.is_noise

    @property
    def judgment(self) -> str:
        """Say what is to be thought of it."""
        if self.is_regression:
            return f"WORSE by more than {self.max_regression * 100:g}%"
        if self.is_noise or self.old == self.new:
            return "noise" if self.old != self.new else "the same"
        return "worse, within what is allowed" if self.is_worse else "better"

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.figure}: {self.judgment} ({self.old:,.6g} to {self.new:,.6g} {self.unit})"


def read_baseline(text: str) -> Values:
    """Read the figures of an earlier run, as `--json` wrote them; raises ValueError for what is none."""
    try:
        values = json.loads(text)
    except ValueError:
        raise ValueError("is not JSON; give the file that --json has written") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else None
        raise ValueError(f"its schema is {found!r} and not {SCHEMA!r}; give what --json of `load` has written")
    if missing := [name for name in ("model", "successes", "failed", "rates", "range_ms") if name not in values]:
        raise ValueError(f"has no {', '.join(missing)}; give what --json has written")
    if not values["successes"]:
        raise ValueError("no request of that run was successful, so there is nothing to compare with")
    if values.get("by_machine"):
        raise ValueError("the figures of that run are not the service's (by_machine); give another run")
    return values


def list_differences(old: Values, new: Values) -> list[str]:
    """Say in what the two runs were not alike."""
    return [f"{name}: {old.get(name)} then, {new.get(name)} now" for name in SAME if old.get(name) != new.get(name)]


def compare(old: Values, new: Values, max_regression: float = MAX_REGRESSION) -> tuple[Change, ...]:
    """Compare the figures of two runs; where nothing was successful now, all is worse."""
    times = "success_latency_ms" if new["model"] == "open" else "success_service_ms"
    changes = []
    if new[times] and old[times]:
        for name in COMPARED:
            is_noise = _overlap(old["range_ms"][name], new["range_ms"][name])
            was, now = old[times][name], new[times][name]
            changes.append(Change(name, "ms", was, now, is_noise, now > was, max_regression))
    was, now = old["rates"]["successful"], new["rates"]["successful"]
    is_noise = _overlap(_around(was, old["successes"]), _around(now, new["successes"]))
    changes.append(Change("rate", "/s", was, now, is_noise, now < was, max_regression))
    shares = [_share_range(each["failed"], each["successes"] + each["failed"]) for each in (old, new)]
    was, now = old["failed_share"] * 100, new["failed_share"] * 100
    changes.append(Change("failed", "%", was, now, _overlap(*shares), now > was, max_regression))
    return tuple(changes)


def format_changes(changes: Sequence[Change]) -> list[str]:
    """Write them as the lines of a table."""
    if not changes:
        return []
    lines = [f"{'':<7}{'old':>12}{'new':>12}{'change':>10}"]
    for each in changes:
        share = "" if each.share is None else f"{each.share * 100:+.1f}%"
        figures = f"{each.figure:<7}{each.old:>12,.3f}{each.new:>12,.3f}{share:>10}"
        lines.append(f"{figures}  {each.unit:<3} {each.judgment}")
    return lines


def changes_to_json(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return them as JSON objects."""
    return [
        {
            "figure": each.figure,
            "unit": each.unit,
            "old": each.old,
            "new": each.new,
            "change": None if each.share is None else round(each.share, 6),
            "noise": each.is_noise,
            "regression": each.is_regression,
        }
        for each in changes
    ]


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _around(rate: float, count: int) -> Range:
    """Return between which values a rate would be, 99 times of a hundred, if requests came independently."""
    off = NORMAL_99 * math.sqrt(count) / count * rate if count else 0.0
    return rate - off, rate + off


def _share_range(part: int, whole: int) -> Range:
    """Return between which values a share would be, 99 times of a hundred (Wilson's interval)."""
    if not whole:
        return 0.0, 1.0
    square = NORMAL_99**2
    middle = (part + square / 2) / (whole + square)
    off = NORMAL_99 / (whole + square) * math.sqrt(part * (whole - part) / whole + square / 4)
    return middle - off, middle + off
