"""Profiles: settings that stand in a TOML file, read and refused with the line of their key."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any

from bulkstop.errors import SettingsError
from bulkstop.naming import name_setting
from bulkstop.settings import OPTION_SPECS, default_of, is_empty, key_of, suggest_value
from bulkstop.settings.values import ALSO_TAKES, write_text

KINDS: Mapping[type, str] = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
"""What a TOML value is called that is no text."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`[profile.NAME]` of a file: what stands there for each setting, none of it empty."""

    path: str
    name: str = "default"
    text: str = ""
    values: Mapping[str, Any] | None = None

    @property
    def settings(self) -> Iterator[str]:
        """Name the settings that the profile has."""
        names = {key_of(name): name for name in OPTION_SPECS}
        return (names[key] for key in self.values or {})

    def value(self, name: str) -> Any:
        """Read a setting that the profile has; raises SettingsError, with the line, for what makes no sense."""
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
        """Say where a key stands: the file, and the line as far as that can be found."""
        line = line_of(self.text, "profile", self.name, key)
        return self.path if line is None else f"{self.path} line {line}"


def read_profile(path: str, name: str | None) -> Profile:
    """Read `[profile.NAME]` of a TOML file.

    Without a name it is `[profile.default]`, if the file has that; a file that does not exist is then no profile.
    Raises SettingsError for a missing profile, an unknown key, an empty value, or a secret, which has no place in a
    file of settings.
    """
    try:
        text = Path(path).read_text("utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        if name is None:
            return Profile(path)
        raise SettingsError(
            f" {path}: no such file; {name_setting('profile')} {name} needs it", setting="config"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise SettingsError(f" {path}: cannot be read as TOML ({reason})", setting="config") from None
    profiles = document.get("profile", {})
    values = profiles.get(name or "default") if isinstance(profiles, dict) else None
    if values is None and name is None:
        return Profile(path)
    if not isinstance(values, dict):
        shown = name or "default"
        raise SettingsError(f" {shown}: {path} has no [profile.{shown}]", setting="profile")
    profile = Profile(path, name or "default", text, values)
    for key, value in values.items():
        if fault := _explain_unknown_key(key) or _explain_empty(key, value):
            raise SettingsError(f"{profile.where(key)}: {fault}")
    return profile


def line_of(text: str, *keys: str) -> int | None:
    """Return the number of the line that first sets what TOML has under `keys`; None when it cannot be found.

    The parser of the language gives no line numbers, so this asks it which of the lines that hold the letters of the
    last key begins the statement that sets it.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if keys[-1] in line and not _has_key(lines[:number], keys) and _sets_key(lines, number, keys):
            return number + 1
    return None


def _sets_key(lines: list[str], number: int, keys: tuple[str, ...]) -> bool:
    """Tell whether the statement that begins at a line, and may go on for several, sets what is under `keys`."""
    for end in range(number + 1, len(lines) + 1):
        if (has_key := _has_key(lines[:end], keys)) is not None:
            return has_key
    return False


def _has_key(lines: list[str], keys: tuple[str, ...]) -> bool | None:
    """Tell whether these lines have something under `keys`; None when they break off within a statement."""
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
    if key not in names:
        from difflib import get_close_matches  # only a mistake needs it

        near = get_close_matches(key, names, n=1)
        return f"unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else "")
    if key in ("token", "client_secret"):
        return f"{key} is a secret, not a setting; use {key}_file or BULKSTOP_{key.upper()}"
    return None


def _explain_empty(key: str, value: object) -> str | None:
    if is_empty(value):
        name = next(name for name in OPTION_SPECS if key_of(name) == key)
        return f"{key} is empty; {suggest_value(name)}"
    if isinstance(value, list) and any(map(is_empty, value)):
        return f"{key} holds an empty value; take that out of the list"
    return None


def _explain_misfit(name: str, value: object) -> str | None:
    """Say why a value is not of the kind that a setting takes; the value is not repeated, as it may hold a secret."""
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
