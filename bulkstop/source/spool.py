"""Stores lines on disk, and reads them back by offset, so that a long list takes no memory."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from bulkstop.errors import InputError
from bulkstop.text import format_size, printable

BLOCK = 64 * 1024


class Spool:
    """An unnamed temporary file, private to the process; adjacent lines are read together.

    Raises InputError, which says what to do, if the folder of temporary files is full or cannot be used.
    """

    def __init__(self) -> None:
        self.size = 0
        with _explained(self):
            self._file = tempfile.TemporaryFile(prefix="bulkstop-", buffering=BLOCK)  # noqa: SIM115 - see close()

    def append(self, line: bytes) -> int:
        """Store a line that ends with a newline, and return its offset."""
        offset = self.size
        self.size += len(line)
        try:
            self._file.write(line)
        except OSError as error:
            raise _explain(error, self.size) from None
        return offset

    def line(self, offset: int) -> bytes:
        """Return the line at an offset."""
        return next(self.lines((offset,)))

    def lines(self, offsets: Iterable[int], block_bytes: int = BLOCK) -> Iterator[bytes]:
        """Yield the lines at these offsets, in that order, without newlines; reads blocks of `block_bytes`."""
        self.flush()
        start, block = 0, b""
        for offset in offsets:
            at = offset - start
            end = block.find(b"\n", at) if 0 <= at < len(block) else -1
            if end < 0:
                start, at, block = offset, 0, self._block(offset, block_bytes)
                end = block.index(b"\n")
            yield block[at:end]

    def flush(self) -> None:
        """Write all buffered lines, so that a forked process does not have them as well."""
        with _explained(self):
            self._file.flush()

    def close(self) -> None:
        """Close the file, even if some of it could not be written."""
        with suppress(OSError):
            self._file.close()

    def _block(self, offset: int, size: int) -> bytes:
        with _explained(self):
            block = os.pread(self._file.fileno(), size, offset)
            while b"\n" not in block:
                more = os.pread(self._file.fileno(), size, offset + len(block))
                if not more:
                    raise OSError(errno.EIO, "it is shorter than what was written")
                block += more
            return block


@contextmanager
def _explained(spool: Spool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _explain(error, spool.size) from None


def _explain(error: OSError, size: int) -> InputError:
    """Return why planned rows cannot be stored, and what helps."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        tried = f"TMPDIR={os.environ['TMPDIR']} or " if os.environ.get("TMPDIR") else ""
        return InputError(
            f"no temporary file can be made in {printable(tried)}one of the usual folders; the rows of a list are put "
            "aside there: set TMPDIR to a folder that can be written"
        )
    where = f"the temporary folder {printable(folder)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        need = f"needs more than {format_size(size)} there"
        return InputError(f"{where} is full: the list {need}; free some of it, or set TMPDIR to another folder")
    return InputError(f"{where} cannot be used: {error.strerror}; set TMPDIR to another folder")
