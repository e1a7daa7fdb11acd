"""Names in folders, found without following a link that another user may have planted."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bulkstop.files.ownership import name_user, others_who_write

MOST_LINKS = 40
"""The most links followed in a row, as in the kernel."""
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""The flags for opening a folder that can be entered but perhaps not listed."""


class Place(NamedTuple):
    """A name in an open folder, reached without a link that another user may have planted.

    It `is_linked` if the path that led to it is a link, so that something exists already.
    """

    folder: int
    name: str
    is_linked: bool = False
    follow: int = os.O_NOFOLLOW

    def status(self) -> os.stat_result | None:
        """Return the status of the entry; None if there is none."""
        with suppress(FileNotFoundError):
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=not self.follow)
        return None

    @property
    def is_regular(self) -> bool:
        """Return whether it is a regular file."""
        return (status := self.status()) is not None and stat.S_ISREG(status.st_mode)

    def open(self, flags: int) -> int:
        """Open the file, private to the user if it is created; a link that was made meanwhile is refused."""
        if self.is_linked and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return os.open(self.name, flags | self.follow | os.O_CLOEXEC, 0o600, dir_fd=self.folder)

    def refuse_foreign(self) -> None:
        """Raise OSError for an entry of another user."""
        if (status := self.status()) is not None and status.st_uid not in (0, os.geteuid()) and self._is_shared():
            raise _planted(self.name, "a file", status)

    def refuse_fixed(self) -> None:
        """Raise OSError for another user's entry in a folder where only the owner can replace it."""
        folder = os.fstat(self.folder)
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid):
            self.refuse_foreign()

    def refuse_alias(self) -> None:
        """Raise OSError for a file with a second name: another user may have linked it here."""
        status = self.status()
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and self._is_shared():
            why = "has another name (a hard link) too, in a folder that others can write"
            raise PermissionError(errno.EPERM, f"{self.name} {why}")

    @property
    def group(self) -> int | None:
        """The group that shares the folder, as mode 2770 indicates: its members put common files there."""
        status = os.fstat(self.folder)
        shared = stat.S_ISGID | stat.S_IWGRP
        return status.st_gid if status.st_mode & (shared | stat.S_IWOTH) == shared else None

    def refuse_stranger(self) -> None:
        """Raise OSError for another user's entry, unless it belongs to the group that shares the folder."""
        status, group = self.status(), self.group
        is_of_group = status is not None and status.st_gid == group and not status.st_mode & stat.S_IWOTH
        if group is None or not is_of_group:
            self.refuse_foreign()

    def refuse_directory(self) -> None:
        """Raise OSError for a folder."""
        if (status := self.status()) is not None and stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def refuse_irregular(self) -> None:
        """Raise OSError for an entry that is not a regular file."""
        if (status := self.status()) is not None:
            _refuse_irregular(status)

    def _is_shared(self) -> bool:
        return others_who_write(self.folder) is not None


@contextmanager
def open_place(path: str | os.PathLike[str]) -> Iterator[Place]:
    """Open the folder of a path while the block runs, and yield the place of the path's last name.

    Links are followed, except those that another user may have planted: they belong to another user, in a folder that
    others than this user and root can write. Raises OSError for such a link, and for a missing folder.
    """
    place = _walk(os.fspath(path))
    try:
        yield place
    finally:
        os.close(place.folder)


def _walk(path: str) -> Place:
    """Follow a path link by link; moving or replacing a part meanwhile does not divert it."""
    place, names = Place(os.open("/" if path.startswith("/") else ".", _FOLDER), "."), _split(path)
    links = 0
    try:
        while names:
            place = place._replace(name=names.pop())
            if (target := _read_link(place, is_last=not names)) is None:
                place = _enter(place, place.name) if names else place
                continue
            links = _count_link(links)
            place = place._replace(is_linked=place.is_linked or not names)
            if not names and not _leads_on(place, target):
                return place._replace(follow=0)
            names += _split(target)
            place = _enter(place, "/") if target.startswith("/") else place
    except BaseException:
        os.close(place.folder)
        raise
    return place


def _enter(place: Place, folder: str) -> Place:
    """Open a folder and close the one that leads to it."""
    entered = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=place.folder)
    os.close(place.folder)
    return place._replace(folder=entered)


def _count_link(links: int) -> int:
    if links == MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return links + 1


def _split(path: str) -> list[str]:
    """Return the names in a path, the last one first; a path that ends in `/` leads to a folder."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    return ["."] * (path.endswith("/") or not names) + names[::-1]


def _read_link(place: Place, *, is_last: bool) -> str | None:
    """Return the target of a link; None if it is not a link; raises OSError if it may be planted.

    The rule is that of the kernel's protection (sysctl fs.protected_symlinks). The kernel permits a link of the
    folder's owner; here such a link may only lead to the folder of a path, not to a file.
    """
    status, folder = place.status(), os.fstat(place.folder)
    if status is None or not stat.S_ISLNK(status.st_mode):
        return None
    is_foreign = status.st_uid not in (0, os.geteuid()) and (is_last or status.st_uid != folder.st_uid)
    if is_foreign and others_who_write(place.folder) is not None:
        raise _planted(place.name, "a link", status)
    return os.readlink(place.name, dir_fd=place.folder)


def _leads_on(place: Place, target: str) -> bool:
    """Return whether a link has a target by name; a kernel link to an open pipe has none."""
    with suppress(OSError):
        if os.fstat(place.folder).st_dev == Path("/proc").stat().st_dev:
            return target.startswith("/") and os.path.lexists(target)
    return True


def _planted(name: str, what: str, status: os.stat_result) -> OSError:
    owner = name_user(status.st_uid)
    return PermissionError(errno.EPERM, f"{name} is {what} of {owner} in a folder that others can write")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; raises OSError for a planted link, and for anything that might block."""
    with open_place(path) as place:
        fd = place.open(os.O_RDONLY | os.O_NONBLOCK)
    try:
        _refuse_irregular(os.fstat(fd))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def _refuse_irregular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Is no regular file")


def open_in_place(place: Place, flags: int) -> int:
    """Open or create a file for writing; raises OSError if another user may have put it there."""
    place.refuse_foreign()
    place.refuse_alias()
    return place.open(flags)
