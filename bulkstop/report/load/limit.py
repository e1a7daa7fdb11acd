"""The result of a search for a limit: facts, as text, as JSON, as lines for a profile."""

import json
import math
import re
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkstop.model import DONE, Limit, Outcome, Pace
from bulkstop.report.load.error_counts import ErrorCounts, error_counts_to_json, format_error_counts
from bulkstop.report.load.figures import describe_outcome, explain_unanswered, metrics_to_json, warn_nothing_stopped
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.summary import verdicts_to_json
from bulkstop.report.load.thresholds import Threshold, Verdict
from bulkstop.report.stop.summary import format_counts
from bulkstop.report.verdict import format_done, format_not_done
from bulkstop.text import format_count, format_duration, printable

LIMIT_SCHEMA = "bulkstop-find-limit/1"
"""The schema of a search's JSON; the number changes if a key is removed or changes its meaning."""
EVEN = Pace.EVEN
REFUSED_SHARE = 0.5
WINDOWS_S = (1.0, 10.0, 60.0, 600.0, 3600.0)
SPARE = 2
"""After this many idle intervals a token bucket accepts a request; a service that refuses it counts over a window."""
UNTRIED = frozenset({"unclear", "used up", "behind"})
"""The results of trials that prove nothing about their rate."""
LEAST_CALLS = 20
"""With this many calls per window, rounding down to a whole call loses at most 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """Where to search for a limit; a rate holds if all `lines` do, and `require` judges the rate that was found."""

    host: str
    targets: str = ""
    start: float
    top: float
    step_s: float
    count: int | None = None
    lines: tuple[Threshold, ...] = ()
    require: tuple[Threshold, ...] = ()


class Probe(NamedTuple):
    """A short run: its rate and length, its measurements, its result and the reason."""

    rate: float
    length_s: float
    metrics: Metrics
    trial: str
    why: str


class Hold(NamedTuple):
    """How long a rate held, and how long before that the service refused a request."""

    held_s: float
    spare_s: float


NO_HOLD = Hold(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSummary:
    """The result of a search; `signum`, `fault` and `dead_end` say what ended it before the limit was known.

    The limit is between `low`, the highest rate that held, and `high`, the lowest that did not; `by_machine` means that
    at `high` this machine was the bottleneck.
    """

    plan: SearchPlan
    run_id: str
    probes: tuple[Probe, ...] = ()
    low: float | None = None
    high: float | None = None
    by_machine: bool = False
    is_over: bool = True
    """Whether everything that can be known is known."""
    dead_end: str = ""
    is_unanswered: bool = False
    """Whether nothing responds."""
    signum: int | None = None
    fault: str | None = None
    hold: Hold = NO_HOLD
    """How the rate that was found held at the end."""

    @property
    def requests(self) -> int:
        """The number of requests sent."""
        return sum(probe.metrics.requests for probe in self.probes)

    @property
    def outcomes(self) -> Counter[Outcome]:
        """The number of requests per outcome."""
        return sum((probe.metrics.outcomes for probe in self.probes), Counter[Outcome]())

    @property
    def reasons(self) -> ErrorCounts:
        """The errors of the failed requests."""
        counts = ErrorCounts()
        for probe in self.probes:
            counts.merge(probe.metrics.reasons)
        return counts

    @property
    def rate(self) -> float | None:
        """The highest rate that held, also for the longer time; None unless the search is complete."""
        return self.low if self.is_over else None

    @property
    def quota(self) -> Limit | None:
        """That rate as a quota; None unless it is the service's limit."""
        return rate_to_limit(self._steady_rate) if self.exit_code == 0 and self.rate is not None else None

    @property
    def _steady_rate(self) -> float:
        """The rate at which the service accepted requests after a refusal, when it had saved nothing up.

        One request may have been due already; what was saved before the first one is little.
        """
        rate = self.rate or 0.0
        if self.high is None or not self.hold.held_s:
            return rate
        return (rate * self.hold.held_s - 1) / (self.hold.held_s + self.hold.spare_s)

    @property
    def is_least(self) -> bool:
        """Whether the service may accept more."""
        return self.is_over and (self.high is None or self.by_machine)

    @property
    def confirmed(self) -> Probe | None:
        """The longer run at that rate."""
        return next((probe for probe in reversed(self.probes) if probe.rate == self.rate), None)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts on the requirements for the rate that was found."""
        metrics = self.confirmed.metrics if self.confirmed else Metrics()
        return tuple(each.of_all.judge(metrics) for each in self.plan.require if each.name == "rate")

    @property
    def refused(self) -> str:
        """The most frequent outcome at that rate, if no campaign was stopped there."""
        outcomes = self.confirmed.metrics.outcomes if self.confirmed else Counter[Outcome]()
        most = [each for each, count in outcomes.items() if count > REFUSED_SHARE * outcomes.total()]
        return next((outcome.value for outcome in most if outcome not in DONE), "")

    @property
    def reason(self) -> str:
        """The reason for the end, in words."""
        if self.fault is not None:
            return self.fault
        if self.signum is not None:
            return f"by {signal.Signals(self.signum).name}, before the limit was known"
        if self.is_over and self.rate is None:
            return f"no rate held, down to {self.high:,g}/s"
        return self.dead_end or "the limit is known"

    @property
    def exit_code(self) -> int:
        """The exit code: 0 found, 1 nothing held or a requirement failed, 3 the limit is not the service's."""
        if self.signum is not None and self.fault is None:
            return 128 + self.signum
        if self.is_unanswered:
            return 1
        if not self.is_over or self.by_machine:
            return 3
        return 0 if self.rate is not None and all(verdict.held for verdict in self.verdicts) else 1


@dataclass(frozen=True, slots=True)
class QuotaTarget:
    """The profile for a quota, and its current quota; None if the file has no such table."""

    config: str
    profile: str
    values: Mapping[str, Any] | None = None


def rate_to_limit(rate: float) -> Limit:
    """Return a rate as a quota, rounded down."""
    for window_s in WINDOWS_S:
        if (calls := math.floor(rate * window_s + 1e-6)) >= LEAST_CALLS:
            return Limit(calls, window_s)
    return Limit(max(1, calls), WINDOWS_S[-1])


def format_search(plan: SearchPlan) -> list[tuple[str, str]]:
    """Return what will be sent in two columns, for a person to check before."""
    load = f"from {plan.start:,g}/s up to {plan.top:,g}/s, {format_duration(plan.step_s)} each"
    most = "" if plan.count is None else f"; at most {format_count(plan.count, 'request')}"
    required = ", ".join(each.text for each in plan.lines)
    return [("host", plan.host), ("campaigns", plan.targets), ("load", load + most), ("holds if", required)]


def format_probe(probe: Probe) -> str:
    """Return the result of a trial."""
    metrics = probe.metrics
    p99 = f"p99 {metrics.latency.at(99)[0] * 1e3:,.1f} ms, " if len(metrics.latency) else ""
    figures = f"{p99}{format_count(metrics.requests, 'request')} in {format_duration(metrics.elapsed_s)}"
    rate = f"{probe.rate:,g}/s"
    return f"{rate:>10}  {probe.trial:<8}  {probe.why or figures}"


def format_limit(summary: LimitSummary) -> list[tuple[str, str]]:
    """Return what was found, and at what cost, in two columns."""
    rows = [*format_counts(summary.outcomes), *format_error_counts(summary.reasons)]
    if summary.low is not None:
        rows.append(("limit" if summary.is_over else "held", _describe_rates(summary)))
    rows += [("required", str(verdict)) for verdict in summary.verdicts]
    rows.append(("tried", f"{format_count(len(summary.probes), 'time')}, {format_count(summary.requests, 'request')}"))
    rows.append(("ended", summary.reason))
    return rows


def format_limit_verdict(summary: LimitSummary) -> str:
    """Return one line that says which rate held, or why the limit is unknown, in accordance with the exit code."""
    return format_not_done(_list_reasons(summary)) if summary.exit_code else format_done(_describe_rates(summary))


def _list_reasons(summary: LimitSummary) -> list[str]:
    """Return the reasons for a nonzero exit code in a few words."""
    if summary.fault is None and summary.signum is not None:
        return [f"ended {summary.reason}"]
    if summary.is_unanswered:
        return [explain_unanswered(summary.probes[-1].metrics) if summary.probes else "no request was answered"]
    if not summary.is_over:
        return [printable(summary.reason)]
    if summary.by_machine:
        return ["this machine gave way first, so the limit is not known"]
    return [str(verdict) for verdict in summary.verdicts if not verdict.held] if summary.rate else [summary.reason]


def _describe_rates(summary: LimitSummary) -> str:
    least = "at least " if summary.is_least else ""
    return f"{least}{summary.low:,g}/s held{'' if summary.is_over else ', so far'}{_describe_high(summary)}"


def _describe_high(summary: LimitSummary) -> str:
    tried = [each for each in summary.probes if each.trial not in UNTRIED]
    last = next((each for each in reversed(tried) if each.rate == summary.high), None)
    if last is None:
        return "" if not summary.is_over else "; a higher rate was not asked for"
    return f"; {last.rate:,g}/s did not: {last.why}"


def list_limit_faults(summary: LimitSummary) -> list[str]:
    """Return the reasons for a nonzero exit code, and remarks on the limit."""
    faults = [str(verdict) for verdict in summary.verdicts if not verdict.held]
    if summary.fault is not None or (summary.dead_end and not summary.is_unanswered):
        faults.append(summary.reason)
    elif summary.is_over and summary.by_machine:
        faults.append("THIS MACHINE GAVE WAY FIRST: it could not send faster, and what the service takes is not known")
    elif summary.is_over and summary.rate is None:
        faults.append(summary.reason)
    if summary.is_unanswered:
        faults.append(warn_nothing_stopped(summary.probes[-1].metrics))
    elif summary.refused and summary.confirmed is not None:
        faults.append(f"WARNING: {describe_outcome(summary.confirmed.metrics)}; the limit is that of answering so")
    return faults


def describe_paste(target: QuotaTarget, quota: Limit | None) -> str:
    """Return where the lines of a quota belong, and which lines they replace."""
    if quota is None:
        return "none to paste"
    if target.values is None:
        return f"{quota}; add these lines to {target.config}"
    lines = [
        f"{key} = {json.dumps(target.values[key], default=str)}" for key in ("quota", "pace") if key in target.values
    ]
    place = f"in place of {', '.join(lines)}" if lines else "there is neither yet"
    return f"{quota}; paste these lines under [{_table(target.profile)}] of {target.config}; {place}"


def format_profile(target: QuotaTarget, quota: Limit) -> str:
    """Return a quota with an even pace as lines of a profile; with a header only if the file has no such table."""
    header = f"[{_table(target.profile)}]\n" if target.values is None else ""
    return f'{header}quota = "{quota}"\npace = "{EVEN}"'


def _table(profile: str) -> str:
    is_bare = re.fullmatch(r"[A-Za-z0-9_-]+", profile)
    return f"profile.{profile if is_bare else _quote(profile)}"


def _quote(text: str) -> str:
    """Return a text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def limit_to_json(summary: LimitSummary) -> dict[str, object]:
    """Return the result as a JSON object."""
    return {
        "schema": LIMIT_SCHEMA,
        "run_id": summary.run_id,
        "host": summary.plan.host,
        "model": "find-limit",
        "limit": summary.rate,
        "quota": None if summary.quota is None else str(summary.quota),
        "held": summary.low,
        "did_not_hold": summary.high,
        "at_least": summary.is_least,
        "by_machine": summary.by_machine,
        "requests": summary.requests,
        "outcomes": {outcome.value: count for outcome, count in summary.outcomes.items()},
        "reasons": error_counts_to_json(summary.reasons),
        "tried": [_probe_to_json(probe) for probe in summary.probes],
        "required": verdicts_to_json(summary.verdicts),
        "ended": summary.reason,
        "exit_code": summary.exit_code,
    }


def _probe_to_json(probe: Probe) -> dict[str, object]:
    figures = metrics_to_json(probe.metrics, is_open=True)
    return {
        "rate": probe.rate,
        "length_s": probe.length_s,
        "became": probe.trial,
        "why": probe.why or None,
        **{("sent_rate" if name == "rate" else name): value for name, value in figures.items()},
    }
