"""Reads profiles, which are settings in a TOML file; errors have the line of the key."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from bulkstop.errors import SettingsError
from bulkstop.naming import name_setting
from bulkstop.settings import OPTION_SPECS, default_of, is_empty, key_of, suggest_value
from bulkstop.settings.config_file import read_config
from bulkstop.settings.values import ALSO_TAKES, write_text
from bulkstop.text.faults import explain_toml
from bulkstop.text.likeness import find_near, suggest_near

TABLE = "profile"
"""The table of profiles in a file; each table in it is a profile."""
SCHEDULES = "schedule"
"""The table of schedules in such a file, which only `bulkstop schedule` reads."""
TARGETS = "target"
"""The name of the target tables in a profile: [[profile.NAME.target]]."""
KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}
"""The names of TOML types."""
NAMED = 5
"""The number of profiles that a message suggests."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`[profile.NAME]` of a file: the non-empty value of each setting in it."""

    path: str
    name: str = "default"
    text: str = ""
    values: Mapping[str, Any] | None = None
    targets: tuple[Mapping[str, Any], ...] = ()
    """The values of its tables `[[profile.NAME.target]]`."""

    @property
    def settings(self) -> Iterator[str]:
        """Yield the settings in the profile."""
        names = {key_of(name): name for name in OPTION_SPECS}
        return (names[key] for key in self.values or {})

    def value(self, name: str) -> Any:
        """Return the parsed value of a setting; raises SettingsError, with the line, for an invalid one."""
        spec, key, value = OPTION_SPECS[name], key_of(name), (self.values or {})[key_of(name)]
        if fault := _explain_misfit(name, value):
            raise SettingsError(f"{self.where(key)}: {key}: {fault}")
        if isinstance(value, bool):
            return value
        try:
            if spec.repeatable:
                return tuple(spec.read(item) for item in (value if isinstance(value, list) else value.split()))
            return spec.read(write_text(value))
        except ValueError as error:
            raise SettingsError(f"{self.where(key)}: {key}: {error}") from None

    def where(self, key: str) -> str:
        """Return the place of a key: the file, and the line if it can be found."""
        return _where(self.path, self.text, TABLE, self.name, key)


def read_profile(path: str, name: str | None, *, is_named: bool = True) -> Profile:
    """Return `[profile.NAME]` of a TOML file; `is_named` is False for a file that was only found in the folder.

    Without a name it is `[profile.default]`, if the file has that; a missing file is then an empty profile. Raises
    SettingsError for an untrusted file, a missing profile, values outside of profiles, an unknown key, an empty value,
    and a secret, which must not be in a file of settings.
    """
    text = read_config(path, is_named=is_named)
    if text is None:
        if name is None:
            return Profile(path)
        raise SettingsError(
            f" {path}: no such file; {name_setting('profile')} {name} needs it", setting="config"
        ) from None
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        why = explain_toml(error, text)
        raise SettingsError(f" {path}: cannot be read as TOML: {why}", setting="config") from None
    profiles = _find_profiles(path, text, document)
    if name is None and "default" not in profiles:
        _refuse_near_default(path, text, profiles)
        return Profile(path, text=text)
    values = profiles.get(name or "default")
    if values is None:
        raise SettingsError(
            f" {name}: {path} has no [profile.{name}]{suggest_near(name or '', profiles)}", setting="profile"
        )
    profile = Profile(path, name or "default", text, *_split_targets(values))
    for key, value in (profile.values or {}).items():
        if fault := _explain_unknown_key(key) or _explain_empty(key, value):
            raise SettingsError(f"{profile.where(key)}: {fault}")
    return profile


def list_profiles(profile: Profile) -> list[str]:
    """Return the names of all profiles in the file of a profile."""
    return list(tomllib.loads(profile.text).get(TABLE, {}))


def _split_targets(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
    """Return the values of a profile, and its targets."""
    targets = values.get(TARGETS)
    if not isinstance(targets, list) or not targets or not all(isinstance(each, dict) for each in targets):
        return values, ()
    return {key: value for key, value in values.items() if key != TARGETS}, tuple(targets)


def _find_profiles(path: str, text: str, document: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables of profiles by name; raises SettingsError for other content of the file.

    A guard in a wrong table would be ignored without notice.
    """
    for key, value in document.items():
        if key == SCHEDULES and isinstance(value, dict):
            continue
        if key != TABLE or not isinstance(value, dict):
            raise SettingsError(f"{_where(path, text, key)}: {_explain_outside(key, value)}")
    profiles: Mapping[str, Any] = document.get(TABLE, {})
    for name, value in profiles.items():
        if not isinstance(value, dict):
            raise SettingsError(f"{_where(path, text, TABLE, name)}: {_explain_no_profile(name, value)}")
    return profiles


def refuse_without_host(profile: Profile) -> None:
    """Raise SettingsError for a missing host, with the profile that lacks it or the profiles to choose from, if any."""
    if profile.values is not None:
        where, given = f"[{TABLE}.{profile.name}] of {profile.path}", name_setting("host", "platform.kore.ai")
        raise SettingsError(f": is missing; add it to {where}, or give {given}", setting="host")
    names = list_profiles(profile)
    if names:
        option, named = name_setting("profile"), ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        raise SettingsError(f": is missing; choose a profile of {profile.path} with {option}: {named}", setting="host")


def _refuse_near_default(path: str, text: str, names: Iterable[str]) -> None:
    """Raise SettingsError for a name that is probably meant to be `default`, in a file without a default profile."""
    names = list(names)
    near = find_near("default", names, 0.75)
    if near is not None:
        where, option = _where(path, text, TABLE, near), f"{name_setting('profile')} {near}"
        raise SettingsError(
            f"{where}: there is no [profile.default]; write that, or give {option} if [profile.{near}] is meant"
        )


def _explain_outside(key: str, value: object) -> str:
    """Return what to write instead of a value outside of all profiles."""
    if key == TABLE:
        return f"{TABLE} is {_name_kind(value)}; write [{TABLE}.default] for a profile"
    if isinstance(value, dict | list) and (near := find_near(key.lower(), [TABLE, SCHEDULES])):
        name = next(iter(value), "default") if isinstance(value, dict) else "default"
        return f"unknown table [{key}]; did you mean [{near}.{name}]?"
    if isinstance(value, dict):
        return f"unknown table [{key}]; did you mean [{TABLE}.{key}]?"
    return f"{_name_key(key)} is outside of all profiles; put it below [{TABLE}.default]"


def _explain_no_profile(name: str, value: object) -> str:
    """Return what to write instead of a value in the table of profiles that is not a profile."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return f"[[{TABLE}.{name}]] is a list of tables; write [{TABLE}.{name}]"
    return f"{_name_key(name)} is outside of all profiles; put it below [{TABLE}.default], not [{TABLE}]"


def _name_key(key: str) -> str:
    return key if key in {key_of(name) for name in OPTION_SPECS} else f"unknown key {key!r}"


def _where(path: str, text: str, *keys: str) -> str:
    """Return the place of a key: the file, and the line if it can be found."""
    line = line_of(text, *keys)
    return path if line is None else f"{path} line {line}"


def line_of(text: str, *keys: str) -> int | None:
    """Return the number of the line that first sets `keys`; None if it cannot be found.

    The TOML parser gives no line numbers, so it is asked which of the lines with the last key's letters begins the
    statement that sets it.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if keys[-1] in line and not _has_key(lines[:number], keys) and _sets_key(lines, number, keys):
            return number + 1
    return None


def _sets_key(lines: list[str], number: int, keys: tuple[str, ...]) -> bool:
    """Return whether the statement that begins on a line, and may span several, sets `keys`."""
    for end in range(number + 1, len(lines) + 1):
        if (has_key := _has_key(lines[:end], keys)) is not None:
            return has_key
    return False


def _has_key(lines: list[str], keys: tuple[str, ...]) -> bool | None:
    """Return whether these lines set `keys`; None if they break off within a statement."""
    try:
        table: Any = tomllib.loads("\n".join(lines))
    except ValueError:
        return None
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def _explain_unknown_key(key: str) -> str | None:
    names = {key_of(name) for name in OPTION_SPECS}
    if key == TARGETS:
        return f"{key} is not a list of tables; write [[{TABLE}.NAME.{TARGETS}]] for each"
    if key not in names:
        return f"unknown key {key!r}{suggest_near(key, names)}"
    if any(spec.secret and not spec.in_profile and key == key_of(name) for name, spec in OPTION_SPECS.items()):
        return f"{key} is a secret, not a setting; use {key}_file or BULKSTOP_{key.upper()}"
    return None


def _explain_empty(key: str, value: object) -> str | None:
    if is_empty(value):
        name = next(name for name in OPTION_SPECS if key_of(name) == key)
        return f"{key} is empty; {suggest_value(name)}"
    if isinstance(value, list) and any(map(is_empty, value)):
        return f"{key} holds an empty value; remove it from the list"
    return None


def _explain_misfit(name: str, value: object) -> str | None:
    """Return why a value has the wrong type for a setting; it is not repeated, because it may be a secret."""
    spec = OPTION_SPECS[name]
    if isinstance(default_of(name), bool):
        return None if isinstance(value, bool) else "is true or false, without quotes; see --help"
    if isinstance(value, list) and spec.repeatable:
        odd = next((item for item in value if not isinstance(item, str)), None)
        return None if odd is None else f"holds {_name_kind(odd)}; put each of the list in quotes"
    if isinstance(value, str) or (not isinstance(value, bool) and isinstance(value, ALSO_TAKES.get(spec.read, ()))):
        return None
    advice = "give one text" if isinstance(value, list | dict) else "put it in quotes"
    return f"is {_name_kind(value)} and must be a text; {advice}"


def _name_kind(value: object) -> str:
    return "a date or time" if isinstance(value, date | time) else KINDS[type(value)]
