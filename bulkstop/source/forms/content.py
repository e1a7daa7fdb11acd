"""Recognizes the format of an input from its first lines."""

import re
from collections.abc import Sequence

from bulkstop.source.clean import clean_id
from bulkstop.source.forms.csvfile import DELIMITERS, find_delimiter, is_row
from bulkstop.source.forms.format import Format
from bulkstop.source.forms.records import glimpse
from bulkstop.source.forms.table import has_id, names_ids
from bulkstop.source.rows import RowParser

LINES = 20
"""Number of lines that are examined."""
_OBJECT = re.compile(r'\{\s*(?:"|$)')
_ALIKE = frozenset({Format.JSON, Format.JSONL})


def read_first_lines(text: str, *, is_whole: bool) -> list[str]:
    """Return the first complete lines of a text of which only the beginning may be given."""
    lines = text.split("\n", LINES * 5)
    return lines if is_whole else lines[:-1]


def find_form(lines: Sequence[str], parser: RowParser) -> Format | None:
    """Return the format that the first lines prove by objects, a header or likely ids in front; else None."""
    rows = [line for line in lines if is_row(line)][:LINES]
    if not rows:
        return None
    first = rows[0].lstrip("\ufeff \t")
    if _begins_json(first) or (first.startswith('"') and any(map(_OBJECT.match, rows))):
        return Format.JSON
    if names_ids(glimpse(rows[0], find_delimiter(rows[0], parser)), parser):
        return Format.CSV
    if not _holds_ids(rows[0]):
        return None
    return Format.CSV if any(map(_has_other_cells, rows)) else Format.TXT


def _begins_json(line: str) -> bool:
    """Return whether a line begins an object or a non-empty array; `[x] cd-1` is an id after a box."""
    text = line.strip("\ufeff \t\r")
    rest = text[1:].lstrip()
    if text.startswith("{"):
        return rest[:1] in ("", '"', "}")
    return text.startswith("[") and (rest in ("", "]") or rest[0] in '[{"')


def are_mostly_ids(lines: Sequence[str]) -> bool:
    """Return whether more lines are likely ids, as written in texts, than are not."""
    rows = list(filter(is_row, lines))
    return 2 * sum(map(has_id, rows)) > len(rows)


def fits(named: Format, shown: Format, lines: Sequence[str]) -> bool:
    """Return whether the format of a name is possible; a table may consist of one id per line."""
    if named == shown or {named, shown} <= _ALIKE:
        return True
    rows = [line for line in lines if is_row(line)]
    if named in _ALIKE:
        return rows[0].lstrip("\ufeff \t").startswith('"')
    return named is Format.CSV and shown is Format.TXT and not any(map(_holds_several_ids, rows))


def _holds_ids(line: str) -> bool:
    """Return whether a line, or its first cell, contains only likely ids."""
    firsts = (glimpse(line, delimiter)[:1] for delimiter in DELIMITERS if delimiter in line)
    return has_id(line) or any(has_id(cell) for cells in firsts for cell in cells)


def _holds_several_ids(line: str) -> bool:
    return has_id(line) and len(clean_id(line).ids) > 1


def _has_other_cells(line: str) -> bool:
    """Return whether a line contains a likely id, a delimiter, and something else."""
    if has_id(line):
        return False
    cells = [glimpse(line, delimiter) for delimiter in DELIMITERS if delimiter in line]
    return any(has_id(first) and any(map(str.strip, others)) for first, *others in filter(None, cells))
