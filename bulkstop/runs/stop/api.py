"""The same job from Python: one call, sync or async."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from bulkstop.errors import InputError
from bulkstop.model import Campaign, Outcome, Result
from bulkstop.report.stop.summary import Summary
from bulkstop.runs.stop.input_files import check_results, paths_in
from bulkstop.runs.stop.journal import RunJournal, choose_mode
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.stop.retries import outcomes_to_retry
from bulkstop.runs.stop.run import Run, execute
from bulkstop.settings import Settings

Campaigns = Sequence[str] | Iterable[Campaign]
OnResult = Callable[[Result], None]


def stop(
    campaigns: Campaigns,
    settings: Settings,
    *,
    output: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    retry_failed: bool = False,
    retry: Iterable[str] = (),
    on_result: OnResult | None = None,
) -> Summary:
    """Stop campaigns, given as paths of lists or as Campaign values, and return the counts.

    Each result goes to the file `output` and to `on_result`; `resume` goes on with that file, `retry_failed` also with
    what failed and is worth a retry, `retry` with what ended in one of these outcomes. Asks nothing: calling it is the
    confirmation. Raises a BulkstopError when the run cannot start, also when the one to go on with is finished and
    nothing is left of it; a campaign that fails is a Result, never an exception.
    """
    kept = _Kept(output, overwrite, resume, outcomes_to_retry(retry, retry_failed=retry_failed))
    with _open_run(campaigns, settings, kept, on_result) as run:
        return execute(run)


async def stop_async(
    campaigns: Campaigns,
    settings: Settings,
    *,
    output: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    retry_failed: bool = False,
    retry: Iterable[str] = (),
    on_result: OnResult | None = None,
) -> Summary:
    """Do what `stop` does inside a running event loop; when cancelled in mid-run, every row still has its line."""
    kept = _Kept(output, overwrite, resume, outcomes_to_retry(retry, retry_failed=retry_failed))
    with _open_run(campaigns, settings, kept, on_result) as run:
        return await run.execute()


class _Kept(NamedTuple):
    """Where the results go, and what may become of a file that is there."""

    output: str | None
    overwrite: bool
    resume: bool
    retry: frozenset[Outcome]


@contextmanager
def _open_run(campaigns: Campaigns, settings: Settings, kept: _Kept, on_result: OnResult | None) -> Iterator[Run]:
    tell = on_result or (lambda result: None)
    if kept.output is None:
        with make_plan(campaigns, settings) as plan:
            _refuse_empty(plan.rows)
            yield Run(plan, settings, tell)
        return
    check_results("output", kept.output, paths_in(campaigns), settings, "settings.{}".format)
    mode = choose_mode(overwrite=kept.overwrite, resume=kept.resume or bool(kept.retry))
    with (
        RunJournal(kept.output, mode=mode, retry=kept.retry) as journal,
        journal.plan(campaigns, settings) as plan,
    ):
        _refuse_empty(plan.rows)

        def report(result: Result) -> None:
            journal.write(result)
            tell(result)

        run = Run(plan, settings, report, watch=journal.watch, end=journal.end)
        journal.open(plan, settings, ["bulkstop.stop()"], run.id)
        yield run


def _refuse_empty(rows: int) -> None:
    if not rows:
        raise InputError("the list is empty; nothing was sent")
