"""The engine reads lists during a run to decide campaigns whose response proves nothing."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from bulkstop.engine.guards.guards import Guards
from bulkstop.engine.guards.scopes import Group
from bulkstop.engine.lanes import Lane, Turn
from bulkstop.engine.tasks import Tasks
from bulkstop.model import Attempt, Campaign, Outcome, RetryHint
from bulkstop.naming import name_setting

REVIEWS = 8
"""The most lists that are read at the same time."""
NOT_READ_BACK = "the run ended before the list was read"
ROWS_A_PAGE = 48
"""The approximate number of campaigns on a page, for a list without a page so far; pages overlap."""


class ListedState(NamedTuple):
    """A campaign's status in a list, whether it proves that the campaign is at rest, and whether it may run now."""

    status: str | None
    is_at_rest: bool
    may_run: bool = True


class Reading(NamedTuple):
    """The states in a list by campaign id; a `fault` means that reading ended early."""

    states: Mapping[str, ListedState]
    calls: int = 0
    fault: str | None = None


class ListWork(NamedTuple):
    """The list calls that a lane still needs, how long one takes (0: unknown), and when the current one was sent."""

    calls: int = 0
    page_s: float = 0.0
    asked_at: float | None = None


class ListProgress:
    """The progress of reading a list: its number of pages, as far as known, and the page requested now."""

    def __init__(self, now: Callable[[], float], pages: int = 1) -> None:
        self.pages = pages
        self.read = 0
        self.page_s = 0.0
        self.asked_at: float | None = None
        self._now = now

    def ask(self) -> None:
        """Note that a page is requested."""
        self.asked_at = self._now()

    def take(self, pages: int | None) -> None:
        """Note a response: a page of a list of `pages`, or None if it is not a page."""
        now = self._now()
        self.page_s, self.asked_at = now - (now if self.asked_at is None else self.asked_at), None
        if pages is not None:
            self.read += 1
            self.pages = pages

    @property
    def left(self) -> int:
        """The number of calls that are not complete yet."""
        return max(self.pages - self.read, 0 if self.asked_at is None else 1)


IsEnough = Callable[[Mapping[str, ListedState]], bool]
ReadList = Callable[[Campaign, IsEnough, ListProgress], Awaitable[Reading]]
"""Reads the list of a campaign's account, stream and type completely, or until what was read is enough.

It updates its progress. Raises a BulkstopError only if no further call is possible.
"""

Ended = Iterable[tuple[Turn, bool]]
"""Campaigns whose lines need not wait any more, each with whether its row has ended."""


class Decided(Protocol):
    """The run that lists are read for."""

    calls: int

    def settle_claim(self, turn: Turn, attempt: Attempt) -> None:
        """Settle a campaign by its list."""
        ...

    def finish(self, ended: Ended) -> None:
        """Write the lines of decided campaigns."""
        ...

    def review_ended(self, lane: Lane) -> None:
        """Continue with a lane, because its list has used its quota."""
        ...

    def end_early(self, fault: BaseException) -> None:
        """Send nothing more, because of `fault`."""
        ...


class Reviews:
    """Reads the lists that campaigns wait for, up to REVIEWS at a time and one per account.

    Those campaigns are the ones that the service claims are not running, and the first refused ones of a group.
    """

    def __init__(
        self, read_list: ReadList, guards: Guards[Turn], tasks: Tasks, run: Decided, now: Callable[[], float]
    ) -> None:
        self._read_list = read_list
        self._now = now
        self._guards = guards
        self._tasks = tasks
        self._run = run
        self._claims: dict[Lane, dict[Group[Turn], deque[Turn]]] = {}
        self._due: deque[tuple[Lane, Group[Turn]]] = deque()
        self._reading: dict[Lane, asyncio.Task[None]] = {}
        self._progress: dict[Lane, ListProgress] = {}
        self._pages: dict[Group[Turn], int] = {}
        self._page_s = 0.0
        self._is_over = False

    def add_claim(self, turn: Turn) -> None:
        """Queue a campaign that the service claims is not running, until its list is read."""
        self._claims.setdefault(turn.lane, {}).setdefault(turn.group, deque()).append(turn)
        self._run.finish(self._guards.claimed(turn))

    def look_at(self, lane: Lane, *, is_stuck: bool) -> None:
        """Read the lists that groups wait for, and, if a lane can do nothing else, those of its claims."""
        if is_stuck and lane not in self._reading:
            claims = self._claims.get(lane, {})
            self._due += [(lane, group) for group in claims if (lane, group) not in self._due]
            if lane.is_sent:
                self._run.finish(self._guards.end_account(lane.account_id))
        self._due += [(lane, group) for group in self._guards.to_review]
        self._guards.to_review.clear()
        self._begin()

    def find_work(self, lane: Lane) -> ListWork:
        """Return the list calls that a lane will need for the campaigns that wait now."""
        progress = self._progress.get(lane)
        groups = {*self._claims.get(lane, ()), *(group for of, group in self._due if of is lane)}
        calls = sum(self._guess_pages(lane, group) for group in groups)
        if progress is None:
            return ListWork(calls, self._page_s)
        return ListWork(calls + progress.left, progress.page_s or self._page_s, progress.asked_at)

    def _guess_pages(self, lane: Lane, group: Group[Turn]) -> int:
        """Return how many pages a list had when last read, else how many its group will fill."""
        rows = group.drawn * lane.total / max(1, lane.total - lane.unsent)
        return self._pages.get(group) or max(1, math.ceil(rows / ROWS_A_PAGE))

    def drain(self) -> None:
        """Read no more lists; cancelling a read loses nothing."""
        self._is_over = True
        for reading in self._reading.values():
            reading.cancel()

    def take_claims(self) -> Ended:
        """Yield the campaigns that still wait when a run ends: they were sent, and have not ended."""
        claims, self._claims = self._claims, {}
        for turn in (turn for groups in claims.values() for turns in groups.values() for turn in turns):
            assert turn.last is not None  # noqa: S101 - it has a response
            turn.last = leave_claim(turn.last)
            yield turn, False

    def _begin(self) -> None:
        for _ in range(len(self._due)):
            if self._is_over or len(self._reading) == REVIEWS:
                return
            lane, group = self._due.popleft()
            if lane in self._reading:
                self._due.append((lane, group))
            else:
                self._reading[lane] = self._tasks.start(self._review(lane, group))

    async def _review(self, lane: Lane, group: Group[Turn]) -> None:
        """Read the list of a group, and decide what waits for it."""
        try:
            if group.is_reviewed:
                await self._review_group(lane, group)
            else:
                await self._read_back(lane, group)
        except asyncio.CancelledError as stray:
            if not self._is_over:
                self._run.end_early(stray)
            raise
        except Exception as fault:  # noqa: BLE001 - any fault; every row gets its line first
            self._run.end_early(fault)
        finally:
            del self._reading[lane]
            self._run.review_ended(lane)

    async def _review_group(self, lane: Lane, group: Group[Turn]) -> None:
        ids = {turn.campaign.campaign_id for turn in group.held}
        reading = await self._read(lane, group, group.held[0].campaign, lambda states: not ids.isdisjoint(states))
        is_read = reading.fault is None or not ids.isdisjoint(reading.states)
        listed = frozenset(reading.states) if is_read else None
        self._run.finish(self._guards.reviewed(group, listed, reading.fault or ""))

    async def _read_back(self, lane: Lane, group: Group[Turn]) -> None:
        turns = self._claims[lane].pop(group)
        ids = {turn.campaign.campaign_id for turn in turns}
        try:
            reading = await self._read(lane, group, turns[0].campaign, lambda states: ids <= states.keys())
            while turns:
                self._settle_claim(turns[0], reading)
                turns.popleft()
        finally:
            if turns:
                self._claims[lane].setdefault(group, deque()).extend(turns)

    def _settle_claim(self, turn: Turn, reading: Reading) -> None:
        assert turn.last is not None  # noqa: S101 - it has a response
        self._run.settle_claim(turn, judge_claim(turn.last, turn.campaign.campaign_id, reading))

    async def _read(self, lane: Lane, group: Group[Turn], of: Campaign, is_enough: IsEnough) -> Reading:
        progress = self._progress[lane] = ListProgress(self._now, self._guess_pages(lane, group))
        try:
            reading = await self._read_list(of, is_enough, progress)
        finally:
            del self._progress[lane]
        self._pages[group], self._page_s = max(1, progress.read), progress.page_s
        self._run.calls += reading.calls
        return reading


def judge_claim(attempt: Attempt, campaign_id: str, reading: Reading) -> Attempt:
    """Return the outcome of a claim that a campaign does not run, according to its list.

    At rest it is `already_stopped`. `RetryHint.LATER` marks one that is listed as running. One that a schedule will
    start cannot be stopped before that. Any other is unknown.
    """
    state = reading.states.get(campaign_id)
    if state is None:
        return _unconfirmed(attempt, _why_unknown(reading), RetryHint.NO)
    status = state.status or "without a status"
    if state.is_at_rest:
        error = f"{attempt.error}; the list has it as {status}"
        return attempt._replace(outcome=Outcome.ALREADY_STOPPED, again=RetryHint.NO, error=error)
    if state.may_run:
        return _unconfirmed(attempt, f"the list has it as {status}", RetryHint.LATER)
    return _unconfirmed(attempt, f"the list has it as {status}, so it will start by itself", RetryHint.NO)


def leave_claim(attempt: Attempt) -> Attempt:
    """Return what is known of a claim if the run ends before the list was read."""
    return _unconfirmed(attempt, NOT_READ_BACK, RetryHint.NO)


def _unconfirmed(attempt: Attempt, why: str, again: RetryHint) -> Attempt:
    return attempt._replace(outcome=Outcome.UNCONFIRMED, again=again, error=f"{attempt.error}; {why}")


def _why_unknown(reading: Reading) -> str:
    again = name_setting("retry_failed", True)
    if reading.fault is None:
        singly = name_setting("singly", True)
        return f"the list does not have it: ask for it by itself (verify with {singly}), or try again with {again}"
    return f"the list cannot be read ({reading.fault}); try again with {again}"
