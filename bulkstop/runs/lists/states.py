"""How campaigns are: what the service tells of each, and what that proves of all of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkstop.model import Attempt, Campaign, ListedCampaign, Outcome, Scope, State
from bulkstop.report.lists.verification import UNREAD_SHOWN, Unread
from bulkstop.runs.lists.stop_times import StopTimes
from bulkstop.text import printable

AT_REST = ("Completed", "Stopped")
"""The statuses of a campaign that has ended, which is what `already_stopped` claims of it."""
READY = "ready"
"""The status of a campaign that was saved. It calls nobody now, but has not ended: somebody may be about to start it,
so a list that was read before a run is no reason to send it no stop."""
TO_COME = frozenset({"scheduled", "rescheduled"})
"""Statuses of campaigns that start by themselves."""

RUNNING_STATUSES = ("Active", "Preparing")
"""The documented statuses of campaigns that run now."""
_DO_NOT_RUN = frozenset({"completed", "stopped", READY, "paused"}) | TO_COME
"""The documented statuses of all others."""

_AT_REST = {status.lower(): status for status in AT_REST}

BY_WEIGHT = (State.RUNNING, State.SCHEDULED, State.UNKNOWN, State.NOT_RUNNING)
"""What a status alone can say, that which calls most first; one that is not told may be any."""


@dataclass(slots=True)
class Targets:
    """The campaigns to look at, each once with the outcome that counts, and what stands in the way of a full proof.

    The outcome is None where no result tells one.
    `invalid` rows name no campaign that can be looked at, `unread` are the first of them; `unlisted` rows have no line,
    as their run was killed or is not over.
    """

    by_scope: dict[Scope, dict[str, Outcome | None]] = field(default_factory=dict)
    invalid: int = 0
    unlisted: int = 0
    notes: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    stops: StopTimes | None = None
    """When they were stopped; None where nobody needs to know."""

    def leave_out(self, row: Unread) -> None:
        """Count a row of which no campaign can be looked at."""
        self.invalid += 1
        if len(self.unread) < UNREAD_SHOWN:
            self.unread.append(row)

    def add(self, campaign: Campaign, outcome: Outcome | None = None) -> None:
        """Add a campaign, or what a later line says of it; a list that names it says nothing."""
        known = self.by_scope.setdefault(scope_of(campaign), {})
        known[campaign.campaign_id] = _choose_latest(known.get(campaign.campaign_id), outcome)

    def add_lists(self, scopes: Iterable[Scope]) -> None:
        """Add lists of which no campaign is named: what else runs in them may count."""
        for scope in scopes:
            self.by_scope.setdefault(scope, {})

    @property
    def campaigns(self) -> int:
        """How many campaigns there are, the protected ones among them."""
        return sum(map(len, self.by_scope.values()))


def scope_of(campaign: Campaign) -> Scope:
    """Return the scope whose list has a campaign, if any has."""
    _, kind, account_id, stream_id, iid = campaign[:5]
    return Scope(account_id, stream_id, iid, kind, campaign.profile)


def describe_scope(scope: Scope) -> str:
    """Name a scope to a person."""
    profile = f" (profile {printable(scope.profile)})" if scope.profile else ""
    return f"{scope.campaign_type} campaigns of account {printable(scope.account_id)}{profile}"


def describe_failure(failure: Attempt) -> str:
    """Say why something could not be read, and what the service said to that."""
    message = f" ({failure.message})" if failure.message else ""
    return f"{failure.error or failure.outcome}{message}"


def state_of(item: ListedCampaign) -> State:
    """Return what a campaign does by its status and its schedule."""
    status = (item.status or "").lower()
    if not status:
        return State.UNKNOWN
    if status in TO_COME or (status == READY and item.is_scheduled):
        return State.SCHEDULED
    if status != READY and status not in _AT_REST:
        return State.RUNNING
    return State.RUNS_AGAIN if item.recurs else State.NOT_RUNNING


def runs_now(item: ListedCampaign) -> bool:
    """Tell whether a campaign may call somebody right now: its status is not one of those known to call nobody.

    A status that nobody documented, or that is not told, may be one of a campaign that runs.
    """
    return (item.status or "").lower() not in _DO_NOT_RUN


def status_at_rest(item: ListedCampaign) -> str | None:
    """Return the status of a campaign that has ended, as the service documents it; None for one that has another."""
    return _AT_REST.get((item.status or "").lower())


def choose_worse(one: ListedCampaign, other: ListedCampaign) -> ListedCampaign:
    """Return, of two rows that name the same campaign, the one whose status may call somebody; else the first."""
    return min(one, other, key=_weigh)


def combine(one: ListedCampaign, other: ListedCampaign) -> ListedCampaign:
    """Make one campaign of two rows that name the same: the worse status, and a schedule if either has one."""
    item, timed = choose_worse(one, other), min(one, other, key=lambda each: (not each.recurs, each.recurs is not None))
    return item._replace(
        name=(timed.name if timed.recurs else None) or item.name,
        is_scheduled=True if one.is_scheduled or other.is_scheduled else timed.is_scheduled,
        is_recurring=timed.is_recurring,
    )


def _weigh(item: ListedCampaign) -> tuple[int, bool, bool]:
    """Return the place of a status: one that calls nobody for the moment comes after one that may call right now.

    A campaign that is only saved is one that somebody may start.
    """
    state = state_of(item._replace(is_recurring=None))
    return BY_WEIGHT.index(state), not runs_now(item), (item.status or "").lower() != READY


def _choose_latest(before: Outcome | None, now: Outcome | None) -> Outcome | None:
    """Return what counts of two lines of a campaign: what was sent once is no longer protected, whatever comes later.

    A duplicate and a row that could not be used say nothing of what became of it.
    """
    if before is None or now is None:
        return before or now
    never_sent = before in (Outcome.NOT_SENT, Outcome.DUPLICATE, Outcome.INVALID, Outcome.PROTECTED)
    if now in (Outcome.DUPLICATE, Outcome.INVALID) or (now is Outcome.PROTECTED and not never_sent):
        return before
    return now
