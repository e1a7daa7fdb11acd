"""Lines put aside on disk and read back by offset, so that a long list costs no memory."""

import os
import tempfile
from collections.abc import Iterable, Iterator

BLOCK = 64 * 1024


class Spool:
    """An unnamed temporary file, private to the process; neighbouring lines come out of one read."""

    def __init__(self) -> None:
        self.size = 0
        self._file = tempfile.TemporaryFile(prefix="bulkstop-", buffering=BLOCK)  # noqa: SIM115 - closed by close()

    def append(self, line: bytes) -> int:
        """Put a line that ends with a newline aside and give its offset."""
        offset = self.size
        self._file.write(line)
        self.size += len(line)
        return offset

    def line(self, offset: int) -> bytes:
        """Read the line at an offset."""
        return next(self.lines((offset,)))

    def lines(self, offsets: Iterable[int], block_bytes: int = BLOCK) -> Iterator[bytes]:
        """Read the lines at the given offsets, in that order, without their newlines, a block at a time."""
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
        """Have nothing left in memory, where a process that is forked off would have it as well."""
        self._file.flush()

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _block(self, offset: int, size: int) -> bytes:
        block = os.pread(self._file.fileno(), size, offset)
        while b"\n" not in block:
            block += os.pread(self._file.fileno(), size, offset + len(block))
        return block
