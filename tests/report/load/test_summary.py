"""The result of a load test: its end, its exit code, its text and JSON."""

from dataclasses import replace
from typing import Any

import pytest

from bulkstop.errors import BulkstopError
from bulkstop.model import Outcome
from bulkstop.report.load.comparison import Change
from bulkstop.report.load.summary import (
    LoadPlan,
    LoadSummary,
    format_plan,
    format_summary,
    format_verdict,
    list_faults,
    warn_few_files,
)
from bulkstop.report.load.thresholds import Verdict, parse_threshold
from tests.loads import measured

HELD = Verdict("p99<1s", held=True, value=1.0, unit="ms")
FAILED = HELD._replace(held=False)
PLAN = LoadPlan(host="http://h", shape="100/s, for 1.0 s", targets="made up", planned=100, max_in_flight=32)


WORSE = Change("p99", "ms", 10.0, 20.0, is_noise=False, is_worse=True, max_regression=0.1)
LATE = {"late_s": 0.05}


STARVED = {"looks_s": (0.05,) * 100}


def summarized(verdicts: tuple[Verdict, ...] = (), *, plan: LoadPlan = PLAN, **how: Any) -> LoadSummary:
    """Return the summary of a run that sent all requests, by default."""
    ended = {name: how.pop(name) for name in ("signum", "fault", "in_flight", "aborted", "changes") if name in how}
    looks_s = how.pop("looks_s", ())
    metrics = measured(**{"count": 100, **how})
    for late_s in looks_s:
        metrics.reading.record(late_s)
    return LoadSummary(plan, metrics, verdicts, "run-1", 0.0, **{"in_flight": 32, **ended})


@pytest.mark.parametrize(
    ("how", "verdicts", "code"),
    [
        ({}, (), 0),
        ({}, (HELD, HELD), 0),
        ({}, (HELD, FAILED), 1),
        ({"answered": False}, (HELD,), 1),
        (LATE, (), 3),
        (LATE, (FAILED,), 3),
        ({"count": 99, "unsent": 1}, (HELD,), 3),
        ({"count": 99, "unsent": 1}, (FAILED,), 1),
        ({"count": 99, "signum": 2}, (FAILED,), 130),
        ({**LATE, "signum": 15}, (FAILED,), 143),
        ({"count": 0, "answered": False, "signum": 2}, (FAILED,), 130),
        ({"fault": BulkstopError("no token")}, (HELD,), 3),
        ({"count": 50, "fault": BulkstopError("no token"), "signum": 2}, (FAILED,), 3),
        ({"aborted": HELD}, (HELD,), 1),
        ({"aborted": HELD, **LATE}, (), 3),
        ({"changes": (WORSE,)}, (HELD,), 1),
        ({"changes": (WORSE._replace(is_noise=True),)}, (HELD,), 0),
        (STARVED, (), 3),
        ({**STARVED, "plan": replace(PLAN, is_open=False)}, (), 3),
        ({**LATE, "plan": replace(PLAN, is_open=False)}, (), 0),  # where nothing is due nothing is late
    ],
)
def test_exit_codes(how: dict[str, Any], verdicts: tuple[Verdict, ...], code: int) -> None:
    """The exit code: a generator that was late says nothing, failed is failed, and what is missing is no success."""
    assert summarized(verdicts, **how).exit_code == code


@pytest.mark.parametrize(
    ("how", "reason", "unsent"),
    [
        ({}, "all sent", 0),
        ({"count": 90, "unsent": 10}, "with 10 requests not sent", 10),
        ({"count": 90, "unsent": 4, "signum": 15}, "by SIGTERM, before all were sent", 4),
        ({"count": 100, "signum": 2}, "by SIGINT, after all were sent", 0),
        ({"count": 90, "fault": BulkstopError("no token")}, "no token", 0),
    ],
)
def test_reason(how: dict[str, Any], reason: str, unsent: int) -> None:
    """The reason of the end is reported; requests that had enough time but no place were not sent."""
    summary = summarized(**how)
    assert dict(format_summary(summary))["ended"] == reason
    told = summary.as_dict()
    assert (told["ended"], told["unsent"], told["exit_code"]) == (reason, unsent, summary.exit_code)


@pytest.mark.parametrize(
    ("how", "verdicts", "said"),
    [
        ({}, (), "DONE: all 100 requests sent"),
        ({}, (HELD,), "DONE: all 100 requests sent, all that is required held"),
        ({"plan": replace(PLAN, planned=1), "count": 1}, (), "DONE: the only request sent"),
        ({}, (HELD, FAILED), "NOT DONE: p99<1s: FAILED (1ms)"),
        (
            {"answered": False, "outcome": Outcome.TIMEOUT, "error": "it is down"},
            (FAILED,),
            "NOT DONE: no request was answered: it is down; p99<1s: FAILED (1ms)",
        ),
        (
            {**LATE, "answered": False, "outcome": Outcome.TIMEOUT, "error": "it is down"},
            (),
            "NOT DONE: no request was answered: it is down; the schedule was not kept",
        ),
        (LATE, (), "NOT DONE: the schedule was not kept, so the figures say nothing about the service"),
        ({"count": 90, "unsent": 10}, (HELD,), "NOT DONE: 10 of 100 requests never left"),
        ({"count": 90, "signum": 2}, (FAILED,), "NOT DONE: ended by SIGINT after 90 of 100 requests"),
        ({"count": 90, "signum": 2, "plan": replace(PLAN, planned=None)}, (), "NOT DONE: ended by SIGINT after 90 r"),
        ({"count": 90, "signum": 2, "fault": BulkstopError("no\ttoken")}, (FAILED,), "NOT DONE: no\ufffdtoken"),
    ],
)
def test_verdict(how: dict[str, Any], verdicts: tuple[Verdict, ...], said: str) -> None:
    """The last line is DONE only with exit code 0; otherwise it names the reason of the exit code."""
    summary = summarized(verdicts, **how)
    assert format_verdict(summary).startswith(said)
    assert format_verdict(summary).startswith("DONE: ") == (summary.exit_code == 0)


def test_verdict_of_refusals() -> None:
    """If all requirements held but nothing was stopped, the verdict says that too."""
    summary = summarized(outcome=Outcome.NOT_FOUND)
    assert format_verdict(summary) == "DONE: all 100 requests sent; no campaign was stopped"


def test_verdict_of_few_files() -> None:
    """Requests that waited for open files are this machine's fault in the last word, too."""
    summary = summarized(in_flight=5)
    summary.metrics.held = 1
    assert format_verdict(summary) == "NOT DONE: this machine gave way, so the figures are not the service's"


def test_plan() -> None:
    """The plan is shown in advance; processes and requirements only if there are any."""
    rows = [("host", "http://h"), ("load", "100/s, for 1.0 s: 100 requests"), ("in flight", "at most 32")]
    assert format_plan(PLAN) == [*rows, ("campaigns", "made up")]
    more = replace(PLAN, planned=None, processes=2, require=(parse_threshold("p99<1s"), parse_threshold("errors<1%")))
    assert format_plan(more)[1:2] == [("load", "100/s, for 1.0 s")]
    assert format_plan(more)[4:] == [("processes", "2, each with its part of that"), ("required", "p99<1s, errors<1%")]


def test_faults() -> None:
    """All that went wrong is named, each once: what did not hold, who was late, what never left."""
    faults = list_faults(summarized((HELD, FAILED), late_s=0.05, count=90, unsent=10))
    assert [fault.split(" left ")[0].split(", as ")[0] for fault in faults] == [
        "p99<1s: FAILED (1ms)",
        "THE SCHEDULE WAS NOT KEPT: 100% of the requests",
        "THE SCHEDULE WAS NOT KEPT: 10 requests were due and never left",
    ]
    assert "lower the rate, or raise max_in_flight; they count as failed, and as the slowest" in faults[-1]
    assert list_faults(summarized((HELD,))) == []


def test_few_files() -> None:
    """If open files are too few, the message names them, not an option that would not help."""
    summary = summarized(count=90, unsent=10, in_flight=5)
    assert ("connections", "5: the limit on open files has no room for more") in format_summary(summary)
    assert "raise the limit on open files (ulimit -n); they count as failed" in list_faults(summary)[-1]


def test_held_up_by_few_files() -> None:
    """If requests waited for lack of open files, the run says nothing about the service, whatever was required."""
    summary = summarized((FAILED,), in_flight=5)
    summary.metrics.held = 1
    assert summary.exit_code == 3
    assert any(fault.startswith("THIS MACHINE GAVE WAY: requests waited") for fault in list_faults(summary))


def test_json() -> None:
    """The JSON has the plan and the verdict on each requirement; the time only if anything was sent."""
    told = summarized((FAILED,)).as_dict()
    assert {name: told[name] for name in ("run_id", "host", "model", "began_at", "planned", "max_in_flight")} == {
        "run_id": "run-1",
        "host": "http://h",
        "model": "open",
        "began_at": "1970-01-01T00:00:00.000Z",
        "planned": 100,
        "max_in_flight": 32,
    }
    assert (told["schema"], told["kept_schedule"], told["by_machine"]) == ("bulkstop-load/1", True, False)
    assert told["required"] == [{"require": "p99<1s", "held": False, "value": 1.0, "unit": "ms"}]
    assert summarized(count=0).as_dict()["began_at"] is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"unsent": 2}, "THE SCHEDULE WAS NOT KEPT: 2 requests were due and never left"),
        ({"late_s": 0.05}, "THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than 10 ms late"),
    ],
)
def test_one_source(how: dict[str, Any], said: str) -> None:
    """The JSON says that the schedule was missed whenever the text does."""
    summary = summarized(**how)
    assert any(fault.startswith(said) for fault in list_faults(summary))
    assert summary.as_dict()["kept_schedule"] is False
    assert summary.exit_code == 3


def test_room_is_told_before() -> None:
    """If few places are available, a message says in advance that slow responses would take them all."""
    plan = replace(PLAN, max_in_flight=50, intended=((0.0, 100.0), (1.0, 100.0)))
    assert ("in flight", "at most 50: at 100/s enough while answers take up to 0.5 s") in format_plan(plan)
    assert ("in flight", "at most 500") in format_plan(replace(plan, max_in_flight=500))
    warning = warn_few_files(plan, 20)
    assert warning.startswith("warning: the limit on open files (ulimit -n) lets 20 requests be in flight and not 50: ")
    assert warn_few_files(plan, 50) == warn_few_files(replace(plan, max_in_flight=5000), 4000) == ""
