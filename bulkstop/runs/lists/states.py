"""The states of campaigns: what a status and a schedule mean, and which of several rows counts."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkstop.model import Attempt, Campaign, ListedCampaign, Outcome, Scope, State
from bulkstop.report.lists.verification import UNREAD_SHOWN, Unread
from bulkstop.runs.lists.stop_times import StopTimes
from bulkstop.text import printable

AT_REST = ("Completed", "Stopped")
"""The statuses of a campaign that has ended, which `already_stopped` claims."""
READY = "ready"
"""The status of a saved campaign: it calls nobody now but has not ended, and may be started at any moment.

So a list that was read before a run is no reason to omit its stop.
"""
TO_COME = frozenset({"scheduled", "rescheduled"})
"""Statuses of campaigns that start by themselves."""

RUNNING_STATUSES = ("Active", "Preparing")
"""The documented statuses of campaigns that run now."""
_DO_NOT_RUN = frozenset({"completed", "stopped", READY, "paused"}) | TO_COME
"""The documented statuses of campaigns that do not run."""

_AT_REST = {status.lower(): status for status in AT_REST}

BY_WEIGHT = (State.RUNNING, State.SCHEDULED, State.UNKNOWN, State.NOT_RUNNING)
"""States by weight, the one that calls most first; an unknown status may be any of them."""


@dataclass(slots=True)
class Targets:
    """The campaigns to look up, each once with the outcome that counts, and what prevents a full proof.

    The outcome is None where no result has one. `invalid` counts rows without a usable campaign, `unread` are the first
    of them; `unlisted` counts rows without a line, whose run was killed or still runs.
    """

    by_scope: dict[Scope, dict[str, Outcome | None]] = field(default_factory=dict)
    invalid: int = 0
    unlisted: int = 0
    notes: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    stops: StopTimes | None = None
    """When the campaigns were stopped; None if that is not needed."""

    def leave_out(self, row: Unread) -> None:
        """Count a row whose campaign cannot be looked up."""
        self.invalid += 1
        if len(self.unread) < UNREAD_SHOWN:
            self.unread.append(row)

    def add(self, campaign: Campaign, outcome: Outcome | None = None) -> None:
        """Add a campaign, or the outcome in a later line; a list has no outcomes."""
        known = self.by_scope.setdefault(scope_of(campaign), {})
        known[campaign.campaign_id] = _choose_latest(known.get(campaign.campaign_id), outcome)

    def add_lists(self, scopes: Iterable[Scope]) -> None:
        """Add scopes without campaigns, whose other running campaigns may count."""
        for scope in scopes:
            self.by_scope.setdefault(scope, {})

    @property
    def campaigns(self) -> int:
        """The number of campaigns, including protected ones."""
        return sum(map(len, self.by_scope.values()))


def scope_of(campaign: Campaign) -> Scope:
    """Return the scope whose list would have a campaign."""
    _, kind, account_id, stream_id, iid = campaign[:5]
    return Scope(account_id, stream_id, iid, kind, campaign.profile)


def describe_scope(scope: Scope) -> str:
    """Return the name of a scope for a person."""
    profile = f" (profile {printable(scope.profile)})" if scope.profile else ""
    return f"{scope.campaign_type} campaigns of account {printable(scope.account_id)}{profile}"


def describe_failure(failure: Attempt) -> str:
    """Return why something could not be read, with the service's words."""
    message = f" ({failure.message})" if failure.message else ""
    return f"{failure.error or failure.outcome}{message}"


def state_of(item: ListedCampaign) -> State:
    """Return the state of a campaign by its status and its schedule."""
    status = (item.status or "").lower()
    if not status:
        return State.UNKNOWN
    if status in TO_COME or (status == READY and item.is_scheduled):
        return State.SCHEDULED
    if status != READY and status not in _AT_REST:
        return State.RUNNING
    return State.RUNS_AGAIN if item.recurs else State.NOT_RUNNING


def runs_now(item: ListedCampaign) -> bool:
    """Return whether a campaign may call somebody right now; only statuses known to call nobody are excluded.

    An undocumented or missing status may belong to a campaign that runs.
    """
    return (item.status or "").lower() not in _DO_NOT_RUN


def status_at_rest(item: ListedCampaign) -> str | None:
    """Return the documented spelling of a status that has ended; None for another status."""
    return _AT_REST.get((item.status or "").lower())


def choose_worse(one: ListedCampaign, other: ListedCampaign) -> ListedCampaign:
    """Return the one of two rows for the same campaign whose status may call somebody; else the first."""
    return min(one, other, key=_weigh)


def combine(one: ListedCampaign, other: ListedCampaign) -> ListedCampaign:
    """Combine two rows for the same campaign: the worse status, and a schedule if either has one."""
    item, timed = choose_worse(one, other), min(one, other, key=lambda each: (not each.recurs, each.recurs is not None))
    return item._replace(
        name=(timed.name if timed.recurs else None) or item.name,
        is_scheduled=True if one.is_scheduled or other.is_scheduled else timed.is_scheduled,
        is_recurring=timed.is_recurring,
    )


def _weigh(item: ListedCampaign) -> tuple[int, bool, bool]:
    """Return the weight of a status; one that calls nobody at the moment weighs less than one that may call now.

    A campaign that is only saved may be started by somebody.
    """
    state = state_of(item._replace(is_recurring=None))
    return BY_WEIGHT.index(state), not runs_now(item), (item.status or "").lower() != READY


def _choose_latest(before: Outcome | None, now: Outcome | None) -> Outcome | None:
    """Return the outcome that counts of two lines of a campaign; one that was sent is never protected again.

    A duplicate or unusable row does not say what happened to the campaign.
    """
    if before is None or now is None:
        return before or now
    never_sent = before in (Outcome.NOT_SENT, Outcome.DUPLICATE, Outcome.INVALID, Outcome.PROTECTED)
    if now in (Outcome.DUPLICATE, Outcome.INVALID) or (now is Outcome.PROTECTED and not never_sent):
        return before
    return now
