"""How a run of any kind ended: its error unless all is done, and its JSON."""

import json
import signal
from dataclasses import replace

import pytest

from bulkstop.errors import BulkstopError, GuardError, ListError, NotDoneError
from bulkstop.model import SIGNALS, CampaignType, Outcome, Result, ScheduleState, State
from bulkstop.report.lists.verification import Verification
from bulkstop.report.load.summary import LoadPlan, LoadSummary
from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.report.summary import Summary
from tests.loads import measured


def stopped(
    *outcomes: Outcome,
    rows: int | None = None,
    schedule: str | None = None,
    fault: BulkstopError | None = None,
    signum: int | None = None,
) -> StopSummary:
    """Sum up a run of stops."""
    stats = Stats()
    for outcome in outcomes:
        stats.add(Result("cd-1", CampaignType.VOICE, "a1", "st-1", outcome, schedule=schedule))
    return StopSummary(stats, len(outcomes) if rows is None else rows, 3, 1.23456, "run-1", signum, fault=fault)


def verified(states: dict[State, int], *, invalid: int = 0, fault: BulkstopError | None = None) -> Verification:
    """Sum up a verification."""
    return Verification(states, {}, (), invalid, 0, (), 1, 0.5, fault)


def loaded(require: str, *, late_s: float = 0.0, fault: BulkstopError | None = None) -> LoadSummary:
    """Sum up a load test of 10 requests that took 0.1 s each."""
    metrics = measured(10, late_s=late_s)
    verdicts = (parse_threshold(require).judge(metrics),)
    return LoadSummary(LoadPlan(host="h", planned=10, max_in_flight=1), metrics, verdicts, "run-1", 0.0, 1, None, fault)


@pytest.mark.parametrize(
    "summary",
    [
        stopped(Outcome.STOPPED, Outcome.ALREADY_STOPPED, Outcome.DUPLICATE),
        verified({State.NOT_RUNNING: 2}),
        loaded("p99<1s"),
    ],
    ids=type,
)
def test_all_done(summary: Summary) -> None:
    """Nothing is raised, and the command would exit 0; the JSON is valid."""
    summary.check()
    assert summary.is_done
    told = summary.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["exit_code"] == summary.exit_code == 0


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        (stopped(Outcome.STOPPED, Outcome.STOPPED, Outcome.TIMEOUT), "2 stopped, 1 timeout"),
        (stopped(Outcome.STOPPED, Outcome.NOT_SENT, signum=2), "1 stopped, 1 not_sent; ended by SIGINT"),
        (stopped(Outcome.STOPPED, rows=3), "1 stopped; 2 rows without a line"),
        (stopped(Outcome.STOPPED, schedule=ScheduleState.FAILED), "1 stopped; 1 schedule not disabled"),
        (verified({State.RUNNING: 1, State.NOT_RUNNING: 2}), "1 running, 2 not_running"),
        (verified({State.NOT_RUNNING: 2}, invalid=1), "2 not_running; 1 row that names no campaign"),
        (loaded("p99<50ms"), "10 stopped; p99<50ms: FAILED (100ms)"),
        (loaded("p99<1s", late_s=9.0), "10 stopped; THE SCHEDULE WAS NOT KEPT"),
    ],
)
def test_not_done(summary: Summary, words: str) -> None:
    """Rows that are not done are raised, counted by outcome, with all other reasons for the exit code."""
    assert not summary.is_done
    assert summary.exit_code != 0
    with pytest.raises(NotDoneError) as caught:
        summary.check()
    assert str(caught.value).startswith(f"not all is done: {words}")


@pytest.mark.parametrize(
    ("summary", "kind"),
    [
        (stopped(Outcome.SERVER_ERROR, fault=GuardError("--max-failures 1")), GuardError),
        (verified({State.UNKNOWN: 1}, fault=ListError("gone")), ListError),
        (loaded("p99<1s", fault=BulkstopError("full")), BulkstopError),
    ],
)
def test_fault(summary: Summary, kind: type[BulkstopError]) -> None:
    """The fault that ended a run early is raised unchanged, each time."""
    for _ in range(2):
        with pytest.raises(kind) as caught:
            summary.check()
        assert caught.value is summary.fault


def test_stops_as_json() -> None:
    """Every outcome has its count, of this run and of earlier ones."""
    told = stopped(Outcome.STOPPED, Outcome.TIMEOUT).as_dict()
    assert (told["outcomes"]["stopped"], told["outcomes"]["throttled"], told["settled"]["stopped"]) == (1, 0, 0)
    assert {name: told[name] for name in ("run_id", "rows", "calls", "elapsed_s", "reason", "exit_code")} == {
        "run_id": "run-1",
        "rows": 2,
        "calls": 3,
        "elapsed_s": 1.235,
        "reason": "all sent",
        "exit_code": 1,
    }


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda each: each.name)
def test_the_signal_is_named(signum: signal.Signals) -> None:
    """The reason in a manifest names the signal of the exit code, whatever else happened."""
    drained = stopped(Outcome.STOPPED, Outcome.NOT_SENT, signum=signum)
    for each in (drained, replace(drained, out_of_time=True), replace(drained, ended="drained")):
        assert (each.reason, each.exit_code) == (f"by {signum.name}, before all were sent", 128 + signum)
    assert stopped(rows=2, signum=signum).reason == f"by {signum.name}, before all were sent"
    assert stopped(Outcome.STOPPED, signum=signum).reason == f"by {signum.name}, after all were sent"
    told = replace(verified({State.UNKNOWN: 1}), signum=signum)
    with pytest.raises(NotDoneError, match=f"ended by {signum.name}"):
        told.check()
