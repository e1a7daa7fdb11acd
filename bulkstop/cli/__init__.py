"""Turns the words of a command line into calls, the result into an exit code; no other package prints or exits."""

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from io import RawIOBase
from typing import NoReturn

import click

from bulkstop.cli.imports import freeze_imports
from bulkstop.cli.terminal import (
    drop_output,
    drop_unread,
    flush_out,
    print_err,
    say_at_once,
    unblock_err,
    write_err_beside,
)
from bulkstop.cli.words.naming import spell_option
from bulkstop.engine.ending import Process, own_process
from bulkstop.errors import BulkstopError, unforeseen
from bulkstop.naming import spelling
from bulkstop.version import __version__

COMMANDS = {
    "stop": "Stop the campaigns of a list, or all that run now.",
    "check": "Check the connection, the token and the input; stop nothing.",
    "discover": "Write the campaigns that run now as a list for `stop`.",
    "hold": "Stop whatever runs, again and again, until a time.",
    "schedule": "Stop campaigns at set times, such as every working day at 18:00.",
    "verify": "Check that stopped campaigns do not run; list those that do.",
    "load": "Load-test the API with requests on a schedule.",
    "report": "Summarise and check result files.",
    "simulate": "Run a simulator of the API on this machine.",
    "token": "Show the claims and the expiry of the token in use.",
}

SYNONYMS = dict.fromkeys(("list", "ls", "running"), "discover") | dict.fromkeys(("doctor", "ping", "test"), "check")
"""Names that other tools use for a command, where ours is spelt quite differently."""

MODULES = {"hold": "hold.command", "load": "load.command", "schedule": "schedule.command", "stop": "stop.entry"}
"""Modules of the commands whose module has another name."""

WIDEST = 1_000
"""Maximum width of a help page in columns; a help page is as wide as the terminal up to this."""
PACKAGES = {"jwt": "pyjwt[crypto]", "hdrh": "hdrhistogram"}
"""Packages whose module has another name."""


class Commands(click.Group):
    """A command group that imports a command only when it runs: `--help` does not pay for what the others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        with freeze_imports():
            command = import_module(f"bulkstop.cli.{MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)  # noqa: S101 - only a mistake in our module fails this
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown name, suggest commands with a similar name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from bulkstop.text.likeness import find_near  # only a mistake needs it

            near = SYNONYMS.get(args[0].lower()) or find_near(args[0], COMMANDS, 0.5)
            meant = f"did you mean {near}?" if near else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"No such command {args[0]!r}; {meant}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command whose messages name options.

        click's own handling of Ctrl-C prints at once, and blocks for ever if nobody reads standard error.
        """
        try:
            with spelling(spell_option):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST})
@click.version_option(__version__, prog_name="bulkstop", message="%(prog)s %(version)s")
def commands() -> None:
    """Stop Kore.ai voice and SMS campaigns in bulk.

    `bulkstop COMMAND --help` shows the options, an example and the exit codes of a command.
    """


def main() -> NoReturn:
    """Run the command line and exit; every error is one line on standard error."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see bulkstop/__main__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _fill_closed_streams()
    _write_out_whole()
    _keep_to_oneself()
    with own_process(os._exit, say_at_once, unblock_err, write_err_beside) as process:
        code = _run(process)
        if process.signum is not None:
            _exit_now(code)
    flush_out()
    sys.exit(code)


def _run(process: Process) -> int:
    """Run the command line and return its exit code."""
    try:
        code = commands(standalone_mode=False, prog_name="bulkstop")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        code = _refuse(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        process.signum = process.signum or signal.SIGINT
        code = 128 + process.signum
        _exit_at_next_signal(code)
        drop_unread(1, 2)  # unread output that is still buffered would delay the exit
        when = " after the work was done" if process.has_worked else process.before_work
        print_err(f"\nbulkstop: ended{when} ({signal.Signals(process.signum).name})")
    except BulkstopError as error:
        code = _refuse(str(error))
    except BrokenPipeError:  # the reader of standard output is gone
        drop_output()
        code = 1
    except ModuleNotFoundError as error:
        code = 3
        print_err(f"bulkstop: {_name_missing_package(error) or unforeseen(error)}")
    except Exception as error:  # noqa: BLE001 - the last resort: users see no traceback
        code = 3
        print_err(f"bulkstop: {unforeseen(error)}")
    return code if isinstance(code, int) else 0


def _exit_now(code: int) -> NoReturn:
    """Exit without Python's shutdown, which waits for threads and lets another signal replace the exit code."""
    with suppress(OSError, ValueError):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    os._exit(code)


def _exit_at_next_signal(code: int) -> None:
    """Make the next signal end the process immediately, whatever it waits for."""
    from bulkstop.model import SIGNALS  # imported here because `--help` does not need the nouns

    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda *_: os._exit(code))


def _fill_closed_streams() -> None:
    """Open /dev/null for each closed standard stream; otherwise the next file that is opened would take its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _write_out_whole() -> None:
    """Make standard output raise an error when it cannot take all that is written.

    With PYTHONUNBUFFERED, as in many containers, Python writes once and silently drops what a full disk or a closed
    reader has not taken.
    """
    out = sys.stdout
    if isinstance(getattr(out, "buffer", None), RawIOBase):
        sys.stdout = open(out.fileno(), "w", encoding=out.encoding, errors=out.errors, closefd=False)  # noqa: SIM115


def _keep_to_oneself() -> None:
    """Forbid core dumps, which would hold the token, and files that others can write; child processes do the same."""
    import resource  # imported here because not every import of this module needs it

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.umask(os.umask(0o077) | 0o022)


def _refuse(text: str) -> int:
    print_err(f"bulkstop: {' '.join(text.splitlines())}")
    return 2


def _name_missing_package(error: ModuleNotFoundError) -> str:
    """Return which package to install; an empty text if the missing module is our own."""
    module = (error.name or "bulkstop").partition(".")[0]
    package = PACKAGES.get(module, module)
    from bulkstop.text import write_install  # imported here because most runs lack no package

    return "" if module == "bulkstop" else f"the package {package} is not installed: {write_install(package)}"
