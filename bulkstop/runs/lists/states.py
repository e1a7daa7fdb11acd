"""How campaigns are: what the service tells of each, and what that proves of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bulkstop.kore.calls import Group, Listed
from bulkstop.model import Campaign, Outcome

AT_REST = frozenset({"stopped", "completed", "ready"})
"""Statuses of campaigns that call nobody until a person or a schedule starts them; "Ready" is one that was saved."""
TO_COME = frozenset({"scheduled", "rescheduled"})
"""Statuses of campaigns that start by themselves."""


class State(StrEnum):
    """What a campaign does, as far as the service tells; a status that nobody documented counts as running."""

    RUNNING = "running"
    SCHEDULED = "scheduled"
    RUNS_AGAIN = "runs_again"  # at rest, but a recurring schedule starts it again
    NOT_RUNNING = "not_running"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


BY_WEIGHT = (State.RUNNING, State.SCHEDULED, State.UNKNOWN, State.NOT_RUNNING)
"""What a status alone can say, that which calls most first; one that is not told may be any."""
RUNS = frozenset({State.RUNNING, State.SCHEDULED, State.RUNS_AGAIN})
"""What runs now or by itself later."""
UNREAD_SHOWN = 10
"""How many rows that cannot be looked at are named; the others are counted."""
OPEN = RUNS | {State.UNKNOWN}
"""What is worth another stop."""


class Finding(NamedTuple):
    """A campaign that is not known to be at rest: what the service says of it, and what its result line said."""

    group: Group
    item: Listed
    state: State
    outcome: Outcome
    error: str | None = None


class Unread(NamedTuple):
    """A row of which no campaign can be looked at: where it stands, the id that it gives, and why."""

    source: str
    line: int
    campaign_id: str
    reason: str


@dataclass(slots=True)
class Targets:
    """The campaigns to look at, each once with the outcome that counts, and what stands in the way of a full proof.

    `invalid` rows name no campaign that can be looked at, `unread` are the first of them; `unlisted` rows have no line,
    as their run was killed or is not over.
    """

    groups: dict[Group, dict[str, Outcome]] = field(default_factory=dict)
    invalid: int = 0
    unlisted: int = 0
    notes: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def leave_out(self, row: Unread) -> None:
        """Count a row of which no campaign can be looked at."""
        self.invalid += 1
        if len(self.unread) < UNREAD_SHOWN:
            self.unread.append(row)

    def add(self, campaign: Campaign, outcome: Outcome) -> None:
        """Add a campaign, or what a later line says of it."""
        campaign_id, kind, account_id, stream_id, iid = campaign[:5]
        known = self.groups.setdefault(Group(account_id, stream_id, iid, kind), {})
        known[campaign_id] = _latest(known.get(campaign_id), outcome)

    @property
    def campaigns(self) -> int:
        """How many campaigns there are, the protected ones among them."""
        return sum(map(len, self.groups.values()))


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read back: every campaign in one state, those that are not at rest as findings.

    `states` counts the campaigns that were to be stopped, `protected` those that were not. With a `fault` or a `signum`
    the reading ended early, and what was not reached is unknown.
    """

    states: Mapping[State, int]
    protected: Mapping[State, int]
    findings: tuple[Finding, ...]
    invalid: int
    unlisted: int
    notes: tuple[str, ...]
    calls: int
    elapsed_s: float
    fault: str | None = None
    signum: int | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def campaigns(self) -> int:
        """How many campaigns were to be stopped."""
        return sum(self.states.values())

    @property
    def told(self) -> int:
        """Of how many of them the service told."""
        return self.campaigns - self.states.get(State.UNKNOWN, 0)

    @property
    def to_stop(self) -> tuple[Finding, ...]:
        """What is worth another stop."""
        return tuple(found for found in self.findings if found.state in OPEN and found.outcome is not Outcome.PROTECTED)

    @property
    def exit_code(self) -> int:
        """0: nothing runs, which is proven; 3: nothing was told at all; 128 and more: ended by a signal; else 1."""
        if self.signum is not None:
            return 128 + self.signum
        if self.campaigns and not self.told:
            return 3
        is_told = self.states.get(State.NOT_RUNNING, 0) == self.campaigns
        return 0 if is_told and not self.unlisted and not self.invalid else 1


def state_of(item: Listed) -> State:
    """Say what a campaign does by its status and its schedule."""
    status = (item.status or "").lower()
    if not status:
        return State.UNKNOWN
    if status in TO_COME or (status == "ready" and item.is_scheduled):
        return State.SCHEDULED
    if status not in AT_REST:
        return State.RUNNING
    return State.RUNS_AGAIN if item.recurs else State.NOT_RUNNING


def worse(one: Listed, other: Listed) -> Listed:
    """Of two rows that name the same campaign give the one whose status may call somebody; else the first."""
    return min(one, other, key=_weight)


def combined(one: Listed, other: Listed) -> Listed:
    """Make one campaign of two rows that name the same: the worse status, and a schedule if either has one."""
    item, again = worse(one, other), min(one, other, key=lambda each: (not each.recurs, each.recurs is not None))
    return item._replace(
        name=(again.name if again.recurs else None) or item.name,
        is_scheduled=True if one.is_scheduled or other.is_scheduled else again.is_scheduled,
        is_recurring=again.is_recurring,
    )


def _weight(item: Listed) -> tuple[int, bool]:
    """Give the place of a status: a campaign that is only saved is one that somebody may start."""
    state = state_of(item._replace(is_recurring=None))
    return BY_WEIGHT.index(state), (item.status or "").lower() != "ready"


def _latest(before: Outcome | None, now: Outcome) -> Outcome:
    """Of two lines of a campaign give what counts: what was sent once is no longer protected, whatever comes later.

    A duplicate and a row that could not be used say nothing of what became of it.
    """
    if before is None:
        return now
    never_sent = before in (Outcome.NOT_SENT, Outcome.DUPLICATE, Outcome.INVALID, Outcome.PROTECTED)
    if now in (Outcome.DUPLICATE, Outcome.INVALID) or (now is Outcome.PROTECTED and not never_sent):
        return before
    return now
