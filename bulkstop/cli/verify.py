"""`bulkstop verify`: checks which of the campaigns that were to be stopped still run."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from bulkstop.cli import discover
from bulkstop.cli.again import FOUND, NO_DEADLINE, CarriedDeadline, rebuild_command
from bulkstop.cli.discover import WRITERS, choose_format, print_rest
from bulkstop.cli.files import check_written, name_free_results, use_store
from bulkstop.cli.options import (
    GroupedCommand,
    name_profile,
    read_listed_targets,
    read_profiles,
    read_settings,
    with_settings,
)
from bulkstop.cli.terminal import drop_output, print_err, print_out
from bulkstop.cli.words.naming import WordChoice
from bulkstop.engine.caller import ignore_rest
from bulkstop.errors import SettingsError
from bulkstop.files.whole import AtomicFile, beside, find_free_name
from bulkstop.model import SIGNALS
from bulkstop.report.lists.verification import Verification, format_hint, format_verdict, format_verification
from bulkstop.runs.clients import Others, choose_others
from bulkstop.runs.lists.states import Targets
from bulkstop.runs.lists.verify import Owners, read_sources, verify
from bulkstop.runs.stop.input_files import is_same
from bulkstop.settings import Settings
from bulkstop.settings.spec import (
    CONCURRENCY,
    CONNECTION,
    CREDENTIALS,
    INPUT,
    PATHS,
    QUOTA,
    RETRY_AFTER,
    SCOPE,
    TARGETS,
    TYPE,
)
from bulkstop.source.forms.format import Format
from bulkstop.source.inputs import STDIN
from bulkstop.text import printable

LIST = ".running.csv"
"""Suffix of a list of campaigns that still run, after the name of the file that was checked."""
MAIN_OPTIONS = (
    "profile",
    "output",
    "overwrite",
    "targets",
    "type",
    "singly",
    "others_count",
    "calls",
    "as_json",
    "quiet",
)
EXAMPLE = """\b
Examples:
  # Check the campaigns of a run
  bulkstop verify campaigns.csv.results.jsonl --profile prod
  # Stop those that still run: verify prints this command
  bulkstop stop campaigns.csv.results.jsonl.running.csv --profile prod --expect 1..20

\b
Exit codes:
  0    none of the campaigns runs or is scheduled (protected ones do not count; others only count with --all)
  1    some run, are unknown, or have no result line; with --calls also if contacts started after a stop, or
       could not be read although the token has the scope
  2    usage, settings or results are wrong; nothing was asked for
  3    no state could be read (credentials, network), or the verdict could not be written
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; no list was written
"""


@click.command("verify", cls=GroupedCommand, epilog=EXAMPLE, main=MAIN_OPTIONS)
@click.argument("paths", nargs=-1, metavar="[FILE ...]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="List of what has to be stopped again: .csv or .jsonl; - is standard output.  "
    "[default: FILE.running.csv, numbered if that exists]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing list.")
@click.option(
    "--singly",
    is_flag=True,
    help="Read each campaign by itself: fewer calls for a short list, but schedules stay unknown.",
)
@click.option(
    "--calls",
    is_flag=True,
    help="Also look for contacts that started after the stops; needs the scope SmartAssist Analytics.",
)
@click.option("--all", "others_count", is_flag=True, help="Also count campaigns that run but are not in FILE.")
@click.option(
    "--format",
    "fmt",
    type=WordChoice([form.value for form in Format]),
    help="Format of every input; default: taken from its name and content.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the verdict as one JSON object to standard output.")
@click.option("--quiet", is_flag=True, help="Show only what still runs, warnings and errors.")
@with_settings(CONNECTION, CREDENTIALS, PATHS, SCOPE, TARGETS, TYPE, INPUT, QUOTA, RETRY_AFTER, CONCURRENCY)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    output: str | None,
    *,
    overwrite: bool,
    singly: bool,
    calls: bool,
    others_count: bool,
    fmt: str | None,
    as_json: bool,
    quiet: bool,
    **_: object,
) -> int:
    """Check whether the campaigns of FILE still run, are scheduled, or will run again; stop nothing.

    FILE is a result file, a list that `stop` takes, or - for standard input. Without FILE, verify counts every campaign
    that runs in the --targets. It checks all campaigns of FILE, also those that were never sent, and reports the state
    that the service has at that moment.
    """
    settings = read_settings(ctx)
    if singly and others_count:
        raise SettingsError("--all: needs the lists, which --singly does not read; leave out one of them")
    profiles, listed = read_profiles(ctx), read_listed_targets(ctx, settings)
    scopes = listed.scopes if listed else ()
    if not paths and not (scopes and not (singly or calls)):
        raise click.UsageError("Missing argument 'FILE [FILE ...]'; or use --targets to check all that runs there", ctx)
    others_count = others_count or not paths
    target = output or name_list(paths[0] if paths else settings.targets or "targets", overwrite=overwrite)
    check_written([("-o", target)], settings, ctx.params["config"])
    file = open_output(output, paths, overwrite=overwrite, as_json=as_json) if output else None
    if file is not None:
        ctx.call_on_close(file.close)
    quiet = quiet or as_json
    owners = Owners(settings, profiles, {scope[:2]: scope.profile for scope in scopes})
    targets = read_sources(paths, settings, fmt, with_stops=calls, owners=owners) if paths else Targets()
    if others_count:
        targets.add_lists(scopes)
    others = choose_others(profiles, targets.by_scope) if profiles.others else None
    verification = read_back(targets, settings, others=others, singly=singly, others_count=others_count, quiet=quiet)
    if (tell := ctx.meta.get(FOUND)) is not None:
        tell(verification)
    for note in verification.notes:
        print_err(f"bulkstop: note: {note}")
    if verification.fault:
        print_err(f"bulkstop: {printable(str(verification.fault))}")
    written = write_list(verification, target, file, overwrite=overwrite, quiet=quiet)
    if quiet and not as_json and not verification.exit_code:
        return 0
    if as_json:
        facts = verification.as_dict() | {"host": settings.host, "results": paths, "list": written}
        is_printed = print_whole(json.dumps(facts), print_out, as_json=True)
    else:
        hint = [format_hint(verification, command_to_stop(verification, written))] if written else []
        lines = [*format_verification(verification), format_verdict(verification), *hint]
        is_printed = print_whole("\n".join(lines), print_err if target == "-" else print_out, as_json=False)
    return verification.exit_code if is_printed else 3


def print_whole(text: str, write: Callable[[str], object], *, as_json: bool) -> bool:
    """Print the findings, or why that fails; return whether it worked. Raises BrokenPipeError unless `as_json`."""
    try:
        write(text)
    except BrokenPipeError:
        if not as_json:
            raise
        drop_output()
        why = "Broken pipe"
    except OSError as error:
        why = error.strerror or type(error).__name__
    else:
        return True
    print_err(f"bulkstop: standard output: the verdict cannot be written ({why})")
    return False


def name_list(path: str, *, overwrite: bool) -> str:
    """Return the name of the list, after the file that was checked; it is a free name unless `overwrite` is set."""
    stem = "stdin" if path == STDIN else path
    return beside(stem, LIST) if overwrite else find_free_name(f"{stem}{LIST.removesuffix('.csv')}", ".csv")


def open_output(target: str, paths: Iterable[str], *, overwrite: bool, as_json: bool) -> AtomicFile | None:
    """Open the list, or return None for standard output; raises SettingsError or OutputError before any call."""
    if target == "-" and as_json:
        raise SettingsError("-o -: standard output already takes --json; give -o FILE")
    choose_format(target, None, remedy="")
    if overwrite and target != "-" and any(is_same(path, target) for path in paths):
        raise SettingsError(f"-o {target}: is a result file, which the list would replace; give another file")
    return discover.open_output(target, overwrite=overwrite)


def read_back(
    targets: Targets,
    settings: Settings,
    *,
    others: Others | None = None,
    singly: bool = False,
    others_count: bool = False,
    quiet: bool,
) -> Verification:
    """Ask the service for the states of the targets."""
    try:
        return verify(
            targets,
            use_store(settings),
            others=others,
            singly=singly,
            others_count=others_count,
            signals=SIGNALS,
            say=(lambda text: None) if quiet else (lambda text: print_err(printable(text))),
            rests=ignore_rest if quiet else print_rest,
        )
    except asyncio.CancelledError:  # a signal came after the work was done
        raise click.Abort from None


def write_list(
    verification: Verification, target: str, file: AtomicFile | None = None, *, overwrite: bool, quiet: bool
) -> str | None:
    """Write the campaigns that still need a stop, and return the list's name; None if there are none.

    With `overwrite` and nothing to stop, an older list is replaced by an empty one.
    """
    is_stale = overwrite and target != "-" and Path(target).is_file()
    if verification.exit_code not in (0, 1) or not (verification.to_stop or is_stale):
        return None
    if not verification.to_stop and not quiet:
        print_err(f"{printable(target)}: is now an empty list, because nothing has to be stopped again")
    data = WRITERS[choose_format(target, None)]([(each.scope, each.item) for each in verification.to_stop])
    is_written = discover.write_list(target, data, file, overwrite=overwrite)
    return target if is_written and verification.to_stop and target != "-" else None


def command_to_stop(verification: Verification, written: str, deadline: CarriedDeadline = NO_DEADLINE) -> str:
    """Return the command that stops the campaigns of the list, and disables schedules that would start them again."""
    add = ["--disable-schedule"] * bool(verification.to_disable) + ["--expect", str(len(verification.to_stop))]
    return rebuild_command(
        command="stop",
        inputs=[written],
        drop={"disable_schedule", "targets"} | deadline.drop,  # each row names its profile, unless that is ours
        add=[*name_profile(), *name_free_results(written), *deadline.add, *add],
    )
