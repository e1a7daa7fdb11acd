"""Reads lists during a run, for campaigns whose response proved nothing."""

from collections.abc import Callable
from typing import TypeVar

from bulkstop.engine.caller import Caller
from bulkstop.engine.readback import IsEnough, ListedState, ListProgress, Reading, ReadList
from bulkstop.kore.calls import PAGE, Call
from bulkstop.kore.interpret import Page
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, Campaign, Scope, State
from bulkstop.runs.lists.listing import DiscardAll, count_pages, read_listing
from bulkstop.runs.lists.states import scope_of, state_of

T = TypeVar("T")

PROVES_REST = frozenset({State.NOT_RUNNING, State.RUNS_AGAIN})
"""States of campaigns that call nobody now; this run does not stop what a schedule starts later.

A campaign that is only saved is included, because the service has just said that it is not active.
"""


def list_reader(perform: Perform, caller_of: Callable[[Scope], Caller]) -> ReadList:
    """Return a function that reads the list of a campaign's scope, within the quota of its account."""

    async def read(of: Campaign, is_enough: IsEnough, progress: ListProgress) -> Reading:
        states: dict[str, ListedState] = {}
        noting = _noting(perform, states, is_enough, progress)
        listing = await read_listing(scope_of(of), noting, caller_of, DiscardAll())
        if is_enough(states):
            return Reading(states, listing.calls)
        failure = listing.failure
        fault = listing.doubt if failure is None else failure.error or failure.outcome.value
        return Reading(states, listing.calls, fault)

    return read


def _noting(perform: Perform, states: dict[str, ListedState], is_enough: IsEnough, progress: ListProgress) -> Perform:
    """Return a `Perform` that records the states on each page, and ends the list when they are enough."""

    async def noting(call: Call[T], /) -> T | Attempt:
        progress.ask()
        page = await perform(call)
        progress.take(_count_pages(page, progress) if isinstance(page, Page) else None)
        if not isinstance(page, Page):
            return page
        on_page: dict[str, ListedState] = {}
        for item in page.items:
            state = state_of(item)
            listed = ListedState(item.status, state in PROVES_REST, state is not State.SCHEDULED)
            if item.campaign_id not in on_page or not listed.is_at_rest:  # of two rows on a page, the worse one counts
                on_page[item.campaign_id] = listed
        states.update(on_page)
        return page._replace(more=False, total=None) if is_enough(states) else page

    return noting


def _count_pages(page: Page, progress: ListProgress) -> int:
    """Return the estimated number of pages of a list, of which this is the next."""
    if not page.more:
        return progress.read + 1
    pages = progress.pages
    if not progress.read and page.total is not None:
        pages = count_pages(page.total, min(PAGE, max(2, page.rows)))
    return max(progress.read + 2, pages)
