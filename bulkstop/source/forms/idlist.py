"""Reads the rows of a list of ids."""

import re
from collections.abc import Iterator

from bulkstop.model import Result, Row
from bulkstop.source.clean import is_likely
from bulkstop.source.forms.remarks import is_comment, is_rule
from bulkstop.source.forms.table import BELOW_NO_IDS, NO_IDS, has_id
from bulkstop.source.line_reader import LineReader, read_lines, text_fault
from bulkstop.source.rows import FIELDS, RowParser, field_of, id_alone
from bulkstop.source.understood import Finding

_AROUND = " \t\r\"'\ufeff"
_NAME = re.compile(r"[A-Za-z_ .*-]+")
_REST = re.compile(r"(?!cd-)[0-9A-Fa-f-]+")
"""Matches what may be the rest of an id that a mail program broke over two lines."""


def read_id_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every id; a line may have several, and comments and drawn lines have none."""
    torn = without_ids = 0
    for line, content in read_lines(reader):
        text = content.removesuffix("\n").removesuffix("\r")
        if is_likely(text):
            yield parser.likely_row(line, id_alone(text))
        elif is_comment(text):
            parser.understood.note(Finding.COMMENTS, line)
        elif is_rule(text):
            parser.understood.note(Finding.RULES, line)
        elif not parser.any_id and _NAME.fullmatch(text.strip(_AROUND)) and (meaning := field_of(text)):
            without_ids = 0 if meaning == FIELDS[0] else line
            if without_ids:
                yield parser.invalid(line, NO_IDS, id_alone(text))
            else:
                parser.understood.note(Finding.REPEATED_HEADERS, line)
        elif without_ids and not has_id(text):
            yield parser.invalid(line, BELOW_NO_IDS.format(without_ids), id_alone(text))
        elif torn == line - 1 and torn and _REST.fullmatch(text.strip()):
            yield parser.invalid(
                line, f"it may be the rest of line {torn}; put the whole id on one line", id_alone(text)
            )
        elif fault := text_fault(text):
            yield parser.invalid(line, fault, id_alone(text))
        else:
            row = None
            for row in parser.rows_of_line(line, text):
                yield row
            torn = line if "cd-" in text and isinstance(row, Result) else 0
