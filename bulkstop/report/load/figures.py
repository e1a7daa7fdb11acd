"""The figures of a load test as text and as JSON."""

import math

from bulkstop.model import Outcome
from bulkstop.naming import name_setting
from bulkstop.report.load.error_counts import error_counts_to_json, format_error_counts
from bulkstop.report.load.histogram import PERCENTILES, Histogram, percentile_name
from bulkstop.report.load.metrics import MAX_LATE_SHARE, Metrics
from bulkstop.report.stop.summary import format_counts
from bulkstop.text import format_count, format_duration, printable

COLUMN = 10
NORMAL_99 = 2.576
"""The standard deviations around the mean that contain 99 of 100 values."""
NAMES = tuple(map(percentile_name, PERCENTILES))


def format_metrics(metrics: Metrics, *, is_open: bool) -> list[tuple[str, str]]:
    """Return the figures in two columns; in a closed model requests have no due times."""
    rows = format_counts(metrics.outcomes)
    if metrics.unsent:
        rows.append(
            ("never left", f"{format_count(metrics.unsent, 'request')} due; counted as failed, and as the slowest")
        )
    if metrics.failed:
        rows.append(("failed", f"{metrics.failed:,} of {metrics.due:,} ({_percent(metrics.failed_share)})"))
    rows += format_error_counts(metrics.reasons)
    if cut := metrics.outcomes[Outcome.UNKNOWN]:
        count = "it counts" if cut == 1 else "they count"
        rows.append(
            ("cut off", f"{cut:,} of the requests: {count} with the time up to then, so the times are the least")
        )
    if metrics.warmup:
        rows.append(("warm-up", f"{format_count(metrics.warmup, 'request')} before that, which count nowhere"))
    rows.append(("rate", format_rates(metrics, is_open=is_open)))
    rows.append(("in flight", f"at most {metrics.most_in_flight:,}"))
    rows.append(("", "".join(f"{name:>{COLUMN}}" for name in (*NAMES, "max", "mean")) + "  ms"))
    sets = [("latency", metrics.latency, metrics.success_latency, "from the intended time")] if is_open else []
    sets.append(("service", metrics.service, metrics.success_service, "from the actual send"))
    for name, of_all, of_successes, since in sets:
        if not metrics.failed:
            rows.append((name, f"{_times(of_all)}  {since}"))
            continue
        rows.append(
            (name, f"{_times(of_successes)}  {since}, of {format_count(metrics.successes, 'success', 'successes')}")
        )
        rows.append((f"all.{name}", f"{_times(of_all)}  ... of all, failed ones too"))
    if is_open:
        rows.append(("lateness", _times(metrics.lateness) + "  of the generator itself"))
        rows += _format_held_back(metrics)
    return rows


def metrics_to_json(metrics: Metrics, *, is_open: bool) -> dict[str, object]:
    """Return the figures as a JSON object; times are in milliseconds."""
    cells: dict[str, object] = {
        "requests": metrics.requests,
        "warmup_requests": metrics.warmup,
        "unsent": metrics.unsent,
        "answered": metrics.answered,
        "successes": metrics.successes,
        "failed": metrics.failed,
        "failed_share": round(metrics.failed_share, 6),
        "outcomes": {outcome.value: metrics.outcomes[outcome] for outcome in Outcome if metrics.outcomes[outcome]},
        "errors": metrics.errors,
        "reasons": error_counts_to_json(metrics.reasons),
        "elapsed_s": round(metrics.elapsed_s, 6),
        "sending_s": round(metrics.sending_s, 6),
        "rate": round(metrics.rates.answered, 3),
        "rates": {
            "offered": round(metrics.rates.offered, 3) if is_open else None,
            "answered": round(metrics.rates.answered, 3),
            "successful": round(metrics.rates.successful, 3),
        },
        "most_in_flight": metrics.most_in_flight,
        "service_ms": _times_to_json(metrics.service),
        "success_service_ms": _times_to_json(metrics.success_service),
        "range_ms": _ranges_to_json(metrics.success_latency if is_open else metrics.success_service),
        "reading_late_ms": _times_to_json(metrics.reading),
        "processor_wait_ms": round(metrics.mean_wait_s * 1e3, 3),
    }
    if is_open:
        cells |= {
            "latency_ms": _times_to_json(metrics.latency),
            "success_latency_ms": _times_to_json(metrics.success_latency),
            "lateness_ms": _times_to_json(metrics.lateness),
            "late_share": round(metrics.late_share, 6),
            "max_late_ms": round(metrics.max_late_s * 1e3, 3),
            "kept_schedule": metrics.kept_schedule,
            "held": metrics.held,
            "longest_held_ms": round(metrics.longest_held_s * 1e3, 3),
            "full_s": round(metrics.full_s, 3),
            "full_busy_s": round(metrics.full_busy_s, 3),
        }
    return cells


def warn_unpunctual(metrics: Metrics) -> str:
    """Return one line: the generator could not keep its schedule, and what to do."""
    return (
        f"THE SCHEDULE WAS NOT KEPT: {_percent(metrics.late_share)} of the requests left more than "
        f"{metrics.max_late_s * 1e3:g} ms late because this program, or this machine, was too slow (allowed: "
        f"{_percent(MAX_LATE_SHARE)}); the figures say nothing about the service; lower the rate, or free the machine"
    )


def warn_late_reading(metrics: Metrics, *, is_open: bool) -> str:
    """Return one line: the generator read responses too late, and what to do."""
    lower = "the rate" if is_open else name_setting("concurrency")
    usual_s, seldom_s = metrics.reading.at(50, 99)
    return (
        f"ANSWERS WERE READ TOO LATE: an answer waited {format_ms(metrics.mean_wait_s)} ms for a processor on average, "
        f"and the event loop was usually {format_ms(usual_s)} ms late, and in one of a hundred checks "
        f"{format_ms(seldom_s)} ms or more; the service time of {format_ms(metrics.service.at(50)[0])} ms includes "
        f"these delays; free the machine, or lower {lower}"
    )


def warn_no_room(metrics: Metrics) -> str:
    """Return one line: there were too few places for the response times."""
    requests, places = format_count(metrics.requests, "request"), format_count(metrics.most_in_flight, "place")
    return (
        f"THE GENERATOR AND NOT THE SERVICE WAS THE LIMIT: {metrics.held:,} of {requests} waited "
        f"for one of {places}, and what an answer takes when nothing waits, at "
        f"{metrics.rates.offered:,.1f}/s, takes {metrics.wanted_places:,}"
    )


def format_rates(metrics: Metrics, *, is_open: bool) -> str:
    """Return how many requests per second were due, answered and successful."""
    rates = metrics.rates
    names = [("offered", rates.offered)] if is_open else []
    names += [("answered", rates.answered), ("successful", rates.successful)]
    each = ", ".join(f"{name} {value:,.1f}/s" for name, value in names)
    return f"{each}: {format_count(metrics.requests, 'request')} in {format_duration(metrics.elapsed_s)}"


def describe_outcome(metrics: Metrics) -> str:
    """Return how most requests ended, and why."""
    outcome, number = metrics.outcomes.most_common(1)[0]
    why = next((f" ({printable(each.error)})" for each in metrics.reasons.most() if each.outcome is outcome), "")
    which = f"all {number:,}" if number == metrics.requests else f"{number:,} of {metrics.requests:,}"
    return f"{f'{which} requests' if metrics.requests > 1 else 'the only request'} ended as {outcome.value}{why}"


def explain_unanswered(metrics: Metrics) -> str:
    """Return that no request was answered, with the most frequent cause."""
    causes = metrics.reasons.most()
    return "no request was answered" + (f": {printable(causes[0].error)}" if causes else "")


def warn_nothing_stopped(metrics: Metrics) -> str:
    """Return a line if nothing was stopped, so that the figures are not those of stops; empty otherwise."""
    if not metrics.requests or metrics.errors < metrics.requests:
        return ""
    if not metrics.answered:
        return f"no request was answered: {describe_outcome(metrics)}"
    # A real service does not know invented campaigns: this is expected, but must be stated.
    mark = "note" if metrics.outcomes.most_common(1)[0][0] is Outcome.NOT_FOUND else "WARNING"
    return f"{mark}: no request stopped a campaign: {describe_outcome(metrics)}; the figures are those of answering so"


def _times(times: Histogram) -> str:
    values = [*times.at(*PERCENTILES), times.max_s, times.mean_s]
    return "".join(f"{format_ms(value) if len(times) else '-':>{COLUMN}}" for value in values)


def format_ms(seconds: float) -> str:
    """Return a time in milliseconds, with as many digits as were measured."""
    value = seconds * 1e3
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def _times_to_json(times: Histogram) -> dict[str, float] | None:
    if not len(times):
        return None
    values = dict(zip(NAMES, times.at(*PERCENTILES), strict=True)) | {"max": times.max_s, "mean": times.mean_s}
    return {name: round(value * 1e3, 3) for name, value in values.items()}


def _ranges_to_json(times: Histogram) -> dict[str, list[float]] | None:
    """Return the range of each percentile with 99 % confidence, based on the number of requests alone."""
    if not (count := len(times)):
        return None
    ranges = {}
    for name, percent in zip(NAMES, PERCENTILES, strict=True):
        share = percent / 100
        around = NORMAL_99 * math.sqrt(count * share * (1 - share)) + 1
        ends = times.of_ranks(math.floor(count * share - around), math.ceil(count * share + around))
        ranges[name] = [round(value * 1e3, 3) for value in ends]
    return ranges


def _format_held_back(metrics: Metrics) -> list[tuple[str, str]]:
    if not metrics.held:
        return []
    why = "the generator was at work" if metrics.was_busy else "the answers took long"
    waited = f"{format_count(metrics.held, 'request')} waited for a place, up to {format_ms(metrics.longest_held_s)} ms"
    full = f"all were taken for {format_duration(metrics.full_s)}, as {why}"
    return [("held up", f"{waited}; {full}; the waiting is counted in the latency")]


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
