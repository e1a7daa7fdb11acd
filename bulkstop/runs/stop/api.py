"""The same job from Python: one call, sync or async."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from bulkstop.errors import InputError
from bulkstop.model import Campaign, Outcome, Report, Result
from bulkstop.runs.stop.input_files import check_results, paths_in
from bulkstop.runs.stop.journal import RunJournal, choose_mode
from bulkstop.runs.stop.retries import outcomes_to_retry
from bulkstop.runs.stop.run import Summary, execute, make_plan, run
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

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
    with _job(campaigns, settings, kept, on_result) as job:
        return job.end(run(job.plan, settings, job.report, run_id=job.run_id, watch=job.watch))


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
    with _job(campaigns, settings, kept, on_result) as job:
        return job.end(await execute(job.plan, settings, job.report, run_id=job.run_id, watch=job.watch))


class _Kept(NamedTuple):
    """Where the results go, and what may become of a file that is there."""

    output: str | None
    overwrite: bool
    resume: bool
    retry: frozenset[Outcome]


class _Job(NamedTuple):
    """All that a run takes, and what to do with its summary."""

    plan: Plan
    report: Report
    run_id: str
    watch: Callable[[], None] = lambda: None
    end: Callable[[Summary], Summary] = lambda summary: summary


@contextmanager
def _job(campaigns: Campaigns, settings: Settings, kept: _Kept, on_result: OnResult | None) -> Iterator[_Job]:
    run_id, tell = str(uuid.uuid4()), on_result or (lambda result: None)
    if kept.output is None:
        with make_plan(campaigns, settings) as plan:
            _refuse_empty(plan)
            yield _Job(plan, tell, run_id)
        return
    check_results("output", kept.output, paths_in(campaigns), settings, "settings.{}".format)
    mode = choose_mode(overwrite=kept.overwrite, resume=kept.resume or bool(kept.retry))
    with (
        RunJournal(kept.output, mode=mode, retry=kept.retry) as record,
        record.plan(campaigns, settings) as plan,
    ):
        _refuse_empty(plan)
        record.open(plan, settings, ["bulkstop.stop()"], run_id)

        def report(result: Result) -> None:
            record.write(result)
            tell(result)

        yield _Job(plan, report, run_id, record.watch, record.end)


def _refuse_empty(plan: Plan) -> None:
    if not plan.rows:
        raise InputError("the list is empty; nothing was sent")
