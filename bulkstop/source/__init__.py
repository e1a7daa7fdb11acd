"""Campaigns in: every input form is read lazily; each row carries its file with its line."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

from bulkstop.errors import InputError
from bulkstop.model import Defaults, Row
from bulkstop.source.csvfile import csv_rows
from bulkstop.source.inputs import STDIN, Form, Input, find, opened
from bulkstop.source.jsonlines import id_rows, json_rows
from bulkstop.source.line_reader import Text
from bulkstop.source.rows import Origin

__all__ = ["read"]

_READERS: dict[Form, Callable[[Text, Origin], Iterator[Row]]] = {
    Form.CSV: csv_rows,
    Form.JSONL: json_rows,
    Form.TXT: id_rows,
}


def read(
    inputs: Sequence[str],
    *,
    defaults: Defaults,
    fmt: str | None = None,
    stdin: BinaryIO | None = None,
    any_id: bool = False,
) -> Iterator[Row]:
    """Yield every row of the inputs in their order, each as a campaign or as the `invalid` line that says why not.

    `inputs` are paths, or `-` for standard input; `fmt` (csv, jsonl or txt) is the form of standard input and of
    files whose ending tells none; `any_id` allows ids with characters that ids do not have. Raises InputError at once
    for an input that is not there or has no known form, and while iterating for one that cannot be read to its end.
    """
    found = [find(given, fmt) for given in inputs]
    if sum(entry.given == STDIN for entry in found) > 1:
        raise InputError("- (standard input) is given twice; it can be read only once")
    for place, entry in enumerate(found):
        if any(entry.label == other.label for other in found[:place]):
            raise InputError(f"{entry.label} is given twice; name it once")
    return _rows(found, partial(Origin, defaults=defaults, any_id=any_id), stdin)


def _rows(found: Sequence[Input], origin: Callable[[str], Origin], stdin: BinaryIO | None) -> Iterator[Row]:
    for entry in found:
        with opened(entry, stdin) as stream:
            yield from _READERS[entry.form](Text(stream, entry.label), origin(entry.label))
