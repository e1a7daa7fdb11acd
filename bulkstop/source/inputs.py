"""From the name of an input to its form, then to its text."""

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.naming import name_setting
from bulkstop.text import format_size, printable, replace_controls
from bulkstop.text.faults import explain_os

STDIN = "-"
"""The name that stands for standard input."""


MOST_BYTES = 2 * 10**9
"""What is read of an input, unpacked, unless it is said: about ten million rows."""
MOST_TIMES = 200
"""How many times its size a packed list may unpack to: one of ids and names comes to ten, of equal rows to 100."""
HARMLESS_BYTES = 2**20
"""What a packed list may unpack to in any case."""
GZIP_BYTES = 18
"""What even an empty gzip file has."""
SMALL_BYTES = 2**20
"""The longest packed file that is unpacked at once where it says that it is long: that takes half a second."""
STEP = 2**20
"""Bytes after which it is told how far the reading has come."""


class Format(StrEnum):
    """What the rows of an input look like; the values are those of the option `format`."""

    CSV = "csv"
    JSONL = "jsonl"
    TXT = "txt"


_ENDINGS = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".txt": Format.TXT}
_PACKED = ".gz"
_CHOICE = "|".join(Format)


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is known to be there: its name, the name that is shown, and how to read it."""

    name: str
    label: str
    form: Format
    packed: bool = False


def resolve_input(name: str, fmt: str | None) -> Input:
    """Return the input of this name, or raise InputError when it is not there or nothing tells its form."""
    label = replace_controls(name)
    if name == STDIN:
        return Input(name, label, _parse_format(fmt, "- (standard input)"))
    lower = name.lower()
    packed = lower.endswith(_PACKED)
    form = _ENDINGS.get(Path(lower.removesuffix(_PACKED)).suffix) or _parse_format(fmt, label)
    _refuse_absent(name, label)
    return Input(name, label, form, packed)


def _parse_format(fmt: str | None, label: str) -> Format:
    if fmt is None:
        raise InputError(
            f"{label}: nothing tells its form: name it {', '.join(_ENDINGS)} (each also {_PACKED}), "
            f"or give {name_setting('format')} {_CHOICE}"
        )
    try:
        return Format(fmt)
    except ValueError:
        raise InputError(f" {printable(fmt)}: there is no such form; give {_CHOICE}", setting="format") from None


def _refuse_absent(name: str, label: str) -> None:
    # Every name is looked at before the first row is read: a slip in the last one should not cost the whole pass.
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {explain_os(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{label}: is a directory; name the files in it")


class Metered(io.BufferedIOBase):
    """The bytes of an input, counted: raises InputError where there are more than `most`, or than a list unpacks to.

    After every STEP bytes `notice` is called.
    """

    def __init__(self, raw: BinaryIO | gzip.GzipFile, entry: Input, most: int | None, packed_size: int = 0) -> None:
        self.name = entry.name
        self.taken = 0
        self.notice: Callable[[], object] = lambda: None
        self._read = getattr(raw, "read1", raw.read)
        self._entry = entry
        self._most = MOST_BYTES if most is None else most
        self._packed_size = packed_size if most is None else 0
        self._next_notice = STEP

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read some bytes, as `read1` does: a text asks again until nothing comes."""
        return self.read1(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        """Read some bytes, at most `size`."""
        data: bytes = self._read(size)
        self.taken += len(data)
        if self.taken >= self._next_notice:
            self._next_notice = self.taken + STEP
            self.notice()
        self._check()
        return data

    def _check(self) -> None:
        label, remedy = self._entry.label, f"give {name_setting('max_input_size', '4GB')}, or more, if it is meant"
        if self.taken > self._most:
            what = "unpacks to" if self._entry.packed else "has"
            raise InputError(f"{label}: {what} more than {format_size(self._most)}; {remedy}")
        if 0 < self._packed_size * MOST_TIMES < self.taken and self.taken > HARMLESS_BYTES:
            size = f"its {format_size(self._packed_size)}"
            raise InputError(f"{label}: unpacks to more than {MOST_TIMES} times {size}, as no list does; {remedy}")


@contextmanager
def open_input(entry: Input, stdin: BinaryIO | None, most: int | None = None) -> Iterator[io.TextIOWrapper]:
    """Hold the text of an input open; standard input (`stdin`, or the process's own) is left open for its owner.

    Reading it raises InputError where it is longer than `most`, or than the usual limits without that.
    """
    with ExitStack() as stack:
        if entry.name == STDIN:
            binary: BinaryIO | gzip.GzipFile = stdin or _standard_input()
            size = 0
        else:
            binary, size = _bytes_of(entry, stack)
            if most is None:
                _refuse_bomb(entry, size)
        yield _as_text(Metered(binary, entry, most, size))


def meter_of(stream: io.TextIOWrapper) -> Metered:
    """Return what counts the bytes of an input that is open."""
    assert isinstance(stream.buffer, Metered)  # noqa: S101 - made so by open_input
    return stream.buffer


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("- (standard input): is closed; pipe a list into it or name a file")
    return sys.stdin.buffer


def _bytes_of(entry: Input, stack: ExitStack) -> tuple[BinaryIO | gzip.GzipFile, int]:
    """Open a file; return its bytes, unpacked, and the size of what is packed, 0 where nobody can tell."""
    try:
        raw = stack.enter_context(Path(entry.name).open("rb"))  # noqa: SIM115 - the stack closes it
        if not entry.packed:
            return raw, 0
        found = os.fstat(raw.fileno())
        if not raw.peek(1):
            raise InputError(f"{entry.label}: is empty, so it was cut off: even an empty list has a gzip header")
    except OSError as error:
        raise InputError(f"{entry.label}: cannot be read: {explain_os(error)}") from None
    return stack.enter_context(gzip.GzipFile(fileobj=raw)), found.st_size if stat.S_ISREG(found.st_mode) else 0


def _refuse_bomb(entry: Input, size: int) -> None:
    """Raise InputError at once for a packed file that says of itself that it is too long, and is: rows take longer."""
    if not GZIP_BYTES <= size <= SMALL_BYTES:
        return
    with suppress(OSError, EOFError, zlib.error), gzip.open(entry.name) as copy, Path(entry.name).open("rb") as raw:
        said = int.from_bytes(os.pread(raw.fileno(), 4, size - 4), "little")
        meter = Metered(copy, entry, None, size)
        while said > size * MOST_TIMES and meter.read1(STEP):
            pass


def _as_text(binary: Metered) -> io.TextIOWrapper:
    # Undecodable bytes become half surrogate pairs, so that one bad row is found and the others survive.
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="\n")
