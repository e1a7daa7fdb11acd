"""Settings as options: flag, else environment, else profile, else default."""

import os
from collections.abc import Callable, Iterable, Set
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulkstop.cli.log import log_to_stderr
from bulkstop.errors import SettingsError
from bulkstop.runs.wiring import list_secrets
from bulkstop.settings import OPTION_SPECS, Settings, default_of, instead_of_nothing, is_empty, join_limits
from bulkstop.settings.profiles import read_profile

CREDENTIALS = frozenset({"token", "token_file", "token_command", "client_secret", "client_secret_file"})
OF_STOP = frozenset(
    [
        "voice_path",
        "sms_path",
        "order",
        "protect",
        "max_campaigns",
        "max_failures",
        "waves",
        "soak_s",
        "max_outage_s",
        "only_running",
        "disable_schedule",
        "finish_by",
        "tz",
        "grace_s",
        "concurrency",
    ]
)
"""Settings that mean something to `stop` alone."""
OF_CALLS = frozenset(["quota", "quota_store", "adaptive", "pace", "attempts", "max_retry_after_s"])
"""Settings that mean nothing to a command that calls nobody."""

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


def with_settings(command: Callable[..., Any], *, but: Set[str] = frozenset()) -> Callable[..., Any]:
    """Add to a command an option for every setting that may stand on a command line, `but` for those named."""
    for name in reversed(list(OPTION_SPECS)):
        if not OPTION_SPECS[name].secret and name not in but:
            command = _option(name)(command)
    command = click.option(
        "--config",
        default="bulkstop.toml",
        show_default=True,
        type=ParsedText(str, "FILE"),
        metavar="FILE",
        envvar="BULKSTOP_CONFIG",
        help="File of profiles.",
    )(command)
    return click.option(
        "--profile",
        type=ParsedText(str, "NAME"),
        metavar="NAME",
        envvar="BULKSTOP_PROFILE",
        help="Take [profile.NAME] of that file.",
    )(command)


def read_settings(ctx: click.Context, *, calls: bool = True) -> Settings:
    """Put the settings of a command together; raises SettingsError, which names the option.

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
    if not calls:
        given.setdefault("host", "localhost")  # nobody is called, so nobody need be named
    settings = Settings(**given)
    if "log_level" not in ctx.params:  # else the command says itself what is logged
        ctx.with_resource(log_to_stderr("warning", as_json=False, secrets=list_secrets(settings)))
    return settings


def _option(name: str) -> Callable[[Any], Any]:
    knob, default = OPTION_SPECS[name], default_of(name)
    flag = knob.option(name)
    words: dict[str, Any] = {"help": knob.help, "envvar": f"BULKSTOP_{flag[2:].replace('-', '_').upper()}"}
    if isinstance(default, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=default, **words)
    words |= {"type": ParsedText(knob.read, knob.metavar), "metavar": knob.metavar, "multiple": knob.repeatable}
    if knob.repeatable:
        words |= {"default": [str(item) for item in default], "show_default": True}
    elif default not in (None, ""):
        words |= {"default": f"{default:g}" if isinstance(default, float) else default, "show_default": True}
    return click.option(flag, name, **words)


def refuse_empty_variables(ctx: click.Context, secrets: Iterable[str] = SECRETS) -> None:
    """Raise SettingsError for a variable of the command that is set to nothing: that may be a slip, and is no value."""
    options = {name: param.envvar for param in ctx.command.params if (name := param.name) and param.envvar}
    for name, variable in (options | {name: f"BULKSTOP_{name.upper()}" for name in secrets}).items():
        if isinstance(variable, str) and variable in os.environ and is_empty(os.environ[variable]):
            raise SettingsError(f"{variable}: is empty; {_instead(name)}, or unset it")


def _instead(name: str) -> str:
    return instead_of_nothing(name) if name == "quota" else "give it a value"
