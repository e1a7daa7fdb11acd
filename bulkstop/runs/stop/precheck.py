"""What the service's lists tell of the campaigns of a plan, before the first of them is sent."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from bulkstop.errors import BulkstopError
from bulkstop.events import ListsRead, Warned
from bulkstop.kore.calls import name_fault
from bulkstop.kore.session import Perform
from bulkstop.model import (
    Campaign,
    CampaignType,
    ListedCampaign,
    Outcome,
    Result,
    ScheduleState,
    Scope,
    schedule_failure,
    unsent_result,
)
from bulkstop.report.log import log_event
from bulkstop.runs.lists.listing import ListFilter, Listing, read_listing, run_by_account
from bulkstop.runs.lists.states import AT_REST, scope_of, status_at_rest
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.text import printable

SIDE_BY_SIDE = 8
"""Accounts whose lists are read at the same time."""
UNLISTED = schedule_failure("the list does not have the campaign, so nobody knows whether it recurs")
NOT_STATED = schedule_failure("the list does not tell whether the campaign recurs")


class ByName(NamedTuple):
    """A recurring schedule that can be disabled, by this name."""

    name: str


@dataclass(frozen=True, slots=True)
class KnownStates:
    """What the lists have told: which campaigns are at rest, and which would start again. None is what nobody asked.

    It holds ids of the lists, and nothing of the plan, however long that is.
    """

    calls: int
    statuses: Mapping[Scope, Mapping[str, str]] | None = None
    schedules: Mapping[Scope, Mapping[str, ByName | str]] | None = None

    def status_at_rest(self, campaign: Campaign) -> str | None:
        """Return the listed status of a campaign that does not run; None for one that may."""
        return None if self.statuses is None else self.statuses.get(scope_of(campaign), {}).get(campaign.campaign_id)

    def schedule(self, campaign: Campaign) -> ByName | str | None:
        """Return the name by which a schedule is to be disabled, else what the result line says of it."""
        if self.schedules is None:
            return None
        return self.schedules.get(scope_of(campaign), {}).get(campaign.campaign_id, UNLISTED)

    def needs_no_call(self, campaign: Campaign) -> bool:
        """Tell whether all is known already: at rest, and nothing starts it again that could be disabled."""
        return self.status_at_rest(campaign) is not None and not isinstance(self.schedule(campaign), ByName)

    def result(self, campaign: Campaign, run_id: str) -> Result:
        """Make the result of a campaign at rest, to which no stop was sent."""
        said, schedule = f"listed as {self.status_at_rest(campaign)}; no stop call was made", self.schedule(campaign)
        told = None if isinstance(schedule, ByName) else schedule
        at_rest = unsent_result(campaign, Outcome.ALREADY_STOPPED, "")
        return replace(at_rest, error=None, message=said, run_id=run_id, schedule=told)


class RemainingWork:
    """The campaigns of a plan that may run, and so are sent; `tell` is given each of which nothing need be asked.

    The others, at rest with a schedule to disable, are left for later: `recurring`.
    """

    def __init__(self, plan: Plan, known_states: KnownStates, tell: Callable[[Campaign], object]) -> None:
        self._plan = plan
        self._known = known_states
        self._later = 0
        counts = (
            plan.accounts if known_states.statuses is None else {name: self._sort(name, tell) for name in plan.accounts}
        )
        self.accounts = {account_id: count for account_id, count in counts.items() if count}
        """How many are sent per account."""

    @property
    def to_send(self) -> int:
        """How many are sent."""
        return sum(self.accounts.values())

    def campaigns(self, account_id: str) -> Iterator[Campaign]:
        """Return the campaigns of one account that are sent, in the order of sending."""
        return (each for each in self._plan.campaigns(account_id) if self._known.status_at_rest(each) is None)

    def recurring(self, account_id: str) -> Iterator[Campaign]:
        """Yield the campaigns of one account at rest that a schedule starts again, unless it is disabled."""
        for each in self._plan.campaigns(account_id) if self._later else ():
            if self._known.status_at_rest(each) is not None and not self._known.needs_no_call(each):
                yield each

    def _sort(self, account_id: str, tell: Callable[[Campaign], object]) -> int:
        """Tell of those that need no call; count those that are sent."""
        running = 0
        for each in self._plan.campaigns(account_id):
            if self._known.status_at_rest(each) is None:
                running += 1
            elif self._known.needs_no_call(each):
                tell(each)
            else:
                self._later += 1
        return running


def list_scopes(plan: Plan, settings: Settings) -> list[Scope]:
    """Return the lists that are read before a plan is carried out: none, unless an option needs them.

    A schedule is disabled by name, so the name must be known to be that of one campaign of either type.
    """
    if not (settings.only_running or settings.disable_schedule):
        return []
    scopes = list(dict.fromkeys(scope_of(each) for account_id in plan.accounts for each in plan.campaigns(account_id)))
    if settings.disable_schedule:
        scopes = [scope._replace(campaign_type=kind) for scope in scopes for kind in CampaignType]
    return list(dict.fromkeys(scopes))


async def read_known_states(plan: Plan, settings: Settings, perform: Perform, accounts: Accounts) -> KnownStates | None:
    """Read the lists that a plan needs; None when it needs none.

    Raises a BulkstopError when one of them cannot be read to its end, or the time to finish by comes first.
    """
    groups = list_scopes(plan, settings)
    if not groups:
        return None
    seconds_left = settings.seconds_left(datetime.now(UTC))
    try:
        async with asyncio.timeout(seconds_left):
            known = await _Lists(settings, perform, accounts).read(groups)
    except TimeoutError:
        said = f"--finish-by {settings.finish_by}: came before the list was read; nothing was sent"
        raise BulkstopError(said) from None
    at_rest = None if known.statuses is None else sum(map(len, known.statuses.values()))
    log_event(ListsRead(len(groups), known.calls, at_rest))
    return known


class _Lists:
    """Reads lists, each to its end, and keeps of them what an option needs."""

    def __init__(self, settings: Settings, perform: Perform, accounts: Accounts) -> None:
        self._options = " ".join(
            flag
            for flag, is_given in (
                ("--only-running", settings.only_running),
                ("--disable-schedule", settings.disable_schedule),
            )
            if is_given
        )
        self._perform = perform
        self._accounts = accounts
        self._statuses: dict[Scope, dict[str, str]] | None = {} if settings.only_running else None
        self._schedules: dict[Scope, dict[str, ByName | str]] | None = {} if settings.disable_schedule else None
        self._wanted = ListFilter() if settings.disable_schedule else ListFilter(AT_REST)

    async def read(self, scopes: Iterable[Scope]) -> KnownStates:
        """Read them: those of an account one after the other, accounts side by side."""
        streams: dict[tuple[str, str], list[Scope]] = {}
        for scope in scopes:
            streams.setdefault(scope[:2], []).append(scope)
        jobs = [(account_id, partial(self._read_stream, own)) for (account_id, _), own in streams.items()]
        await run_by_account(jobs, SIDE_BY_SIDE)
        calls = sum(self._accounts.caller(account_id).calls for account_id in {account_id for account_id, _ in streams})
        return KnownStates(calls, self._statuses, self._schedules)

    async def _read_stream(self, scopes: Iterable[Scope]) -> None:
        """Read the lists of one stream, in which a name is that of one schedule."""
        names = _Names()
        for scope in scopes:
            self._take(await self._listing(scope), names)
        for scope in scopes if self._schedules is not None else ():
            self._refuse_shared_names(scope, names)

    async def _listing(self, scope: Scope) -> Listing:
        listing = await read_listing(scope, self._perform, self._accounts.caller, self._wanted)
        if listing.failure is not None:
            said = f" ({printable(listing.failure.message)})" if listing.failure.message else ""
            why = f"{printable(listing.failure.error or listing.failure.outcome)}{said}"
            raise BulkstopError(
                f"{self._options}: the list of {_describe(scope)} cannot be read to its end: {why}; "
                f"nothing was sent: try again, or go without {self._options}"
            )
        if listing.doubt:
            log_event(Warned(f"the list of {_describe(scope)}: {listing.doubt}"))
        return listing

    def _take(self, listing: Listing, names: "_Names") -> None:
        """Keep what is needed of a list, and let the rest go before the next one comes."""
        if self._statuses is not None:
            found = ((item.campaign_id, status_at_rest(item)) for item in listing.items)
            self._statuses[listing.scope] = {campaign_id: status for campaign_id, status in found if status is not None}
        if self._schedules is not None:
            names.add(listing.items)
            self._schedules[listing.scope] = {item.campaign_id: _schedule_of(item) for item in listing.items}

    def _refuse_shared_names(self, scope: Scope, names: "_Names") -> None:
        assert self._schedules is not None  # noqa: S101 - a slip of the caller
        schedules = self._schedules[scope]
        for campaign_id, schedule in schedules.items():
            if isinstance(schedule, ByName) and (number := names.campaigns(schedule.name)) > 1:
                schedules[campaign_id] = schedule_failure(f"{number:,} campaigns have that name")


class _Names:
    """Which names of a stream more than one campaign has."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._shared: dict[str, set[str]] = {}

    def add(self, items: Iterable[ListedCampaign]) -> None:
        """Take the names of a list in; a campaign may stand in several lists."""
        for item in items:
            if item.name and self._first.setdefault(item.name, item.campaign_id) != item.campaign_id:
                self._shared.setdefault(item.name, {self._first[item.name]}).add(item.campaign_id)

    def campaigns(self, name: str) -> int:
        """Return how many campaigns have a name that one has."""
        return len(self._shared.get(name, "1"))


def _schedule_of(item: ListedCampaign) -> ByName | str:
    if not item.recurs:
        return NOT_STATED if item.recurs is None else ScheduleState.NONE
    fault = name_fault(item.name)
    return ByName(item.name) if item.name and fault is None else schedule_failure(fault)


def _describe(scope: Scope) -> str:
    account_id, stream_id = printable(scope.account_id), printable(scope.stream_id)
    return f"{scope.campaign_type} campaigns of account {account_id}, stream {stream_id}"
