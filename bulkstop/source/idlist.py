"""Rows of a plain list: an id a line; blank lines and lines that start with `#` are no rows."""

from collections.abc import Iterator

from bulkstop.model import Row
from bulkstop.source.rows import Origin, id_alone
from bulkstop.source.text import Text, is_blank, lines, text_fault


def id_rows(text: Text, origin: Origin) -> Iterator[Row]:
    """Yield a row for every line that holds an id."""
    for line, content in lines(text):
        if is_blank(content) or content.lstrip().startswith("#"):
            continue
        if fault := text_fault(content):
            yield origin.invalid(line, fault, id_alone(content))
        else:
            yield origin.row(line, id_alone(content))
