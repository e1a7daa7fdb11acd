"""The user's folder for state: where it is, and how it is created for the user alone."""

import os
from contextlib import suppress
from pathlib import Path


def find_state_folder() -> Path | None:
    """Return the folder for state of all programs; None if the user has no home directory."""
    # A relative path must be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    if (state := _as_own(os.environ.get("XDG_STATE_HOME", ""))) is not None:
        return state
    home = find_home()
    return None if home is None else home / ".local" / "state"


def find_home() -> Path | None:
    """Return the user's home directory; None if it is `/`, which belongs to no user, or a relative path."""
    if (home := _as_own(os.environ.get("HOME", ""))) is not None:
        return home
    import pwd  # rarely needed

    with suppress(KeyError):
        return _as_own(pwd.getpwuid(os.getuid()).pw_dir)
    return None


def expand_home(where: str) -> Path:
    """Return a path with `~` replaced by the user's home directory; raises RuntimeError without one."""
    first, _, rest = where.partition("/")
    if first != "~":
        return Path(where).expanduser()
    if (home := find_home()) is None:
        raise RuntimeError("no home directory")
    return home / rest.lstrip("/")


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents for the user alone, whatever the umask is; raises OSError."""
    if not path.is_dir():
        make_private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _as_own(folder: str) -> Path | None:
    """Return a folder; None for the root folder or a relative path, which nobody has set on purpose."""
    is_named = folder.startswith("/") and os.path.normpath(folder).strip("/")
    return Path(folder) if is_named else None
