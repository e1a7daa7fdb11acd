"""`--verify`: what still runs is read back after a run."""

from bulkstop.cli.stop.checks import running_list
from bulkstop.cli.stop.options import StopOptions
from bulkstop.cli.terminal import print_err
from bulkstop.cli.verify import command_to_stop, read_back, write_list
from bulkstop.report.lists.verification import format_hint, format_verification
from bulkstop.report.stop.summary import StopSummary
from bulkstop.settings import Settings
from bulkstop.text import printable


def verify_after(options: StopOptions, settings: Settings, ended: StopSummary) -> int:
    """Read back what still runs, say so, and give the exit code of the whole: that of the run, or 1 for what runs."""
    verification = read_back((options.target,), settings, singly=False, quiet=options.quiet)
    for note in (*verification.notes, *([str(verification.fault)] if verification.fault else [])):
        print_err(f"bulkstop: {printable(note)}")
    if verification.exit_code or not options.quiet:
        print_err("\n".join(format_verification(verification)))
    if written := write_list(verification, running_list(options.target), overwrite=True):
        print_err(format_hint(verification, command_to_stop(verification, written)))
    if verification.signum is not None:
        return verification.exit_code
    return ended.exit_code or min(verification.exit_code, 1)
