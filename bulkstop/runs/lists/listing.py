"""Reads a list of campaigns page by page while it changes.

Pages shift: when a campaign leaves the list, all behind it move forward one place, and the first one of the next page
would be skipped. So each page begins at the last campaign of the page before. If none of its campaigns is known, too
many have left, and the reading goes back until a page overlaps what was read. Hence it finds every campaign that is in
the list from the beginning of the reading to its end.

A campaign that pages share, or that a later reading returns again, has its latest state. One that the list itself has
twice, on a page or after the rows that the page shares with the one before, has two rows at one moment: of these, the
row that may call somebody counts, until the end of the reading.
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
"""Most readings of a list, until it returns as many campaigns as the service counts."""
IDLE_PAGES = 2
"""Pages in a row without a new campaign at the far end, after which the service is assumed to repeat itself."""
PAGES_COUNTED = 200
"""Pages that are counted one by one; the count of a longer list is extrapolated."""
LEAST_PAGE = 3
"""Least page length with which a list can be read: a page must overlap the one before and bring a new row."""
SPARE_CALLS = 64
"""Calls of one reading beyond two for each full page of campaigns."""
MOST_BYTES = 128 * 1024 * 1024
"""Memory for one list in bytes, about 200,000 campaigns, because a service could return an endless list."""
MOST_BYTES_IN_ALL = 4 * MOST_BYTES
"""Memory in bytes for the lists that are read together."""
ROW_BYTES = 200
"""Memory of a campaign in bytes besides its texts."""

OnPage = Callable[[Scope, int, int | None], object]
"""Called after each page with the scope, the campaigns seen so far, and the service's count."""
Enough = Callable[[Sequence[ListedCampaign]], bool]
"""Gets the campaigns of each page in their state so far, wanted or not; returns True to end the reading."""


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Selects campaigns of a scope by status and priority; an empty field accepts any.

    Statuses are compared in any letter case, but sent to the service as given. `running` also selects every status that
    may run now; for this the service is asked for its whole list or, if `is_narrow`, only for the documented statuses.
    """

    statuses: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    running: bool = False
    is_narrow: bool = False

    def fits(self, item: ListedCampaign) -> bool:
        """Return whether a campaign is selected; a service may ignore the filter of a request."""
        return self._fits_status(item) and (not self.priorities or item.priority in self.priorities)

    def _fits_status(self, item: ListedCampaign) -> bool:
        known = {status.lower() for status in self.statuses}
        is_any = not known and not self.running
        return is_any or (self.running and runs_now(item)) or (item.status or "").lower() in known

    @property
    def is_whole(self) -> bool:
        """Whether the service is asked for its whole list, although only a part is selected."""
        return self.running and not self.is_narrow

    @property
    def asked(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The statuses and priorities in the request; both are empty for a whole list, which is filtered here."""
        if self.is_whole:
            return (), ()
        return (*(RUNNING_STATUSES if self.running else ()), *self.statuses), self.priorities


@dataclass(frozen=True, slots=True)
class Listing:
    """The result of reading a scope's list: the selected campaigns by id, and a line for each unusable one.

    With a `failure` the list was not read completely; with a `doubt` it was, but may lack campaigns that came or went
    meanwhile. `doubled` counts the campaigns that the list has more than once. `rest` has the status of each campaign
    of a whole list that was not selected.
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
    """The memory left for the lists that are read together."""

    def __init__(self) -> None:
        self.left = MOST_BYTES_IN_ALL


class DiscardAll(ListFilter):
    """A filter that keeps no campaign, for a reading whose pages are examined as they come."""

    def fits(self, item: ListedCampaign) -> bool:
        """Return False."""
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
    """Read the list of one scope; without `any_id`, omit campaigns whose ids cannot be sent.

    A list that needs more memory than `allowance` has left is not read completely.
    """
    caller = caller_of(scope)
    reading = _Reading(scope, perform, caller, wanted, on_page, enough, allowance or Allowance(), any_id=any_id)
    return await reading.read()


class _Reading:
    """Reads one list, several times if needed."""

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
        self._items: dict[str, ListedCampaign] = {}  # includes campaigns that the filter rejects
        self._doubled: set[str] = set()
        self._unusable: dict[str, None] = {}
        self._bytes = 0
        self._most = PAGE
        self._longest = 0
        self._calls = 0

    async def read(self) -> Listing:
        """Read until all campaigns that the service counts were seen, or another reading brings no more."""
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
        """Return the page with row number `start`, and the range that was requested."""
        at = find_page(start, self._most)
        self._calls += 1
        call = list_call(self._scope, at, *self._wanted.asked, any_id=self._any_id)
        page = await self._caller.call(partial(self._perform, call))
        if isinstance(page, Page):
            self._longest = max(self._longest, page.rows)
            if at.skip == 0 and _may_go_on(page) and LEAST_PAGE <= page.rows < at.limit:
                # This seems to be the service's longest page, unless another page was longer: then the list is short by
                # now.
                self._most = min(PAGE, self._longest)
        return at, page

    def add(self, page: Page, doubled: Set[str]) -> None:
        """Keep the campaigns of a page; a known campaign gets its latest state, unless it is `doubled`."""
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
        """The number of pages that the kept campaigns would fill."""
        return self._seen // self._most

    @property
    def is_full(self) -> bool:
        """Return whether no more campaigns can be kept."""
        return self.is_full_alone or self._allowance.left < 0

    @property
    def is_full_alone(self) -> bool:
        """Return whether this list has used the memory of one list."""
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
            item = item.without_texts()  # they are not needed
        self._items[item.campaign_id] = item

    def _charge(self, size: int) -> None:
        self._bytes += size
        self._allowance.left -= size

    def _make_listing(self, doubt: str | None = None, failure: Attempt | None = None) -> Listing:
        is_usable = failure is None or not self.is_full
        items = {key: item for key, item in self._items.items() if is_usable and self._wanted.fits(item)}
        rest = self._list_rest(items) if is_usable and self._wanted.is_whole else {}
        kept = sum(map(_size_of, items.values())) + ROW_BYTES * len(rest)
        self._charge(kept - self._bytes)  # campaigns outside the listing free their memory
        return Listing(self._scope, items, tuple(self._unusable), self._calls, doubt, failure, len(self._doubled), rest)

    def _list_rest(self, items: Mapping[str, ListedCampaign]) -> dict[str, str]:
        return {key: intern(item.status or "") for key, item in self._items.items() if key not in items}


class _Pass:
    """One pass through a list, from its first page to its last."""

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
        """Keep a page that overlaps what was read; return whether it has new rows."""
        before, doubled = len(self._met), _find_doubled(page, self._met if is_ahead else frozenset(), self._last)
        self._last = page.items[-1].campaign_id if is_ahead and page.items else self._last
        self._met.update(_list_keys(page))
        self._reading.add(page, doubled)
        return len(self._met) > before

    def _is_stuck(self, start: int, *, is_new: bool) -> bool:
        self._calls += 1
        if is_new:
            self._idle = 0
        elif start >= self._far:  # pages before the far end were read already, and bring nothing new
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
    """Return the calls that reading a list of `total` campaigns takes, without changes or failures."""
    start = pages = 0
    while True:
        at = find_page(start, most)
        pages += 1
        end = at.skip + at.limit
        if end >= total or pages == PAGES_COUNTED:
            return round(pages * max(1.0, total / end))
        start = at.skip + max(1, at.limit - 1)


def _size_of(item: ListedCampaign) -> int:
    """Return the memory of a campaign in bytes."""
    return ROW_BYTES + getsizeof(item) + sum(getsizeof(text) for text in item if isinstance(text, str))


def _may_go_on(page: Page) -> bool:
    """Return whether a page may be followed by another."""
    return page.more or not page.is_known


def _is_last(page: Page, at: PageRange, start: int, *, is_new: bool, is_repeated: bool) -> bool:
    """Return whether the list ends with a page that was requested from the last known row, number `start`.

    A page with new rows ends the list if it says so. Where the service does not tell the length of the list, it may
    return short pages, and the end is a page without new rows, even if that promises more. Without a total, such a page
    is not the end if it is a repeated one with more rows than the known row: that is an earlier page.
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
    """Return the campaigns that the list has twice: on this page, or seen before and again after the shared rows.

    The rows that a page shares with those before it end with their `last` campaign or, where that has left, before the
    first new one.
    """
    doubled, here, is_behind = set[str](), set[str](), False
    for key in _list_ids(page):
        if key in here or (is_behind and key in met):
            doubled.add(key)
        is_behind = is_behind or key not in met or key == last
        here.add(key)
    return doubled
