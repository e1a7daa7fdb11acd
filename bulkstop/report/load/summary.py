"""How a load test went: facts, as text and as JSON."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkstop.errors import BulkstopError
from bulkstop.model import Outcome, utc_text
from bulkstop.naming import name_setting
from bulkstop.report.load.figures import (
    explain_unanswered,
    format_metrics,
    metrics_to_json,
    warn_nothing_stopped,
    warn_unpunctual,
)
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.report.summary import Summary
from bulkstop.report.verdict import format_done, format_not_done
from bulkstop.text import format_count, printable

Corner = tuple[float, float]
"""Where a line bends: seconds since the beginning, and a rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What a load test is to send; `shape` and `targets` say in words when it leaves and for which campaigns."""

    host: str
    shape: str = ""
    targets: str = ""
    planned: int | None = None
    """How many requests there will be; None if only the time says it."""
    max_in_flight: int
    processes: int = 1
    require: tuple[Threshold, ...] = ()
    is_open: bool = True
    """Requests are due at times of their own."""
    intended: tuple[Corner, ...] = ()
    """The rate that they are due at, as a line."""

    @property
    def load(self) -> str:
        """When they leave, and how many."""
        return self.shape + ("" if self.planned is None else f": {format_count(self.planned, 'request')}")


@dataclass(frozen=True, slots=True)
class LoadSummary(Summary):
    """How a load test went; `signum` and `fault` say what ended it early, if anything did."""

    plan: LoadPlan
    metrics: Metrics
    verdicts: tuple[Verdict, ...]
    run_id: str
    began: float
    in_flight: int
    """How many requests could be in flight."""
    signum: int | None = None
    fault: BulkstopError | None = None

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How many requests have each outcome that occurred."""
        return self.metrics.outcomes

    @property
    def is_done(self) -> bool:
        """Tell whether all that was due was sent in time, and all that is required held."""
        return self.exit_code == 0

    @property
    def unsent(self) -> int:
        """Requests that were due and never left, because those before them had no answer in all the time there was."""
        if not self.plan.is_open or self.signum is not None or self.fault is not None:
            return 0
        return (self.plan.planned or 0) - self.metrics.requests

    @property
    def has_few_files(self) -> bool:
        """Tell whether fewer requests could be in flight than was asked for: each takes a connection."""
        return self.in_flight < self.plan.max_in_flight

    @property
    def is_short_of_files(self) -> bool:
        """Tell whether requests had to wait because of that, so that the figures are this machine's."""
        return self.plan.is_open and self.has_few_files and self.metrics.held > 0

    @property
    def is_late(self) -> bool:
        """Tell whether the generator could not keep its schedule."""
        return self.plan.is_open and not self.metrics.is_punctual

    @property
    def reason(self) -> str:
        """What ended it, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.signum is not None:
            return f"by {signal.Signals(self.signum).name}, before all were sent"
        return f"with {format_count(self.unsent, 'request')} not sent" if self.unsent else "all sent"

    @property
    def exit_code(self) -> int:
        """The exit code that the contract gives to such an end."""
        if self.fault is not None:
            return 3
        if self.signum is not None:
            return 128 + self.signum
        if self.is_late or self.is_short_of_files:
            return 3
        if not self.metrics.answered or not all(verdict.held for verdict in self.verdicts):
            return 1  # also with requests unsent: they could only have made it worse
        return 3 if self.unsent else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, every key always there."""
        plan = self.plan
        return {
            "run_id": self.run_id,
            "host": plan.host,
            "model": "open" if plan.is_open else "closed",
            "began_at": utc_text(self.began) if self.metrics.requests else None,
            "planned": plan.planned,
            "max_in_flight": self.in_flight,
            "processes": plan.processes,
            **metrics_to_json(self.metrics, is_open=plan.is_open),
            "unsent": self.unsent,
            "required": verdicts_to_json(self.verdicts),
            "ended": self.reason,
            "exit_code": self.exit_code,
        }

    def _shortfalls(self) -> Sequence[str]:
        return [*list_faults(self), *([f"ended {self.reason}"] if self.signum is not None else [])]


def format_plan(plan: LoadPlan) -> list[tuple[str, str]]:
    """Write what will be sent in two columns, for a person to see before it is."""
    rows = [
        ("host", plan.host),
        ("load", plan.load),
        ("in flight", f"at most {plan.max_in_flight:,}"),
        ("campaigns", plan.targets),
    ]
    if plan.processes > 1:
        rows.append(("processes", f"{plan.processes:,}, each with its part of that"))
    if plan.require:
        rows.append(("required", ", ".join(each.text for each in plan.require)))
    return rows


def format_summary(summary: LoadSummary) -> list[tuple[str, str]]:
    """Write how it went in two columns."""
    rows = format_metrics(summary.metrics, is_open=summary.plan.is_open)
    if summary.has_few_files:
        rows.append(("connections", f"{summary.in_flight:,}: the limit on open files has no room for more"))
    rows += [("required", str(verdict)) for verdict in summary.verdicts]
    return [*rows, ("ended", summary.reason)]


def format_verdict(summary: LoadSummary) -> str:
    """Say in one line that all was sent and held, or what did not; so does the exit code."""
    if summary.exit_code:
        return format_not_done(_list_reasons(summary))
    sent = summary.metrics.requests
    text = f"all {format_count(sent, 'request')} sent" if sent > 1 else "the only request sent"
    if summary.verdicts:
        text += ", all that is required held"
    return format_done(text + ("; no campaign was stopped" if summary.metrics.errors == sent else ""))


def _list_reasons(summary: LoadSummary) -> list[str]:
    """Name in a few words what makes the exit code another than 0."""
    sent = summary.metrics.requests
    if summary.fault is not None:
        return [printable(str(summary.fault))]
    if summary.signum is not None:
        many = format_count(sent, "request")
        if summary.plan.planned is not None:
            many = f"{sent:,} of {format_count(summary.plan.planned, 'request')}"
        return [f"ended by {signal.Signals(summary.signum).name} after {many}"]
    reasons = [] if summary.metrics.answered else [explain_unanswered(summary.metrics)]
    reasons += [str(verdict) for verdict in summary.verdicts if not verdict.held]
    if summary.is_late:
        reasons.append("the schedule was not kept, so the figures say nothing about the service")
    if summary.is_short_of_files:
        reasons.append("this machine gave way, so the figures are not the service's")
    if summary.unsent:
        reasons.append(f"{summary.unsent:,} of {format_count(summary.plan.planned or 0, 'request')} never left")
    return reasons


def list_faults(summary: LoadSummary) -> list[str]:
    """Name all that went wrong, but for what ended the run early."""
    return [*(str(verdict) for verdict in summary.verdicts if not verdict.held), *list_warnings(summary)]


def list_warnings(summary: LoadSummary) -> list[str]:
    """Say why the figures are not those of the service, or not of stops."""
    warnings = []
    if summary.is_late:
        warnings.append(warn_unpunctual(summary.metrics))
    if summary.is_short_of_files:
        warnings.append(
            f"THIS MACHINE GAVE WAY: {explain_few_files(summary.in_flight)}; the figures are not the service's"
        )
    if summary.unsent:
        room = "the limit on open files (ulimit -n)" if summary.has_few_files else name_setting("max_in_flight")
        warnings.append(
            f"THE SCHEDULE WAS NOT KEPT: {format_count(summary.unsent, 'request was', 'requests were')} "
            f"due and never left, as {summary.in_flight:,} "
            f"were in flight all the time; the longest latencies are missing; lower the rate, or raise {room}"
        )
    if warning := warn_nothing_stopped(summary.metrics):
        warnings.append(warning)
    return warnings


def explain_few_files(places: int) -> str:
    """Say that requests waited for a place because this machine lets no more connections be open."""
    return f"requests waited, as the limit on open files lets {places:,} be in flight; raise it (ulimit -n)"


def verdicts_to_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """Return what became of what is required as JSON objects."""
    return [{"require": each.text, "held": each.held, "value": each.value, "unit": each.unit} for each in verdicts]
