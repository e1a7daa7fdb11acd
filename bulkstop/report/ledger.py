"""A Result is a line: JSON or CSV, written the moment the campaign ends."""

import csv
import io
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from bulkstop.errors import OutputError
from bulkstop.model import Result

COLUMNS = tuple(field.name for field in fields(Result))
"""The keys of a result line, in order."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell (https://owasp.org/www-community/attacks/CSV_Injection)."""


def to_json(result: Result) -> bytes:
    """Write a result as one JSON object and a newline; ids and messages cannot start a second line."""
    try:
        return orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE, default=str)
    except TypeError:  # half a surrogate pair or a huge integer in `row`: a line all the same
        cells = {name: getattr(result, name) for name in COLUMNS}
        return json.dumps(cells, default=str, separators=(",", ":"), skipkeys=True).encode() + b"\n"


def to_csv(result: Result) -> bytes:
    """Write a result as one CSV record; a cell that a spreadsheet would run as a formula gets a leading `'`."""
    return _record([_csv_cell(getattr(result, name)) for name in COLUMNS])


def csv_header() -> bytes:
    """Write the header record of a CSV result file."""
    return _record(list(COLUMNS))


class Ledger:
    """Appends result lines to a file, each in one write to the kernel, so that a killed run has lost none.

    A new file is private to the user. Raises OutputError when the file exists (unless `overwrite`), cannot be
    opened, or can no longer be written; after a failed write it takes no more lines. The file begins with its first
    line: until then what is overwritten stays as it was, and without one a new file is removed again.
    """

    def __init__(self, path: str, *, overwrite: bool = False, stdout_fd: int = 1) -> None:
        self._name = "standard output" if path == "-" else path
        self._line: Callable[[Result], bytes] = to_csv if path.lower().endswith(".csv") else to_json
        self._fault: OutputError | None = None
        self._path = None if path == "-" or _is_device(path) else path
        self._is_new = self._path is not None and not os.path.lexists(path)
        self._is_begun = False
        self._fd = os.dup(stdout_fd) if path == "-" else _open(path, overwrite=overwrite)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        os.close(self._fd)
        if self._path is not None and self._is_new and not self._is_begun:
            Path(self._path).unlink(missing_ok=True)

    def write(self, result: Result) -> None:
        """Append one line; raises OutputError when it is not written whole."""
        if not self._is_begun:
            self._begin()
        self._put(self._line(result))

    def _begin(self) -> None:
        self._is_begun = True
        if self._path is not None:
            os.ftruncate(self._fd, 0)
        if self._line is to_csv:
            self._put(csv_header())

    def _put(self, data: bytes) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self._fault = OutputError(f"{self._name}: cannot write results ({error.strerror}); sending stops")
            raise self._fault from None


def _open(path: str, *, overwrite: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | (0 if overwrite else os.O_EXCL), 0o600)
    except FileExistsError:
        if _is_device(path):
            return os.open(path, flags)
        raise OutputError(f"{path}: exists already; give --overwrite, or -o with another file") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be opened for results ({error.strerror}); give -o FILE") from None
    return fd


def _is_device(path: str) -> bool:
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return json.dumps(value, default=str, separators=(",", ":"), skipkeys=True)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _record(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # with "\n" alone it would leave a lone return unquoted
    return (line.getvalue()[:-2] + "\n").encode(errors="replace")
