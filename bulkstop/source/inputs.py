"""From the name of an input to its form, then to its text."""

import gzip
import io
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.naming import name_setting
from bulkstop.text import printable, replace_controls

STDIN = "-"
"""The name that stands for standard input."""


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
        raise InputError(f"{label}: cannot be read: {_why(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{label}: is a directory; name the files in it")


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def open_input(entry: Input, stdin: BinaryIO | None) -> Iterator[io.TextIOWrapper]:
    """Hold the text of an input open; standard input (`stdin`, or the process's own) is left open for its owner."""
    with ExitStack() as stack:
        if entry.name == STDIN:
            stream = _as_text(stdin or _standard_input())
            stack.callback(stream.detach)
        else:
            stream = stack.enter_context(_as_text(_bytes_of(entry, stack)))
        yield stream


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("- (standard input): is closed; pipe a list into it or name a file")
    return sys.stdin.buffer


def _bytes_of(entry: Input, stack: ExitStack) -> BinaryIO | gzip.GzipFile:
    try:
        raw = stack.enter_context(Path(entry.name).open("rb"))  # noqa: SIM115 - the stack closes it
        if not entry.packed:
            return raw
        if not raw.peek(1):
            raise InputError(f"{entry.label}: is empty, so it was cut off: even an empty list has a gzip header")
    except OSError as error:
        raise InputError(f"{entry.label}: cannot be read: {_why(error)}") from None
    return gzip.GzipFile(fileobj=raw)


def _as_text(binary: BinaryIO | gzip.GzipFile) -> io.TextIOWrapper:
    # Undecodable bytes become half surrogate pairs, so that one bad row is found and the others survive.
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="\n")
