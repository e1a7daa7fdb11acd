"""Files that are written during a run."""

import os
import time
from collections.abc import Callable
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Protocol

from bulkstop.errors import OutputError
from bulkstop.files.places import open_in_place, open_place
from bulkstop.files.whole import is_device, refuse_existing
from bulkstop.outbox import Outbox

BUFFER = 64 * 1024
MOST_UNREAD_BYTES = 16 * 1024 * 1024
"""The most unread data of worker processes; beyond it nothing more is sent."""
FLUSH_S = 1.0
"""The longest time that a line waits to be written while others follow it."""


class Sink(Protocol):
    """A receiver of whole lines."""

    def write(self, data: bytes, /) -> None:
        """Write lines; raises OutputError."""
        ...

    def close(self) -> None:
        """Finish writing; raises OutputError."""
        ...


class Output:
    """Writes to `path`, a new file private to the user; `-` is standard output.

    Raises OutputError, which names `option`, if the file exists (unless it may be overwritten) or cannot be written; as
    writes are buffered, a later one or `close` may raise it. A new file without content is removed. Standard output, a
    pipe or a device is written through an `outbox`.
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
        """Write data, now or within a second of the next write."""
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
        """Write the rest and close the file."""
        if self.outbox is not None:
            self.outbox.close()
            self._check(self.outbox)
            return
        try:
            self._file.close()
        except OSError as error:
            if not self._is_broken:  # otherwise it was raised already
                raise self._fault(error) from None
        if self._is_new:
            Path(self._path).unlink(missing_ok=True)

    @property
    def missing(self) -> int:
        """The number of lines that no reader has taken, or will."""
        return self._missed + len(self.outbox.unwritten) if self.outbox and self.outbox.is_over else 0

    def _put_out(self, outbox: Outbox[None], data: bytes) -> None:
        self._check(outbox)
        if outbox.waiting_bytes > MOST_UNREAD_BYTES and not self._is_broken:
            self._is_broken = True
            raise OutputError(f"{self.name}: nobody reads it, so sending stops")
        for line in data.splitlines(keepends=True):  # one by one: unread ones are counted, and none is torn
            self._missed += not outbox.put(line, None)

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
                place.refuse_directory()
                return open_in_place(place, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL))
        except FileExistsError:
            raise refuse_existing(self.name) from None
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be opened ({error.strerror}); give another file") from None

    def _fault(self, error: OSError) -> OutputError:
        self._is_broken = True
        return OutputError(f"{self.name}: cannot be written ({error.strerror}); sending stops")
