"""A file that is there as a whole, or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bulkstop.errors import OutputError
from bulkstop.report.output import taken


def replace_file(path: Path, data: bytes, *, as_it_was: bool = False) -> None:
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


class WholeFile:
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
                replace_file(self._path, data)
        except OSError as error:
            raise self._fault("written", error) from None

    def close(self) -> None:
        """Free the device or the pipe that was never written to."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _refuse_existing(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise taken(self.name)

    def _fault(self, what: str, error: OSError, advice: str = "") -> OutputError:
        return OutputError(f"{self.name}: cannot be {what} ({error.strerror}){advice}")
