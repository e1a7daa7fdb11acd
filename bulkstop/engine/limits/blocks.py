"""Places of accounts are taken from a shared store in blocks.

A store transaction costs as much as many calls. So a lane takes several places at once, and one transaction carries the
requests of all lanes from one turn of the event loop, or from the time while the store was busy, together with the
answered and returned places. A place not used within HOLD_S goes back, because others may need it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.store import QuotaStore
from bulkstop.engine.limits.windows import Change, Grant, StoreUnavailableError, Take
from bulkstop.engine.tasks import start_task
from bulkstop.errors import BulkstopError, QuotaError
from bulkstop.events import Observe, QuotaStoreAway, QuotaStoreBack, ignore

HOLD_S = 1.0
"""The longest time a place is held before its call is sent."""
MOST_PLACES = 8
"""The most places that a lane takes at once; after as many calls another lane has its turn."""
CHANGES_S = 0.05
"""The store learns of responses within this time. A place counts from its response, and for longer only until the store
learns of it."""
ASK_AGAIN_S = 0.25
"""The pause before a store is asked again that did not respond, or whose places others use."""
PATIENCE_S = 30.0
"""The run ends after the store has not responded for this long."""
MOST_TAKES = 256
"""The most accounts in one transaction, which holds a lock that others wait for."""
NOTE_CHARS = 1000
"""The length limit of an account's note."""


class _Place(NamedTuple):
    """A place from the store, and when it was taken."""

    number: int
    taken_at: float


class Block:
    """The places of one account; each is used by one call, of any lane or caller of the account."""

    __slots__ = (
        "_blocks",
        "_in_hand",
        "_in_use",
        "_is_unused",
        "_size",
        "_waiters",
        "_want",
        "account_id",
        "note",
    )

    def __init__(self, account_id: str, blocks: "Blocks") -> None:
        self.account_id = account_id
        self.note: str | None = None
        """The account's note as of the last request; all users of the store read and write it."""
        self._blocks = blocks
        self._in_hand: list[_Place] = []  # lists, because there are thousands of blocks with few places each
        self._in_use: list[_Place] = []
        self._waiters: list[asyncio.Future[float]] = []
        self._want = 0
        self._size = MOST_PLACES
        self._is_unused = False

    @property
    def held(self) -> int:
        """The number of places in hand; as many calls may be sent without asking the store."""
        return len(self._in_hand)

    @property
    def is_away(self) -> bool:
        """Whether the store does not respond at present."""
        return self._blocks.is_away

    @property
    def in_use(self) -> int:
        """The number of places used by calls without a response."""
        return len(self._in_use)

    def take_now(self) -> bool:
        """Use a place in hand; return False if there is none."""
        if self._in_hand and self._blocks.now() >= self._in_hand[0].taken_at + HOLD_S:
            self.release()  # the timer is late, as after the machine slept
        if not self._in_hand:
            return False
        self._in_use.append(self._in_hand.pop(0))
        return True

    async def take(self, want: int) -> float:
        """Use a place and return 0.0, or the seconds until the next request; `want` places could be used soon."""
        if self.take_now():
            return 0.0
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._want = max(self._want, min(want, self._size))
        self._blocks.ask(self)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None and waiter.result() <= 0:
                self.give_back()
            raise

    def answered(self) -> None:
        """Count the oldest used place from now; a mix-up of places then counts one too long, never too short."""
        self._blocks.change(self.account_id, self._in_use.pop(0).number, self._blocks.now())

    def give_back(self) -> None:
        """Return the oldest used place, whose call was not sent; another call may use it if it is fresh."""
        place = self._in_use.pop(0)
        if self._blocks.now() < place.taken_at + HOLD_S:
            self._in_hand.insert(0, place)
            self._blocks.hold(self)
        else:
            self._blocks.change(self.account_id, place.number, None)

    def release(self) -> None:
        """Return all places in hand to the store."""
        while self._in_hand:
            self._blocks.change(self.account_id, self._in_hand.pop(0).number, None)

    def save_note(self, text: str) -> None:
        """Replace the note about the account; raises ValueError if it is longer than NOTE_CHARS."""
        if len(text) > NOTE_CHARS:
            raise ValueError(f"a note has at most {NOTE_CHARS} characters")
        self.note = text
        self._blocks.save_note(self.account_id, text)

    def expire(self, now: float) -> bool:
        """Return unused places to the store and take fewer next time; return False if it is too early."""
        if self._in_hand and now < self._in_hand[0].taken_at + HOLD_S:
            return False
        if self._in_hand:
            self._size, self._is_unused = max(1, self._size // 2), True
            self.release()
        return True

    def order(self) -> "Order | None":
        """Return the pending request; None if nobody waits any more."""
        waiters = [waiter for waiter in self._waiters if not waiter.done()]
        want, self._waiters, self._want = max(len(waiters), self._want), [], 0
        return Order(self, waiters, want) if waiters else None

    def serve(self, order: "Order", grant: Grant) -> None:
        """Distribute the places that the store has granted."""
        if grant.wait_s:  # others may wait for the same moment, so the first to ask must not take everything
            self._size = 1
        elif grant.places and not self._is_unused:
            self._size = min(MOST_PLACES, 2 * self._size)
        self._is_unused = False
        self.note = grant.note if grant.note is not None else self.note
        now = self._blocks.now()
        self._in_hand.extend(_Place(place, now) for place in grant.places)
        others_have_some = grant.busy > order.in_use
        wait_s = min(grant.wait_s, ASK_AGAIN_S) if others_have_some else grant.wait_s
        for waiter in order.waiters:
            if waiter.done():
                continue
            if self._in_hand:
                self._in_use.append(self._in_hand.pop(0))
                waiter.set_result(0.0)
            else:
                waiter.set_result(wait_s or ASK_AGAIN_S)
        if self._in_hand:
            self._blocks.hold(self)


class Order:
    """An account's request to the store, and the calls that wait for it."""

    __slots__ = ("block", "in_use", "waiters", "want")

    def __init__(self, block: Block, waiters: "list[asyncio.Future[float]]", want: int) -> None:
        self.block = block
        self.waiters = waiters
        self.want = want
        self.in_use = block.in_use


class Blocks:
    """The places that a process has from a store, and all its communication with the store.

    While the store does not respond no place is granted; after PATIENCE_S each request raises a QuotaError.
    """

    def __init__(self, store: QuotaStore, observe: Observe = ignore, *, now: Callable[[], float] = elapsed_s) -> None:
        self.now = now
        self._store = store
        self._observe = observe
        self._blocks: dict[str, Block] = {}
        self._asking: dict[Block, None] = {}
        self._holding: dict[Block, None] = {}
        self._changes: list[tuple[str, int, float | None]] = []
        self._notes: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._changes_timer: asyncio.TimerHandle | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        self._away_since: float | None = None
        self._is_closing = False

    @property
    def is_away(self) -> bool:
        """Whether the store does not respond at present."""
        return self._away_since is not None

    def account(self, account_id: str) -> Block:
        """Return the places of an account, always as the same object."""
        if (block := self._blocks.get(account_id)) is None:
            block = self._blocks[account_id] = Block(account_id, self)
        return block

    async def read_ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return how many seconds ago each call was made that is still in a window; counts nothing.

        Returns empty sequences while the store does not respond.
        """
        try:
            return await self._store.ages(account_ids)
        except StoreUnavailableError as error:
            self._bear(error)
            return [()] * len(account_ids)

    async def load_note(self, account_id: str) -> str | None:
        """Return the note about an account; None if there is none or the store does not respond."""
        if account_id in self._notes:
            return self._notes[account_id]
        try:
            note = await self._store.load_note(account_id)
        except StoreUnavailableError as error:
            self._bear(error)
            return None
        self.account(account_id).note = note
        return note

    async def close(self) -> None:
        """Return all places, send what the store does not know yet, and close it."""
        self._is_closing = True
        for timer in (self._changes_timer, self._hold_timer):
            if timer is not None:
                timer.cancel()
        for block in self._blocks.values():
            block.release()
        try:
            if self._task is not None:
                await asyncio.wait([self._task])
            if self._changes or self._notes:
                await self._trade([])
        except BulkstopError:  # a place that is not reported just counts for longer
            pass
        finally:
            await self._store.close()

    def ask(self, block: Block) -> None:
        """Request places for a block, in one transaction with all other requests so far."""
        self._asking[block] = None
        self._start()

    def change(self, account_id: str, place: int, answered_at: float | None) -> None:
        """Report to the store that a place was answered or returned."""
        self._changes.append((account_id, place, answered_at))
        self._tell_soon()

    def save_note(self, account_id: str, text: str) -> None:
        """Replace the note about an account."""
        self._notes[account_id] = text
        self._tell_soon()

    def hold(self, block: Block) -> None:
        """Ensure that places not used in time go back."""
        self._holding[block] = None
        if self._hold_timer is None and not self._is_closing:
            self._hold_timer = asyncio.get_running_loop().call_later(HOLD_S, self._expire)

    def _expire(self) -> None:
        self._hold_timer, now = None, self.now()
        for block in [block for block in self._holding if block.expire(now)]:
            del self._holding[block]
        if self._holding:
            self._hold_timer = asyncio.get_running_loop().call_later(HOLD_S / 4, self._expire)

    def _tell_soon(self) -> None:
        if self._changes_timer is None and self._task is None and not self._is_closing:
            delay_s = CHANGES_S if self._away_since is None else ASK_AGAIN_S
            self._changes_timer = asyncio.get_running_loop().call_later(delay_s, self._start)

    def _start(self) -> None:
        if self._changes_timer is not None:
            self._changes_timer.cancel()
            self._changes_timer = None
        if self._task is None:
            self._task = start_task(self._work())
            self._task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if task.cancelled() or self._is_closing:  # the loop has ended, or the store is closing: nobody will answer
            for waiter in _waiters_of(self._gather()):
                waiter.cancel()
        elif self._asking:
            self._start()
        elif self._changes or self._notes:
            self._tell_soon()

    async def _work(self) -> None:
        """Exchange requests with the store until there are none left."""
        is_first = True
        while self._asking or is_first:
            is_first = False
            await asyncio.sleep(0)  # requests from this turn of the loop join the transaction
            await self._trade_or_refuse(self._gather())

    def _gather(self) -> list[Order]:
        """Remove and return the next requests, the oldest first, up to MOST_TAKES."""
        asking = list(self._asking)[:MOST_TAKES]
        for block in asking:
            del self._asking[block]
        return [order for block in asking if (order := block.order()) is not None]

    async def _trade_or_refuse(self, orders: Sequence[Order]) -> None:
        """Exchange with the store; an error is passed to all that wait."""
        try:
            await self._trade(orders)
        except Exception as error:  # noqa: BLE001 - the waiters handle it
            for waiter in _waiters_of(orders):
                waiter.set_exception(error)
        except asyncio.CancelledError:
            for waiter in _waiters_of(orders):
                waiter.cancel()
            raise

    async def _trade(self, orders: Sequence[Order]) -> None:
        """Request places and report changes in one transaction."""
        changes, self._changes = self._changes, []
        notes, self._notes = self._notes, {}
        takes = [Take(order.block.account_id, order.want) for order in orders]
        now = self.now()
        told = [Change(account, place, None if at is None else max(0.0, now - at)) for account, place, at in changes]
        try:
            grants = await self._store.settle(takes, told, notes)
        except BaseException as error:
            self._changes, self._notes = changes + self._changes, notes | self._notes
            if not isinstance(error, StoreUnavailableError):
                raise
            self._bear(error)
            grants = [Grant(wait_s=ASK_AGAIN_S)] * len(orders)
        else:
            self._note_back()
        for order, grant in zip(orders, grants, strict=True):
            order.block.serve(order, grant)

    def _bear(self, error: StoreUnavailableError) -> None:
        """Continue without the store for a while; raises QuotaError after PATIENCE_S."""
        now = self.now()
        if self._away_since is None:
            self._away_since = now
            self._observe(QuotaStoreAway(str(error)))
        if now - self._away_since >= PATIENCE_S:
            raise QuotaError(f"{error}; nothing is sent uncounted, so the run ends after {PATIENCE_S:g} s of this")

    def _note_back(self) -> None:
        if self._away_since is not None:
            self._observe(QuotaStoreBack(round(self.now() - self._away_since, 3)))
            self._away_since = None


def _waiters_of(orders: Iterable[Order]) -> "list[asyncio.Future[float]]":
    return [waiter for order in orders for waiter in order.waiters if not waiter.done()]
