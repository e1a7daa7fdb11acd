"""Reads campaigns lazily from inputs of every format; each row has its file with its line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bulkstop.errors import InputError
from bulkstop.model import Defaults, Row, Source
from bulkstop.naming import name_setting
from bulkstop.source.encoding import UTF_8, open_text
from bulkstop.source.forms.format import CHOICE, ENDINGS, Format, FormatOrigin
from bulkstop.source.inputs import STDIN, Input, resolve_input
from bulkstop.source.line_reader import LineReader, find_foreign
from bulkstop.source.rows import ColumnChoice, FindDefaults, RowParser, refuse_profile
from bulkstop.source.understood import Finding, Understood

if TYPE_CHECKING:
    from bulkstop.source.unpack import Member, Metered

__all__ = ["read", "watch_reading"]

Notice = Callable[[str, int, int], object]
"""Called with the name of an input, its unpacked bytes read so far, and its lines."""


class _Reading(NamedTuple):
    """The options for reading all inputs."""

    parser: Callable[[str, Understood], RowParser]
    encoding: str | None
    stdin: BinaryIO | None
    most: int | None
    sheet: str | None
    understood: list[Understood]


_notice: ContextVar[Notice | None] = ContextVar("notice", default=None)


def read(
    inputs: Sequence[str],
    *,
    defaults: Defaults,
    fmt: str | None = None,
    stdin: BinaryIO | None = None,
    any_id: bool = False,
    most: int | None = None,
    encoding: str | None = None,
    choice: ColumnChoice | None = None,
    sheet: str | None = None,
    understood: list[Understood] | None = None,
    find_defaults: FindDefaults = refuse_profile,
) -> Source:
    """Yield every row of the inputs in their order, as a campaign or as an `invalid` result with the reason.

    `inputs` are paths, or `-` for standard input. `fmt` (csv, json, jsonl, txt or xlsx) is their format, by default
    that of their name or content. `any_id` allows ids with unusual characters. At most `most` unpacked bytes are read
    of each input, in this `encoding`. `choice` selects columns, `sheet` the sheet of a workbook. `find_defaults`
    returns the defaults for rows of a profile. How each input was read is appended to `understood`. Raises InputError
    at once for a missing input, and while iterating for an unknown format or one that cannot be read completely.
    """
    entries = [resolve_input(name, fmt) for name in inputs]
    if sum(entry.name == STDIN for entry in entries) > 1:
        raise InputError("- (standard input) is named twice, but can be read only once; name it once")
    for place, entry in enumerate(entries):
        if any(entry.label == other.label for other in entries[:place]):
            raise InputError(f"{entry.label} is named twice; name it once")

    def parser(label: str, of: Understood) -> RowParser:
        return RowParser(label, defaults, any_id, choice or ColumnChoice(), of, find_defaults)

    return chain.from_iterable(
        _rows(entries, _Reading(parser, encoding, stdin, most, sheet, [] if understood is None else understood))
    )


@contextmanager
def watch_reading(notice: Notice) -> Iterator[None]:
    """Call `notice` after every megabyte that is read in the block."""
    token = _notice.set(notice)
    try:
        yield
    finally:
        _notice.reset(token)


def _rows(entries: Sequence[Input], reading: _Reading) -> Iterator[Iterator[Row]]:
    from bulkstop.source.unpack import open_members

    for entry in entries:
        for member in open_members(entry, reading.stdin, reading.most):
            understood = Understood(member.label, packing=", ".join(member.packing) or None)
            reading.understood.append(understood)
            read_rows = _rows_of_workbook if member.is_workbook else _rows_of_text
            yield read_rows(member, entry.of_member(member.label), reading, understood)


def _rows_of_text(member: "Member", entry: Input, reading: _Reading, understood: Understood) -> Iterator[Row]:
    from bulkstop.source.forms.content import read_first_lines  # a help page needs only the names of formats

    text = open_text(member.stream, entry.label, reading.encoding)
    understood.encoding = text.encoding
    parser = reading.parser(entry.label, understood)
    lines = read_first_lines(text.head, is_whole=text.is_whole)
    understood.form, understood.form_from = _choose_form(entry, lines, text.head, parser)
    if understood.form is Format.XLSX:
        raise InputError(f"{entry.label}: is not a workbook; give {name_setting('format')} {CHOICE}")
    is_by_rule = text.encoding == UTF_8 and not reading.encoding
    note_cp1252 = partial(understood.note, Finding.CP1252_LINES) if is_by_rule else None
    reader = LineReader(text.stream, entry.label, note_cp1252, lines)
    _watch(reader, member.stream)
    return _read_rows(understood.form, reader, parser)


def _read_rows(form: Format, reader: LineReader, parser: RowParser) -> Iterator[Row]:
    """Return the rows of a text; readers of other formats are not imported."""
    match form:
        case Format.CSV:
            from bulkstop.source.forms.csvfile import read_csv_rows

            return read_csv_rows(reader, parser)
        case Format.TXT:
            from bulkstop.source.forms.idlist import read_id_rows

            return read_id_rows(reader, parser)
        case _:
            from bulkstop.source.forms.jsonlines import read_json_rows

            return read_json_rows(reader, parser)


def _rows_of_workbook(member: "Member", entry: Input, reading: _Reading, understood: Understood) -> Iterator[Row]:
    from bulkstop.source.forms.workbook import read_workbook_rows  # most lists are not workbooks

    if entry.form not in (None, Format.XLSX) and entry.form_from is FormatOrigin.OPTION:
        raise InputError(f"{entry.label}: is a workbook, not {entry.form}; leave out {name_setting('format')}")
    is_named = entry.form is Format.XLSX
    understood.form, understood.form_from = Format.XLSX, entry.form_from if is_named else FormatOrigin.CONTENT
    return read_workbook_rows(member.stream, entry.label, reading.parser(entry.label, understood), reading.sheet)


def _choose_form(entry: Input, lines: Sequence[str], head: str, parser: RowParser) -> tuple[Format, FormatOrigin]:
    """Return the format of an input: the one given, else that of its name if it fits, else that of its content."""
    from bulkstop.source.forms.content import are_mostly_ids, find_form, fits

    if entry.form is not None and entry.form_from is FormatOrigin.OPTION:
        return entry.form, entry.form_from
    shown = find_form(lines, parser)
    if entry.form is not None and (shown is None or fits(entry.form, shown, lines)):
        return entry.form, entry.form_from
    if shown is None and not find_foreign(head) and are_mostly_ids(lines):
        shown = Format.TXT
    if shown is not None:
        return shown, FormatOrigin.CONTENT
    why = find_foreign(head) or (
        f"the format is unknown: name it {', '.join(ENDINGS)}, or give {name_setting('format')} {CHOICE}"
        if head.strip()
        else "is empty"
    )
    raise InputError(f"{entry.label}: {why}")


def _watch(reader: LineReader, meter: "Metered") -> None:
    notice = _notice.get()
    if notice is not None:
        meter.notice = lambda: notice(reader.label, meter.taken, reader.line)
