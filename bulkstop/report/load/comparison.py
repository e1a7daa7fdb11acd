"""A comparison of two load tests: what changed, what is noise, and which regressions exceed the limit."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SCHEMA = "bulkstop-load/1"
"""The schema of a load test's JSON; the number changes if a key is removed or changes its meaning."""
MAX_REGRESSION = 0.1
"""The default limit on how much worse a figure may be."""
COMPARED = ("p50", "p90", "p99", "p99.9")
NORMAL_99 = 2.576
SAME = ("host", "load", "max_in_flight", "processes")
"""The values that should be equal in two runs."""

Values = Mapping[str, Any]
Range = tuple[float, float]


class Change(NamedTuple):
    """A figure of an earlier run and of this one; `is_noise` if equal runs may differ as much."""

    figure: str
    unit: str
    old: float
    new: float
    is_noise: bool
    is_worse: bool
    max_regression: float

    @property
    def share(self) -> float | None:
        """The difference as a share of the old value; None if the old value is zero."""
        return (self.new - self.old) / self.old if self.old else None

    @property
    def is_regression(self) -> bool:
        """Whether it is worse by more than the limit, and by more than noise."""
        is_much = self.share is None or abs(self.share) > self.max_regression
        return self.is_worse and is_much and not self.is_noise

    @property
    def judgment(self) -> str:
        """The judgment in words."""
        if self.is_regression:
            return f"WORSE by more than {self.max_regression * 100:g}%"
        if self.is_noise or self.old == self.new:
            return "noise" if self.old != self.new else "the same"
        return "worse, within what is allowed" if self.is_worse else "better"

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.figure}: {self.judgment} ({self.old:,.6g} to {self.new:,.6g} {self.unit})"


def read_baseline(text: str) -> Values:
    """Return the figures of an earlier run, as written by `--json`; raises ValueError for anything else."""
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
    """Return how the conditions of the two runs differed."""
    return [f"{name}: {old.get(name)} then, {new.get(name)} now" for name in SAME if old.get(name) != new.get(name)]


def compare(old: Values, new: Values, max_regression: float = MAX_REGRESSION) -> tuple[Change, ...]:
    """Return the changes between two runs; if nothing was successful now, all figures are worse."""
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
    """Return the changes as lines of a table."""
    if not changes:
        return []
    lines = [f"{'':<7}{'old':>12}{'new':>12}{'change':>10}"]
    for each in changes:
        share = "" if each.share is None else f"{each.share * 100:+.1f}%"
        figures = f"{each.figure:<7}{each.old:>12,.3f}{each.new:>12,.3f}{share:>10}"
        lines.append(f"{figures}  {each.unit:<3} {each.judgment}")
    return lines


def changes_to_json(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return the changes as JSON objects."""
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
    """Return the range of a rate with 99 % confidence, if requests came independently."""
    off = NORMAL_99 * math.sqrt(count) / count * rate if count else 0.0
    return rate - off, rate + off


def _share_range(part: int, whole: int) -> Range:
    """Return the range of a share with 99 % confidence (Wilson's interval)."""
    if not whole:
        return 0.0, 1.0
    square = NORMAL_99**2
    middle = (part + square / 2) / (whole + square)
    off = NORMAL_99 / (whole + square) * math.sqrt(part * (whole - part) / whole + square / 4)
    return middle - off, middle + off
