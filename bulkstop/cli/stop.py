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
from bulkstop.cli.log import log_to_stderr, with_log
from bulkstop.cli.options import GroupedCommand, ParsedText, read_settings, with_settings
from bulkstop.cli.terminal import is_shown, is_watched, print_err, print_last, redirect_err
from bulkstop.cli.verify import format_hint, format_verdict, read_back, write_list
from bulkstop.errors import InputError, SettingsError
from bulkstop.files import is_device
from bulkstop.model import SIGNALS, WORTH_A_RETRY, CampaignType, Outcome
from bulkstop.report.stop.formats import to_json
from bulkstop.report.stop.ledger import Mode, exists_already
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.report.stop.progress import Bar, Lines, Progress
from bulkstop.report.stop.summary import format_summary
from bulkstop.runs import events
from bulkstop.runs.stop import history
from bulkstop.runs.stop.forecast import Forecast, forecast_accounts
from bulkstop.runs.stop.input_files import check_results
from bulkstop.runs.stop.journal import HIDDEN, RunJournal, choose_mode
from bulkstop.runs.stop.plan import plan_to_json
from bulkstop.runs.stop.retries import NEEDS_A_CHOICE, counted, listed, outcomes_to_retry, retry_option
from bulkstop.runs.stop.run import Summary, check_time, run
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.runs.wiring import check_size, list_secrets, make_tokens, plan_waves
from bulkstop.settings import GROUPS, OPTION_SPECS, Settings, is_hidden
from bulkstop.source.plan import Plan
from bulkstop.text import format_duration, format_table, printable

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


def parse_expected(text: str) -> tuple[int, int]:
    """Read `N` or `A..B`: how many campaigns are to be sent."""
    found = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text.strip(), re.ASCII)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if low > high:
        raise ValueError(f"{text!r} is no number and no range such as 20..30")
    return low, high


@click.command("stop", cls=GroupedCommand, epilog=EXAMPLE)
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
    type=ParsedText(parse_expected, "N|A..B"),
    metavar="N|A..B",
    help="Do not ask; send nothing unless the list has this many to stop.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON, on standard output.")
@click.option(
    "--verify", "reads_back", is_flag=True, help="Read back afterwards what still runs, as `bulkstop verify` does."
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
@with_log
@with_settings(*GROUPS)
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
    settings = read_settings(ctx)
    ctx.with_resource(log_to_stderr(log_level, as_json=log_json, secrets=list_secrets(settings)))
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
    mode = choose_mode(overwrite=overwrite, resume=resume or bool(again))
    with (
        RunJournal(target, mode=mode, retry=again) as record,
        record.plan(inputs, settings, fmt=fmt) as plan,
    ):
        forecasts = forecast_accounts(plan, settings, check_time(settings)) if as_json or not quiet else []
        doubts = find_warnings(plan, settings, history.load_last_run(profile, settings.host))
        if not quiet:
            lines = format_plan(plan, settings, target, forecasts, asks=not yes and expect is None, retry=again)
            print_err("\n".join(lines))
        if not as_json:
            print_warnings(doubts, log_json=log_json)
        check(plan, settings, expect, strict=strict)
        if as_json:
            return print_last(json.dumps(plan_to_json(plan, settings, target, forecasts, doubts)), 0)
        if dry_run:
            print_err("Dry run: nothing was sent.")
            return 0
        if plan.to_send and not yes and expect is None:
            check_start(settings, target, mode)
            confirm(plan)
        progress = events.LoggedProgress(plan.to_send) if log_json else None if quiet else choose_progress(plan.to_send)
        ended = run_plan(plan, settings, record, progress)
        if ended.calls and ended.exit_code in (0, 1):
            history.save_run(profile, settings.host, plan.listed)
        tell_lost(record)
        print_unwritten(ended, target)
        if not log_json and (ended.exit_code or not quiet):
            print_err("\n".join(format_run(ended, record)))
    is_there = ended.signum is None and record.rescue is None
    return verify_after(target, settings, ended, quiet=quiet) if reads_back and is_there else ended.exit_code


def verify_after(target: str, settings: Settings, ended: Summary, *, quiet: bool) -> int:
    """Read back what still runs, say so, and give the exit code of the whole: that of the run, or 1 for what runs."""
    found = read_back((target,), settings, singly=False, quiet=quiet)
    for note in (*found.notes, *([found.fault] if found.fault else [])):
        print_err(f"bulkstop: {printable(note)}")
    if found.exit_code or not quiet:
        print_err("\n".join(format_verdict(found)))
    if written := write_list(found, running_list(target), overwrite=True):
        print_err(format_hint(found, written))
    if found.signum is not None:
        return found.exit_code
    return ended.exit_code or min(found.exit_code, 1)


def running_list(target: str) -> str:
    """Name the list of what still runs after all."""
    return f"{target}.running.csv"


def print_warnings(doubts: list[str], *, log_json: bool) -> None:
    """Say what should be looked at twice, also to a machine."""
    for line in doubts:
        if log_json:
            events.log_warning(line)
        else:
            print_err(f"warning: {line}")


def run_plan(plan: Plan, settings: Settings, journal: RunJournal, progress: Progress | None) -> Summary:
    """Run a plan with signals and progress, and close its record."""
    run_id = str(uuid.uuid4())
    journal.open(plan, settings, command_line(sys.argv), run_id)
    events.log_start(plan, settings, run_id)
    try:
        with redirect_err(progress.say) if isinstance(progress, Bar) else nullcontext():
            summary = run(
                plan,
                settings,
                journal.write,
                run_id=run_id,
                progress=progress,
                signals=SIGNALS,
                say=print_err,
                watch=journal.watch,
            )
    except asyncio.CancelledError:  # told to end before the first call
        raise click.Abort from None
    ended = journal.end(summary)
    events.log_end(run_id, ended.reason, ended.exit_code, ended.stats, ended.calls, ended.elapsed_s)
    return ended


def command_line(words: Sequence[str]) -> list[str]:
    """Return the words of the command line for the record, without the values of options that may hold a secret."""
    secret = {knob.option(name) for name, knob in OPTION_SPECS.items() if is_hidden(name)}
    told = ["bulkstop"]
    for before, word in itertools.pairwise(words):
        flag, has_value, _ = word.partition("=")
        told.append(HIDDEN if before in secret else f"{flag}={HIDDEN}" if has_value and flag in secret else word)
    return told


def default_output(inputs: tuple[str, ...]) -> str:
    """Name the result file after the first input."""
    return "stdin.results.jsonl" if inputs[0] == "-" else f"{inputs[0]}.results.jsonl"


def format_plan(
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
        ("to stop", f"{plan.to_send:,}" + (f" ({_format_counts(plan.types)})" if plan.types else "")),
        ("not sent", _format_counts(plan.held) or "0"),
        *((("ended before", _format_counts(plan.settled)),) if plan.settled else ()),
        *((("sent again", f"what ended as {listed(retry)}"),) if retry else ()),
        ("quota", f"{' '.join(map(str, settings.quota)) or 'none'} per account{_format_pace(settings)}"),
        *(("account", _format_account(each)) for each in forecasts[:ACCOUNTS_SHOWN]),
    ]
    if len(forecasts) > ACCOUNTS_SHOWN:
        rows.append(("", f"and {len(forecasts) - ACCOUNTS_SHOWN:,} accounts more"))
    if forecasts:
        rows.append(
            ("takes", f"at least {format_duration(last_s)}: the last stop leaves at {_format_clock(last_s)} or later")
        )
    rows += _format_deadline(plan, settings, forecasts)
    rows += _format_guards(plan, settings)
    rows.append(("results", output))
    if asks and plan.to_send:
        rows.append(("confirm", f"type {plan.to_send} here; without a terminal --expect {plan.listed}"))
    return format_table("Plan", rows)


def _format_account(each: Forecast) -> str:
    room = "" if each.room is None else f"; {each.room} calls left right now"
    first = "first stop when a place is free" if each.room == 0 else f"first stop {_format_clock(0)}"
    return (
        f"{printable(each.account_id)}: {each.campaigns:,} to stop{room}; {first}, last "
        f"{_format_clock(each.last_s)} or later"
    )


def _format_pace(settings: Settings) -> str:
    words = ("evenly" if settings.pace == "even" else "", "adaptive" if settings.adaptive else "")
    return "".join(f", {word}" for word in words if word)


def _format_deadline(plan: Plan, settings: Settings, forecasts: list[Forecast]) -> list[tuple[str, str]]:
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


def _format_guards(plan: Plan, settings: Settings) -> list[tuple[str, str]]:
    """Tell what will hold the run back; the breaker always does, and goes without saying."""
    told = []
    if settings.max_campaigns is not None:
        told.append(f"at most {settings.max_campaigns:,} campaigns")
    if settings.max_failures is not None:
        told.append(f"ends at {settings.max_failures} failures")
    if settings.waves is not None:
        sizes = ", ".join(f"{size:,}" for size in plan_waves(settings, plan.to_send))
        told.append(f"waves up to {sizes}, {format_duration(settings.soak_s)} apart")
    if settings.protect:
        told.append(f"{plan.protection.rules:,} protected")
    rows = [("guards", "; ".join(told))] if told else []
    if settings.only_running or settings.disable_schedule:
        rows.append(("list first", _format_lists(plan, settings)))
    if settings.disable_schedule:
        rows.append(("schedules", "the recurring schedule of each stopped campaign is DISABLED as well"))
    return rows


def _format_lists(plan: Plan, settings: Settings) -> str:
    from bulkstop.runs.stop.precheck import list_scopes  # most runs have no need of it

    calls = len(list_scopes(plan, settings))
    spares = "; what it has as completed or stopped gets its line without a call" if settings.only_running else ""
    return f"at least {calls:,} call{'s' if calls != 1 else ''} of the quota{spares}"


def _format_clock(seconds: float) -> str:
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
    plan_waves(settings, plan.to_send)
    if expect is not None and not expect[0] <= plan.listed <= expect[1]:
        span = str(expect[0]) if expect[0] == expect[1] else f"{expect[0]} to {expect[1]}"
        raise SettingsError(f"--expect: the list has {plan.listed:,} campaigns to stop, not {span}; nothing was sent")


def check_start(settings: Settings, target: str, mode: Mode) -> None:
    """Find out what would keep the run from starting, before a person is asked: raises SettingsError or OutputError."""
    make_tokens(settings)
    if settings.ca is not None and not os.access(settings.ca, os.R_OK):
        raise SettingsError(f"--ca {settings.ca}: cannot be read")
    if target != "-" and mode is Mode.NEW and Path(target).is_file():
        raise exists_already(target)


def confirm(plan: Plan) -> None:
    """Let a person type the number of campaigns; raises SettingsError where nobody can, or the number is another."""
    if not is_watched():
        raise SettingsError("nobody is here to confirm; give --expect N or --expect A..B (or --yes); nothing was sent")
    print_err(f"A stop cannot be undone. To stop {plan.to_send} campaigns, type that number:")
    if sys.stdin.readline().strip() != str(plan.to_send):
        raise SettingsError(f"not confirmed: {plan.to_send} was not typed; nothing was sent")


def choose_progress(total: int) -> Progress:
    """Choose a bar for a terminal, lines for everything else."""
    return Bar(total) if is_shown() else Lines(total, print_err)


def format_run(ended: Summary, journal: RunJournal) -> list[str]:
    """Write how a run went."""
    lines = format_summary(
        ended.stats,
        rows=ended.rows,
        settled=ended.settled,
        calls=ended.calls,
        elapsed_s=ended.elapsed_s,
        ended=ended.reason,
        lost=ended.lost,
    )
    lines.append(f"Results: {where_results_are(journal)}")
    if journal.mark:
        lines.append(f"SHA-256: {journal.mark.sha256}")
    return lines + ways_on(ended, journal)


def where_results_are(journal: RunJournal) -> str:
    """Name the file that has the result lines."""
    rescue = journal.rescue
    if rescue is None or not rescue.gone:
        return journal.path
    return f"{rescue.place or 'lost'}{'' if rescue.is_whole else f'; what is left: {journal.path}'}"


def ways_on(ended: Summary, journal: RunJournal) -> list[str]:
    """Say with which command the run goes on, and with which one what failed for good is sent again."""
    lines = []
    failed = Counter(ended.settled) + journal.failed
    if journal.mark and (chosen := [each for each in NEEDS_A_CHOICE if failed[each]]):
        lines.append(f"To send what failed again ({counted(failed, chosen)}): {retry_option(chosen)}")
    if ended.exit_code not in (0, 1) and journal.mark:
        lines.append(f"To go on: {back_in_place(journal)}the same command with --resume")
    elif ended.lost:
        proof = shlex.quote(manifest_path(journal.path))
        lines.append(f"To go on: rm {proof}, then the same command with --resume: it sends again what has no line")
    return lines


def back_in_place(journal: RunJournal) -> str:
    """Say how the result file comes back to its place, where that is needed first."""
    if journal.rescue is None or journal.rescue.place is None:
        return ""
    return f"{shlex.join(['mv', journal.rescue.place, journal.path])}, then "


def tell_lost(journal: RunJournal) -> None:
    """List what was sent and has no line in the file any more, the last of it where that is much and saved."""
    lost = journal.rescue.results if journal.rescue else ()
    if lost:
        print_err(f"bulkstop: {len(lost):,} results, the last ones, are not in {journal.path} any more; they are:")
    for result in lost:
        print_err(to_json(result).decode().rstrip())


def print_unwritten(ended: Summary, output: str) -> None:
    """Say what was sent but could not be written; this is then the only place where it stands."""
    if ended.unwritten:
        print_err(f"bulkstop: {len(ended.unwritten)} results could not be written to {output}; they are:")
        for result in ended.unwritten:
            print_err(to_json(result).decode().rstrip())


def _format_counts(counts: Mapping[CampaignType, int] | Mapping[Outcome, int]) -> str:
    return ", ".join(f"{number:,} {name.value}" for name, number in counts.items())
