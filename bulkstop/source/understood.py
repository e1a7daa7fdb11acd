"""Records how an input was understood, where that is not obvious."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bulkstop.source.forms.format import Format, FormatOrigin


class Finding(StrEnum):
    """Something that an input contained besides plain rows."""

    COMMENTS = "comments"
    RULES = "drawn_lines"
    ABOVE_HEADER = "lines_above_header"
    REPEATED_HEADERS = "repeated_headers"
    BLANK_ROWS = "blank_rows"
    CP1252_LINES = "cp1252_lines"
    EXTRA_CELLS = "rows_with_extra_cells"
    CLEANED = "rows_cleaned"
    SPLIT_LINES = "lines_with_several_ids"
    MORE_PAGES = "more_pages"
    IMPOSSIBLE_IDS = "impossible_ids"


CLEANINGS = frozenset({Finding.CLEANED, Finding.SPLIT_LINES})
"""Findings that changed an id, or split a cell into several."""


class Example(NamedTuple):
    """The first occurrence of a finding: its place, the text, and its interpretation."""

    line: int
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class Understood:
    """How an input was read; complete once the input has been read.

    `columns` are the names of columns or keys by their meaning; `others` are carried along.
    """

    label: str
    form: Format | None = None
    form_from: FormatOrigin | None = None
    packing: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    other_sheets: tuple[str, ...] = ()
    has_header: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    id_not_taken: tuple[str, ...] = ()
    """Columns that could have been the id column."""
    counts: Counter[Finding] = field(default_factory=Counter)
    examples: dict[Finding, Example] = field(default_factory=dict)

    def note(self, finding: Finding, line: int, before: str = "", after: str = "") -> None:
        """Count a finding, and keep the first of its kind."""
        self.counts[finding] += 1
        if finding not in self.examples:
            self.examples[finding] = Example(line, before, after)
