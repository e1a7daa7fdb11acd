"""What is checked before the first call, and the question that a person answers."""

import sys
from pathlib import Path

from bulkstop.cli.files import check_results, check_written
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import is_watched, print_err
from bulkstop.errors import InputError, OutputError, SettingsError
from bulkstop.files.whole import AtomicFile, beside, is_device
from bulkstop.model import Outcome
from bulkstop.report.stop.ledger import Mode, exists_already
from bulkstop.runs.stop.plan import check_usable
from bulkstop.runs.wiring import check_accounts, check_size, check_tls_files, find_proxy, make_tokens, plan_waves
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan


def check_files(options: StopOptions, settings: Settings, config: str) -> None:
    """Refuse results that cannot be written where they are to be; raises SettingsError or OutputError."""
    target = options.target
    running = [running_list(target)] if options.reads_back else []
    check_results(target, options.inputs, settings, more=running)
    check_written([("-o", target)], settings, config)
    if options.output is None and is_device(target):
        raise OutputError(f"{target}: is no regular file; give -o FILE")
    if options.reads_back and (target == "-" or is_device(target)):
        raise SettingsError("--verify: reads the result file afterwards; give -o FILE")
    for path in running:
        AtomicFile(path, overwrite=True, is_derived=True).close()
    if target == "-" and sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was sent")


def running_list(target: str) -> str:
    """Name the list of what still runs after all."""
    return beside(target, ".running.csv")


def check_plan(plan: Plan, settings: Settings, options: StopOptions) -> None:
    """Refuse a plan that is not what the caller expects; raises InputError or SettingsError."""
    why = f" (first {plan.first_invalid})" if plan.held_invalid else ""
    if options.strict:
        check_usable(plan)
    if not plan.to_send and not plan.settled and not plan.held[Outcome.PROTECTED]:
        raise InputError(f"the list holds no campaign to stop{why}; nothing was sent")
    check_size(settings, plan.listed)
    check_accounts(settings, plan.accounts)
    plan_waves(settings, plan.to_send)
    check_expected(plan, options.expect)


def check_expected(plan: Plan, expect: tuple[int, int] | None) -> None:
    """Refuse a list of another length than is expected: raises SettingsError."""
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        span = str(expect[0]) if expect[0] == expect[1] else f"{expect[0]} to {expect[1]}"
        raise SettingsError(f"--expect: the list has {plan.listed:,} campaigns to stop, not {span}; nothing was sent")


def check_start(settings: Settings, options: StopOptions) -> None:
    """Find out what would keep the run from starting, before a person is asked: raises SettingsError or OutputError."""
    make_tokens(settings)
    find_proxy(settings)
    check_tls_files(settings)
    if options.target != "-" and options.mode is Mode.NEW and Path(options.target).is_file():
        raise exists_already(options.target)


def confirm(to_send: int) -> None:
    """Let a person type the number of campaigns; raises SettingsError where nobody can, or the number is another."""
    if not is_watched():
        raise SettingsError("nobody is here to confirm; give --expect N or --expect A..B (or --yes); nothing was sent")
    print_err(f"A stop cannot be undone. To stop {to_send} campaigns, type that number:")
    if sys.stdin.readline().strip() != str(to_send):
        raise SettingsError(f"not confirmed: {to_send} was not typed; nothing was sent")
