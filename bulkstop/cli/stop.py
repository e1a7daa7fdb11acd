"""`bulkstop stop`: plan, confirm, send, sum up."""

import asyncio
import itertools
import json
import os
import re
import shlex
import sys
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path

import click

from bulkstop.cli.files import check_written, option_of
from bulkstop.cli.log import logs, with_log
from bulkstop.cli.options import Reads, settings_of, with_settings
from bulkstop.cli.terminal import is_shown, is_watched, said_through, say, tell_last
from bulkstop.cli.verify import hint, read_back, verdict_lines, write_list
from bulkstop.errors import InputError, SettingsError
from bulkstop.files import is_device
from bulkstop.model import SIGNALS, WORTH_A_RETRY, CampaignType, Outcome
from bulkstop.report.stop.formats import to_json
from bulkstop.report.stop.ledger import Mode, exists_already
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.report.stop.progress import Bar, Lines, Progress
from bulkstop.report.stop.summary import summary
from bulkstop.runs import events
from bulkstop.runs.stop import history
from bulkstop.runs.stop.forecast import Forecast, forecast
from bulkstop.runs.stop.input_files import check_results
from bulkstop.runs.stop.journal import HIDDEN, Record, mode_of
from bulkstop.runs.stop.plan import plan_json
from bulkstop.runs.stop.retries import NEEDS_A_CHOICE, counted, listed, outcomes_to_retry, retry_option
from bulkstop.runs.stop.run import Summary, check_time, run
from bulkstop.runs.stop.warnings import warnings
from bulkstop.runs.wiring import check_size, secrets_of, tokens_of, waves_of
from bulkstop.settings import KNOBS, Settings, is_hidden
from bulkstop.source.plan import Plan
from bulkstop.text import duration, printable, table

ACCOUNTS_SHOWN = 5
EXAMPLE = """\b
Example:
  bulkstop stop campaigns.csv --profile prod --expect 20..30

\b
Exit codes:
  0    every campaign is stopped, or was held back on purpose
  1    finished, but something failed
  2    usage, settings or input are wrong, or --resume finds a finished run with nothing left; nothing was sent
  3    a guard ended the run (failures, waves, outage), or it could not go on (credentials, result file, quota store)
  4    ended at --finish-by before all were sent; --resume goes on
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
@click.option("--resume", is_flag=True, help="Go on with the result file: send what has not ended in it.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help=f"Go on with it, and send again what failed and is worth a retry: {listed(WORTH_A_RETRY)}.",
)
@click.option(
    "--retry",
    metavar="OUTCOME,...",
    multiple=True,
    help="Go on with it, and send again what ended so, such as not_found,rejected; repeatable.",
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
    help="Do not ask; send nothing unless the list has this many to stop.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON, on standard output.")
@click.option(
    "--verify", "reads_back", is_flag=True, help="Read back afterwards what still runs, as `bulkstop verify` does."
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
@with_log
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
    resume: bool,
    retry_failed: bool,
    retry: tuple[str, ...],
    overwrite: bool,
    strict: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    reads_back: bool,
    quiet: bool,
    log_level: str,
    log_json: bool,
    profile: str | None,
    **_: object,
) -> int:
    """Stop every campaign listed in INPUT; one result line each.

    INPUT is a .csv, .jsonl, .ndjson or .txt file, each also as .gz, or - for standard input.
    A stop cannot be undone.
    """
    settings = settings_of(ctx)
    ctx.with_resource(logs(log_level, as_json=log_json, secrets=secrets_of(settings)))
    if as_json and not dry_run:
        raise SettingsError("--json: is a form of the plan; give --dry-run with it")
    quiet = quiet or log_json or as_json
    target = output or default_output(inputs)
    running = [running_list(target)] if reads_back else []
    check_results("-o", target, inputs, settings, option_of, more=running)
    check_written([("-o", target)], settings, ctx.params["config"])
    if reads_back and (target == "-" or is_device(target)):
        raise SettingsError("--verify: reads the result file afterwards; give -o FILE")
    if target == "-" and sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was sent")
    again = outcomes_to_retry(retry, retry_failed=retry_failed)
    mode = mode_of(overwrite=overwrite, resume=resume or bool(again))
    with (
        Record(target, mode=mode, retry=again) as record,
        record.plan(inputs, settings, fmt=fmt) as plan,
    ):
        forecasts = forecast(plan, settings, check_time(settings)) if as_json or not quiet else []
        doubts = warnings(plan, settings, history.last_size(profile, settings.host))
        if not quiet:
            lines = plan_lines(plan, settings, target, forecasts, asks=not yes and expect is None, retry=again)
            say("\n".join(lines))
        if not as_json:
            tell_doubts(doubts, log_json=log_json)
        check(plan, settings, expect, strict=strict)
        if as_json:
            return tell_last(json.dumps(plan_json(plan, settings, target, forecasts, doubts)), 0)
        if dry_run:
            say("Dry run: nothing was sent.")
            return 0
        if plan.to_send and not yes and expect is None:
            check_start(settings, target, mode)
            confirm(plan)
        progress = events.LoggedProgress(plan.to_send) if log_json else None if quiet else progress_for(plan.to_send)
        ended = carried_out(plan, settings, record, progress)
        if ended.calls and ended.exit_code in (0, 1):
            history.remember(profile, settings.host, plan.listed)
        tell_lost(record)
        tell_unwritten(ended, target)
        if not log_json and (ended.exit_code or not quiet):
            say("\n".join(summary_lines(ended, record)))
    is_there = ended.signum is None and record.rescue is None
    return verified(target, settings, ended, quiet=quiet) if reads_back and is_there else ended.exit_code


def verified(target: str, settings: Settings, ended: Summary, *, quiet: bool) -> int:
    """Read back what still runs, say so, and give the exit code of the whole: that of the run, or 1 for what runs."""
    found = read_back((target,), settings, singly=False, quiet=quiet)
    for note in (*found.notes, *([found.fault] if found.fault else [])):
        say(f"bulkstop: {printable(note)}")
    if found.exit_code or not quiet:
        say("\n".join(verdict_lines(found)))
    if written := write_list(found, running_list(target), overwrite=True):
        say(hint(found, written))
    if found.signum is not None:
        return found.exit_code
    return ended.exit_code or min(found.exit_code, 1)


def running_list(target: str) -> str:
    """Name the list of what still runs after all."""
    return f"{target}.running.csv"


def tell_doubts(doubts: list[str], *, log_json: bool) -> None:
    """Say what should be looked at twice, also to a machine."""
    for line in doubts:
        if log_json:
            events.doubt(line)
        else:
            say(f"warning: {line}")


def carried_out(plan: Plan, settings: Settings, record: Record, progress: Progress | None) -> Summary:
    """Run a plan with signals and progress, and close its record."""
    run_id = str(uuid.uuid4())
    record.open(plan, settings, command_line(sys.argv), run_id)
    events.began(plan, settings, run_id)
    try:
        with said_through(progress.say) if isinstance(progress, Bar) else nullcontext():
            summary = run(
                plan,
                settings,
                record.write,
                run_id=run_id,
                progress=progress,
                signals=SIGNALS,
                say=say,
                watch=record.watch,
            )
    except asyncio.CancelledError:  # told to end before the first call
        raise click.Abort from None
    ended = record.end(summary)
    events.ended(run_id, ended.reason, ended.exit_code, ended.stats, ended.calls, ended.elapsed_s)
    return ended


def command_line(words: Sequence[str]) -> list[str]:
    """Give the words of the command line for the record, without the values of options that may hold a secret."""
    secret = {knob.option(name) for name, knob in KNOBS.items() if is_hidden(name)}
    told = ["bulkstop"]
    for before, word in itertools.pairwise(words):
        flag, has_value, _ = word.partition("=")
        told.append(HIDDEN if before in secret else f"{flag}={HIDDEN}" if has_value and flag in secret else word)
    return told


def default_output(inputs: tuple[str, ...]) -> str:
    """Name the result file after the first input."""
    return "stdin.results.jsonl" if inputs[0] == "-" else f"{inputs[0]}.results.jsonl"


def plan_lines(
    plan: Plan,
    settings: Settings,
    output: str,
    forecasts: list[Forecast],
    *,
    asks: bool = False,
    retry: Set[Outcome] = frozenset(),
) -> list[str]:
    """Write what a run will do, for a person to check before it is done."""
    last_s = max((each.last_s for each in forecasts), default=0.0)
    rows = [
        ("host", settings.host),
        ("to stop", f"{plan.to_send:,}" + (f" ({_counted(plan.types)})" if plan.types else "")),
        ("not sent", _counted(plan.held) or "0"),
        *((("ended before", _counted(plan.settled)),) if plan.settled else ()),
        *((("sent again", f"what ended as {listed(retry)}"),) if retry else ()),
        ("quota", f"{' '.join(map(str, settings.quota)) or 'none'} per account{_manner(settings)}"),
        *(("account", _account(each)) for each in forecasts[:ACCOUNTS_SHOWN]),
    ]
    if len(forecasts) > ACCOUNTS_SHOWN:
        rows.append(("", f"and {len(forecasts) - ACCOUNTS_SHOWN:,} accounts more"))
    if forecasts:
        rows.append(("takes", f"at least {duration(last_s)}: the last stop leaves at {_clock(last_s)} or later"))
    rows += _deadline(plan, settings, forecasts)
    rows += _guards(plan, settings)
    rows.append(("results", output))
    if asks and plan.to_send:
        rows.append(("confirm", f"type {plan.to_send} here; without a terminal --expect {plan.listed}"))
    return table("Plan", rows)


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


def _guards(plan: Plan, settings: Settings) -> list[tuple[str, str]]:
    """Tell what will hold the run back; the breaker always does, and goes without saying."""
    told = []
    if settings.max_campaigns is not None:
        told.append(f"at most {settings.max_campaigns:,} campaigns")
    if settings.max_failures is not None:
        told.append(f"ends at {settings.max_failures} failures")
    if settings.waves is not None:
        sizes = ", ".join(f"{size:,}" for size in waves_of(settings, plan.to_send))
        told.append(f"waves up to {sizes}, {duration(settings.soak_s)} apart")
    if settings.protect:
        told.append(f"{plan.protection.rules:,} protected")
    rows = [("guards", "; ".join(told))] if told else []
    if settings.only_running or settings.disable_schedule:
        rows.append(("list first", _lists(plan, settings)))
    if settings.disable_schedule:
        rows.append(("schedules", "the recurring schedule of each stopped campaign is DISABLED as well"))
    return rows


def _lists(plan: Plan, settings: Settings) -> str:
    from bulkstop.runs.stop.precheck import groups_of  # most runs have no need of it

    calls = len(groups_of(plan, settings))
    spares = "; what it has as completed or stopped gets its line without a call" if settings.only_running else ""
    return f"at least {calls:,} call{'s' if calls != 1 else ''} of the quota{spares}"


def _clock(seconds: float) -> str:
    now = datetime.now().astimezone()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def check(plan: Plan, settings: Settings, expect: tuple[int, int] | None, *, strict: bool) -> None:
    """Refuse a plan that is not what the caller expects; raises InputError or SettingsError."""
    why = f" (first {plan.first_invalid})" if plan.held_invalid else ""
    if strict and (invalid := plan.held_invalid + plan.settled[Outcome.INVALID]):
        raise InputError(f"--strict: {invalid:,} rows cannot be used{why}; nothing was sent")
    if not plan.to_send and not plan.settled and not plan.held[Outcome.PROTECTED]:
        raise InputError(f"the list holds no campaign to stop{why}; nothing was sent")
    check_size(settings, plan.listed)
    waves_of(settings, plan.to_send)
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        span = str(expect[0]) if expect[0] == expect[1] else f"{expect[0]} to {expect[1]}"
        raise SettingsError(f"--expect: the list has {plan.listed:,} campaigns to stop, not {span}; nothing was sent")


def check_start(settings: Settings, target: str, mode: Mode) -> None:
    """Find out what would keep the run from starting, before a person is asked: raises SettingsError or OutputError."""
    tokens_of(settings)
    if settings.ca is not None and not os.access(settings.ca, os.R_OK):
        raise SettingsError(f"--ca {settings.ca}: cannot be read")
    if target != "-" and mode is Mode.NEW and Path(target).is_file():
        raise exists_already(target)


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


def summary_lines(ended: Summary, record: Record) -> list[str]:
    """Write how a run went."""
    lines = summary(
        ended.stats,
        rows=ended.rows,
        settled=ended.settled,
        calls=ended.calls,
        elapsed_s=ended.elapsed_s,
        ended=ended.reason,
        lost=ended.lost,
    )
    lines.append(f"Results: {where_results_are(record)}")
    if record.mark:
        lines.append(f"SHA-256: {record.mark.sha256}")
    return lines + ways_on(ended, record)


def where_results_are(record: Record) -> str:
    """Name the file that has the result lines."""
    rescue = record.rescue
    if rescue is None or not rescue.gone:
        return record.path
    return f"{rescue.place or 'lost'}{'' if rescue.is_whole else f'; what is left: {record.path}'}"


def ways_on(ended: Summary, record: Record) -> list[str]:
    """Say with which command the run goes on, and with which one what failed for good is sent again."""
    lines = []
    failed = Counter(ended.settled) + record.failed
    if record.mark and (chosen := [each for each in NEEDS_A_CHOICE if failed[each]]):
        lines.append(f"To send what failed again ({counted(failed, chosen)}): {retry_option(chosen)}")
    if ended.exit_code not in (0, 1) and record.mark:
        lines.append(f"To go on: {back_in_place(record)}the same command with --resume")
    elif ended.lost:
        proof = shlex.quote(manifest_path(record.path))
        lines.append(f"To go on: rm {proof}, then the same command with --resume: it sends again what has no line")
    return lines


def back_in_place(record: Record) -> str:
    """Say how the result file comes back to its place, where that is needed first."""
    if record.rescue is None or record.rescue.place is None:
        return ""
    return f"{shlex.join(['mv', record.rescue.place, record.path])}, then "


def tell_lost(record: Record) -> None:
    """List what was sent and has no line in the file any more, the last of it where that is much and saved."""
    lost = record.rescue.results if record.rescue else ()
    if lost:
        say(f"bulkstop: {len(lost):,} results, the last ones, are not in {record.path} any more; they are:")
    for result in lost:
        say(to_json(result).decode().rstrip())


def tell_unwritten(ended: Summary, output: str) -> None:
    """Say what was sent but could not be written; this is then the only place where it stands."""
    if ended.unwritten:
        say(f"bulkstop: {len(ended.unwritten)} results could not be written to {output}; they are:")
        for result in ended.unwritten:
            say(to_json(result).decode().rstrip())


def _counted(counts: Mapping[CampaignType, int] | Mapping[Outcome, int]) -> str:
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())
