"""`bulkstop load`: sends requests on a schedule, measures, and judges the result."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bulkstop.cli.again import rebuild_command
from bulkstop.cli.load import limit
from bulkstop.cli.load.options import (
    HTML,
    LoadOptions,
    check_input,
    check_usage,
    read_load_options,
    read_shape,
    with_load_options,
)
from bulkstop.cli.log import log_to_stderr, say
from bulkstop.cli.options import GroupedCommand, describe_way, read_settings
from bulkstop.cli.stop.checks import check_expected, confirm
from bulkstop.cli.terminal import err_outboxes, is_watched, print_err, print_last
from bulkstop.errors import BulkstopError, InputError, SettingsError
from bulkstop.files.output import Output
from bulkstop.files.whole import AtomicFile
from bulkstop.model import SIGNALS, CampaignType, Outcome
from bulkstop.outbox import Outbox
from bulkstop.report.load.charts import check_library, read_library
from bulkstop.report.load.comparison import MAX_REGRESSION, Values, compare, list_differences, read_baseline
from bulkstop.report.load.requests import KEYS
from bulkstop.report.load.summary import LoadSummary, format_plan, format_summary, format_verdict, list_faults
from bulkstop.report.load.thresholds import USUAL
from bulkstop.report.load.timeline import Timeline, choose_width
from bulkstop.runs import host
from bulkstop.runs.load.abort import LEAST_REQUESTS, SECONDS
from bulkstop.runs.load.hosts import is_named, is_vendor, read_host_name
from bulkstop.runs.load.prepare import make_load
from bulkstop.runs.load.recorder import Outputs
from bulkstop.runs.load.run import Load, Share, execute
from bulkstop.runs.load.shapes import Shape
from bulkstop.runs.load.targets import check_number, choose_targets, describe_targets, read_targets
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.runs.wiring import list_secrets
from bulkstop.settings import Settings, is_loopback
from bulkstop.source.plan import Plan
from bulkstop.text import format_count, format_table, printable

OF_CLOSED = frozenset({"closed", "concurrency", "count", "length_s", "results", "hdr", "html", "compare"})
"""Options that `explain_closed` leaves out of its open-model command: how much is sent, and files that exist."""
MAIN = ("profile", "rate", "length_s", "require", "find_limit", "closed", "processes", "results", "as_json", "expect")
"""The options that most load tests need, in the order of the help page."""
EXAMPLE = f"""\b
Example:
  bulkstop load --host http://127.0.0.1:8080 --account-id a1 --stream-id st-1 \\
      --rate 500/s --duration 30s --require 'p99<250ms' --require 'errors<1%'

\b
What is sent:
  Every request is a real stop of the campaign that it names. Without INPUT the ids are made up. With INPUT
  the list is sent in its order, again and again; unless the host is this machine, you must confirm it as
  for `stop` (--expect, --yes). There are no retries and there is no quota.
  A request is sent when it is due, whether or not earlier ones are answered. If --max-in-flight requests
  are in flight, it waits, but is still measured from when it was due. Requests that wait at the end of the
  schedule may be sent until --grace has passed.

\b
What is measured:
  latency   from when a request was due to its answer: what a caller would have waited
  service   from when it was sent to its answer
  lateness  how late this program sent it. If more than 1% of the requests are later than --max-late, the
            run says nothing about the service, and the exit code is 3.
  All requests count, also failed ones. A request that was cut off counts with the time up to then.

{limit.ABOUT}

\b
--require FIGURE<VALUE, with <, <=, > or >=:
  p99 p99.9 max mean    latency of the successes, in us, ms or s; service.p99 is their service time;
                        all.p99 and all.service.p99 are those of all requests
  failed (or errors)    requests that were due and did not end as stopped or already_stopped; in %
  throttled ...         requests with that outcome; in %
  rate                  successes a second, over the time of sending, or longer if the service fell behind;
                        answered.rate: answers; offered.rate: requests that were due; in /s
  With any --require, {USUAL} is required too, unless you set failed or errors yourself.
  Requests that were never sent, or were cut off, count as failed and as the slowest of all.

\b
Other verdicts:
  --abort-on  takes the same conditions. When one is true of the last {SECONDS} seconds (of at least {LEAST_REQUESTS}
              requests), the run ends at once, cuts off what is in flight, and exits with 1.
  --compare   compares p50 p90 p99 p99.9, rate and failed with an earlier run (the file of its --json). If
              a figure is worse by more than --max-regression, and by more than chance, the exit code is 1.

\b
Files:
  --results  has a JSON object for each request, in the order of the answers (of each process):
             {", ".join(KEYS[:6])},
             {", ".join(KEYS[6:])}
             intended_s and started_s are seconds since the beginning (below zero in --warmup);
             latency_ms is from intended_s, service_ms from started_s.
  --hdr      has HdrHistograms in microseconds, one a second for the latency, and one tagged `service`.

\b
Exit codes:
  0    the run finished, and every requirement held
  1    a requirement did not hold, a figure is worse than --compare allows, --abort-on ended the run, or no
       request was answered; also if requests were never sent, as they could only make it worse
  2    usage, settings or input are wrong; nothing was sent
  3    this program and not the service was the limit (it sent late, read late, or had too few places), so
       the run says nothing; or the run could not continue (credentials, files)
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal
"""


@click.command("load", cls=GroupedCommand, main=MAIN, epilog=EXAMPLE)
@with_load_options
@click.pass_context
def command(ctx: click.Context, /, *, log_level: str, log_json: bool, **_: object) -> int:
    """Load-test the API: send requests on a schedule, and measure each from when it was due.

    Requests are real stops. Without INPUT, the campaign ids are made up and match no campaign.
    """
    settings = read_settings(ctx)
    ctx.with_resource(log_to_stderr(log_level, as_json=log_json, secrets=list_secrets(settings)))
    load_options = read_load_options(ctx.params)
    check_input(ctx, load_options)
    search = limit.read_search_options(ctx)
    try:
        if search is not None:
            return find_limit(search, load_options, settings)
        shape = read_shape(ctx.params)
        check_usage(ctx, shape, load_options, settings)
        return load_test(shape, load_options, settings)
    except asyncio.CancelledError:  # a signal came before the first request
        raise click.Abort from None


def load_test(shape: Shape, options: LoadOptions, settings: Settings) -> int:
    """Show the plan, run the load test, and print its result; return the exit code."""
    baseline = None if options.compare is None else read_earlier(options.compare, shape)
    with read_list(options, settings) as plan:
        load = make_load(
            shape,
            plan,
            settings,
            options.label,
            max_in_flight=options.max_in_flight,
            max_late_s=options.max_late_s,
            require=options.require,
            abort_on=options.abort_on,
            processes=options.processes,
        )
        check_processes(load)
        if plan is None:
            check_number(settings, load.planned)
        share = choose_targets(plan, settings, options.id_prefix)
        if not options.quiet:
            host_row, *rows = format_plan(load.plan(settings))
            table = [host_row, *describe_way(settings), *rows]
            print_err("\n".join(format_table("Load test: every request is a real stop", table)))
        confirm_all(plan, settings, options, load.planned)
        summary = measure(load, share, settings, options, baseline)
    code = print_last(json.dumps(summary.as_dict()), summary.exit_code) if options.as_json else summary.exit_code
    if code == summary.exit_code and options.has_verdict(code):  # otherwise the write error is the last line
        print_err(format_verdict(summary))
    return code


def read_earlier(path: str, shape: Shape) -> Values:
    """Return the figures of an earlier run; raises InputError or SettingsError for a file without such figures."""
    try:
        values = read_baseline(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"--compare {path}: cannot be read ({error.strerror}); nothing was sent") from None
    except ValueError as error:
        raise SettingsError(f"--compare {path}: {error}; nothing was sent") from None
    model = "closed" if shape.closed else "open"
    if values["model"] != model:
        raise SettingsError(f"--compare {path}: is of another model ({values['model']}) than {model}; nothing was sent")
    return values


def compare_with(baseline: Values, summary: LoadSummary, options: LoadOptions) -> LoadSummary:
    """Return the summary compared with an earlier run; print in which settings the two runs differ."""
    new = summary.as_dict()
    for difference in list_differences(baseline, new):
        print_err(f"note: --compare {options.compare}: {printable(difference)}")
    limit_ = MAX_REGRESSION if options.max_regression is None else options.max_regression
    return replace(summary, changes=compare(baseline, new, limit_))


def measure(
    load: Load, share: Share, settings: Settings, options: LoadOptions, baseline: Values | None = None
) -> LoadSummary:
    """Run the load test; write and print what was measured."""
    with open_outputs(options, load) as (outputs, page):
        summary = run_load(load, share, settings, outputs, options)
        if baseline is not None:
            summary = compare_with(baseline, summary, options)
        print_summary(summary, options)
        if not options.quiet and load.schedule is None and summary.metrics.answered:
            print_err(explain_closed(summary))
        if page is None or outputs.timeline is None:
            return summary
        return save_page(page, summary, outputs.timeline, options)


def find_limit(search: limit.SearchOptions, options: LoadOptions, settings: Settings) -> int:
    """Search for the highest rate that holds; return the exit code."""
    with read_list(options, settings) as plan:
        if plan is None:
            check_number(settings, search.search.count)
        return limit.search(
            search,
            choose_targets(plan, settings, options.id_prefix)(0, 1),
            plan,
            settings,
            confirm=lambda: confirm_all(plan, settings, options, search.search.count),
            targets=describe_targets(plan, settings, options.label),
            as_json=options.as_json,
            quiet=options.quiet,
            has_verdict=options.has_verdict,
        )


def read_list(options: LoadOptions, settings: Settings) -> AbstractContextManager[Plan | None]:
    """Open the list if there is one; raises InputError or SettingsError for one that cannot be used."""
    return nullcontext() if options.source is None else read_targets(options.source, settings, fmt=options.fmt)


def check_processes(load: Load) -> None:
    """Raise SettingsError for more processes than requests that may be in flight, because some would be idle."""
    if load.processes > load.max_in_flight:
        raise SettingsError(
            f"--processes {load.processes}: more than the "
            f"{format_count(load.max_in_flight, 'request')} that may be in flight; "
            "lower it, or raise --max-in-flight (with --closed: --concurrency); nothing was sent"
        )


def run_load(load: Load, share: Share, settings: Settings, outputs: Outputs, options: LoadOptions) -> LoadSummary:
    """Run the load test in this process or in several; return its summary."""
    progress = None if options.quiet else print_err
    if load.processes == 1:
        job = execute(load, share(0, 1), settings, outputs, signals=SIGNALS, say=say, progress=progress)
        return host.run(job)
    from bulkstop.runs.load import processes  # imported here because a single process does not need it

    return processes.run(load, share, settings, outputs, signals=SIGNALS, say=say, progress=progress)


def print_summary(summary: LoadSummary, options: LoadOptions) -> None:
    """Print the summary; with --quiet or --log-json only faults, each unless the verdict contains it."""
    if not options.quiet:
        print_err("\n".join(format_table("Summary", format_summary(summary))))
    elif summary.fault is not None and options.log_json:
        print_err(f"bulkstop: {summary.fault}")
    verdict = format_verdict(summary) if options.has_verdict(summary.exit_code) else ""
    for line in list_faults(summary):
        if line not in verdict:
            print_err(f"bulkstop: {line}")


def explain_closed(summary: LoadSummary) -> str:
    """Return the note on coordinated omission, with the open-model command that shows what it hides."""
    metrics = summary.metrics
    rate, length_s = float(f"{metrics.rates.answered:.3g}") or 1.0, max(1.0, round(metrics.elapsed_s))
    shown = rebuild_command(drop=OF_CLOSED, add=("--rate", f"{rate:g}/s", "--duration", f"{length_s:g}s"))
    return (
        "note: a closed model sends nothing while it waits for answers, so no figure shows how long callers would "
        f"have waited (coordinated omission); an open model shows it: {shown}"
    )


def confirm_host(settings: Settings, allowed: Sequence[str]) -> None:
    """Raise SettingsError for a host of the vendor that is neither named by --allow-host nor typed by a person."""
    name = read_host_name(settings.host)
    if not is_vendor(settings.host) or is_named(settings.host, allowed):
        return
    if not is_watched():
        raise SettingsError(
            f"--host {name}: is the vendor's own service, which others use as well; a load test there needs "
            f"--allow-host {name}; nothing was sent"
        )
    print_err(f"{name} is the vendor's own service, which others use as well. To load it, type its name:")
    if not is_named(settings.host, [sys.stdin.readline().strip()]):
        raise SettingsError(f"not confirmed: {name} was not typed; nothing was sent")


def confirm_all(plan: Plan | None, settings: Settings, options: LoadOptions, planned: int | None) -> None:
    """Ask for confirmation of the host and the campaigns where needed; raises SettingsError without it."""
    confirm_host(settings, options.allowed)
    confirm_list(plan, settings, options, planned)


def confirm_list(plan: Plan | None, settings: Settings, options: LoadOptions, planned: int | None) -> None:
    """Ask for confirmation before campaigns of a list are stopped at a service that is not on this machine.

    Raises SettingsError if the list has another number of campaigns than expected, or the number was not confirmed.
    """
    if plan is None:
        return
    check_expected(plan, options.expect)
    if options.yes or options.expect is not None or is_here(settings):
        return
    if not options.quiet:
        rows = [("to stop", describe_counts(plan.types)), ("not sent", describe_counts(plan.held) or "0")]
        warnings = find_warnings(plan, settings, None)
        print_err("\n".join([*format_table("Campaigns", rows), *(f"warning: {each}" for each in warnings)]))
    confirm(plan.to_send if planned is None else min(planned, plan.to_send))


def is_here(settings: Settings) -> bool:
    """Return whether all calls stay on this machine, including those to a proxy."""
    names = [urlsplit(url).hostname for url in (settings.host, settings.proxy) if url]
    return all(map(is_loopback, names))


def describe_counts(counts: Mapping[CampaignType, int] | Mapping[Outcome, int]) -> str:
    """Return the count of each type or outcome as text."""
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())


@contextmanager
def open_outputs(options: LoadOptions, load: Load) -> Iterator[tuple[Outputs, AtomicFile | None]]:
    """Open the files to be written; raises a BulkstopError, also if the page could not be made after the run."""
    with ExitStack() as stack:
        page = timeline = None
        if options.html is not None:
            check_library()
            page = AtomicFile(options.html, HTML, overwrite=options.overwrite)
            stack.callback(page.close)
            timeline = Timeline(choose_width(load.length_s if load.schedule is None else load.schedule.length_s))
        results = _open_output(stack, options.results, "--results", overwrite=options.overwrite)
        hdr = _open_output(stack, options.hdr, "--hdr", overwrite=options.overwrite)
        yield Outputs(results, hdr, timeline, partial(_outboxes, results, hdr)), page
        for output in filter(None, (results, hdr)):
            if output.missing:
                print_err(
                    f"bulkstop: {output.name}: {format_count(output.missing, 'line')} "
                    "could not be written, because nobody reads them"
                )


def _outboxes(*outputs: Output | None) -> list[Outbox[Any]]:
    return [*(output.outbox for output in outputs if output and output.outbox), *err_outboxes()]


def _open_output(stack: ExitStack, path: str | None, option: str, *, overwrite: bool) -> Output | None:
    if path is None:
        return None
    output = Output(path, option, overwrite=overwrite)
    stack.callback(output.close)
    return output


def save_page(file: AtomicFile, summary: LoadSummary, timeline: Timeline, options: LoadOptions) -> LoadSummary:
    """Write the HTML page and say so; return the summary, with the fault if the page could not be written."""
    from bulkstop.report.load.page import render_page  # imported here because only a run with a page needs it

    try:
        file.save(render_page(summary, timeline.points(), read_library()).encode())
    except BulkstopError as fault:
        if options.log_json or summary.fault:  # otherwise the verdict contains the fault
            print_err(f"bulkstop: {fault}")
        return replace(summary, fault=summary.fault or fault)
    if not options.quiet:
        print_err(f"{file.name}: written")
    return summary
