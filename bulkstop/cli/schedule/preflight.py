"""What a firing will need, tried while there is time."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from bulkstop.cli.schedule.check import make_work
from bulkstop.cli.schedule.notify import Teller
from bulkstop.cli.schedule.reading import is_config_named
from bulkstop.cli.schedule.stopping import call_check, find_fault, list_inputs, write_check
from bulkstop.errors import BulkstopError
from bulkstop.files.state_folder import make_private_folder
from bulkstop.files.whole import check_place
from bulkstop.report.lists.check import format_verdict
from bulkstop.runs.schedule.due import find_preflight
from bulkstop.runs.schedule.journal import OTHER_FOLDER, Event, Journal, make_entry
from bulkstop.runs.schedule.lock import Lock
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.occasion import Occasion
from bulkstop.runs.schedule.settings import Schedule, locate
from bulkstop.schedule.firings import Firing, find_next
from bulkstop.schedule.zones import explain_age, find_version

FREE_BYTES = 100 * 1024 * 1024
"""Results of a large list need less than this."""


def run_preflight(
    ctx: click.Context,
    schedule: Schedule,
    notifier: Teller,
    say: Callable[[str], None],
    *,
    only_if_due: bool,
    quiet: bool,
) -> int:
    """Try all that the next firing needs; a fault is said, told and noted."""
    now = datetime.now(UTC)
    firing = find_due(schedule, now) if only_if_due else find_next(schedule.timetable, now)
    if firing is None:
        if not quiet:
            say(f"{schedule.name}: no preflight is due")
        return 0
    faults = list(_find_faults(ctx, schedule, firing, quiet=quiet))
    if not quiet and (age := explain_age(find_version(), now.date())):
        say(f"warning: {age}")
    for fault in faults:
        say(f"bulkstop: {' '.join(fault.splitlines())}")
    text = "; ".join(faults)
    occasion = Occasion(firing)
    if faults or not quiet:
        say(f"{occasion.title}: preflight {'failed' if faults else 'passed'}; nothing was stopped")
    if faults:
        notifier.notify(Notice(NoticeKind.PREFLIGHT_FAILED, schedule.name, occasion.key, now, text, 1))
    try:
        entry = make_entry(Event.PREFLIGHT, occasion, now, exit_code=1 if faults else 0, note=text)
        Journal(schedule.results, schedule.name).append(entry)
    except BulkstopError as error:
        say(f"bulkstop: {error}")
        return 1
    return 1 if faults else 0


def find_due(schedule: Schedule, now: datetime) -> Firing | None:
    """Return the firing whose preflight is due and was not made, as far as the journal can be read."""
    try:
        entries = Journal(schedule.results, schedule.name).read()
    except BulkstopError:  # the preflight is made all the same, and its line in the journal says what is wrong
        entries = []
    return find_preflight(schedule.timetable, entries, now, schedule.preflight_s or 0)


def _find_faults(ctx: click.Context, schedule: Schedule, firing: Firing, *, quiet: bool) -> Iterator[str]:
    """Yield what would be in the way of a firing, of each part the first."""
    is_named = is_config_named(ctx)
    if fault := find_fault(ctx, schedule, make_work(schedule, firing), is_named=is_named):
        yield fault
        return
    yield from _find_disk_faults(schedule)
    listed: list[str] = []
    stem = str(Path(schedule.results, f".{schedule.name}.preflight"))
    try:
        listed = list_inputs(schedule, stem)
        words = [*write_check(schedule, listed, is_named=is_named), *(["--quiet"] if quiet else [])]
        code, found = call_check(ctx, words)
        if code:
            yield "the options of check are refused" if found is None else format_verdict(found)
    except BulkstopError as error:
        yield str(error)
    finally:
        if schedule.command and listed:
            Path(listed[0]).unlink(missing_ok=True)


def _find_disk_faults(schedule: Schedule) -> Iterator[str]:
    """Yield what keeps results from being written, and a lock that somebody has."""
    folder = Path(schedule.results)
    try:
        make_private_folder(folder.absolute())
        check_place(folder / f".{schedule.name}.preflight")
        status = os.statvfs(folder)
    except OSError as error:
        yield f"{locate(schedule, 'results')}: {folder}: cannot be written ({error.strerror}); {OTHER_FOLDER}"
        return
    if (free := status.f_bavail * status.f_frsize) < FREE_BYTES:
        yield f"{locate(schedule, 'results')}: {folder}: only {free // 1024**2} MB are free; make room"
    try:
        with Lock(schedule.results, schedule.name) as lock:
            if not lock.take():
                yield "a run still goes on, and has the lock"
    except BulkstopError as error:
        yield str(error)
