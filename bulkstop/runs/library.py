"""The same job from Python: one call, sync or async."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from bulkstop.errors import InputError
from bulkstop.model import Campaign, Report, Result
from bulkstop.report.ledger import Ledger
from bulkstop.runs.stop import Summary, carry_out, make_plan, run
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan


def stop(
    campaigns: Sequence[str] | Iterable[Campaign],
    settings: Settings,
    *,
    output: str | None = None,
    overwrite: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> Summary:
    """Stop campaigns, given as paths of lists or as Campaign values, and return the counts.

    Each result goes to the file `output` and to `on_result`. Asks nothing: calling it is the confirmation.
    Raises a BulkstopError when the run cannot start; a campaign that fails is a Result, never an exception.
    """
    with make_plan(campaigns, settings) as plan, _reporting(output, on_result, overwrite=overwrite) as report:
        _refuse_empty(plan)
        return run(plan, settings, report)


async def stop_async(
    campaigns: Sequence[str] | Iterable[Campaign],
    settings: Settings,
    *,
    output: str | None = None,
    overwrite: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> Summary:
    """Do what `stop` does inside a running event loop; when cancelled, every row still has its line."""
    with make_plan(campaigns, settings) as plan, _reporting(output, on_result, overwrite=overwrite) as report:
        _refuse_empty(plan)
        return await carry_out(plan, settings, report)


def _refuse_empty(plan: Plan) -> None:
    if not plan.rows:
        raise InputError("the list is empty; nothing was sent")


@contextmanager
def _reporting(output: str | None, on_result: Report | None, *, overwrite: bool) -> Iterator[Report]:
    if output is None:
        yield on_result or (lambda result: None)
        return
    with Ledger(output, overwrite=overwrite) as ledger:

        def report(result: Result) -> None:
            ledger.write(result)
            if on_result is not None:
                on_result(result)

        yield report
