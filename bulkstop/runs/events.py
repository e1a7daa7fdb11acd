"""What is logged of a run: its tries at debug, its turning points at info, what is amiss as a warning."""

import logging

from bulkstop.model import Attempt, Campaign, Outcome, Send
from bulkstop.report.log import LOG, log_event
from bulkstop.report.stop.stats import Stats
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

PROGRESS_S = 10.0


def log_tries(send: Send) -> Send:
    """Log every try of a Send at debug; unless that is asked for, give the Send itself, which costs nothing."""
    if not LOG.isEnabledFor(logging.DEBUG):
        return send

    async def send_and_log(campaign: Campaign) -> Attempt:
        try:
            attempt = await send(campaign)
        except BaseException as error:
            log_event("attempt", logging.DEBUG, **_campaign_fields(campaign), error=type(error).__name__)
            raise
        log_event("attempt", logging.DEBUG, **_campaign_fields(campaign), **_attempt_fields(attempt))
        return attempt

    return send_and_log


def log_start(plan: Plan, settings: Settings, run_id: str) -> None:
    """Log that a run begins."""
    log_event(
        "began",
        run_id=run_id,
        host=settings.host,
        rows=plan.rows,
        to_send=plan.to_send,
        accounts=len(plan.accounts),
        quota=" ".join(map(str, settings.quota)) or "none",
    )


def log_end(run_id: str, reason: str, exit_code: int, stats: Stats, calls: int, elapsed_s: float) -> None:
    """Log how a run ended."""
    outcomes = {outcome.value: stats.outcomes[outcome] for outcome in Outcome if stats.outcomes[outcome]}
    log_event(
        "ended",
        run_id=run_id,
        reason=reason,
        exit_code=exit_code,
        calls=calls,
        elapsed_s=round(elapsed_s, 3),
        outcomes=outcomes,
    )


def log_warning(line: str) -> None:
    """Log what should be looked at twice before a run."""
    log_event("doubt", logging.WARNING, message=line)


def log_token_renewed() -> None:
    """Log that a new token is in use."""
    log_event("token_renewed")


class LoggedProgress:
    """Logs the state of a run now and then: the progress of a run whose standard error is read by a machine."""

    every_s = PROGRESS_S

    def __init__(self, total: int) -> None:
        self._total = total

    def show(self, stats: Stats, least_left_s: float) -> None:
        """Log the counts as they are now."""
        log_event(
            "progress",
            to_send=self._total,
            sent=stats.sent,
            done=stats.done,
            failed=stats.sent_failed,
            least_left_s=round(least_left_s, 1),
        )

    def close(self) -> None:
        """Do nothing."""


def _campaign_fields(campaign: Campaign) -> dict[str, object]:
    return {
        "campaign_id": campaign.campaign_id,
        "account_id": campaign.account_id,
        "campaign_type": campaign.campaign_type.value,
    }


def _attempt_fields(attempt: Attempt) -> dict[str, object]:
    return {
        "outcome": attempt.outcome.value,
        "http_status": attempt.http_status,
        "latency_ms": attempt.latency_ms,
        "again": attempt.again.value,
        "retry_after_s": attempt.retry_after_s,
        "message": attempt.message,
        "error": attempt.error,
    }
