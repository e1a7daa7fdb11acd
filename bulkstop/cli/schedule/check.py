"""`bulkstop schedule check`: checks every schedule of a file, and reports each fault with its line."""

from datetime import UTC, datetime

import click

from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.reading import choose, is_config_named, read_all, with_config
from bulkstop.cli.schedule.stopping import find_fault
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.runs.schedule.firing import Work
from bulkstop.runs.schedule.occasion import Occasion
from bulkstop.runs.schedule.settings import Schedule, locate
from bulkstop.schedule.firings import Firing, find_next
from bulkstop.schedule.zones import explain_age, find_version

EXAMPLE = """\b
Example:
  bulkstop schedule check

\b
Exit codes:
  0  every schedule is valid
  2  at least one is not; standard error has a line for each error: file, line, key and what to do
  3  standard output cannot be written
"""


@click.command("check", cls=GroupedCommand, epilog=EXAMPLE)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@with_config
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], **_: object) -> int:
    """Check all schedules, with the profiles and the options of `stop` that they use; call no service."""
    schedules, now = read_all(ctx), datetime.now(UTC)
    chosen = choose(ctx, names) if names else schedules.found.values()
    faults = [] if names else list(schedules.faults)
    lines = []
    for schedule in chosen:
        if fault := _find_fault(ctx, schedule, now):
            faults.append(fault)
        else:
            lines += describe(schedule, now)
    for fault in faults:
        print_err(f"bulkstop: {' '.join(fault.splitlines())}")
    version = find_version()
    if age := explain_age(version, now.date()):
        print_err(f"warning: {age}")
    if not lines:
        return 2
    return print_last("\n".join(lines), 2 if faults else 0, is_for_a_person=True)


def _find_fault(ctx: click.Context, schedule: Schedule, now: datetime) -> str | None:
    """Return why a schedule could not fire; None if it could."""
    if (firing := find_next(schedule.timetable, now)) is None:
        return f"{locate(schedule, 'days')}: it never fires again; change its days"
    return find_fault(ctx, schedule, make_work(schedule, firing), is_named=is_config_named(ctx))


def make_work(schedule: Schedule, firing: Firing) -> Work:
    """Return the inputs and times of a firing."""
    occasion = Occasion(firing)
    return Work(occasion, occasion.results(schedule.results), schedule.find_deadline(firing))


def describe(schedule: Schedule, now: datetime) -> list[str]:
    """Return lines on what a schedule does and when it fires next, with a warning if nothing limits what it stops."""
    firing = find_next(schedule.timetable, now)
    what = (
        f"the list {schedule.input}" if schedule.input else "what runs" if schedule.running else "the list of a command"
    )
    when = (
        f"{firing.local:%a %Y-%m-%d %H:%M %z} {firing.zone}{f' ({firing.note})' if firing.note else ''}"
        if firing
        else ""
    )
    by = f", to be done by {schedule.finish_by}" if schedule.finish_by else ""
    lines = [f"{schedule.name}: stops {what}{by}; next {when}"]
    if not schedule.is_guarded:
        lines.append('  warning: a list of any length is stopped; give expect = "20..30" or max_campaigns = 500')
    return lines
