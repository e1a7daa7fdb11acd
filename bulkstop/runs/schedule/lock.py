"""The lock of a schedule: one firing runs at a time, even if several machines share its folder."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from bulkstop.errors import OutputError
from bulkstop.files.places import open_in_place, open_place
from bulkstop.runs.schedule.journal import OTHER_FOLDER


class Lock:
    """A file lock, which the kernel releases when the process ends, however it ends."""

    def __init__(self, folder: str, schedule: str) -> None:
        self._path = Path(folder, f"{schedule}.lock")
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def take(self) -> bool:
        """Take the lock if it is free, and return whether it was; raises OutputError if it cannot be locked."""
        try:
            with open_place(self._path) as place:
                fd = open_in_place(place, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be opened ({error.strerror}); {OTHER_FOLDER}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError as error:
            os.close(fd)
            raise OutputError(
                f"{self._path}: cannot be locked ({error.strerror}); give results another folder"
            ) from None
        self._fd = fd
        return True

    def free(self) -> None:
        """Release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
