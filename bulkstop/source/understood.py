"""What was understood of an input that does not go without saying."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bulkstop.source.forms.format import Format, FormatOrigin


class Finding(StrEnum):
    """What was met in an input beside plain rows."""

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
"""What makes another id of a cell than what stands there, or several."""


class Example(NamedTuple):
    """Where something was met first, what stood there, and what was made of it."""

    line: int
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class Understood:
    """How an input was read, which is complete once it is read to its end.

    `columns` are the names of the columns, or keys, that mean something, by what they mean; `others` are carried along.
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
    """Columns that could have been the id."""
    counts: Counter[Finding] = field(default_factory=Counter)
    examples: dict[Finding, Example] = field(default_factory=dict)

    def note(self, finding: Finding, line: int, before: str = "", after: str = "") -> None:
        """Count something that was met, and keep the first of its kind."""
        self.counts[finding] += 1
        if finding not in self.examples:
            self.examples[finding] = Example(line, before, after)
