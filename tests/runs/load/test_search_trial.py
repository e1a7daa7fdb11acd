"""Whether a rate held, judged from what was measured."""

import pytest

from bulkstop.engine.load.rate_search import TrialResult
from bulkstop.model import Outcome
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.runs.load.search import USUAL, choose_thresholds, count_tolerated_throttles, judge
from tests.loads import measured


def tried(count: int = 100, *, latency_s: float = 0.1, late: int = 0, full_s: float = 0.0, **outcomes: int) -> Metrics:
    """Measure requests in a second, all stopped except those named."""
    metrics = measured(late, latency_s=latency_s, late_s=0.05)
    for name, number in outcomes.items():
        measured(number, Outcome(name), latency_s=latency_s, before=metrics)
    measured(count - metrics.requests, latency_s=latency_s, before=metrics)
    metrics.elapsed_s, metrics.full_s = 1.0, full_s
    return metrics


@pytest.mark.parametrize(
    ("metrics", "trial", "why"),
    [
        (tried(), TrialResult.HELD, ""),
        (tried(not_found=100), TrialResult.HELD, ""),
        (tried(throttled=1), TrialResult.GAVE_WAY, "throttled<=0%: FAILED (1%)"),
        (tried(latency_s=1.5), TrialResult.GAVE_WAY, "p99<1s: FAILED (1.5s)"),
        (tried(server_error=1), TrialResult.GAVE_WAY, "server_error<1%: FAILED (1%)"),
        (tried(1000, server_error=9, timeout=9), TrialResult.HELD, ""),
        (tried(timeout=2), TrialResult.GAVE_WAY, "timeout<1%: FAILED (2%)"),
        (tried(connection_error=2), TrialResult.GAVE_WAY, "connection_error<1%: FAILED (2%)"),
        (tried(unauthorized=2), TrialResult.GAVE_WAY, "unauthorized<1%: FAILED (2%)"),
        (tried(90), TrialResult.LATE, "this machine was too slow to send 10 of the requests"),
        (tried(90, full_s=0.5), TrialResult.GAVE_WAY, "10 requests got no place, as all were taken"),
        (tried(late=1), TrialResult.HELD, ""),
        (tried(late=2), TrialResult.LATE, "this machine was late with 2% of the requests"),
        (tried(late=2, throttled=50), TrialResult.LATE, "this machine was late with 2% of the requests"),
    ],
)
def test_usual(metrics: Metrics, trial: TrialResult, why: str) -> None:
    """The default requirements, each with its reason; a run of a late machine has no result."""
    assert judge(metrics, 100 if metrics.requests <= 100 else 1000, choose_thresholds([]), cut_short=False) == (
        trial,
        why,
    )


def test_cut_short() -> None:
    """A run that was ended for its throttled requests failed; its unsent requests do not matter."""
    assert judge(tried(40, throttled=1), 100, choose_thresholds([]), cut_short=True) == (
        TrialResult.GAVE_WAY,
        "1 of 40 throttled in 1.0 s",
    )


def test_places_that_were_not_free_because_of_this_machine() -> None:
    """Requests that got no place while this program was at work all the time are its own fault."""
    metrics = tried(90, full_s=0.5)
    metrics.full_busy_s = 0.49
    assert judge(metrics, 100, choose_thresholds([]), cut_short=False)[0] is TrialResult.LATE


@pytest.mark.parametrize(
    ("typed", "gone"),
    [
        ([], set()),
        (["p99.9<2s"], {"p99"}),
        (["service.max<2s"], {"p99"}),
        (["throttled<5%"], {"throttled"}),
        (["errors<5%"], {"server_error", "timeout", "connection_error", "unauthorized"}),
        (["timeout<5%", "rate>5/s"], {"timeout"}),
    ],
)
def test_lines(typed: list[str], gone: set[str]) -> None:
    """A given requirement replaces the default one on the same figure; one on the rate is for no single run."""
    lines = [each.text for each in choose_thresholds([parse_threshold(text) for text in typed])]
    assert lines == [
        *(text for text in typed if "rate" not in text),
        *(each.text for each in USUAL if each.name not in gone),
    ]


@pytest.mark.parametrize(("typed", "most"), [([], 0), (["throttled<5%"], 10), (["throttled<5%", "throttled<1%"], 2)])
def test_most_throttled(typed: list[str], most: float) -> None:
    """More throttled requests than this, and no later one can make up for it."""
    assert count_tolerated_throttles(
        choose_thresholds([parse_threshold(text) for text in typed]), 200
    ) == pytest.approx(most)
