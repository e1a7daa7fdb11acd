"""A whole run in one call, sync or async."""

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
    """Stop campaigns and return how that went; it takes what `Engine.run` takes, and the `profiles` of an `Engine`.

    Raises a BulkstopError for what keeps the run from starting; what ends it later stands in the summary, and
    `check()` raises it.
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
    """Do what `stop` does in a running event loop; when it is cancelled every row still has its result."""
    engine = Engine(settings, profiles=profiles)
    read_destination(source, settings, options)  # first: nothing is opened for a run that cannot be
    async with engine:
        return await engine.run(source, on_result, **options)
