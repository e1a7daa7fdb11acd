"""The summary of a load test: facts, as text and as JSON."""

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkstop.errors import BulkstopError
from bulkstop.model import Outcome, utc_text
from bulkstop.naming import name_setting
from bulkstop.report.load.comparison import SCHEMA, Change, changes_to_json, format_changes
from bulkstop.report.load.figures import (
    explain_unanswered,
    format_metrics,
    metrics_to_json,
    warn_late_reading,
    warn_no_room,
    warn_nothing_stopped,
    warn_unpunctual,
)
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.report.summary import Summary
from bulkstop.report.verdict import format_done, format_not_done
from bulkstop.text import format_count, format_duration, printable

ROOM_S = 5.0
"""Enough places for response times of this length need no warning."""
Corner = tuple[float, float]
"""A corner of a line: seconds since the beginning, and a rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The plan of a load test; `shape` and `targets` say in words when it sends and for which campaigns."""

    host: str
    shape: str = ""
    targets: str = ""
    planned: int | None = None
    """The number of requests; None if only the time limits it."""
    max_in_flight: int
    processes: int = 1
    require: tuple[Threshold, ...] = ()
    is_open: bool = True
    """Whether requests are due at fixed times."""
    intended: tuple[Corner, ...] = ()
    """The rate at which they are due, as a line."""

    @property
    def peak(self) -> float:
        """The highest rate at which they are due; 0 in a closed model."""
        return max((rate for _, rate in self.intended), default=0.0)

    def room_s(self, places: int) -> float | None:
        """Return how long responses may take before requests wait for a place; None if that is long enough."""
        room_s = places / self.peak if self.peak else math.inf
        return None if room_s >= ROOM_S else room_s

    @property
    def load(self) -> str:
        """When and how many requests are sent."""
        return self.shape + ("" if self.planned is None else f": {format_count(self.planned, 'request')}")


@dataclass(frozen=True, slots=True)
class LoadSummary(Summary):
    """The end of a load test; `signum` and `fault` say what ended it early, if anything did."""

    plan: LoadPlan
    metrics: Metrics
    verdicts: tuple[Verdict, ...]
    run_id: str
    began: float
    in_flight: int
    """The number of requests that could be in flight."""
    signum: int | None = None
    fault: BulkstopError | None = None
    aborted: Verdict | None = None
    """The condition that ended it, and the measurement then."""
    changes: tuple[Change, ...] = ()
    """The comparison with an earlier run."""

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """The number of requests per outcome that occurred."""
        return self.metrics.outcomes

    @property
    def is_done(self) -> bool:
        """Whether everything due was sent in time, and all requirements held."""
        return self.exit_code == 0

    @property
    def unsent(self) -> int:
        """Requests that were due and never sent, because of unanswered ones or the end of the run."""
        return self.metrics.unsent

    @property
    def has_few_files(self) -> bool:
        """Whether fewer requests could be in flight than requested: each takes a connection."""
        return self.in_flight < self.plan.max_in_flight

    @property
    def is_short_of_files(self) -> bool:
        """Whether requests had to wait because of that, so that the figures are this machine's."""
        return self.plan.is_open and self.has_few_files and self.metrics.held > 0

    @property
    def is_late(self) -> bool:
        """Whether the generator could not keep its schedule."""
        return self.plan.is_open and not self.metrics.is_punctual

    @property
    def is_starved(self) -> bool:
        """Whether the generator read responses so late that the times are not the service's."""
        return not self.metrics.reads_in_time

    @property
    def is_cramped(self) -> bool:
        """Whether there were too few places for the response times, even with a perfect service."""
        return self.plan.is_open and not self.metrics.has_room

    @property
    def is_by_machine(self) -> bool:
        """Whether the figures are those of the generator or of this machine, not of the service."""
        return self.is_late or self.is_starved or self.is_cramped or self.is_short_of_files

    @property
    def reason(self) -> str:
        """The reason for the end, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.signum is not None:
            is_sent = self.plan.planned is not None and self.metrics.requests >= self.plan.planned
            return f"by {signal.Signals(self.signum).name}, {'after' if is_sent else 'before'} all were sent"
        if self.aborted is not None:
            return f"by --abort-on, before all were sent: {describe_abort(self.aborted)}"
        return f"with {format_count(self.unsent, 'request')} not sent" if self.unsent else "all sent"

    @property
    def exit_code(self) -> int:
        """The exit code for this end, by the contract."""
        if self.fault is not None:
            return 3
        if self.signum is not None:
            return 128 + self.signum
        if self.is_by_machine:
            return 3
        if self.aborted is not None or not self.metrics.answered or not all(each.held for each in self.verdicts):
            return 1  # also with unsent requests: they could only have made it worse
        if any(change.is_regression for change in self.changes):
            return 1
        return 3 if self.unsent else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; every key is always present."""
        plan = self.plan
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "host": plan.host,
            "model": "open" if plan.is_open else "closed",
            "load": plan.load,
            "began_at": utc_text(self.began) if self.metrics.requests else None,
            "planned": plan.planned,
            "max_in_flight": self.in_flight,
            "processes": plan.processes,
            **metrics_to_json(self.metrics, is_open=plan.is_open),
            "required": verdicts_to_json(self.verdicts),
            "compared": changes_to_json(self.changes),
            "aborted": None if self.aborted is None else verdicts_to_json([self.aborted])[0],
            "by_machine": self.is_by_machine,
            "ended": self.reason,
            "exit_code": self.exit_code,
        }

    def _shortfalls(self) -> Sequence[str]:
        return [*list_faults(self), *([f"ended {self.reason}"] if self.signum is not None else [])]


def format_plan(plan: LoadPlan) -> list[tuple[str, str]]:
    """Return what will be sent in two columns, for a person to check before."""
    rows = [
        ("host", plan.host),
        ("load", plan.load),
        ("in flight", f"at most {plan.max_in_flight:,}{_describe_room(plan, plan.max_in_flight)}"),
        ("campaigns", plan.targets),
    ]
    if plan.processes > 1:
        rows.append(("processes", f"{plan.processes:,}, each with its part of that"))
    if plan.require:
        rows.append(("required", ", ".join(each.text for each in plan.require)))
    return rows


def format_summary(summary: LoadSummary) -> list[tuple[str, str]]:
    """Return the results in two columns."""
    rows = format_metrics(summary.metrics, is_open=summary.plan.is_open)
    if summary.has_few_files:
        rows.append(("connections", f"{summary.in_flight:,}: the limit on open files has no room for more"))
    rows += [("required", str(verdict)) for verdict in summary.verdicts]
    rows += [("compared", line) for line in format_changes(summary.changes)]
    return [*rows, ("ended", summary.reason)]


def format_verdict(summary: LoadSummary) -> str:
    """Return one line that says that all was sent and held, or what did not, in accordance with the exit code."""
    if summary.exit_code:
        return format_not_done(_list_reasons(summary))
    sent = summary.metrics.requests
    text = f"all {format_count(sent, 'request')} sent" if sent > 1 else "the only request sent"
    if summary.verdicts:
        text += ", all that is required held"
    return format_done(text + ("; no campaign was stopped" if summary.metrics.errors == sent else ""))


def _list_reasons(summary: LoadSummary) -> list[str]:
    """Return the reasons for a nonzero exit code in a few words."""
    sent = summary.metrics.requests
    if summary.fault is not None:
        return [printable(str(summary.fault))]
    if summary.signum is not None:
        many = format_count(sent, "request")
        if summary.plan.planned is not None:
            many = f"{sent:,} of {format_count(summary.plan.planned, 'request')}"
        return [f"ended by {signal.Signals(summary.signum).name} after {many}"]
    reasons = [] if summary.metrics.answered else [explain_unanswered(summary.metrics)]
    if summary.aborted is not None:
        reasons.append(f"aborted after {format_count(sent, 'request')}, as {describe_abort(summary.aborted)}")
    reasons += [str(verdict) for verdict in summary.verdicts if not verdict.held]
    reasons += [str(change) for change in summary.changes if change.is_regression]
    if summary.is_late:
        reasons.append("the schedule was not kept, so the figures say nothing about the service")
    if summary.is_starved:
        reasons.append("answers were read too late, so the figures say nothing about the service")
    if summary.is_cramped:
        reasons.append("the generator and not the service was the limit: too few requests could be in flight")
    if summary.is_short_of_files:
        reasons.append("this machine gave way, so the figures are not the service's")
    if summary.unsent:
        reasons.append(f"{summary.unsent:,} of {format_count(summary.metrics.due, 'request')} never left")
    return reasons


def list_faults(summary: LoadSummary) -> list[str]:
    """Return everything that went wrong, except what ended the run early."""
    failed = [str(verdict) for verdict in summary.verdicts if not verdict.held]
    worse = [str(change) for change in summary.changes if change.is_regression]
    return [*failed, *worse, *list_warnings(summary)]


def list_warnings(summary: LoadSummary) -> list[str]:
    """Return why the figures are not those of the service, or not of stops."""
    warnings = []
    if summary.is_late:
        warnings.append(warn_unpunctual(summary.metrics))
    if summary.is_starved:
        warnings.append(warn_late_reading(summary.metrics, is_open=summary.plan.is_open))
    if summary.is_cramped:
        room = "the limit on open files (ulimit -n)" if summary.has_few_files else name_setting("max_in_flight")
        warnings.append(f"{warn_no_room(summary.metrics)}; raise {room}")
    if summary.is_short_of_files:
        warnings.append(
            f"THIS MACHINE GAVE WAY: {explain_few_files(summary.in_flight)}; the figures are not the service's"
        )
    if summary.unsent:
        room = "the limit on open files (ulimit -n)" if summary.has_few_files else name_setting("max_in_flight")
        warnings.append(
            f"THE SCHEDULE WAS NOT KEPT: {format_count(summary.unsent, 'request was', 'requests were')} "
            f"due and never left, as {_explain_unsent(summary, room)}; they count as failed, and as the slowest"
        )
    if warning := warn_nothing_stopped(summary.metrics):
        warnings.append(warning)
    return warnings


def _explain_unsent(summary: LoadSummary, room: str) -> str:
    """Return what prevented requests from being sent."""
    if summary.fault is None and summary.signum is None and summary.aborted is None:
        always = format_count(summary.in_flight, "request was", "requests were")
        return f"{always} in flight all the time; lower the rate, or raise {room}"
    return "none before them was answered in time and then the run was ended"


def describe_abort(verdict: Verdict) -> str:
    """Return the measurement that ended the run by an abort condition."""
    return str(verdict).replace(": held (", " (")


def warn_few_files(plan: LoadPlan, places: int) -> str:
    """Return a warning before the start that the limit on open files is too low; empty if it suffices."""
    if places >= plan.max_in_flight or plan.room_s(places) is None:
        return ""
    room = format_count(places, "request")
    few = f"the limit on open files (ulimit -n) lets {room} be in flight and not {plan.max_in_flight:,}"
    return f"warning: {few}{_describe_room(plan, places)}"


def _describe_room(plan: LoadPlan, places: int) -> str:
    """Return how long responses may take before requests wait for a place; empty if that is long enough."""
    room_s = plan.room_s(places)
    return "" if room_s is None else f": at {plan.peak:,g}/s enough while answers take up to {format_duration(room_s)}"


def explain_few_files(places: int) -> str:
    """Return that requests waited for a place because this machine permits no more connections."""
    return f"requests waited, as the limit on open files lets {places:,} be in flight; raise it (ulimit -n)"


def verdicts_to_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """Return the verdicts on the requirements as JSON objects."""
    return [{"require": each.text, "held": each.held, "value": each.value, "unit": each.unit} for each in verdicts]
