"""What the lists of many scopes say of campaigns: read once, by account, and asked as often as need be."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bulkstop.engine.caller import Caller
from bulkstop.engine.tasks import run_concurrently
from bulkstop.kore.session import Perform
from bulkstop.model import Campaign, ListedCampaign, Scope
from bulkstop.runs.lists.listing import Allowance, ListFilter, Listing, read_listing
from bulkstop.runs.lists.states import scope_of

SIDE_BY_SIDE = 8
"""Accounts whose lists are read at the same time."""

Job = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Roster:
    """The listings of scopes; of a campaign it has what the list of its own scope says."""

    listings: Mapping[Scope, Listing]

    def rows(self) -> Iterator[tuple[Scope, ListedCampaign]]:
        """Yield every campaign of every list with the scope of that list."""
        return ((scope, item) for scope, listing in self.listings.items() for item in listing.items.values())

    def find(self, campaign: Campaign) -> ListedCampaign | None:
        """Return what the list has of a campaign; None when it has none such."""
        listing = self.listings.get(scope_of(campaign))
        return None if listing is None else listing.items.get(campaign.campaign_id)


async def read_roster(
    scopes: Iterable[Scope],
    perform: Perform,
    caller_of: Callable[[Scope], Caller],
    wanted: ListFilter,
    *,
    any_id: bool = True,
    keep: Callable[[Listing], Listing] = lambda listing: listing,
    all_at_once: bool = False,
) -> Roster:
    """Read the list of each scope once: of some accounts side by side, those of each one after the other.

    With `all_at_once` no list waits for another, so that an account which is slow to answer takes no longer for many.
    A list that cannot be read, or takes too much memory together with the others, has its failure in its listing. Of
    each the roster has what `keep` makes of it. Raises a BulkstopError when no call can be made any more.
    """
    listings, allowance = dict[Scope, Listing](), Allowance()

    async def read(scope: Scope) -> None:
        listing = await read_listing(scope, perform, caller_of, wanted, any_id=any_id, allowance=allowance)
        listings[scope] = keep(listing)

    order = list(dict.fromkeys(scopes))
    jobs = [partial(read, scope) for scope in order]
    if all_at_once:
        await run_concurrently(jobs, len(jobs))
    else:
        await run_by_account(zip(map(caller_of, order), jobs, strict=True), SIDE_BY_SIDE)
    return Roster({scope: listings[scope] for scope in order})


async def run_by_account(jobs: Iterable[tuple[Hashable, Job]], concurrency: int) -> None:
    """Carry out jobs of accounts: those of an account one after the other, at most `concurrency` accounts side by side.

    An account is told by what stands before its jobs: its name, or what makes its calls.
    What one of them raises ends the others and is raised.
    """
    by_account: dict[Hashable, list[Job]] = {}
    for account, job in jobs:
        by_account.setdefault(account, []).append(job)
    await run_concurrently(
        [partial(_run_in_turn, own) for own in by_account.values()], min(concurrency, len(by_account))
    )


async def _run_in_turn(jobs: Iterable[Job]) -> None:
    for job in jobs:
        await job()
