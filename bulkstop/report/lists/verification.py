"""What was read back of the campaigns that were to be stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkstop.model import ListedCampaign, Outcome, Scope, State

RUNS = frozenset({State.RUNNING, State.SCHEDULED, State.RUNS_AGAIN})
"""What runs now or by itself later."""
UNREAD_SHOWN = 10
"""How many rows that cannot be looked at are named; the others are counted."""
OPEN = RUNS | {State.UNKNOWN}
"""What is worth another stop."""


class Finding(NamedTuple):
    """A campaign that is not known to be at rest: what the service says of it, and what its result line said."""

    scope: Scope
    item: ListedCampaign
    state: State
    outcome: Outcome
    error: str | None = None


class Unread(NamedTuple):
    """A row of which no campaign can be looked at: where it stands, the id that it gives, and why."""

    source: str
    line: int
    campaign_id: str
    reason: str


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
    def answered(self) -> int:
        """How many of them the service gave a state of."""
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
        if self.campaigns and not self.answered:
            return 3
        is_at_rest = self.states.get(State.NOT_RUNNING, 0) == self.campaigns
        return 0 if is_at_rest and not self.unlisted and not self.invalid else 1


def to_json(of: Verification) -> dict[str, Any]:
    """Return a verification as JSON values, every key always there."""
    return {
        "campaigns": of.campaigns,
        "states": {state.value: of.states.get(state, 0) for state in State},
        "protected": {state.value: of.protected.get(state, 0) for state in State},
        "invalid_rows": of.invalid,
        "not_looked_at": [row._asdict() for row in of.unread],
        "rows_without_line": of.unlisted,
        "findings": [_finding_to_json(found) for found in of.findings],
        "calls": of.calls,
        "elapsed_s": round(of.elapsed_s, 3),
        "notes": list(of.notes),
        "fault": of.fault,
        "exit_code": of.exit_code,
    }


def _finding_to_json(found: Finding) -> dict[str, Any]:
    scope, item = found.scope, found.item
    return {
        "campaign_id": item.campaign_id,
        "campaign_type": scope.campaign_type.value,
        "account_id": scope.account_id,
        "stream_id": scope.stream_id,
        "iid": scope.iid,
        "name": item.name,
        "state": found.state.value,
        "status": item.status,
        "recurring": item.recurs,
        "outcome": found.outcome.value,
        "error": found.error,
    }
