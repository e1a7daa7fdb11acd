"""`bulkstop load`: send on a schedule, measure, judge."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import click

from bulkstop.cli.load import limit
from bulkstop.cli.load.options import Given, check_input, check_usage, given_of, options
from bulkstop.cli.load.page import Facts, opened_page, saved, timeline_for
from bulkstop.cli.load.shapes import Shape, shape_of
from bulkstop.cli.load.summary import campaigns_in_words, plan_rows, summary_json, tell_summary, untrusted
from bulkstop.cli.log import logs
from bulkstop.cli.options import settings_of
from bulkstop.cli.terminal import is_watched, say, tell_last
from bulkstop.errors import SettingsError
from bulkstop.files import Output, WholeFile
from bulkstop.model import SIGNALS
from bulkstop.report.load.requests import KEYS
from bulkstop.runs import host
from bulkstop.runs.load.hosts import host_name, is_named, is_vendor
from bulkstop.runs.load.recorder import Outputs
from bulkstop.runs.load.run import Load, Share, Summary, carry_out, room_for
from bulkstop.runs.load.targets import check_number, listed, share_of
from bulkstop.runs.wiring import secrets_of
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.text import table

EXAMPLE = f"""\b
Example:
  bulkstop load --host http://127.0.0.1:8080 --account-id a1 --stream-id st-1 \\
      --rate 500/s --duration 30s --require 'p99<250ms' --require 'errors<1%'

\b
Every request is a real stop of the campaign it names: of a list, in its order, again and again;
without INPUT the ids are made up. Each is sent once: no retries, no quota.
Requests leave when they are due, whether or not earlier ones are answered, as long as fewer than
--max-in-flight are; one that has to wait for a place keeps its time.
  latency   from when a request was due to its answer: what a caller would have waited
  service   from when it left to its answer
  lateness  how late it left because this program was late; if that is more than --max-late for more
            than 1% of the requests, the run says nothing about the service, and the exit code is 3
All requests count, failed ones too; one that is cut off counts with the time up to then.
What is held up may leave until --grace after the schedule's end.

{limit.ABOUT}

\b
--require FIGURE<VALUE, with <, <=, > or >=:
  p99 p99.9 max mean    latency; with service. in front the service time; in us, ms or s
  errors                requests that did not end as stopped or already_stopped; in %
  throttled ...         requests with that outcome; in %
  rate                  requests a second, in the time of the schedule or up to the last answer; in /s

\b
--results writes a JSON object for each request, in the order of the answers (of each process):
  {", ".join(KEYS[:6])},
  {", ".join(KEYS[6:])}
  The times _s are seconds since the beginning; latency_ms is from intended_s, service_ms from started_s.
--hdr writes HdrHistograms in microseconds, one a second for the latency and one tagged `service`.

\b
Exit codes:
  0    done, and all that is required held
  1    something required did not hold, or no request was answered; also where requests never left
       because all places were taken, for they could only have made it worse
  2    usage, settings or input are wrong; nothing was sent
  3    the schedule was not kept, so the run says nothing; or the run could not go on (credentials, files)
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal
"""


@click.command("load", epilog=EXAMPLE)
@options
@click.pass_context
def command(ctx: click.Context, /, *, log_level: str, log_json: bool, **_: object) -> int:
    """Load-test the API: requests leave on a schedule, and are measured from when they were due.

    Requests are real stops; without INPUT, of campaigns that are made up and that no service has.
    """
    settings = settings_of(ctx)
    ctx.with_resource(logs(log_level, as_json=log_json, secrets=secrets_of(settings)))
    given = given_of(ctx.params)
    check_input(ctx, given)
    search = limit.asked(ctx)
    try:
        if search is not None:
            return find_limit(search, given, settings)
        shape = shape_of(ctx.params)
        check_usage(ctx, shape, given, settings)
        return load_test(shape, given, settings)
    except asyncio.CancelledError:  # told to end before the first request
        raise click.Abort from None


def load_test(shape: Shape, given: Given, settings: Settings) -> int:
    """Show what will be sent, send it, and say how that went; gives the exit code."""
    with planned(given, settings) as plan:
        load = load_of(shape, plan, settings, given)
        check_processes(load, given.processes)
        if plan is None:
            check_number(settings, load.planned)
        share = share_of(plan, settings, given.id_prefix)
        requests = campaigns_in_words(plan, settings, given.named, load.planned)
        facts = plan_rows(load, shape, requests, settings, given.processes)
        if not given.quiet:
            say("\n".join(table("Load test: every request is a real stop", facts)))
        confirm_host(settings, given.allowed)
        summary = measured(load, share, settings, given, facts)
    if given.as_json:
        return tell_last(json.dumps(summary_json(summary, settings)), summary.exit_code)
    return summary.exit_code


def measured(load: Load, share: Share, settings: Settings, given: Given, facts: Facts) -> Summary:
    """Send it, and write and say what was measured."""
    with opened(given, load) as (outputs, page):
        summary = carried_out(load, share, settings, outputs, given)
        tell_summary(summary, quiet=given.quiet)
        if page is None or outputs.timeline is None:
            return summary
        return saved(page, summary, outputs.timeline, settings, facts, untrusted(summary), quiet=given.quiet)


def find_limit(search: limit.Asked, given: Given, settings: Settings) -> int:
    """Look for the limit; gives the exit code."""
    with planned(given, settings) as plan:
        if plan is None:
            check_number(settings, search.search.count)
        return limit.find(
            search,
            share_of(plan, settings, given.id_prefix)(0, 1),
            plan,
            settings,
            confirm=lambda: confirm_host(settings, given.allowed),
            told=[("host", settings.host), ("campaigns", campaigns_in_words(plan, settings, given.named))],
            as_json=given.as_json,
            quiet=given.quiet,
        )


def planned(given: Given, settings: Settings) -> AbstractContextManager[Plan | None]:
    """Read the list if there is one; raises InputError or SettingsError for one that cannot be used."""
    return nullcontext() if given.source is None else listed(given.source, settings, fmt=given.fmt)


def load_of(shape: Shape, plan: Plan | None, settings: Settings, given: Given) -> Load:
    """Put together what is to be done; raises SettingsError for a load without an end."""
    to_send = None if plan is None else plan.to_send
    schedule = shape.schedule(to_send)
    room = settings.concurrency if schedule is None else given.max_in_flight or room_for(schedule)
    return Load(
        schedule=schedule,
        count=shape.count_for(to_send),
        length_s=shape.length_s,
        max_in_flight=room,
        max_late_s=given.max_late_s,
        require=given.require,
    )


def check_processes(load: Load, processes: int) -> None:
    """Refuse processes that would have nothing to do: raises SettingsError."""
    if processes > load.max_in_flight:
        raise SettingsError(
            f"--processes {processes}: more than the {load.max_in_flight:,} requests that may be in flight; "
            "lower it, or raise --max-in-flight (with --closed: --concurrency); nothing was sent"
        )


def carried_out(load: Load, share: Share, settings: Settings, outputs: Outputs, given: Given) -> Summary:
    """Carry it out, in this process or by several."""
    progress = None if given.quiet else say
    if given.processes == 1:
        job = carry_out(load, share(0, 1), settings, outputs, signals=SIGNALS, say=say, progress=progress)
        return host.run(job)
    from bulkstop.runs.load import processes as several  # here, because one process does without

    how = partial(several.run, signals=SIGNALS, say=say, progress=progress)
    return how(load, share, settings, outputs, processes=given.processes)


def confirm_host(settings: Settings, allowed: Sequence[str]) -> None:
    """Let nobody load the vendor's own hosts by mistake: raises SettingsError unless the very host is named."""
    name = host_name(settings.host)
    if not is_vendor(settings.host) or is_named(settings.host, allowed):
        return
    if not is_watched():
        raise SettingsError(
            f"--host {name}: is the vendor's own service, which others use as well; a load test there needs "
            f"--allow-host {name}; nothing was sent"
        )
    say(f"{name} is the vendor's own service, which others use as well. To load it, type its name:")
    if not is_named(settings.host, [sys.stdin.readline().strip()]):
        raise SettingsError(f"not confirmed: {name} was not typed; nothing was sent")


@contextmanager
def opened(given: Given, load: Load) -> Iterator[tuple[Outputs, WholeFile | None]]:
    """Open the files to be written; raises a BulkstopError."""
    with ExitStack() as stack:
        page = stack.enter_context(opened_page(given.html, overwrite=given.overwrite))
        results = _output(stack, given.results, "--results", overwrite=given.overwrite)
        hdr = _output(stack, given.hdr, "--hdr", overwrite=given.overwrite)
        yield Outputs(results, hdr, None if page is None else timeline_for(load)), page


def _output(stack: ExitStack, path: str | None, option: str, *, overwrite: bool) -> Output | None:
    if path is None:
        return None
    output = Output(path, option, overwrite=overwrite)
    stack.callback(output.close)
    return output
