"""Files are written whole, new, or not at all."""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Protocol

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
            if is_device(path):
                return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            _refuse_directory(Path(path))
            new = os.O_TRUNC if overwrite else os.O_EXCL
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | new, 0o600)
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


def check_place(path: Path) -> None:
    """Raise OSError if `write_atomically` could write no file of this name now."""
    target = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):
        target.lstat()  # a name may be too long
    _refuse_directory(target)
    fd, draft = tempfile.mkstemp(dir=target.parent, prefix=DRAFT)
    os.close(fd)
    Path(draft).unlink()


def write_atomically(path: Path, blocks: Iterable[bytes], *, replace: bool = True) -> None:
    """Have a file hold these blocks, whatever happens either all of them or what was there; raises OSError.

    It is private to the user. Of a link, what it leads to is written. Without `replace` what is there stays, and
    FileExistsError is raised.
    """
    target = Path(os.path.realpath(path))
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=DRAFT)  # for the user alone: 0600
    draft = Path(name)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.writelines(blocks)
            file.flush()
            os.fsync(fd)  # else a power failure could leave an empty one in the place of the old one
        if replace:
            draft.replace(target)
        else:
            _place_new(draft, target)
    finally:
        with suppress(OSError):
            draft.unlink()


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


def _refuse_directory(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


class AtomicFile:
    """Takes `path`, which is written at once by `save`: a new file, private to the user.

    Raises OutputError, which names `option` unless that is the usual `-o`, when it exists (unless it is to be
    overwritten) or could not be written: that is tried when it is made. What was there stays as it is until all of the
    new one is on the disk. A device or a pipe is written to.
    """

    def __init__(self, path: str, option: str | None = None, *, overwrite: bool = False) -> None:
        self.name = f"{option} {path}" if option else path
        self._other = "another file" if option else "-o with another file"
        self._path = Path(path)
        self._overwrite = overwrite
        self._fd = -1
        try:
            if is_device(path):
                self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            elif os.path.lexists(path) and not overwrite and not self._path.is_dir():
                raise refuse_existing(self.name, self._other)
            else:
                check_place(self._path)
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
                write_atomically(self._path, [data], replace=self._overwrite)
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
