"""The last word on a run of stops."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bulkstop.errors import OutputError
from bulkstop.model import Outcome, Result, schedule_failure
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary, format_summary


def line(outcome: Outcome, number: int = 1, error: str | None = None, status: int | None = None) -> Result:
    """Make a result line."""
    held = outcome in (Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED, Outcome.NOT_SENT)
    return Result(
        f"cd-{number}",
        None,
        "a",
        "st",
        outcome,
        http_status=status,
        attempts=0 if held else 1,
        error=error,
        source="list.csv",
        line=number,
    )


def summed(counts: Mapping[Outcome, int], **more: Any) -> StopSummary:
    """Sum up a run with so many lines of each outcome."""
    stats = Stats()
    for outcome, count in counts.items():
        for number in range(count):
            stats.add(line(outcome, number))
    settled = sum(dict(more.get("settled") or {}).values())
    facts: dict[str, Any] = {
        "rows": stats.lines + settled,
        "calls": stats.lines,
        "elapsed_s": 1.0,
        "run_id": "r",
        **more,
    }
    return StopSummary(stats, **(facts | more))


@pytest.mark.parametrize(
    ("summary", "verdict"),
    [
        (summed({Outcome.STOPPED: 20, Outcome.ALREADY_STOPPED: 4}), "DONE: all 24 stopped"),
        (
            summed({Outcome.STOPPED: 2, Outcome.DUPLICATE: 1, Outcome.PROTECTED: 3}),
            "DONE: all 2 stopped (1 duplicate, 3 protected, not sent on purpose)",
        ),
        (
            summed({Outcome.PROTECTED: 3}),
            "DONE: nothing was to be stopped (3 protected, not sent on purpose)",
        ),
        (summed({Outcome.STOPPED: 4}, settled={Outcome.STOPPED: 20}), "DONE: all 24 stopped"),
        (
            summed({Outcome.STOPPED: 24, Outcome.NOT_FOUND: 2, Outcome.INVALID: 1}),
            "NOT STOPPED: 3 of 27 (2 not_found, 1 invalid)",
        ),
        (
            summed({Outcome.STOPPED: 1}, settled={Outcome.NOT_FOUND: 2}),
            "NOT STOPPED: 2 of 3 (2 not_found)",
        ),
        (
            summed({Outcome.STOPPED: 5, Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}, signum=2),
            "NOT STOPPED: 5 of 10 (2 unknown, 3 not_sent)",
        ),
        (summed({Outcome.STOPPED: 5, Outcome.NOT_SENT: 3}, out_of_time=True), "NOT STOPPED: 3 of 8 (3 not_sent)"),
        (summed({Outcome.STOPPED: 5}, lost=2), "NOT STOPPED: 0 of 5; 2 rows have no line"),
        (summed({Outcome.STOPPED: 5}, fault=OutputError("no room")), "NOT STOPPED: 0 of 5; no room"),
    ],
)
def test_verdict(summary: StopSummary, verdict: str) -> None:
    """It says DONE only where the exit code is 0, and else how many of the campaigns are not stopped, and why."""
    assert summary.verdict == verdict
    assert summary.verdict.startswith("DONE: ") == (summary.exit_code == 0)


def test_schedules_are_in_the_verdict() -> None:
    """A campaign whose schedule may start it again is not done."""
    summary = summed({})
    summary.stats.add(replace(line(Outcome.STOPPED), schedule=schedule_failure("HTTP 500")))
    one = StopSummary(summary.stats, 1, 2, 1.0, "r")
    assert one.verdict == "NOT STOPPED: 0 of 1; 1 schedule is not disabled and may start a campaign again"


def test_failures_are_grouped_by_reason() -> None:
    """Rows that failed alike are one group, despite different values; each group has an example with its place."""
    stats = Stats()
    for number in range(3):
        stats.add(line(Outcome.REJECTED, number + 2, f"campaign 'cd-{number}' has {number} steps", 409))
    stats.add(line(Outcome.NOT_FOUND, 9, "HTTP 404", 404))
    stats.add(line(Outcome.INVALID, 10, "no campaign id"))
    rows = [text for text in format_summary(StopSummary(stats, 5, 4, 1.0, "r")) if text.startswith("  failed")]
    assert [text.split(None, 1)[1] for text in rows] == [
        "3 rejected (HTTP 409): campaign 'cd-0' has 0 steps; the first is cd-2, list.csv line 2",
        "1 not_found (HTTP 404); cd-9, list.csv line 9",
        "1 invalid: no campaign id; cd-10, list.csv line 10",
    ]


def test_many_reasons_are_counted() -> None:
    """Five groups are named, the others counted, however many there are."""
    stats = Stats()
    for number in range(300):
        stats.add(line(Outcome.REJECTED, number, "x" * number, 400))
    rows = [text for text in format_summary(StopSummary(stats, 300, 300, 1.0, "r")) if text.startswith("  failed")]
    assert len(rows) == 6
    assert "295 more, for other reasons" in rows[-1]
