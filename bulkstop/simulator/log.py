"""Logs one line for each request, complete however the process ends."""

import asyncio
import os
from io import FileIO
from pathlib import Path
from types import TracebackType

import orjson

from bulkstop.errors import OutputError
from bulkstop.files.places import open_in_place, open_place
from bulkstop.files.whole import is_device
from bulkstop.outbox import Outbox
from bulkstop.simulator.service import Exchange


class RequestLog:
    """A JSONL file to which each line is appended in one write; raises OutputError if it cannot be opened.

    A pipe or a device is written beside the event loop.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._outbox: Outbox[None] | None = None
        self._turn = asyncio.Lock()

    def __enter__(self) -> "RequestLog":
        if self._path is not None:
            try:
                with open_place(self._path) as place:
                    self._file = FileIO(open_in_place(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a")
            except OSError as error:
                raise OutputError(f"cannot write the request log {self._path}: {error.strerror}") from error
            if is_device(str(self._path)):
                self._outbox = Outbox(os.dup(self._file.fileno()), f"the request log {self._path}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outbox is not None:
            self._outbox.hurry()
            self._outbox.close()
        if self._file is not None:
            self._file.close()

    async def append(self, exchange: Exchange) -> None:
        """Write one line; raises OSError if it was not written completely."""
        if self._file is None:
            return
        line = orjson.dumps(exchange, option=orjson.OPT_APPEND_NEWLINE)
        if self._outbox is not None:
            async with self._turn:  # so that the wait is for this line
                is_open = self._outbox.put(line, None)
                await self._outbox.flush()
            if not is_open or self._outbox.is_over:
                raise OSError(f"{self._path}: line cut short")
            return
        if self._file.write(line) != len(line):
            raise OSError(f"{self._path}: line cut short")
