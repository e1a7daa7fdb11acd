"""The campaigns of a service, page by page, while they change.

A list that is read in pages shifts: a campaign that leaves it moves all behind it one place forward, and what stood at
the edge of the next page would be skipped. So each page begins at the last campaign of the one before. If none of its
campaigns is known, too much has left, and the reading goes back until it is tied to what was read. Hence every campaign
that belongs to the list from the beginning of the reading to its end is found, whatever the others do.

A campaign that pages have in common, or a later reading gives again, is as it was last. One that stands twice in the
list itself, on a page or behind what its page has in common with the one before, has two rows at one moment: of these
the one that may call somebody counts, to the end of the reading.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from sys import getsizeof, intern

from bulkstop.engine.caller import Caller
from bulkstop.kore.calls import PAGE, find_page, list_call
from bulkstop.kore.exchange import PageRange
from bulkstop.kore.interpret import Page
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, ListedCampaign, Outcome, Scope, State
from bulkstop.runs.lists.states import RUNNING_STATUSES, combine, runs_now, state_of
from bulkstop.text import format_count

READINGS = 3
"""How often a list is read until it gives as many campaigns as the service counts."""
IDLE_PAGES = 2
"""Pages in a row that may bring nothing new at the far end, before the service is taken to repeat itself."""
PAGES_COUNTED = 200
"""Pages that are counted one by one; a longer list is taken to go on so."""
LEAST_PAGE = 3
"""The shortest pages with which a list can be read: the next one has to overlap, and to bring something."""
SPARE_CALLS = 64
"""Calls of one reading beyond two for each page's worth of campaigns."""
MOST_BYTES = 128 * 1024 * 1024
"""The memory that one list may take: that of about 200,000 campaigns; a service could feed one without end."""
MOST_BYTES_IN_ALL = 4 * MOST_BYTES
"""The memory that lists may take together which are read for one purpose."""
ROW_BYTES = 200
"""What a campaign takes beside its texts: its places in tables."""

OnPage = Callable[[Scope, int, int | None], object]
"""Called after each page with the scope, the campaigns seen so far, and how many the service counts."""
Enough = Callable[[Sequence[ListedCampaign]], bool]
"""Given the campaigns of each page as they are known by then, wanted or not; says whether no more need be read."""


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which campaigns of a scope are asked for: those in one of the statuses, with one of the priorities; empty is any.

    The letter case of a status does not matter to us; the service is asked with the one given. With `running` all that
    may run now are wanted as well, in whatever status: the service is asked for its whole list, or, if `is_narrow`, for
    the documented statuses alone.
    """

    statuses: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    running: bool = False
    is_narrow: bool = False

    def fits(self, item: ListedCampaign) -> bool:
        """Tell whether a campaign is wanted: a service may not heed what it is asked for."""
        return self._fits_status(item) and (not self.priorities or item.priority in self.priorities)

    def _fits_status(self, item: ListedCampaign) -> bool:
        known = {status.lower() for status in self.statuses}
        is_any = not known and not self.running
        return is_any or (self.running and runs_now(item)) or (item.status or "").lower() in known

    @property
    def is_whole(self) -> bool:
        """Whether the service is asked for its whole list, though not all of that is wanted."""
        return self.running and not self.is_narrow

    @property
    def asked(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The statuses and priorities that the service is asked for; those of a whole list are told apart here."""
        if self.is_whole:
            return (), ()
        return (*(RUNNING_STATUSES if self.running else ()), *self.statuses), self.priorities


@dataclass(frozen=True, slots=True)
class Listing:
    """What a scope's list gave: each wanted campaign by its id, and a line for each that cannot be used.

    With a `failure` the list was not read completely; with a `doubt` it was, but may lack what came or went meanwhile.
    `doubled` counts the campaigns that stand more than once in the list. Of a whole list `rest` has the status of each
    campaign that is not wanted.
    """

    scope: Scope
    items: Mapping[str, ListedCampaign]
    unusable: tuple[str, ...] = ()
    calls: int = 0
    doubt: str | None = None
    failure: Attempt | None = None
    doubled: int = 0
    rest: Mapping[str, str] = field(default_factory=dict)


class Allowance:
    """The memory that is left for lists which are read for one purpose."""

    def __init__(self) -> None:
        self.left = MOST_BYTES_IN_ALL


class DiscardAll(ListFilter):
    """Lets a reading keep none of its campaigns, where each page is looked at as it comes."""

    def fits(self, item: ListedCampaign) -> bool:
        """Want none."""
        return False


async def read_listing(
    scope: Scope,
    perform: Perform,
    caller_of: Callable[[Scope], Caller],
    wanted: ListFilter,
    *,
    on_page: OnPage = lambda scope, seen, total: None,
    enough: Enough = lambda items: False,
    any_id: bool = True,
    allowance: Allowance | None = None,
) -> Listing:
    """Read the list of one scope; without `any_id` campaigns with ids that cannot be sent are left out.

    A list that takes more memory than `allowance` has left cannot be read completely.
    """
    caller = caller_of(scope)
    reading = _Reading(scope, perform, caller, wanted, on_page, enough, allowance or Allowance(), any_id=any_id)
    return await reading.read()


class _Reading:
    """Reads one list, again if need be."""

    def __init__(
        self,
        scope: Scope,
        perform: Perform,
        caller: Caller,
        wanted: ListFilter,
        on_page: OnPage,
        enough: Enough,
        allowance: Allowance,
        *,
        any_id: bool,
    ) -> None:
        self.is_enough = False
        self._scope = scope
        self._perform = perform
        self._caller = caller
        self._wanted = wanted
        self._on_page = on_page
        self._enough = enough
        self._allowance = allowance
        self._any_id = any_id
        self._items: dict[
            str, ListedCampaign
        ] = {}  # also those that are not wanted, which a service may give all the same
        self._doubled: set[str] = set()
        self._unusable: dict[str, None] = {}
        self._bytes = 0
        self._most = PAGE
        self._longest = 0
        self._calls = 0

    async def read(self) -> Listing:
        """Read until as many campaigns were seen as the service counts, or another reading brings no more."""
        for number in range(READINGS):
            before = self._seen
            last = await _Pass(self).run()
            if isinstance(last, Attempt):
                return self._make_listing(failure=last)
            if last.total is None and last.more:
                return self._make_listing(doubt="the service says that there are more campaigns, but gives none")
            missing = (last.total or 0) - self._seen
            if missing <= 0:
                return self._make_listing()
            if number and self._seen == before:
                flaw = f"the service counts {last.total:,} but gives {before:,}"
                failure = _explain_unread(flaw) if last.more else None
                return self._make_listing(None if failure else flaw, failure)
        return self._make_listing(doubt=f"the list kept changing in {READINGS} readings; try again")

    async def get_page(self, start: int) -> tuple[PageRange, Page | Attempt]:
        """Get the page that holds row number `start`."""
        at = find_page(start, self._most)
        self._calls += 1
        call = list_call(self._scope, at, *self._wanted.asked, any_id=self._any_id)
        page = await self._caller.call(partial(self._perform, call))
        if isinstance(page, Page):
            self._longest = max(self._longest, page.rows)
            if at.skip == 0 and _may_go_on(page) and LEAST_PAGE <= page.rows < at.limit:
                # The service gives no longer pages, unless one was longer: then the list is short by now.
                self._most = min(PAGE, self._longest)
        return at, page

    def add(self, page: Page, doubled: Set[str]) -> None:
        """Keep what a page brings; of a campaign that is met again the latest, unless it is `doubled`."""
        self._doubled |= doubled
        for item in page.items:
            self._keep(item)
        for fault in page.faults:
            if fault not in self._unusable:
                self._charge(getsizeof(fault) + ROW_BYTES)
                self._unusable[fault] = None
        self.is_enough = self._enough([self._items[key] for key in dict.fromkeys(_list_ids(page))])
        self._on_page(self._scope, self._seen, page.total)

    @property
    def pages_kept(self) -> int:
        """How many pages what is kept would fill."""
        return self._seen // self._most

    @property
    def is_full(self) -> bool:
        """Tell whether no more can be kept."""
        return self.is_full_alone or self._allowance.left < 0

    @property
    def is_full_alone(self) -> bool:
        """Tell whether this list takes as much as one may."""
        return self._bytes > MOST_BYTES

    @property
    def _seen(self) -> int:
        return len(self._items) + len(self._unusable)

    def _keep(self, item: ListedCampaign) -> None:
        known = self._items.get(item.campaign_id)
        if known is None:
            self._charge(_size_of(item))
        elif item.campaign_id in self._doubled:
            item = combine(known, item)
        if not self._wanted.fits(item) and state_of(item) is State.NOT_RUNNING:
            item = item.without_texts()  # nobody will read them
        self._items[item.campaign_id] = item

    def _charge(self, size: int) -> None:
        self._bytes += size
        self._allowance.left -= size

    def _make_listing(self, doubt: str | None = None, failure: Attempt | None = None) -> Listing:
        is_usable = failure is None or not self.is_full
        items = {key: item for key, item in self._items.items() if is_usable and self._wanted.fits(item)}
        rest = self._list_rest(items) if is_usable and self._wanted.is_whole else {}
        kept = sum(map(_size_of, items.values())) + ROW_BYTES * len(rest)
        self._charge(kept - self._bytes)  # what is not in the listing is free again
        return Listing(self._scope, items, tuple(self._unusable), self._calls, doubt, failure, len(self._doubled), rest)

    def _list_rest(self, items: Mapping[str, ListedCampaign]) -> dict[str, str]:
        return {key: intern(item.status or "") for key, item in self._items.items() if key not in items}


class _Pass:
    """One way through a list, from its first page to its last."""

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading
        self._met: set[str] = set()
        self._last: str | None = None
        self._pages: set[int] = set()
        self._calls = 0
        self._idle = 0
        self._far = 0

    async def run(self) -> Page | Attempt:
        """Return the last page, or the attempt that failed."""
        start = back = 0
        while True:
            at, page = await self._reading.get_page(start)
            if isinstance(page, Attempt):
                return page
            keys = _list_keys(page)
            is_tied = at.skip == 0 or any(key in self._met for key in keys)
            is_repeated = hash(keys) in self._pages
            self._pages.add(hash(keys))
            is_new = is_tied and self._take(page, is_ahead=start >= self._far)
            if is_tied and self._reading.is_enough:
                return page._replace(more=False, total=None)
            if is_tied and _is_last(page, at, start, is_new=is_new, is_repeated=is_repeated):
                return page
            if self._is_stuck(start, is_new=is_new):
                return self._explain_stuck(page)
            if is_tied:
                start, back = at.skip + max(1, page.rows - 1), 0
            else:
                back = 2 * back or at.limit
                start = max(0, at.skip - back)

    def _take(self, page: Page, *, is_ahead: bool) -> bool:
        """Keep a page that is tied to what was read; tell whether it brings anything."""
        before, doubled = len(self._met), _find_doubled(page, self._met if is_ahead else frozenset(), self._last)
        self._last = page.items[-1].campaign_id if is_ahead and page.items else self._last
        self._met.update(_list_keys(page))
        self._reading.add(page, doubled)
        return len(self._met) > before

    def _is_stuck(self, start: int, *, is_new: bool) -> bool:
        self._calls += 1
        if is_new:
            self._idle = 0
        elif start >= self._far:  # what lies before was read already, so it brings nothing new
            self._idle += 1
        self._far = max(self._far, start)
        too_many = self._calls > SPARE_CALLS + 2 * self._reading.pages_kept
        return self._idle > IDLE_PAGES or too_many or self._reading.is_full

    def _explain_stuck(self, page: Page) -> Attempt:
        of = "" if page.total is None else f" of {page.total:,}"
        gave = f"{format_count(self._calls, 'page')} gave {format_count(len(self._met), 'campaign')}{of}"
        if self._reading.is_full:
            most, of_what = (MOST_BYTES, "") if self._reading.is_full_alone else (MOST_BYTES_IN_ALL, " of all lists")
            return _explain_unread(f"{gave}, and more than {most // 2**20:,} MiB{of_what} are not kept in memory")
        return _explain_unread(f"{gave}, and more do not lead to the end of the list")


def count_pages(total: int, most: int) -> int:
    """Return the calls that reading a list of `total` campaigns takes, where nothing changes and none fails."""
    start = pages = 0
    while True:
        at = find_page(start, most)
        pages += 1
        end = at.skip + at.limit
        if end >= total or pages == PAGES_COUNTED:
            return round(pages * max(1.0, total / end))
        start = at.skip + max(1, at.limit - 1)


def _size_of(item: ListedCampaign) -> int:
    """Return the memory that a campaign takes."""
    return ROW_BYTES + getsizeof(item) + sum(getsizeof(text) for text in item if isinstance(text, str))


def _may_go_on(page: Page) -> bool:
    """Tell whether more may follow a page."""
    return page.more or not page.is_known


def _is_last(page: Page, at: PageRange, start: int, *, is_new: bool, is_repeated: bool) -> bool:
    """Tell whether nothing is behind a page that was asked for row number `start`, the last one that was known.

    What brings something new is the last as it says so; where nothing says how far the list goes, a service may give
    less than it is asked for, and the end is what brings nothing new. Of that, a promise of more is none, but where
    nobody counts, a page that was given before, with more on it than the known row, is an earlier one, given again.
    """
    if is_new:
        return not _may_go_on(page)
    is_earlier = is_repeated and page.total is None and page.rows > start - at.skip + 1
    return not is_earlier and (not page.more or (at.skip > 0 and page.rows < at.limit))


def _explain_unread(why: str) -> Attempt:
    return Attempt(Outcome.UNCONFIRMED, error=why)


def _list_keys(page: Page) -> tuple[str, ...]:
    return (*_list_ids(page), *page.faults)


def _list_ids(page: Page) -> Iterable[str]:
    return (item.campaign_id for item in page.items)


def _find_doubled(page: Page, met: Set[str], last: str | None) -> set[str]:
    """Return the campaigns that the list has twice: on this page, or met before and here again behind the common ones.

    What a page has in common with those before it ends with the `last` of these, or where that has left, with one that
    is new.
    """
    doubled, here, is_behind = set[str](), set[str](), False
    for key in _list_ids(page):
        if key in here or (is_behind and key in met):
            doubled.add(key)
        is_behind = is_behind or key not in met or key == last
        here.add(key)
    return doubled
