"""Settings as options: flag, else environment, else profile, else default."""

import os
from collections.abc import Callable, Set
from typing import Any

import click
from click.core import ParameterSource

from bulkstop.cli.log import logs
from bulkstop.errors import SettingsError
from bulkstop.model import Limit
from bulkstop.runs.masking import secrets_of
from bulkstop.settings import KNOBS, Settings, default_of, read_profile

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


class Reads(click.ParamType[Any]):
    """An option whose text is read by a function that raises ValueError with the reason."""

    def __init__(self, read: Callable[[str], Any], metavar: str) -> None:
        self.name = metavar
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a default is a value already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{error}{_origin(param, ctx)}", param, ctx)


def _origin(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Name the variable if a text comes from one: nobody looks for it there."""
    if param is None or ctx is None or ctx.get_parameter_source(param.name or "") is not ParameterSource.ENVIRONMENT:
        return ""
    return f" (from {param.envvar})"


def with_settings(command: Callable[..., Any], *, but: Set[str] = frozenset()) -> Callable[..., Any]:
    """Give a command an option for every setting that may stand on a command line, `but` for those named."""
    for name in reversed(list(KNOBS)):
        if not KNOBS[name].secret and name not in but:
            command = _option(name)(command)
    command = click.option(
        "--config",
        default="bulkstop.toml",
        show_default=True,
        metavar="FILE",
        envvar="BULKSTOP_CONFIG",
        help="File of profiles.",
    )(command)
    return click.option(
        "--profile", metavar="NAME", envvar="BULKSTOP_PROFILE", help="Take [profile.NAME] of that file."
    )(command)


def settings_of(ctx: click.Context, *, calls: bool = True) -> Settings:
    """Put the settings of a command together; raises SettingsError, which names the option.

    Until the command has ended, warnings are logged without what is secret in its settings.
    """
    given: dict[str, Any] = {
        name: os.environ.get(f"BULKSTOP_{name.upper()}") or None if knob.secret else ctx.params[name]
        for name, knob in KNOBS.items()
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
    for name, value in read_profile(config, ctx.params["profile"]).items():
        if name == "protect":
            given[name] = (*_from_profile(config, name, value), *given.get(name, ()))
        elif name not in given and name not in replaced:
            given[name] = _from_profile(config, name, value)
    if "quota" in given:
        given["quota"] = _limits(given["quota"])
    if not calls:
        given.setdefault("host", "localhost")  # nobody is called, so nobody need be named
    settings = Settings(**given)
    if "log_level" not in ctx.params:  # else the command says itself what is logged
        ctx.with_resource(logs("warning", as_json=False, secrets=secrets_of(settings)))
    return settings


def _option(name: str) -> Callable[[Any], Any]:
    knob, default = KNOBS[name], default_of(name)
    flag = knob.option(name)
    words: dict[str, Any] = {"help": knob.help, "envvar": f"BULKSTOP_{flag[2:].replace('-', '_').upper()}"}
    if isinstance(default, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=default, **words)
    words |= {"type": Reads(knob.read, knob.metavar), "metavar": knob.metavar, "multiple": knob.repeatable}
    if knob.repeatable:
        words |= {"default": [str(item) for item in default], "show_default": True}
    elif default not in (None, ""):
        words |= {"default": f"{default:g}" if isinstance(default, float) else default, "show_default": True}
    return click.option(flag, name, **words)


def _from_profile(config: str, name: str, value: Any) -> Any:
    knob = KNOBS[name]
    if isinstance(value, bool) is not isinstance(default_of(name), bool):
        raise SettingsError(f"{config}: {knob.option(name)[2:]}: {value!r} does not fit; see --help")
    if isinstance(value, bool):
        return value
    try:
        if knob.repeatable:
            return tuple(knob.read(item) for item in (value if isinstance(value, list) else value.split()))
        return knob.read(str(value))
    except ValueError as error:
        raise SettingsError(f"{config}: {knob.option(name)[2:]}: {error}") from None


def _limits(given: Any) -> tuple[Limit, ...]:
    limits = tuple(given)
    if None in limits and len(limits) > 1:
        raise SettingsError("--quota: none stands alone")
    return tuple(limit for limit in limits if limit is not None)
