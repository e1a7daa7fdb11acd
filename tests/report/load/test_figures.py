"""The figures as a person and as a machine read them."""

import pytest

from bulkstop.model import Outcome
from bulkstop.report.load.figures import (
    describe_outcome,
    format_metrics,
    metrics_to_json,
    warn_nothing_stopped,
    warn_unpunctual,
)
from bulkstop.report.load.metrics import Metrics
from tests.loads import measured


def some(*, held_s: float = 0.0, late_s: float = 0.0) -> Metrics:
    """Measure 100 requests in 2 s, 10 of which failed."""
    metrics = Metrics()
    for number in range(100):
        outcome = Outcome.TIMEOUT if number < 10 else Outcome.STOPPED
        service_s = 0.004 + number / 1e6
        metrics.add(
            outcome,
            latency_s=service_s + held_s + late_s,
            service_s=service_s,
            late_s=late_s,
            held_s=held_s,
            answered=number >= 10,
        )
    metrics.elapsed_s, metrics.sending_s, metrics.most_in_flight = 2.1, 2.0, 7
    return metrics


def test_open_model() -> None:
    """A person sees outcomes, rates, and percentiles of successes and of all, which say from when they count."""
    rows = dict(format_metrics(some(), is_open=True))
    assert rows["stopped"] == "90"
    assert rows["failed"] == "10 of 100 (10%)"
    assert rows["rate"] == "offered 50.0/s, answered 45.0/s, successful 45.0/s: 100 requests in 2.1 s"
    assert rows["in flight"] == "at most 7"
    assert rows[""].split() == ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean", "ms"]
    assert rows["all.latency"].split()[:8] == ["4.049", "4.089", "4.095", "4.099", "4.099", "4.099", "4.099", "4.050"]
    assert rows["latency"].split()[0] == "4.055"  # the ten that failed were the quickest
    assert rows["latency"].endswith("  from the intended time, of 90 successes")
    assert rows["service"].endswith("  from the actual send, of 90 successes")
    assert rows["lateness"].split()[0] == "0.000"
    assert "held up" not in rows


def test_closed_model() -> None:
    """In a closed model there is only the service time."""
    rows = dict(format_metrics(some(), is_open=False))
    assert "service" in rows
    assert not {"latency", "lateness", "held up"} & rows.keys()
    assert not {"latency_ms", "lateness_ms", "kept_schedule"} & metrics_to_json(some(), is_open=False).keys()


def test_cut_off() -> None:
    """Requests that were cut off count with their time so far, and a note says so."""
    metrics = some()
    measured(1, Outcome.UNKNOWN, latency_s=9.0, answered=False, before=metrics)
    rows = dict(format_metrics(metrics, is_open=True))
    assert rows["cut off"] == "1 of the requests: it counts with the time up to then, so the times are the least"
    assert rows["all.latency"].split()[6] == "9,000.0"
    assert "cut off" not in dict(format_metrics(some(), is_open=True))


def test_nothing_measured() -> None:
    """Without a request there are no times, and not times of no length."""
    rows = dict(format_metrics(Metrics(), is_open=True))
    assert rows["latency"].split()[:8] == ["-"] * 8


def test_held_up() -> None:
    """Requests that waited for a place are reported, with the reason."""
    metrics = some(held_s=0.5)
    metrics.full_s, metrics.full_busy_s = 1.0, 0.2
    assert dict(format_metrics(metrics, is_open=True))["held up"] == (
        "100 requests waited for a place, up to 500.0 ms; all were taken for 1.0 s, as the answers took long; "
        "the waiting is counted in the latency"
    )
    metrics.full_busy_s = 0.9
    assert "as the generator was at work; " in dict(format_metrics(metrics, is_open=True))["held up"]


def test_unpunctual() -> None:
    """A missed schedule is reported prominently, with its extent and the remedy."""
    warning = warn_unpunctual(some(late_s=0.02))
    assert warning.startswith("THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than 10 ms late because this ")
    assert "say nothing about the service" in warning


def test_for_machines() -> None:
    """A machine gets the same numbers, in milliseconds."""
    metrics = metrics_to_json(some(late_s=0.02), is_open=True)
    assert metrics["outcomes"] == {"stopped": 90, "timeout": 10}
    assert (metrics["requests"], metrics["answered"], metrics["errors"], metrics["failed"]) == (100, 90, 10, 10)
    assert (metrics["rate"], metrics["rates"]) == (45.0, {"offered": 50.0, "answered": 45.0, "successful": 45.0})
    p99s = dict.fromkeys(("p99", "p99.9", "p99.99", "max"), 24.099)
    times = {"p50": 24.063, "p90": 24.095, "p95": 24.095, **p99s, "mean": pytest.approx(24.05, rel=1e-3)}
    assert metrics["latency_ms"] == times
    assert (metrics["kept_schedule"], metrics["late_share"], metrics["max_late_ms"]) == (False, 1.0, 10.0)
    assert metrics_to_json(Metrics(), is_open=True)["latency_ms"] is None


def ended(*outcomes: Outcome, answered: bool = True) -> Metrics:
    """Measure requests that ended so, each with a reason."""
    metrics = Metrics()
    for outcome in outcomes:
        measured(1, outcome, answered=answered, error=f"why {outcome}", before=metrics)
    return metrics


def test_reasons() -> None:
    """The reasons of failed requests are in text and JSON; a successful stop needs no reason."""
    metrics = ended(Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.THROTTLED)
    assert dict(format_metrics(metrics, is_open=True))["reason"] == "1 throttled: why throttled"
    assert metrics_to_json(metrics, is_open=True)["reasons"] == [
        {"outcome": "throttled", "error": "why throttled", "requests": 1}
    ]


@pytest.mark.parametrize(
    ("outcomes", "mark", "ends"),
    [
        ([Outcome.UNAUTHORIZED] * 2, "WARNING", "all 2 requests ended as unauthorized (why unauthorized)"),
        ([Outcome.REJECTED, *[Outcome.THROTTLED] * 2], "WARNING", "2 of 3 requests ended as throttled (why throttled)"),
        ([Outcome.NOT_FOUND], "note", "the only request ended as not_found (why not_found)"),
    ],
)
def test_unstopped(outcomes: list[Outcome], mark: str, ends: str) -> None:
    """A message says that nothing was stopped; without emphasis for made-up campaigns."""
    warning = f"{mark}: no request stopped a campaign: {ends}; the figures are those of answering so"
    assert warn_nothing_stopped(ended(*outcomes)) == warning
    assert warn_nothing_stopped(ended(*outcomes, Outcome.ALREADY_STOPPED)) == warn_nothing_stopped(Metrics()) == ""


def test_unanswered() -> None:
    """A run without responses is reported with the reason, on one line."""
    metrics = ended(Outcome.TIMEOUT, Outcome.TIMEOUT, answered=False)
    assert warn_nothing_stopped(metrics) == "no request was answered: all 2 requests ended as timeout (why timeout)"
    metrics.reasons.add(Outcome.TIMEOUT, "a\nb", 5)
    assert describe_outcome(metrics) == "all 2 requests ended as timeout (a\N{REPLACEMENT CHARACTER}b)"
