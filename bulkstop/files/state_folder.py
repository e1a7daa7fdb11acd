"""The user's folder for state: where it is, and how it is made for the user alone."""

import os
from contextlib import suppress
from pathlib import Path


def find_state_folder() -> Path | None:
    """Return the directory for state of all programs; None where the user has no home directory."""
    # One that is not absolute is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    if (state := _as_own(os.environ.get("XDG_STATE_HOME", ""))) is not None:
        return state
    home = find_home()
    return None if home is None else home / ".local" / "state"


def find_home() -> Path | None:
    """Return the user's home directory, None for none: `/` is nobody's, nor is one that is not absolute."""
    if (home := _as_own(os.environ.get("HOME", ""))) is not None:
        return home
    import pwd  # seldom wanted

    with suppress(KeyError):
        return _as_own(pwd.getpwuid(os.getuid()).pw_dir)
    return None


def expand_home(where: str) -> Path:
    """Return a path whose `~` is the user's home directory; raises RuntimeError without one."""
    first, _, rest = where.partition("/")
    if first != "~":
        return Path(where).expanduser()
    if (home := find_home()) is None:
        raise RuntimeError("no home directory")
    return home / rest.lstrip("/")


def make_private_folder(path: Path) -> None:
    """Make a folder for the user alone, and those above it that are missing, whatever the umask is; raises OSError."""
    if not path.is_dir():
        make_private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _as_own(folder: str) -> Path | None:
    """Return a folder unless it is the root of all, or hangs on where the program runs: then nobody has named it."""
    is_named = folder.startswith("/") and os.path.normpath(folder).strip("/")
    return Path(folder) if is_named else None
