"""The delivery of results to the caller of a run: a callback for each, and iterators over them."""

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
"""The run pauses while an iterator has this many results that were not taken."""


class Delivery:
    """Passes each result to `on_result` and to every open iterator.

    An exception of `on_result` is kept as `error`, and `fail` is called; later results are delivered nevertheless. Its
    asynchronous part is not cancelled with the worker that waits for it, but some seconds after an abort.
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
        """Whether results wait to be taken."""
        return bool(self._waiting)

    def iterate(self) -> Stream[Result]:
        """Return an iterator over the results from now on."""
        results = Stream[Result]()
        self._iterators.append(results)
        return results

    def give(self, result: Result) -> None:
        """Deliver a result to all receivers; raises nothing."""
        for results in self._iterators:
            results.put(result)
        if self._on_result is None:
            return
        try:
            awaitable = self._on_result(result)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - any error of the caller's own code
            self._note(error)
        else:
            if isawaitable(awaitable):
                self._waiting.append(awaitable)

    def keep_up(self) -> Awaitable[None] | None:
        """Return an awaitable until the results so far are taken, except those others wait for; None if they are."""
        return self._keep_up() if self._waiting or self._iterators else None

    async def _keep_up(self) -> None:
        await self._catch_up()
        for results in self._iterators:
            if not self._ending.is_drained:
                await results.wait_for_room(RESULTS_WAITING)

    async def finish(self, concurrency: int) -> None:
        """Wait until everything is taken; after an abort only for some seconds, and the rest is `missed`."""
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
        """Stop waiting for iterators that take no results."""
        for results in self._iterators:
            results.let_pass()

    def close(self) -> None:
        """End the iterators after the last result, and drop what was not taken."""
        self._drop()
        for results in self._iterators:
            results.close()

    def fault(self) -> BulkstopError | None:
        """Return the error of the callback, without any text that could be secret; None without one."""
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
            if not self.missed:  # otherwise it was cancelled here
                self._note(error)

    def _note(self, error: BaseException) -> None:
        if self.error is None:
            is_stray = isinstance(error, asyncio.CancelledError)  # the task that awaits the run was not cancelled
            self.error = BulkstopError("on_result was cancelled from within") if is_stray else error
            self._fail()

    def _drop(self) -> None:
        self.missed += len(self._running) + len(self._waiting)
        for task in self._running:
            task.cancel()
        while self._waiting:
            close = getattr(self._waiting.popleft(), "close", None)
            if close is not None:
                close()  # otherwise Python would warn that it was never awaited
