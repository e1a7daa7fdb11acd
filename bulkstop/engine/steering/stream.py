"""A stream of values that one task puts and others take, in order."""

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """An asynchronous iterator over the values put into it, until it is closed.

    With `keep` it stores at most that many values, and drops the oldest. Both ends belong to one event loop.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._values: deque[T] = deque(maxlen=keep)
        self._is_closed = False
        self._lets_pass = False
        self._takers: list[asyncio.Future[None]] = []
        self._givers: list[asyncio.Future[None]] = []

    def __aiter__(self) -> Self:
        """Return the stream."""
        return self

    async def __anext__(self) -> T:
        """Return the next value as soon as there is one."""
        while not self._values:
            if self._is_closed:
                raise StopAsyncIteration
            await _wait_in(self._takers)
        value = self._values.popleft()
        _wake(self._givers)
        return value

    def put(self, value: T) -> None:
        """Add a value."""
        if not self._is_closed:
            self._values.append(value)
            _wake(self._takers)

    def close(self) -> None:
        """End the stream after the last value."""
        self._is_closed = True
        _wake(self._takers)
        self.let_pass()

    def let_pass(self) -> None:
        """Stop blocking producers, however many values wait."""
        self._lets_pass = True
        _wake(self._givers)

    async def wait_for_room(self, most: int) -> None:
        """Wait until fewer than `most` values are stored."""
        while len(self._values) >= most and not self._lets_pass:
            await _wait_in(self._givers)


async def _wait_in(waiters: list[asyncio.Future[None]]) -> None:
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    await waiter


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
