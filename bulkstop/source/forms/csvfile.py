"""Reads the rows of a CSV text by column name, with any delimiter."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from bulkstop.errors import InputError
from bulkstop.model import Row
from bulkstop.source.forms.quotes import RowShape
from bulkstop.source.forms.records import Record, Records, glimpse
from bulkstop.source.forms.remarks import is_comment, is_rule
from bulkstop.source.forms.table import LINES_ABOVE, Table, begins_with_id, is_headless, is_title, names_ids
from bulkstop.source.forms.usual import UsualRows
from bulkstop.source.line_reader import LineReader, is_blank, read_pieces
from bulkstop.source.rows import ID_NAMES, Layout, RowParser, field_of
from bulkstop.source.understood import Finding
from bulkstop.text import printable, replace_controls
from bulkstop.text.cells import from_cell, unescape_cell

DELIMITERS = ",;\t|\u2502\u2503"
"""Possible delimiters; the last two are the bars of drawn tables."""
_SEP = re.compile(r"\ufeff?\"?sep=([^\w\s]|\t)\"?\s*", re.IGNORECASE)


def read_csv_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every record that is neither a header nor blank.

    Raises InputError for a header without a column of campaign ids, and for a quote that is never closed.
    """
    return chain.from_iterable(_read(reader, parser))


def _read(reader: LineReader, parser: RowParser) -> Iterator[Iterable[Row]]:
    first, delimiter = _begin(reader, parser)
    if first is None:
        raise InputError(f"{reader.label}: is empty; its first line must name the columns, at least {ID_NAMES[0]}")
    head = [first, *(line for line in reader.head if is_row(line))][:LINES_ABOVE]
    if not parser.choice.has_header or not _find_header(first, delimiter, parser):
        found = delimiter or find_delimiter_of_rows(head)
        cells = _read_head(head, found)
        if not parser.choice.has_header or is_headless(cells, parser):
            table = Table(parser)
            table.go_without_header(cells, begins_with_ids=parser.choice.has_header)
            yield from _rows(Records(reader, first, found, parser), table)
            return
    yield from _rows_below_header(reader, first, delimiter, parser)


def _read_head(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the records of the first lines; a cell may contain line ends."""
    try:
        return [cells for cells in csv.reader([f"{line}\n" for line in lines], delimiter=delimiter) if cells]
    except csv.Error:
        return [glimpse(line, delimiter) for line in lines]


def is_row(line: str) -> bool:
    """Return whether a line may be a row: not blank, a comment, drawn, or a `sep=` line."""
    return not is_blank(line) and not is_comment(line) and not is_rule(line) and not _SEP.fullmatch(line)


def find_delimiter_of_rows(lines: Sequence[str]) -> str:
    """Return the delimiter of rows without a header: the one that follows a likely id in most of them."""

    def count(delimiter: str) -> tuple[int, int]:
        rows = [glimpse(line, delimiter) for line in lines]
        return sum(map(begins_with_id, rows)), sum(len(cells) > 1 for cells in rows)

    return max(DELIMITERS, key=count)


def find_delimiter(header: str, parser: RowParser) -> str:
    """Return the delimiter of the names in a header."""
    # Chosen by known column names, because a guess from the look of the rows can be wrong.
    return max(DELIMITERS, key=lambda delimiter: _names_known(glimpse(header, delimiter), parser))


def _names_known(cells: Sequence[str], parser: RowParser) -> tuple[bool, int, int]:
    fields = {field_of(cell) for cell in cells} - {None}
    return names_ids(cells, parser), len(fields), len(cells)


def _find_header(line: str, delimiter: str | None, parser: RowParser) -> bool:
    return names_ids(glimpse(line, delimiter or find_delimiter(line, parser)), parser)


def _begin(reader: LineReader, parser: RowParser) -> tuple[str | None, str | None]:
    """Return the first line of the table, and the delimiter of a line `sep=;` above it, if any."""
    delimiter = None
    for piece in read_pieces(reader):
        if match := _SEP.fullmatch(piece):
            delimiter = match[1]
        elif is_comment(piece) and not _find_header(piece, delimiter, parser):
            parser.understood.note(Finding.COMMENTS, reader.line)
        elif is_rule(piece):
            parser.understood.note(Finding.RULES, reader.line)
        else:
            return piece, delimiter
    return None, None


def _rows_below_header(
    reader: LineReader, first: str, delimiter: str | None, parser: RowParser
) -> Iterator[Iterable[Row]]:
    table, fault, above = Table(parser), None, 0
    pieces = read_pieces(reader)
    piece: str | None = first
    while piece is not None:
        records = Records(reader, piece, delimiter or find_delimiter(piece, parser), parser)
        header = records.header()
        try:
            _read_header(table, header, records, reader.label)
        except InputError as error:
            fault = fault or error
            if header.torn or above == LINES_ABOVE or not is_title(header.cells):
                raise fault from None
            above += any(map(str.strip, header.cells))
            piece = next(pieces, None)
            continue
        if above:
            parser.understood.counts[Finding.ABOVE_HEADER] += above
        yield from _rows(records, table)
        return
    raise fault or InputError(f"{reader.label}: is empty")


def _read_header(table: Table, header: Record, records: Records, label: str) -> None:
    if header.torn:
        raise InputError(f"{label}: line {header.line}: the header cannot be read: {header.fault}")
    cells = [printable(cell) for cell in header.cells] if header.fault else header.cells
    table.read_header(header.line, cells)
    if _shape(records, table.layout).header_swallows(header.cells):
        raise InputError(
            f"{label}: line {header.line}: the header includes lines that look like rows; close or double a stray quote"
        )


def _shape(records: Records, layout: Layout) -> RowShape:
    return RowShape(records.delimiter, layout.width, layout.id_at)


def _rows(records: Records, table: Table) -> Iterator[Iterable[Row]]:
    """Yield the rows in batches."""
    table.parser.understood.delimiter = records.delimiter
    while True:
        layout = table.layout
        records.shape = _shape(records, layout)
        usual_rows = UsualRows(records.text, records.delimiter, layout, table.parser)
        while table.layout is layout:
            if (taken := records.take()) is None:
                return
            for record in taken:
                if (row := _row(record, table)) is not None:
                    yield (row,)
            if table.layout is layout:
                yield from usual_rows


def _row(record: Record, table: Table) -> Row | None:
    """Return the row of a record; None for a blank one or a repeated header."""
    if record.fault:
        return _invalid(record, record.fault, table)
    _unescape(record.cells, table.layout)
    return table.row(record.line, record.cells)


def _unescape(cells: list[str], layout: Layout) -> None:
    """Undo the escapes of CSV files in the id and the name."""
    id_at, name_at = layout.id_at, layout.name_at
    if id_at < len(cells) and "\\" in cells[id_at]:
        cells[id_at] = unescape_cell(cells[id_at])
    if name_at < len(cells) and ("'" in cells[name_at] or "\\" in cells[name_at]):
        cells[name_at] = from_cell(cells[name_at])


def _invalid(record: Record, reason: str, table: Table) -> Row:
    layout = table.layout
    cells = [replace_controls(cell.rstrip("\r\n")) for cell in record.cells[: layout.width]]
    return table.parser.invalid(record.line, reason, layout.values(cells), layout.carried(cells))
