"""Reads the service's lists before the first stop, for the campaigns of a plan."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from bulkstop.errors import BulkstopError
from bulkstop.events import ListsRead, Observe, Warned
from bulkstop.kore.calls import name_fault
from bulkstop.kore.session import Perform
from bulkstop.model import (
    Campaign,
    CampaignType,
    Outcome,
    Result,
    ScheduleState,
    Scope,
    schedule_failure,
    unsent_result,
)
from bulkstop.naming import name_setting
from bulkstop.report.log import log_event
from bulkstop.runs.host import until
from bulkstop.runs.lists.listing import ListFilter, Listing
from bulkstop.runs.lists.roster import Roster, read_roster
from bulkstop.runs.lists.states import AT_REST, describe_failure, describe_scope, scope_of, status_at_rest
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.text import printable
from bulkstop.text.likeness import fold

UNLISTED = schedule_failure("the list does not have the campaign, so it is unknown whether it recurs")
NOT_STATED = schedule_failure("the list does not say whether the campaign recurs")

StreamName = tuple[str, str, str]
"""An account, a stream, and the case-folded name of a campaign in it."""


class ByName(NamedTuple):
    """A recurring schedule that can be disabled by this name."""

    name: str


@dataclass(frozen=True, slots=True)
class KnownStates:
    """What a roster proves of the campaigns of a plan, as far as an option needs it.

    `name_counts` has for each recurring name of a stream the number of campaigns with that name, or with one that a
    lenient service may take for it.
    """

    roster: Roster
    only_running: bool = False
    disable_schedule: bool = False
    calls: int = 0
    name_counts: Mapping[StreamName, int] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    """The accounts with a list that cannot be read, and why; their campaigns are not sent."""

    def status_at_rest(self, campaign: Campaign) -> str | None:
        """Return the listed status of a campaign that does not run; None for one that may run."""
        item = self.roster.find(campaign) if self.only_running else None
        return None if item is None else status_at_rest(item)

    def schedule(self, campaign: Campaign) -> ByName | str | None:
        """Return the name of a schedule to be disabled, else the `schedule` of the result line."""
        if not self.disable_schedule:
            return None
        item = self.roster.find(campaign)
        if item is None:
            return UNLISTED
        if not item.recurs:
            return NOT_STATED if item.recurs is None else ScheduleState.NONE
        name = item.name or ""
        if fault := name_fault(name):
            return schedule_failure(fault)
        count = self.name_counts.get((campaign.account_id, campaign.stream_id, fold(name)), 1)
        return ByName(name) if count == 1 else schedule_failure(f"{count:,} campaigns have that name")

    def needs_no_call(self, campaign: Campaign) -> bool:
        """Return whether a campaign needs no call: it is at rest, and has no schedule to be disabled."""
        return self.status_at_rest(campaign) is not None and not isinstance(self.schedule(campaign), ByName)

    def result(self, campaign: Campaign, run_id: str) -> Result:
        """Return the result of a campaign at rest, which gets no stop."""
        schedule = self.schedule(campaign)
        message = f"listed as {self.status_at_rest(campaign)}; no stop call was made"
        at_rest = unsent_result(campaign, Outcome.ALREADY_STOPPED, "")
        known = None if isinstance(schedule, ByName) else schedule
        return replace(at_rest, error=None, message=message, run_id=run_id, schedule=known)


@dataclass(frozen=True, slots=True)
class RemainingWork:
    """The campaigns of a plan that may run and are to be sent, counted by account.

    `resting` counts campaigns at rest whose schedule is to be disabled; they come last.
    """

    plan: Plan
    known_states: KnownStates
    accounts: Mapping[str, int]
    resting: int = 0

    @property
    def to_send(self) -> int:
        """The number of campaigns to send."""
        return sum(self.accounts.values())

    def campaigns(self, account_id: str) -> Iterator[Campaign]:
        """Return the campaigns of an account to send, in the order of sending."""
        return (each for each in self.plan.campaigns(account_id) if self.known_states.status_at_rest(each) is None)

    def recurring(self, account_id: str) -> Iterator[Campaign]:
        """Yield the campaigns of an account at rest whose schedule is to be disabled."""
        known = self.known_states
        is_read = account_id not in known.unread
        for each in self.plan.campaigns(account_id) if self.resting and is_read else ():
            if known.status_at_rest(each) is not None and not known.needs_no_call(each):
                yield each


def narrow_plan(
    plan: Plan,
    known_states: KnownStates,
    settle: Callable[[Campaign], object],
    leave: Callable[[Campaign, str], object] = lambda campaign, why: None,
) -> RemainingWork:
    """Return the work that the lists leave of a plan.

    `settle` gets each campaign that needs no call, `leave` each of an account whose lists cannot be read.
    """
    accounts, resting = dict[str, int](), 0
    for account_id, count in plan.accounts.items():
        why = known_states.unread.get(account_id)
        if why is None and not known_states.only_running:
            accounts[account_id] = count
            continue
        for each in plan.campaigns(account_id):
            if why is not None:
                leave(each, why)
            elif known_states.status_at_rest(each) is None:
                accounts[account_id] = accounts.get(account_id, 0) + 1
            elif known_states.needs_no_call(each):
                settle(each)
            else:
                resting += 1
    return RemainingWork(plan, known_states, accounts, resting)


def list_scopes(plan: Plan, settings: Settings) -> list[Scope]:
    """Return the scopes whose lists are read before a run; none unless an option needs them.

    A schedule is disabled by name, so that the lists of both types must show that only one campaign has the name.
    """
    if not (settings.only_running or settings.disable_schedule):
        return []
    scopes = list(dict.fromkeys(scope_of(each) for account_id in plan.accounts for each in plan.campaigns(account_id)))
    if settings.disable_schedule:
        scopes = [scope._replace(campaign_type=kind) for scope in scopes for kind in CampaignType]
    return list(dict.fromkeys(scopes))


async def read_known_states(
    plan: Plan,
    settings: Settings,
    perform: Perform,
    accounts: Accounts,
    observe: Observe = log_event,
    ends_at: float = math.inf,
) -> KnownStates | None:
    """Read the lists that a plan needs; None if it needs none.

    An account whose list cannot be read completely does not prevent stops of the others. Raises a BulkstopError if that
    holds for all accounts, or the time to finish by, `ends_at`, comes first.
    """
    scopes = list_scopes(plan, settings)
    if not scopes:
        return None
    wanted = ListFilter() if settings.disable_schedule else ListFilter(AT_REST)
    try:
        async with until(ends_at):
            keep = partial(_keep, settings, observe, is_alone=len(plan.accounts) == 1)
            roster = await read_roster(scopes, perform, accounts.caller_of, wanted, keep=keep)
    except TimeoutError:
        why = f" {settings.finish_by}: passed before the list was read; nothing was sent"
        raise BulkstopError(why, setting="finish_by") from None
    unread = _find_unread(roster, accounts, settings)
    if unread.keys() >= plan.accounts.keys():
        raise BulkstopError(f"{next(iter(unread.values()))}; {_tell_remedy(settings)}")
    for why in unread.values():
        observe(Warned(f"{why}; nothing is sent for this account"))
    calls = sum(caller.calls for caller in set(map(accounts.caller_of, scopes)))
    at_rest = sum(status_at_rest(item) is not None for _, item in roster.rows()) if settings.only_running else None
    observe(ListsRead(len(scopes), calls, at_rest))
    return KnownStates(roster, settings.only_running, settings.disable_schedule, calls, _count_names(roster), unread)


def _find_unread(roster: Roster, accounts: Accounts, settings: Settings) -> Mapping[str, str]:
    """Return the accounts whose list was not read completely, and why."""
    unread: dict[str, str] = {}
    for scope, listing in roster.listings.items():
        if listing.failure is not None and (name := accounts.name(scope)) not in unread:
            unread[name] = _explain_unread(listing, settings)
    return unread


def _explain_unread(listing: Listing, settings: Settings) -> str:
    why = printable(describe_failure(listing.failure)).removesuffix("; nothing was sent") if listing.failure else ""
    return f"{_name_options(settings)}: the list of {_describe(listing.scope)} cannot be read completely: {why}"


def _tell_remedy(settings: Settings) -> str:
    return f"nothing was sent; try again, or leave out {_name_options(settings)}"


def _keep(settings: Settings, observe: Observe, listing: Listing, *, is_alone: bool) -> Listing:
    """Return what is needed of a listing; raises BulkstopError if it failed and its account is the only one."""
    if listing.failure is not None:
        if is_alone:  # further lists would be useless
            raise BulkstopError(f"{_explain_unread(listing, settings)}; {_tell_remedy(settings)}")
        return replace(listing, items={})
    if listing.doubt:
        observe(Warned(f"the list of {_describe(listing.scope)}: {listing.doubt}"))
    keeps_names = settings.disable_schedule
    items = {
        key: item.without_texts()._replace(name=item.name if keeps_names else None)
        for key, item in listing.items.items()
    }
    return replace(listing, items=items)


def _name_options(settings: Settings) -> str:
    names = ("only_running", "disable_schedule")
    return " ".join(name_setting(name) for name in names if getattr(settings, name))


def _count_names(roster: Roster) -> Mapping[StreamName, int]:
    """Count the campaigns with the folded name of a recurring one in their stream; each counts once."""
    ids = {(*scope[:2], fold(item.name)): set[str]() for scope, item in roster.rows() if item.recurs and item.name}
    for scope, item in roster.rows() if ids else ():
        if (key := (*scope[:2], fold(item.name or ""))) in ids:
            ids[key].add(item.campaign_id)
    return {name: len(campaigns) for name, campaigns in ids.items()}


def _describe(scope: Scope) -> str:
    return f"{describe_scope(scope)}, stream {printable(scope.stream_id)}"
