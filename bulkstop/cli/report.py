"""`bulkstop report`: sums up and checks result files, or writes their latest or failed rows to a file."""

import os
import shlex
import signal
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click

from bulkstop.cli.again import (
    NO_DEADLINE,
    OF_DEADLINE,
    CarriedDeadline,
    carry_moment,
    find_typed,
    names_service,
    rebuild_recorded,
)
from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.terminal import print_err, print_last
from bulkstop.errors import OutputError, SettingsError
from bulkstop.files.whole import AtomicFile, is_device
from bulkstop.model import SIGNALS, Outcome
from bulkstop.report.hold import format_campaigns
from bulkstop.report.stop.formats import is_csv
from bulkstop.report.stop.manifest import RunSection
from bulkstop.report.stop.summary import format_counts
from bulkstop.report.verdict import format_not_complete
from bulkstop.runs.export import Remainder, collect_remainder, files_read, read_indexes, read_last_run, write_latest
from bulkstop.runs.options import format_outcome_counts, options_to_go_on, outcomes_to_retry, retry_option
from bulkstop.runs.review import Review, review_results
from bulkstop.runs.stop.input_files import check_written
from bulkstop.text import format_count, format_table, printable

_UNKNOWN_RUN = ", with the --profile or --host of the run, because no manifest says which"
EXAMPLE = """\b
Examples:
  # Summarise a result file, and prove that it is complete and unchanged
  bulkstop report campaigns.csv.results.jsonl --check
  # List the rows to send again; the last line says how to stop them
  bulkstop report campaigns.csv.results.jsonl --failed -o again.csv
  # Write the latest line of each row as CSV
  bulkstop report campaigns.csv.results.jsonl --latest -o latest.csv

\b
Exit codes:
  0    the summary or the file was written; with --check: every line is proven, and every row has one
  1    with --check: something is not proven, and the line "check" says what; no file was written
  2    usage is wrong, or a file cannot be read
  3    standard output, or the file of -o, cannot be written
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; no file was written
"""


class ReportOptions(NamedTuple):
    """The options of `report`."""

    paths: tuple[str, ...]
    check: bool
    latest: bool
    failed: bool
    retry: tuple[str, ...]
    output: str | None
    overwrite: bool

    @property
    def target(self) -> str:
        """The file to write; without -o it is standard output."""
        return "-" if self.output is None else self.output


@click.command("report", cls=GroupedCommand, epilog=EXAMPLE)
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS [RESULTS ...]")
@click.option("--check", is_flag=True, help="Exit with 1 unless the manifest proves each file complete and unchanged.")
@click.option("--latest", is_flag=True, help="Write the latest line of each row instead of the summary.")
@click.option(
    "--failed",
    is_flag=True,
    help="Write a list of the rows that --retry-failed would send, for `stop`.",
)
@click.option(
    "--retry",
    metavar="OUTCOME,...",
    multiple=True,
    help="With --failed: also rows with these outcomes, such as unauthorized; repeatable.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    show_default="standard output",
    help="With --latest or --failed: file to write, CSV if it ends in .csv; - is standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def command(**given: object) -> int:
    """Summarise result files: the latest outcome of each row, what is left, and the runs that wrote them.

    With --latest or --failed, write rows of them to one file instead.
    """
    options = ReportOptions(**given)  # type: ignore[arg-type]  # click has read them
    check_usage(options)
    if not (options.latest or options.failed):
        reviews = [review_results(path, check=options.check) for path in options.paths]
        lines = [line for each in reviews for line in format_review(each)]
        return print_last("\n".join(lines), find_code(reviews, options), is_for_a_person=True)
    try:
        with raise_signals():
            return export(options)
    except SignalError as end:
        rest = " before all was written" if options.target == "-" else "; nothing was written"
        print_err(format_not_complete(f"ended by {signal.Signals(end.signum).name}{rest}"))
        return 128 + end.signum


class SignalError(Exception):
    """A signal ended the command."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def raise_signals() -> Iterator[None]:
    """Make the first signal raise SignalError, so that the block can remove what it has written."""

    def end(signum: int, _: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise SignalError(signum)

    heard = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        for each, before in heard.items():
            if before is not signal.SIG_IGN:  # set by nohup
                signal.signal(each, end)
        yield
    finally:
        for each, before in heard.items():
            signal.signal(each, before)


def export(options: ReportOptions) -> int:
    """Write the requested file; return the exit code."""
    target = open_target(options)
    if target is not None:
        click.get_current_context().call_on_close(target.close)
    if options.check:
        reviews = [review_results(path, check=True) for path in options.paths]
        if code := find_code(reviews, options):
            print_err("\n".join(line for each in reviews if each.flaws for line in format_review(each)))
            return code
    return (export_latest if options.latest else export_failed)(options, target)


def check_usage(options: ReportOptions) -> None:
    """Raise SettingsError for options that conflict."""
    if options.latest and options.failed:
        raise SettingsError("--latest and --failed: write different files; use one at a time")
    if options.retry and not options.failed:
        raise SettingsError("--retry: only works with --failed; add --failed")
    if options.output is not None and not options.output.strip():
        raise SettingsError("-o: is empty; give the path of a file, or - for standard output")
    alone = {"-o": options.output is not None, "--overwrite": options.overwrite}
    for option, is_given in alone.items():
        if is_given and not (options.latest or options.failed):
            raise SettingsError(f"{option}: only works with --latest or --failed; add one of them")
    outcomes_to_retry(options.retry, retry_failed=True)


def find_code(reviews: Iterable[Review], options: ReportOptions) -> int:
    """Return the exit code of the reviews."""
    return 1 if options.check and any(each.flaws for each in reviews) else 0


def open_target(options: ReportOptions) -> AtomicFile | None:
    """Open the file to write, or return None for standard output; raises SettingsError or OutputError."""
    target = options.target
    read = [pair for path in options.paths for pair in files_read(path)]
    if target != "-":
        check_written([(f"-o {target}:", target)], read)
        return AtomicFile(target, overwrite=options.overwrite)
    if sys.stdout is None:
        raise SettingsError("-o -: standard output is closed; give -o FILE")
    if any(map(_is_stdout, options.paths)):
        raise SettingsError("-o -: standard output goes to a result file that is read; give another file")
    return None


def _is_stdout(path: str) -> bool:
    """Return whether standard output is redirected to this file."""
    try:
        out = os.fstat(1)
        return stat.S_ISREG(out.st_mode) and os.path.samestat(out, Path(path).stat())
    except OSError:
        return False


def export_latest(options: ReportOptions, target: AtomicFile | None) -> int:
    """Write the latest line of each row, as CSV or JSON by the name of -o, otherwise as in the results."""
    indexes = read_indexes(options.paths)
    is_named = options.target != "-" and not is_device(options.target)
    blocks = write_latest(indexes, as_csv=is_csv(options.target if is_named else options.paths[0]))
    if not write_blocks(blocks, target):
        return 3
    rows = sum(each.rows for each in indexes)
    if options.target != "-":
        print_err(f"{format_count(rows, 'row')}, the latest line of each; written to {options.target}")
    return 0


def export_failed(options: ReportOptions, target: AtomicFile | None) -> int:
    """Write the list of rows to send again; print its contents, what it leaves out, and the command that stops it."""
    from bulkstop.cli.discover import choose_format  # imported here because a report makes no calls

    form = choose_format(options.target, None, remedy="")
    retry = outcomes_to_retry(options.retry, retry_failed=True)
    remainder = collect_remainder(read_indexes(options.paths), retry, form=form)
    if not write_blocks(remainder.blocks, target):
        return 3
    print_err("\n".join(describe_remainder(remainder, options)))
    return 0


def write_blocks(blocks: Iterable[bytes], target: AtomicFile | None) -> bool:
    """Write the blocks; if that fails, print why and return False."""
    try:
        target.save_blocks(blocks) if target is not None else _write_out(blocks)
    except OutputError as error:
        print_err(f"bulkstop: {error}")
        return False
    return True


def _write_out(blocks: Iterable[bytes]) -> None:
    try:
        sys.stdout.buffer.writelines(blocks)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from None


def describe_remainder(remainder: Remainder, options: ReportOptions) -> Iterator[str]:
    """Return lines that tell what a list has, what it leaves out and why, and the command that continues."""
    count = sum(remainder.outcomes.values())
    where = "standard output" if options.target == "-" else options.target
    counts = format_outcome_counts(remainder.outcomes, Outcome)
    what = (
        f"{format_count(count, 'row')} to send again ({counts})"
        if count
        else "no row has to be sent again; the list is empty"
    )
    yield f"{what}; written to {where}"
    left = {outcome: number for outcome, number in remainder.left_out.items() if number}
    if invalid := left.pop(Outcome.INVALID, 0):
        yield f"left out: {invalid:,} invalid, because they can never be sent; correct them in the list, and resume"
    if left:
        numbers = format_outcome_counts(left, left)
        yield f"left out: {numbers}, because another attempt alone changes nothing; {retry_option(left)} includes them"
    if remainder.without_list:
        names = ", ".join(remainder.without_list)
        yield f"note: {names}: the list is gone or changed, so iid, priority and name of its rows are missing here"
    for path, number in remainder.unlisted.items():
        yield describe_unlisted(path, number)
    if count and options.target != "-" and not is_device(options.target):
        run = read_last_run(options.paths[-1])
        words = find_deadline(run).words if run else _UNKNOWN_RUN
        yield f"To stop them{words}: {command_to_stop(run, options, remainder, count)}"


def describe_unlisted(path: str, count: int) -> str:
    """Return a line about rows without a result line, which no list contains, and how they are sent."""
    rows = f"{format_count(count, 'row')} of its list {'has' if count == 1 else 'have'} no line yet"
    run = read_last_run(path)
    way = write_way_on(run, {}) if run else ""  # the list has the other rows that are still open
    go_on = f"; to go on{find_deadline(run).words}: {way}" if run and way else ""
    return f"NOT IN THE LIST: {path}: {rows}, because its run was killed or still runs{go_on}"


def command_to_stop(run: RunSection | None, options: ReportOptions, remainder: Remainder, count: int) -> str:
    """Return the command that stops the campaigns of the list, with the options of the last run."""
    from bulkstop.cli.files import name_free_results  # imported here because most results need no further command
    from bulkstop.cli.stop.entry import command as stop

    is_one = len(set(options.paths)) == 1  # a campaign may occur in several files, but is sent once
    add = ["--disable-schedule"] * remainder.has_schedules + ["--expect", str(count)] * is_one
    words = find_words(run) or ["bulkstop", "stop", *(find_words(run, "hold") or ())[2:]]
    host = run.settings.get("host") if run else None
    if isinstance(host, str) and not names_service(words, stop):
        add = ["--host", host, *add]
    there = go_to_folder(run) if run else ""
    listed = str(Path(options.target).absolute()) if there else options.target
    deadline = find_deadline(run) if run else NO_DEADLINE
    drop = deadline.drop | {"targets"} | ({"disable_schedule"} if remainder.has_schedules else frozenset())
    add = [*name_free_results(listed), *deadline.add, *add]
    return there + rebuild_recorded(words, stop, drop=drop, add=add, inputs=[listed])


def format_review(of: Review) -> list[str]:
    """Return the table of one result file."""
    rows = [*format_counts(of.outcomes), ("rows", f"{of.rows:,} in {format_count(of.lines, 'line')}")]
    if of.campaigns is not None:
        rows.append(("campaigns", format_campaigns(of.campaigns)))
    if of.open_rows:
        rows.append(("not ended", f"{of.open_rows:,}"))
        if of.runs and (command := write_way_on(of.runs[-1], of.outcomes)):
            rows.append(("to go on", command))
            rows += [("", words.removeprefix(", "))] if (words := find_deadline(of.runs[-1]).words) else []
    rows += [(f"run {number}", _format_run(run)) for number, run in enumerate(of.runs, start=1)]
    if of.sha256:
        rows.append(("SHA-256", of.sha256))
    rows += [("check", f"FAILED: {flaw}") for flaw in of.flaws] or [("check", "every line is as it was written")]
    return format_table(printable(of.path), rows)


def _format_run(run: RunSection) -> str:
    end = run.reason or "no end recorded" if run.exit_code is None else f"{run.reason} (exit code {run.exit_code})"
    return printable(f"{run.began_at}, {run.user} on {run.machine}: {end}")


def write_way_on(run: RunSection, outcomes: Mapping[Outcome, int]) -> str:
    """Return the command that continues a result file, with the options of its last run; empty if they are unknown."""
    if (words := find_words(run, "hold")) is not None:
        from bulkstop.cli.hold.command import command as hold  # few result files come from it

        drop = {"overwrite", "resume", "expect"}
        return go_to_folder(run) + rebuild_recorded(words, hold, drop=drop, add=["--resume"])
    words = find_words(run)
    if words is None:
        return ""
    from bulkstop.cli.stop.entry import command as stop  # imported here because most results need no further command

    deadline = find_deadline(run)
    drop = {"overwrite", "resume", "retry", "retry_failed"} | deadline.drop
    list_again = "with the same list on its standard input: " if "-" in words else ""
    command = rebuild_recorded(words, stop, drop=drop, add=[*deadline.add, *options_to_go_on(outcomes)])
    return list_again + go_to_folder(run) + command


def find_deadline(run: RunSection) -> CarriedDeadline:
    """Return how the typed time to finish by is carried over to a command that continues the run."""
    from bulkstop.cli.stop.entry import command as stop  # imported here because most results need no further command
    from bulkstop.settings.finish_by import find_moment

    given = find_typed(find_words(run) or (), stop, "finish_by")
    text, zone = run.settings.get("finish_by"), run.settings.get("tz")
    if given is None or not isinstance(text, str) or not isinstance(zone, str | None):
        return NO_DEADLINE
    with suppress(ValueError):  # another version wrote this run
        return carry_moment(given, find_moment(text, zone, datetime.fromisoformat(run.began_at)))
    return CarriedDeadline(OF_DEADLINE)


def find_words(run: RunSection | None, command: str = "stop") -> Sequence[str] | None:
    """Return the words that were typed for a run of this command; None if they are unknown."""
    words = run.facts.get("command") if run else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or words[1:2] != [command]:
        return None
    return words


def go_to_folder(run: RunSection) -> str:
    """Return the command that changes to the folder of the run; empty if that is the current one.

    A name that cannot be printed is described instead.
    """
    folder = run.facts.get("folder")
    if not isinstance(folder, str) or folder == str(Path.cwd()):
        return ""
    return f"cd {shlex.quote(folder)} && " if folder.isprintable() else f"in the folder {printable(folder)}: "
