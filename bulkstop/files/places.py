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
"""Links that lead to one another, as many as the kernel follows."""
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""How a folder is opened that may be gone through, but perhaps not be listed."""


class Place(NamedTuple):
    """A name in a folder that is open; no link that another user may have planted leads to it.

    It `is_linked` if the path that led to it is that of a link, so that there is something already.
    """

    folder: int
    name: str
    is_linked: bool = False
    follow: int = os.O_NOFOLLOW

    def status(self) -> os.stat_result | None:
        """Return what is known of the entry of that name; None when there is none."""
        with suppress(FileNotFoundError):
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=not self.follow)
        return None

    @property
    def is_regular(self) -> bool:
        """Tell whether a regular file is there."""
        return (status := self.status()) is not None and stat.S_ISREG(status.st_mode)

    def open(self, flags: int) -> int:
        """Open the file of that name, private to the user if it is made; a link that has come meanwhile is refused."""
        if self.is_linked and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return os.open(self.name, flags | self.follow | os.O_CLOEXEC, 0o600, dir_fd=self.folder)

    def refuse_foreign(self) -> None:
        """Raise OSError for what another user has put there."""
        if (status := self.status()) is not None and status.st_uid not in (0, os.geteuid()) and self._is_shared():
            raise _planted(self.name, "a file", status)

    def refuse_fixed(self) -> None:
        """Raise OSError for what another user has put where only its owner can replace it."""
        folder = os.fstat(self.folder)
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid):
            self.refuse_foreign()

    def refuse_alias(self) -> None:
        """Raise OSError for a file with another name too, which another user may have brought here by this one."""
        status = self.status()
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and self._is_shared():
            why = "has another name (a hard link) too, in a folder that others can write"
            raise PermissionError(errno.EPERM, f"{self.name} {why}")

    @property
    def group(self) -> int | None:
        """The group that shares the folder, as mode 2770 says: its members put there what they use together."""
        status = os.fstat(self.folder)
        shared = stat.S_ISGID | stat.S_IWGRP
        return status.st_gid if status.st_mode & (shared | stat.S_IWOTH) == shared else None

    def refuse_stranger(self) -> None:
        """Raise OSError for what another user has put there, unless it is the group's that shares the folder."""
        status, group = self.status(), self.group
        is_of_group = status is not None and status.st_gid == group and not status.st_mode & stat.S_IWOTH
        if group is None or not is_of_group:
            self.refuse_foreign()

    def refuse_directory(self) -> None:
        """Raise OSError for a folder."""
        if (status := self.status()) is not None and stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def refuse_irregular(self) -> None:
        """Raise OSError for what is there and is not a regular file."""
        if (status := self.status()) is not None:
            _refuse_irregular(status)

    def _is_shared(self) -> bool:
        return others_who_write(self.folder) is not None


@contextmanager
def open_place(path: str | os.PathLike[str]) -> Iterator[Place]:
    """Open the folder of a path, for as long as the block runs, and give the place at the end of it.

    Links are followed as ever, but for one that another user may have planted: it is another user's, in a folder that
    others than this user and root can write. Raises OSError for that, and for a folder that is not there.
    """
    place = _walk(os.fspath(path))
    try:
        yield place
    finally:
        os.close(place.folder)


def _walk(path: str) -> Place:
    """Go along a path, link by link; nothing that is moved or replaced meanwhile leads anywhere else."""
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
    """Open a folder in place of the one that leads to it."""
    entered = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=place.folder)
    os.close(place.folder)
    return place._replace(folder=entered)


def _count_link(links: int) -> int:
    if links == MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return links + 1


def _split(path: str) -> list[str]:
    """Return the names in a path, the last one first; one that ends in `/` leads to a folder."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    return ["."] * (path.endswith("/") or not names) + names[::-1]


def _read_link(place: Place, *, is_last: bool) -> str | None:
    """Return where a link leads, None for what is none; raises OSError for one that may be planted.

    That is as for the kernel where it protects its users (sysctl fs.protected_symlinks). It lets one pass that is of
    the owner of the folder; here such a link may lead to the folder of a path, not to a file.
    """
    status, folder = place.status(), os.fstat(place.folder)
    if status is None or not stat.S_ISLNK(status.st_mode):
        return None
    is_foreign = status.st_uid not in (0, os.geteuid()) and (is_last or status.st_uid != folder.st_uid)
    if is_foreign and others_who_write(place.folder) is not None:
        raise _planted(place.name, "a link", status)
    return os.readlink(place.name, dir_fd=place.folder)


def _leads_on(place: Place, target: str) -> bool:
    """Tell whether a link has a target by name; one of the kernel's to an open pipe has none."""
    with suppress(OSError):
        if os.fstat(place.folder).st_dev == Path("/proc").stat().st_dev:
            return target.startswith("/") and os.path.lexists(target)
    return True


def _planted(name: str, what: str, status: os.stat_result) -> OSError:
    owner = name_user(status.st_uid)
    return PermissionError(errno.EPERM, f"{name} is {what} of {owner} in a folder that others can write")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to be read; raises OSError for a link that was planted, and for what might never answer."""
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
    """Open what is there to be written to, or make it; raises OSError for what another user may have put there."""
    place.refuse_foreign()
    place.refuse_alias()
    return place.open(flags)
