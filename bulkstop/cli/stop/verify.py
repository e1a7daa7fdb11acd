"""`--verify`: reads back after a run whether its campaigns still run."""

from collections import Counter

import click

from bulkstop.cli.again import rebuild_command
from bulkstop.cli.options import read_profiles
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.stop.summary import carry_deadline, print_verdict
from bulkstop.cli.terminal import print_err
from bulkstop.cli.verify import command_to_stop, name_list, read_back, write_list
from bulkstop.report.lists.verification import WORDS, Verification, format_verification
from bulkstop.report.stop.summary import StopSummary
from bulkstop.report.verdict import format_not_stopped
from bulkstop.runs.clients import choose_others
from bulkstop.runs.lists.verify import Owners, read_targets
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.settings import Settings
from bulkstop.text import printable


def verify_after(options: StopOptions, settings: Settings, ended: StopSummary, journal: RunJournal) -> int:
    """Check which campaigns still run and print them; return the exit code of the run, or 1 if some still run."""
    profiles = read_profiles(click.get_current_context())
    targets = read_targets([options.target], settings, owners=Owners(settings, profiles))
    others = choose_others(profiles, targets.by_scope) if profiles.others else None
    verification = read_back(targets, settings, others=others, quiet=options.quiet)
    for note in (*verification.notes, *([str(verification.fault)] if verification.fault else [])):
        print_err(f"bulkstop: {printable(note)}")
    if verification.exit_code or not options.quiet:
        print_err("\n".join(format_verification(verification)))
    target = name_list(options.target, overwrite=options.overwrite)
    written = write_list(verification, target, overwrite=options.overwrite, quiet=options.quiet)
    if not options.log_json and (ended.exit_code or verification.exit_code or not options.quiet):
        print_last_word(verification, ended, journal, options, written)
    if verification.signum is not None:
        return verification.exit_code
    return ended.exit_code or min(verification.exit_code, 1)


def print_last_word(
    verification: Verification, ended: StopSummary, journal: RunJournal, options: StopOptions, written: str | None
) -> None:
    """Print last how the run ended, or that the verification does not prove it."""
    if ended.exit_code or not verification.exit_code:
        print_verdict(ended, journal, options)
        return
    also = ["every stop was confirmed, but --verify does not show these at rest"]
    counts = Counter(WORDS[each.state] for each in verification.to_stop)
    print_err(format_not_stopped(len(verification.to_stop), ended.rows, counts, also))
    if written:
        deadline = carry_deadline()
        print_err(f"To go on{deadline.words}: {command_to_stop(verification, written, deadline)}")
    else:
        print_err(f"To go on: {rebuild_command(command='verify', inputs=[options.target])}")
