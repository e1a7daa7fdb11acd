"""Checks before a firing that everything it needs is available."""

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
"""Free space that a firing needs, in bytes; results of a large list need less."""


def run_preflight(
    ctx: click.Context,
    schedule: Schedule,
    notifier: Teller,
    say: Callable[[str], None],
    *,
    only_if_due: bool,
    quiet: bool,
) -> int:
    """Check all that the next firing needs; print and send each fault, and note it in the journal."""
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
    """Return the firing whose preflight is due; an unreadable journal counts as one without entries."""
    try:
        entries = Journal(schedule.results, schedule.name).read()
    except BulkstopError:  # the preflight runs all the same; appending its journal line reports the error
        entries = []
    return find_preflight(schedule.timetable, entries, now, schedule.preflight_s or 0)


def _find_faults(ctx: click.Context, schedule: Schedule, firing: Firing, *, quiet: bool) -> Iterator[str]:
    """Yield what would prevent a firing, at most one fault of each part."""
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
    """Yield why results could not be written, and whether another process holds the lock."""
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
                yield "another run of this schedule has the lock"
    except BulkstopError as error:
        yield str(error)
