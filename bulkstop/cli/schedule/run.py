"""`bulkstop schedule run`: runs one firing of a schedule."""

import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import click

from bulkstop.cli.again import COURIERS, name_program
from bulkstop.cli.log import log_to_stderr, say, with_log
from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.notify import Teller
from bulkstop.cli.schedule.reading import is_config_named, read_one, with_config
from bulkstop.cli.terminal import end_at_signals
from bulkstop.runs.courier import Courier
from bulkstop.runs.schedule.firing import Conductor, ReadBack, Stopped, Work
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule

EXAMPLE = """\b
Example:
  bulkstop schedule run eod
  bulkstop schedule run eod --preflight
  bulkstop schedule run eod --again

\b
Exit codes are those of `stop`, and:
  0    also if nothing is due, or the firing has ended or runs already
  1    also if a firing was missed, or another run held the lock too long; with --preflight: if it found a fault
"""


@click.command(
    "run",
    cls=GroupedCommand,
    main=("by_hand", "is_again", "preflight", "if_due", "quiet", "config"),
    epilog=EXAMPLE,
)
@click.argument("name")
@click.option("--now", "by_hand", is_flag=True, help="Run now, even if no firing is due.")
@click.option("--again", "is_again", is_flag=True, help="Continue the last firing: send what was not sent, or failed.")
@click.option(
    "--preflight", is_flag=True, help="Check token, list, lock, disk and zone data; report faults; stop nothing."
)
@click.option("--if-due", is_flag=True, help="With --preflight: do nothing unless the schedule's preflight is due.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@with_log
@with_config
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    *,
    by_hand: bool,
    is_again: bool,
    preflight: bool,
    if_due: bool,
    quiet: bool,
    log_level: str,
    log_json: bool,
    **_: object,
) -> int:
    """Run the firing of a schedule, if one is due; otherwise do nothing and exit with 0.

    You may call it as often as you like. It continues a firing that was interrupted, and never repeats one that has
    ended.
    """
    if by_hand + is_again + preflight > 1:
        raise click.UsageError("--now, --again and --preflight cannot be combined; give one", ctx)
    if if_due and not preflight:
        raise click.UsageError("--if-due needs --preflight", ctx)
    ctx.with_resource(end_at_signals("; nothing more was stopped"))
    speak = partial(_say, log_level, as_json=log_json)
    schedule = read_one(ctx, name)
    notifier, couriers = Teller(schedule), list[Courier]()
    ctx.meta[COURIERS] = couriers
    ctx.call_on_close(lambda: _say_lost(notifier.close(couriers), speak))
    if preflight:
        from bulkstop.cli.schedule.preflight import run_preflight  # most runs need no preflight

        return run_preflight(ctx, schedule, notifier, speak, only_if_due=if_due, quiet=quiet)
    conductor = _make_conductor(ctx, schedule, notifier, speak, quiet=quiet)
    return conductor.fire_by_hand() if by_hand else conductor.fire_again() if is_again else conductor.fire()


def _say(level: str, text: str, *, as_json: bool) -> None:
    """Print a text for people, or log it as JSON."""
    with log_to_stderr(level, as_json=as_json):
        say(text)


def _say_lost(faults: Sequence[str], speak: Callable[[str], None]) -> None:
    for fault in faults:
        speak(f"warning: {fault}")


def _make_conductor(
    ctx: click.Context, schedule: Schedule, notifier: Teller, speak: Callable[[str], None], *, quiet: bool
) -> Conductor:
    from bulkstop.cli.schedule import stopping  # imported here because only a due firing needs it
    from bulkstop.errors import BulkstopError

    is_named = is_config_named(ctx)
    config = ["--config", schedule.path] if is_named else []
    way_on = f"{name_program()} {shlex.join(['schedule', 'run', schedule.name, *config])}"
    talk = [*(["--quiet"] if quiet else []), *(["--log-json"] if ctx.params["log_json"] else [])]

    def stop(work: Work) -> Stopped:
        stem = work.results.removesuffix(".results.jsonl")
        try:
            inputs = stopping.list_inputs(schedule, stem)
        except BulkstopError as error:
            speak(f"bulkstop: {error}")
            return Stopped(2, str(error))
        words = stopping.write_stop(schedule, work, inputs, is_named=is_named)
        words += [*talk, "--log-level", ctx.params["log_level"]]
        behind = Notice(
            NoticeKind.BEHIND,
            schedule.name,
            work.occasion.key,
            datetime.now(UTC),
            f"will not be done by {schedule.finish_by}",
            results=work.results,
        )
        return stopping.call_stop(ctx, words, way_on=way_on, behind=lambda: notifier.notify(behind))

    def verify(results: str) -> ReadBack:
        words = [*stopping.write_verify(schedule, results, is_named=is_named), *(["--quiet"] if quiet else [])]
        code, read = stopping.call_verify(ctx, words, way_on=way_on)
        sys.stdout.flush()
        return stopping.describe_read_back(code, read)

    note = (lambda text: None) if quiet else speak
    return Conductor(schedule, stop, verify, notifier.notify, speak, note)
