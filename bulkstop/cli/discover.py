"""`bulkstop discover`: writes the campaigns that run now as a list for `stop`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from bulkstop.cli.again import rebuild_command
from bulkstop.cli.files import check_written, name_free_results, use_store
from bulkstop.cli.options import (
    GroupedCommand,
    ParsedText,
    name_profile,
    read_listed_targets,
    read_settings,
    with_settings,
)
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.cli.words.naming import WordChoice
from bulkstop.engine.caller import ignore_rest
from bulkstop.errors import OutputError, SettingsError
from bulkstop.files.whole import AtomicFile, is_device
from bulkstop.kore.calls import STATUSES
from bulkstop.model import SIGNALS, CampaignType
from bulkstop.report.lists.calling_hours import HoursCost
from bulkstop.report.lists.discovery import (
    Discovery,
    Expected,
    describe_count,
    discovery_to_json,
    format_verdict,
    to_csv,
    to_jsonl,
)
from bulkstop.report.verdict import format_not_complete
from bulkstop.runs.lists.calling_hours import ignore_cost
from bulkstop.runs.lists.discover import (
    ANY_STATUS,
    RUNNING,
    choose_types,
    discover,
    make_filter,
    parse_priorities,
    parse_statuses,
    parse_types,
)
from bulkstop.runs.options import parse_expected
from bulkstop.settings.spec import CONNECTION, CREDENTIALS, PATHS, QUOTA, RETRY_AFTER, SCOPE, TARGETS
from bulkstop.text import format_duration
from bulkstop.text.likeness import suggest_near

WRITERS = {"csv": to_csv, "jsonl": to_jsonl}
ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
STATUS_HELP = (
    f"Only campaigns in these states: {', '.join(STATUSES)}; {RUNNING}: Active, Preparing or undocumented; "
    f"{ANY_STATUS}: any state."
)
SHORT_REST_S = 2.0
"""Waits up to this length, in seconds, are not reported."""
MAIN_OPTIONS = ("profile", "output", "overwrite", "wanted", "kinds", "priority", "name", "targets", "expect", "as_json")
EXAMPLE = """\b
Examples:
  # List what runs now or is scheduled
  bulkstop discover --status running,Scheduled --profile prod -o running.csv
  # Stop each campaign at the end of its own calling hours
  bulkstop discover --calling-hours --profile prod | bulkstop stop - --profile prod --expect 1..50
  # Prove that nothing runs
  bulkstop discover --expect 0 --profile prod -o left.csv

\b
A campaign runs if it is Active, Preparing or in an undocumented state. To find undocumented states, discover
reads the whole list of the service, 50 campaigns a call, and counts the other campaigns by state.
--status Active,Preparing reads only these, in a call or two. In an incident, use `bulkstop stop --running`.
The list is written once all of it has been read. Ids are written unchanged: if you do not
trust the service, write .jsonl, because a spreadsheet may run a cell of a CSV file as a formula.

\b
Exit codes:
  0    the list is written, even if no campaign was found (unless --expect says otherwise)
  1    the list is written but incomplete (the output names what is missing, such as calling hours that cannot be read),
       or its length is not as --expect says
  2    usage or settings are wrong; nothing was written
  3    the list could not be read completely, or could not be written
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; nothing was written
"""


@click.command("discover", cls=GroupedCommand, epilog=EXAMPLE, main=MAIN_OPTIONS)
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    show_default="standard output",
    help="List to write: .csv or .jsonl; - is standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing list.")
@click.option(
    "--format",
    "fmt",
    type=WordChoice(list(WRITERS)),
    help="Format of the list, if its name does not end in one.  [default: csv]",
)
@click.option(
    "--status",
    "wanted",
    type=ParsedText(parse_statuses, "STATUS,..."),
    default=RUNNING,
    show_default=True,
    metavar="STATUS,...",
    help=STATUS_HELP,
)
@click.option(
    "--type",
    "kinds",
    type=ParsedText(parse_types, "voice,sms"),
    envvar="BULKSTOP_TYPE",
    metavar="voice,sms",
    show_default="the profile's, else both",
    help="Only campaigns of these types.",
)
@click.option(
    "--priority",
    type=ParsedText(parse_priorities, "1..5,..."),
    metavar="1..5,...",
    help="Only campaigns of these priorities.",
)
@click.option(
    "--name", metavar="GLOB", help="Only campaigns with a matching name, such as 'Promo*'; letter case is ignored."
)
@click.option(
    "--calling-hours",
    is_flag=True,
    help="Also write when to stop each campaign, by its calling hours; one call for each new or changed one.",
)
@click.option("--json", "as_json", is_flag=True, help="Write what was found as one JSON object to standard output.")
@click.option(
    "--expect",
    type=ParsedText(parse_expected, "N|A..B"),
    metavar="N|A..B",
    help="Exit with 1 unless this many campaigns are found; --expect 0 proves that nothing runs.",
)
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@with_settings(CONNECTION, CREDENTIALS, PATHS, SCOPE, TARGETS, QUOTA, RETRY_AFTER)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: str,
    fmt: str | None,
    wanted: tuple[str, ...],
    kinds: tuple[CampaignType, ...] | None,
    priority: tuple[int, ...] | None,
    name: str | None,
    expect: tuple[int, int] | None,
    *,
    overwrite: bool,
    calling_hours: bool,
    as_json: bool,
    quiet: bool,
    **_: object,
) -> int:
    """Write the campaigns that run now as a list for `stop`.

    discover lists the campaigns of one account and stream, or of all --targets at once, each with its own credentials.
    A campaign that starts or ends meanwhile may be missing; every other matching campaign is in the list once.
    """
    settings = read_settings(ctx)
    form, quiet = choose_format(output, fmt), quiet or as_json
    if as_json and (output == "-" or is_device(output)):
        raise SettingsError("--json: standard output already takes the list; give -o FILE for the list")
    check_written([("-o", output)], settings, ctx.params["config"])
    file = open_output(output, overwrite=overwrite)
    if file is not None:
        ctx.call_on_close(file.close)
    note_odd_statuses(wanted)
    types, targets = kinds or choose_types(settings), read_listed_targets(ctx, settings, kinds)
    discovery = discover(
        use_store(settings),
        make_filter(wanted, priority or ()),
        types=types,
        targets=targets,
        name=name,
        signals=SIGNALS,
        rests=ignore_rest if quiet else print_rest,
        hours=None if not calling_hours else ignore_cost if quiet else print_cost,
    )
    if not discovery.is_usable:
        print_err(f"{format_verdict(discovery, output)}\nTo try again: {rebuild_command()}")
        return _print_json(discovery, output, discovery.exit_code) if as_json else discovery.exit_code
    for fault in discovery.failed:
        print_err(f"bulkstop: not read: {fault}")
    for note in discovery.notes:
        print_err(f"bulkstop: note: {note}")
    stops = None if discovery.hours is None else discovery.hours.cells
    if not write_list(output, WRITERS[form](discovery.rows, stops), file):
        print_err(format_not_complete(f"{describe_count(discovery)}, and no list of it was written"))
        return 3
    lists = len(types) if targets is None else len(targets.scopes)
    proof = None if expect is None else Expected(*expect, lists)
    code = discovery.exit_code or int(proof is not None and not proof.holds(discovery))
    if not quiet or code:
        print_err(format_verdict(discovery, output, proof))
    if not quiet and discovery.sendable and output != "-" and not is_device(output):
        print_err(f"To stop them: {command_to_stop(output, form, fmt, discovery.sendable)}")
    return _print_json(discovery, output, code) if as_json else code


def note_odd_statuses(wanted: Iterable[str]) -> None:
    """Print a note for each --status that is undocumented, because it may be a typing mistake."""
    for status in wanted:
        if status not in (*STATUSES, RUNNING, ANY_STATUS):
            known = f"is not one of {', '.join(STATUSES)}{suggest_near(status, STATUSES) or ';'}"
            print_err(f"bulkstop: note: --status {status}: {known} asked for anyway")


def _print_json(discovery: Discovery, output: str, code: int) -> int:
    return print_last(json.dumps(discovery_to_json(discovery) | {"output": output, "exit_code": code}), code)


def command_to_stop(output: str, form: str, fmt: str | None, count: int) -> str:
    """Return the command that stops the campaigns of the list just written."""
    form_of_it = [] if fmt is None else ["--format", form]
    add = [*form_of_it, *name_profile(), *name_free_results(output), "--expect", str(count)]
    return rebuild_command(command="stop", inputs=[output], drop={"targets"}, add=add)


def choose_format(output: str, fmt: str | None, remedy: str = ", or give --format") -> str:
    """Return the format that a list's name tells; raises SettingsError for a name that `stop` could not read either."""
    form = ENDINGS.get(Path(output.lower()).suffix)
    if output != "-" and not output.startswith("/dev/") and form is None and fmt is None:
        raise SettingsError(f"-o {output}: the format is unknown: name it {', '.join(ENDINGS)}{remedy}")
    if form is not None and fmt not in (None, form):
        raise SettingsError(f"--format {fmt}: -o {output} has the ending of {form}; change one of the two")
    return form or fmt or "csv"


def open_output(output: str, *, overwrite: bool, is_derived: bool = False) -> AtomicFile | None:
    """Open the list, None for standard output; raises SettingsError or OutputError before any call is made."""
    if output != "-":
        return AtomicFile(output, overwrite=overwrite, is_derived=is_derived)
    if sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was asked for")
    return None


def write_list(output: str, data: bytes, file: AtomicFile | None = None, *, overwrite: bool = False) -> bool:
    """Write the finished list; if that fails, print why and return False.

    Without an open `file`, the list goes to a new one, whose name was derived from another file's.
    """
    try:
        if output == "-":
            _write_out(data)
        else:
            (file or AtomicFile(output, overwrite=overwrite, is_derived=True)).save(data)
    except OutputError as error:
        print_err(f"bulkstop: {error}")
        return False
    return True


def _write_out(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from None


def print_cost(cost: HoursCost) -> None:
    """Print how many calls the calling hours need, before they are made."""
    print_err(cost.describe())


def print_rest(seconds: float, why: str) -> None:
    """Print that nothing happens for some seconds, and why."""
    if seconds > SHORT_REST_S:
        print_err(f"waiting {format_duration(seconds)}: {why}")
