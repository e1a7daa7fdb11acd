"""`bulkstop schedule`: stops at set times, run by an existing scheduler or by `serve`."""

from collections.abc import Mapping
from importlib import import_module

import click

from bulkstop.text.likeness import find_near

SUBCOMMANDS: Mapping[str, str] = {
    "check": "Check every schedule of the file, and show each error with its line.",
    "next": "Show the next firings, and the days that are skipped.",
    "run": "Run the firing that is due; cron, systemd or Kubernetes call this.",
    "history": "Show earlier firings, and how each ended.",
    "export": "Write the files that systemd, cron or Kubernetes need.",
    "serve": "Wait for each firing and run it, where there is no other scheduler.",
}


class ScheduleCommands(click.Group):
    """A command group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help page."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in SUBCOMMANDS:
            return None
        command: click.Command = import_module(f"bulkstop.cli.schedule.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown name, suggest commands with a similar name."""
        if args and not args[0].startswith("-") and args[0] not in SUBCOMMANDS:
            near = find_near(args[0], SUBCOMMANDS, 0.5)
            meant = f"did you mean {near}?" if near else f"there are {', '.join(SUBCOMMANDS)}"
            raise click.UsageError(f"No such command {args[0]!r}; {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


EXAMPLE = """\b
Example:
  bulkstop schedule check
  bulkstop schedule next eod -n 10
  bulkstop schedule export systemd eod -o units

\b
Exit codes:
  0  done; the help of each command lists its other codes
"""


@click.command("schedule", cls=ScheduleCommands, epilog=EXAMPLE)
def command() -> None:
    """Run stops at set times. [schedule.NAME] in the file of profiles says when, and what to stop.

    docs/end-of-day.md walks through a complete set-up.
    """
