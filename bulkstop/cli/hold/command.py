"""`bulkstop hold`: lists, plans, confirms and stops, then repeats this until its end."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from bulkstop.cli.again import rebuild_command
from bulkstop.cli.files import check_written, use_store
from bulkstop.cli.hold.options import HoldOptions, read_hold_options, with_hold_options
from bulkstop.cli.log import log_to_stderr, say
from bulkstop.cli.options import GroupedCommand, name_profile, read_origin, read_profiles, read_settings
from bulkstop.cli.stop.checks import Start, check_dry, check_expected, check_files, check_plan, check_start
from bulkstop.cli.stop.command import LOST, STACK, MadeList, command_line, fix_deadline, show_plan
from bulkstop.cli.stop.notify import make_notices, name_outcomes, note_end, run_and_tell
from bulkstop.cli.stop.options import StopOptions, name_by_time
from bulkstop.cli.stop.running import (
    NoListError,
    check_listed,
    explain_fault,
    filter_of,
    list_doubts,
    list_running,
    settle_settings,
    targets_of,
    types_of,
)
from bulkstop.cli.stop.summary import format_run, print_untold
from bulkstop.cli.terminal import flush_err, is_watched, print_err, print_last
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.errors import OutputError, SettingsError
from bulkstop.files.whole import beside, is_device
from bulkstop.model import SIGNALS, Scope
from bulkstop.report.hold import HoldSummary, format_campaigns
from bulkstop.report.lists.discovery import Discovery
from bulkstop.report.log import log_event
from bulkstop.report.stop.ledger import Mode
from bulkstop.report.stop.plan import PlanFacts, plan_to_json
from bulkstop.report.stop.progress import Lines, LoggedProgress, Progress
from bulkstop.runs import host
from bulkstop.runs.clients import ListedTargets
from bulkstop.runs.hold.accounts import list_accounts
from bulkstop.runs.hold.backoff import Backoff
from bulkstop.runs.hold.sightings import Sighting, Sightings
from bulkstop.runs.lists.discover import list_scopes
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.wiring import Accounts, check_time, list_secrets
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.text import format_count, format_duration

if TYPE_CHECKING:
    from bulkstop.runs.engine import Engine

LIST = ".list.jsonl"
"""Suffix of the list's name, after the name of the result file."""
MAIN_OPTIONS = (
    *("profile", "until", "for_s", "every_s", "dry_run", "expect", "yes", "max_campaigns", "protect", "resume"),
)
EXAMPLE = """\b
Examples:
  # Show what the first look would stop; send nothing
  bulkstop hold --until 08:00 --profile prod --max-campaigns 200 --dry-run
  # Stop whatever runs until tomorrow morning
  bulkstop hold --until 08:00 --profile prod --max-campaigns 200 --yes

\b
hold lists the campaigns that run, shows a plan and stops them. Then it looks again every --every, and stops
those that are new, were rescheduled or have come back. Each time that a campaign is stopped is a sighting:
a row in the list beside the result file, with its own result line, whose `row` has the `sighting` number.
At the end hold looks once more, and the exit code says whether anything runs. Without --until or --for, it
ends at Ctrl-C.

\b
Exit codes:
  0    at the end, no matching campaign runs
  1    some still run, came back too often, or could not be looked at
  2    usage or settings are wrong; nothing was sent
  3    a guard ended it (--max-campaigns, failures, outage), it could not continue, or no list could be read
  4    it ended at --finish-by before all were sent; --resume continues it
  130  ended by Ctrl-C before its end; 143 by SIGTERM, 129 by a closed terminal; --resume continues it
"""


class _Begin(NamedTuple):
    """What a hold begins with: the rows of its list that have no line yet, and what the first look found."""

    whole: Plan
    found: Discovery
    accounts: Accounts | None
    targets: ListedTargets | None


@click.command("hold", cls=GroupedCommand, epilog=EXAMPLE, main=MAIN_OPTIONS)
@with_hold_options
@click.pass_context
def command(ctx: click.Context, /, **_: object) -> int:
    """Stop whatever runs, again and again, until a time.

    hold needs no list: every minute it lists the campaigns of the account and stream, or of all --targets, each with
    its own credentials. A stop cannot be undone.
    """
    settings = read_settings(ctx)
    secrets = list_secrets(settings)
    ctx.with_resource(log_to_stderr(ctx.params["log_level"], as_json=ctx.params["log_json"], secrets=secrets))
    hold, options = read_hold_options(ctx.params, settings)
    work = partial(_hold_or_refuse, ctx, hold, options, settings)
    return work() if options.dry_run else run_and_tell(ctx, settings, work, options.profile)


def _hold_or_refuse(ctx: click.Context, hold: HoldOptions, options: StopOptions, settings: Settings) -> int:
    try:
        return _hold(ctx, hold, options, settle_settings(ctx, settings))
    except NoListError as why:
        print_err(str(why))
        note_end(str(why))
        return why.exit_code


def _hold(ctx: click.Context, hold: HoldOptions, options: StopOptions, settings: Settings) -> int:
    check_files(options, settings, ctx.params["config"])
    path = name_list(options)
    check_written([("-o", path)], settings, ctx.params["config"])
    with ExitStack() as opened:
        journal = opened.enter_context(RunJournal(options.target, mode=options.mode, trust=options.trust_results))
        check_list(path, options, journal)
        check_time(settings)
        protection = read_protection(settings.protect)
        sightings = opened.enter_context(make_sightings(path, hold, settings))
        whole = opened.enter_context(plan_unwritten(path, options, settings, journal, sightings))
        if journal.past is None:
            journal.check_open()
        targets = targets_of(settings)
        found, accounts = find_first(options, settings, targets)
        sighting = sightings.choose(found)
        name_account = read_profiles(ctx).name_account
        plan = opened.enter_context(
            Plan(sighting.rows, order=settings.order, protection=protection, account_of=name_account)
        )
        unlisted = explain_fault(found) if found.fault or found.failed else None
        listed = MadeList((path,), (path, found), accounts, list_doubts(found), found.unread, unlisted)
        facts = show_plan(plan, settings, options, read_origin(ctx), listed)
        settings = fix_deadline(settings, facts)
        check_first(plan, sightings, sighting, settings, options)
        start = Start(plan, settings, options, journal)
        if not options.quiet:
            print_err(describe_hold(hold, settings))
        if options.dry_run:
            return end_dry(start, facts, unlisted)
        check_start(start)
        if options.asks:
            confirm(plan.to_send, settings)
        summary = carry_out(hold, start, sightings, _Begin(whole, found, accounts, targets))
        note_end(summary.verdict, summary.stops.run_id, name_outcomes(summary.campaigns))
        print_end(summary, journal, options)
    return summary.exit_code


def make_sightings(path: str, hold: HoldOptions, settings: Settings) -> Sightings:
    """Return the sightings of a hold, none so far."""
    return Sightings(
        path,
        again=hold.again,
        any_id=settings.any_id,
        backoff=Backoff(hold.every_s, elapsed_s),
        own_profile=read_profiles(click.get_current_context()).own_name,
    )


def end_dry(start: Start, facts: PlanFacts, unlisted: str | None) -> int:
    """Print what would keep the hold from starting, with --json also the plan; return the exit code."""
    code = check_dry(start, facts) or (1 if unlisted else 0)
    return print_last(json.dumps(plan_to_json(facts)), code) if start.options.as_json else code


def name_list(options: StopOptions) -> str:
    """Return the name of the list, after the result file; without a result file, after the time."""
    if options.target == "-" or is_device(options.target):
        return f"{name_by_time('hold')}{LIST}"
    return beside(options.target, LIST)


def check_list(path: str, options: StopOptions, journal: RunJournal) -> None:
    """Raise OutputError for a list that exists before a new hold, or is missing when a hold is continued."""
    is_there = os.path.lexists(path)
    if is_there and options.mode is Mode.NEW:
        raise OutputError(f"{path}: exists already; give --resume to continue it, --overwrite, or -o with another file")
    if journal.past is not None and journal.past.rows and not is_there:
        raise OutputError(f"{path}: the list of {options.target} does not exist; give -o with another file")


def plan_unwritten(
    path: str, options: StopOptions, settings: Settings, journal: RunJournal, sightings: Sightings
) -> Plan:
    """Plan the rows of the list that have no line yet; the plan is empty unless a hold is continued."""
    if options.mode is not Mode.RESUME or not os.path.lexists(path):
        return Plan(())
    sightings.open(is_new=False)
    if not Path(path).stat().st_size:
        return Plan(())
    profiles = read_profiles(click.get_current_context())
    return journal.plan_unwritten([path], settings, sightings.note, profiles=profiles)


def find_first(
    options: StopOptions, settings: Settings, targets: ListedTargets | None
) -> tuple[Discovery, Accounts | None]:
    """List the campaigns that run; raises NoListError if a signal ended the listing, or no account could be read."""
    found, accounts = list_running(options, settings, targets)
    check_listed(replace(found, failed=()))  # an account that cannot be read yet must not stop the hold of the others
    return found, accounts


def check_first(plan: Plan, sightings: Sightings, sighting: Sighting, settings: Settings, options: StopOptions) -> None:
    """Raise SettingsError for a first sighting that the caller does not expect; an empty one is valid."""
    check_plan(plan, settings, options) if plan.rows else check_expected(plan, options.expect)
    many, most = sightings.count_campaigns(sighting), settings.max_campaigns
    if most is not None and many > most:
        raise SettingsError(
            f" {most}: with those before there are {format_count(many, 'campaign')} to stop; nothing was sent",
            setting="max_campaigns",
        )


def describe_hold(hold: HoldOptions, settings: Settings) -> str:
    """Return the line below the plan that says how the hold continues."""
    return (
        f"Hold: looks again every {format_duration(hold.every_s)}, {hold.describe_end(settings)}; "
        f"stops at most {format_count(settings.max_campaigns or 0, 'campaign')}; "
        f"each at most {format_count(hold.again, 'time')}"
    )


def confirm(to_send: int, settings: Settings) -> None:
    """Ask a person for the number of campaigns to stop; while none run, for the most that may be stopped."""
    if not is_watched():
        raise SettingsError(
            "there is no terminal to confirm on; give --expect N, --expect A..B or --yes; nothing was sent"
        )
    most = settings.max_campaigns or 0
    now = f"To stop {format_count(to_send, 'campaign')} now" if to_send else "To stop campaigns as they start"
    print_err(f"A stop cannot be undone. {now}, {format_count(most, 'campaign')} at most, type that number:")
    number = to_send or most
    if sys.stdin.readline().strip() != str(number):
        raise SettingsError(f"not confirmed: {number} was not typed; nothing was sent")


def carry_out(hold: HoldOptions, start: Start, sightings: Sightings, begin: _Begin) -> HoldSummary:
    """Stop what was found, then hold, with signal handling and progress."""
    from bulkstop.engine.shutdown import Shutdown, handle_signals  # help and a dry run need neither
    from bulkstop.runs.engine import Engine
    from bulkstop.runs.hold.run import Hold

    plan, settings, options, journal = start
    run_id = str(uuid.uuid4())
    named = [*(["-o", options.target] if options.output is None else []), *name_profile()]
    journal.open(begin.whole, settings, [*command_line(sys.argv), *named], run_id)
    if not sightings.is_open:
        sightings.open(is_new=options.mode is not Mode.RESUME)
    scopes = list_scopes(settings, types_of(settings)) if begin.targets is None else begin.targets.scopes
    lost = f"{LOST}; to go on: {write_way_on(options)}" if journal.is_file else LOST

    async def execute() -> HoldSummary:
        stack = beside(journal.path, STACK) if journal.is_file else None
        shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=lost, observe=log_event, stack=stack)
        with handle_signals(shutdown, SIGNALS):
            engine = Engine(use_store(settings))
            if begin.targets is not None:
                engine.call_for(begin.targets.others)
            if begin.accounts is not None:
                engine.count_before(begin.accounts)
            async with engine:
                holding = Hold(
                    engine,
                    partial(look, engine, options, scopes),
                    sightings,
                    journal,
                    hold.make_watch(settings),
                    list_accounts(scopes),
                    protection=read_protection(settings.protect),
                    shutdown=shutdown,
                    say=say,
                    tell=ignore_text if options.quiet else print_err,
                    make_progress=partial(choose_progress, options),
                    run_id=run_id,
                )
                if (notices := make_notices(engine.settings, run_id, options.profile)) is not None:
                    notices.begin(f"a hold begins at {settings.host}, {hold.describe_end(settings)}", plan)
                summary = await holding.execute(begin.whole, begin.found)
            print_untold(summary.stops, journal, options)
            await flush_err(settings.grace_s)
            return summary

    try:
        return host.run(execute(), fast=False)
    except asyncio.CancelledError:  # a signal came before the first call
        raise click.Abort from None


async def look(
    engine: "Engine", options: StopOptions, scopes: Sequence[Scope], account_ids: Collection[str], is_whole: bool
) -> Discovery:
    """List the running campaigns of these accounts with the connections and limits of the engine."""
    from bulkstop.runs.lists.running import list_target

    wanted = filter_of(options)
    narrow = replace(wanted, is_narrow=wanted.running and not is_whole)
    chosen = [scope for scope in scopes if scope.account_id in account_ids]
    return await list_target(engine.parts, narrow, chosen, options.name)


def ignore_text(text: str) -> None:
    """Ignore a message."""


def choose_progress(options: StopOptions) -> Progress | None:
    """Return a progress of lines, of events with --log-json, or None with --quiet."""
    if options.log_json:
        return LoggedProgress(log_event)
    return None if options.quiet else Lines(print_err)


def print_end(summary: HoldSummary, journal: RunJournal, options: StopOptions) -> None:
    """Print how the hold went; the last line says whether campaigns still run, or how to continue."""
    if options.log_json or (options.quiet and not summary.exit_code):
        return
    print_err("\n".join([*format_run(summary.stops, journal), f"Campaigns: {format_campaigns(summary.campaigns)}"]))
    print_err(summary.verdict)
    if summary.exit_code and journal.mark:
        print_err(f"To go on: {write_way_on(options)}")


def write_way_on(options: StopOptions) -> str:
    """Return the command that continues the hold, with --yes for --expect, as its first look may find any number."""
    named = ["-o", options.target] if options.output is None else []
    sure = [] if options.expect is None else ["--yes"]
    return rebuild_command(drop={"overwrite", "resume", "expect"}, add=[*named, *sure, "--resume"])
