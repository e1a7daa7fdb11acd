"""How a run went, with the commands that go on from there."""

import shlex
from collections import Counter

from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import print_err
from bulkstop.report.stop.formats import to_json
from bulkstop.report.stop.summary import StopSummary, format_summary
from bulkstop.runs.options import NEEDS_A_CHOICE, format_outcome_counts, retry_option
from bulkstop.runs.stop.journal import RunJournal


def print_summary(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """Say how a run went."""
    if not options.log_json and (summary.exit_code or not options.quiet):
        print_err("\n".join(format_run(summary, journal)))


def print_untold(summary: StopSummary, journal: RunJournal, options: StopOptions) -> None:
    """List what was sent and has no line in the file, whatever else is said."""
    print_lost(journal)
    print_unwritten(summary, options.target)


def format_run(ended: StopSummary, journal: RunJournal) -> list[str]:
    """Write how a run went."""
    lines = format_summary(ended)
    lines.append(f"Results: {where_results_are(journal)}")
    if digest := journal.digest:
        lines.append(f"SHA-256: {digest}")
    return lines + ways_on(ended, journal)


def where_results_are(journal: RunJournal) -> str:
    """Name the file that has the result lines."""
    rescue = journal.rescue
    if rescue is None or not rescue.gone:
        return journal.path
    return f"{rescue.place or 'lost'}{'' if rescue.is_whole else f'; what is left: {journal.path}'}"


def ways_on(ended: StopSummary, journal: RunJournal) -> list[str]:
    """Say with which command the run goes on, and with which one what failed for good is sent again."""
    lines = []
    failed = Counter(ended.settled) + journal.failed
    if journal.mark and (chosen := [each for each in NEEDS_A_CHOICE if failed[each]]):
        lines.append(f"To send what failed again ({format_outcome_counts(failed, chosen)}): {retry_option(chosen)}")
    if ended.exit_code not in (0, 1) and journal.mark:
        lines.append(f"To go on: {back_in_place(journal)}the same command with --resume")
    elif ended.lost:
        lines.append("To go on: the same command with --resume --trust-results: it sends again what has no line")
    return lines


def back_in_place(journal: RunJournal) -> str:
    """Say how the result file comes back to its place, where that is needed first."""
    if journal.rescue is None or journal.rescue.place is None:
        return ""
    return f"{shlex.join(['mv', journal.rescue.place, journal.path])}, then "


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
