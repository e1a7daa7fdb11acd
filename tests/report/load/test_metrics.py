"""What a load test measured: every request counted, whose fault lateness is, and sums over generators."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import PERCENTILES
from bulkstop.report.load.metrics import Metrics

requests = st.lists(
    st.fixed_dictionaries(
        {
            "outcome": st.sampled_from([Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.TIMEOUT, Outcome.UNKNOWN]),
            "latency_s": st.floats(0, 10),
            "service_s": st.floats(0, 10),
            "late_s": st.floats(0, 0.1),
            "held_s": st.one_of(st.just(0.0), st.floats(0.001, 5)),
            "answered": st.booleans(),
        }
    ),
    max_size=20,
)


def measured(rows: list[dict[str, Any]]) -> Metrics:
    """Measure requests."""
    metrics = Metrics()
    for row in rows:
        metrics.add(**row)
    return metrics


def request(late_s: float = 0.0, held_s: float = 0.0, outcome: Outcome = Outcome.STOPPED) -> dict[str, Any]:
    """Make a request that took a millisecond."""
    return {
        "outcome": outcome,
        "latency_s": 0.001 + late_s + held_s,
        "service_s": 0.001,
        "late_s": late_s,
        "held_s": held_s,
        "answered": True,
    }


def values_of(metrics: Metrics) -> dict[str, Any]:
    """Return all that was measured."""
    values = dict(vars(metrics))
    for name in ("latency", "service", "lateness"):
        values[name] = (values[name].encode(), values[name].max_us)
    return values


@settings(max_examples=30)
@given(one=requests, other=requests)
def test_merged(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """What two generators have measured is, added up, what one would have measured of all."""
    first, second, whole = measured(one), measured(other), measured(one + other)
    for part, elapsed_s in ((first, 2.0), (second, 3.0), (whole, 3.0)):
        part.elapsed_s = elapsed_s
    first.merge(second)
    assert values_of(first) == values_of(whole)


def test_counts() -> None:
    """Errors are all that does not prove a campaign not to run; what was cut off counts with its time up to then."""
    metrics = measured(
        [request(outcome=outcome) for outcome in (Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.THROTTLED)]
        + [request(outcome=Outcome.UNKNOWN)] * 2
    )
    metrics.elapsed_s = 2.0
    assert (metrics.requests, metrics.errors, metrics.rate) == (5, 3, 2.5)
    assert (len(metrics.latency), len(metrics.service), len(metrics.lateness)) == (5, 5, 5)


@pytest.mark.parametrize(("late", "is_punctual"), [(0, True), (1, True), (2, False)])
def test_punctual(late: int, is_punctual: bool) -> None:
    """One in a hundred requests may leave more than 10 ms late; two make the run worthless."""
    metrics = measured([request(late_s=0.011)] * late + [request(late_s=0.01)] * (100 - late))
    assert metrics.is_punctual is is_punctual
    assert metrics.late_share == late / 100


def test_held_up_by_the_service() -> None:
    """Requests that waited for a place are no fault of a generator that had nothing to do meanwhile."""
    metrics = measured([request(held_s=1.0)] * 50 + [request()] * 50)
    metrics.full_s, metrics.full_busy_s = 10.0, 3.0
    assert metrics.is_punctual
    assert (metrics.held, metrics.longest_held_s) == (50, 1.0)


def test_held_up_by_the_generator() -> None:
    """If it was at work all the time in which no place was free, it could not keep up."""
    metrics = measured([request(held_s=1.0)] * 49 + [request(held_s=0.001)] + [request()] * 50)
    metrics.full_s, metrics.full_busy_s = 10.0, 9.9
    assert not metrics.is_punctual
    assert metrics.late_share == 0.49


def test_nothing() -> None:
    """Without requests there is no rate and nobody is late."""
    metrics = Metrics()
    assert (metrics.requests, metrics.rate, metrics.late_share, metrics.is_punctual) == (0, 0.0, 0.0, True)


@pytest.mark.full
def test_two_million() -> None:
    """Two million requests are all in the statistics: no cap, no sample, and each percentile is that of all of them."""
    metrics, count = Metrics(), 2_000_000
    for number in range(count):
        value_s = number * 1_048_573 % count / 1e6  # every microsecond up to 2 s once, in no order
        outcome = Outcome.STOPPED if number % 1000 else Outcome.TIMEOUT
        metrics.add(outcome, latency_s=value_s, service_s=value_s / 2, late_s=0.0, held_s=0.0, answered=True)
    assert (metrics.requests, metrics.errors, metrics.answered) == (count, count // 1000, count)
    for times, longest_s in ((metrics.latency, 2.0), (metrics.service, 1.0)):
        assert len(times) == count
        assert times.max_s == pytest.approx(longest_s, abs=2e-6)
        assert times.mean_s == pytest.approx(longest_s / 2, rel=1e-3)
        for percentile, value_s in zip(PERCENTILES, times.at(*PERCENTILES), strict=True):
            assert value_s == pytest.approx(percentile / 100 * longest_s, rel=1e-3)
    assert len(metrics.lateness) == count
