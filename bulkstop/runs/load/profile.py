"""A profile's quota, written into its file: comments, layout, mode and owner stay as they are."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bulkstop.errors import OutputError
from bulkstop.files import write_atomically
from bulkstop.model import Limit

PRIVATE = 0o600
EVEN = "even"


class Before(NamedTuple):
    """What stood in the profile, as TOML; None for nothing."""

    quota: str | None
    pace: str | None

    def __str__(self) -> str:
        """Write it as it stood, on one line."""
        stood = [f"{key} = {' '.join(value.split())}" for key, value in self._asdict().items() if value is not None]
        return ", ".join(stood) or "neither"


def check_profile(path: str, name: str) -> None:
    """Raise OutputError if a quota could not be written there now."""
    with _faults(path):
        file = Path(path).resolve()
        change_text(_text(file), name, Limit(1, 1.0))
        for folder_or_file in (file.parent, *([file] if file.exists() else [])):
            if not os.access(folder_or_file, os.W_OK):
                raise PermissionError(0, f"no right to write {folder_or_file}")


def write_quota(path: str, name: str, limit: Limit) -> Before:
    """Write a quota, used evenly, into `[profile.NAME]` of a file, or of a new private one; returns what stood there.

    The file is replaced as a whole or not at all; where `path` is a link, what it leads to. Raises OutputError.
    """
    with _faults(path):
        file = Path(path).resolve()
        text, before = change_text(_text(file), name, limit)
        write_atomically(file, text.encode(), as_it_was=True)
    return before


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()  # as bytes: reading as text would lose the kind of line ends
    except FileNotFoundError:
        return ""


def change_text(text: str, name: str, limit: Limit) -> tuple[str, Before]:
    """Return the new text, and what stood there; raises ValueError when the library changed anything else."""
    import tomlkit

    document = tomlkit.parse(text)
    profiles = document.setdefault("profile", tomlkit.table(is_super_table=True))
    if is_new := name not in profiles:
        profiles[name] = tomlkit.table()
    profile = profiles[name]
    before = Before(*(profile[key].as_string() if key in profile else None for key in Before._fields))
    new = {"quota": str(limit), "pace": EVEN}
    for key, value in new.items():
        _set(profile, key, value)
    if is_new:
        profile.add(tomlkit.nl())
    changed = _restore_layout(tomlkit.dumps(document), text, is_new=is_new)
    wanted: dict[str, Any] = tomllib.loads(text)
    wanted.setdefault("profile", {}).setdefault(name, {}).update(new)
    if tomllib.loads(changed) != wanted:
        raise ValueError("this form of TOML cannot be changed")
    return changed, before


def _restore_layout(changed: str, text: str, *, is_new: bool) -> str:
    """Have line ends as they were, and no empty lines after a profile that was added at the end."""
    if is_new:
        changed = changed.rstrip("\n") + "\n"
    return changed.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else changed


def _set(profile: Any, key: str, value: str) -> None:
    """Have a key be a value: in its place, or else after the last key and before what is said of the next table."""
    if key in profile:
        profile[key] = value
        return
    body, after = profile.value.body, list[Any]()
    while body and body[-1][0] is None:
        after.insert(0, body.pop())
    profile[key] = value
    body.extend(after)


@contextmanager
def _faults(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"--write-quota: {path} cannot be written ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        said = str(error).splitlines() or [""]
        raise OutputError(f"--write-quota: {path} cannot be changed ({said[0]}); write the quota by hand") from None
