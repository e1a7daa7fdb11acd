"""Prepares a run: reads its plan beside the event loop, and opens its result file."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from typing import Any, TypeVar, cast

from bulkstop.engine.steering.early_end import END_S, GRACE_S, EarlyEnd
from bulkstop.errors import BulkstopError, InputError, SettingsError
from bulkstop.ids import LIKELY
from bulkstop.model import Campaign, Outcome
from bulkstop.report.stop.ledger import Mode
from bulkstop.runs.options import RunOptions, check_options, outcomes_to_retry, read_output
from bulkstop.runs.stop.input_files import check_results, paths_in
from bulkstop.runs.stop.journal import RunJournal, choose_mode
from bulkstop.runs.stop.plan import Inputs, make_plan
from bulkstop.runs.stop.reading import check_columns
from bulkstop.runs.stop.run import Prepared
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.plan import Plan
from bulkstop.source.rows import BY_HAND
from bulkstop.text import format_count

Opened = TypeVar("Opened", bound=AbstractContextManager[Any])
Path = str | PathLike[str]
Campaigns = Iterable[Campaign] | AsyncIterable[Campaign]
Source = Path | Iterable[Path] | Campaigns
"""The path of a list, or an iterable of paths, ids or campaigns, which may be lazy and asynchronous."""
BATCH = 500
"""Items of an iterable that are taken at once, in the event loop's thread, to which a cursor belongs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the results of a run go, what happens to an existing file, and which of its rows are sent again.

    `trust` continues a file that nothing proves.
    """

    path: str | None = None
    mode: Mode = Mode.NEW
    retry: frozenset[Outcome] = frozenset()
    trust: bool = False


def read_destination(source: object, settings: Settings, options: RunOptions) -> Destination:
    """Return where the results go; raises SettingsError for a file that must not be written, or conflicting options."""
    check_options(options)
    retry = outcomes_to_retry(options.get("retry", ()), retry_failed=options.get("retry_failed", False))
    trust = options.get("trust_results", False)
    resume = options.get("resume", False) or bool(retry) or trust
    mode = choose_mode(overwrite=options.get("overwrite", False), resume=resume)
    if (path := read_output(options.get("output"))) is None:
        return Destination()
    check_results(path, paths_in(source), settings)
    return Destination(path=path, mode=mode, retry=retry, trust=trust)


@asynccontextmanager
async def prepare(
    source: Source | Plan,
    settings: Settings,
    destination: Destination,
    run_id: str,
    ending: EarlyEnd,
    *,
    fmt: str | None = None,
    expect: tuple[int, int] | None = None,
    profiles: Profiles | None = None,
) -> AsyncIterator[Prepared]:
    """Plan a run, and keep its result file open during the block; `profiles` are those that rows may name.

    A run that ends before its list is read has an empty plan, and leaves the file unchanged. Raises InputError for a
    source that is empty, cannot be read or is not what `expect` says; OutputError for a file that cannot be written.
    """
    with ExitStack() as opened:
        journal = await _open_journal(destination, opened)
        if isinstance(source, Plan):
            if journal is not None and journal.past is not None:
                raise SettingsError("resume: needs a source instead of a plan, to plan only what has not ended")
            source.claim()
            plan = opened.enter_context(source)
        else:
            make = partial(
                make_plan if journal is None else journal.plan, settings=settings, fmt=fmt, profiles=profiles
            )
            try:
                plan = opened.enter_context(await read_plan(source, make, ending))
            except ReadingCutError as cut:
                yield Prepared(opened.enter_context(Plan(())), fault=cut)
                return
        check_expected(plan, expect)
        check_columns(plan)
        if journal is None:
            yield Prepared(plan)
        else:
            inputs = plan.digests.keys() - {BY_HAND}  # paths from an iterable are known only now
            check_results(journal.path, inputs, settings)
            journal.open(plan, settings, ["bulkstop.Engine.run()"], run_id)
            yield Prepared(plan, journal.write, journal.watch, journal.end, journal.outboxes)


async def _open_journal(destination: Destination, opened: ExitStack) -> RunJournal | None:
    if destination.path is None:
        return None
    retry, trust = destination.retry, destination.trust
    make = partial(RunJournal, destination.path, mode=destination.mode, retry=retry, trust=trust)
    return opened.enter_context(await _do_in_thread(make) if destination.mode is Mode.RESUME else make())


def check_expected(plan: Plan, expect: tuple[int, int] | None) -> None:
    """Raise InputError for an empty plan, or one with another number of campaigns to stop than expected."""
    if not plan.rows:
        raise InputError("the list is empty; nothing was sent")
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        raise InputError(
            f"expect: the list has {format_count(plan.listed, 'campaign')} "
            f"to stop, not {expect[0]} to {expect[1]}; nothing was sent"
        )


class ReadingCutError(InputError):
    """The run was ended before its list was read completely."""

    def __init__(self) -> None:
        super().__init__("the run ended before its list was read completely; nothing was sent")


async def read_plan(source: Source, make: Callable[[Inputs], Opened], ending: EarlyEnd | None = None) -> Opened:
    """Plan a run of a source, or call another `make` with it, in a thread.

    Files are read in that thread, an iterable in this one. Raises InputError for a source that cannot be read
    completely. Raises ReadingCutError if `ending` ends the run: at once for an asynchronous source, otherwise if the
    rest takes seconds.
    """
    reading = _Reading()
    async with (ending or EarlyEnd()).cuts_off(0.0 if isinstance(source, AsyncIterable) else GRACE_S):
        try:
            inputs = [fspath(source)] if isinstance(source, str | PathLike) else await reading.begin(source)
            return await _do_in_thread(partial(make, inputs), reading.end)
        finally:
            await reading.close()
    raise ReadingCutError


async def _do_in_thread(work: Callable[[], Opened], end: Callable[[], None] = lambda: None) -> Opened:
    """Run `work` in its own thread; when this task is cancelled, `end` ends the work, and its result is closed."""
    executor = ThreadPoolExecutor(1, "bulkstop-plan")
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        end()
        future.add_done_callback(_close_what_came)
        await asyncio.wait([future], timeout=END_S)
        raise
    finally:
        executor.shutdown(wait=future.done())


def _close_what_came(future: "asyncio.Future[Opened]") -> None:
    if not future.cancelled() and future.exception() is None:
        with future.result():
            pass


class _Reading:
    """Takes campaigns from an iterable in an event loop's thread, for another thread that plans them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._batches: AsyncGenerator[list[object], None] | None = None
        self._batch: Future[list[object]] | None = None

    async def begin(self, source: object) -> Inputs:
        """Return the inputs to plan: paths, or campaigns that are taken when the other thread needs them."""
        batches = self._batches = _split(source)
        first = await _next(batches)
        if not first or not all(isinstance(item, str | PathLike) for item in first):
            return self._take(first, batches)
        rest = [item async for batch in batches for item in batch]
        return [fspath(cast("Path", item)) for item in first + rest]

    def end(self) -> None:
        """Make the other thread stop taking campaigns."""
        self._is_over = True
        if self._batch is not None:
            self._batch.cancel()

    async def close(self) -> None:
        """Close the iterable, unless the other thread still waits for it."""
        if self._batches is not None:
            with suppress(RuntimeError):
                await self._batches.aclose()

    def _take(self, batch: list[object], batches: AsyncIterator[list[object]]) -> Iterator[Campaign]:
        while batch:
            yield from cast("list[Campaign]", batch)  # planning refuses other items
            self._batch = asyncio.run_coroutine_threadsafe(_next(batches), self._loop)
            if self._is_over:
                self._batch.cancel()
            batch = self._batch.result()


async def _next(batches: AsyncIterator[list[object]]) -> list[object]:
    return await anext(batches, [])


async def _split(source: object) -> AsyncGenerator[list[object], None]:
    """Yield the items in batches, ids as campaigns; raises InputError for an iterable that cannot be read."""
    batch: list[object] = []
    try:
        async for item in source if isinstance(source, AsyncIterable) else _iterate(source):
            batch.append(Campaign(item) if isinstance(item, str) and is_id(item) else item)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except BulkstopError:
        raise
    except Exception as error:
        raise InputError(f"the campaigns cannot be read completely ({type(error).__name__})") from error
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if batch:
        yield batch


async def _iterate(source: object) -> AsyncIterator[object]:
    if isinstance(source, Campaign) or not isinstance(source, Iterable):
        raise InputError(f"{source!r} is not a source; give a path, paths, or an iterable of campaigns")
    for item in source:
        yield item


def is_id(text: str) -> bool:
    """Return whether a text in a list is a campaign id, not the path of a list."""
    return LIKELY.fullmatch(text) is not None and not os.path.lexists(text)
