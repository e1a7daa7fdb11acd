"""Combines settings: an option, else its variable, else the profile's key, else the default."""

import os
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from bulkstop.errors import SettingsError
from bulkstop.redact import find_passwords
from bulkstop.settings import (
    OPTION_SPECS,
    Settings,
    check_names,
    is_empty,
    is_hidden,
    join_limits,
    key_of,
    read,
    suggest_value,
)
from bulkstop.settings.environment_proxy import find_environment_proxy
from bulkstop.settings.profiles import Profile, read_profile

WAYS_TO_A_TOKEN = frozenset({"token", "token_file", "token_command", "client_secret", "client_secret_file"})
WAYS_TO_A_PASSWORD = frozenset({"proxy_password", "proxy_password_file"})
ADDRESSES = frozenset({"proxy", "quota_store"})
"""Settings that may contain a password, but are otherwise not secret."""
CONFIG = "bulkstop.toml"
"""The default file of profiles."""


def load_settings(profile: str | None, config: str | PurePath | None, options: Mapping[str, Any]) -> Settings:
    """Return settings from options, the environment and a profile; raises SettingsError for invalid ones."""
    check_names(options)
    names = {name: variable_of(name) for name in (*OPTION_SPECS, "profile", "config")}
    refuse_empty_variables(names)
    profile = _check_text("profile", profile) or os.environ.get(names["profile"])
    config = _check_text("config", config) or os.environ.get(names["config"])
    wanted = [name for name in OPTION_SPECS if name == "protect" or name not in options]
    variables = {name: _read_variable(name) for name in wanted if names[name] in os.environ}
    return Settings(**merge_settings(options, variables, open_profile(profile, config)))


def merge_settings(options: Mapping[str, Any], variables: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Return the value of every setting by precedence; raises SettingsError with the place of an invalid one.

    The proxy in the environment (HTTPS_PROXY) has the lowest precedence. Protection of all sources is added up instead
    of replaced. A source of the token, or of the proxy's password, replaces all such sources of lower precedence.
    """
    nearer = {**variables, **options}
    replaced = {name for ways in (WAYS_TO_A_TOKEN, WAYS_TO_A_PASSWORD) if ways & nearer.keys() for name in ways}
    wanted = [name for name in profile.settings if name == "protect" or name not in nearer.keys() | replaced]
    values = {name: profile.value(name) for name in wanted} | nearer
    if "quota" in values and "quota" not in options:
        where = variable_of("quota") if "quota" in variables else f"{profile.where('quota')}: quota"
        values["quota"] = _join_limits(where, values["quota"])
    if "proxy" not in values and (proxy := find_environment_proxy(values.get("host"))):
        values["proxy"] = proxy
    return values | {"protect": _add_up(options, variables, profile)}


def open_profile(name: str | None, config: str | None) -> Profile:
    """Return a profile of a file; a named file must exist, another one must be the user's own."""
    if config is not None and not os.access(config, os.R_OK):
        raise SettingsError(f" {config}: no such file, or it cannot be read", setting="config")
    return read_profile(config or CONFIG, name, is_named=config is not None)


def variable_of(name: str) -> str:
    """Return the environment variable of a setting, or of `profile` and `config`."""
    return f"BULKSTOP_{(key_of(name) if name in OPTION_SPECS else name).upper()}"


def list_open_variables() -> dict[str, str]:
    """Return the environment without secret settings, for a process that does not need them."""
    hidden = {variable_of(name): name for name in OPTION_SPECS if is_hidden(name)}
    return {
        variable: text
        for variable, text in os.environ.items()
        if variable not in hidden or (hidden[variable] in ADDRESSES and not find_passwords(text))
    }


def refuse_empty_variables(variables: Mapping[str, str]) -> None:
    """Raise SettingsError for an empty variable of these settings, which may be a mistake."""
    for name, variable in variables.items():
        if variable in os.environ and is_empty(os.environ[variable]):
            advice = suggest_value(name) if name == "quota" else "give it a value"
            raise SettingsError(f"{variable}: is empty; {advice}, or unset it")


def _read_variable(name: str) -> Any:
    spec, text = OPTION_SPECS[name], os.environ[variable_of(name)]
    try:
        return tuple(map(spec.read, text.split())) if spec.repeatable else spec.read(text)
    except ValueError as error:
        raise SettingsError(f"{variable_of(name)}: {error}") from None


def _join_limits(where: str, limits: Iterable[Any]) -> Any:
    try:
        return join_limits(limits)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None


def _add_up(options: Mapping[str, Any], variables: Mapping[str, Any], profile: Profile) -> tuple[str, ...]:
    files = profile.value("protect") if "protect" in profile.settings else ()
    more = read("protect", options["protect"]) if "protect" in options else ()
    return (*files, *variables.get("protect", ()), *more)


def _check_text(name: str, value: str | PurePath | None) -> str | None:
    if value is not None and (not isinstance(value, str | PurePath) or is_empty(value)):
        fault = "is empty; give it a value" if isinstance(value, str) else f"is of type {type(value).__name__}, no text"
        raise SettingsError(f": {fault}", setting=name)
    return None if value is None else str(value)
