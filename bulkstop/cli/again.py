"""The command that was typed, put together again as one that can be pasted."""

import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
from click.core import ParameterSource

from bulkstop.cli.words.naming import spell_option
from bulkstop.naming import Spell
from bulkstop.redact import HIDDEN
from bulkstop.settings import OPTION_SPECS
from bulkstop.settings.exposure import may_hold_secret

TYPED = "bulkstop.typed"
"""Where a context has the words behind the name of its command."""
SHARED = frozenset({"profile", "config"})
"""Options beside the settings that mean the same for every command."""
WAY_ON = "bulkstop.way_on"
"""Where a context has the command that goes on in the place of its own: that of a schedule, up to its last option."""
VERDICT = "bulkstop.verdict"
"""Where a context has how the command that was called last has ended, in a line."""
COURIERS = "bulkstop.couriers"
"""Where whoever calls a command, and waits itself for its notices, has a list for those who send them."""
FOUND = "bulkstop.found"
"""Where a context has what is given the facts that `verify` or `check` has found, if anybody asks for them."""
STDIN = Path("/proc/self/fd/0")


class TypedWord(NamedTuple):
    """An option with its value, or an argument, as it was typed; `flag` is empty for an argument."""

    name: str
    flag: str
    value: str | None
    is_secret: bool = False
    """Whether the value may hold a secret."""


OF_DEADLINE = frozenset({"finish_by", "tz"})
"""Options that say which moment to finish by."""


class CarriedDeadline(NamedTuple):
    """What becomes of the time to finish by in a command that goes on, and the words that say so before it."""

    drop: Set[str] = frozenset()
    add: Sequence[str] = ()
    words: str = ""


NO_DEADLINE = CarriedDeadline()


def name_way_on(option: str) -> str | None:
    """Return the command that goes on with what a schedule has begun; None for what was typed as it stands."""
    way: str | None = click.get_current_context().meta.get(WAY_ON)
    return None if way is None else f"{way} {option}"


def choose_spelling(ctx: click.Context) -> Spell:
    """Return how messages of a command name settings: as options, and what goes on as the command of its schedule."""
    way: str | None = ctx.meta.get(WAY_ON)
    if way is None:
        return spell_option

    def spell(name: str, value: str | bool | None = None) -> str:
        return f"{way} --again" if name == "resume" and value is True else spell_option(name, value)

    return spell


def rebuild_command(
    *,
    drop: Collection[str] = (),
    add: Sequence[str] = (),
    inputs: Sequence[str] | None = None,
    command: str | None = None,
) -> str:
    """Return the running command as a line for the shell: what was typed, without `drop`, with `add` at the end.

    Settings that came from the environment become options, since another shell does not have them. What may hold a
    secret is left to its variable. With `command` it is that one, which takes over the settings that it has.
    """
    ctx = click.get_current_context()
    typed = [*_split(ctx.command, ctx.meta.get(TYPED, ())), *_from_environment(ctx)]
    if command is not None:
        taken = _list_settings(ctx, command)
        typed = [each for each in typed if each.name in taken]
    line = _compose(command or ctx.command.name or "", typed, drop, add, inputs)
    from_stdin = inputs is None and any(not each.flag and each.value == "-" for each in typed)
    return line + (f" < {shlex.quote(path)}" if from_stdin and (path := find_redirected()) else "")


def _list_settings(ctx: click.Context, command: str) -> Collection[str]:
    """Name the settings that another command takes."""
    root = ctx.find_root()
    other = root.command.get_command(root, command) if isinstance(root.command, click.Group) else None
    names = OPTION_SPECS.keys() if other is None else {param.name or "" for param in other.params}
    return SHARED | (names & OPTION_SPECS.keys())


def rebuild_recorded(
    words: Sequence[str],
    command: click.Command,
    *,
    drop: Collection[str] = (),
    add: Sequence[str] = (),
    inputs: Sequence[str] | None = None,
) -> str:
    """Return a command as a manifest has it, the program's name first, as a line for the shell; see `rebuild_command`.

    With other `inputs` it takes over the settings alone. What it had from its environment is not known.
    """
    typed = list(_split(command, words[2:]))
    if inputs is not None:
        typed = [each for each in typed if _is_shared(each)]
    return _compose(words[1], typed, drop, add, inputs)


def find_typed(words: Sequence[str], command: click.Command, name: str) -> str | None:
    """Return what was typed for an option in a command as a manifest has it; None if that does not have it."""
    return next((each.value for each in reversed([*_split(command, words[2:])]) if each.name == name), None)


def carry_moment(given: str, moment: datetime) -> CarriedDeadline:
    """Return what becomes of a time to finish by that was typed: one that has passed is left out.

    One that counts from now on is the moment that it was: read once more, it would be a later one.
    """
    if moment <= datetime.now(UTC):
        return CarriedDeadline(OF_DEADLINE, (), f", without --finish-by {given}, which has passed; give a new one")
    if given.startswith("+"):
        at = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return CarriedDeadline(frozenset({"finish_by"}), ("--finish-by", at))
    return NO_DEADLINE


def names_service(words: Sequence[str], command: click.Command) -> bool:
    """Tell whether a command as a manifest has it says which service is called, itself or by a profile."""
    return any(each.name in ("host", "profile") for each in _split(command, words[2:]))


def _is_shared(typed: TypedWord) -> bool:
    return typed.name in OPTION_SPECS or typed.name in SHARED


def _compose(
    command: str, typed: Sequence[TypedWord], drop: Collection[str], add: Sequence[str], inputs: Sequence[str] | None
) -> str:
    options = [word for each in typed if each.flag and each.name not in drop for word in _write(each)]
    arguments = [each.value or "" for each in typed if not each.flag] if inputs is None else inputs
    words = [command, *map(_guard, arguments), *options, *add]
    return f"{name_program()} {' '.join(word if _is_variable(word) else shlex.quote(word) for word in words)}"


def name_program() -> str:
    """Return what the shell finds this program by: its name, its path, or the interpreter with its module."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m bulkstop"
    found = shutil.which("bulkstop")
    with suppress(OSError):
        if script.name == "bulkstop" and not (found and script.samefile(found)):
            return shlex.quote(str(script))
    return "bulkstop"


def find_redirected() -> str | None:
    """Return the file that standard input is read from, where it is one that has a name."""
    with suppress(OSError):
        path = STDIN.readlink()
        if path.is_file() and path.samefile(STDIN):
            return str(path)
    return None


def needs_stdin(inputs: Iterable[str]) -> bool:
    """Tell whether a command that is pasted waits for somebody to give it the list again."""
    return "-" in inputs and find_redirected() is None


def _split(command: click.Command, words: Iterable[str]) -> Iterator[TypedWord]:
    """Yield each option with its value, and each argument, as click takes them."""
    left, is_over = iter(words), False
    by_flag = {flag: param for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    for word in left:
        if is_over or word == "-" or not word.startswith("-"):
            yield TypedWord(next((p.name or "" for p in command.params if isinstance(p, click.Argument)), ""), "", word)
        elif word == "--":
            is_over = True
        else:
            flag, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
            param = by_flag.get(flag)
            is_flag = isinstance(param, click.Option) and param.is_flag
            text = None if is_flag else value if equals else next(left, "")
            name = (param.name if param else None) or ""
            yield TypedWord(name, flag, text, name in OPTION_SPECS and _is_secret(name, text or ""))


def _from_environment(ctx: click.Context) -> Iterator[TypedWord]:
    """Yield what the command has from variables, but for what may hold a secret."""
    for param in ctx.command.params:
        name, variable = param.name or "", param.envvar
        is_meant = ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT and isinstance(variable, str)
        text = os.environ.get(str(variable), "")
        if not is_meant or (name in OPTION_SPECS and may_hold_secret(name, text)):
            continue
        if isinstance(param, click.Option) and param.is_flag:
            yield TypedWord(name, (param.opts if ctx.params[name] else param.secondary_opts)[0], None)
        else:
            for value in text.split() if param.multiple else [text]:
                yield TypedWord(name, param.opts[-1], value)


def _write(typed: TypedWord) -> list[str]:
    if typed.value is None:
        return [typed.flag]
    if typed.is_secret:
        return [typed.flag, f'"$BULKSTOP_{typed.name.upper()}"']
    return [typed.flag, typed.value] if not typed.value.startswith("-") else [f"{typed.flag}={typed.value}"]


def _is_secret(name: str, value: str) -> bool:
    """Tell whether a value may hold a secret, or was hidden by a manifest as it might."""
    return value == HIDDEN or may_hold_secret(name, value)


def _is_variable(word: str) -> bool:
    return word.startswith('"$BULKSTOP_') and word.endswith('"')


def _guard(argument: str) -> str:
    """Keep a name that begins as options do from being taken for one."""
    return f"./{argument}" if argument.startswith("-") and argument != "-" else argument
