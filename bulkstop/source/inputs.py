"""From the name of an input to its bytes."""

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.naming import name_setting
from bulkstop.source.forms.format import Format, FormatOrigin, form_of_name, parse_format
from bulkstop.text import format_size, replace_controls
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


_PACKED = ".gz"


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is known to be there: its name, the name that is shown, the form that was typed or its name tells.

    `form` is None where nothing tells it before it is read; what its name tells need not fit its content.
    """

    name: str
    label: str
    form: Format | None
    form_from: FormatOrigin
    packed: bool = False


def resolve_input(name: str, fmt: str | None) -> Input:
    """Return the input of this name, or raise InputError when it is not there."""
    label = replace_controls(name)
    typed = None if fmt is None else parse_format(fmt)
    if name == STDIN:
        return Input(name, label, typed, FormatOrigin.OPTION)
    _refuse_absent(name, label)
    packed = name.lower().endswith(_PACKED)
    if typed:
        return Input(name, label, typed, FormatOrigin.OPTION, packed)
    return Input(name, label, form_of_name(name), FormatOrigin.NAME, packed)


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
def open_input(entry: Input, stdin: BinaryIO | None, most: int | None = None) -> Iterator[Metered]:
    """Hold the bytes of an input open, unpacked; standard input (`stdin`, or the process's own) stays open.

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
        yield Metered(binary, entry, most, size)


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
