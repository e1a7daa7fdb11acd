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
    found = Metrics()
    for row in rows:
        found.add(**row)
    return found


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


def shown(found: Metrics) -> dict[str, Any]:
    """Return all that was measured."""
    values = dict(vars(found))
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
    assert shown(first) == shown(whole)


def test_counts() -> None:
    """Errors are all that does not prove a campaign not to run; what was cut off counts with its time up to then."""
    found = measured(
        [request(outcome=outcome) for outcome in (Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.THROTTLED)]
        + [request(outcome=Outcome.UNKNOWN)] * 2
    )
    found.elapsed_s = 2.0
    assert (found.requests, found.errors, found.rate) == (5, 3, 2.5)
    assert (len(found.latency), len(found.service), len(found.lateness)) == (5, 5, 5)


@pytest.mark.parametrize(("late", "is_punctual"), [(0, True), (1, True), (2, False)])
def test_punctual(late: int, is_punctual: bool) -> None:
    """One in a hundred requests may leave more than 10 ms late; two make the run worthless."""
    found = measured([request(late_s=0.011)] * late + [request(late_s=0.01)] * (100 - late))
    assert found.is_punctual is is_punctual
    assert found.late_share == late / 100


def test_held_up_by_the_service() -> None:
    """Requests that waited for a place are no fault of a generator that had nothing to do meanwhile."""
    found = measured([request(held_s=1.0)] * 50 + [request()] * 50)
    found.full_s, found.full_busy_s = 10.0, 3.0
    assert found.is_punctual
    assert (found.held, found.longest_held_s) == (50, 1.0)


def test_held_up_by_the_generator() -> None:
    """If it was at work all the time in which no place was free, it could not keep up."""
    found = measured([request(held_s=1.0)] * 49 + [request(held_s=0.001)] + [request()] * 50)
    found.full_s, found.full_busy_s = 10.0, 9.9
    assert not found.is_punctual
    assert found.late_share == 0.49


def test_nothing() -> None:
    """Without requests there is no rate and nobody is late."""
    found = Metrics()
    assert (found.requests, found.rate, found.late_share, found.is_punctual) == (0, 0.0, 0.0, True)


@pytest.mark.full
def test_two_million() -> None:
    """Two million requests are all in the statistics: no cap, no sample, and each percentile is that of all of them."""
    found, count = Metrics(), 2_000_000
    for number in range(count):
        value_s = number * 1_048_573 % count / 1e6  # every microsecond up to 2 s once, in no order
        outcome = Outcome.STOPPED if number % 1000 else Outcome.TIMEOUT
        found.add(outcome, latency_s=value_s, service_s=value_s / 2, late_s=0.0, held_s=0.0, answered=True)
    assert (found.requests, found.errors, found.answered) == (count, count // 1000, count)
    for times, longest_s in ((found.latency, 2.0), (found.service, 1.0)):
        assert len(times) == count
        assert times.max_s == pytest.approx(longest_s, abs=2e-6)
        assert times.mean_s == pytest.approx(longest_s / 2, rel=1e-3)
        for percentile, value_s in zip(PERCENTILES, times.at(*PERCENTILES), strict=True):
            assert value_s == pytest.approx(percentile / 100 * longest_s, rel=1e-3)
    assert len(found.lateness) == count
