"""Runs `stop`, `verify` and `check` for a schedule, with the words that a person would type."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkstop.cli.again import FOUND, VERDICT, WAY_ON
from bulkstop.cli.options import read_listed_targets, read_settings
from bulkstop.cli.stop.options import read_stop_options, refuse_no_source
from bulkstop.cli.stop.progress import BEHIND
from bulkstop.cli.terminal import print_err
from bulkstop.engine.ending import owned
from bulkstop.errors import BulkstopError, InputError
from bulkstop.files.whole import write_atomically
from bulkstop.redact import REDACTOR
from bulkstop.runs.schedule.firing import ReadBack, Stopped, Work
from bulkstop.runs.schedule.keys import KEYS, OF_STOP
from bulkstop.runs.schedule.settings import Schedule, locate
from bulkstop.source.protect import read_protection

if TYPE_CHECKING:
    from bulkstop.report.lists.check import CheckFacts
    from bulkstop.report.lists.verification import Verification

LIST = ".list"
"""Suffix of a command's list, after the stem of the results."""
COMMAND_S = 600.0
"""Seconds within which a command must have made its list."""
_KEY_OF_FLAG = {f"--{key.replace('_', '-')}": key for key in (*KEYS, *OF_STOP)}
_FLAG = re.compile(r"--[a-z][a-z-]*", re.ASCII)
_FAULT = re.compile(r"(?:Invalid value for ')?(?P<key>[a-z_]+)'?(?P<value>(?: .*?)?): (?P<why>.*)", re.ASCII)


def write_stop(schedule: Schedule, work: Work, inputs: Sequence[str], *, is_named: bool) -> list[str]:
    """Return the words of `stop` for a firing, with all guards of the schedule."""
    words = [*inputs, *(["--running"] if schedule.running else [])]
    words += ["--config", schedule.path] if is_named else []
    words += ["--profile", schedule.profile] if schedule.profile else []
    words += schedule.options
    words += [] if any(each.startswith("--expect=") for each in schedule.options) else ["--yes"]
    words += ["-o", work.results]
    if work.deadline is not None:
        at = work.deadline.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        words += ["--finish-by", at, "--tz", schedule.timetable.zone]
    if work.resumes:
        words.append("--retry-failed" if work.is_again else "--resume")
    return words


def write_verify(schedule: Schedule, results: str, *, is_named: bool) -> list[str]:
    """Return the words of `verify` for the results of a firing."""
    words = ["--config", schedule.path] if is_named else []
    words += ["--profile", schedule.profile] if schedule.profile else []
    return [results, *words, *(["--targets=" + path] if (path := _find_option(schedule, "--targets")) else [])]


def write_check(schedule: Schedule, inputs: Sequence[str], *, is_named: bool) -> list[str]:
    """Return the words of `check` for what a schedule will stop."""
    words = [*inputs, *(["--config", schedule.path] if is_named else [])]
    words += ["--profile", schedule.profile] if schedule.profile else []
    shared = ("--strict", "--calling-hours", "--expect", "--status", "--priority", "--name")
    return words + [each for each in schedule.options if each.split("=")[0] not in shared]


def _find_option(schedule: Schedule, flag: str) -> str | None:
    found = (each.partition("=")[2] for each in schedule.options if each.startswith(f"{flag}="))
    return next(found, None)


def find_fault(ctx: click.Context, schedule: Schedule, work: Work, *, is_named: bool) -> str | None:
    """Return why and where `stop` would refuse the options or profile of a schedule; None if it accepts them."""
    inputs = [schedule.input] if schedule.input else ["list"] if schedule.command else []
    command = find_command(ctx, "stop")
    try:
        with command.make_context("stop", write_stop(schedule, work, inputs, is_named=is_named), parent=ctx) as sub:
            refuse_no_source(sub)
            settings = read_settings(sub)
            read_stop_options(sub.params)
            read_protection(settings.protect)
            if schedule.running:
                read_listed_targets(sub, settings)
    except click.ClickException as error:
        return _place_fault(schedule, error.format_message())
    except BulkstopError as error:
        return _place_fault(schedule, str(error))
    if schedule.input and not Path(schedule.input).exists():
        why = f"{schedule.input}: no such file in {Path.cwd()}; correct the path, or write the list"
        return f"{locate(schedule, 'input')}: {why}"
    return find_command_fault(schedule) if schedule.command else None


def _place_fault(schedule: Schedule, text: str) -> str:
    """Return the message about an option as a message about the key of the schedule, with the line in the file."""
    text = _FLAG.sub(lambda match: _KEY_OF_FLAG.get(match[0], match[0]), " ".join(text.split()))
    if text.startswith(f"{schedule.path} line "):  # the message is about a profile, and has its line
        return text
    match = _FAULT.fullmatch(text)
    if match is None or (where := locate(schedule, match["key"])).rpartition(".")[2] != match["key"]:
        return f"{locate(schedule, None)}: {text}"
    value = f"{match['value'].strip()}: " if match["value"].strip() else ""
    return f"{where}: {value}{match['why']}"


def find_command_fault(schedule: Schedule) -> str | None:
    """Return a message if the program of a schedule's command cannot be found; else None."""
    program = shlex.split(schedule.command or "")[0]
    if "\0" not in program and shutil.which(program):
        return None
    return f"{locate(schedule, 'command')}: {program}: no such program on the PATH; give its whole path"


def find_command(ctx: click.Context, name: str) -> click.Command:
    """Return the command of this name."""
    root = ctx.find_root().command
    command = root.get_command(ctx, name) if isinstance(root, click.Group) else None
    assert command is not None  # noqa: S101 - callers pass names of our own
    return command


def call(
    ctx: click.Context, name: str, words: Sequence[str], *, way_on: str, behind: Callable[[], object] | None = None
) -> int:
    """Run a command as if it had been typed, and return its exit code; print the reason if it refuses its options."""
    ctx.meta[WAY_ON], ctx.meta[BEHIND], ctx.meta[VERDICT] = way_on, behind, ""
    try:
        with _typed([name, *words]), find_command(ctx, name).make_context(name, list(words), parent=ctx) as sub:
            code = sub.command.invoke(sub)
    except click.ClickException as error:
        return _refuse(ctx, error.format_message())
    except BulkstopError as error:
        return _refuse(ctx, str(error))
    except (click.Abort, KeyboardInterrupt):
        process = owned()
        return 128 + ((process.signum if process else None) or 2)
    return code if isinstance(code, int) else 0


def _refuse(ctx: click.Context, text: str) -> int:
    ctx.meta[VERDICT] = line = " ".join(text.splitlines())
    print_err(f"bulkstop: {line}")
    return 2


def call_stop(
    ctx: click.Context, words: Sequence[str], *, way_on: str, behind: Callable[[], object] | None = None
) -> Stopped:
    """Run `stop` as if it had been typed; return its exit code and its verdict in one line."""
    code = call(ctx, "stop", words, way_on=way_on, behind=behind)
    return Stopped(code, REDACTOR.redact(ctx.meta[VERDICT]))


def call_verify(ctx: click.Context, words: Sequence[str], *, way_on: str) -> "tuple[int, Verification | None]":
    """Run `verify` as if it had been typed; return its exit code and its findings, None if it could not begin."""
    return _call_for_facts(ctx, "verify", words, way_on)


def call_check(ctx: click.Context, words: Sequence[str]) -> "tuple[int, CheckFacts | None]":
    """Run `check` as if it had been typed; return its exit code and its findings, None if it could not begin."""
    return _call_for_facts(ctx, "check", words, "")


def _call_for_facts(ctx: click.Context, name: str, words: Sequence[str], way_on: str) -> tuple[int, Any]:
    found: list[Any] = []
    ctx.meta[FOUND] = found.append
    code = call(ctx, name, words, way_on=way_on)
    return code, found[0] if found else None


def describe_read_back(code: int, found: "Verification | None") -> ReadBack:
    """Return the journal entry for a verification; the list beside it names the campaigns that still run."""
    from bulkstop.report.lists.verification import format_verdict  # imported here because only a due firing needs it

    if found is None:
        return ReadBack(code, "could not be read back")
    facts = found.as_dict() | {"not_looked_at": len(found.unread), "findings": len(found.findings)}
    return ReadBack(code, format_verdict(found), facts)


@contextmanager
def _typed(words: Sequence[str]) -> Iterator[None]:
    """Make the run record the command that would do the same."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def list_inputs(schedule: Schedule, stem: str) -> list[str]:
    """Return the input of a schedule; the output of its command is stored once, in a file with this stem.

    Raises InputError for a command that fails, takes too long, or gives nothing.
    """
    if schedule.command is None:
        return [schedule.input] if schedule.input else []
    path = Path(f"{stem}{LIST}")
    if not path.exists():
        try:
            write_atomically(path, [run_list_command(schedule.command)])
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); nothing was sent") from None
    return [str(path)]


def run_list_command(command: str) -> bytes:
    """Return the standard output of a command; its standard error goes to ours. Raises InputError if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, run without a shell
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_S, check=False
        )
    except OSError as error:
        raise InputError(f"command: {command}: cannot be run ({error.strerror}); nothing was sent") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"command: {command}: took longer than {COMMAND_S:.0f}s; nothing was sent") from None
    if done.returncode:
        raise InputError(f"command: {command}: ended with exit code {done.returncode}; nothing was sent")
    if not done.stdout.strip():
        raise InputError(f"command: {command}: gave an empty list; nothing was sent")
    return done.stdout
