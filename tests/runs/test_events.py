"""The events of a run for observers, and their log lines."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, get_args

import pytest

from bulkstop.errors import OutputError
from bulkstop.events import (
    AccountThrottled,
    Event,
    Progressed,
    QuotaStoreAway,
    QuotaStoreBack,
    QuotaStoreEmptied,
    Resting,
    RunBegan,
    RunEnded,
    TokenRenewed,
    Warned,
    WrongScheduleDisabled,
)
from bulkstop.kore.session import make_perform
from bulkstop.model import Attempt, Campaign, CampaignType, Outcome, Result, RetryHint, WaitReason
from bulkstop.redact import MASK, Redactor
from bulkstop.report import log
from bulkstop.report.log import LOG, log_event
from bulkstop.report.stop.progress import LoggedProgress, Progress
from bulkstop.report.stop.snapshot import RunState, Snapshot
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs import wiring
from bulkstop.runs.engine import Engine
from bulkstop.runs.parts import open_parts
from bulkstop.runs.stop.run import Prepared, Run
from bulkstop.runs.wiring import make_send, make_tokens, make_transport, observe_attempts
from bulkstop.settings import Settings
from bulkstop.simulator import Simulator, SimulatorOptions
from bulkstop.source.plan import Plan

CAMPAIGN = Campaign.of_row("cd-1", CampaignType.SMS, "acc", "st-1", "st-1", "list.csv", 2)


class Kept(logging.Handler):
    """Keeps every record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    @property
    def told(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return level, event and fields of each."""
        return [(each.levelname, vars(each)["event"], vars(each)["fields"]) for each in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Keep what is logged, from debug on."""
    handler, before = Kept(), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    yield handler
    LOG.propagate = True
    LOG.setLevel(before)
    LOG.removeHandler(handler)


async def test_a_try_is_logged(kept: Kept) -> None:
    """At debug level each attempt is logged with its campaign and result, and returned unchanged."""
    attempt = Attempt(
        Outcome.SERVER_ERROR, RetryHint.LATER, 503, 12.5, "busy", "2026-01-02", "cid-1", "NORMAL", "HTTP 503", 2.0
    )

    async def send(campaign: Campaign) -> Attempt:
        return attempt

    assert await observe_attempts(send, log_event)(CAMPAIGN) is attempt
    assert kept.told == [
        (
            "DEBUG",
            "attempt",
            {
                "campaign_id": "cd-1",
                "account_id": "acc",
                "campaign_type": "sms",
                "outcome": "server_error",
                "http_status": 503,
                "latency_ms": 12.5,
                "again": "later",
                "retry_after_s": 2.0,
                "message": "busy",
                "error": "HTTP 503",
            },
        )
    ]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("with a secret")])
async def test_a_try_that_breaks_off_is_logged(kept: Kept, error: BaseException) -> None:
    """The error of an attempt is logged by its type alone and passed on."""

    async def send(campaign: Campaign) -> Attempt:
        raise error

    with pytest.raises(type(error)) as caught:
        await observe_attempts(send, log_event)(CAMPAIGN)
    assert caught.value is error
    ((_, _, fields),) = kept.told
    assert fields["error"] == type(error).__name__
    assert "outcome" not in fields


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.NOTSET])
def test_above_debug_a_try_costs_nothing(kept: Kept, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without debug level, the engine calls its Send directly."""
    LOG.setLevel(level)

    async def send(campaign: Campaign) -> Attempt:
        return Attempt(Outcome.STOPPED)

    monkeypatch.setattr(wiring, "make_stop", lambda *_, **__: send)
    settings = Settings(host="platform.example.com", token="t")
    perform = make_perform(make_transport(settings).post, make_tokens(settings))
    assert make_send(perform) is send


@pytest.mark.parametrize(
    ("event", "level", "name", "values"),
    [
        (TokenRenewed(), "INFO", "token_renewed", {}),
        (QuotaStoreAway("why"), "WARNING", "quota_store_away", {"error": "why"}),
        (QuotaStoreBack(4.0), "WARNING", "quota_store_back", {"away_s": 4.0}),
        (QuotaStoreEmptied(60.5), "WARNING", "quota_store_emptied", {"full_s": 60.5}),
        (Warned("look twice"), "WARNING", "doubt", {"message": "look twice"}),
        (Resting(0.3, "why"), "INFO", "resting", {"rest_s": 0.3, "why": "why"}),
        (Resting(42.0, "why"), "WARNING", "resting", {"rest_s": 42.0, "why": "why"}),
        (
            AccountThrottled("a1", 2.0, None),
            "WARNING",
            "account_throttled",
            {"account_id": "a1", "rest_s": 2.0, "error": None},
        ),
        (
            AccountThrottled("a1", 2.0, None, is_expected=True),
            "INFO",
            "account_throttled",
            {"account_id": "a1", "rest_s": 2.0, "error": None},
        ),
        (
            WrongScheduleDisabled("cd-1", "cd-2", "May"),
            "ERROR",
            "schedule_of_another_disabled",
            {"campaign_id": "cd-1", "disabled": "cd-2", "name": "May"},
        ),
    ],
)
def test_an_event_is_a_record(kept: Kept, event: Event, level: str, name: str, values: dict[str, Any]) -> None:
    """An event is logged by its name, at its level, with its fields; a long wait and a surprise are warnings."""
    log_event(event)
    assert kept.told == [(level, name, values)]


@pytest.mark.parametrize("kind", get_args(Event))
def test_an_event_is_a_sentence(kept: Kept, kind: Any) -> None:
    """The message of a record is a complete sentence on one line, for handlers that show no fields."""
    values: dict[str, object] = dict.fromkeys(kind._fields, 7)
    event: Event = kind(**{**values, "message": "a\nb c"} if "message" in values else values)
    log_event(event)
    (record,) = kept.records
    message = record.getMessage()
    assert " " in message
    assert message.isprintable()
    assert "{" not in message
    assert message != vars(record)["event"]


def test_a_sentence_shows_no_secret(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is masked in such a message as in the log of the command line."""
    monkeypatch.setattr(log, "REDACTOR", Redactor("s3cret"))
    log_event(Warned("no token: s3cret 100 %"))
    assert kept.records[0].getMessage() == f"no token: {MASK} 100 %"


async def test_a_run_is_observed_from_its_beginning_to_its_end() -> None:
    """Observers get the beginning of a run, and its end once the results are closed."""
    events: list[Event] = []
    settings = Settings(host="platform.example.com", token="t", quota_store="memory")
    invalid = Result("", None, None, None, Outcome.INVALID)

    def end(summary: StopSummary) -> StopSummary:
        return replace(summary, fault=OutputError("no room"))

    @asynccontextmanager
    async def prepare(run_id: str) -> AsyncIterator[Prepared]:
        with Plan([invalid]) as plan:
            yield Prepared(plan, end=end)

    async with open_parts(settings) as parts:
        run = Run(parts, prepare, observe=events.append)
        states = [run.state]
        summary = await run
    states.append(run.state)
    assert states == [RunState.PLANNED, RunState.ENDED]
    assert summary.exit_code == 3
    began, ended = events
    assert began == RunBegan(run.id, "https://platform.example.com", 1, 0, 0, "60/60s")
    assert isinstance(ended, RunEnded)
    assert (ended.run_id, ended.reason, ended.exit_code, ended.calls) == (run.id, "no room", 3, 0)
    assert ended.outcomes == {"invalid": 1}


def test_progress_for_machines() -> None:
    """The state of a run can be reported as events instead of being shown."""
    events: list[Event] = []
    progress: Progress = LoggedProgress(events.append)
    snapshot = Snapshot(
        run_id="run-1",
        state=RunState.RUNNING,
        rows=10,
        to_send=10,
        sent=2,
        done=1,
        failed=1,
        in_flight=0,
        elapsed_s=1.0,
        left_s=61.04,
        waits_for=WaitReason.QUOTA,
    )
    progress.show(snapshot)
    progress.close()
    assert events == [Progressed(10, 2, 1, 1, 61.0, "quota")]


@pytest.mark.real
async def test_a_run_is_steered_while_it_goes() -> None:
    """A run can be slowed down, paused and resumed; its snapshot shows its state."""
    async with Simulator(SimulatorOptions()) as service:
        settings = Settings(host=service.url, token="t", concurrency=1, quota_store="memory")
        async with Engine(settings) as engine:
            run = engine.run(CAMPAIGN._replace(campaign_id=f"cd-{n}", line=n) for n in range(1, 6))
            async for result in run:
                if result.campaign_id == "cd-2":
                    run.set_rate("20/s")
                    run.pause()
                    paused = run.snapshot()
                    run.resume()
        assert run.summary is not None
        assert run.summary.is_done
    assert (paused.state, paused.to_send) == (RunState.PAUSED, 5)
    assert paused.sent < 5
    assert run.snapshot().state is RunState.ENDED
