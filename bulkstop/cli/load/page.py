"""`bulkstop load --html`: what a page says of a load test, and the file it stands in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bulkstop.cli.terminal import print_err
from bulkstop.errors import BulkstopError
from bulkstop.files import AtomicFile
from bulkstop.model import utc_text
from bulkstop.redact import REDACTOR
from bulkstop.report.load.charts import check_library, read_library
from bulkstop.report.load.metrics import MAX_LATE_SHARE
from bulkstop.report.load.timeline import Timeline, choose_width
from bulkstop.runs.load.run import Load, Summary
from bulkstop.settings import Settings
from bulkstop.version import __version__

if TYPE_CHECKING:
    from bulkstop.report.load.page import PageFacts

OPTION = "--html"
Facts = Sequence[tuple[str, str]]


@contextmanager
def open_page(path: str | None, *, overwrite: bool) -> Iterator[AtomicFile | None]:
    """Open the file of a page, if one is wanted; raises a BulkstopError if there could be none after the run."""
    if path is None:
        yield None
        return
    check_library()
    file = AtomicFile(path, OPTION, overwrite=overwrite)
    try:
        yield file
    finally:
        file.close()


def make_timeline(load: Load) -> Timeline:
    """Make the timeline of a run, as fine as its length allows."""
    length_s = load.length_s if load.schedule is None else load.schedule.length_s
    return Timeline(choose_width(length_s))


def save_page(
    file: AtomicFile,
    summary: Summary,
    timeline: Timeline,
    settings: Settings,
    facts: Facts,
    alarms: Sequence[str],
    *,
    quiet: bool,
) -> Summary:
    """Write the page of a run and say so; returns the summary, with what kept the page from being written."""
    from bulkstop.report.load.page import render_page  # here, because a run without a page does not pay for it

    told = collect_facts(summary, settings, facts, alarms)
    try:
        file.save(render_page(told, summary.metrics, timeline.points(), read_library()).encode())
    except BulkstopError as fault:
        print_err(f"bulkstop: {fault}")
        return replace(summary, fault=summary.fault or fault)
    if not quiet:
        print_err(f"{file.name}: written")
    return summary


def collect_facts(summary: Summary, settings: Settings, facts: Facts, alarms: Sequence[str]) -> "PageFacts":
    """Put together what the page says beside the figures, without secrets."""
    from bulkstop.report.load.page import PageFacts  # here, because a run without a page does not pay for it

    masked = REDACTOR.redact
    schedule, measured = summary.load.schedule, summary.metrics
    if summary.fault is not None or summary.signum is not None:
        alarms = [*alarms, f"ENDED EARLY: {summary.reason}; the figures are of what was sent until then"]
    known = dict(facts)
    return PageFacts(
        host=masked(settings.host),
        load=masked(known.get("load", "")),
        began=summary.began if measured.requests else 0.0,
        ended=masked(summary.reason),
        facts=tuple((name, masked(value)) for name, value in (*facts, *_of_run(summary))),
        alarms=tuple(masked(alarm) for alarm in alarms),
        verdicts=tuple(verdict._replace(text=masked(verdict.text)) for verdict in summary.verdicts),
        is_open=summary.is_open,
        kept=_kept(summary),
        intended=tuple(schedule.course) if schedule is not None else (),
        reasons=tuple(each._replace(error=masked(each.error)) for each in measured.reasons.most()),
        lines=tuple((each.name, each.bound) for each in summary.load.require if each.is_time),
        version=__version__,
    )


def _of_run(summary: Summary) -> list[tuple[str, str]]:
    measured = summary.metrics
    told = [("run id", summary.run_id)]
    if measured.requests:
        began, ended = utc_text(summary.began), utc_text(summary.began + measured.elapsed_s)
        told += [("began at", began), ("ended at", ended)]
    told += [
        ("answered", f"{measured.answered:,} of {measured.requests:,}"),
        ("most in flight", f"{measured.most_in_flight:,}"),
        ("ended", summary.reason),
        ("exit code", str(summary.exit_code)),
    ]
    return told


def _kept(summary: Summary) -> str:
    measured = summary.metrics
    if not summary.is_open or not measured.is_punctual or summary.unsent or not measured.requests:
        return ""
    late = f"{measured.late_share * 100:.3g}% left more than {measured.max_late_s * 1e3:g}ms late"
    return f"schedule: kept ({late}; allowed: {MAX_LATE_SHARE * 100:g}%)"
