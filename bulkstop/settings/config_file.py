"""Reads a file of profiles, if nobody else can have written it.

A named file is read as it is. One that was only found in the working directory may come from an unpacked archive, or
from another user of the directory: it could send the token elsewhere, or run a command. So the owner of the open file
itself is checked, and each symbolic link on the way is opened as a link, so that nothing can be replaced in between.
"""

import errno
import os
import shlex
import stat
from pathlib import Path

from bulkstop.errors import SettingsError
from bulkstop.files.ownership import name_user, others_who_write
from bulkstop.naming import name_setting
from bulkstop.text.faults import explain_os

CONFIG_BYTES = 1024 * 1024
"""Largest size of a file of profiles."""
_LINKS = 40  # the kernel's limit
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_config(path: str, *, is_named: bool) -> str | None:
    """Return the text of a file of profiles, None if it does not exist; raises SettingsError if it cannot be read.

    A file that is not named must belong to the user or root, and nobody else may be able to write it.
    """
    try:
        fd = os.open(path, _FLAGS) if is_named else _open_own(path)
        try:
            _refuse_other_kinds(path, os.fstat(fd))
            if not is_named:
                _refuse_foreign(path, fd)
            data = _read(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        if not os.path.lexists(path):
            return None
        raise SettingsError(f" {path}: is a link to a file that does not exist", setting="config") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f" {path}: cannot be read ({explain_os(error)})", setting="config") from None
    return _decode(path, data)


_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""The flags open a pipe without a writer without blocking."""


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read(CONFIG_BYTES + 1)


def _open_own(path: str) -> int:
    """Open a file, and each symbolic link that leads to it; all must belong to the user or root."""
    for _ in range(_LINKS):
        try:
            return os.open(path, _FLAGS | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):  # some systems report EMLINK for a link
                raise
        path = str(Path(path).parent / _read_own_link(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _read_own_link(path: str) -> str:
    """Return the target of a symbolic link; raises SettingsError for a link of another user."""
    if not hasattr(os, "O_PATH"):  # the system cannot hold a link open
        _refuse_owner(path, "a link that belongs", os.lstat(path).st_uid)
        return os.readlink(path)  # noqa: PTH115 - as below
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _refuse_owner(path, "a link that belongs", os.fstat(fd).st_uid)
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _refuse_other_kinds(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode) or os.path.samestat(status, Path(os.devnull).stat()):
        return
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
    raise SettingsError(f" {path}: is {kind}; give a regular file", setting="config")


def _refuse_foreign(path: str, fd: int) -> None:
    """Raise SettingsError for an open file of another user, or one that others can write."""
    if (others := others_who_write(fd)) is not None:
        raise _distrust(path, others, _offer_chmod(path, os.fstat(fd)))


def _offer_chmod(path: str, status: os.stat_result) -> str:
    """Return the chmod command that closes a file to others, if this user may run it."""
    if status.st_uid not in (os.geteuid(), 0):
        return ""
    return f"chmod {'o' if status.st_mode & stat.S_IWOTH else 'g'}-w {shlex.quote(path)}"


def _refuse_owner(path: str, what: str, uid: int) -> None:
    if uid not in (os.geteuid(), 0):
        raise _distrust(path, f"{what} to {name_user(uid)}, not to you or root")


def _distrust(path: str, why: str, remedy: str = "") -> SettingsError:
    trust, none = name_setting("config", path), name_setting("config", os.devnull)
    what = f"give {trust} if you trust it, or {none} to use none"
    return SettingsError(
        f" {path}: is in this folder, but is not used, because {why}; {f'{remedy}, or ' if remedy else ''}{what}",
        setting="config",
    )


def _decode(path: str, data: bytes) -> str:
    if len(data) > CONFIG_BYTES:
        raise SettingsError(
            f" {path}: has more than {CONFIG_BYTES:,} bytes; that is not a file of profiles", setting="config"
        )
    try:
        return data.decode("utf-8-sig")  # editors of some systems write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if data.startswith(_UTF_16) else f"not UTF-8 (line {line})"
        raise SettingsError(f" {path}: is {kind}; save it as UTF-8", setting="config") from None
