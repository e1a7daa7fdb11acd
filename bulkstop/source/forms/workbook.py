"""Reads the rows of a sheet of a workbook."""

import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from functools import lru_cache, partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from bulkstop.errors import InputError
from bulkstop.model import Row
from bulkstop.naming import name_setting
from bulkstop.source.forms.table import LINES_ABOVE, Table, is_headless, is_title, names_ids
from bulkstop.source.rows import RowParser
from bulkstop.source.understood import Finding
from bulkstop.source.unpack import Budget, Metered, zip_faults
from bulkstop.text import format_count, printable, shorten, write_install
from bulkstop.text.cells import from_cell
from bulkstop.text.faults import explain_unpacking

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

REQUIREMENT = "python-calamine>=0.6,<1"
"""The reader of workbooks, of the extra `excel`."""
MOST_CELLS = 4 * 10**6
"""Cells that any sheet may span, empty ones included; each takes 32 bytes."""
SPAN_PER_CELL = 20
"""Cells that a larger sheet may span for each filled cell."""
HEAD_ROWS = 20
_EXACT = 2**53
_CHUNK = 2**20
_OVERLAP = 64
_CELL = re.compile(rb'<c [^>]{0,40}?\br="([A-Z]{1,4})([0-9]{1,8})"')
_ZIP = b"PK"
_SHEETS_SHOWN = 10
_OF_THE_READER = frozenset({"python_calamine", "pyo3_runtime"})
_MOMENTS = (date, datetime, time, timedelta)
_CHANGED = "the spreadsheet turned it into {}; set the column's format to Text, and enter the ids again"

Cells = list[object]


def read_workbook_rows(binary: Metered, label: str, parser: RowParser, sheet: str | None = None) -> Iterator[Row]:
    """Yield a row for every row of a sheet that is neither a header nor blank; its line is the row number.

    The sheet is the first visible one, or the one of this name. Raises InputError for a file that is not a readable
    workbook, a missing sheet, and a sheet without a column of campaign ids.
    """
    rows = read_sheet(binary, label, parser, sheet)
    head = list(islice(rows, HEAD_ROWS))
    filled = [(line, cells) for line, cells in head if any(cell != "" for cell in cells)]
    table = Table(parser)
    if not filled:
        raise InputError(f"{label}: the sheet is empty; its first row must name the columns")
    first = [_trim(cells) for _, cells in filled]
    if not parser.choice.has_header or (not names_ids(first[0], parser) and is_headless(first, parser)):
        table.go_without_header(first, begins_with_ids=parser.choice.has_header)
        below: Iterator[tuple[int, Cells]] = chain(head, rows)
    else:
        below = _find_header(chain(head, rows), table, parser.understood.other_sheets if sheet is None else ())
    for line, cells in below:
        if (row := _row(line, cells, table)) is not None:
            yield row


def _find_header(rows: Iterator[tuple[int, Cells]], table: Table, others: Sequence[str]) -> Iterator[tuple[int, Cells]]:
    """Give the table its header; return the rows below. Raises InputError, which names the `others`."""
    fault, above = None, 0
    for line, cells in rows:
        if not any(cell != "" for cell in cells):
            continue
        try:
            table.read_header(line, _trim(cells))
        except InputError as error:
            fault = fault or error
            if above == LINES_ABOVE or not is_title(cells):
                break
            above += 1
        else:
            if above:
                table.parser.understood.counts[Finding.ABOVE_HEADER] += above
            return rows
    choice = f"; or choose another sheet, {_list(others)}: {name_setting('sheet', 'NAME')}" if others else ""
    raise InputError(f"{fault or f'{table.parser.source}: the sheet is empty'}{choice}")


def _row(line: int, cells: Cells, table: Table) -> Row | None:
    """Return the campaign row of a sheet's row, or None; an id that is not text was changed by the spreadsheet."""
    layout = table.layout
    value = cells[layout.id_at] if layout.id_at < len(cells) else ""
    cells = [str(cell) if isinstance(cell, _MOMENTS) else cell for cell in _trim(cells)]
    if isinstance(value, str):
        name = cells[layout.name_at] if layout.name_at < len(cells) else None
        if isinstance(name, str):
            cells[layout.name_at] = from_cell(name)  # a list of `discover` that was opened and saved
        return table.row(line, cells)
    why = f"{str(value)!r} is not a campaign id: {_CHANGED.format(_name_kind(value))}"
    table.parser.understood.note(Finding.IMPOSSIBLE_IDS, line, why)
    own = cells[: layout.width]
    own[layout.id_at] = str(value)
    return table.parser.invalid(line, why, layout.values(own), layout.carried(own))


def _name_kind(value: object) -> str:
    if isinstance(value, _MOMENTS):
        return "a date or a time"
    return "true or false" if isinstance(value, bool) else "a number"


def _trim(cells: Cells) -> Cells:
    """Return the cells without empty ones at the end; each row of a sheet is as wide as the widest."""
    width = len(cells)
    while width and cells[width - 1] == "":
        width -= 1
    return cells[:width]


def read_sheet(binary: Metered, label: str, parser: RowParser, sheet: str | None) -> Iterator[tuple[int, Cells]]:
    """Yield the number and cells of each row of a sheet; whole numbers are int, and an empty cell is a text."""
    try:
        data = b"".join(iter(partial(binary.read1, _CHUNK), b""))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{label}: cannot be read: {explain_unpacking(error)}") from None
    if data.startswith(_ZIP):
        _check_span(data, label)
    with _explain_faults(label):
        found, others = _open_sheet(data, label, sheet)
        parser.understood.sheet, parser.understood.other_sheets = found.name, others
        if found.start is None:
            return  # some versions of the reader panic on an empty sheet
        is_numbered = not parser.choice.has_header and parser.choice.chosen
        margin: Cells = [""] * (found.start[1] if is_numbered else 0)
        for line, cells in enumerate(found.iter_rows(), start=1):
            yield line, [*margin, *(_plain(cell) if isinstance(cell, float) else cell for cell in cells)]


def _plain(number: float) -> object:
    return int(number) if abs(number) < _EXACT and number == int(number) else number


@contextmanager
def _explain_faults(label: str) -> Iterator[None]:
    """Raise InputError for any error of the workbook reader."""
    try:
        yield
    except (GeneratorExit, KeyboardInterrupt, InputError):
        raise
    except BaseException as error:  # its panics are not Exceptions
        if type(error).__module__.split(".")[0] not in _OF_THE_READER:
            raise
        is_locked = type(error).__name__ == "PasswordError"
        why = (
            "has a password; save it without one"
            if is_locked
            else "cannot be read as a workbook; save it as CSV (UTF-8)"
        )
        raise InputError(f"{label}: {why}") from None


def _open_sheet(data: bytes, label: str, sheet: str | None) -> tuple["CalamineSheet", tuple[str, ...]]:
    """Return the chosen sheet, and the names of the other visible ones."""
    try:
        from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        remedy = f"{write_install(REQUIREMENT)}, or save its sheet as CSV (UTF-8)"
        raise InputError(f"{label}: is a workbook; to read it run {remedy}") from None
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
    sheets = [each for each in workbook.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
    names = [each.name for each in sheets]
    shown = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible] or names
    if not shown:
        raise InputError(f"{label}: holds no sheet")
    meant = shown[0] if sheet is None else _choose(names, sheet, label)
    return workbook.get_sheet_by_name(meant), tuple(name for name in shown if name != meant)


def _choose(names: Sequence[str], sheet: str, label: str) -> str:
    """Return the name of a sheet, in any letter case, or of the sheet with this number."""
    alike = [name for name in names if name == sheet] or [
        n for n in names if n.strip().lower() == sheet.strip().lower()
    ]
    if len(alike) == 1:
        return alike[0]
    if sheet.isdecimal() and 0 < int(sheet) <= len(names):
        return names[int(sheet) - 1]
    raise InputError(f" {shorten(printable(sheet))}: {label} has no such sheet, but {_list(names)}", setting="sheet")


def _list(names: Sequence[str]) -> str:
    listed = ", ".join(repr(shorten(printable(name))) for name in names[:_SHEETS_SHOWN])
    return listed + (f" and {len(names) - _SHEETS_SHOWN} more" if len(names) > _SHEETS_SHOWN else "")


def _check_span(data: bytes, label: str) -> None:
    """Raise InputError for a workbook that unpacks to more than allowed, or whose cells span too much memory.

    The reader keeps a sheet as a rectangle, so that a single distant cell could end the process.
    """
    from zipfile import ZipFile

    budget = Budget(None, len(data), is_packed=True)
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                with archive.open(name) as part:
                    _check_part(Metered(part, label, budget.take), label)
    except (OSError, EOFError, zlib.error, *zip_faults()) as error:  # type: ignore[misc]  # mypy cannot see into the last
        raise InputError(f"{label}: cannot be read: {explain_unpacking(OSError(str(error)))}") from None


def _check_part(part: Metered, label: str) -> None:
    count, right, below, rest = 0, 0, 0, b""
    while chunk := part.read1(_CHUNK):
        chunk = rest + chunk
        for match in _CELL.finditer(chunk):
            count += 1
            right = max(right, _number_column(match[1]))
            below = max(below, int(match[2]))
        rest = chunk[-_OVERLAP:]
    if right * below > max(MOST_CELLS, SPAN_PER_CELL * count):
        raise InputError(
            f"{label}: has {format_count(count, 'cell')} scattered over {format_count(below, 'row')} "
            f"and {format_count(right, 'column')}; "
            "clear the far ones, or save the sheet as CSV (UTF-8)"
        )


@lru_cache(maxsize=1024)
def _number_column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
