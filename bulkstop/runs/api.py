"""A whole run in one call, sync or async."""

from collections.abc import Iterable
from os import PathLike

from bulkstop.report.stop.summary import Summary
from bulkstop.runs import host
from bulkstop.runs.engine import Engine
from bulkstop.runs.stop.prepare import Source
from bulkstop.runs.stop.run import OnResult
from bulkstop.settings import Settings


def stop(
    source: Source,
    settings: Settings,
    *,
    on_result: OnResult | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    retry: Iterable[str] = (),
    format: str | None = None,  # noqa: A002 - the word of its option
    expect: tuple[int, int] | None = None,
) -> Summary:
    """Stop campaigns and return how that went; it takes what `Engine.run` takes.

    Raises a BulkstopError for what keeps the run from starting; what ends it later stands in the summary, and
    `check()` raises it.
    """
    job = stop_async(
        source,
        settings,
        on_result=on_result,
        output=output,
        overwrite=overwrite,
        resume=resume,
        retry=retry,
        format=format,
        expect=expect,
    )
    return host.run(job, fast=False)


async def stop_async(
    source: Source,
    settings: Settings,
    *,
    on_result: OnResult | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    retry: Iterable[str] = (),
    format: str | None = None,  # noqa: A002 - the word of its option
    expect: tuple[int, int] | None = None,
) -> Summary:
    """Do what `stop` does in a running event loop; when it is cancelled every row still has its result."""
    async with Engine(settings) as engine:
        return await engine.run(
            source,
            on_result,
            output=output,
            overwrite=overwrite,
            resume=resume,
            retry=retry,
            format=format,
            expect=expect,
        )
