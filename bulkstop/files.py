"""Files are written whole, new, or not at all, and never where another user's link leads."""

import errno
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from bulkstop.errors import OutputError
from bulkstop.naming import name_setting
from bulkstop.outbox import Outbox

BUFFER = 64 * 1024
DRAFT = ".bulkstop."
"""How the name of a file begins that is not complete; its own name may be as long as names can be."""
NAME_BYTES = 255
"""The longest name that a file can have."""
FLUSH_S = 1.0
"""How long a line may wait to be written, as long as others follow it."""
MOST_LINKS = 40
"""Links that lead to one another, as many as the kernel follows."""
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""How a folder is opened that may be gone through, but perhaps not be listed."""


def others_who_write(status: os.stat_result) -> str | None:
    """Say who can write a file or a folder besides this user and root; None for nobody.

    The members of this user's own group may: with a umask of 002 that group has no other member.
    """
    user = os.geteuid()
    if status.st_uid not in (0, user):
        return f"it belongs to {name_user(status.st_uid)}"
    if status.st_mode & stat.S_IWOTH:
        return "others can write it"
    if status.st_mode & stat.S_IWGRP and status.st_gid not in _own_groups(user):
        return f"all of group {_name_group(status.st_gid)} can write it"
    return None


def name_user(uid: int) -> str:
    """Return the name of a user; the number of one without a name."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"user {uid}"


def _own_groups(user: int) -> set[int]:
    groups = {0, os.getegid()} if user else {0}
    with suppress(KeyError):
        groups.add(pwd.getpwuid(user).pw_gid)
    return groups


def _name_group(gid: int) -> str:
    import grp  # only a refusal needs it

    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


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

    def refuse_irregular(self) -> None:
        """Raise OSError for what is there and is no regular file."""
        if (status := self.status()) is not None:
            _refuse_irregular(status)

    def _is_shared(self) -> bool:
        return others_who_write(os.fstat(self.folder)) is not None


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
    if is_foreign and others_who_write(folder) is not None:
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


class Sink(Protocol):
    """Takes lines, whole ones at a time."""

    def write(self, data: bytes, /) -> None:
        """Take some; raises OutputError."""
        ...

    def close(self) -> None:
        """Take no more; raises OutputError."""
        ...


class Output:
    """Takes what is written to `path`, a new file private to the user; `-` is standard output.

    Raises OutputError, which names `option`, when it exists (unless it is to be overwritten), or cannot be written; a
    write is buffered, so that may be told with a later one or with `close`. A new file that got nothing is removed.
    Standard output, a pipe or a device is written to through an `outbox`.
    """

    def __init__(
        self,
        path: str,
        option: str,
        *,
        overwrite: bool = False,
        stdout_fd: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"{option} {path}"
        self._path = path
        self._is_new = path != "-" and not os.path.lexists(path)
        self._now = now
        self._flushed = now()
        fd = self._open_file(path, stdout_fd, overwrite=overwrite)
        self.outbox: Outbox[None] | None = None
        if path == "-" or is_device(path):
            self.outbox = Outbox(fd, self.name)
        else:
            self._file = BufferedWriter(FileIO(fd, "w"), BUFFER)
        self._is_broken = False
        self._missed = 0

    def write(self, data: bytes) -> None:
        """Write, now or within a second of the next write."""
        self._is_new = False
        if self.outbox is not None:
            self._put_out(self.outbox, data)
            return
        try:
            self._file.write(data)
            if (now := self._now()) - self._flushed > FLUSH_S:
                self._flushed = now
                self._file.flush()
        except OSError as error:
            raise self._fault(error) from None

    def close(self) -> None:
        """Write what is left and free the file."""
        if self.outbox is not None:
            self.outbox.close()
            self._check(self.outbox)
            return
        try:
            self._file.close()
        except OSError as error:
            if not self._is_broken:  # else it was told already
                raise self._fault(error) from None
        if self._is_new:
            Path(self._path).unlink(missing_ok=True)

    @property
    def missing(self) -> int:
        """How many pieces of what was written nobody has read, and will not."""
        return self._missed + len(self.outbox.unwritten) if self.outbox and self.outbox.is_over else 0

    def _put_out(self, outbox: Outbox[None], data: bytes) -> None:
        self._check(outbox)
        self._missed += not outbox.put(data, None)

    def _check(self, outbox: Outbox[None]) -> None:
        if outbox.fault is not None and not self._is_broken:
            raise self._fault(outbox.fault)

    def _open_file(self, path: str, stdout_fd: int, *, overwrite: bool) -> int:
        try:
            if path == "-":
                return os.dup(stdout_fd)
            with open_place(path) as place:
                if is_device(path):
                    return open_in_place(place, os.O_WRONLY)
                _refuse_directory(place)
                return open_in_place(place, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL))
        except FileExistsError:
            raise refuse_existing(self.name) from None
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be opened ({error.strerror}); give another file") from None

    def _fault(self, error: OSError) -> OutputError:
        self._is_broken = True
        return OutputError(f"{self.name}: cannot be written ({error.strerror}); sending stops")


def refuse_existing(name: str, other: str = "another file") -> OutputError:
    """Say that a file is there which nobody said is to be replaced."""
    return OutputError(f"{name}: exists already; give {name_setting('overwrite', True)}, or {other}")


def beside(path: str, ending: str) -> str:
    """Return the name of a file that goes with another: that one's name and an ending, cut where it is too long."""
    folder, name = os.path.split(path)
    data, room = os.fsencode(name), NAME_BYTES - len(os.fsencode(ending))
    if len(data) <= room:
        return f"{path}{ending}"
    mark = f"~{sha256(data).hexdigest()[:8]}"
    return str(Path(folder, data[: room - len(mark)].decode(errors="ignore") + mark + ending))


def is_device(path: str) -> bool:
    """Tell whether a path is something that is written to but keeps nothing: a device, a pipe, a socket."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def open_in_place(place: Place, flags: int) -> int:
    """Open what is there to be written to, or make it; raises OSError for what another user may have put there."""
    place.refuse_foreign()
    place.refuse_alias()
    return place.open(flags)


def check_shared(path: str | os.PathLike[str]) -> None:
    """Raise OSError for a file that users may share, and that is none or a file of this user's by another name."""
    with open_place(path) as place:
        place.refuse_irregular()
        place.refuse_alias()


def check_place(path: Path, *, is_derived: bool = True) -> None:
    """Raise OSError if `write_atomically` could write no file of this name now."""
    with open_place(path) as place:
        _check(place, is_derived=is_derived)
        draft = _new_draft(place)
        os.close(draft[1])
        os.unlink(draft[0], dir_fd=place.folder)


def write_atomically(path: Path, blocks: Iterable[bytes], *, replace: bool = True, is_derived: bool = True) -> None:
    """Have a file hold these blocks, whatever happens either all of them or what was there; raises OSError.

    It is private to the user. Of a link, what it leads to is written. Without `replace` what is there stays, and
    FileExistsError is raised. Nobody has named a file that `is_derived`: what is there and is no file is refused.
    """
    with open_place(path) as place:
        _check(place, is_derived=is_derived)
        draft, fd = _new_draft(place)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
                file.writelines(blocks)
                file.flush()
                os.fsync(fd)  # else a power failure could leave an empty one in the place of the old one
            _name_draft(place, draft) if replace else _place_new(place, draft)
        finally:
            with suppress(OSError):
                os.unlink(draft, dir_fd=place.folder)


def _check(place: Place, *, is_derived: bool) -> None:
    """Raise OSError for a place that no file can take, or that something has which is no file to be replaced."""
    _refuse_directory(place)  # a name may be too long, too
    place.refuse_fixed()
    if is_derived and not place.is_regular:
        place.refuse_foreign()
        place.refuse_irregular()


def _new_draft(place: Place) -> tuple[str, int]:
    """Make a file for what is not complete yet, for the user alone; return its name and the open file."""
    name = f"{DRAFT}{os.urandom(8).hex()}"
    return name, Place(place.folder, name).open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def _name_draft(place: Place, draft: str) -> None:
    os.replace(draft, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)


def _place_new(place: Place, draft: str) -> None:
    """Name a finished draft, unless something has that name; raises FileExistsError."""
    try:  # the one way to a name that never replaces anything
        os.link(draft, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except FileExistsError:
        raise
    except OSError:  # a file system without such links
        if place.status() is not None:
            raise FileExistsError from None
        _name_draft(place, draft)


def _refuse_directory(place: Place) -> None:
    if (status := place.status()) is not None and stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


class AtomicFile:
    """Takes `path`, which is written at once by `save`: a new file, private to the user.

    Raises OutputError, which names `option` unless that is the usual `-o`, when it exists (unless it is to be
    overwritten) or could not be written: that is tried when it is made. What was there stays as it is until all of the
    new one is on the disk. A device or a pipe is written to, unless nobody has named it: of a name that `is_derived`
    from another, it is refused.
    """

    def __init__(
        self, path: str, option: str | None = None, *, overwrite: bool = False, is_derived: bool = False
    ) -> None:
        self.name = f"{option} {path}" if option else path
        self._other = "another file" if option else "-o with another file"
        self._path = Path(path)
        self._overwrite, self._is_derived = overwrite, is_derived
        self._fd = -1
        try:
            if is_device(path) and not is_derived:
                with open_place(path) as place:
                    self._fd = open_in_place(place, os.O_WRONLY)
            elif os.path.lexists(path) and not overwrite and not self._path.is_dir():
                raise refuse_existing(self.name, self._other)
            else:
                check_place(self._path, is_derived=is_derived)
        except OSError as error:
            raise self._fault("opened", error, f"; give {self._other}") from None

    def save(self, data: bytes) -> None:
        """Write it."""
        try:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
            else:
                write_atomically(self._path, [data], replace=self._overwrite, is_derived=self._is_derived)
        except FileExistsError:
            raise refuse_existing(self.name, self._other) from None
        except OSError as error:
            raise self._fault("written", error) from None

    def close(self) -> None:
        """Free the device or the pipe that was never written to."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _fault(self, what: str, error: OSError, advice: str = "") -> OutputError:
        return OutputError(f"{self.name}: cannot be {what} ({error.strerror}){advice}")
