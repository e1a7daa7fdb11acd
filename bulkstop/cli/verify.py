"""`bulkstop verify`: what still runs of what was to be stopped."""

import asyncio
import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from bulkstop.cli.discover import ENDINGS, WRITERS, print_rest
from bulkstop.cli.files import check_written
from bulkstop.cli.options import GroupedCommand, read_settings, with_settings
from bulkstop.cli.terminal import drop_output, print_err, print_out
from bulkstop.errors import OutputError, SettingsError
from bulkstop.files import AtomicFile, beside
from bulkstop.model import SIGNALS, Outcome, State
from bulkstop.report.lists.verification import RUNS, Finding, Unread, Verification, to_json
from bulkstop.runs.lists.verify import read_targets, verify
from bulkstop.runs.stop.input_files import is_same
from bulkstop.settings import Settings
from bulkstop.settings.spec import CONCURRENCY, CONNECTION, CREDENTIALS, QUOTA, RETRY_AFTER, SCOPE, TYPE
from bulkstop.text import format_duration, format_table, printable

WORDS = {
    State.RUNNING: "still running",
    State.SCHEDULED: "scheduled",
    State.RUNS_AGAIN: "will run again",
    State.NOT_RUNNING: "not running",
    State.NOT_FOUND: "not found",
    State.UNKNOWN: "not told",
}
"""What each state is called for a person."""
HEADER = ["state", "status", "campaign", "type", "account", "result", "name"]
"""What stands in the columns; the result is what the stop had told."""
CELL_CHARS = 40
"""The widest column that is filled up with blanks."""
WHY_CHARS = 100
"""How much is said at each campaign of why nothing was told of it."""
EXAMPLE = """\b
Example:
  bulkstop verify campaigns.csv.results.jsonl --profile prod

\b
What still runs, will run again, or could not be told is written as a list for `stop`:
  bulkstop stop campaigns.csv.results.jsonl.running.csv --profile prod

\b
Exit codes:
  0    nothing still runs, or is scheduled; protected campaigns do not count
  1    something does, could not be told, found or looked at, or has no line in the results
  2    usage, settings or results are wrong; nothing was asked for
  3    nothing could be told at all (credentials, network), or the verdict could not be written
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; no list was written
"""


@click.command("verify", cls=GroupedCommand, epilog=EXAMPLE)
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS [RESULTS ...]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="List of what is to be stopped again, .csv or .jsonl; - is standard output.  "
    "[default: <first results>.running.csv]",
)
@click.option("--overwrite", is_flag=True, help="Replace a list that exists.")
@click.option(
    "--singly",
    is_flag=True,
    help="Ask for each campaign by itself: fewer calls for a few of many campaigns, but tells nothing of schedules.",
)
@click.option("--json", "as_json", is_flag=True, help="Tell a machine: one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Say only what went wrong, or may have, beside the verdict.")
@with_settings(CONNECTION, CREDENTIALS, SCOPE, TYPE, QUOTA, RETRY_AFTER, CONCURRENCY)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    output: str | None,
    *,
    overwrite: bool,
    singly: bool,
    as_json: bool,
    quiet: bool,
    **_: object,
) -> int:
    """Read back whether the campaigns of result files still run, are scheduled, or will run again.

    Nothing is stopped. All campaigns are looked at, also those that were never sent; how they are is that of the moment
    in which the service was asked.
    """
    settings = read_settings(ctx)
    target = output or beside(paths[0], ".running.csv")
    check_written([("-o", target)], settings, ctx.params["config"])
    file = open_output(target, paths, overwrite=overwrite, as_json=as_json)
    if file is not None:
        ctx.call_on_close(file.close)
    quiet = quiet or as_json
    found = read_back(paths, settings, singly=singly, quiet=quiet)
    for note in found.notes:
        print_err(f"bulkstop: note: {printable(note)}")
    if found.fault:
        print_err(f"bulkstop: {printable(found.fault)}")
    written = write_list(found, target, file, overwrite=overwrite)
    try:
        if as_json:
            print_out(json.dumps(to_json(found) | {"host": settings.host, "results": paths, "list": written}))
        else:
            (print_err if target == "-" else print_out)("\n".join(format_verdict(found)))
    except BrokenPipeError:
        if not as_json:  # a person has seen enough
            raise
        drop_output()
        print_err("bulkstop: standard output: the verdict cannot be written (Broken pipe)")
        return 3
    except OSError as error:
        print_err(f"bulkstop: standard output: the verdict cannot be written ({error.strerror})")
        return 3
    if not quiet and written:
        print_err(format_hint(found, written))
    return found.exit_code


def open_output(target: str, paths: Iterable[str], *, overwrite: bool, as_json: bool) -> AtomicFile | None:
    """Open the list, None for standard output; raises SettingsError or OutputError before any call is made."""
    if target == "-":
        if as_json:
            raise SettingsError("-o -: standard output is for --json; give -o FILE")
        if sys.stdout is None:
            raise SettingsError("-o -: standard output is closed; nothing was asked for")
        return None
    if _format_of(target) is None:
        raise SettingsError(f"-o {target}: nothing tells its form: name it {', '.join(ENDINGS)}")
    if overwrite and any(is_same(path, target) for path in paths):
        raise SettingsError(f"-o {target}: is a result file; the list would take its place")
    return AtomicFile(target, overwrite=overwrite)


def read_back(paths: tuple[str, ...], settings: Settings, *, singly: bool, quiet: bool) -> Verification:
    """Read the results and ask the service."""
    targets = read_targets(paths, settings)
    try:
        return verify(
            targets,
            settings,
            singly=singly,
            signals=SIGNALS,
            say=(lambda text: None) if quiet else (lambda text: print_err(printable(text))),
            rests=(lambda seconds: None) if quiet else print_rest,
        )
    except asyncio.CancelledError:  # told to end when all was over
        raise click.Abort from None


def write_list(found: Verification, target: str, file: AtomicFile | None = None, *, overwrite: bool) -> str | None:
    """Write what is worth another stop and give the name of the list; None when there is none.

    With `overwrite` an older list is never left in its place: with nothing to stop it becomes an empty one.
    """
    is_stale = overwrite and target != "-" and Path(target).is_file()
    if found.exit_code not in (0, 1) or not (found.to_stop or is_stale):
        return None
    if not found.to_stop:
        print_err(f"{printable(target)}: is an empty list now, as nothing is to be stopped again")
    data = WRITERS[_format_of(target) or "csv"]([(each.scope, each.item) for each in found.to_stop])
    try:
        if target == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            (file or AtomicFile(target, overwrite=overwrite)).save(data)
    except BrokenPipeError:
        raise
    except (OutputError, OSError) as error:
        print_err(f"bulkstop: {error if isinstance(error, OutputError) else f'-o {target}: cannot be written'}")
        return None
    return target if found.to_stop and target != "-" else None


def format_hint(found: Verification, written: str) -> str:
    """Say how to go on."""
    again = sum(each.state is State.RUNS_AGAIN for each in found.to_stop)
    schedules = f"; a schedule starts {again:,} of them again, --disable-schedule ends that" if again else ""
    return f"To stop them: bulkstop stop {shlex.quote(printable(written))} --expect {len(found.to_stop)}{schedules}"


def format_verdict(found: Verification) -> list[str]:
    """Write how the campaigns are, and each that may call somebody or of which nothing can be said."""
    shown = [each for each in found.findings if each.outcome is not Outcome.PROTECTED]
    if found.signum is not None:  # what was not reached would be a long list of nothing
        shown = [each for each in shown if each.state in RUNS]
    rows = [(word, f"{found.states[state]:,}") for state, word in WORDS.items() if found.states.get(state)]
    rows.append(("campaigns", f"{found.campaigns:,}"))
    rows += _format_others(found)
    rows.append(("asked", f"{found.calls:,} call{'s' * (found.calls != 1)} in {format_duration(found.elapsed_s)}"))
    if found.signum is not None:
        rows.append(("ended", "before all was told"))
    lines = format_table("Verification", rows)
    return [*lines, "", *_align([HEADER, *map(_cells, shown)])] if shown else lines


def _format_others(found: Verification) -> list[tuple[str, str]]:
    rows = []
    if protected := sum(found.protected.values()):
        run = sum(found.protected.get(state, 0) for state in RUNS)
        rows.append(("protected", f"{protected:,}, as they are; {run:,} were seen running"))
    if found.invalid:
        rows.append(("invalid rows", f"{found.invalid:,}, which name no campaign"))
        rows += [("", f"{row.source} line {row.line}: {row.reason}") for row in map(_shown, found.unread)]
        if found.invalid > len(found.unread):
            rows.append(("", f"and {found.invalid - len(found.unread):,} more"))
    if found.unlisted:
        rows.append(("without line", f"{found.unlisted:,} rows: their run was killed, or goes on; --resume it first"))
    return rows


def _shown(row: Unread) -> Unread:
    return row._replace(source=printable(row.source), reason=printable(row.reason))


def _cells(of: Finding) -> list[str]:
    last = of.item.name or ""
    if of.state is State.UNKNOWN:
        last = f"({(of.error or '')[:WHY_CHARS]})"
    ids = (of.item.campaign_id, of.scope.campaign_type, of.scope.account_id)
    return [printable(cell) for cell in (WORDS[of.state], of.item.status or "-", *ids, of.outcome, last)]


def _align(rows: list[list[str]]) -> list[str]:
    """Set cells in columns; a cell that is far wider than others shifts only its own line."""
    widths = [min(CELL_CHARS, max(map(len, column))) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _format_of(target: str) -> str | None:
    told: Mapping[str, str] = ENDINGS
    return "csv" if target == "-" or target.startswith("/dev/") else told.get(Path(target.lower()).suffix)
