"""Files are written whole, new, or not at all."""

import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Protocol

from bulkstop.errors import OutputError

BUFFER = 64 * 1024
FLUSH_S = 1.0
"""How long a line may wait to be written, as long as others follow it."""


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
        self._file = BufferedWriter(FileIO(self._open_file(path, stdout_fd, overwrite=overwrite), "w"), BUFFER)
        self._is_broken = False

    def write(self, data: bytes) -> None:
        """Write, now or within a second of the next write."""
        self._is_new = False
        try:
            self._file.write(data)
            if (now := self._now()) - self._flushed > FLUSH_S:
                self._flushed = now
                self._file.flush()
        except OSError as error:
            raise self._fault(error) from None

    def close(self) -> None:
        """Write what is left and free the file."""
        try:
            self._file.close()
        except OSError as error:
            if not self._is_broken:  # else it was told already
                raise self._fault(error) from None
        if self._is_new:
            Path(self._path).unlink(missing_ok=True)

    def _open_file(self, path: str, stdout_fd: int, *, overwrite: bool) -> int:
        try:
            if path == "-":
                return os.dup(stdout_fd)
            if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113 - a device or a pipe
                return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            new = os.O_TRUNC if overwrite else os.O_EXCL
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | new, 0o600)
        except FileExistsError:
            raise refuse_existing(self.name) from None
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be opened ({error.strerror}); give another file") from None

    def _fault(self, error: OSError) -> OutputError:
        self._is_broken = True
        return OutputError(f"{self.name}: cannot be written ({error.strerror}); sending stops")


def refuse_existing(name: str) -> OutputError:
    """Say that a file is there which nobody said is to be replaced."""
    return OutputError(f"{name}: exists already; give --overwrite, or another file")


def write_atomically(path: Path, data: bytes, *, as_it_was: bool = False) -> None:
    """Have a file hold these bytes, whatever happens either all of them or what was there; raises OSError.

    It is private to the user, or `as_it_was` has the owner and the mode of what was there.
    """
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for the user alone: 0600
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            if as_it_was:
                _take_after(fd, path)
            file.write(data)
            file.flush()
            os.fsync(fd)  # else a power failure could leave an empty one in the place of the old one
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def check_folder(path: Path) -> None:
    """Raise OSError if no file can be made where this one is to be."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(fd)
    Path(name).unlink()


def _take_after(fd: int, path: Path) -> None:
    with suppress(FileNotFoundError):
        was = path.stat()
        os.fchown(fd, was.st_uid, was.st_gid)
        os.fchmod(fd, was.st_mode & 0o7777)


class AtomicFile:
    """Takes `path`, which is written at once by `save`: a new file, private to the user.

    Raises OutputError, which names `option`, when it exists (unless it is to be overwritten) or could not be written:
    that is tried when it is made. What was there stays as it is until all of the new one is on the disk. A device or a
    pipe is written to.
    """

    def __init__(self, path: str, option: str, *, overwrite: bool = False) -> None:
        self.name = f"{option} {path}"
        is_other = Path(path).exists() and not Path(path).is_file()
        self._path = Path(path if is_other else os.path.realpath(path))  # a link to a file stays one
        self._overwrite = overwrite
        self._fd = -1
        try:
            if is_other:
                self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            else:
                self._refuse_existing()
                check_folder(self._path)
        except OSError as error:
            raise self._fault("opened", error, "; give another file") from None

    def save(self, data: bytes) -> None:
        """Write it."""
        try:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
            else:
                self._refuse_existing()
                write_atomically(self._path, data)
        except OSError as error:
            raise self._fault("written", error) from None

    def close(self) -> None:
        """Free the device or the pipe that was never written to."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _refuse_existing(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise refuse_existing(self.name)

    def _fault(self, what: str, error: OSError, advice: str = "") -> OutputError:
        return OutputError(f"{self.name}: cannot be {what} ({error.strerror}){advice}")


def is_device(path: str) -> bool:
    """Tell whether a path is something that is written to but keeps nothing: a device, a pipe, a socket."""
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False


def check_target(path: str, *, overwrite: bool) -> None:
    """Find out before any call is made what would keep the file from being written: raises OutputError."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{path}: is a directory; give -o FILE")
    if _is_device(target):
        return
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{path}: exists already; give --overwrite, or -o with another file")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{path}: its directory is not there, or cannot be written to; give -o with another file")


def write_file(path: str, data: bytes, *, overwrite: bool) -> None:
    """Write a file that is there whole or not at all, private to the user; raises OutputError."""
    try:
        if _is_device(Path(path)):
            Path(path).write_bytes(data)
            return
        target = Path(path).resolve()  # of a link, what it leads to is replaced
        draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
        try:
            _write_draft(draft, data)
            if overwrite:
                draft.replace(target)
            else:
                _place_new(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise OutputError(f"{path}: exists already; give --overwrite, or -o with another file") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_draft(draft: Path, data: bytes) -> None:
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _place_new(draft: Path, target: Path) -> None:
    """Name a finished draft, unless something has that name; raises FileExistsError."""
    try:
        os.link(draft, target)  # the one way to a name that never replaces anything
    except FileExistsError:
        raise
    except OSError:  # a file system without such links
        if os.path.lexists(target):
            raise FileExistsError from None
        draft.replace(target)
