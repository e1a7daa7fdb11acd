"""The figures of a load test as text and as JSON."""

from bulkstop.model import Outcome
from bulkstop.report.load.error_counts import error_counts_to_json, format_error_counts
from bulkstop.report.load.histogram import PERCENTILES, Histogram, percentile_name
from bulkstop.report.load.metrics import MAX_LATE_SHARE, Metrics
from bulkstop.report.stop.summary import format_counts
from bulkstop.text import format_count, format_duration, printable

COLUMN = 10
NAMES = tuple(map(percentile_name, PERCENTILES))


def format_metrics(metrics: Metrics, *, is_open: bool) -> list[tuple[str, str]]:
    """Write the figures in two columns; a closed model has no times at which its requests were due."""
    rows = format_counts(metrics.outcomes)
    if errors := metrics.errors:
        rows.append(("errors", f"{errors:,} of {metrics.requests:,} ({_percent(errors / metrics.requests)})"))
    rows += format_error_counts(metrics.reasons)
    if cut := metrics.outcomes[Outcome.UNKNOWN]:
        count = "it counts" if cut == 1 else "they count"
        rows.append(
            ("cut off", f"{cut:,} of the requests: {count} with the time up to then, so the times are the least")
        )
    rows.append(
        (
            "rate",
            (
                f"{metrics.rate:,.1f}/s: {format_count(metrics.requests, 'request')} "
                f"in {format_duration(metrics.elapsed_s)}"
            ),
        )
    )
    rows.append(("in flight", f"at most {metrics.most_in_flight:,}"))
    rows.append(("", "".join(f"{name:>{COLUMN}}" for name in (*NAMES, "max", "mean")) + "  ms"))
    if is_open:
        rows.append(("latency", _times(metrics.latency) + "  from the intended time"))
    rows.append(("service", _times(metrics.service) + "  from the actual send"))
    if is_open:
        rows.append(("lateness", _times(metrics.lateness) + "  of the generator itself"))
        rows += _format_held_back(metrics)
    return rows


def metrics_to_json(metrics: Metrics, *, is_open: bool) -> dict[str, object]:
    """Return the figures as a JSON object; times in milliseconds."""
    cells: dict[str, object] = {
        "requests": metrics.requests,
        "answered": metrics.answered,
        "outcomes": {outcome.value: metrics.outcomes[outcome] for outcome in Outcome if metrics.outcomes[outcome]},
        "errors": metrics.errors,
        "reasons": error_counts_to_json(metrics.reasons),
        "elapsed_s": round(metrics.elapsed_s, 6),
        "rate": round(metrics.rate, 3),
        "most_in_flight": metrics.most_in_flight,
        "service_ms": _times_to_json(metrics.service),
    }
    if is_open:
        cells |= {
            "latency_ms": _times_to_json(metrics.latency),
            "lateness_ms": _times_to_json(metrics.lateness),
            "late_share": round(metrics.late_share, 6),
            "max_late_ms": round(metrics.max_late_s * 1e3, 3),
            "kept_schedule": metrics.is_punctual,
            "held": metrics.held,
            "longest_held_ms": round(metrics.longest_held_s * 1e3, 3),
            "full_s": round(metrics.full_s, 3),
            "full_busy_s": round(metrics.full_busy_s, 3),
        }
    return cells


def warn_unpunctual(metrics: Metrics) -> str:
    """Say, in one line, that the generator could not keep its schedule, and what to do."""
    return (
        f"THE SCHEDULE WAS NOT KEPT: {_percent(metrics.late_share)} of the requests left more than "
        f"{metrics.max_late_s * 1e3:g} ms late because this program, or this machine, was too slow (allowed: "
        f"{_percent(MAX_LATE_SHARE)}); the figures say nothing about the service; lower the rate, or free the machine"
    )


def describe_outcome(metrics: Metrics) -> str:
    """Say how most requests ended, and why."""
    outcome, number = metrics.outcomes.most_common(1)[0]
    why = next((f" ({printable(each.error)})" for each in metrics.reasons.most() if each.outcome is outcome), "")
    which = f"all {number:,}" if number == metrics.requests else f"{number:,} of {metrics.requests:,}"
    return f"{f'{which} requests' if metrics.requests > 1 else 'the only request'} ended as {outcome.value}{why}"


def explain_unanswered(metrics: Metrics) -> str:
    """Say that no request was answered, with the commonest cause."""
    causes = metrics.reasons.most()
    return "no request was answered" + (f": {printable(causes[0].error)}" if causes else "")


def warn_nothing_stopped(metrics: Metrics) -> str:
    """Warn, in one line, that nothing at all was stopped, so the figures are not those of stops; empty if they are."""
    if not metrics.requests or metrics.errors < metrics.requests:
        return ""
    if not metrics.answered:
        return f"no request was answered: {describe_outcome(metrics)}"
    # Of made-up campaigns a real service has none: that is no surprise, but it must be known.
    mark = "note" if metrics.outcomes.most_common(1)[0][0] is Outcome.NOT_FOUND else "WARNING"
    return f"{mark}: no request stopped a campaign: {describe_outcome(metrics)}; the figures are those of answering so"


def _times(times: Histogram) -> str:
    values = [*times.at(*PERCENTILES), times.max_s, times.mean_s]
    return "".join(f"{format_ms(value) if len(times) else '-':>{COLUMN}}" for value in values)


def format_ms(seconds: float) -> str:
    """Write a time in milliseconds, in as many digits as were measured."""
    value = seconds * 1e3
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def _times_to_json(times: Histogram) -> dict[str, float] | None:
    if not len(times):
        return None
    values = dict(zip(NAMES, times.at(*PERCENTILES), strict=True)) | {"max": times.max_s, "mean": times.mean_s}
    return {name: round(value * 1e3, 3) for name, value in values.items()}


def _format_held_back(metrics: Metrics) -> list[tuple[str, str]]:
    if not metrics.held:
        return []
    why = "the generator was at work" if metrics.was_busy else "the answers took long"
    waited = f"{format_count(metrics.held, 'request')} waited for a place, up to {format_ms(metrics.longest_held_s)} ms"
    full = f"all were taken for {format_duration(metrics.full_s)}, as {why}"
    return [("held up", f"{waited}; {full}; the waiting is counted in the latency")]


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
