"""`bulkstop stop`: plans, confirms, sends and sums up."""

import asyncio
import itertools
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bulkstop.cli.files import use_store
from bulkstop.cli.log import log_to_stderr, say
from bulkstop.cli.options import Origin, name_profile, read_origin, read_profiles, read_settings
from bulkstop.cli.stop.checks import Start, check_dry, check_files, check_plan, check_start, confirm
from bulkstop.cli.stop.notify import make_notices, name_outcomes, note_end, run_and_tell
from bulkstop.cli.stop.options import StopOptions, read_stop_options, refuse_no_source
from bulkstop.cli.stop.progress import choose_progress, watch_deadline
from bulkstop.cli.stop.summary import print_summary, print_untold, write_way_on
from bulkstop.cli.terminal import (
    err_outboxes,
    flush_err,
    print_err,
    print_last,
    redirect_err,
    show_reading,
)
from bulkstop.events import Warned
from bulkstop.files.whole import beside
from bulkstop.model import SIGNALS
from bulkstop.outbox import Outbox
from bulkstop.redact import HIDDEN
from bulkstop.report.log import log_event
from bulkstop.report.stop.plan import UNUSABLE_SHOWN, PlanFacts, format_plan, plan_to_json
from bulkstop.report.stop.progress import Bar
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs import host
from bulkstop.runs.stop import history
from bulkstop.runs.stop.forecast import forecast_accounts, read_ages
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.plan import describe_plan
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.runs.wiring import Accounts, check_time, describe_store, list_secrets
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.settings.exposure import may_hold_secret
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.report.lists.discovery import Discovery


class MadeList(NamedTuple):
    """A list that the command made itself: its file, its facts for the plan, and its accounts with their calls so far.

    `doubts` are warnings, `unread` is what was not looked at, `unlisted` why more may run than was found.
    """

    inputs: tuple[str, ...] = ()
    facts: "tuple[str, Discovery] | None" = None
    accounts: Accounts | None = None
    doubts: Sequence[str] = ()
    unread: tuple[str, ...] = ()
    unlisted: str | None = None


MakeList = Callable[[StopOptions, Settings, RunJournal], AbstractContextManager[MadeList]]
NO_LIST = MadeList()
LOST = "result lines already written are kept; campaigns in flight are unknown"
"""The last words of a run that is ended by force."""
STACK = ".stack.txt"
"""Suffix of the file with the stack of a run that makes no progress."""
UVLOOP_FROM = 500
"""Number of campaigns from which the import of uvloop, about 20 ms, pays off."""


def run_stop(ctx: click.Context) -> int:
    """Stop the campaigns of a list, or those that run now, as the options say; return the exit code."""
    refuse_no_source(ctx)
    settings = read_settings(ctx)
    secrets = list_secrets(settings)
    ctx.with_resource(log_to_stderr(ctx.params["log_level"], as_json=ctx.params["log_json"], secrets=secrets))
    options = read_stop_options(ctx.params)
    stop: Callable[[click.Context, StopOptions, Settings], int] = stop_list
    if options.running:
        from bulkstop.cli.stop.running import stop_running  # a run with a list does not need it

        stop = stop_running
    if options.dry_run:
        return stop(ctx, options, settings)
    return run_and_tell(ctx, settings, lambda: stop(ctx, options, settings), options.profile)


def stop_list(ctx: click.Context, options: StopOptions, settings: Settings, make_list: MakeList | None = None) -> int:
    """Plan, confirm, send and sum up; a list made by `make_list` replaces the inputs. Return the exit code."""
    check_files(options, settings, ctx.params["config"])
    with ExitStack() as opened:
        journal = opened.enter_context(
            RunJournal(options.target, mode=options.mode, retry=options.outcomes_to_retry, trust=options.trust_results)
        )
        listed = NO_LIST if make_list is None else opened.enter_context(make_list(options, settings, journal))
        options = options._replace(inputs=listed.inputs or options.inputs)
        with show_reading(is_quiet=options.quiet or options.log_json):
            plan = opened.enter_context(
                journal.plan(options.inputs, settings, fmt=options.fmt, profiles=read_profiles(ctx))
            )
        facts = show_plan(plan, settings, options, read_origin(ctx), listed)
        settings = fix_deadline(settings, facts)
        check_plan(plan, settings, options)
        start = Start(plan, settings, options, journal)
        if options.dry_run:
            code = check_dry(start, facts) or (1 if listed.unlisted else 0)
            return print_last(json.dumps(plan_to_json(facts)), code) if options.as_json else code
        check_start(start)
        if plan.to_send and options.asks:
            confirm(plan.to_send)
        summary = carry_out(plan, settings, journal, options, listed)
        note_end(summary.verdict, summary.run_id, name_outcomes(summary.outcomes))
        reads_back = options.reads_back and summary.signum is None and journal.rescue is None
        print_summary(summary, journal, options, reads_back=reads_back)
    if reads_back:
        from bulkstop.cli.stop.verify import verify_after  # most runs do not need it

        return verify_after(options, settings, summary, journal)
    return summary.exit_code


def show_plan(
    plan: Plan, settings: Settings, options: StopOptions, origin: Origin, listed: MadeList = NO_LIST
) -> PlanFacts:
    """Show the plan as a table, and its warnings unless --json writes them; return its facts."""
    seconds_left = check_time(settings)
    is_shown = options.dry_run or not options.quiet
    facts = describe_plan(
        plan,
        settings,
        options.target,
        forecasts=(
            forecast_accounts(
                plan,
                use_store(settings),
                seconds_left,
                listed.accounts,
                read_profiles(click.get_current_context()),
            )
            if is_shown
            else None
        ),
        warnings=[
            *listed.doubts,
            *find_warnings(
                plan,
                settings,
                history.load_last_run(options.profile, settings.host),
                read_profiles(click.get_current_context()),
                _read_ages(plan, use_store(settings), listed.accounts),
            ),
        ],
        retry=options.outcomes_to_retry,
        config=origin.config,
        profile=origin.profile,
        unusable=None if options.as_json else UNUSABLE_SHOWN,
        store=describe_store(use_store(settings)),
        running=listed.facts,
        hosts=list_other_hosts(plan, settings),
    )
    if not options.quiet:
        print_err("\n".join(format_plan(facts, asks=options.asks)))
    if not options.as_json:
        for warning in facts.warnings:
            log_event(Warned(warning)) if options.log_json else print_err(f"warning: {warning}")
    return facts


def _read_ages(plan: Plan, settings: Settings, known: Accounts | None) -> Mapping[str, Sequence[float]]:
    """Return the ages of the calls that the quota still counts, if the plan has times to stop by."""
    if not plan.stop_times:
        return {}
    return host.run(read_ages(plan, settings, known, read_profiles(click.get_current_context())), fast=False)


def list_other_hosts(plan: Plan, settings: Settings) -> dict[str, str]:
    """Return the hosts of the plan's profiles that differ from the main one, by profile."""
    from bulkstop.runs.clients import plan_others

    others = plan_others(read_profiles(click.get_current_context()), plan)
    used = {plan.first(account).profile for account in plan.accounts}
    hosts = {name: its.host for name, its in others.profiles.items() if name in used} if others else {}
    return {name: each for name, each in hosts.items() if each != settings.host}


def fix_deadline(settings: Settings, facts: PlanFacts) -> Settings:
    """Return settings with the deadline as a fixed moment, so that the wait for confirmation does not move it.

    It is the moment that the plan shows; if the plan shows none, a relative time counts from now.
    """
    left_s = settings.seconds_left(now := datetime.now(UTC))
    if left_s is None:
        return settings
    moment = datetime.fromtimestamp(facts.deadline.at, UTC) if facts.deadline else now + timedelta(seconds=left_s)
    at = moment.isoformat(timespec="milliseconds")
    click.get_current_context().obj = fixed = replace(settings, finish_by=at)
    return fixed


def carry_out(
    plan: Plan, settings: Settings, journal: RunJournal, options: StopOptions, listed: MadeList = NO_LIST
) -> StopSummary:
    """Execute the plan with signals and progress; store its size for the warnings of the next run."""
    from bulkstop.engine.shutdown import Shutdown, handle_signals  # help and a dry run need neither
    from bulkstop.runs.clients import plan_others
    from bulkstop.runs.engine import Engine
    from bulkstop.runs.stop.run import Prepared

    run_id, profiles = str(uuid.uuid4()), read_profiles(click.get_current_context())
    named = [*(["-o", options.target] if options.running and options.output is None else []), *name_profile()]
    journal.open(plan, settings, [*command_line(sys.argv), *named], run_id)

    lost = f"{LOST}; to go on{write_way_on(options, ['--resume'])}" if journal.is_file else LOST

    async def execute() -> StopSummary:
        stack = beside(journal.path, STACK) if journal.is_file else None
        shutdown = Shutdown(grace_s=settings.grace_s, say=say, lost=lost, observe=log_event, stack=stack)
        outboxes: list[Outbox[Any]] = [*journal.outboxes, *err_outboxes()]
        prepared = Prepared(plan, journal.write, journal.watch, journal.end, outboxes)
        with ExitStack() as until_end:
            until_end.enter_context(handle_signals(shutdown, SIGNALS))
            if isinstance(progress := await choose_progress(options), Bar):
                until_end.enter_context(redirect_err(progress.say))
            engine = Engine(use_store(settings))
            if (others := plan_others(profiles, plan)) is not None:
                engine.call_for(others)
            if listed.accounts is not None:
                engine.count_before(listed.accounts)
            async with engine:
                run = engine.prepare_run(
                    lambda _: nullcontext(prepared),
                    run_id=run_id,
                    make_notices=lambda run_id: make_notices(engine.settings, run_id, options.profile),
                )
                summary = await run.execute(progress=watch_deadline(progress), shutdown=shutdown)
            # Printed while signals are still handled: a later signal could end the process before these calls are
            # reported.
            print_untold(summary, journal, options)
            await flush_err(settings.grace_s)
            return summary

    try:
        summary = host.run(execute(), fast=plan.to_send >= UVLOOP_FROM)
    except asyncio.CancelledError:  # a signal came before the first call
        raise click.Abort from None
    if summary.calls and summary.exit_code in (0, 1):
        history.save_run(options.profile, settings.host, plan.listed)
    return replace(summary, unlisted=listed.unlisted, unread_lists=listed.unread)


def command_line(words: Sequence[str]) -> list[str]:
    """Return the words of the command line for the record; values that may hold a secret are hidden."""
    names = {spec.option(name): name for name, spec in OPTION_SPECS.items()}
    shown = ["bulkstop"]
    for before, word in itertools.pairwise(words):
        flag, has_value, value = word.partition("=")
        if before in names and may_hold_secret(names[before], word):
            shown.append(HIDDEN)
        elif has_value and flag in names and may_hold_secret(names[flag], value):
            shown.append(f"{flag}={HIDDEN}")
        else:
            shown.append(word)
    return shown
