"""The summary of a run, as facts and as text."""

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkstop.errors import BulkstopError
from bulkstop.model import DONE, HELD_BACK, Outcome, Result
from bulkstop.report.stop.stats import Stats
from bulkstop.report.summary import Summary
from bulkstop.report.verdict import format_done, format_not_stopped
from bulkstop.text import format_count, format_duration, format_table, printable

ALL_SENT = "all sent"
"""The reason of a run that nothing ended early."""


@dataclass(frozen=True, slots=True)
class StopSummary(Summary):
    """The end of a run of stops; `signum` and `fault` say what ended it early, if anything did."""

    stats: Stats
    rows: int
    calls: int
    elapsed_s: float
    run_id: str
    signum: int | None = None
    out_of_time: bool = False
    fault: BulkstopError | None = None
    unwritten: tuple[Result, ...] = ()
    settled: Mapping[Outcome, int] = field(default_factory=dict)
    """The rows that ended in an earlier run of the same result file."""
    lost: int = 0
    """The lines that the result file has lost."""
    unread: int = 0
    """The lines that a pipe or a device did not take because nobody read it; these do not count as lost."""
    unlisted: str | None = None
    """Why campaigns may run that are not in the list, if the run made the list itself."""
    unread_lists: tuple[str, ...] = ()
    """The parts of the service's lists that such a run did not read, a line each."""
    ended: str | None = None
    """How the caller has ended the run early: drained or aborted."""

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """The number of rows of this run with each outcome that occurred."""
        return Counter({outcome: count for outcome in Outcome if (count := self.stats.outcomes[outcome])})

    @property
    def rows_with_lines(self) -> int:
        """The rows with a line, from this run or an earlier one; if they are not all rows, something is lost."""
        return max(0, self.stats.lines + sum(self.settled.values()) - self.lost - self.unread)

    @property
    def is_done(self) -> bool:
        """Whether every row is stopped, or was left out on purpose, and every schedule to be disabled is."""
        before = sum(self.settled.get(outcome, 0) for outcome in DONE | HELD_BACK)
        done = self.stats.done + self.stats.held_back + before
        is_left = self.fault is not None or self.unlisted is not None or self.stats.schedules_failed
        return not is_left and done == self.rows == self.rows_with_lines

    @property
    def reason(self) -> str:
        """The reason for the end, in words."""
        if self.fault is not None:
            return str(self.fault)
        if self.signum is not None:  # first, as in the exit code
            when = "before" if self.stats.left or not self.stats.lines else "after"
            return f"by {signal.Signals(self.signum).name}, {when} all were sent"
        if self.out_of_time and self.stats.left:
            return "at the time to finish by, before all were sent"
        if self.ended is not None and self.stats.left:
            return f"{self.ended} before all were sent"
        return ALL_SENT if self.stats.lines else "nothing was left to send"

    @property
    def exit_code(self) -> int:
        """The exit code for this end, by the contract."""
        if self.fault is not None:
            return 3
        if self.signum is not None:
            return 128 + self.signum
        if (self.out_of_time or self.ended is not None) and self.stats.left:
            return 4
        return 0 if self.is_done else 1

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; every key is always present."""
        return {
            "run_id": self.run_id,
            "rows": self.rows,
            "outcomes": {outcome.value: self.stats.outcomes[outcome] for outcome in Outcome},
            "settled": {outcome.value: self.settled.get(outcome, 0) for outcome in Outcome},
            "schedules": dict(self.stats.schedules),
            "lost": self.lost,
            "unread": self.unread,
            "unwritten": len(self.unwritten),
            "calls": self.calls,
            "elapsed_s": round(self.elapsed_s, 3),
            "reason": self.reason,
            "exit_code": self.exit_code,
        }

    @property
    def verdict(self) -> str:
        """Return one line that says whether all are stopped, or how many are not and with which outcomes."""
        before: Counter[Outcome] = Counter(dict(self.settled))
        states = before + self.stats.outcomes
        held = sum(states[outcome] for outcome in HELD_BACK)
        listed, done = self.rows - held, sum(states[outcome] for outcome in DONE)
        if self.exit_code == 0:
            return format_done(_describe_done(done, states))
        counts = {outcome.value: states[outcome] for outcome in Outcome if outcome not in DONE | HELD_BACK}
        unknown = max(0, self.rows - self.rows_with_lines)
        failed = self.stats.schedules_failed
        also = [f"{format_count(unknown, 'row has', 'rows have')} no line"] if unknown else []
        if failed:
            recur = format_count(failed, "schedule is", "schedules are")
            also.append(f"{recur} not disabled and may start a campaign again")
        also += [self.unlisted] if self.unlisted else []
        if not (listed - done or also):
            also.append(self.reason)
        return format_not_stopped(max(0, listed - done), listed, counts, also)

    def _shortfalls(self) -> Sequence[str]:
        gone = self.rows - self.rows_with_lines
        failed = self.stats.schedules_failed
        return [
            *([f"ended {self.reason}"] if self.signum is not None or self.out_of_time else []),
            *([f"{format_count(failed, 'schedule')} not disabled"] if failed else []),
            *([f"{format_count(gone, 'row')} without a line"] if gone else []),
        ]


def _describe_done(done: int, states: Counter[Outcome]) -> str:
    held = ", ".join(f"{states[each]:,} {each}" for each in Outcome if each in HELD_BACK and states[each])
    what = f"all {done:,} stopped" if done else "nothing was to be stopped"
    return what + (f" ({held}, not sent on purpose)" if held else "")


def format_summary(summary: StopSummary) -> list[str]:
    """Return the lines of a summary: outcomes, time, attempts, the slowest, and whether every row has its line."""
    stats, rows = summary.stats, format_counts(summary.stats.outcomes)
    rate = summary.calls / summary.elapsed_s if summary.elapsed_s > 0 else 0.0
    rows += [
        ("ended", summary.reason),
        (
            "elapsed",
            f"{format_duration(summary.elapsed_s)}, {format_count(summary.calls, 'call')}, {rate:,.1f} calls/s",
        ),
        ("attempts", f"{stats.attempts:,} for {format_count(stats.sent, 'campaign')}"),
    ]
    if slowest := stats.slowest:
        rows.append(("slowest", ", ".join(f"{ms:,.0f} ms {printable(name)}" for ms, name in slowest)))
    rows += [("failed", printable(each.describe())) for each in stats.failure_groups]
    if more := stats.other_failures:
        rows.append(("failed", f"{more:,} more, for other reasons: see the result lines"))
    if stats.late:
        rows.append(("late", f"{format_count(stats.late, 'campaign')} stopped after stop_at"))
    if stats.schedules:
        rows.append(("schedules", ", ".join(f"{number:,} {name}" for name, number in sorted(stats.schedules.items()))))
    before = sum(summary.settled.values())
    if before:
        rows.append(("earlier runs", ", ".join(f"{number} {name}" for name, number in format_counts(summary.settled))))
    lines = f"{before:,} + {stats.lines:,}" if before else f"{stats.lines:,}"
    is_sum = summary.rows == summary.rows_with_lines == before + stats.lines
    gone = f", {summary.lost:,} of them gone" if summary.lost else ""
    gone += f", {summary.unread:,} of them not read" if summary.unread else ""
    rows.append(
        (
            "rows = lines",
            f"{summary.rows:,} = {lines}"
            if is_sum
            else f"{format_count(summary.rows, 'row')} but {lines} {'line' if lines == '1' else 'lines'}{gone}",
        )
    )
    return format_table("Summary", rows)


def format_counts(outcomes: Mapping[Outcome, int]) -> list[tuple[str, str]]:
    """Return every outcome that occurred, with its number."""
    return [(outcome.value, f"{outcomes[outcome]:,}") for outcome in Outcome if outcomes.get(outcome)]
