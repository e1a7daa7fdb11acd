"""Places of accounts, taken from a shared store in blocks.

A transaction costs a store as much as many calls do. So a lane takes the places that it is about to use at once, and
what all lanes ask for within a turn of the event loop, or while the store is busy, goes there together, with what was
answered and given back since. What is not used within HOLD_S goes back: others may want it.
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
"""How long a place may be held before its call leaves."""
MOST_PLACES = 8
"""The most places that a lane takes at once: as many calls it makes before it is another lane's turn."""
CHANGES_S = 0.05
"""How soon the store is told of answers, if nothing is asked for meanwhile. A place counts from its answer, but until
the store is told of it for longer."""
ASK_AGAIN_S = 0.25
"""How soon to ask a store again that did not answer, or whose places others have in use."""
PATIENCE_S = 30.0
"""How long a store may go without answering before the run ends."""
MOST_TAKES = 256
"""The most accounts in one transaction: it holds a lock that others wait for."""
NOTE_CHARS = 1000
"""The longest text that is kept of an account."""


class _Place(NamedTuple):
    """A place that the store has given, and when."""

    number: int
    taken_at: float


class Block:
    """The places of one account; each is used by one call, of whichever lane or caller of the account."""

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
        """What is kept of the account, as of the last places taken; all who share the store read and write it."""
        self._blocks = blocks
        self._in_hand: list[_Place] = []  # lists, as there are thousands of blocks with few places each
        self._in_use: list[_Place] = []
        self._waiters: list[asyncio.Future[float]] = []
        self._want = 0
        self._size = MOST_PLACES
        self._is_unused = False

    @property
    def held(self) -> int:
        """How many places are in hand: calls that may leave without asking the store."""
        return len(self._in_hand)

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer at present."""
        return self._blocks.is_away

    @property
    def in_use(self) -> int:
        """How many places are used by calls that have no answer yet."""
        return len(self._in_use)

    def take_now(self) -> bool:
        """Use a place that is in hand; False when there is none."""
        if self._in_hand and self._blocks.now() >= self._in_hand[0].taken_at + HOLD_S:
            self.release()  # the timer is late, as after a sleep of the machine
        if not self._in_hand:
            return False
        self._in_use.append(self._in_hand.pop(0))
        return True

    async def take(self, want: int) -> float:
        """Use a place and return 0.0, or the seconds after which to ask again; `want` of them could be used soon."""
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
        """Let a place that was used count from now on: the oldest, so that those left count for too long if at all."""
        self._blocks.change(self.account_id, self._in_use.pop(0).number, self._blocks.now())

    def give_back(self) -> None:
        """Take back a place whose call did not leave, the oldest; another call may use it if it was taken just now."""
        place = self._in_use.pop(0)
        if self._blocks.now() < place.taken_at + HOLD_S:
            self._in_hand.insert(0, place)
            self._blocks.hold(self)
        else:
            self._blocks.change(self.account_id, place.number, None)

    def release(self) -> None:
        """Give back to the store what is in hand."""
        while self._in_hand:
            self._blocks.change(self.account_id, self._in_hand.pop(0).number, None)

    def save_note(self, text: str) -> None:
        """Keep a short text of the account, in place of the one before, for all who share the store."""
        if len(text) > NOTE_CHARS:
            raise ValueError(f"a note has at most {NOTE_CHARS} characters")
        self.note = text
        self._blocks.save_note(self.account_id, text)

    def expire(self, now: float) -> bool:
        """Give back what was not used in time, and take less the next time; False when it is not time yet."""
        if self._in_hand and now < self._in_hand[0].taken_at + HOLD_S:
            return False
        if self._in_hand:
            self._size, self._is_unused = max(1, self._size // 2), True
            self.release()
        return True

    def order(self) -> "Order | None":
        """Return what is to be asked for; None when nobody waits any more."""
        waiters = [waiter for waiter in self._waiters if not waiter.done()]
        want, self._waiters, self._want = max(len(waiters), self._want), [], 0
        return Order(self, waiters, want) if waiters else None

    def serve(self, order: "Order", grant: Grant) -> None:
        """Hand out the places that the store has given."""
        if grant.wait_s:  # others may wait for the same moment: who comes first is not to have it all
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
    """What an account asks the store for, and who waits for it."""

    __slots__ = ("block", "in_use", "waiters", "want")

    def __init__(self, block: Block, waiters: "list[asyncio.Future[float]]", want: int) -> None:
        self.block = block
        self.waiters = waiters
        self.want = want
        self.in_use = block.in_use


class Blocks:
    """The places that a process has from a store, and all that it tells the store of them.

    While the store does not answer nothing is permitted, and after PATIENCE_S of it whoever asks gets a QuotaError.
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
        """Whether the store does not answer at present."""
        return self._away_since is not None

    def account(self, account_id: str) -> Block:
        """Return the places of an account, always the same object."""
        if (block := self._blocks.get(account_id)) is None:
            block = self._blocks[account_id] = Block(account_id, self)
        return block

    async def read_ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return how many seconds ago each call of an account was counted that is still in a window; counts nothing.

        While the store does not answer it is as if there were none.
        """
        try:
            return await self._store.ages(account_ids)
        except StoreUnavailableError as error:
            self._bear(error)
            return [()] * len(account_ids)

    async def load_note(self, account_id: str) -> str | None:
        """Return the text that is kept of an account; None for none, and while the store does not answer."""
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
        """Give back what is in hand, tell the store what it does not know yet, and let go of it."""
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
        except BulkstopError:  # what is unsaid counts for longer than it need
            pass
        finally:
            await self._store.close()

    def ask(self, block: Block) -> None:
        """Ask for the places that a block wants, with all that others want by then."""
        self._asking[block] = None
        self._start()

    def change(self, account_id: str, place: int, answered_at: float | None) -> None:
        """Note what became of a place."""
        self._changes.append((account_id, place, answered_at))
        self._tell_soon()

    def save_note(self, account_id: str, text: str) -> None:
        """Note what is to be kept of an account."""
        self._notes[account_id] = text
        self._tell_soon()

    def hold(self, block: Block) -> None:
        """See to it that what is not used in time goes back."""
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
        if (
            task.cancelled() or self._is_closing
        ):  # by the end of the loop, or from within the store: nobody waits for what never comes
            for waiter in _waiters_of(self._gather()):
                waiter.cancel()
        elif self._asking:
            self._start()
        elif self._changes or self._notes:
            self._tell_soon()

    async def _work(self) -> None:
        """Trade with the store until nobody asks for more."""
        is_first = True
        while self._asking or is_first:
            is_first = False
            await asyncio.sleep(0)  # whoever asks in this turn of the loop is of the party
            await self._trade_or_refuse(self._gather())

    def _gather(self) -> list[Order]:
        """Take out what is asked for, the longest first and not too much."""
        asking = list(self._asking)[:MOST_TAKES]
        for block in asking:
            del self._asking[block]
        return [order for block in asking if (order := block.order()) is not None]

    async def _trade_or_refuse(self, orders: Sequence[Order]) -> None:
        """Trade with the store; whoever waits learns what goes wrong."""
        try:
            await self._trade(orders)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs who wait
            for waiter in _waiters_of(orders):
                waiter.set_exception(error)
        except asyncio.CancelledError:
            for waiter in _waiters_of(orders):
                waiter.cancel()
            raise

    async def _trade(self, orders: Sequence[Order]) -> None:
        """Ask for places, and tell what became of others, in one transaction."""
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
        """Do without the store for a while; raises QuotaError when it is away for too long."""
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
