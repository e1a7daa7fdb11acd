"""Settings as command-line options; an option overrides a variable, which overrides a profile, then the default."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from bulkstop.cli.again import TYPED, choose_spelling
from bulkstop.cli.imports import freeze_imports
from bulkstop.cli.words.completion import FileName, complete_by, names_file
from bulkstop.cli.words.naming import name_source
from bulkstop.errors import SettingsError
from bulkstop.model import CampaignType
from bulkstop.naming import spelling
from bulkstop.settings import OPTION_SPECS, Settings, default_of, is_empty, join_limits, load, suggest_value
from bulkstop.settings.load import CONFIG, merge_settings, open_profile, variable_of
from bulkstop.settings.profiles import Profile, refuse_without_host
from bulkstop.settings.spec import Group
from bulkstop.settings.targets import (
    Profiles,
    borrow_reach,
    list_scopes,
    load_other_profile,
    read_targets,
    targets_of,
)
from bulkstop.text.likeness import find_near

SECRETS = tuple(name for name, spec in OPTION_SPECS.items() if spec.secret)
"""Settings that have a variable but no option."""
MAIN = "Main options"
HEADINGS = {
    MAIN: (),
    "Campaigns": (
        *("running", "wanted", "kinds", "priority", "name", "singly", "calls", "others_count", "id_prefix"),
        *("second_stop", "unknown", "campaigns", "accounts", "streams", "emergency", "other_status", "churn", "seed"),
        *("contacts", "contacts_after_stop_s", "calling_hours"),
    ),
    "Load": (
        *("rate", "ramp", "steps", "step_s", "spike", "closed", "length_s", "count", "max_in_flight", "processes"),
        *("max_late_s", "require", "find_limit", "max_rate", "write_quota"),
        *("warmup_s", "arrivals", "abort_on", "compare", "max_regression"),
    ),
    "Faults": (
        *("throttle_status", "retry_after_s", "rate_limit_headers", "latency_ms", "latency_sigma", "slow", "refused"),
        *("failure_rate", "fail_first_rate", "failure_status"),
    ),
    "Input and output": (
        *("output", "resume", "retry_failed", "retry", "trust_results", "overwrite", "fmt", "strict", "as_json"),
        *("results", "hdr", "html", "print_token", "check", "latest", "failed"),
    ),
    "Safety": ("dry_run", "yes", "expect", "again", "reads_back", "allowed"),
    "Rate limit": (),
    "Connection": ("profile", "config", "port"),
    "Credentials": ("apps", "require_jti", "analytics"),
    "Timing": ("every_s", "for_s", "until"),
    "Logging": ("quiet", "log_level", "log_json", "log"),
    "Other": (),
}
"""The headings of help pages in their order, and the command parameters below each.

A setting is below the heading of its group; an option that is listed nowhere is below the last heading.
"""
FLAGS_WIDTH = 26
"""Width of the column of flags in a help page; the help of a longer flag begins on the next line."""


_PROFILE = "bulkstop.profile"  # key of a click context: the profile of its command
_PROFILES = "bulkstop.profiles"  # key of a click context: the profiles that targets and rows may name


class Origin(NamedTuple):
    """The file that settings were read from, and the profile in it; None where there is none."""

    config: str | None
    profile: str | None


if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from bulkstop.runs.clients import ListedTargets

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only from click 8.4 on


class ParsedText(_ParamType):
    """An option type whose text is read by a function that raises ValueError with the reason."""

    def __init__(self, read: Callable[[str], Any], metavar: str) -> None:
        self.name = metavar
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text; a default already is a value."""
        if not isinstance(value, str):
            return value
        if is_empty(value):
            advice = suggest_value((param.name if param else None) or "")
            self.fail(f"is empty; {advice}{name_source(param, ctx)}", param, ctx)
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{error}{name_source(param, ctx)}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Offer the files or words that the metavar names."""
        return complete_by(self.name, incomplete)


class GroupedCommand(click.Command):
    """A command that groups its options below headings, and remembers what was typed.

    `main` names the parameters that most users need; they come first.
    """

    def __init__(self, *args: Any, main: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._main = tuple(main)
        for param in self.params:
            if param.type is click.STRING and names_file(param.metavar or ""):
                param.type = FileName()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words, and keep them so that the command can be suggested again."""
        ctx.meta[TYPED] = words = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            typed, near = _find_long_option(self, words, error.option_name)
            meant = f"did you mean {near}?" if near else f"see {ctx.command_path} --help"
            raise click.UsageError(f"No such option {typed!r}; {meant}", ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below their headings, the most important ones first."""
        params = {param.name or "": param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        rows = {name: row for name, param in params.items() if (row := param.get_help_record(ctx))}
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for name in self._main:
            sections[MAIN].append(rows.pop(name))
        for name, row in rows.items():
            sections[heading_of(name)].append(row)
        for heading, lines in sections.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl([(_write_flags(flags), clause) for flags, clause in lines], FLAGS_WIDTH)


def _write_flags(flags: str) -> str:
    """Return the flags of an option, padded to their column; a switch and its opposite become --[no-]NAME."""
    on, _, off = flags.partition(" / --no-")
    return (f"--[no-]{off}" if off and on == f"--{off}" else flags).ljust(FLAGS_WIDTH)


def _find_long_option(command: click.Command, words: Iterable[str], name: str) -> tuple[str, str | None]:
    """Return an unknown option as it was typed, and the option that was probably meant, if any.

    Click reads a word with one dash as several short options; `name` is the first unknown one.
    """
    flags = [flag for param in command.params for flag in param.opts if flag.startswith("--")]
    if name.startswith("--"):
        return name, find_near(name, flags, 0.7)
    for word in words:
        if word.startswith(name) and len(word) > len(name) and (near := find_near(word.partition("=")[0], flags, 0.8)):
            return word, near
    return name, None


def heading_of(name: str) -> str:
    """Return the heading of a parameter in a help page."""
    if name in OPTION_SPECS:
        return OPTION_SPECS[name].group.heading
    return next((heading for heading, names in HEADINGS.items() if name in names), "Other")


_PROFILE_OPTIONS = (
    click.option(
        "--profile",
        type=ParsedText(str, "NAME"),
        metavar="NAME",
        envvar="BULKSTOP_PROFILE",
        help="Use the settings of [profile.NAME] in the file of profiles.",
    ),
    click.option(
        "--config",
        default=CONFIG,
        show_default=True,
        type=ParsedText(str, "FILE"),
        metavar="FILE",
        envvar="BULKSTOP_CONFIG",
        help="File of profiles, in TOML.",
    ),
)


def with_options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add options to a command in this order."""
    return lambda command: reduce(lambda built, option: option(built), reversed(options), command)


def with_settings(*groups: Group) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of the profile to a command, and those of all settings of these groups except secrets."""
    names = [name for name, spec in OPTION_SPECS.items() if spec.group in groups and not spec.secret]
    return with_options(*_PROFILE_OPTIONS, *map(_make_option, names))


def read_settings(ctx: click.Context) -> Settings:
    """Return the settings of a command; raises SettingsError, which names the option.

    A profile may have settings that this command has no option for, because all commands share it. Until the command
    ends, messages name options, and logged warnings contain none of its secrets.
    """
    with freeze_imports():  # a help page does not wait for these
        from bulkstop.cli.log import log_to_stderr
        from bulkstop.runs.wiring import list_secrets
        from bulkstop.settings.machine_zone import explain_offset
    ctx.with_resource(spelling(choose_spelling(ctx)))
    if fault := explain_offset():
        raise SettingsError(f"{fault}, so times cannot be shown; correct or unset it")
    refuse_empty_variables(ctx)
    options = _get_values(ctx, ParameterSource.COMMANDLINE)
    if "quota" in options:
        options["quota"] = _join_limits(options["quota"])
    variables = _get_values(ctx, ParameterSource.ENVIRONMENT)
    secrets = {name: variable_of(name) for name in SECRETS}
    variables |= {name: os.environ[variable] for name, variable in secrets.items() if variable in os.environ}
    if "protect" in options:  # typed files are added to those of the variable
        variables["protect"] = tuple(os.environ.get(variable_of("protect"), "").split())
    is_named = ctx.get_parameter_source("config") is not ParameterSource.DEFAULT
    config = ctx.params["config"] if is_named else None
    profile = open_profile(ctx.params["profile"], config)
    if "targets" in ctx.params and ctx.params["profile"] is None and profile.values is None:
        profile = _open_first_profile(options, variables, config) or profile
    ctx.meta[_PROFILE] = profile
    values = merge_settings(options, variables, profile)
    if "targets" in ctx.params:
        values |= borrow_reach(profile, values, config)
    if "host" not in ctx.params:
        values["host"] = "localhost"  # the command makes no call, so it needs no host
    elif "host" not in values:
        refuse_without_host(profile)
    ctx.obj = settings = Settings(**values)
    load_other = partial(load_other_profile, own=settings, options=options, variables=variables, config=config)
    ctx.meta[_PROFILES] = Profiles(settings, None if profile.values is None else profile.name, load_other)
    _warn_of_exposures(ctx, settings, options)
    if "log_level" not in ctx.params:  # otherwise the command sets up its own log
        ctx.with_resource(log_to_stderr("warning", as_json=False, secrets=list_secrets(settings)))
    return settings


def _open_first_profile(options: Mapping[str, Any], variables: Mapping[str, Any], config: str | None) -> Profile | None:
    """Return the profile of the first target that names one; a command without a profile of its own uses it."""
    path = options.get("targets") or variables.get("targets")
    target = next((each for each in read_targets(path) if each.profile), None) if path else None
    if target is None or target.profile is None:
        return None
    try:
        return open_profile(target.profile, config)
    except SettingsError as fault:
        raise SettingsError(f"{target.where}: {fault}") from None


def read_profiles(ctx: click.Context) -> Profiles:
    """Return the profiles that targets and rows of a command may name; call `read_settings` first."""
    profiles: Profiles = ctx.meta[_PROFILES]
    return profiles


def read_listed_targets(
    ctx: click.Context, settings: Settings, types: Sequence[CampaignType] | None = None
) -> "ListedTargets | None":
    """Return the lists of a command's targets; None for a command about one account, without targets.

    Targets come from the file of --targets, or from the profile unless an account or a stream was typed. Raises
    SettingsError for an invalid target.
    """
    from bulkstop.runs.clients import ListedTargets, choose_others

    profile: Profile = ctx.meta[_PROFILE]
    is_typed = any(
        ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("account_id", "stream_id", "iid")
    )
    targets = read_targets(settings.targets) if settings.targets else () if is_typed else targets_of(profile)
    if not targets:
        return None
    profiles = read_profiles(ctx)
    scopes = list_scopes(targets, profiles, types)
    return ListedTargets(scopes, choose_others(profiles, scopes))


def _warn_of_exposures(ctx: click.Context, settings: Settings, typed: Iterable[str]) -> None:
    from bulkstop.cli.log import log_to_stderr
    from bulkstop.cli.terminal import print_err
    from bulkstop.events import Warned
    from bulkstop.report.log import log_event
    from bulkstop.runs.wiring import list_secrets
    from bulkstop.settings.exposure import find_exposures

    exposures = list(find_exposures(settings, typed))
    as_json = bool(ctx.params.get("log_json"))
    with log_to_stderr("warning", as_json=as_json, secrets=list_secrets(settings)) if exposures else nullcontext():
        for exposure in exposures:
            log_event(Warned(exposure)) if as_json else print_err(f"warning: {exposure}")


def read_origin(ctx: click.Context) -> Origin:
    """Return where the settings of a command came from; call `read_settings` first."""
    profile: Profile = ctx.meta[_PROFILE]
    is_there = bool(profile.text) or profile.values is not None
    return Origin(profile.path if is_there else None, None if profile.values is None else profile.name)


def name_profile() -> list[str]:
    """Return the option --profile for a profile that was taken from the targets; else no option."""
    ctx = click.get_current_context()
    name = read_origin(ctx).profile
    is_said = ctx.params["profile"] is not None or name in (None, "default")
    return [] if is_said or name is None else ["--profile", name]


def read_profile_keys(ctx: click.Context) -> Collection[str]:
    """Return the settings that the command's profile contains; call `read_settings` first."""
    profile: Profile = ctx.meta[_PROFILE]
    return frozenset(profile.settings)


def describe_way(settings: Settings) -> list[tuple[str, str]]:
    """Return the rows of a plan that name the source of the settings, the proxy and the certificates."""
    from bulkstop.redact import hide_password
    from bulkstop.report.stop.plan import format_way

    proxy = None if settings.proxy is None else hide_password(settings.proxy)
    return format_way(*read_origin(click.get_current_context()), proxy, settings.ca, settings.cert)


def _get_values(ctx: click.Context, source: ParameterSource) -> dict[str, Any]:
    """Return the settings of a command that came from this source, such as options or variables."""
    return {name: ctx.params[name] for name in OPTION_SPECS if ctx.get_parameter_source(name) is source}


def _join_limits(limits: Iterable[Any]) -> Any:
    try:
        return join_limits(limits)
    except ValueError as error:
        raise SettingsError(f": {error}", setting="quota") from None


def _make_option(name: str) -> Callable[[Any], Any]:
    spec, default = OPTION_SPECS[name], default_of(name)
    flag = spec.option(name)
    words: dict[str, Any] = {"help": spec.help, "envvar": variable_of(name)}
    if isinstance(default, bool):
        other = f"--{flag.removeprefix('--no-')}" if flag.startswith("--no-") else f"--no-{flag[2:]}"
        return click.option(f"{flag}/{other}", name, default=default, **words)
    words |= {"type": ParsedText(spec.read, spec.metavar), "metavar": spec.metavar, "multiple": spec.repeatable}
    if spec.repeatable:
        words |= {"default": [str(item) for item in default], "show_default": True}
    elif default not in (None, ""):
        words |= {"default": f"{default:g}" if isinstance(default, float) else str(default), "show_default": True}
    return click.option(flag, name, **words)


def refuse_empty_variables(ctx: click.Context, secrets: Iterable[str] = SECRETS) -> None:
    """Raise SettingsError for an empty variable of the command, which may be a mistake."""
    options = {name: param.envvar for param in ctx.command.params if (name := param.name) and param.envvar}
    variables = {name: variable for name, variable in options.items() if isinstance(variable, str)}
    load.refuse_empty_variables(variables | {name: variable_of(name) for name in secrets})
