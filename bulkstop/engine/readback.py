"""What the engine asks of a list while it runs: how campaigns stand whose answer proves nothing by itself."""

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
"""Lists that are read at the same time beside the stops."""
NOT_READ_BACK = "the run ended before the list was read"
ROWS_A_PAGE = 48
"""Campaigns that a page brings, about, of a list of which no page was read yet; pages overlap."""


class ListedState(NamedTuple):
    """How a list has a campaign: its status, whether that proves that it is at rest, and whether it may run now."""

    status: str | None
    is_at_rest: bool
    may_run: bool = True


class Reading(NamedTuple):
    """What a list told, by campaign id; with a `fault` it was not read as far as was asked."""

    states: Mapping[str, ListedState]
    calls: int = 0
    fault: str | None = None


class ListWork(NamedTuple):
    """The list calls that a lane still needs, how long one takes (0: nobody knows), and since when one is out."""

    calls: int = 0
    page_s: float = 0.0
    asked_at: float | None = None


class ListProgress:
    """How far a list is read: the pages that it has, as far as that is known, and the one that is asked for."""

    def __init__(self, now: Callable[[], float], pages: int = 1) -> None:
        self.pages = pages
        self.read = 0
        self.page_s = 0.0
        self.asked_at: float | None = None
        self._now = now

    def ask(self) -> None:
        """Note that a page is asked for."""
        self.asked_at = self._now()

    def take(self, pages: int | None) -> None:
        """Note that an answer is there: a page of a list of so many, or None where it is no page."""
        now = self._now()
        self.page_s, self.asked_at = now - (now if self.asked_at is None else self.asked_at), None
        if pages is not None:
            self.read += 1
            self.pages = pages

    @property
    def left(self) -> int:
        """How many calls are still to come to an end."""
        return max(self.pages - self.read, 0 if self.asked_at is None else 1)


IsEnough = Callable[[Mapping[str, ListedState]], bool]
ReadList = Callable[[Campaign, IsEnough, ListProgress], Awaitable[Reading]]
"""Reads the list of a campaign's account, stream and type until what was read is enough, or to its end.

It notes its progress. Raises a BulkstopError only when no call can be made any more.
"""

Ended = Iterable[tuple[Turn, bool]]
"""Campaigns whose lines need not wait any more, each with whether its row has ended."""


class Decided(Protocol):
    """The run for which lists are read."""

    calls: int

    def settle_claim(self, turn: Turn, attempt: Attempt) -> None:
        """Take what a list makes of a campaign."""
        ...

    def finish(self, ended: Ended) -> None:
        """Take campaigns that wait no more."""
        ...

    def review_ended(self, lane: Lane) -> None:
        """Go on with a lane, as its list has used its quota."""
        ...

    def end_early(self, fault: BaseException) -> None:
        """Send nothing more, because of a fault."""
        ...


class Reviews:
    """Reads the lists for which campaigns wait, REVIEWS of them at a time and one of an account.

    Those are the campaigns of which the service claims that they do not run, and the first refused ones of a group.
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
        """Let a campaign of which the service claims that it does not run wait for its list."""
        self._claims.setdefault(turn.lane, {}).setdefault(turn.group, deque()).append(turn)
        self._run.finish(self._guards.claimed(turn))

    def look_at(self, lane: Lane, *, is_stuck: bool) -> None:
        """Have the lists of a lane read when it can do nothing else, and those that a group waits for."""
        if is_stuck and lane not in self._reading:
            claims = self._claims.get(lane, {})
            self._due += [(lane, group) for group in claims if (lane, group) not in self._due]
            if lane.is_sent:
                self._run.finish(self._guards.end_account(lane.account_id))
        self._due += [(lane, group) for group in self._guards.to_review]
        self._guards.to_review.clear()
        self._begin()

    def find_work(self, lane: Lane) -> ListWork:
        """Return the list calls that a lane will need for what waits by now."""
        progress = self._progress.get(lane)
        groups = {*self._claims.get(lane, ()), *(group for of, group in self._due if of is lane)}
        calls = sum(self._guess_pages(lane, group) for group in groups)
        if progress is None:
            return ListWork(calls, self._page_s)
        return ListWork(calls + progress.left, progress.page_s or self._page_s, progress.asked_at)

    def _guess_pages(self, lane: Lane, group: Group[Turn]) -> int:
        """Return how many pages a list had when it was read last, else as many as its group fills in the end."""
        rows = group.drawn * lane.total / max(1, lane.total - lane.unsent)
        return self._pages.get(group) or max(1, math.ceil(rows / ROWS_A_PAGE))

    def drain(self) -> None:
        """Read no list any more; it only asks, so nothing is lost with one that is cut off."""
        self._is_over = True
        for reading in self._reading.values():
            reading.cancel()

    def take_claims(self) -> Ended:
        """Give up what still waits when a run ends: it was sent, and has not ended."""
        claims, self._claims = self._claims, {}
        for turn in (turn for groups in claims.values() for turns in groups.values() for turn in turns):
            assert turn.last is not None  # noqa: S101 - it was answered
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
        """Read the list of a group, and let it decide what waits for it."""
        try:
            if group.is_reviewed:
                await self._review_group(lane, group)
            else:
                await self._read_back(lane, group)
        except asyncio.CancelledError as stray:
            if not self._is_over:
                self._run.end_early(stray)
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, every row gets its line first
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
        assert turn.last is not None  # noqa: S101 - it was answered
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
    """Return what the list makes of a claim that a campaign does not run.

    At rest it is `already_stopped`. `RetryHint.LATER` marks one that the list has as running. One that a schedule
    starts later cannot be stopped before that. Of any other nobody knows.
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
    """Return what is known of a claim when the run ends before it was read back."""
    return _unconfirmed(attempt, NOT_READ_BACK, RetryHint.NO)


def _unconfirmed(attempt: Attempt, why: str, again: RetryHint) -> Attempt:
    return attempt._replace(outcome=Outcome.UNCONFIRMED, again=again, error=f"{attempt.error}; {why}")


def _why_unknown(reading: Reading) -> str:
    again = name_setting("retry_failed", True)
    if reading.fault is None:
        singly = name_setting("singly", True)
        return f"the list does not have it: ask for it by itself (verify with {singly}), or try again with {again}"
    return f"the list cannot be read ({reading.fault}); try again with {again}"
