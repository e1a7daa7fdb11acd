"""Interprets the records of a table: finds its header, and makes a row of each other record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bulkstop.errors import InputError
from bulkstop.ids import LIKELY, POSSIBLE
from bulkstop.model import CampaignType, Row
from bulkstop.naming import name_setting
from bulkstop.source.clean import clean_id, is_likely
from bulkstop.source.due.stop_at import STOP_AT, time_column
from bulkstop.source.forms.remarks import is_comment
from bulkstop.source.rows import FIELDS, Layout, RowParser, field_of, find_layout, key_of, near_column, read_type
from bulkstop.source.understood import Finding
from bulkstop.text import format_count, printable, shorten

NAMES_SHOWN = 10
LINES_ABOVE = 20
"""Number of lines that are searched for a header, and most lines of a title above it."""
_ID, *_OTHERS = FIELDS
_TYPES = frozenset(CampaignType)
_TYPE_AT = FIELDS.index("campaign_type")
NO_IDS = "it names columns, but none for the ids; name that column, or remove the line"
BELOW_NO_IDS = "it is below line {}, which names columns, but none for the ids; name that column there"
_SURE_KEYS = frozenset(("accountid", "streamid", "campaigntype"))
"""Column names that cannot be values, in a record without an id."""
_SCOPE = ("account_id", "stream_id", "iid")


def names_ids(cells: Sequence[object], parser: RowParser) -> bool:
    """Return whether one of these cells is the name of the id column."""
    return any(isinstance(cell, str) and _means_id(cell, parser) for cell in cells)


def _means_id(name: str, parser: RowParser) -> bool:
    chosen = parser.choice.id_column
    return key_of(name) == key_of(chosen) if chosen else field_of(name) == _ID


def is_headless(records: Sequence[Sequence[object]], parser: RowParser) -> bool:
    """Return whether the first records of a table are all rows: each begins with a likely id, and has no other.

    A record that begins with a spoilt id is also a row, and a later header does not count.
    """
    first, *others = records
    rows = (cells for cells in others if cells and not names_ids(cells, parser))
    return begins_with_id(first) and all(begins_with_id(cells) or _is_spoilt_id(cells[0]) for cells in rows)


def _is_spoilt_id(cell: object) -> bool:
    return isinstance(cell, str) and clean_id(cell).fault is not None


def begins_with_id(cells: Sequence[object]) -> bool:
    """Return whether the first cell of a record is a likely id, and no other is."""
    return bool(cells) and has_id(cells[0]) and not any(map(has_id, cells[1:]))


def has_id(cell: object) -> bool:
    """Return whether a cell is one or several likely ids, with only removable characters around them."""
    if not isinstance(cell, str) or "cd-" not in cell:
        return False
    ids, fault, _ = clean_id(cell)
    return fault is None and all(LIKELY.fullmatch(each) for each in ids)


def is_title(cells: Sequence[object]) -> bool:
    """Return whether a record above a header cannot be a row, because nothing in it could be an id."""
    return not any(isinstance(cell, str) and POSSIBLE.fullmatch(cell.strip()) and _has_digit(cell) for cell in cells)


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


@dataclass(slots=True)
class Table:
    """The rows of a table; each header defines the columns below it."""

    parser: RowParser
    layout: Layout = field(init=False)
    names: tuple[str, ...] = ()
    without_ids: int = 0
    """The line of a header without an id column; 0 if the last header has one."""
    begins_with_ids: bool = False
    """Whether there is no header, so that each row must begin with a likely id."""

    def read_header(self, line: int, cells: Sequence[object]) -> None:
        """Use a record as the header; raises InputError if it has no id column."""
        names = [_name(cell) for cell in cells]
        where = f"{self.parser.source}: line {line}"
        if not names_ids(names, self.parser):
            raise InputError(f"{where}: {_explain_no_ids(names, self.parser)}")
        if missing := [name for _, name in self.parser.choice.columns if key_of(name) not in map(key_of, names)]:
            raise InputError(f"{where}: no column {missing[0]!r} among {_list_names(names)}")
        try:
            self._take(distinct := tuple(_distinct(names)), self.parser.layout(distinct))
        except ValueError as reason:
            choose = name_setting("column", f"{str(reason).rpartition(' the ')[2].partition(';')[0]}=NAME")
            raise InputError(f"{where}: {reason}, or say which: {choose}") from None

    def go_without_header(self, records: Sequence[Sequence[object]], *, begins_with_ids: bool) -> None:
        """Name the columns by their numbers; `records` are the first of the table.

        Raises InputError for a chosen column that does not exist.
        """
        width = max(map(len, records), default=1)
        names = [f"(column {number})" for number in range(1, width + 1)]
        for meaning, number in {_ID: "1", **self.parser.choice.chosen}.items():
            names[self._read_number(meaning, number, width) - 1] = meaning
        if begins_with_ids and (place := _find_types(records, width)) and names[place].startswith("("):
            names[place] = "campaign_type"
        self.begins_with_ids = begins_with_ids
        self.parser.understood.has_header = False
        self._take(tuple(names), find_layout(tuple(names)))
        columns = self.parser.understood.columns
        columns |= {meaning: f"column {names.index(meaning) + 1}" for meaning in columns}

    def _read_number(self, meaning: str, number: str, width: int) -> int:
        """Return a chosen column number; raises InputError if the table has no such column."""
        if number.isdecimal() and number.isascii() and 1 <= int(number) <= width:
            return int(number)
        remedy = name_setting("id_column", "2") if meaning == _ID else name_setting("column", f"{meaning}=2")
        has = f"it has {format_count(width, 'column')}"
        raise InputError(
            f"{self.parser.source}: no column {number!r} for the {meaning}: there is no header, and {has}; "
            f"give a number: {remedy}"
        )

    def row(self, line: int, cells: Sequence[object]) -> Row | None:
        """Return the row of a record; None for a blank record or a repeated header."""
        layout = self.layout
        value = cells[layout.id_at] if layout.id_at < len(cells) else None
        if isinstance(value, str) and is_likely(value):
            if len(cells) > layout.width:
                return self._long_row(line, cells)
            return self.parser.likely_row(line, layout.values(cells), layout.carried(cells))
        if not any(not isinstance(cell, str) or cell.strip() for cell in cells if cell is not None):
            self.parser.understood.note(Finding.BLANK_ROWS, line)
            return None
        if not self.parser.any_id and _is_comment(value, cells):
            self.parser.understood.note(Finding.COMMENTS, line)
            return None
        is_row = self._has_type(cells)  # whatever its other cells are
        if not is_row and self._is_header(value, cells):
            return self._read_header_again(line, cells)
        if not is_row and self._is_header_without_ids(cells):
            self.without_ids = line
            own = cells[: layout.width]
            return self.parser.invalid(line, NO_IDS, layout.values(own), layout.carried(own))
        return self._odd_row(line, value, cells)

    def _read_header_again(self, line: int, cells: Sequence[object]) -> Row | None:
        """Use a later record as the header; return an `invalid` result if it has no id column."""
        try:
            self.read_header(line, cells)
        except InputError as error:
            self.without_ids = line
            why = str(error).removeprefix(f"{self.parser.source}: line {line}: ")
            own = cells[: self.layout.width]
            return self.parser.invalid(line, why, self.layout.values(own), self.layout.carried(own))
        self.parser.understood.note(Finding.REPEATED_HEADERS, line)
        return None

    def _odd_row(self, line: int, value: object, cells: Sequence[object]) -> Row:
        layout = self.layout
        if self.without_ids:
            why = BELOW_NO_IDS.format(self.without_ids)
            return self.parser.invalid(line, why, layout.values(cells[: layout.width]), layout.carried(cells))
        if self.begins_with_ids and not has_id(value):
            why = "does not begin with a campaign id, as the first rows of this list without a header do"
            return self.parser.invalid(line, why, layout.values(cells[: layout.width]), layout.carried(cells))
        if len(cells) > layout.width:
            return self._long_row(line, cells)
        return self.parser.row(line, layout.values(cells), layout.carried(cells))

    def _long_row(self, line: int, cells: Sequence[object]) -> Row:
        """Return the row of a record with more cells than the header names."""
        layout = self.layout
        own, extra = cells[: layout.width], cells[layout.width :]
        carried = layout.carried(own)
        texts = {
            f"(column {number})": cell
            for number, cell in enumerate(extra, start=layout.width + 1)
            if cell is not None and (not isinstance(cell, str) or cell.strip())
        }
        if not texts:
            return self.parser.row(line, layout.values(own), carried)
        if self._is_shifted(layout, own, texts):
            why = f"{format_count(len(cells), 'cell')}, but the header names {layout.width}"
            return self.parser.invalid(line, why, layout.values(own), carried)
        self.parser.understood.note(Finding.EXTRA_CELLS, line)
        return self.parser.row(line, layout.values(own), {**(carried or {}), **texts})

    def _is_shifted(self, layout: Layout, cells: Sequence[object], extra: dict[str, object]) -> bool:
        """Return whether the cells may be under the wrong columns, because of a delimiter in a text."""
        if not has_id(cells[layout.id_at]) or any(map(has_id, extra.values())):
            return True
        return any(
            isinstance(cell, str) and cell and not (POSSIBLE.fullmatch(cell) and _has_digit(cell))
            for name, cell in zip(FIELDS, layout.values(cells), strict=True)
            if name in _SCOPE
        )

    def _is_header(self, value: object, cells: Sequence[object]) -> bool:
        """Return whether a record is a header: it names an id column beyond doubt, or has only column names."""
        texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
        keys = {key_of(cell) for cell in texts}
        if not any(_means_id(cell, self.parser) for cell in texts) or any(map(has_id, texts)):
            return False
        if "campaignid" in keys or (isinstance(value, str) and _means_id(value, self.parser)):
            return True
        return all(field_of(cell) or key_of(cell) in map(key_of, self.names) for cell in texts)

    def _has_type(self, cells: Sequence[object]) -> bool:
        """Return whether the record has a campaign type in the column of types, which makes it a row."""
        try:
            return read_type(self.layout.values(cells)[_TYPE_AT]) is not None
        except ValueError:
            return False

    def _is_header_without_ids(self, cells: Sequence[object]) -> bool:
        """Return whether a record is a header without an id column, so that the rows below have no known ids."""
        texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
        if self.parser.any_id or len(texts) < len(cells) or any(map(has_id, texts)):
            return False
        if any(key_of(cell) in _SURE_KEYS for cell in texts):
            return True
        return all(field_of(cell) or key_of(cell) in map(key_of, self.names) for cell in texts)

    def _take(self, names: tuple[str, ...], layout: Layout) -> None:
        self.names, self.layout, self.without_ids = names, layout, 0
        self.parser.note_columns(names, layout)


def _name(cell: object) -> str:
    return "" if cell is None else str(cell).strip().strip("\ufeff")


def _is_comment(value: object, cells: Sequence[object]) -> bool:
    """Return whether a record, whose id cell is `value`, begins with # and cannot be a row."""
    first, *others = cells
    if not isinstance(first, str) or not is_comment(first):
        return False
    return value is first or not any(cell is not None and str(cell).strip() for cell in others)


def _find_types(records: Sequence[Sequence[object]], width: int) -> int:
    """Return the index of the only column that contains only types; 0 for none, or several."""
    places = [
        place
        for place in range(1, width)
        if all(len(cells) > place and str(cells[place]).strip().lower() in _TYPES for cells in records)
    ]
    return places[0] if len(places) == 1 else 0


def _explain_no_ids(names: Sequence[str], parser: RowParser) -> str:
    if chosen := parser.choice.id_column:
        near = near_column(chosen, tuple(names))
        return f"no column {chosen!r} among {_list_names(names)}" + (f"; {near!r} may be meant" if near else "")
    near = near_column(_ID, tuple(names))
    remedy = f"name {near!r} {_ID}" if near else f"name it {_ID}, campaignId, id or _id"
    remedy = f"{remedy}, or give {name_setting('id_column', 'NAME')}"
    if any(map(_looks_like_id, names)):
        remedy += (
            f" (this line looks like an id: {name_setting('no_header', True)} reads a list without names of columns)"
        )
    return f"no column with campaign ids among {_list_names(names)}; {remedy}"


def _looks_like_id(name: str) -> bool:
    is_plain = len(name) > 7 and _has_digit(name) and POSSIBLE.fullmatch(name)
    return "cd-" in name or "cid-" in name or bool(is_plain)


def _list_names(names: Sequence[str]) -> str:
    seen = ", ".join(repr(shorten(printable(name))) for name in names[:NAMES_SHOWN])
    return seen + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")


def _distinct(names: Sequence[str]) -> Iterator[str]:
    # A carried cell must not hide another of the same name.
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        is_meant = field_of(name) is not None or time_column(name) == STOP_AT
        own = f"{name} (column {number})".lstrip() if not name or (name in seen and not is_meant) else name
        seen.add(own)
        yield own
