"""The options of `bulkstop stop`; its implementation is imported only when it runs."""

import click

from bulkstop.cli.imports import freeze_imports
from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.stop.options import with_stop_options

MAIN_OPTIONS = (
    *("profile", "running", "dry_run", "expect", "yes", "output", "resume", "protect", "finish_by", "reads_back"),
)
EXAMPLE = """\b
Examples:
  # Show what would be stopped; send nothing
  bulkstop stop campaigns.csv --profile prod --dry-run
  # Stop the campaigns of a list
  bulkstop stop campaigns.csv --profile prod --expect 20..30
  # Continue after Ctrl-C or a crash
  bulkstop stop campaigns.csv --profile prod --resume --yes
  # Send again what failed
  bulkstop stop campaigns.csv --profile prod --retry-failed --yes
  # Stop everything that runs now
  bulkstop stop --running --profile prod --expect 1..60

\b
Exit codes:
  0    every campaign is stopped, or was not sent on purpose (duplicate, protected)
  1    the run finished, but something failed, or not everything that runs could be listed (--running)
  2    nothing was sent: usage, settings or input are wrong, nothing runs (--running), or nothing is left to --resume
  3    a guard ended the run (failures, waves, outage), or it could not continue (credentials, result file, quota store)
  4    the run ended at --finish-by before all campaigns were sent; --resume continues it
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal; --resume continues the run
"""


@click.command("stop", cls=GroupedCommand, epilog=EXAMPLE, main=MAIN_OPTIONS)
@with_stop_options
@click.pass_context
def command(ctx: click.Context, /, **_: object) -> int:
    """Stop every campaign of INPUT, and write one result line for each row.

    INPUT is a table, JSON or a list of ids, also compressed; - is standard input. See docs/input.md. With --running,
    there is no INPUT: bulkstop lists what runs now and stops that. A stop cannot be undone.
    """
    with freeze_imports():  # a help page does not need it
        from bulkstop.cli.stop.command import run_stop
    return run_stop(ctx)
