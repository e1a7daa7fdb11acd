"""Makes the rows of plain CSV lines in one fast loop; nearly all lines of a long list are plain."""

import re
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

from bulkstop.ids import LIKELY
from bulkstop.model import Campaign, Row
from bulkstop.source.clean import USUAL_CHARS
from bulkstop.source.forms.remarks import MAY_BEGIN
from bulkstop.source.line_reader import LINE_CHARS, READ_ERRORS, LineReader
from bulkstop.source.rows import FIELDS, SCOPE_FIELDS, Layout, RowParser, carry_profile, read_urgency
from bulkstop.text.cells import from_cell

MOST_ROWS = 1000
"""Most rows of a batch."""
_LONE_FIELDS = ("campaign_id", "priority", "name", "profile")
_is_likely = LIKELY.fullmatch
_holds_half = re.compile("[\ud800-\udfff]").search
_make = tuple.__new__  # as in Campaign.of_row


class UsualRows:
    """Makes the same row of a plain line as the general reader does, and leaves every other line to that.

    A plain line is complete and not too long. It has as many cells as the header, all of them or none in quotes. Its id
    is a likely one, and its type, account, stream and profile have occurred before.
    """

    def __init__(self, reader: LineReader, delimiter: str, layout: Layout, parser: RowParser) -> None:
        places = dict(zip(FIELDS, cast("tuple[int, ...]", layout.pick(range(layout.width + 1))), strict=True))
        self._reader, self._delimiter, self._layout, self._parser = reader, delimiter, layout, parser
        self._pick_scope = itemgetter(*(places[name] for name in SCOPE_FIELDS))
        self._places = tuple(places[name] for name in _LONE_FIELDS)

    def __iter__(self) -> Iterator[Sequence[Row]]:
        """Yield the rows of the next lines as long as these are plain.

        Raises InputError for a stream that cannot be read further.
        """
        reader, error = self._reader, None
        while error is None:
            rows: list[Row] = []
            try:
                self._add_to(rows)
            except READ_ERRORS as fault:
                error = fault
            reader.line += len(rows)
            yield rows
            if len(rows) < MOST_ROWS and error is None:
                return
        raise reader.cut_off(error) from None

    def _add_to(self, rows: list[Row]) -> None:
        """Add the rows of plain lines, at most MOST_ROWS."""
        reader, delimiter, width, source = self._reader, self._delimiter, self._layout.width, self._parser.source
        find_scope, pick_scope, add, others = (
            self._parser.scopes.get,
            self._pick_scope,
            rows.append,
            self._layout.others,
        )
        id_at, priority_at, name_at, profile_at = self._places
        urgency = name = None
        cells: Any
        carried: Mapping[str, object] | None
        numbers = range(reader.line + 1, reader.line + 1 + MOST_ROWS)
        for line, piece in zip(numbers, reader.lines_ahead(), strict=False):
            body = piece.rstrip("\r\n")
            if '"' in body:
                cells = body[1:-1].split(f'"{delimiter}"')
                if body.count('"') != 2 * len(cells) or body[0] != '"' or body[-1] != '"':
                    break
            else:
                cells = body.split(delimiter)
            if len(cells) != width or "\r" in body or "\0" in body or piece[-1] != "\n" or len(piece) > LINE_CHARS:
                break
            campaign_id = cells[id_at]
            if len(campaign_id) > USUAL_CHARS or not _is_likely(campaign_id):
                break
            if piece[0] in MAY_BEGIN or (not piece.isascii() and _holds_half(piece)):
                break
            cells.append(None)  # the value of missing columns
            scope = find_scope(pick_scope(cells))
            if scope is None:
                break
            account_id, stream_id, iid, kind, profile = scope
            carried = {key: cells[place] for key, place in others} if others else None
            if profile_at != width and cells[profile_at]:
                carried = carry_profile(cells[profile_at], carried)
            if priority_at != width:
                try:
                    urgency = read_urgency(cells[priority_at])
                except ValueError:
                    break
            if name_at != width:
                name = cells[name_at]
                if "'" in name or "\\" in name:
                    name = from_cell(name)
                name = name.strip() or None
            add(
                _make(
                    Campaign,
                    (
                        campaign_id,
                        kind,
                        account_id,
                        stream_id,
                        iid,
                        source,
                        line,
                        urgency,
                        name,
                        carried,
                        profile,
                        None,
                    ),
                )
            )
        else:
            return
        reader.give_back(piece)
