"""Rows of a CSV text: columns by name, whatever separates them."""

import re
from collections.abc import Iterator, Sequence

from bulkstop.errors import InputError
from bulkstop.model import Result, Row
from bulkstop.source.line_reader import LineReader, read_pieces
from bulkstop.source.quotes import RowShape
from bulkstop.source.records import Record, Records, glimpse
from bulkstop.source.rows import (
    FIELDS,
    ID_NAMES,
    Layout,
    RowParser,
    Values,
    field_of,
    find_layout,
    near_column,
    note_header,
)
from bulkstop.text import format_count, printable, replace_controls, shorten
from bulkstop.text.cells import from_cell, unescape_cell

_DELIMITERS = ",;\t|"
_COLUMNS_SHOWN = 10
_LIKE_AN_ID = re.compile(r"c(i)?d-|(?=[a-f-]*[0-9])[0-9a-f-]+$", re.IGNORECASE)


def read_csv_rows(reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Yield a row for every record under the header; a blank line is no record.

    Raises InputError for a header that does not tell where the campaign ids are, and for a quote that is never closed.
    """
    first = next(read_pieces(reader), None)
    if first is None:
        raise InputError(f"{reader.label}: is empty; its first line must name the columns, at least {ID_NAMES[0]}")
    delimiter = _delimiter(first)
    records = Records(reader, first, delimiter)
    header = records.header()
    columns = _columns(header, reader.label)
    shape = RowShape(delimiter, columns.width, columns.id_at)
    _check_header(header, shape, reader.label)
    for record in records.rows(shape):
        yield _row(record, header, columns, parser)


def _row(record: Record, header: Record, columns: Layout, parser: RowParser) -> Row:
    cells = record.cells
    if record.fault:
        return _invalid(record, record.fault, columns, parser)
    if len(cells) > columns.width:
        return _invalid(
            record, f"{format_count(len(cells), 'cell')}, but the header names {columns.width}", columns, parser
        )
    if cells == header.cells:
        return _invalid(record, "the header once more, not a campaign", columns, parser)
    return parser.row(record.line, _values(columns, cells), columns.carried(cells))


def _values(columns: Layout, cells: Sequence[str]) -> Values:
    """Return what the cells say, the id and the name without what only a CSV file needs."""
    values = columns.values(cells)
    campaign_id, *between, name = values
    has_mark = isinstance(name, str) and ("'" in name or "\\" in name)
    if not has_mark and not (isinstance(campaign_id, str) and "\\" in campaign_id):  # as nearly all have none
        return values
    return (
        unescape_cell(campaign_id) if isinstance(campaign_id, str) else campaign_id,
        *between,
        from_cell(name) if isinstance(name, str) else name,
    )


def _invalid(record: Record, reason: str, columns: Layout, parser: RowParser) -> Result:
    cells = [replace_controls(cell.rstrip("\r\n")) for cell in record.cells[: columns.width]]
    return parser.invalid(record.line, reason, columns.values(cells), columns.carried(cells))


def _delimiter(header: str) -> str:
    # By the names that appear, since they are known: a guess from the look of the rows can be wrong.
    return max(_DELIMITERS, key=lambda delimiter: _names_known(glimpse(header, delimiter)))


def _names_known(cells: Sequence[str]) -> tuple[bool, int, int]:
    fields = {field_of(cell) for cell in cells} - {None}
    return FIELDS[0] in fields, len(fields), len(cells)


def _columns(header: Record, label: str) -> Layout:
    where = f"{label}: line {header.line}"
    if header.torn:
        raise InputError(f"{where}: the header cannot be read: {header.fault}")
    names = [printable(cell.strip()) if header.fault else cell.strip() for cell in header.cells]
    if not any(field_of(name) == FIELDS[0] for name in names):
        raise InputError(f"{where}: {_no_id_column(names)}{_hint(header)}")
    note_header(label, names)
    try:
        return find_layout(tuple(_distinct(names)))
    except ValueError as reason:
        raise InputError(f"{where}: {reason}") from None


def _check_header(header: Record, shape: RowShape, label: str) -> None:
    if shape.header_swallows(header.cells):
        raise InputError(
            f"{label}: line {header.line}: the header goes over lines that look like rows; "
            "close or double a stray quote"
        )


def _no_id_column(names: Sequence[str]) -> str:
    seen = ", ".join(repr(shorten(name)) for name in names[:_COLUMNS_SHOWN])
    more = f" and {len(names) - _COLUMNS_SHOWN} more" if len(names) > _COLUMNS_SHOWN else ""
    near = near_column("campaign_id", tuple(names))
    remedy = f"name {near!r} campaign_id" if near else f"name it {', '.join(ID_NAMES[:-1])} or {ID_NAMES[-1]}"
    return f"no column with campaign ids among {seen}{more}; {remedy}"


def _hint(header: Record) -> str:
    if any("\0" in cell for cell in header.cells):
        return " (it holds NUL bytes: if it is UTF-16, save it as UTF-8)"
    if any(_LIKE_AN_ID.match(cell.strip()) for cell in header.cells):
        return " (this line looks like an id: put the names of the columns above it, or call a plain list of ids .txt)"
    return ""


def _distinct(names: Sequence[str]) -> Iterator[str]:
    # A cell that is carried along must not hide another of the same name.
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        own = f"{name} (column {number})".lstrip() if not name or (name in seen and not field_of(name)) else name
        seen.add(own)
        yield own
