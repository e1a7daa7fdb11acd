"""The result of a campaign, made from its turn and its last attempt."""

from bulkstop.engine.lanes import Turn
from bulkstop.model import Attempt, Campaign, Outcome, Result, utc_text

NOT_TRIED = "the run ended before its turn"
NOT_TRIED_AGAIN = "the run ended before the next try"
STOP_DOUBT = "the stop may have arrived"
_BROKEN = "the call failed inside this program"
_CUT_OFF = "in flight when the run was cut off"
BROKEN = f"{_BROKEN}; {STOP_DOUBT}"
CUT_OFF = f"{_CUT_OFF}; {STOP_DOUBT}"


def unfinished_attempt(last: Attempt | None) -> Attempt:
    """Return the attempt of a call that the run has no time to make, or to repeat after `last`."""
    if last is None:
        return Attempt(Outcome.NOT_SENT, error=NOT_TRIED)
    return last._replace(error="; ".join(filter(None, (last.error, NOT_TRIED_AGAIN))))


def broken_off_attempt(turn: Turn, error: BaseException) -> Attempt:
    """Return the unknown outcome of a call that raised instead of returning a response."""
    why = _BROKEN if isinstance(error, Exception) else _CUT_OFF
    return Attempt(Outcome.UNKNOWN, error=f"{why}; {STOP_DOUBT if turn.follow_up is None else turn.follow_up.doubt}")


def make_result(turn: Turn, attempt: Attempt, run_id: str | None, finished_at: float | None) -> Result:
    """Return the result of a turn that ends with an attempt; without `finished_at` it has not ended."""
    if turn.follow_up is not None:
        return turn.follow_up.result_of(attempt)
    campaign: Campaign = turn.campaign
    was_sent = attempt.outcome is not Outcome.NOT_SENT
    # Throttled calls do not count as attempts, but if there are no others one is counted.
    attempts = (turn.tries.attempts or 1) if was_sent else 0
    return Result(
        campaign.campaign_id,
        campaign.campaign_type,
        campaign.account_id,
        campaign.stream_id,
        attempt.outcome,
        attempt.http_status,
        attempts,
        attempt.latency_ms,
        attempt.message,
        attempt.updated_at,
        attempt.campaign_instance_id,
        attempt.campaign_execution_type,
        attempt.error,
        campaign.source,
        campaign.line or None,
        utc_text(turn.started_at) if was_sent and turn.started_at is not None else None,
        utc_text(finished_at) if was_sent and finished_at is not None else None,
        run_id,
        campaign.row,
        stop_at=campaign.stop_at,
    )
