"""Prints how a run went, and the command that continues from there."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from click.core import ParameterSource

from bulkstop.cli.again import (
    NO_DEADLINE,
    OF_DEADLINE,
    CarriedDeadline,
    carry_moment,
    name_way_on,
    needs_stdin,
    rebuild_command,
)
from bulkstop.cli.options import name_profile
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import print_err
from bulkstop.model import WORTH_A_RETRY, Outcome
from bulkstop.naming import name_variable
from bulkstop.report.stop.formats import to_json
from bulkstop.report.stop.summary import StopSummary, format_summary
from bulkstop.runs.options import NEEDS_A_CHOICE, format_outcomes, options_to_go_on
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.settings import Settings
from bulkstop.text import format_count


def print_summary(summary: StopSummary, journal: RunJournal, options: StopOptions, *, reads_back: bool = False) -> None:
    """Print how a run went; with `reads_back`, the verdict follows after the verification."""
    if not options.log_json and (summary.exit_code or not options.quiet):
        print_err("\n".join(format_run(summary, journal)))
        if not reads_back:
            print_verdict(summary, journal, options)


def print_untold(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """Print each result that was sent but has no line in the file, even with --quiet."""
    print_lost(journal)
    print_unwritten(summary, options.target)


def print_verdict(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """Print the verdict last; if not all is stopped, follow it with one line on how to continue."""
    unread = [f"Not read: {each}" for each in summary.unread_lists]
    lines = [*unread, summary.verdict, *([] if summary.exit_code == 0 else [find_way_on(summary, journal, options)])]
    print_err("\n".join(lines))


def format_run(ended: StopSummary, journal: RunJournal) -> list[str]:
    """Return lines on how a run went."""
    lines = format_summary(ended)
    lines.append(f"Results: {where_results_are(journal)}")
    if digest := journal.digest:
        lines.append(f"SHA-256: {digest}")
    return lines


def where_results_are(journal: RunJournal) -> str:
    """Return the name of the file that has the result lines."""
    rescue = journal.rescue
    if rescue is None or not rescue.gone:
        return journal.path
    return f"{rescue.place or 'lost'}{'' if rescue.is_whole else f'; what is left: {journal.path}'}"


def find_way_on(ended: StopSummary, journal: RunJournal, options: StopOptions) -> str:
    """Return one line with the command that continues the run, or sends again what failed."""
    failed = Counter(ended.settled) + journal.failed
    before = back_in_place(journal)
    if ended.exit_code not in (0, 1) and journal.mark:
        return f"To go on{write_way_on(options, options_to_go_on(failed), before)}"
    if ended.lost:
        again = write_way_on(options, ["--resume", "--trust-results"], before)
        return f"To go on, and send again what has no line{again}"
    if journal.mark and (way := _retry_options(ended, failed)):
        return f"To send what failed again{write_way_on(options, way)}"
    if journal.mark and ended.stats.outcomes[Outcome.NOT_SENT]:
        return f"To send what was not sent{write_way_on(options, ['--resume'])}"
    if ended.unlisted:
        drop = {"output", "overwrite", "resume", "retry", "retry_failed", "trust_results", "expect"}
        listing = name_way_on("--now") or rebuild_command(drop=drop, add=name_profile())
        return f"To list and stop what still runs: {listing}"
    if journal.mark and failed[Outcome.INVALID]:
        return f"To go on, correct the invalid rows of the list{write_way_on(options, ['--resume'])}"
    if journal.mark:
        return "To go on, correct what the result lines report"
    return f"To go on; campaigns already stopped stay stopped{write_way_on(options, [])}"


def _retry_options(ended: StopSummary, failed: Counter[Outcome]) -> list[str]:
    """Return the options that send again what failed, where another attempt may help."""
    worth = any(failed[each] or ended.stats.outcomes[each] for each in WORTH_A_RETRY)
    chosen = [each for each in NEEDS_A_CHOICE if failed[each]]
    choice = ["--retry", format_outcomes(chosen, ",")] if chosen else []
    return [*(["--retry-failed"] if worth else []), *choice]


def write_way_on(options: StopOptions, way: Sequence[str], before: str = "") -> str:
    """Return the command that continues the result file, preceded by what a person must do first."""
    if (scheduled := name_way_on("--again")) is not None:
        return f": {before}{scheduled}"
    deadline = carry_deadline()
    drop = {"overwrite", "resume", "retry", "retry_failed"} | deadline.drop
    drop |= set() if options.running else {"targets"}  # those of a variable, which a list makes nothing of
    is_nameless = options.running or "-" in options.inputs
    more = ["-o", options.target] if is_nameless and options.output is None else []
    list_again = ", with the same list on its standard input" if needs_stdin(options.inputs) else ""
    command = rebuild_command(drop=drop, add=[*more, *name_profile(), *deadline.add, *way])
    return f"{list_again}{deadline.words}: {before}{command}"


def carry_deadline() -> CarriedDeadline:
    """Return how the time to finish by is carried over to the command that continues the running one."""
    ctx = click.get_current_context()
    settings, given = ctx.find_object(Settings), ctx.params.get("finish_by")
    if settings is None or settings.finish_by is None:
        return NO_DEADLINE
    moment = datetime.fromisoformat(settings.finish_by)
    if given and ctx.get_parameter_source("finish_by") is ParameterSource.COMMANDLINE:
        return carry_moment(given, moment)
    if moment > datetime.now(UTC):
        return NO_DEADLINE
    where = name_variable("finish_by") if given else "the profile"
    return CarriedDeadline(OF_DEADLINE, (), f", with a new --finish-by, because that of {where} has passed")


def back_in_place(journal: RunJournal) -> str:
    """Return the command that moves the result file back to its place; empty if it is there."""
    if journal.rescue is None or journal.rescue.place is None:
        return ""
    return f"{shlex.join(['mv', journal.rescue.place, journal.path])} && "


def print_lost(journal: RunJournal) -> None:
    """Print the results that were sent but are no longer in the file."""
    lost = journal.rescue.results if journal.rescue else ()
    if lost:
        print_err(
            f"bulkstop: {format_count(len(lost), 'result, the last one, is', 'results, the last ones, are')} "
            f"not in {journal.path} any more; here they are:"
        )
    for result in lost:
        print_err(to_json(result).decode().rstrip())


def print_unwritten(ended: StopSummary, output: str) -> None:
    """Print the results that were sent but could not be written; standard error is then their only record."""
    place = "standard output" if output == "-" else output
    if ended.unread:
        print_err(
            f"bulkstop: {place}: {format_count(ended.unread, 'result line')} could not be written, "
            "because nobody reads them"
        )
    if ended.unwritten:
        print_err(
            f"bulkstop: {format_count(len(ended.unwritten), 'result')} could not be written to {place}; here they are:"
        )
        for result in ended.unwritten:
            print_err(to_json(result).decode().rstrip())
