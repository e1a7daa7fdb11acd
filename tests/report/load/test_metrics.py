"""The measurements of a load test: every request counted, the cause of lateness, and sums over generators."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.model import Outcome
from bulkstop.report.load.histogram import PERCENTILES
from bulkstop.report.load.metrics import HISTOGRAMS, Metrics

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
    for name in HISTOGRAMS:
        values[name] = (values[name].encode(), values[name].max_us)
    return values


@settings(max_examples=30)
@given(one=requests, other=requests)
def test_merged(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The merged measurements of two generators equal those of one."""
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
    assert (metrics.requests, metrics.errors, metrics.rates) == (5, 3, (2.5, 2.5, 1.0))
    assert (len(metrics.latency), len(metrics.service), len(metrics.lateness)) == (5, 5, 5)


@pytest.mark.parametrize(("late", "is_punctual"), [(0, True), (1, True), (2, False)])
def test_punctual(late: int, is_punctual: bool) -> None:
    """One in a hundred requests may leave more than 10 ms late; two make the run worthless."""
    metrics = measured([request(late_s=0.011)] * late + [request(late_s=0.01)] * (100 - late))
    assert metrics.is_punctual is is_punctual
    assert metrics.late_share == late / 100


def test_held_up_by_the_service() -> None:
    """Requests that waited for a place are not the fault of an idle generator."""
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
    """Without requests there is no rate and no lateness."""
    metrics = Metrics()
    assert (metrics.requests, metrics.rates, metrics.late_share) == (0, (0.0, 0.0, 0.0), 0.0)
    assert metrics.kept_schedule


def test_last_answers_make_no_rate_less() -> None:
    """500/s for a second are 500/s, though the last answers take long; where all take 2 s it is 250/s."""
    for seconds, rate in ((1, 500), (2, 250)):
        metrics = Metrics()
        metrics.sending_s, metrics.elapsed_s = 1.0, 30.0
        for slot in range(10 * seconds):
            for _ in range(50 // seconds):
                metrics.add(**request())
            metrics.mark(slot / 10 + 5.05)
        assert metrics.rates.answered == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize(
    ("latency_s", "rate"),
    [
        (lambda number: 0.005, 100),
        (lambda number: 2.0, 100),
        (lambda number: 2.0 if number % 10 == 0 else 0.005, 100),
        (lambda number: 2.0 if number % 10 < 5 else 0.005, 100),
        (lambda number: 2.0 if number < 100 else 0.005, 100),
        (lambda number: number * (1 / 95 - 1 / 100), 95),
        (lambda number: 0.5 + number * (1 / 95 - 1 / 100), 95),
        (lambda number: max(0, number - 200) / 100, 400 / 6),
    ],
    ids=["quick", "slow", "some slow", "half slow", "slow at first", "behind", "behind and slow", "tired"],
)
def test_rate_of_a_schedule(latency_s: Callable[[int], float], rate: float) -> None:
    """The answered rate of a schedule is what the service keeps up with, however slow single responses are."""
    metrics = Metrics(length_s=4.0)
    metrics.sending_s = 4.0
    for number in range(400):
        row = {**request(), "latency_s": latency_s(number)}
        metrics.add(**row, intended_s=number / 100)
    assert metrics.rates.answered == pytest.approx(rate, rel=0.002)


def test_rate_of_a_closed_model() -> None:
    """The rate of a closed model counts over the time that its places were taken, also after the last request."""
    metrics = measured([{**request(), "service_s": 2.0}] * 30)
    metrics.sending_s, metrics.elapsed_s, metrics.taken_s = 5.0, 6.0, 6.0
    assert metrics.rates.answered == 5.0


@pytest.mark.parametrize(
    ("looks_s", "service_s", "in_time"),
    [
        ([0.0] * 100, 0.001, True),
        ([0.003] * 60 + [0.0] * 40, 0.005, False),
        ([0.003] * 60 + [0.0] * 40, 0.020, True),
        ([0.011] * 3 + [0.0] * 97, 0.005, True),
        ([0.011] * 11 + [0.0] * 989, 0.005, False),
        ([], 0.005, True),
    ],
)
def test_reading(looks_s: list[float], service_s: float, in_time: bool) -> None:
    """Answers that are usually read late, beside what the service takes, or seldom very late, are not the service's."""
    metrics = measured([{**request(), "service_s": service_s}])
    for late_s in looks_s:
        metrics.reading.record(late_s)
    assert metrics.reads_in_time is metrics.kept_schedule is in_time


@pytest.mark.parametrize(
    ("ran_s", "waited_s", "turns", "service_s", "in_time"),
    [
        (0.5, 0.02, 1500, 0.005, True),
        (0.5, 0.45, 1100, 0.005, False),
        (0.5, 0.45, 1100, 0.050, True),
        (2.9, 0.05, 20, 0.005, True),
        (0.0, 0.0, 0, 0.005, True),
    ],
    ids=["alone", "beside others", "slow service", "busy", "unknown"],
)
def test_waiting(ran_s: float, waited_s: float, turns: int, service_s: float, in_time: bool) -> None:
    """Responses were read too late if they waited long for a processor, compared with the service time."""
    metrics = measured([{**request(), "service_s": service_s}])
    for _ in range(150):
        metrics.reading.record(0.0)
    metrics.watched_s, metrics.ran_s, metrics.waited_s, metrics.turns = 3.0, ran_s, waited_s, turns
    assert metrics.reads_in_time is in_time


@pytest.mark.parametrize(("places", "quick_s", "has_room"), [(50, 2.0, False), (250, 2.0, True), (50, 0.002, True)])
def test_room(places: int, quick_s: float, has_room: bool) -> None:
    """Too few places for the time without queueing are the generator's fault; a queue at the service is not."""
    metrics = measured(
        [{**request(), "service_s": quick_s}] * places + [{**request(held_s=1.0), "service_s": 2.0}] * 150
    )
    metrics.sending_s, metrics.most_in_flight = (places + 150) / 100, places
    assert metrics.has_room is has_room


@pytest.mark.parametrize(("places", "has_room"), [(40, False), (80, True)])
def test_room_for_two_kinds(places: int, has_room: bool) -> None:
    """If no queue grows, slow responses count in the number of places that are wanted."""
    kinds = [{**request(held_s=held_s), "service_s": service_s} for held_s in (0.0, 1.0) for service_s in (0.002, 2.0)]
    metrics = measured([kinds[0]] * 70 + [kinds[1]] * 30 + [kinds[2]] * 210 + [kinds[3]] * 90)
    metrics.sending_s, metrics.most_in_flight = 4.0, places
    assert metrics.has_room is has_room


def test_unsent() -> None:
    """Requests that were never sent count as due, failed and slow; the schedule was not kept."""
    metrics = measured([request()] * 9)
    metrics.add_unsent(3.0)
    assert (metrics.requests, metrics.due, metrics.failed, metrics.errors) == (9, 10, 1, 0)
    assert (metrics.latency.max_s, len(metrics.success_latency), metrics.kept_schedule) == (3.0, 9, False)


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
