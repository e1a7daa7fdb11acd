"""How a run went, with the commands that go on from there."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from bulkstop.cli.again import needs_stdin, rebuild_command
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import print_err
from bulkstop.model import WORTH_A_RETRY
from bulkstop.report.stop.formats import to_json
from bulkstop.report.stop.summary import StopSummary, format_summary
from bulkstop.runs.options import NEEDS_A_CHOICE, format_outcome_counts, format_outcomes
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.settings import Settings


def print_summary(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """Say how a run went."""
    if not options.log_json and (summary.exit_code or not options.quiet):
        print_err("\n".join(format_run(summary, journal, options)))


def print_untold(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """List what was sent and has no line in the file, whatever else is said."""
    print_lost(journal)
    print_unwritten(summary, options.target)


def format_run(ended: StopSummary, journal: RunJournal, options: StopOptions) -> list[str]:
    """Write how a run went."""
    lines = format_summary(ended)
    lines.append(f"Results: {where_results_are(journal)}")
    if digest := journal.digest:
        lines.append(f"SHA-256: {digest}")
    return lines + ways_on(ended, journal, options)


def where_results_are(journal: RunJournal) -> str:
    """Name the file that has the result lines."""
    rescue = journal.rescue
    if rescue is None or not rescue.gone:
        return journal.path
    return f"{rescue.place or 'lost'}{'' if rescue.is_whole else f'; what is left: {journal.path}'}"


def ways_on(ended: StopSummary, journal: RunJournal, options: StopOptions) -> list[str]:
    """Write the commands with which the run goes on, and with which what failed is sent again."""
    lines = []
    failed = Counter(ended.settled) + journal.failed
    is_over = ended.exit_code in (0, 1)
    choices = [("--retry-failed", WORTH_A_RETRY)] if is_over else []
    choices.append(("", NEEDS_A_CHOICE))
    for option, outcomes in choices if journal.mark else []:
        if chosen := [each for each in outcomes if failed[each]]:
            counts = format_outcome_counts(failed, chosen)
            way = [option] if option else ["--retry", format_outcomes(chosen, ",")]
            lines.append(f"To send what failed again ({counts}){write_way_on(options, way)}")
    before = back_in_place(journal)
    if not is_over and journal.mark:
        lines.append(f"To go on{write_way_on(options, ['--resume'], before)}")
    elif ended.lost:
        again = write_way_on(options, ["--resume", "--trust-results"], before)
        lines.append(f"To go on, and send again what has no line{again}")
    return lines


def write_way_on(options: StopOptions, way: Sequence[str], before: str = "") -> str:
    """Write the command that goes on with the result file, and what it needs that no command can have."""
    drop = {"overwrite", "resume", "retry", "retry_failed", *(("finish_by", "tz") if has_passed() else ())}
    more = ["-o", options.target] if "-" in options.inputs and options.output is None else []
    list_again = ", with the same list on its standard input" if needs_stdin(options.inputs) else ""
    return f"{list_again}: {before}{rebuild_command(drop=drop, add=[*more, *way])}"


def has_passed() -> bool:
    """Tell whether the time to finish by is over, so that a command that has it would send nothing."""
    settings = click.get_current_context().find_object(Settings)
    left = None if settings is None else settings.seconds_left(datetime.now(UTC))
    return left is not None and left <= 0


def back_in_place(journal: RunJournal) -> str:
    """Write the command that puts the result file back into its place, where that is needed first."""
    if journal.rescue is None or journal.rescue.place is None:
        return ""
    return f"{shlex.join(['mv', journal.rescue.place, journal.path])} && "


def print_lost(journal: RunJournal) -> None:
    """List what was sent and has no line in the file any more, the last of it where that is much and saved."""
    lost = journal.rescue.results if journal.rescue else ()
    if lost:
        print_err(f"bulkstop: {len(lost):,} results, the last ones, are not in {journal.path} any more; they are:")
    for result in lost:
        print_err(to_json(result).decode().rstrip())


def print_unwritten(ended: StopSummary, output: str) -> None:
    """Say what was sent but could not be written; this is then the only place where it stands."""
    place = "standard output" if output == "-" else output
    if ended.unread:
        print_err(f"bulkstop: {place}: {ended.unread:,} result lines could not be written, as nobody reads them")
    if ended.unwritten:
        print_err(f"bulkstop: {len(ended.unwritten)} results could not be written to {place}; they are:")
        for result in ended.unwritten:
            print_err(to_json(result).decode().rstrip())
