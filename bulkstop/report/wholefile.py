"""A file that is there as a whole, or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bulkstop.errors import OutputError
from bulkstop.report.output import taken


class WholeFile:
    """Takes `path`, which is written at once by `save`: a new file, private to the user.

    Raises OutputError, which names `option`, when it exists (unless it is to be overwritten) or could not be written:
    that is tried when it is made. What was there stays as it is until all of the new one is on the disk. A device or a
    pipe is written to. `close` leaves nothing behind of what was never saved.
    """

    def __init__(self, path: str, option: str, *, overwrite: bool = False) -> None:
        self.name = f"{option} {path}"
        is_other = Path(path).exists() and not Path(path).is_file()
        self._path = Path(path if is_other else os.path.realpath(path))  # a link to a file stays one
        self._overwrite = overwrite
        self._new: Path | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC) if is_other else self._made()
        except OSError as error:
            raise self._fault("opened", error, "; give another file") from None

    def save(self, data: bytes) -> None:
        """Write it."""
        try:
            with os.fdopen(self._fd, "wb") as file:
                self._fd = -1
                file.write(data)
                file.flush()
                if self._new is not None:
                    os.fsync(file.fileno())  # else a power failure could leave an empty one in the place of the old one
            if self._new is not None:
                self._refuse_existing()
                self._new.replace(self._path)
                self._new = None
        except OSError as error:
            raise self._fault("written", error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Remove what was not saved."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._new is not None:
            with suppress(OSError):
                self._new.unlink(missing_ok=True)
            self._new = None

    def _made(self) -> int:
        self._refuse_existing()
        fd, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")  # for the user alone: 0600
        self._new = Path(name)
        return fd

    def _refuse_existing(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise taken(self.name)

    def _fault(self, what: str, error: OSError, advice: str = "") -> OutputError:
        return OutputError(f"{self.name}: cannot be {what} ({error.strerror}){advice}")
