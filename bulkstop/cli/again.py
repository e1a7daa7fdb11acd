"""Rebuilds the command that was typed, as one that can be pasted into a shell."""

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
"""Key of a click context: the words that followed the name of its command."""
SHARED = frozenset({"profile", "config"})
"""Options that mean the same for every command, besides the settings."""
WAY_ON = "bulkstop.way_on"
"""Key of a click context: the `schedule run` command, without its last option, that is suggested instead of `stop`."""
VERDICT = "bulkstop.verdict"
"""Key of a click context: one line on how the last command ended."""
COURIERS = "bulkstop.couriers"
"""Key of a click context: the list that collects the couriers of the called commands, if the caller waits for them."""
FOUND = "bulkstop.found"
"""Key of a click context: the function that receives the result of `verify` or `check`, if a caller wants it."""
STDIN = Path("/proc/self/fd/0")


class TypedWord(NamedTuple):
    """An option with its value, or an argument, as it was typed; an argument has an empty `flag`."""

    name: str
    flag: str
    value: str | None
    is_secret: bool = False
    """Whether the value may hold a secret."""


OF_DEADLINE = frozenset({"finish_by", "tz"})
"""Options that set the time to finish by."""


class CarriedDeadline(NamedTuple):
    """How a suggested command carries over the time to finish by, with the words about it that precede the command."""

    drop: Set[str] = frozenset()
    add: Sequence[str] = ()
    words: str = ""


NO_DEADLINE = CarriedDeadline()


def name_way_on(option: str) -> str | None:
    """Return the `schedule run` command that continues a firing; None outside a schedule."""
    way: str | None = click.get_current_context().meta.get(WAY_ON)
    return None if way is None else f"{way} {option}"


def choose_spelling(ctx: click.Context) -> Spell:
    """Return how messages name settings: as options, and `resume` as the command of the schedule, if there is one."""
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

    Settings from the environment become options, because another shell does not have them; possible secrets stay in
    their variables. With `command`, the line runs that command instead, with the settings that it accepts.
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
    """Return the names of the settings that another command accepts."""
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
    """Return the shell line of a command in a manifest, whose words begin with the program; see `rebuild_command`.

    With other `inputs`, only the settings are kept. Settings that came from its environment are not known.
    """
    typed = list(_split(command, words[2:]))
    if inputs is not None:
        typed = [each for each in typed if _is_shared(each)]
    return _compose(words[1], typed, drop, add, inputs)


def find_typed(words: Sequence[str], command: click.Command, name: str) -> str | None:
    """Return the value that was typed for an option of a command in a manifest; None if it was not typed."""
    return next((each.value for each in reversed([*_split(command, words[2:])]) if each.name == name), None)


def carry_moment(given: str, moment: datetime) -> CarriedDeadline:
    """Return how a typed time to finish by is carried over; one that has passed is dropped.

    A relative time such as +2h becomes its fixed moment; read once more, it would be later.
    """
    if moment <= datetime.now(UTC):
        words = f", without --finish-by {given}, because that time has passed (add a new one if you need it)"
        return CarriedDeadline(OF_DEADLINE, (), words)
    if given.startswith("+"):
        at = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return CarriedDeadline(frozenset({"finish_by"}), ("--finish-by", at))
    return NO_DEADLINE


def names_service(words: Sequence[str], command: click.Command) -> bool:
    """Return whether a command in a manifest names the service, by --host or --profile."""
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
    """Return how the shell finds this program: its name, its path, or the interpreter with `-m bulkstop`."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m bulkstop"
    found = shutil.which("bulkstop")
    with suppress(OSError):
        if script.name == "bulkstop" and not (found and script.samefile(found)):
            return shlex.quote(str(script))
    return "bulkstop"


def find_redirected() -> str | None:
    """Return the file that standard input is redirected from; None if it has no name."""
    with suppress(OSError):
        path = STDIN.readlink()
        if path.is_file() and path.samefile(STDIN):
            return str(path)
    return None


def needs_stdin(inputs: Iterable[str]) -> bool:
    """Return whether a pasted command would wait for its list on standard input."""
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
    """Yield the options that the command takes from variables, except possible secrets."""
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
    """Return whether a value may hold a secret, or is one that a manifest has hidden."""
    return value == HIDDEN or may_hold_secret(name, value)


def _is_variable(word: str) -> bool:
    return word.startswith('"$BULKSTOP_') and word.endswith('"')


def _guard(argument: str) -> str:
    """Prefix a file name that begins with a dash with `./`, so that it is not read as an option."""
    return f"./{argument}" if argument.startswith("-") and argument != "-" else argument
