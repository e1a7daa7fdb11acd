"""Prepare a run: its plan, read beside the event loop, and where its results go."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os import PathLike
from typing import cast

from bulkstop.engine.tasks import start_task
from bulkstop.errors import InputError, SettingsError
from bulkstop.model import Campaign, Outcome
from bulkstop.report.stop.ledger import Mode
from bulkstop.runs.options import RunOptions, check_options, read_output
from bulkstop.runs.stop.input_files import check_results, paths_in
from bulkstop.runs.stop.journal import RunJournal, choose_mode
from bulkstop.runs.stop.plan import Inputs, make_plan
from bulkstop.runs.stop.retries import outcomes_to_retry
from bulkstop.runs.stop.run import Prepared
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

Path = str | PathLike[str]
Campaigns = Iterable[Campaign] | AsyncIterable[Campaign]
Source = Path | Iterable[Path] | Campaigns
"""The path of a list, or paths, or campaigns; an iterable of these may be lazy, and asynchronous."""
BATCH = 500
"""Campaigns of an iterable that are taken at once, in the event loop's thread: a cursor belongs to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the results of a run go, what may become of a file that is there, and what of it is sent again."""

    path: str | None = None
    mode: Mode = Mode.NEW
    retry: frozenset[Outcome] = frozenset()


def read_destination(source: object, settings: Settings, options: RunOptions) -> Destination:
    """Return where the results go; raises SettingsError for a file that must not be written, or for two answers."""
    check_options(options)
    retry = outcomes_to_retry(options.get("retry", ()), retry_failed=options.get("retry_failed", False))
    resume = options.get("resume", False) or bool(retry)
    mode = choose_mode(overwrite=options.get("overwrite", False), resume=resume)
    if (path := read_output(options.get("output"))) is None:
        return Destination()
    check_results(path, paths_in(source), settings)
    return Destination(path=path, mode=mode, retry=retry)


@asynccontextmanager
async def prepare(
    source: Source | Plan,
    settings: Settings,
    destination: Destination,
    run_id: str,
    *,
    fmt: str | None = None,
    expect: tuple[int, int] | None = None,
) -> AsyncIterator[Prepared]:
    """Plan a run and open the file of its results while the block runs.

    Raises InputError for a source that is empty, cannot be read or is not what `expect` says; OutputError for a file
    that cannot be written.
    """
    if destination.path is None:
        if isinstance(source, Plan):
            plan = source
        else:
            plan = await read_plan(source, partial(make_plan, settings=settings, fmt=fmt))
        with plan:
            check_expected(plan, expect)
            yield Prepared(plan)
        return
    with RunJournal(destination.path, mode=destination.mode, retry=destination.retry) as journal:
        if isinstance(source, Plan):
            if journal.past is not None:
                raise SettingsError("resume: takes a source, not a plan: what has ended is not planned")
            plan = source
        else:
            plan = await read_plan(source, partial(journal.plan, settings=settings, fmt=fmt))
        with plan:
            check_expected(plan, expect)
            journal.open(plan, settings, ["bulkstop.Engine.run()"], run_id)
            yield Prepared(plan, journal.write, journal.watch, journal.end)


def check_expected(plan: Plan, expect: tuple[int, int] | None) -> None:
    """Raise InputError for an empty plan, and for one with fewer or more campaigns to stop than are expected."""
    if not plan.rows:
        raise InputError("the list is empty; nothing was sent")
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        raise InputError(
            f"expect: the list has {plan.listed:,} campaigns to stop, not {expect[0]} to {expect[1]}; nothing was sent"
        )


async def read_plan(source: Source, make: Callable[[Inputs], Plan]) -> Plan:
    """Plan a run of a source in a thread; raises InputError for a source that cannot be read to its end.

    Files are read in that thread, an iterable in this one. When this is cancelled the reading ends.
    """
    paths = paths_in(source)
    reading = _Reading(asyncio.get_running_loop())
    inputs: Inputs = paths or reading.take(cast("Campaigns", source))  # what is no campaign is refused there
    task = start_task(asyncio.to_thread(make, inputs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        reading.is_over = True
        task.add_done_callback(_close_plan)
        raise


def _close_plan(task: "asyncio.Future[Plan]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class _Reading:
    """Takes campaigns out of an iterable in the thread of an event loop, for another thread that plans them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_over = False
        self._loop = loop

    def take(self, source: Campaigns) -> Iterator[Campaign]:
        """Yield the campaigns in the other thread."""
        batches = _split(source)
        while batch := self._take_batch(batches):
            yield from batch

    def _take_batch(self, batches: AsyncIterator[list[Campaign]]) -> list[Campaign]:
        if self.is_over:
            raise InputError("the reading of the campaigns was cancelled")
        return asyncio.run_coroutine_threadsafe(_next(batches), self._loop).result()


async def _next(batches: AsyncIterator[list[Campaign]]) -> list[Campaign]:
    return await anext(batches, [])


async def _split(source: Campaigns) -> AsyncIterator[list[Campaign]]:
    """Yield the campaigns in batches."""
    if not isinstance(source, AsyncIterable):
        items = iter(source)
        while batch := list(islice(items, BATCH)):
            yield batch
        return
    batch = []
    async for campaign in source:
        batch.append(campaign)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
