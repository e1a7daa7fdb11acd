"""Results on their way to whoever started a run: a function that takes each, and iterators over them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from bulkstop.engine.steering.early_end import END_S, GRACE_S, EarlyEnd
from bulkstop.engine.steering.stream import Stream
from bulkstop.engine.tasks import run_concurrently, start_task
from bulkstop.errors import BulkstopError
from bulkstop.model import OnResult, Result
from bulkstop.text import format_count

RESULTS_WAITING = 1000
"""Results that nobody has taken from an iterator yet before the run waits for that."""


class Delivery:
    """Gives each result to `on_result`, and to every iterator that is open.

    What `on_result` raises is kept as `error`, and `fail` is called; it is given the other results nevertheless. What
    it does asynchronously is not cut off with the worker that waits for it, but some seconds after an abort.
    """

    def __init__(self, on_result: OnResult | None, ending: EarlyEnd, fail: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self.missed = 0
        self._on_result = on_result
        self._ending = ending
        self._fail = fail
        self._waiting: deque[Awaitable[object]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._iterators: list[Stream[Result]] = []

    @property
    def is_behind(self) -> bool:
        """Tell whether results wait to be taken in."""
        return bool(self._waiting)

    def iterate(self) -> Stream[Result]:
        """Return an iterator over the results from now on."""
        results = Stream[Result]()
        self._iterators.append(results)
        return results

    def give(self, result: Result) -> None:
        """Give a result to all; raises nothing."""
        for results in self._iterators:
            results.put(result)
        if self._on_result is None:
            return
        try:
            awaitable = self._on_result(result)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, it is the caller's own
            self._note(error)
        else:
            if isawaitable(awaitable):
                self._waiting.append(awaitable)

    def keep_up(self) -> Awaitable[None] | None:
        """Return what waits until all that was given so far is taken in, but for what others wait for; None at once."""
        return self._keep_up() if self._waiting or self._iterators else None

    async def _keep_up(self) -> None:
        await self._catch_up()
        for results in self._iterators:
            if not self._ending.is_drained:
                await results.wait_for_room(RESULTS_WAITING)

    async def finish(self, concurrency: int) -> None:
        """Wait until all is taken in; after an abort for some seconds only, and the rest is `missed`."""
        try:
            async with self._ending.cuts_off(GRACE_S, by_drain=False):
                jobs = min(concurrency, len(self._waiting))
                await run_concurrently([self._catch_up] * jobs, jobs)
                if self._running:
                    await asyncio.wait(self._running)
        finally:
            self._drop()
            if self._running:
                await asyncio.wait(self._running, timeout=END_S)

    def lift(self) -> None:
        """Let nobody who takes no results hold the run up."""
        for results in self._iterators:
            results.let_pass()

    def close(self) -> None:
        """End the iterators behind the last result, and drop what is not taken in."""
        self._drop()
        for results in self._iterators:
            results.close()

    def fault(self) -> BulkstopError | None:
        """Say what went wrong in it, without what could be a secret."""
        if isinstance(self.error, BulkstopError):
            return self.error
        if self.error is not None:
            return BulkstopError(f"on_result raised {type(self.error).__name__}")
        if self.missed:
            return BulkstopError(
                f"on_result did not take {format_count(self.missed, 'result')} within {GRACE_S:g} s of the abort"
            )
        return None

    async def _catch_up(self) -> None:
        while self._waiting:
            task = start_task(self._take_in(self._waiting.popleft()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            await asyncio.wait([task])

    async def _take_in(self, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 - as above
            self._note(error)
        except asyncio.CancelledError as error:
            if not self.missed:  # else it was cut off here
                self._note(error)

    def _note(self, error: BaseException) -> None:
        if self.error is None:
            is_stray = isinstance(error, asyncio.CancelledError)  # whoever awaits the run is not cancelled
            self.error = BulkstopError("on_result was cancelled from within") if is_stray else error
            self._fail()

    def _drop(self) -> None:
        self.missed += len(self._running) + len(self._waiting)
        for task in self._running:
            task.cancel()
        while self._waiting:
            close = getattr(self._waiting.popleft(), "close", None)
            if close is not None:
                close()  # else Python would warn of a coroutine that nobody awaited
