"""Runs a complete stop in one call, sync or async."""

from collections.abc import Mapping
from typing import Unpack

from bulkstop.model import OnResult
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs import host
from bulkstop.runs.engine import Engine
from bulkstop.runs.options import RunOptions
from bulkstop.runs.stop.prepare import Source, read_destination
from bulkstop.settings import Settings


def stop(
    source: Source,
    settings: Settings,
    *,
    on_result: OnResult | None = None,
    profiles: Mapping[str, Settings] | None = None,
    **options: Unpack[RunOptions],
) -> StopSummary:
    """Stop campaigns and return the summary; it takes the arguments of `Engine.run`, and the `profiles` of an `Engine`.

    Raises a BulkstopError if the run cannot start. A later fault is in the summary, and its `check()` raises it.
    """
    return host.run(stop_async(source, settings, on_result=on_result, profiles=profiles, **options))


async def stop_async(
    source: Source,
    settings: Settings,
    *,
    on_result: OnResult | None = None,
    profiles: Mapping[str, Settings] | None = None,
    **options: Unpack[RunOptions],
) -> StopSummary:
    """Do what `stop` does, in a running event loop; a cancelled run still has a result for every row."""
    engine = Engine(settings, profiles=profiles)
    read_destination(source, settings, options)  # checked first, so that nothing is opened for a run that cannot start
    async with engine:
        return await engine.run(source, on_result, **options)
