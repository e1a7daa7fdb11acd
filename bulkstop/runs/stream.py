"""Values that one task gives and another takes, in order."""

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """An asynchronous iterator over what is put into it, until it is closed.

    With `keep` it keeps that many values that nobody has taken yet, and drops the oldest. Both ends belong to one
    event loop.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._values: deque[T] = deque(maxlen=keep)
        self._is_closed = False
        self._taker: asyncio.Future[None] | None = None
        self._giver: list[asyncio.Future[None]] = []

    def __aiter__(self) -> Self:
        """Iterate over it."""
        return self

    async def __anext__(self) -> T:
        """Return the next value, as soon as there is one."""
        while not self._values:
            if self._is_closed:
                raise StopAsyncIteration
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        value = self._values.popleft()
        _wake(self._giver)
        return value

    def put(self, value: T) -> None:
        """Give a value."""
        self._values.append(value)
        self._wake_taker()

    def close(self) -> None:
        """End it behind the last value; what nobody takes any more is held up by nobody."""
        self._is_closed = True
        self._wake_taker()
        _wake(self._giver)

    async def wait_for_room(self, most: int) -> None:
        """Wait until fewer than `most` values wait to be taken."""
        while len(self._values) >= most and not self._is_closed:
            waiter = asyncio.get_running_loop().create_future()
            self._giver.append(waiter)
            await waiter

    def _wake_taker(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
