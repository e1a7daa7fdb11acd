"""A whole run in one call, sync or async."""

from typing import Unpack

from bulkstop.model import OnResult
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs import host
from bulkstop.runs.engine import Engine
from bulkstop.runs.options import RunOptions
from bulkstop.runs.stop.prepare import Source, read_destination
from bulkstop.settings import Settings


def stop(
    source: Source, settings: Settings, *, on_result: OnResult | None = None, **options: Unpack[RunOptions]
) -> StopSummary:
    """Stop campaigns and return how that went; it takes what `Engine.run` takes.

    Raises a BulkstopError for what keeps the run from starting; what ends it later stands in the summary, and
    `check()` raises it.
    """
    return host.run(stop_async(source, settings, on_result=on_result, **options))


async def stop_async(
    source: Source, settings: Settings, *, on_result: OnResult | None = None, **options: Unpack[RunOptions]
) -> StopSummary:
    """Do what `stop` does in a running event loop; when it is cancelled every row still has its result."""
    engine = Engine(settings)
    read_destination(source, settings, options)  # first: nothing is opened for a run that cannot be
    async with engine:
        return await engine.run(source, on_result, **options)
