"""`bulkstop load`: what is said before and after it, to a person and to a machine."""

from collections.abc import Sequence

from bulkstop.cli.load.shapes import Shape
from bulkstop.cli.terminal import print_err
from bulkstop.model import CampaignType, utc_text
from bulkstop.report.load.summary import format_metrics, metrics_to_json, warn_nothing_stopped, warn_unpunctual
from bulkstop.report.load.thresholds import Verdict
from bulkstop.runs.load.run import Load, Summary
from bulkstop.runs.load.targets import describe_unused
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.text import format_table, printable


def format_plan(
    load: Load, shape: Shape, requests: str, settings: Settings, processes: int = 1
) -> list[tuple[str, str]]:
    """Write what will be sent in two columns, for a person to see before it is."""
    told = [
        ("host", settings.host),
        ("load", shape.words() + ("" if load.planned is None else f": {load.planned:,} requests")),
        ("in flight", f"at most {load.max_in_flight:,}"),
        ("campaigns", requests),
    ]
    if processes > 1:
        told.append(("processes", f"{processes:,}, each with its part of that"))
    if load.require:
        told.append(("required", ", ".join(each.text for each in load.require)))
    return told


def describe_campaigns(plan: Plan | None, settings: Settings, named: str, planned: int | None = None) -> str:
    """Say which campaigns the requests are for, if so many are planned: those of a list, or made-up ones."""
    if plan is None:
        return f"made up: {settings.type or CampaignType.VOICE} campaigns {named}..."
    how, which = "again and again", f"{plan.to_send:,} of {named}"
    if planned is not None and planned <= plan.to_send:
        how = "each once"
        which = which if planned == plan.to_send else f"the first {planned:,} of the {which}"
    unused = printable(describe_unused(plan))
    return f"{which}, in its order, {how}" + (f"; not used: {unused}" if unused else "")


def print_summary(summary: Summary, *, quiet: bool) -> None:
    """Say how it went; what went wrong also when little is to be said."""
    measured = summary.metrics
    if not quiet:
        told = format_metrics(measured, is_open=summary.is_open)
        if has_few_files(summary):
            told.append(("connections", f"{summary.in_flight:,}: the limit on open files has no room for more"))
        told += [("required", str(verdict)) for verdict in summary.verdicts]
        print_err("\n".join(format_table("Summary", [*told, ("ended", summary.reason)])))
    elif summary.fault is not None:
        print_err(f"bulkstop: {summary.fault}")
    for line in list_faults(summary):
        print_err(f"bulkstop: {line}")


def list_faults(summary: Summary) -> list[str]:
    """Name all that went wrong, but for what ended the run early."""
    return [*(str(verdict) for verdict in summary.verdicts if not verdict.held), *list_warnings(summary)]


def list_warnings(summary: Summary) -> list[str]:
    """Say why the figures are not those of the service, or not of stops."""
    told = []
    if summary.is_open and not summary.metrics.is_punctual:
        told.append(warn_unpunctual(summary.metrics))
    if summary.unsent:
        room = "the limit on open files (ulimit -n)" if has_few_files(summary) else "--max-in-flight"
        told.append(
            f"THE SCHEDULE WAS NOT KEPT: {summary.unsent:,} requests were due and never left, as {summary.in_flight:,} "
            f"were in flight all the time; the longest latencies are missing; lower the rate, or raise {room}"
        )
    if said := warn_nothing_stopped(summary.metrics):
        told.append(said)
    return told


def has_few_files(summary: Summary) -> bool:
    """Tell whether fewer requests could be in flight than was asked for: each takes a connection."""
    return summary.in_flight < summary.load.max_in_flight


def summary_to_json(summary: Summary, settings: Settings) -> dict[str, object]:
    """Return how it went as a JSON object."""
    return {
        "run_id": summary.run_id,
        "host": settings.host,
        "model": "open" if summary.is_open else "closed",
        "began_at": utc_text(summary.began) if summary.metrics.requests else None,
        "planned": summary.load.planned,
        "max_in_flight": summary.in_flight,
        "processes": summary.processes,
        **metrics_to_json(summary.metrics, is_open=summary.is_open),
        "unsent": summary.unsent,
        "required": verdicts_to_json(summary.verdicts),
        "ended": summary.reason,
        "exit_code": summary.exit_code,
    }


def verdicts_to_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """Return what became of what is required as JSON objects."""
    return [{"require": each.text, "held": each.held, "value": each.value, "unit": each.unit} for each in verdicts]
