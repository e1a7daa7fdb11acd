"""Campaigns in: every input form is read lazily; each row carries its file with its line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.model import Defaults, Row, Source
from bulkstop.source.csvfile import read_csv_rows
from bulkstop.source.inputs import STDIN, Format, Input, Metered, meter_of, open_input, resolve_input
from bulkstop.source.jsonlines import read_id_rows, read_json_rows
from bulkstop.source.line_reader import LineReader
from bulkstop.source.rows import RowParser

__all__ = ["read", "watch_reading"]

Notice = Callable[[str, int, int], object]
"""Called with the name of an input, the bytes of it that were read, unpacked, and the lines."""

_READERS: dict[Format, Callable[[LineReader, RowParser], Iterator[Row]]] = {
    Format.CSV: read_csv_rows,
    Format.JSONL: read_json_rows,
    Format.TXT: read_id_rows,
}


_notice: ContextVar[Notice | None] = ContextVar("notice", default=None)


def read(
    inputs: Sequence[str],
    *,
    defaults: Defaults,
    fmt: str | None = None,
    stdin: BinaryIO | None = None,
    any_id: bool = False,
    most: int | None = None,
) -> Source:
    """Yield every row of the inputs in their order, each as a campaign or as the `invalid` line that says why not.

    `inputs` are paths, or `-` for standard input; `fmt` (csv, jsonl or txt) is the form of standard input and of
    files whose ending tells none; `any_id` allows ids with characters that ids do not have; of each input `most` bytes
    may be read, unpacked. Raises InputError at once
    for an input that is not there or has no known form, and while iterating for one that cannot be read to its end.
    """
    entries = [resolve_input(name, fmt) for name in inputs]
    if sum(entry.name == STDIN for entry in entries) > 1:
        raise InputError("- (standard input) is given twice; it can be read only once")
    for place, entry in enumerate(entries):
        if any(entry.label == other.label for other in entries[:place]):
            raise InputError(f"{entry.label} is given twice; name it once")
    return _rows(entries, partial(RowParser, defaults=defaults, any_id=any_id), stdin, most)


@contextmanager
def watch_reading(notice: Notice) -> Iterator[None]:
    """Have `notice` called after every megabyte that is read in the block."""
    token = _notice.set(notice)
    try:
        yield
    finally:
        _notice.reset(token)


def _rows(
    entries: Sequence[Input], parser: Callable[[str], RowParser], stdin: BinaryIO | None, most: int | None
) -> Iterator[Row]:
    for entry in entries:
        with open_input(entry, stdin, most) as stream:
            reader = LineReader(stream, entry.label)
            _watch(reader, meter_of(stream))
            yield from _READERS[entry.form](reader, parser(entry.label))


def _watch(reader: LineReader, meter: Metered) -> None:
    notice = _notice.get()
    if notice is not None:
        meter.notice = lambda: notice(reader.label, meter.taken, reader.line)
