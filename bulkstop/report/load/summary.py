"""What a load test measured, for a person and for a machine."""

from bulkstop.model import Outcome
from bulkstop.report.load.error_counts import reason_rows, reasons_json
from bulkstop.report.load.histogram import PERCENTILES, Histogram, percentile_name
from bulkstop.report.load.metrics import MAX_LATE_SHARE, Measured
from bulkstop.report.stop.summary import counts
from bulkstop.text import duration, printable

COLUMN = 10
NAMES = tuple(map(percentile_name, PERCENTILES))


def rows(measured: Measured, *, is_open: bool) -> list[tuple[str, str]]:
    """Write the figures in two columns; a closed model has no times at which its requests were due."""
    told = counts(measured.outcomes)
    if errors := measured.errors:
        told.append(("errors", f"{errors:,} of {measured.requests:,} ({_percent(errors / measured.requests)})"))
    told += reason_rows(measured.reasons)
    if cut := measured.outcomes[Outcome.UNKNOWN]:
        told.append(
            ("cut off", f"{cut:,} of the requests: they count with the time up to then, so the times are the least")
        )
    told.append(("rate", f"{measured.rate:,.1f}/s: {measured.requests:,} requests in {duration(measured.elapsed_s)}"))
    told.append(("in flight", f"at most {measured.most_in_flight:,}"))
    told.append(("", "".join(f"{name:>{COLUMN}}" for name in (*NAMES, "max", "mean")) + "  ms"))
    if is_open:
        told.append(("latency", _times(measured.latency) + "  from the intended time"))
    told.append(("service", _times(measured.service) + "  from the actual send"))
    if is_open:
        told.append(("lateness", _times(measured.lateness) + "  of the generator itself"))
        told += _held(measured)
    return told


def figures(measured: Measured, *, is_open: bool) -> dict[str, object]:
    """Give the figures as a JSON object; times in milliseconds."""
    found: dict[str, object] = {
        "requests": measured.requests,
        "answered": measured.answered,
        "outcomes": {outcome.value: measured.outcomes[outcome] for outcome in Outcome if measured.outcomes[outcome]},
        "errors": measured.errors,
        "reasons": reasons_json(measured.reasons),
        "elapsed_s": round(measured.elapsed_s, 6),
        "rate": round(measured.rate, 3),
        "most_in_flight": measured.most_in_flight,
        "service_ms": _numbers(measured.service),
    }
    if is_open:
        found |= {
            "latency_ms": _numbers(measured.latency),
            "lateness_ms": _numbers(measured.lateness),
            "late_share": round(measured.late_share, 6),
            "max_late_ms": round(measured.max_late_s * 1e3, 3),
            "kept_schedule": measured.is_punctual,
            "held": measured.held,
            "longest_held_ms": round(measured.longest_held_s * 1e3, 3),
            "full_s": round(measured.full_s, 3),
            "full_busy_s": round(measured.full_busy_s, 3),
        }
    return found


def unpunctual(measured: Measured) -> str:
    """Say, in one line, that the generator could not keep its schedule, and what to do."""
    return (
        f"THE SCHEDULE WAS NOT KEPT: {_percent(measured.late_share)} of the requests left more than "
        f"{measured.max_late_s * 1e3:g} ms late because this program, or this machine, was too slow (allowed: "
        f"{_percent(MAX_LATE_SHARE)}); the figures say nothing about the service; lower the rate, or free the machine"
    )


def fate(measured: Measured) -> str:
    """Say how most requests ended, and why."""
    outcome, number = measured.outcomes.most_common(1)[0]
    why = next((f" ({printable(each.error)})" for each in measured.reasons.most() if each.outcome is outcome), "")
    which = f"all {number:,}" if number == measured.requests else f"{number:,} of {measured.requests:,}"
    return f"{f'{which} requests' if measured.requests > 1 else 'the only request'} ended as {outcome.value}{why}"


def unstopped(measured: Measured) -> str:
    """Warn, in one line, that nothing at all was stopped, so the figures are not those of stops; empty if they are."""
    if not measured.requests or measured.errors < measured.requests:
        return ""
    if not measured.answered:
        return f"no request was answered: {fate(measured)}"
    # Of made-up campaigns a real service has none: that is no surprise, but it must be known.
    mark = "note" if measured.outcomes.most_common(1)[0][0] is Outcome.NOT_FOUND else "WARNING"
    return f"{mark}: no request stopped a campaign: {fate(measured)}; the figures are those of answering so"


def _times(times: Histogram) -> str:
    values = [*times.at(*PERCENTILES), times.max_s, times.mean_s]
    return "".join(f"{ms(value) if len(times) else '-':>{COLUMN}}" for value in values)


def ms(seconds: float) -> str:
    """Write a time in milliseconds, in as many digits as were measured."""
    value = seconds * 1e3
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def _numbers(times: Histogram) -> dict[str, float] | None:
    if not len(times):
        return None
    values = dict(zip(NAMES, times.at(*PERCENTILES), strict=True)) | {"max": times.max_s, "mean": times.mean_s}
    return {name: round(value * 1e3, 3) for name, value in values.items()}


def _held(measured: Measured) -> list[tuple[str, str]]:
    if not measured.held:
        return []
    why = "the generator was at work" if measured.was_busy else "the answers took long"
    said = (
        f"{measured.held:,} requests waited for a place, up to {ms(measured.longest_held_s)} ms; all were taken for "
        f"{duration(measured.full_s)}, as {why}; the waiting is counted in the latency"
    )
    return [("held up", said)]


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
