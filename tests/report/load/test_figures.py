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


def some(*, held_s: float = 0.0, late_s: float = 0.0) -> Metrics:
    """Measure 100 requests in 2 s, 10 of which failed."""
    found = Metrics()
    for number in range(100):
        outcome = Outcome.TIMEOUT if number < 10 else Outcome.STOPPED
        service_s = 0.004 + number / 1e6
        found.add(
            outcome,
            latency_s=service_s + held_s + late_s,
            service_s=service_s,
            late_s=late_s,
            held_s=held_s,
            answered=number >= 10,
        )
    found.elapsed_s, found.most_in_flight = 2.0, 7
    return found


def test_open_model() -> None:
    """A person sees outcomes, the rate, and three lines of percentiles that say from when they count."""
    told = dict(format_metrics(some(), is_open=True))
    assert told["stopped"] == "90"
    assert told["errors"] == "10 of 100 (10%)"
    assert told["rate"] == "50.0/s: 100 requests in 2.0 s"
    assert told["in flight"] == "at most 7"
    assert told[""].split() == ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean", "ms"]
    assert told["latency"].split()[:8] == ["4.049", "4.089", "4.095", "4.099", "4.099", "4.099", "4.099", "4.050"]
    assert told["latency"].endswith("  from the intended time")
    assert told["service"].endswith("  from the actual send")
    assert told["lateness"].split()[0] == "0.000"
    assert "held up" not in told


def test_closed_model() -> None:
    """Where nothing is due at a time of its own there is the service time alone."""
    told = dict(format_metrics(some(), is_open=False))
    assert "service" in told
    assert not {"latency", "lateness", "held up"} & told.keys()
    assert not {"latency_ms", "lateness_ms", "kept_schedule"} & metrics_to_json(some(), is_open=False).keys()


def test_cut_off() -> None:
    """Requests that were cut off count with the time up to then, and that is said."""
    found = some()
    found.add(Outcome.UNKNOWN, latency_s=9.0, service_s=9.0, late_s=0.0, held_s=0.0, answered=False)
    told = dict(format_metrics(found, is_open=True))
    assert told["cut off"] == "1 of the requests: they count with the time up to then, so the times are the least"
    assert told["latency"].split()[6] == "9,000.0"
    assert "cut off" not in dict(format_metrics(some(), is_open=True))


def test_nothing_measured() -> None:
    """Without a request there are no times, and not times of no length."""
    told = dict(format_metrics(Metrics(), is_open=True))
    assert told["latency"].split()[:8] == ["-"] * 8


def test_held_up() -> None:
    """What waited for a place is told, with the reason."""
    found = some(held_s=0.5)
    found.full_s, found.full_busy_s = 1.0, 0.2
    assert dict(format_metrics(found, is_open=True))["held up"] == (
        "100 requests waited for a place, up to 500.0 ms; all were taken for 1.0 s, as the answers took long; "
        "the waiting is counted in the latency"
    )
    found.full_busy_s = 0.9
    assert "as the generator was at work; " in dict(format_metrics(found, is_open=True))["held up"]


def test_unpunctual() -> None:
    """That the schedule was not kept is said loudly, with how much and what to do."""
    said = warn_unpunctual(some(late_s=0.02))
    assert said.startswith("THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than 10 ms late because this ")
    assert "say nothing about the service" in said


def test_for_machines() -> None:
    """A machine gets the same numbers, in milliseconds."""
    found = metrics_to_json(some(late_s=0.02), is_open=True)
    assert found["outcomes"] == {"stopped": 90, "timeout": 10}
    assert (found["requests"], found["answered"], found["errors"], found["rate"]) == (100, 90, 10, 50.0)
    assert found["latency_ms"] == {
        "p50": 24.063,
        "p90": 24.095,
        "p95": 24.095,
        "p99": 24.099,
        "p99.9": 24.099,
        "p99.99": 24.099,
        "max": 24.099,
        "mean": found["latency_ms"]["mean"],  # type: ignore[index]
    }
    assert (found["kept_schedule"], found["late_share"], found["max_late_ms"]) == (False, 1.0, 10.0)
    assert metrics_to_json(Metrics(), is_open=True)["latency_ms"] is None


def ended(*outcomes: Outcome, answered: bool = True) -> Metrics:
    """Measure requests that ended so, each with a reason."""
    found = Metrics()
    for outcome in outcomes:
        error = f"why {outcome}"
        found.add(outcome, latency_s=1, service_s=1, late_s=0, held_s=0, answered=answered, error=error)
    return found


def test_reasons() -> None:
    """Why requests failed is told to both; how a stop ended well needs no reason."""
    found = ended(Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.THROTTLED)
    assert dict(format_metrics(found, is_open=True))["reason"] == "1 throttled: why throttled"
    assert metrics_to_json(found, is_open=True)["reasons"] == [
        {"outcome": "throttled", "error": "why throttled", "requests": 1}
    ]


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((), ""),
        ((Outcome.UNAUTHORIZED, Outcome.ALREADY_STOPPED), ""),
        (
            (Outcome.UNAUTHORIZED, Outcome.UNAUTHORIZED),
            (
                "WARNING: no request stopped a campaign: all 2 requests ended as unauthorized (why unauthorized); "
                "the figures are those of answering so"
            ),
        ),
        (
            (Outcome.REJECTED, Outcome.THROTTLED, Outcome.THROTTLED),
            (
                "WARNING: no request stopped a campaign: 2 of 3 requests ended as throttled (why throttled); "
                "the figures are those of answering so"
            ),
        ),
        (
            (Outcome.NOT_FOUND,),
            (
                "note: no request stopped a campaign: the only request ended as not_found (why not_found); "
                "the figures are those of answering so"
            ),
        ),
    ],
)
def test_unstopped(outcomes: tuple[Outcome, ...], said: str) -> None:
    """That nothing was stopped at all is said; softly where the campaigns were made up and nobody has them."""
    assert warn_nothing_stopped(ended(*outcomes)) == said


def test_unanswered() -> None:
    """That nothing was answered is said with the reason, on one line."""
    found = ended(Outcome.TIMEOUT, Outcome.TIMEOUT, answered=False)
    assert warn_nothing_stopped(found) == "no request was answered: all 2 requests ended as timeout (why timeout)"
    found.reasons.add(Outcome.TIMEOUT, "a\nb", 5)
    assert describe_outcome(found) == "all 2 requests ended as timeout (a\N{REPLACEMENT CHARACTER}b)"
