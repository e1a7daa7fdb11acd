"""Settings as options: flag, else environment, else profile, else default."""

import os
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulkstop.cli.log import log_to_stderr
from bulkstop.errors import SettingsError
from bulkstop.runs.wiring import list_secrets
from bulkstop.settings import OPTION_SPECS, Settings, default_of, instead_of_nothing, is_empty, join_limits
from bulkstop.settings.profiles import read_profile
from bulkstop.settings.spec import Group

CREDENTIALS = frozenset({"token", "token_file", "token_command", "client_secret", "client_secret_file"})
SECRETS = tuple(name for name, knob in OPTION_SPECS.items() if knob.secret)
"""Settings that have a variable and no option."""


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic from click 8.4 on only


class ParsedText(_ParamType):
    """An option whose text is read by a function that raises ValueError with the reason."""

    def __init__(self, read: Callable[[str], Any], metavar: str) -> None:
        self.name = metavar
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a default is a value already."""
        if not isinstance(value, str):
            return value
        if is_empty(value):
            advice = instead_of_nothing((param.name if param else None) or "")
            self.fail(f"is empty; {advice}{_origin(param, ctx)}", param, ctx)
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{error}{_origin(param, ctx)}", param, ctx)


def _origin(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Name the variable if a text comes from one: nobody looks for it there."""
    is_from_variable = param is not None and ctx is not None and _is_from_variable(ctx, param.name or "")
    return f" (from {param.envvar})" if param is not None and is_from_variable else ""


def _is_from_variable(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT


class GroupedOption(click.Option):
    """An option that stands below a heading of its own in a help page."""

    heading = ""


class GroupedCommand(click.Command):
    """A command whose help has the settings in their groups, below its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each below its heading."""
        found: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = param.heading if isinstance(param, GroupedOption) else "Options"
            if row := param.get_help_record(ctx):
                found.setdefault(heading, []).append(row)
        for heading, rows in found.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def with_settings(*groups: Group) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add to a command the options of the profile, and one for every setting of these groups that may have one."""
    names = [name for name, spec in OPTION_SPECS.items() if spec.group in groups and not spec.secret]
    options = [*_of_profile(), *map(_option, names)]
    return lambda command: reduce(lambda found, option: option(found), reversed(options), command)


def _of_profile() -> list[Callable[[Any], Any]]:
    file = {"type": ParsedText(str, "FILE"), "metavar": "FILE", "default": "bulkstop.toml", "show_default": True}
    name = {"type": ParsedText(str, "NAME"), "metavar": "NAME"}
    return [
        _grouped("Profile", "--profile", envvar="BULKSTOP_PROFILE", help="Take [profile.NAME] of that file.", **name),
        _grouped("Profile", "--config", envvar="BULKSTOP_CONFIG", help="File of profiles.", **file),
    ]


def _grouped(heading: str, *names: str, **words: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=type("Option", (GroupedOption,), {"heading": heading}), **words)


def read_settings(ctx: click.Context) -> Settings:
    """Put the settings of a command together; raises SettingsError, which names the option.

    A profile is shared by all commands, so it may have what this one has no option for.
    Until the command has ended, warnings are logged without what is secret in its settings.
    """
    refuse_empty_variables(ctx)
    given: dict[str, Any] = {
        name: os.environ.get(f"BULKSTOP_{name.upper()}") if knob.secret else ctx.params[name]
        for name, knob in OPTION_SPECS.items()
        if knob.secret or (name in ctx.params and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT)
    }
    given = {name: value for name, value in given.items() if value is not None}
    # What is protected stays so whatever is typed: files given nearer are added and replace none.
    if ctx.get_parameter_source("protect") is ParameterSource.COMMANDLINE:
        given["protect"] = (*os.environ.get("BULKSTOP_PROTECT", "").split(), *given["protect"])
    config = ctx.params["config"]
    if ctx.get_parameter_source("config") is not ParameterSource.DEFAULT and not os.access(config, os.R_OK):
        raise SettingsError(f"--config {config}: no such file, or it cannot be read")
    # One way to a token given nearer replaces whatever way the profile has.
    replaced = CREDENTIALS if CREDENTIALS & given.keys() else frozenset()
    profile = read_profile(config, ctx.params["profile"])
    quota_from = "BULKSTOP_QUOTA" if _is_from_variable(ctx, "quota") else "--quota"
    for name in profile.settings:
        if name == "protect":
            given[name] = (*profile.value(name), *given.get(name, ()))
        elif name not in given and name not in replaced:
            given[name] = profile.value(name)
            if name == "quota":
                quota_from = f"{profile.where(name)}: quota"
    if "quota" in given:
        try:
            given["quota"] = join_limits(given["quota"])
        except ValueError as error:
            raise SettingsError(f"{quota_from}: {error}") from None
    if "host" not in ctx.params:  # nobody is called, so nobody need be named, nor fit the rest
        given = {name: given[name] for name in given if name in ctx.params or name in SECRETS} | {"host": "localhost"}
    settings = Settings(**given)
    if "log_level" not in ctx.params:  # else the command says itself what is logged
        ctx.with_resource(log_to_stderr("warning", as_json=False, secrets=list_secrets(settings)))
    return settings


def _option(name: str) -> Callable[[Any], Any]:
    knob, default = OPTION_SPECS[name], default_of(name)
    flag = knob.option(name)
    words: dict[str, Any] = {"help": knob.help, "envvar": f"BULKSTOP_{flag[2:].replace('-', '_').upper()}"}
    if isinstance(default, bool):
        return _grouped(knob.group, f"{flag}/--no-{flag[2:]}", name, default=default, **words)
    words |= {"type": ParsedText(knob.read, knob.metavar), "metavar": knob.metavar, "multiple": knob.repeatable}
    if knob.repeatable:
        words |= {"default": [str(item) for item in default], "show_default": True}
    elif default not in (None, ""):
        words |= {"default": f"{default:g}" if isinstance(default, float) else default, "show_default": True}
    return _grouped(knob.group, flag, name, **words)


def refuse_empty_variables(ctx: click.Context, secrets: Iterable[str] = SECRETS) -> None:
    """Raise SettingsError for a variable of the command that is set to nothing: that may be a slip, and is no value."""
    options = {name: param.envvar for param in ctx.command.params if (name := param.name) and param.envvar}
    for name, variable in (options | {name: f"BULKSTOP_{name.upper()}" for name in secrets}).items():
        if isinstance(variable, str) and variable in os.environ and is_empty(os.environ[variable]):
            raise SettingsError(f"{variable}: is empty; {_instead(name)}, or unset it")


def _instead(name: str) -> str:
    return instead_of_nothing(name) if name == "quota" else "give it a value"
