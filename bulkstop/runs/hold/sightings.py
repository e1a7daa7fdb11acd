"""The list of a hold, which grows in a file, and how often each campaign came back."""

import json
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from bulkstop.errors import OutputError
from bulkstop.files.places import open_in_place, open_place
from bulkstop.model import DONE, HELD_BACK, LEFT, Campaign, Defaults, ListedCampaign, Outcome, Result, Row, Scope
from bulkstop.report.lists.discovery import Discovery, list_values, to_json_line
from bulkstop.runs.hold.backoff import Backoff
from bulkstop.runs.lists.states import RUNNING_STATUSES
from bulkstop.source.rows import RowParser

SIGHTING = "sighting"
"""The column of the list with the number of the sighting; it is carried into the result line."""
BLOCK = 64 * 1024

Key = tuple[str | None, str | None, str | None, str | None]
"""A profile (None is the command's own), an account, a stream, and a campaign id."""
NO_DEFAULTS = Defaults(None, None, None, None)
"""No defaults, because each row of the list is complete."""
NO_FAILURE = HELD_BACK | LEFT
"""Outcomes of rows without a call, or whose call was cut off; they are no reason to back off."""


class Sighting(NamedTuple):
    """The result of one look: the rows to stop, with their lines in the list.

    `left_alone` are campaigns that came back too often; `waiting` counts those that wait for another attempt.
    """

    number: int
    rows: Sequence[Row] = ()
    data: bytes = b""
    left_alone: Sequence[tuple[Scope, ListedCampaign]] = ()
    waiting: int = 0


class Sightings:
    """The list of all sightings, a line for each row, and how often each campaign was stopped.

    A campaign that was stopped `again` times is not stopped again; one whose stop failed waits as `backoff` says.
    `own_profile` is the command's own profile, which rows need not name. Raises OutputError for a list that cannot be
    written.
    """

    def __init__(
        self,
        path: str,
        *,
        again: int,
        any_id: bool = False,
        backoff: Backoff[Key] | None = None,
        own_profile: str | None = None,
    ) -> None:
        self.path = path
        self.number = 0
        self.lines = 0
        self.latest: dict[Key, Outcome] = {}
        """The latest outcome of each campaign."""
        self._again = again
        self._backoff = backoff or Backoff(0.0, lambda: 0.0)
        self._own_profile = own_profile
        self._stops: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}  # by line of the list, until the line has a result
        self._protected: set[Key] = set()
        self._usual: set[Key] = set()  # seen in a documented status, in which every look finds them
        self._parser = RowParser(path, NO_DEFAULTS, any_id, find_defaults=lambda _: NO_DEFAULTS)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the list; remove it if it has no line."""
        if self.is_open:
            if not os.fstat(self._fd).st_size:
                with suppress(OSError):
                    os.unlink(self.path)  # noqa: PTH108 - a name that this program chose
            os.close(self._fd)
            self._fd = -1

    @property
    def is_open(self) -> bool:
        """Return whether the list is open for writing."""
        return self._fd >= 0

    def open(self, *, is_new: bool) -> None:
        """Open the list for writing; cut off a last line that a crash left incomplete."""
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
        """Record a row of an earlier list, and its outcome; None if it has no result."""
        self.lines = row.line or self.lines
        number = (row.row or {}).get(SIGHTING)
        if isinstance(number, int):
            self.number = max(self.number, number)
        key = self._key_of(row)
        if outcome is None:
            self._keys[self.lines] = key
        self._count(key, outcome)

    def record(self, result: Result) -> None:
        """Record the outcome of a row; a protected campaign is ignored from then on."""
        key = self._keys.pop(result.line or 0, None) or self._key_of(result)
        self._count(key, result.outcome)
        if result.outcome is Outcome.PROTECTED:
            self._protected.add(key)
        elif result.outcome in DONE:
            self._backoff.forget([key])
        elif result.outcome not in NO_FAILURE:
            self._backoff.note_failed(key)

    def choose(self, discovery: Discovery, *, is_last: bool = False) -> Sighting:
        """Return the campaigns to stop among those found; nothing is written yet.

        With `is_last` no campaign waits for its back-off.
        """
        number, rows, lines = self.number + 1, list[Row](), list[bytes]()
        left_alone, waiting = [], 0
        for scope, item in discovery.rows:
            key = self._key(scope, item)
            if key in self._protected:
                continue
            if self._stops.get(key, 0) >= self._again:
                left_alone.append((scope, item))
            elif not (is_last or self._backoff.is_due(key)):
                waiting += 1
            else:
                lines.append(to_json_line(list_values(scope, item) | {SIGHTING: number}))
                rows.append(self._parse(self.lines + len(lines), lines[-1]))
        return Sighting(number, rows, b"".join(lines), left_alone, waiting)

    def note_gone(self, discovery: Discovery, account_ids: Collection[str], *, is_whole: bool) -> None:
        """Forget the back-off of campaigns that these accounts no longer list; all of the lists must have been read."""
        found = {self._key(*each) for each in discovery.rows}
        self._usual |= {self._key(*each) for each in discovery.rows if each[1].status in RUNNING_STATUSES}
        waiting = {key for key in self._backoff.keys if key[1] in account_ids}
        self._backoff.forget(key for key in waiting - found if is_whole or key in self._usual)

    def keep(self, sighting: Sighting) -> None:
        """Write a sighting durably to the list, before any of it is stopped."""
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
        self._keys |= {row.line or 0: self._key_of(row) for row in sighting.rows}

    def count_campaigns(self, sighting: Sighting) -> int:
        """Return the number of distinct campaigns so far, including those of a sighting."""
        return len(self._stops.keys() | {self._key_of(row) for row in sighting.rows})

    def is_protected(self, scope: Scope, item: ListedCampaign) -> bool:
        """Return whether a campaign was not stopped because it is protected."""
        return self._key(scope, item) in self._protected

    def _count(self, key: Key, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.latest[key] = outcome
        if outcome is not Outcome.PROTECTED:
            self._stops[key] = self._stops.get(key, 0) + (outcome in DONE)

    def _key_of(self, row: Campaign | Result) -> Key:
        """Return the key that identifies a campaign across sightings."""
        profile = row.profile if isinstance(row, Campaign) else None
        return self._name_other(profile), row.account_id, row.stream_id, row.campaign_id

    def _key(self, scope: Scope, item: ListedCampaign) -> Key:
        return self._name_other(scope.profile), scope.account_id, scope.stream_id, item.campaign_id

    def _name_other(self, profile: str | None) -> str | None:
        return None if profile == self._own_profile else profile

    def _parse(self, line: int, data: bytes) -> Row:
        """Parse a line as it is parsed when the list is read again."""
        keyed = json.loads(data)
        columns, cells = self._parser.layout(tuple(keyed)), list(keyed.values())
        return self._parser.row(line, columns.values(cells), columns.carried(cells))


def _write_all(fd: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])


def _cut_torn_line(fd: int) -> None:
    """Truncate the file after its last line end."""
    size = end = os.fstat(fd).st_size
    while end and (at := os.pread(fd, min(BLOCK, end), max(0, end - BLOCK)).rfind(b"\n")) < 0:
        end = max(0, end - BLOCK)
    if end:
        end = max(0, end - BLOCK) + at + 1
    if end < size:
        os.ftruncate(fd, end)
