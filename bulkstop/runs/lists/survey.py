"""Asks the service for the states of campaigns: by list, then individually for those that lists do not have."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from bulkstop.engine.caller import Caller
from bulkstop.engine.guards.scopes import FIRST
from bulkstop.engine.limits.quota import min_duration_s
from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import Call, status_call
from bulkstop.kore.interpret import Status
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, Limit, ListedCampaign, Outcome, Scope, State
from bulkstop.naming import name_setting
from bulkstop.report.lists.verification import RUNS, Finding, Verification
from bulkstop.runs.lists.listing import Allowance, DiscardAll, Listing, read_listing
from bulkstop.runs.lists.roster import run_by_account
from bulkstop.runs.lists.states import Targets, describe_failure, describe_scope, runs_now, state_of
from bulkstop.text import format_count, format_duration, printable

T = TypeVar("T")

IN_A_ROW = 20
"""Single calls of a scope that may fail in a row before the rest are skipped; FIRST if no campaign was found yet."""
NEW_A_PAGE = 41
"""New campaigns on an average page of a long list; pages overlap, and begin only at certain rows."""
LONG_LIST = 20
"""Number of pages from which the length of a list is reported."""

_ENDS_SINGLES = frozenset({Outcome.UNAUTHORIZED, Outcome.THROTTLED, Outcome.NOT_SENT})
_ENDS_SCOPE = _ENDS_SINGLES | {Outcome.CONNECTION_ERROR}
_NOT_ASKED = "not read: the run ended before"

Say = Callable[[str], object]
IsProtected = Callable[[Scope, ListedCampaign], bool]
"""Returns whether a campaign that is not a target is protected."""


class _ScopeStatus:
    """The states of one scope's campaigns so far; for those at rest only the state is kept."""

    def __init__(
        self,
        scope: Scope,
        targets: Mapping[str, Outcome | None],
        *,
        reads_all: bool = False,
        is_protected: IsProtected = lambda scope, item: False,
    ) -> None:
        self.scope = scope
        self.reads_all = reads_all  # read the list completely, even when all targets are known
        self.is_whole = False  # the list was read completely
        self._is_protected = is_protected
        self._others: dict[str, Finding] = {}
        self.targets = targets
        self.to_stop = sum(outcome is not Outcome.PROTECTED for outcome in targets.values())
        self.to_tell = self.to_stop
        self.errors: dict[str, str] = {}
        self.why = _NOT_ASKED
        self.is_length_known = False  # the length was reported
        self.knows_any = False  # whether any campaign of the scope exists
        self._states: dict[str, State] = {}
        self._items: dict[str, ListedCampaign] = {}
        self._silent: set[str] = set()
        self._recurring: set[str] = set()

    @property
    def silent(self) -> int:
        """The number of campaigns at rest whose schedule is not known."""
        return len(self._silent)

    def note_page(self, items: Iterable[ListedCampaign]) -> bool:
        """Record a page of the list; return whether all that was asked for is known."""
        for item in items:
            self.note(item)
        return not self.to_tell and not self.reads_all

    def note(self, item: ListedCampaign) -> None:
        """Record the latest state of a target; a schedule that was reported once remains known."""
        if item.campaign_id not in self.targets:
            self._note_other(item)
            return
        if item.recurs is None and item.campaign_id in self._recurring:
            item = item._replace(is_recurring=True)
        (self._recurring.add if item.recurs else self._recurring.discard)(item.campaign_id)
        state = state_of(item)
        if state is State.UNKNOWN:
            self._forget(item.campaign_id)
        else:
            self.put(item, state)

    def _note_other(self, item: ListedCampaign) -> None:
        """Record a campaign that is not a target while it runs or will run; a paused one does neither."""
        state = state_of(item)
        is_paused = state is State.RUNNING and not runs_now(item)
        if state in RUNS and not is_paused and not self._is_protected(self.scope, item):
            self._others[item.campaign_id] = Finding(self.scope, item, state, None)
        else:
            self._others.pop(item.campaign_id, None)

    def others(self) -> Iterable[Finding]:
        """Return the campaigns that run, or will run, and are not targets."""
        return self._others.values()

    def put(self, item: ListedCampaign, state: State) -> None:
        """Record the state of a target."""
        key = item.campaign_id
        outcome = self.targets[key]
        if key not in self._states and outcome is not Outcome.PROTECTED:
            self.to_tell -= 1
        self._states[key] = state
        self.knows_any = self.knows_any or state is not State.NOT_FOUND
        self._items.pop(key, None)
        self._silent.discard(key)
        if state is not State.NOT_RUNNING:
            self._items[key] = item
        elif item.recurs is None:
            self._silent.add(key)

    def _forget(self, key: str) -> None:
        """Discard the state of a target that the list no longer reports."""
        if self._states.pop(key, None) is not None and self.targets[key] is not Outcome.PROTECTED:
            self.to_tell += 1
        self._items.pop(key, None)
        self._silent.discard(key)

    def list_left(self) -> list[str]:
        """Return the unprotected targets without a state."""
        return [key for key, outcome in self.targets.items() if self._is_left(key, outcome)]

    def count_states(self, *, protected: bool) -> Counter[State]:
        """Count the states of the protected targets, or of the others."""
        return Counter(
            self._states.get(key, State.UNKNOWN)
            for key, outcome in self.targets.items()
            if (outcome is Outcome.PROTECTED) is protected
        )

    def findings(self) -> Iterator[Finding]:
        """Yield all targets not known to be at rest, except protected ones without a state."""
        for key, outcome in self.targets.items():
            if (item := self._items.get(key)) is not None:
                yield Finding(self.scope, item, self._states[key], outcome)
            elif self._is_left(key, outcome):
                nothing = ListedCampaign(key, self.scope.campaign_type)
                yield Finding(self.scope, nothing, State.UNKNOWN, outcome, self.errors.get(key, self.why))

    def _is_left(self, key: str, outcome: Outcome | None) -> bool:
        return key not in self._states and outcome is not Outcome.PROTECTED


class Survey:
    """Reads the list of each scope until all targets were seen, then reads the remaining ones individually.

    `quota` is used to estimate the duration; no other calls of its accounts may be made meanwhile. With `others_count`
    lists are read completely, and other running campaigns in them count, except where `is_protected`.
    """

    def __init__(
        self,
        targets: Targets,
        *,
        singly: bool = False,
        quota: Sequence[Limit] = (),
        concurrency: int = 8,
        say: Say = lambda text: None,
        others_count: bool = False,
        is_protected: IsProtected = lambda scope, item: False,
    ) -> None:
        self._targets = targets
        self._statuses = {
            scope: _ScopeStatus(scope, wanted, reads_all=others_count, is_protected=is_protected)
            for scope, wanted in targets.by_scope.items()
        }
        self._singly = singly
        self._others_count = others_count
        self._quota = quota
        self._concurrency = concurrency
        self._say = say
        self._notes: list[str] = []
        self._calls = 0
        self._allowance = Allowance()
        self._began = time.monotonic()

    async def run(self, perform: Perform, caller_of: Callable[[Scope], Caller]) -> BulkstopError | None:
        """Ask for all states; return the error that ended this early, or None."""
        perform_counted = self._count_calls(perform)
        jobs = [
            (caller_of(scope), partial(self._ask_scope, status, perform_counted, caller_of))
            for scope, status in self._statuses.items()
            if status.to_tell or self._others_count  # the state of protected campaigns alone is not needed
        ]
        try:
            await run_by_account(jobs, self._concurrency)
        except BulkstopError as fault:
            return fault
        return None

    def verification(self, *, fault: BulkstopError | None = None, signum: int | None = None) -> Verification:
        """Return a verification of the states so far."""
        statuses = self._statuses.values()
        others = [finding for status in statuses for finding in status.others()]
        read = [status for status in statuses if status.to_stop or self._others_count]
        return Verification(
            _sum_counts(status.count_states(protected=False) for status in statuses),
            _sum_counts(status.count_states(protected=True) for status in statuses),
            (
                *(finding for status in statuses for finding in status.findings()),
                *(others if self._others_count else ()),
            ),
            self._targets.invalid,
            self._targets.unlisted,
            tuple(map(printable, (*self._targets.notes, *self._notes, *self._describe_silent()))),
            self._calls,
            time.monotonic() - self._began,
            fault,
            signum,
            tuple(self._targets.unread),
            None if self._singly else _sum_counts([Counter(finding.state for finding in others)]),
            all(status.is_whole for status in read),
            self._others_count,
        )

    def _describe_silent(self) -> Iterator[str]:
        if silent := sum(status.silent for status in self._statuses.values()):
            yield (
                f"{format_count(silent, 'campaign that does', 'campaigns that do')} not run may have a schedule that "
                "starts them again: the service does not say"
            )

    def _count_calls(self, perform: Perform) -> Perform:
        """Return a `Perform` that counts its calls."""

        async def perform_counted(call: Call[T], /) -> T | Attempt:
            self._calls += 1
            return await perform(call)

        return perform_counted

    async def _ask_scope(self, status: _ScopeStatus, perform: Perform, caller_of: Callable[[Scope], Caller]) -> None:
        listing = None if self._singly else await self._read_list(status, perform, caller_of)
        failure = None if listing is None else listing.failure
        if failure is not None and failure.outcome in _ENDS_SCOPE:
            status.why = _explain(failure)
        elif left := status.list_left():
            is_listed = listing is not None and failure is None
            why, cost = _explain_singly(listing), self._describe_cost(len(left))
            self._say(f"{describe_scope(status.scope)}: {why}reading each campaign by itself: {cost}")
            singles = _StatusPoller(status, perform, caller_of(status.scope), is_listed=is_listed)
            if given_up := await singles.ask(left):
                self._notes.append(f"{describe_scope(status.scope)}: {given_up}")

    async def _read_list(self, status: _ScopeStatus, perform: Perform, caller_of: Callable[[Scope], Caller]) -> Listing:
        on_page = partial(self._say_length, status)
        listing = await read_listing(
            status.scope,
            perform,
            caller_of,
            DiscardAll(),
            on_page=on_page,
            enough=status.note_page,
            allowance=self._allowance,
        )
        if listing.doubt:
            self._notes.append(f"{describe_scope(status.scope)}: {listing.doubt}")
        is_read = listing.failure is None and not listing.doubt and not listing.unusable
        status.is_whole = is_read and (status.is_whole or status.reads_all or status.to_tell > 0)
        if self._others_count and listing.unusable:
            note = (
                f"the list has {format_count(len(listing.unusable), 'campaign')} "
                f"that cannot be used; first: {listing.unusable[0]}"
            )
            self._notes.append(f"{describe_scope(status.scope)}: {note}")
        if self._others_count and listing.failure:
            self._notes.append(f"{describe_scope(status.scope)}: the list was not read completely")
        if listing.doubled:
            note = (
                f"the list has {format_count(listing.doubled, 'campaign')} "
                "more than once; the state in which it may call somebody counts"
            )
            self._notes.append(f"{describe_scope(status.scope)}: {note}")
        return listing

    def _say_length(self, status: _ScopeStatus, scope: Scope, seen: int, total: int | None) -> None:
        """Report once how long a list is, and the alternative to reading it."""
        status.is_whole = total is not None and seen >= total
        pages = (total or 0) // NEW_A_PAGE + 1
        if pages < LONG_LIST or status.is_length_known or not status.to_tell:
            return
        status.is_length_known = True
        other = ""
        if 2 * status.to_stop < pages:
            other = f"; {name_setting('singly')} takes {status.to_stop:,}, but does not read schedules"
        self._say(f"{describe_scope(scope)}: a list of {total:,}: about {self._describe_cost(pages)}{other}")

    def _describe_cost(self, calls: int) -> str:
        least = min_duration_s(calls, self._quota)
        return format_count(calls, "call") + (f", at least {format_duration(least)}" if least else "")


class _StatusPoller:
    """Reads the campaigns of one scope individually, until that is useless.

    Unless the list was read (`is_listed`) or a call has succeeded, a 404 may concern the path.
    """

    def __init__(self, status: _ScopeStatus, perform: Perform, caller: Caller, *, is_listed: bool) -> None:
        self._status = status
        self._perform = perform
        self._caller = caller
        self._is_path_known = is_listed
        self._failed = 0
        self._in_doubt: list[ListedCampaign] = []

    async def ask(self, left: Sequence[str]) -> str | None:
        """Read these campaigns; return why some were not read, or None."""
        for number, campaign_id in enumerate(left, start=1):
            call = status_call(self._status.scope, campaign_id)
            reply = await self._caller.call(partial(self._perform, call))
            self._note_reply(ListedCampaign(campaign_id, self._status.scope.campaign_type), reply)
            if isinstance(reply, Attempt) and self._is_useless(reply) and number < len(left):
                self._status.why = f"not read, because the calls before it failed: {_explain(reply)}"
                return f"given up after {number:,} of {format_count(len(left), 'call')}: {_explain(reply)}"
        return None

    def _note_reply(self, item: ListedCampaign, reply: Status | Attempt) -> None:
        if isinstance(reply, Status):
            item = item._replace(name=reply.name, status=reply.status)
            self._status.note(item)
            self._is_path_known, self._failed = True, 0
        elif reply.outcome is Outcome.NOT_FOUND:
            self._in_doubt.append(item)
            self._failed = 0 if self._status.knows_any else self._failed + 1
        else:
            self._failed += 1
        if isinstance(reply, Attempt):
            self._status.errors[item.campaign_id] = _explain(reply)
        while self._in_doubt and self._is_path_known:
            self._status.put(self._in_doubt.pop(), State.NOT_FOUND)

    def _is_useless(self, failure: Attempt) -> bool:
        return failure.outcome in _ENDS_SINGLES or self._failed >= (IN_A_ROW if self._status.knows_any else FIRST)


def _explain_singly(listing: Listing | None) -> str:
    if listing is None:
        return ""
    if listing.failure is None:
        return "not all of them are in the list; "
    return f"the list cannot be read ({_explain(listing.failure)}); "


def _sum_counts(counts: Iterable[Counter[State]]) -> Mapping[State, int]:
    total = sum(counts, Counter[State]())
    return {state: total[state] for state in State if total[state]}


def _explain(failure: Attempt) -> str:
    """Return why something could not be read; a call that was not sent has a reason of its own."""
    return _NOT_ASKED if failure.outcome is Outcome.NOT_SENT else describe_failure(failure)
