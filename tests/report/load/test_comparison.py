"""Two runs side by side: what is noise, what is worse, and what cannot be compared."""

import json
import re
from typing import Any

import pytest

from bulkstop.model import Outcome
from bulkstop.report.load.comparison import compare, format_changes, read_baseline
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.summary import LoadPlan, LoadSummary
from tests.loads import measured

PLAN = LoadPlan(host="http://h", planned=1000, max_in_flight=32)


def figures(count: int = 1000, *, scale: float = 1.0, failed: int = 0) -> dict[str, Any]:
    """Return the JSON of a run whose latencies are spread evenly over a time, in 10 s."""
    metrics = Metrics()
    for number in range(count):
        measured(latency_s=0.01 * scale * (1 + number / count), before=metrics)
    measured(failed, Outcome.TIMEOUT, answered=False, before=metrics)
    metrics.elapsed_s = metrics.sending_s = 10.0
    told: dict[str, Any] = json.loads(json.dumps(LoadSummary(PLAN, metrics, (), "r", 0.0, 32).as_dict()))
    return told


def worse(old: dict[str, Any], new: dict[str, Any], most: float = 0.1) -> set[str]:
    """Name what is worse than it may be."""
    return {change.figure for change in compare(old, new, most) if change.is_regression}


def test_alike() -> None:
    """Two runs that are alike differ in nothing."""
    assert {change.judgment for change in compare(figures(), figures())} == {"the same"}


@pytest.mark.parametrize(
    ("new", "names"),
    [
        ({"scale": 1.05}, set()),
        ({"scale": 1.2}, {"p50", "p90", "p99", "p99.9"}),
        ({"scale": 0.5}, set()),
        ({"failed": 1}, set()),
        ({"failed": 30}, {"failed"}),
        ({"count": 500}, {"rate"}),
        ({"count": 20, "scale": 1.1}, {"rate"}),  # of twenty requests no percentile says so much
    ],
)
def test_worse(new: dict[str, Any], names: set[str]) -> None:
    """A figure that is worse than allowed, and than the number of requests explains, is a regression."""
    assert worse(figures(), figures(**new)) == names


def test_allowed() -> None:
    """The allowed regression of a figure is the requested one."""
    assert worse(figures(), figures(scale=1.2), 0.25) == set()
    (first, *_) = compare(figures(), figures(scale=1.2), 0.25)
    assert first.judgment == "worse, within what is allowed"


def test_table() -> None:
    """A person sees old, new, by how much, and what to think of it."""
    head, p50, *_, failed = format_changes(compare(figures(), figures(scale=2, failed=30)))
    assert head.split() == ["old", "new", "change"]
    assert p50.split() == ["p50", "14.991", "29.983", "+100.0%", "ms", "WORSE", "by", "more", "than", "10%"]
    assert failed.split()[:3] == ["failed", "0.000", "2.913"]
    assert format_changes(()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "its schema is None"),
        ('{"schema": "bulkstop-load/2"}', "its schema is 'bulkstop-load/2' and not 'bulkstop-load/1'"),
        ('{"schema": "bulkstop-load/1"}', "has no model, successes"),
        (json.dumps(figures(0, failed=5)), "no request of that run was successful"),
        (json.dumps({**figures(), "by_machine": True}), "the figures of that run are not the service's"),
    ],
)
def test_refused(text: str, why: str) -> None:
    """A file that is not a run, or has no figures, is refused with the reason."""
    with pytest.raises(ValueError, match=re.escape(why)):
        read_baseline(text)
