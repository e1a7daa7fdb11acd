"""What a hold has seen: its list, which grows in a file, and how often each campaign came back."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from bulkstop.errors import OutputError
from bulkstop.files.places import open_in_place, open_place
from bulkstop.model import DONE, Campaign, Defaults, ListedCampaign, Outcome, Result, Row, Scope
from bulkstop.report.lists.discovery import Discovery, list_values, to_json_line
from bulkstop.source.rows import RowParser

SIGHTING = "sighting"
"""The column of the list, carried into the result line, that says by its number when a campaign was seen."""
BLOCK = 64 * 1024

Key = tuple[str | None, str | None, str | None]
"""An account, a stream, and the id of a campaign in it."""


class Sighting(NamedTuple):
    """What one look has found: the rows that are to be stopped, their lines in the list, and who is left alone.

    `left_alone` are those that came back too often.
    """

    number: int
    rows: Sequence[Row] = ()
    data: bytes = b""
    left_alone: Sequence[ListedCampaign] = ()

    @property
    def keys(self) -> set[Key]:
        """The campaigns that are to be stopped."""
        return {key_of(row) for row in self.rows}


class Sightings:
    """The list of all that was seen and acted on, a line each time, and how often each campaign was stopped.

    A campaign that was stopped and has come back `again` times is left alone. Raises OutputError for a list that cannot
    be written.
    """

    def __init__(self, path: str, *, again: int, any_id: bool = False) -> None:
        self.path = path
        self.number = 0
        self.lines = 0
        self._again = again
        self._stops: dict[Key, int] = {}
        self._protected: set[Key] = set()
        self._parser = RowParser(path, Defaults(None, None, None, None), any_id)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the list; one that got no line is removed."""
        if self.is_open:
            if not os.fstat(self._fd).st_size:
                with suppress(OSError):
                    os.unlink(self.path)  # noqa: PTH108 - a name of our own
            os.close(self._fd)
            self._fd = -1

    @property
    def is_open(self) -> bool:
        """Tell whether the list is open to be written."""
        return self._fd >= 0

    def open(self, *, is_new: bool) -> None:
        """Open the list to be written; of one that is gone on with a line that a crash tore is cut off."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        try:
            with open_place(self.path) as place:
                place.refuse_directory()
                self._fd = open_in_place(place, flags | (os.O_TRUNC if is_new else 0))
                place.refuse_irregular()
            _cut_torn_line(self._fd)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); give -o with another file") from None

    def note(self, row: Row, outcome: Outcome | None) -> None:
        """Take in a row of the list as it was, and what became of it; None where nothing says that."""
        self.lines = row.line or self.lines
        number = (row.row or {}).get(SIGHTING)
        if isinstance(number, int):
            self.number = max(self.number, number)
        self._count(key_of(row), outcome)

    def record(self, result: Result) -> None:
        """Take in what became of a row; one that is protected is not looked at again."""
        if result.outcome is Outcome.PROTECTED:
            self._protected.add(key_of(result))
        else:
            self._count(key_of(result), result.outcome)

    def choose(self, discovery: Discovery) -> Sighting:
        """Return what is to be stopped of what was found; nothing is written yet."""
        number, rows, lines = self.number + 1, list[Row](), list[bytes]()
        left_alone = []
        for scope, item in discovery.rows:
            if self.is_protected(scope, item):
                continue
            if self._stops.get(_key(scope, item), 0) >= self._again:
                left_alone.append(item)
                continue
            lines.append(to_json_line(list_values(scope, item) | {SIGHTING: number}))
            rows.append(self._parse(self.lines + len(lines), lines[-1]))
        return Sighting(number, rows, b"".join(lines), left_alone)

    def keep(self, sighting: Sighting) -> None:
        """Write a sighting into the list, durably, before any of it is stopped."""
        try:
            size = os.fstat(self._fd).st_size
            try:
                _write_all(self._fd, sighting.data)
                os.fsync(self._fd)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); sending stops") from None
        self.number = sighting.number
        self.lines += len(sighting.rows)

    def count_campaigns(self, sighting: Sighting) -> int:
        """Return how many campaigns there are with those of a sighting, each counted once."""
        return len(self._stops.keys() | sighting.keys)

    def is_protected(self, scope: Scope, item: ListedCampaign) -> bool:
        """Tell whether a campaign was held back, since it is never to be stopped."""
        return _key(scope, item) in self._protected

    def _count(self, key: Key, outcome: Outcome | None) -> None:
        if outcome is not Outcome.PROTECTED:
            self._stops[key] = self._stops.get(key, 0) + (outcome in DONE)

    def _parse(self, line: int, data: bytes) -> Row:
        """Read a line as it will be read when the list is read again."""
        keyed = json.loads(data)
        columns, cells = self._parser.layout(tuple(keyed)), list(keyed.values())
        return self._parser.row(line, columns.values(cells), columns.carried(cells))


def key_of(row: Campaign | Result) -> Key:
    """Return what a campaign is known by from one sighting to the next."""
    return row.account_id, row.stream_id, row.campaign_id


def _key(scope: Scope, item: ListedCampaign) -> Key:
    return scope.account_id, scope.stream_id, item.campaign_id


def _write_all(fd: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])


def _cut_torn_line(fd: int) -> None:
    """Cut what stands behind the last end of a line."""
    size = end = os.fstat(fd).st_size
    while end and (at := os.pread(fd, min(BLOCK, end), max(0, end - BLOCK)).rfind(b"\n")) < 0:
        end = max(0, end - BLOCK)
    if end:
        end = max(0, end - BLOCK) + at + 1
    if end < size:
        os.ftruncate(fd, end)
