"""The facts read back about the campaigns that were to be stopped."""

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkstop.errors import BulkstopError
from bulkstop.model import ListedCampaign, Outcome, Scope, State
from bulkstop.report.lists.contacts import (
    Calling,
    ContactFacts,
    describe_contacts,
    format_calling,
    format_contacts,
    list_contact_faults,
)
from bulkstop.report.summary import Summary
from bulkstop.text import format_count, format_duration, format_table, printable

RUNS = frozenset({State.RUNNING, State.SCHEDULED, State.RUNS_AGAIN})
"""The states of campaigns that run now, or will start by themselves."""
UNREAD_SHOWN = 10
"""The most unreadable rows that are named; the others are counted."""
OPEN = RUNS | {State.UNKNOWN}
"""The states that justify another stop."""
WORDS = {
    State.RUNNING: "still running",
    State.SCHEDULED: "scheduled",
    State.RUNS_AGAIN: "will run again",
    State.NOT_RUNNING: "not running",
    State.NOT_FOUND: "not found",
    State.UNKNOWN: "not known",
}
"""The words for each state."""
HEADER = ["state", "status", "campaign", "type", "account", "result", "name"]
"""The headers of the columns; "result" is the outcome of the stop."""
CELL_CHARS = 40
"""The most characters to which a column is padded."""
WHY_CHARS = 100
"""The most characters that say why a campaign's state is unknown."""


class Finding(NamedTuple):
    """A campaign that is not known to be at rest: the service's data, and the outcome in its result line."""

    scope: Scope
    item: ListedCampaign
    state: State
    outcome: Outcome | None
    """None without a result: the campaign is from a plain list, or just another one in the service's list."""
    error: str | None = None


class Unread(NamedTuple):
    """A row without a campaign to check: its place, its id, and the reason."""

    source: str
    line: int
    campaign_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verification(Summary):
    """The facts read back: every campaign in one state, and those not at rest as findings.

    `states` counts the campaigns that were to be stopped, `protected` those that were not, `others` the running ones in
    the same lists of the service that nobody named. `others` is None if no list was read, and incomplete unless
    `are_lists_whole`. With `others_count`, these must not run either. With a `fault` or a `signum` reading ended early,
    and what was not reached is unknown.
    """

    states: Mapping[State, int]
    protected: Mapping[State, int]
    findings: tuple[Finding, ...]
    invalid: int
    unlisted: int
    notes: tuple[str, ...]
    calls: int
    elapsed_s: float
    fault: BulkstopError | None = None
    signum: int | None = None
    unread: tuple[Unread, ...] = ()
    others: Mapping[State, int] | None = None
    are_lists_whole: bool = False
    others_count: bool = False
    contacts: ContactFacts | None = None
    """The contacts found after the stops; None if they were not requested."""

    @property
    def outcomes(self) -> Mapping[State, int]:
        """The number of campaigns that were to be stopped in each state that occurred."""
        return self.states

    @property
    def is_done(self) -> bool:
        """Whether it is proven that no campaign that was to be stopped runs, or will run again."""
        return self.exit_code == 0

    @property
    def campaigns(self) -> int:
        """The number of campaigns that were to be stopped."""
        return sum(self.states.values())

    @property
    def answered(self) -> int:
        """The number of those with a state from the service."""
        return self.campaigns - self.states.get(State.UNKNOWN, 0)

    @property
    def to_stop(self) -> tuple[Finding, ...]:
        """The campaigns that need another stop: they run, may run, or call although reported at rest."""
        found = [each for each in self.findings if each.state in OPEN and each.outcome is not Outcome.PROTECTED]
        known = {(each.scope, each.item.campaign_id) for each in found}
        calling = self.contacts.calling if self.contacts else ()
        return (*found, *(_make_finding(each) for each in calling if each[:2] not in known))

    @property
    def exit_code(self) -> int:
        """0: proven that nothing runs; 3: no state received; 128 and more: ended by a signal; else 1."""
        if self.signum is not None:
            return 128 + self.signum
        if self.campaigns and not self.answered:
            return 3
        is_at_rest = self.states.get(State.NOT_RUNNING, 0) == self.campaigns
        if self.others_count:
            is_at_rest = is_at_rest and self.are_lists_whole and not self.others
        is_quiet = self.contacts is None or not self.contacts.is_in_the_way
        return 0 if is_at_rest and is_quiet and not self.unlisted and not self.invalid else 1

    @property
    def to_disable(self) -> int:
        """The number of those that only a schedule starts again, so that disabling it suffices."""
        return sum(each.state is State.RUNS_AGAIN for each in self.to_stop)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; every key is always present."""
        return {
            "campaigns": self.campaigns,
            "states": {state.value: self.states.get(state, 0) for state in State},
            "protected": {state.value: self.protected.get(state, 0) for state in State},
            "invalid_rows": self.invalid,
            "not_looked_at": [row._asdict() for row in self.unread],
            "rows_without_line": self.unlisted,
            "others": None if self.others is None else {state.value: self.others.get(state, 0) for state in State},
            "others_complete": self.are_lists_whole,
            "others_count": self.others_count,
            "contacts": None if self.contacts is None else self.contacts.as_dict(),
            "findings": list(map(_finding_to_json, self.findings)),
            "calls": self.calls,
            "elapsed_s": round(self.elapsed_s, 3),
            "notes": list(self.notes),
            "fault": None if self.fault is None else printable(str(self.fault)),
            "exit_code": self.exit_code,
        }

    def _shortfalls(self) -> Sequence[str]:
        return [
            *([f"ended by {signal.Signals(self.signum).name}"] if self.signum is not None else []),
            *(
                [f"{format_count(self.invalid, 'row that names', 'rows that name')} no campaign"]
                if self.invalid
                else []
            ),
            *([f"{format_count(self.unlisted, 'row')} without a line"] if self.unlisted else []),
            *list_contact_faults(self.contacts),
        ]


def format_verdict(of: Verification) -> str:
    """Return one line that says whether it is proven that nothing to be stopped runs, or will run again."""
    if of.signum is not None:
        return f"NOT PROVEN: ended by {signal.Signals(of.signum).name} before everything was read"
    others = _sum_states(of.others or {})
    if of.exit_code == 0:
        nothing = "nothing runs or will run again" if of.others_count else "nothing was to be stopped"
        done = f"none of {of.campaigns:,} runs" if of.campaigns else nothing
        return f"DONE: {done}{_describe_others(of)}{describe_contacts(of.contacts, time.time())}"
    open_states: dict[State, int] = {
        state: count for state, count in of.states.items() if state is not State.NOT_RUNNING and count
    }
    parts = [f"{_sum_states(open_states):,} of {of.campaigns:,} ({_format_states(open_states)})"] if open_states else []
    if of.others_count and others:
        parts.append(f"{format_count(others, 'other')} ({_format_states(of.others or {})})")
    elif of.others_count and not of.are_lists_whole:
        parts.append("lists that were not read completely")
    parts += [f"{format_count(of.invalid, 'row that names', 'rows that name')} no campaign"] if of.invalid else []
    parts += [f"{format_count(of.unlisted, 'row')} without a line"] if of.unlisted else []
    parts += list_contact_faults(of.contacts)
    runs = any(of.states.get(state) for state in RUNS) or (of.others_count and others)
    runs = runs or (of.contacts is not None and bool(of.contacts.calling))
    more = "" if of.others_count else _describe_others(of)
    more += describe_contacts(of.contacts, time.time())
    return f"{'NOT STOPPED' if runs else 'NOT PROVEN'}: {', '.join(parts)}{more}"


def _describe_others(of: Verification) -> str:
    others = _sum_states(of.others or {})
    what = format_count(others, "other in the same lists does", "others in the same lists do")
    return f"; {'at least ' * (not of.are_lists_whole)}{what}" if others else ""


def _sum_states(states: Mapping[State, int]) -> int:
    return sum(states.values())


def _format_states(states: Mapping[State, int]) -> str:
    return ", ".join(f"{states[state]:,} {word}" for state, word in WORDS.items() if states.get(state))


def format_hint(of: Verification, command: str) -> str:
    """Return how to continue: with this command, which ends the line so that it can be copied."""
    schedules = f" (a schedule starts {of.to_disable:,} of them again; --disable-schedule ends that)"
    return f"To stop them{schedules if of.to_disable else ''}: {command}"


def format_verification(of: Verification) -> list[str]:
    """Return the states of the campaigns, and each campaign that may call somebody or is unknown."""
    listed = [each for each in of.findings if each.outcome is not Outcome.PROTECTED]
    if of.signum is not None:  # what was not reached would be a long list without content
        listed = [each for each in listed if each.state in RUNS]
    rows = [(word, f"{of.states[state]:,}") for state, word in WORDS.items() if of.states.get(state)]
    silent = _group_silent(listed)
    rows += [("", f"{len(group):,} of them: {printable(reason)}") for reason, group in silent.items()]
    listed = [each for each in listed if each.state is not State.UNKNOWN or each.error not in silent]
    rows.append(("campaigns", f"{of.campaigns:,}"))
    rows += _format_others(of)
    rows += format_contacts(of.contacts, time.time()) if of.contacts else []
    rows.append(("asked", f"{format_count(of.calls, 'call')} in {format_duration(of.elapsed_s)}"))
    if of.signum is not None:
        rows.append(("ended", "before everything was read"))
    lines = format_table("Verification", rows)
    if of.contacts and of.contacts.calling:
        lines += ["", *_align(format_calling(of.contacts.calling, time.time()))]
    return [*lines, "", *_align([HEADER, *map(_cells, listed)])] if listed else lines


def _group_silent(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Group the campaigns of unknown state by the reason, because a service that is down deserves one line."""
    groups: dict[str, list[Finding]] = {}
    for each in findings:
        if each.state is State.UNKNOWN and each.error:
            groups.setdefault(each.error, []).append(each)
    return {reason: group for reason, group in groups.items() if len(group) > 1}


def _format_others(of: Verification) -> list[tuple[str, str]]:
    rows = []
    if protected := sum(of.protected.values()):
        run = sum(of.protected.get(state, 0) for state in RUNS)
        as_before = "as it is" if protected == 1 else "as they are"
        rows.append(("protected", f"{protected:,}, {as_before}; {format_count(run, 'was', 'were')} seen running"))
    if of.invalid:
        rows.append(("invalid rows", f"{of.invalid:,}, which {'names' if of.invalid == 1 else 'name'} no campaign"))
        rows += [("", f"{row.source} line {row.line}: {row.reason}") for row in of.unread]
        if of.invalid > len(of.unread):
            rows.append(("", f"and {of.invalid - len(of.unread):,} more"))
    if of.unlisted:
        killed = format_count(of.unlisted, "row: its run was killed", "rows: their run was killed")
        rows.append(("without line", f"{killed}, or goes on; --resume it first"))
    if of.others is not None and (of.answered or not of.campaigns):
        counts = _format_states(of.others) or "none running"
        end = "" if of.are_lists_whole else " on the pages that were read"
        rows.append(("others", f"{counts} in the same lists{end}{'' if of.others_count else '; --all counts them'}"))
    return rows


def _cells(finding: Finding) -> list[str]:
    last = finding.item.name or ""
    if finding.state is State.UNKNOWN:
        last = f"({(finding.error or '')[:WHY_CHARS]})"
    ids = (finding.item.campaign_id, finding.scope.campaign_type, finding.scope.account_id)
    return [
        printable(cell)
        for cell in (WORDS[finding.state], finding.item.status or "-", *ids, finding.outcome or "-", last)
    ]


def _align(rows: list[list[str]]) -> list[str]:
    """Align cells in columns; a cell that is much wider than others shifts only its own line."""
    widths = [min(CELL_CHARS, max(map(len, column))) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _make_finding(calling: Calling) -> Finding:
    """Return a campaign that calls as one that needs another stop."""
    item = ListedCampaign(calling.campaign_id, calling.scope.campaign_type)
    return Finding(calling.scope, item, State.NOT_RUNNING, None, "it still calls")


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    scope, item = finding.scope, finding.item
    return {
        "campaign_id": item.campaign_id,
        "campaign_type": scope.campaign_type.value,
        "account_id": scope.account_id,
        "stream_id": scope.stream_id,
        "iid": scope.iid,
        "name": item.name,
        "state": finding.state.value,
        "status": item.status,
        "recurring": item.recurs,
        "outcome": None if finding.outcome is None else finding.outcome.value,
        "error": finding.error,
    }
