"""Checks a run before its first call, and asks a person to confirm it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import click

from bulkstop.cli.files import check_results, check_written, use_store
from bulkstop.cli.options import read_profiles
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import is_watched, print_err
from bulkstop.errors import BulkstopError, InputError, OutputError, SettingsError
from bulkstop.files.whole import AtomicFile, beside, is_device
from bulkstop.model import Outcome
from bulkstop.naming import name_setting
from bulkstop.report.stop.plan import PlanFacts
from bulkstop.runs import host
from bulkstop.runs.stop.forecast import forecast_accounts
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.plan import check_usable, describe_plan
from bulkstop.runs.stop.reading import check_columns
from bulkstop.runs.wiring import (
    check_accounts,
    check_size,
    check_time,
    check_tls_files,
    check_token_command,
    find_proxy,
    has_token_command,
    make_tokens,
    make_transport,
    open_and_close,
    open_quota_store,
    plan_waves,
)
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.source.protect import read_protection
from bulkstop.text import format_count

CONNECTION_FILES = ("ca", "cert", "key", "proxy")
"""Settings whose check needs the transport; it is imported only if one of them is set."""


def check_files(options: StopOptions, settings: Settings, config: str) -> None:
    """Raise SettingsError or OutputError for results that cannot be written."""
    target = options.target
    running = [running_list(target)] if options.reads_back else []
    check_results(target, options.inputs, settings, more=running)
    check_written([("-o", target)], settings, config)
    if options.output is None and is_device(target):
        raise OutputError(f"{target}: is not a regular file; give -o FILE")
    if options.reads_back and (target == "-" or is_device(target)):
        raise SettingsError("--verify: needs a result file to read; give -o FILE")
    for path in running:
        AtomicFile(path, overwrite=True, is_derived=True).close()
    if target == "-" and sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was sent")


def running_list(target: str) -> str:
    """Return the name of the list of campaigns that still run after a stop."""
    return beside(target, ".running.csv")


def check_plan(plan: Plan, settings: Settings, options: StopOptions) -> None:
    """Raise InputError or SettingsError for a plan that the caller does not expect."""
    why = f" (first {plan.first_invalid})" if plan.held_invalid else ""
    check_columns(plan)
    if options.strict:
        check_usable(plan)
    if not plan.to_send and not plan.settled and not plan.held[Outcome.PROTECTED]:
        raise InputError(f"the list has no campaign to stop{why}; nothing was sent")
    check_size(settings, plan.listed)
    check_accounts(settings, plan.accounts)
    plan_waves(settings, plan.to_send)
    check_expected(plan, options.expect)


def check_expected(plan: Plan, expect: tuple[int, int] | None) -> None:
    """Raise SettingsError for a list of another length than expected."""
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        span = str(expect[0]) if expect[0] == expect[1] else f"{expect[0]} to {expect[1]}"
        raise SettingsError(
            f"--expect: the list has {format_count(plan.listed, 'campaign')} to stop, not {span}; nothing was sent"
        )


class Start(NamedTuple):
    """A run that is about to start."""

    plan: Plan
    settings: Settings
    options: StopOptions
    journal: RunJournal


def check_start(start: Start) -> None:
    """Raise the first fault that would keep the run from starting, before a person is asked to confirm it."""
    for fault in find_faults(start):
        raise fault


def find_faults(start: Start) -> Iterator[BulkstopError]:
    """Yield each fault that would keep the run from starting, without API calls and without leaving files."""
    seen = set()
    for check in CHECKS:
        try:
            check(start)
        except BulkstopError as fault:
            if str(fault) not in seen:
                yield fault
            seen.add(str(fault))


def find_setting_faults(settings: Settings) -> Iterator[BulkstopError]:
    """Yield the faults in the settings that prevent a run of any list."""
    return _raise_in_turn((partial(check_time, settings), partial(read_protection, settings.protect)))


def find_list_faults(start: Start, config: str) -> Iterator[BulkstopError]:
    """Yield every fault for which `stop --dry-run` would refuse a list that has been read."""
    plan, settings, options, _ = start
    files, fits = partial(check_files, options, settings, config), partial(check_plan, plan, settings, options)
    yield from _raise_in_turn((files, fits))
    yield from find_faults(start)
    yield from _raise_in_turn((partial(_check_deadline, start),))


def _raise_in_turn(checks: Iterable[Callable[[], object]]) -> Iterator[BulkstopError]:
    for check in checks:
        try:
            check()
        except BulkstopError as fault:
            yield fault


def _check_deadline(start: Start) -> None:
    plan, settings, options, _ = start
    if settings.finish_by is None:
        return
    profiles = read_profiles(click.get_current_context())
    forecasts = forecast_accounts(plan, use_store(settings), check_time(settings), profiles=profiles)
    if late := describe_late(describe_plan(plan, settings, options.target, forecasts=forecasts)):
        raise SettingsError(late)


def describe_late(facts: PlanFacts) -> str | None:
    """Return a message if the time to finish by cannot be met; else None."""
    if facts.deadline is None or not facts.deadline.late:
        return None
    by = f"at least {facts.deadline.late:,} of {facts.to_send:,} cannot be sent by {facts.deadline.clock}"
    return f"{name_setting('finish_by')} cannot be met: {by}; the run would end with exit code 4"


def _check_credentials(start: Start) -> None:
    """Get a token; a token command is only looked for, because running it may cost something."""
    tokens = make_tokens(start.settings)
    if has_token_command(start.settings):
        check_token_command(start.settings)
    elif start.plan.to_send:
        host.run(tokens.get(), fast=False)


def _check_proxy(start: Start) -> None:
    find_proxy(start.settings)


def _check_transport(start: Start) -> None:
    """Check the certificates, and open a transport if connection settings are given, as only these can fail."""
    check_tls_files(start.settings)
    if any(getattr(start.settings, name, None) for name in CONNECTION_FILES):
        host.run(open_and_close(make_transport(start.settings)), fast=False)


def _check_store(start: Start) -> None:
    host.run(open_and_close(open_quota_store(use_store(start.settings))), fast=False)


def _check_results(start: Start) -> None:
    start.journal.check_open()


CHECKS: tuple[Callable[[Start], None], ...] = (
    _check_credentials,
    _check_proxy,
    _check_transport,
    _check_store,
    _check_results,
)
"""The checks before a run, also before a dry run."""


def check_dry(start: Start, facts: PlanFacts) -> int:
    """Print what would prevent a run, or keep it from sending all; return the exit code that it would end with."""
    faults = list(find_faults(start))
    for fault in faults:
        print_err(f"bulkstop: {' '.join(str(fault).splitlines())}")
    late = describe_late(facts)
    if late and not faults:
        print_err(f"bulkstop: {late}")
    if not start.options.as_json:
        is_asked = has_token_command(start.settings)
        print_err(f"Dry run: nothing was sent{', and the token command was not run' if is_asked else ''}.")
    return 2 if faults else 4 if late else 0


def confirm(to_send: int) -> None:
    """Ask a person for the number of campaigns; raises SettingsError without a terminal, or for another number."""
    if not is_watched():
        raise SettingsError(
            "there is no terminal to confirm on; give --expect N, --expect A..B or --yes; nothing was sent"
        )
    print_err(f"A stop cannot be undone. To stop {format_count(to_send, 'campaign')}, type that number:")
    if sys.stdin.readline().strip() != str(to_send):
        raise SettingsError(f"not confirmed: {to_send} was not typed; nothing was sent")
