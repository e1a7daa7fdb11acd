"""Rows of a list of ids."""

from collections.abc import Iterator

from bulkstop.model import Row
from bulkstop.source.clean import is_likely
from bulkstop.source.line_reader import LineReader, read_lines, text_fault
from bulkstop.source.rows import RowParser, id_alone
from bulkstop.source.understood import Finding


def read_id_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every id, of which a line may have several; a comment is none."""
    for line, content in read_lines(reader):
        text = content.removesuffix("\n").removesuffix("\r")
        if is_likely(text):
            yield parser.likely_row(line, id_alone(text))
        elif text.lstrip(" \t\ufeff").startswith("#"):
            parser.understood.note(Finding.COMMENTS, line)
        elif fault := text_fault(text):
            yield parser.invalid(line, fault, id_alone(text))
        else:
            yield from parser.rows_of_line(line, text)
