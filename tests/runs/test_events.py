"""What is logged of a run."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from bulkstop.model import Attempt, Campaign, CampaignType, Outcome, Result, RetryHint
from bulkstop.report.log import LOG
from bulkstop.report.stop.progress import Progress
from bulkstop.report.stop.stats import Stats
from bulkstop.runs import events
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

CAMPAIGN = Campaign("cd-1", CampaignType.SMS, "acc", "st-1", "st-1", "list.csv", 2)


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
        return [(each.levelname, str(each.msg), vars(each)["fields"]) for each in self.records]


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


def stats_of(*outcomes: Outcome) -> Stats:
    """Count results of these outcomes."""
    stats = Stats()
    for outcome in outcomes:
        stats.add(Result("cd-1", None, None, None, outcome))
    return stats


async def test_a_try_is_logged(kept: Kept) -> None:
    """At debug every try is logged with what it was for and what came of it, and comes back as it was."""
    attempt = Attempt(
        Outcome.SERVER_ERROR, RetryHint.LATER, 503, 12.5, "busy", "2026-01-02", "cid-1", "NORMAL", "HTTP 503", 2.0
    )

    async def send(campaign: Campaign) -> Attempt:
        return attempt

    assert await events.log_tries(send)(CAMPAIGN) is attempt
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
    """What a try raises is logged by its kind alone and goes on its way."""

    async def send(campaign: Campaign) -> Attempt:
        raise error

    with pytest.raises(type(error)) as caught:
        await events.log_tries(send)(CAMPAIGN)
    assert caught.value is error
    ((_, _, fields),) = kept.told
    assert fields["error"] == type(error).__name__
    assert "outcome" not in fields


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.NOTSET])
def test_above_debug_a_try_costs_nothing(kept: Kept, level: int) -> None:
    """Unless debug is asked for, nothing stands between the engine and its Send."""
    LOG.setLevel(level)

    async def send(campaign: Campaign) -> Attempt:
        return Attempt(Outcome.STOPPED)

    assert events.log_tries(send) is send


def test_the_course_of_a_run(kept: Kept) -> None:
    """A run logs its beginning, its new tokens and its end; what is amiss is a warning."""
    settings = Settings(host="platform.example.com")
    stats = stats_of(Outcome.STOPPED, Outcome.STOPPED, Outcome.NOT_FOUND, Outcome.DUPLICATE)
    with Plan([CAMPAIGN]) as plan:
        events.log_start(plan, settings, "run-1")
    events.log_warning("look twice")
    events.log_token_renewed()
    events.log_end("run-1", "all sent", 1, stats, 5, 2.00049)
    assert kept.told == [
        (
            "INFO",
            "began",
            {
                "run_id": "run-1",
                "host": "https://platform.example.com",
                "rows": 1,
                "to_send": 1,
                "accounts": 1,
                "quota": "60/60s",
            },
        ),
        ("WARNING", "doubt", {"message": "look twice"}),
        ("INFO", "token_renewed", {}),
        (
            "INFO",
            "ended",
            {
                "run_id": "run-1",
                "reason": "all sent",
                "exit_code": 1,
                "calls": 5,
                "elapsed_s": 2.0,
                "outcomes": {"stopped": 2, "not_found": 1, "duplicate": 1},
            },
        ),
    ]


def test_progress_for_machines(kept: Kept) -> None:
    """The state of a run can be logged instead of shown."""
    progress: Progress = events.LoggedProgress(10)
    progress.show(stats_of(Outcome.STOPPED, Outcome.NOT_FOUND), 61.04)
    progress.close()
    assert kept.told == [("INFO", "progress", {"to_send": 10, "sent": 2, "done": 1, "failed": 1, "least_left_s": 61.0})]
