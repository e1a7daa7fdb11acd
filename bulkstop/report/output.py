"""A file that a load test writes as it goes."""

import os
import time
from collections.abc import Callable
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
        self._file = BufferedWriter(FileIO(self._opened(path, stdout_fd, overwrite=overwrite), "w"), BUFFER)
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

    def _opened(self, path: str, stdout_fd: int, *, overwrite: bool) -> int:
        try:
            if path == "-":
                return os.dup(stdout_fd)
            if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113 - a device or a pipe
                return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            new = os.O_TRUNC if overwrite else os.O_EXCL
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | new, 0o600)
        except FileExistsError:
            raise taken(self.name) from None
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be opened ({error.strerror}); give another file") from None

    def _fault(self, error: OSError) -> OutputError:
        self._is_broken = True
        return OutputError(f"{self.name}: cannot be written ({error.strerror}); sending stops")


def taken(name: str) -> OutputError:
    """Say that a file is there which nobody said is to be replaced."""
    return OutputError(f"{name}: exists already; give --overwrite, or another file")
