"""What the engine asks of a list while it runs: how campaigns stand whose answer proves nothing by itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from bulkstop.model import Attempt, Campaign, Outcome, RetryHint

NOT_READ_BACK = "the run ended before the list was read"


class ListedState(NamedTuple):
    """How a list has a campaign: its status, whether that proves that it is at rest, and whether it may run now."""

    status: str | None
    is_at_rest: bool
    may_run: bool = True


class Reading(NamedTuple):
    """What a list told, by campaign id; with a `fault` it was not read as far as was asked."""

    states: Mapping[str, ListedState]
    calls: int = 0
    fault: str | None = None


IsEnough = Callable[[Mapping[str, ListedState]], bool]
ReadList = Callable[[Campaign, IsEnough], Awaitable[Reading]]
"""Reads the list of a campaign's account, stream and type until what was read is enough, or to its end.

Raises a BulkstopError only when no call can be made any more.
"""


def judge_claim(attempt: Attempt, campaign_id: str, reading: Reading) -> Attempt:
    """Return what the list makes of a claim that a campaign does not run.

    At rest it is `already_stopped`. `Again.LATER` marks one that the list has as running. One that a schedule starts
    later cannot be stopped before that. Of any other nobody knows.
    """
    state = reading.states.get(campaign_id)
    if state is None:
        return _unconfirmed(attempt, _why_unknown(reading), RetryHint.NO)
    status = state.status or "without a status"
    if state.is_at_rest:
        said = f"{attempt.error}; the list has it as {status}"
        return attempt._replace(outcome=Outcome.ALREADY_STOPPED, again=RetryHint.NO, error=said)
    if state.may_run:
        return _unconfirmed(attempt, f"the list has it as {status}", RetryHint.LATER)
    return _unconfirmed(attempt, f"the list has it as {status}, so it will start by itself", RetryHint.NO)


def leave_claim(attempt: Attempt) -> Attempt:
    """Return what is known of a claim when the run ends before it was read back."""
    return _unconfirmed(attempt, NOT_READ_BACK, RetryHint.NO)


def _unconfirmed(attempt: Attempt, why: str, again: RetryHint) -> Attempt:
    return attempt._replace(outcome=Outcome.UNCONFIRMED, again=again, error=f"{attempt.error}; {why}")


def _why_unknown(reading: Reading) -> str:
    if reading.fault is None:
        return "the list does not have it: look at it with `bulkstop verify --singly`"
    remedy = "look at it with `bulkstop verify`, or try again with --retry-failed"
    return f"the list cannot be read ({reading.fault}): {remedy}"
