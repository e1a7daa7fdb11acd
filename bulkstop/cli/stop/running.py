"""`--running`: lists what runs, keeps the list beside the results, and stops it."""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

from bulkstop.cli.files import check_written, use_store
from bulkstop.cli.options import read_listed_targets, read_profile_keys
from bulkstop.cli.stop.command import MadeList, stop_list
from bulkstop.cli.stop.notify import note_end
from bulkstop.cli.stop.options import TYPES, StopOptions, name_by_time
from bulkstop.cli.terminal import print_err
from bulkstop.errors import BulkstopError, SettingsError
from bulkstop.files.whole import AtomicFile, beside, find_free_name, is_device
from bulkstop.model import SIGNALS, CampaignType, Order
from bulkstop.report.lists.discovery import Discovery, describe_rest, to_csv
from bulkstop.report.verdict import format_not_stopped_at_all
from bulkstop.runs.clients import ListedTargets
from bulkstop.runs.lists.discover import RUNNING, choose_types, make_filter
from bulkstop.runs.lists.listing import ListFilter
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.wiring import Accounts, check_time
from bulkstop.settings import Settings
from bulkstop.source.protect import read_protection
from bulkstop.text import printable

LIST = ".list"
"""Part of the list's name between the name of the result file and the ending."""
NUMBER = re.compile(rf"{re.escape(LIST)}(-\d+)\.csv\Z")
"""The number in the name of a list whose usual name was taken."""


class NoListError(BulkstopError):
    """There is no list to stop; the message is the verdict, `exit_code` that of the run."""

    def __init__(self, why: str, exit_code: int) -> None:
        super().__init__(format_not_stopped_at_all(why))
        self.exit_code = exit_code


def stop_running(ctx: click.Context, options: StopOptions, settings: Settings) -> int:
    """List the campaigns that run, and stop them as those of any list."""
    try:
        return stop_list(ctx, options, settle_settings(ctx, settings), open_list)
    except NoListError as why:
        print_err(str(why))
        note_end(str(why))
        return why.exit_code


def settle_settings(ctx: click.Context, settings: Settings) -> Settings:
    """Return the settings of a run that makes its own list.

    Campaigns that harm most come first, unless an order is given. `only_running` is off, because the list is new and
    need not be read again.
    """
    is_typed = ctx.get_parameter_source("order") is not ParameterSource.DEFAULT
    order = settings.order if is_typed or "order" in read_profile_keys(ctx) else Order.IMPACT
    ctx.obj = settled = replace(settings, order=order, only_running=False)
    return settled


@contextmanager
def open_list(options: StopOptions, settings: Settings, journal: RunJournal) -> Iterator[MadeList]:
    """List what runs into a file beside the results; the file is removed if no result file is opened.

    A run that continues a result file also continues its list. Raises NoListError when nothing was found.
    """
    if journal.past is not None:
        kept = find_kept_list(options.target, journal)
        yield MadeList((kept,), doubts=[f"continuing with {kept}; campaigns that started since then are not in it"])
        return
    journal.check_open()
    check_time(settings)
    read_protection(settings.protect)
    path = name_list(options.target)
    check_written([("--running:", path)], settings, click.get_current_context().params["config"])
    file = AtomicFile(path, is_derived=True)
    discovery, accounts = list_running(options, settings, targets_of(settings))
    _check_found(discovery)
    file.save(to_csv(discovery.rows, None if discovery.hours is None else discovery.hours.cells))
    unlisted = explain_fault(discovery) if discovery.fault or discovery.failed else None
    try:
        yield MadeList((path,), (path, discovery), accounts, list_doubts(discovery), discovery.unread, unlisted)
    finally:
        if not journal.was_opened:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a name that this program chose


def list_running(
    options: StopOptions, settings: Settings, targets: ListedTargets | None
) -> tuple[Discovery, Accounts | None]:
    """List the running campaigns; also return the calls that their accounts have made."""
    from bulkstop.cli.discover import note_odd_statuses, print_cost, print_rest
    from bulkstop.engine.caller import ignore_rest
    from bulkstop.runs.lists.calling_hours import ignore_cost
    from bulkstop.runs.lists.running import find_running

    note_odd_statuses(options.wanted or (RUNNING,))
    return find_running(
        use_store(settings),
        filter_of(options),
        types=types_of(settings),
        targets=targets,
        name=options.name,
        signals=SIGNALS,
        rests=ignore_rest if options.quiet else print_rest,
        hours=None if not options.calling_hours else ignore_cost if options.quiet else print_cost,
    )


def filter_of(options: StopOptions) -> ListFilter:
    """Return the filter for the campaigns to list."""
    return make_filter(options.wanted or (RUNNING,), options.priority or ())


def types_of(settings: Settings) -> Sequence[CampaignType]:
    """Return the campaign types to list."""
    several: tuple[CampaignType, ...] = click.get_current_context().meta.get(TYPES, ())
    return several or choose_types(settings)


def targets_of(settings: Settings) -> ListedTargets | None:
    """Return the lists of the targets, for the types in --type; None without targets."""
    ctx = click.get_current_context()
    return read_listed_targets(ctx, settings, ctx.meta.get(TYPES) or None)


def _check_found(discovery: Discovery) -> None:
    """Raise NoListError after a signal, for a list that could not be read, or without any campaign."""
    check_listed(discovery)
    if discovery.rows:
        return
    unread = "".join(f"; not read: {each}" for each in discovery.unread)
    raise NoListError(f"no matching campaign runs; {describe_rest(discovery)}{unread}; nothing was sent", 2)


def check_listed(discovery: Discovery) -> None:
    """Raise NoListError after a signal, or if nothing was found and a list could not be read."""
    if discovery.signum is not None:
        name = signal.Signals(discovery.signum).name
        raise NoListError(f"ended by {name} while the list was read; nothing was sent", 128 + discovery.signum)
    if discovery.rows:
        return
    if discovery.failed:
        why = "; ".join(discovery.failed)
        raise NoListError(f"nothing was found, and not all lists could be read: {why}; nothing was sent", 1)
    if discovery.fault is not None:
        why = printable(str(discovery.fault))
        raise NoListError(f"the list could not be read completely; {why}; nothing was found or sent", 3)


def list_doubts(discovery: Discovery) -> list[str]:
    """Return warnings about the list; the first says whether campaigns may be missing."""
    fault = [explain_fault(discovery)] if discovery.fault or discovery.failed else []
    return [*fault, *(f"not read: {each}" for each in discovery.unread), *discovery.notes]


def explain_fault(discovery: Discovery) -> str:
    """Return a message that more campaigns may run than were found, with the reasons."""
    faults = [*([] if discovery.fault is None else [printable(str(discovery.fault))]), *discovery.failed]
    return f"more may run than was found: {'; '.join(faults)}"


def name_list(target: str) -> str:
    """Return a free name for the list, after the result file; without a result file, after the time."""
    stem = name_by_time("running") if target == "-" or is_device(target) else target
    return find_free_name(f"{stem}{LIST}", ".csv")


def find_kept_list(target: str, journal: RunJournal) -> str:
    """Return the list of the run that is continued; raises SettingsError if that run had another input."""
    kept = next(iter(journal.recorded_inputs), beside(target, f"{LIST}.csv"))
    number = match[1] if (match := NUMBER.search(kept)) else ""
    if Path(kept).name != Path(beside(target, f"{LIST}{number}.csv")).name:
        raise SettingsError(f"--running: {target} has the results of {kept}; name {kept} instead of --running")
    if not Path(kept).is_file():
        raise SettingsError(f"--running: {kept}, the list of {target}, does not exist; give -o with another file")
    return kept
