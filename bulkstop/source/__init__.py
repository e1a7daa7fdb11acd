"""Campaigns in: every input form is read lazily; each row carries its file with its line."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.model import Defaults, Row, Source
from bulkstop.source.csvfile import read_csv_rows
from bulkstop.source.inputs import STDIN, Format, Input, open_input, resolve_input
from bulkstop.source.jsonlines import read_id_rows, read_json_rows
from bulkstop.source.line_reader import LineReader
from bulkstop.source.rows import RowParser

__all__ = ["read"]

_READERS: dict[Format, Callable[[LineReader, RowParser], Iterator[Row]]] = {
    Format.CSV: read_csv_rows,
    Format.JSONL: read_json_rows,
    Format.TXT: read_id_rows,
}


def read(
    inputs: Sequence[str],
    *,
    defaults: Defaults,
    fmt: str | None = None,
    stdin: BinaryIO | None = None,
    any_id: bool = False,
) -> Source:
    """Yield every row of the inputs in their order, each as a campaign or as the `invalid` line that says why not.

    `inputs` are paths, or `-` for standard input; `fmt` (csv, jsonl or txt) is the form of standard input and of
    files whose ending tells none; `any_id` allows ids with characters that ids do not have. Raises InputError at once
    for an input that is not there or has no known form, and while iterating for one that cannot be read to its end.
    """
    entries = [resolve_input(name, fmt) for name in inputs]
    if sum(entry.name == STDIN for entry in entries) > 1:
        raise InputError("- (standard input) is given twice; it can be read only once")
    for place, entry in enumerate(entries):
        if any(entry.label == other.label for other in entries[:place]):
            raise InputError(f"{entry.label} is given twice; name it once")
    return _rows(entries, partial(RowParser, defaults=defaults, any_id=any_id), stdin)


def _rows(entries: Sequence[Input], parser: Callable[[str], RowParser], stdin: BinaryIO | None) -> Iterator[Row]:
    for entry in entries:
        with open_input(entry, stdin) as stream:
            yield from _READERS[entry.form](LineReader(stream, entry.label), parser(entry.label))
