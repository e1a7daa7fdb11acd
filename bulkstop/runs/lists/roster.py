"""A roster: the lists of several scopes, read once, by account."""

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
"""Accounts whose lists are read concurrently."""

Job = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Roster:
    """The listings of scopes; it finds a campaign in the list of the campaign's own scope."""

    listings: Mapping[Scope, Listing]

    def rows(self) -> Iterator[tuple[Scope, ListedCampaign]]:
        """Yield every campaign of every list with its scope."""
        return ((scope, item) for scope, listing in self.listings.items() for item in listing.items.values())

    def find(self, campaign: Campaign) -> ListedCampaign | None:
        """Return the list entry of a campaign; None if its list has none."""
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
    """Read the list of each scope once: accounts concurrently, the lists of one account in sequence.

    With `all_at_once` the number of concurrent accounts has no limit, so that a slow account does not delay others. A
    list that cannot be read, or needs too much memory together with the others, has a failure in its listing. The
    roster has what `keep` returns for each listing. Raises a BulkstopError when no further call can be made.
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
    """Run jobs by account: those of one account in sequence, at most `concurrency` accounts concurrently.

    The key of a job identifies its account: a name, or the caller of the account. An error of one job ends the others
    and is raised.
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
