"""What happened, one line a request, complete however the process ends."""

from io import FileIO
from pathlib import Path
from types import TracebackType

import orjson

from bulkstop.errors import OutputError
from bulkstop.simulator.service import Exchange


class RequestLog:
    """A JSONL file that is appended to, each line with one write; raises OutputError if it cannot be opened."""

    def __init__(self, path: str | Path | None) -> None:
        self._path = path
        self._file: FileIO | None = None

    def __enter__(self) -> "RequestLog":
        if self._path is not None:
            try:
                self._file = FileIO(self._path, "a")
            except OSError as error:
                raise OutputError(f"cannot write the request log {self._path}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, exchange: Exchange) -> None:
        """Write one line; raises OSError if it did not get there whole."""
        if self._file is None:
            return
        line = orjson.dumps(exchange, option=orjson.OPT_APPEND_NEWLINE)
        if self._file.write(line) != len(line):
            raise OSError(f"{self._path}: line cut short")
