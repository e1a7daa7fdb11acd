"""`bulkstop discover`: the campaigns that run now, as a list for `stop`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from bulkstop.cli.again import rebuild_command
from bulkstop.cli.files import check_written, name_free_results, use_store
from bulkstop.cli.naming import WordChoice
from bulkstop.cli.options import (
    GroupedCommand,
    ParsedText,
    name_profile,
    read_listed_targets,
    read_settings,
    with_settings,
)
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.engine.caller import ignore_rest
from bulkstop.errors import OutputError, SettingsError
from bulkstop.files.whole import AtomicFile, is_device
from bulkstop.kore.calls import STATUSES
from bulkstop.model import SIGNALS, CampaignType
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
    f"Campaigns in one of these states: {', '.join(STATUSES)}; {RUNNING} is Active, Preparing and any that nobody "
    f"documented, {ANY_STATUS} is any."
)
SHORT_REST_S = 2.0
"""A wait that nobody needs to be told of."""
EXAMPLE = """\b
Example:
  bulkstop discover --status running,Scheduled --profile prod -o running.csv
  bulkstop discover --expect 0 --profile prod -o left.csv

\b
What runs is what is Active, Preparing or in a state that nobody documented, so the whole list of the
service is read, 50 campaigns a call; the others are counted by state. --status Active,Preparing asks
for these alone, in a call or two. In an incident `bulkstop stop --running` lists for itself.
The list is written when all of it has been read. Its ids begin as those of the service do, so a CSV
list from a service that you do not trust has no place in a spreadsheet; use .jsonl then.

\b
Exit codes:
  0    the list is written, also when no campaign was found (unless --expect wants some)
  1    the list is written, and lacks what some targets have, or may lack some: which, is said; or has more or fewer
       than --expect
  2    usage or settings are wrong; nothing was written
  3    the list could not be read to its end, or not written
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; nothing was written
"""


@click.command("discover", cls=GroupedCommand, epilog=EXAMPLE)
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    show_default="standard output",
    help="List to write, .csv or .jsonl; - is standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace a list that exists.")
@click.option("--format", "fmt", type=WordChoice(list(WRITERS)), help="Form, where no ending tells it.  [default: csv]")
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
    show_default="that of the profile, else both",
    help="Campaigns of these types.",
)
@click.option(
    "--priority", type=ParsedText(parse_priorities, "1..5,..."), metavar="1..5,...", help="... of these priorities."
)
@click.option("--name", metavar="GLOB", help="... with such a name, in any letter case: 'Promo*'.")
@click.option(
    "--json", "as_json", is_flag=True, help="Tell a machine what was found: one JSON object on standard output."
)
@click.option(
    "--expect",
    type=ParsedText(parse_expected, "N|A..B"),
    metavar="N|A..B",
    help="Exit code 1 unless so many campaigns fit; 0 proves that nothing runs.",
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong, or may have.")
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
    as_json: bool,
    quiet: bool,
    **_: object,
) -> int:
    """Write the campaigns that are running now, as a list for `stop`.

    It asks the service for all that one account has in one stream, or that the targets of a file or of the profile
    have (--targets), each with its own credentials and all accounts at once. A campaign that starts or ends meanwhile
    may or may not be in the list; all others that fit are, each once.
    """
    settings = read_settings(ctx)
    form, quiet = choose_format(output, fmt), quiet or as_json
    if as_json and (output == "-" or is_device(output)):
        raise SettingsError("--json: standard output has the list; give -o FILE for that")
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
    )
    if not discovery.is_usable:
        print_err(f"{format_verdict(discovery, output)}\nTo try again: {rebuild_command()}")
        return _print_json(discovery, output, discovery.exit_code) if as_json else discovery.exit_code
    for fault in discovery.failed:
        print_err(f"bulkstop: not read: {fault}")
    for note in discovery.notes:
        print_err(f"bulkstop: note: {note}")
    if not write_list(output, WRITERS[form](discovery.rows), file):
        print_err(format_not_complete(f"{describe_count(discovery)}, and no list of it was written"))
        return 3
    lists = len(types) if targets is None else len(targets.scopes)
    proof = None if expect is None else Expected(*expect, lists)
    code = discovery.exit_code or int(proof is not None and not proof.holds(discovery))
    if not quiet or code:
        print_err(format_verdict(discovery, output, proof))
    if not quiet and discovery.rows and output != "-" and not is_device(output):
        print_err(f"To stop them: {command_to_stop(output, form, fmt, len(discovery.rows))}")
    return _print_json(discovery, output, code) if as_json else code


def note_odd_statuses(wanted: Iterable[str]) -> None:
    """Say which of the states that are asked for nobody documented: they may be slips."""
    for status in wanted:
        if status not in (*STATUSES, RUNNING, ANY_STATUS):
            known = f"is none of {', '.join(STATUSES)}{suggest_near(status, STATUSES) or ';'}"
            print_err(f"bulkstop: note: --status {status}: {known} asked for all the same")


def _print_json(discovery: Discovery, output: str, code: int) -> int:
    return print_last(json.dumps(discovery_to_json(discovery) | {"output": output, "exit_code": code}), code)


def command_to_stop(output: str, form: str, fmt: str | None, count: int) -> str:
    """Write the command that stops what is in the list that was written."""
    form_of_it = [] if fmt is None else ["--format", form]
    add = [*form_of_it, *name_profile(), *name_free_results(output), "--expect", str(count)]
    return rebuild_command(command="stop", inputs=[output], drop={"targets"}, add=add)


def choose_format(output: str, fmt: str | None, remedy: str = ", or give --format") -> str:
    """Tell the form of a list by its name; raises SettingsError for a name that `stop` could not read either."""
    form = ENDINGS.get(Path(output.lower()).suffix)
    if output != "-" and not output.startswith("/dev/") and form is None and fmt is None:
        raise SettingsError(f"-o {output}: nothing tells its form: name it {', '.join(ENDINGS)}{remedy}")
    if form is not None and fmt not in (None, form):
        raise SettingsError(f"--format {fmt}: -o {output} is named as {form}; change one of the two")
    return form or fmt or "csv"


def open_output(output: str, *, overwrite: bool, is_derived: bool = False) -> AtomicFile | None:
    """Open the list, None for standard output; raises SettingsError or OutputError before any call is made."""
    if output != "-":
        return AtomicFile(output, overwrite=overwrite, is_derived=is_derived)
    if sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; nothing was asked for")
    return None


def write_list(output: str, data: bytes, file: AtomicFile | None = None, *, overwrite: bool = False) -> bool:
    """Write the finished list, or say why it cannot be written and return False.

    One that was not opened by a name that was given goes into a file of its own.
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


def print_rest(seconds: float, why: str) -> None:
    """Say that nothing happens for a while, and why."""
    if seconds > SHORT_REST_S:
        print_err(f"waiting {format_duration(seconds)}: {why}")
