"""`bulkstop stop`: plan, confirm, send, sum up."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import click

from bulkstop.cli.knobs import Reads, settings_of, with_settings
from bulkstop.cli.terminal import is_shown, is_watched, say
from bulkstop.engine.shutdown import SIGNALS
from bulkstop.errors import InputError, OutputError, SettingsError
from bulkstop.model import CampaignType, Outcome
from bulkstop.report.ledger import Ledger, to_json
from bulkstop.report.progress import Bar, Lines, Progress
from bulkstop.report.summary import duration, printable, summary, table
from bulkstop.runs.access import tokens_of
from bulkstop.runs.limits import Forecast, forecast
from bulkstop.runs.stop import Summary, check_time, make_plan, run
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

ACCOUNTS_SHOWN = 5
EXAMPLE = """\b
Example:
  bulkstop stop campaigns.csv --profile prod --expect 20..30

\b
Exit codes:
  0    every campaign is stopped, or was held back on purpose
  1    finished, but something failed
  2    usage, settings or input are wrong; nothing was sent
  3    the run could not go on: credentials, result file, quota store
  4    ended at --finish-by before all were sent
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal
"""


def expected(text: str) -> tuple[int, int]:
    """Read `N` or `A..B`: how many campaigns are to be sent."""
    found = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text.strip(), re.ASCII)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if low > high:
        raise ValueError(f"{text!r} is no number and no range such as 20..30")
    return low, high


@click.command("stop", epilog=EXAMPLE)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT [INPUT ...]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Result file; .csv writes CSV, - is standard output.  [default: <first input>.results.jsonl]",
)
@click.option("--overwrite", is_flag=True, help="Replace a result file that exists.")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["csv", "jsonl", "txt"]),
    help="Form of standard input, and of files whose name does not tell.",
)
@click.option("--strict", is_flag=True, help="Send nothing if any row cannot be used.")
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--expect",
    type=Reads(expected, "N|A..B"),
    metavar="N|A..B",
    help="Do not ask; send nothing unless this many are to be sent.",
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
@with_settings
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    output: str | None,
    fmt: str | None,
    expect: tuple[int, int] | None,
    *,
    overwrite: bool,
    strict: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
    **_: object,
) -> int:
    """Stop every campaign listed in INPUT; one result line each.

    INPUT is a .csv, .jsonl, .ndjson or .txt file, each also as .gz, or - for standard input.
    A stop cannot be undone.
    """
    settings = settings_of(ctx)
    target = output or default_output(inputs)
    for path in inputs:
        if path != "-" and is_same_file(path, target):
            raise SettingsError(f"-o {target}: is an input; the results would take the place of the list")
    if target == "-" and sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was sent")
    with make_plan(inputs, settings, fmt=fmt) as plan:
        if not quiet:
            say("\n".join(plan_lines(plan, settings, target, forecast(plan, settings, check_time(settings)))))
        check(plan, expect, strict=strict)
        if dry_run:
            say("Dry run: nothing was sent.")
            return 0
        if not yes and expect is None:
            check_start(settings, target, overwrite=overwrite)
            confirm(plan)
        with Ledger(target, overwrite=overwrite) as ledger:
            progress = None if quiet else progress_for(plan.to_send)
            try:
                ended = run(plan, settings, ledger.write, progress=progress, signals=SIGNALS, say=say)
            except asyncio.CancelledError:  # told to end before the first call
                raise click.Abort from None
    code = exit_code(ended)
    tell_unwritten(ended, target)
    if code or not quiet:
        say("\n".join(summary_lines(ended, target)))
    return code


def default_output(inputs: tuple[str, ...]) -> str:
    """Name the result file after the first input."""
    return "stdin.results.jsonl" if inputs[0] == "-" else f"{inputs[0]}.results.jsonl"


def plan_lines(plan: Plan, settings: Settings, output: str, forecasts: list[Forecast]) -> list[str]:
    """Write what a run will do, for a person to check before it is done."""
    last_s = max((each.last_s for each in forecasts), default=0.0)
    rows = [
        ("host", settings.host),
        ("to stop", f"{plan.to_send:,}" + (f" ({_counted(plan.types)})" if plan.types else "")),
        ("not sent", _counted(plan.held) or "0"),
        ("quota", f"{' '.join(map(str, settings.quota)) or 'none'} per account{_manner(settings)}"),
        *(("account", _account(each)) for each in forecasts[:ACCOUNTS_SHOWN]),
    ]
    if len(forecasts) > ACCOUNTS_SHOWN:
        rows.append(("", f"and {len(forecasts) - ACCOUNTS_SHOWN:,} accounts more"))
    rows.append(("takes", f"at least {duration(last_s)}: the last stop leaves at {_clock(last_s)} or later"))
    rows += _deadline(plan, settings, forecasts)
    return table("Plan", [*rows, ("results", output)])


def _account(each: Forecast) -> str:
    room = "" if each.room is None else f"; {each.room} calls left right now"
    first = "first stop when a place is free" if each.room == 0 else f"first stop {_clock(0)}"
    return (
        f"{printable(each.account_id)}: {each.campaigns:,} to stop{room}; {first}, last {_clock(each.last_s)} or later"
    )


def _manner(settings: Settings) -> str:
    words = ("evenly" if settings.pace == "even" else "", "adaptive" if settings.adaptive else "")
    return "".join(f", {word}" for word in words if word)


def _deadline(plan: Plan, settings: Settings, forecasts: list[Forecast]) -> list[tuple[str, str]]:
    if settings.finish_by is None:
        return []
    late = plan.to_send - sum(each.fit for each in forecasts)
    zone = f" {settings.tz}" if settings.tz else ""
    said = (
        f"CANNOT BE MET: at least {late:,} of {plan.to_send:,} will not have been sent by then"
        if late
        else "can be met"
    )
    return [("finish by", f"{settings.finish_by}{zone}: {said}")]


def _clock(seconds: float) -> str:
    now = datetime.now().astimezone()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def check(plan: Plan, expect: tuple[int, int] | None, *, strict: bool) -> None:
    """Refuse a plan that is not what the caller expects; raises InputError or SettingsError."""
    if strict and plan.held_invalid:
        first = next(r for r in plan.held_results() if r.outcome == "invalid")
        where = f"first {first.source} line {first.line}: {first.error}"
        raise InputError(f"--strict: {plan.held_invalid:,} rows cannot be used; {where}")
    if not plan.to_send:
        unusable = next((r for r in plan.held_results() if r.outcome == "invalid"), None)
        why = f" (first {unusable.source} line {unusable.line}: {unusable.error})" if unusable else ""
        raise InputError(f"the list holds no campaign to stop{why}; nothing was sent")
    if expect is not None and not expect[0] <= plan.to_send <= expect[1]:
        span = str(expect[0]) if expect[0] == expect[1] else f"{expect[0]} to {expect[1]}"
        raise SettingsError(f"--expect: {plan.to_send:,} campaigns would be sent, not {span}; nothing was sent")


def check_start(settings: Settings, target: str, *, overwrite: bool) -> None:
    """Find out what would keep the run from starting, before a person is asked: raises SettingsError or OutputError."""
    tokens_of(settings)
    if settings.ca is not None and not os.access(settings.ca, os.R_OK):
        raise SettingsError(f"--ca {settings.ca}: cannot be read")
    if target != "-" and not overwrite and Path(target).is_file():
        raise OutputError(f"{target}: exists already; give --overwrite, or -o with another file")


def is_same_file(one: str, other: str) -> bool:
    """Tell whether two names are of one file that exists."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - either may be no file at all
    except OSError:
        return False


def confirm(plan: Plan) -> None:
    """Let a person type the number of campaigns; raises SettingsError where nobody can, or the number is another."""
    if not is_watched():
        raise SettingsError("nobody is here to confirm; give --expect N or --expect A..B (or --yes); nothing was sent")
    say(f"A stop cannot be undone. To stop {plan.to_send} campaigns, type that number:")
    if sys.stdin.readline().strip() != str(plan.to_send):
        raise SettingsError(f"not confirmed: {plan.to_send} was not typed; nothing was sent")


def progress_for(total: int) -> Progress:
    """Choose a bar for a terminal, lines for everything else."""
    return Bar(total) if is_shown() else Lines(total, say)


def summary_lines(ended: Summary, output: str) -> list[str]:
    """Write how a run went."""
    return summary(
        ended.stats, rows=ended.rows, calls=ended.calls, elapsed_s=ended.elapsed_s, ended=end_of(ended), output=output
    )


def tell_unwritten(ended: Summary, output: str) -> None:
    """Say what was sent but could not be written; this is then the only place where it stands."""
    if ended.unwritten:
        say(f"bulkstop: {len(ended.unwritten)} results could not be written to {output}; they are:")
        for result in ended.unwritten:
            say(to_json(result).decode().rstrip())


def end_of(ended: Summary) -> str:
    """Say what ended a run."""
    if ended.fault is not None:
        return str(ended.fault)
    if ended.out_of_time and ended.stats.left:
        return "at the time to finish by, before all were sent"
    return "all sent" if ended.signum is None else f"by {signal.Signals(ended.signum).name}, before all were sent"


def exit_code(ended: Summary) -> int:
    """Turn a run's end into the contract's exit code."""
    if ended.fault is not None:
        return 3
    if ended.signum is not None:
        return 128 + ended.signum
    if ended.out_of_time and ended.stats.left:
        return 4
    return 0 if ended.is_done else 1


def _counted(counts: Mapping[CampaignType, int] | Mapping[Outcome, int]) -> str:
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())
