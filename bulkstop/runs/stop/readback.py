"""Reads lists for a run that is under way: how campaigns stand of which an answer proved nothing."""

from collections.abc import Callable
from typing import TypeVar

from bulkstop.engine.caller import Caller
from bulkstop.engine.readback import IsEnough, ListedState, Reading, ReadList
from bulkstop.kore.calls import Call
from bulkstop.kore.interpret import Page
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, Campaign, State
from bulkstop.runs.lists.listing import DiscardAll, read_listing
from bulkstop.runs.lists.states import scope_of, state_of

T = TypeVar("T")

PROVES_REST = frozenset({State.NOT_RUNNING, State.RUNS_AGAIN})
"""States of campaigns that call nobody now; what a schedule starts later was not stopped by this run either.

One that is only saved is among them, as the service has just said itself that it is not active.
"""


def list_reader(perform: Perform, caller_of: Callable[[str], Caller]) -> ReadList:
    """Make what reads the list of a campaign's scope within the quota of its account."""

    async def read(of: Campaign, is_enough: IsEnough) -> Reading:
        states: dict[str, ListedState] = {}
        listing = await read_listing(scope_of(of), _noting(perform, states, is_enough), caller_of, DiscardAll())
        if is_enough(states):
            return Reading(states, listing.calls)
        failure = listing.failure
        fault = listing.doubt if failure is None else failure.error or failure.outcome.value
        return Reading(states, listing.calls, fault)

    return read


def _noting(perform: Perform, states: dict[str, ListedState], is_enough: IsEnough) -> Perform:
    """Make what notes the states on each page, and lets a list end where that is enough."""

    async def noting(call: Call[T], /) -> T | Attempt:
        page = await perform(call)
        if not isinstance(page, Page):
            return page
        on_page: dict[str, ListedState] = {}
        for item in page.items:
            state = state_of(item)
            listed = ListedState(item.status, state in PROVES_REST, state is not State.SCHEDULED)
            if item.campaign_id not in on_page or not listed.is_at_rest:  # of two on a page the worse one counts
                on_page[item.campaign_id] = listed
        states.update(on_page)
        return page._replace(more=False, total=None) if is_enough(states) else page

    return noting
