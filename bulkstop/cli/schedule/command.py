"""`bulkstop schedule`: stops at set times, by the schedulers that are there."""

from collections.abc import Mapping
from importlib import import_module

import click

from bulkstop.text.likeness import find_near

SUBCOMMANDS: Mapping[str, str] = {
    "check": "Read all schedules of a file; say each fault with its line.",
    "next": "Show when schedules fire next, and what they leave out.",
    "run": "Be one firing: what cron, systemd or Kubernetes calls.",
    "history": "Show the firings so far.",
    "export": "Write the files of systemd, cron or Kubernetes.",
    "serve": "Wait for the firings itself, where nothing else does.",
}


class ScheduleCommands(click.Group):
    """Commands that are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the help page."""
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
        """Find a command; of one that does not exist, name what may have been meant."""
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
  0  it is as asked for; each command's help has the others
"""


@click.command("schedule", cls=ScheduleCommands, epilog=EXAMPLE)
def command() -> None:
    """Stop what is listed, or runs, at set times: [schedule.NAME] of the file of profiles says when and what.

    docs/end-of-day.md walks through a complete set-up.
    """
