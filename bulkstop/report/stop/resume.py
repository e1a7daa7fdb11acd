"""The state of each row in a result file: which rows have ended, and how."""

import errno
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, cast

from bulkstop.errors import InputError, OutputError
from bulkstop.files.places import open_regular
from bulkstop.model import LEFT, Campaign, Outcome, Result, Row
from bulkstop.report.stop.formats import COLUMNS, as_cell, from_csv, from_json, is_csv, read_header, read_lines
from bulkstop.report.stop.manifest import PACKED
from bulkstop.text import format_count, printable

BLOCK_LINES = 1024
MOST_STRETCHES = 100_000
"""The most runs with lines; no file written by runs has more."""


class RowState(NamedTuple):
    """The outcome in a row's latest line, and whether that is final."""

    outcome: Outcome
    is_final: bool


@dataclass(slots=True)
class Stretch:
    """Consecutive lines of one run: how many of each outcome."""

    run_id: str | None
    lines: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    schedules_failed: int = 0

    def add(self, result: Result) -> None:
        """Count a line."""
        self.lines += 1
        self.outcomes[result.outcome] += 1
        if result.schedule is not None:
            self.schedules_failed += result.schedule_failed


_STATES = [RowState(outcome, is_final) for outcome in Outcome for is_final in (False, True)]
_CODES = {state: code for code, state in enumerate(_STATES, start=1)}
_CODE_BITS = len(_STATES).bit_length()  # codes start at 1: 0 is a line without a row
_CODE_MASK = (1 << _CODE_BITS) - 1
_MASK = (1 << 64) - 1
_NEVER_SENT = frozenset({Outcome.INVALID, Outcome.DUPLICATE})


class RowNumbers:
    """A number for each row, identified by input and line, or by key: 8 bytes a row; 0 means none.

    If one line has several rows, all but the first are `shared`, by a hash of their content.
    """

    def __init__(self) -> None:
        self.keyed: dict[str, int] = {}
        self.blocks: dict[tuple[str, int], array[int]] = {}
        self.shared: dict[int, int] = {}

    def get(self, source: str, line: int) -> int:
        """Return the number of a row."""
        if not line:
            return self.keyed.get(source, 0)
        block = self.blocks.get((source, line // BLOCK_LINES))
        return block[line % BLOCK_LINES] if block else 0

    def put(self, source: str, line: int, number: int) -> None:
        """Set the number of a row."""
        if not line:
            self.keyed[source] = number
            return
        block = self.blocks.get((source, line // BLOCK_LINES))
        if block is None:
            block = self.blocks[source, line // BLOCK_LINES] = array("Q", bytes(8 * BLOCK_LINES))
        block[line % BLOCK_LINES] = number

    def pairs(self, other: "RowNumbers") -> Iterator[tuple[int, int]]:
        """Yield the number of each row here and in `other`."""
        for key, number in self.keyed.items():
            yield number, other.keyed[key]
        for row, number in self.shared.items():
            yield number, other.shared[row]
        for place, block in self.blocks.items():
            yield from zip(block, other.blocks[place], strict=True)


def is_final(result: Result) -> bool:
    """Return whether a result is final: nothing of the row is left to do, and it was not cut off."""
    if result.outcome in LEFT or result.schedule_failed:
        return False
    return result.finished_at is not None or result.started_at is None


class ResumeIndex:
    """What the lines of a result file say about each row of the inputs; the latest line of a row counts.

    `rows` have a line, `final` of them have ended, `latest` counts their outcomes. Rows are identified by input and
    line, or by key, and by their content. `stretches` are the runs that wrote the lines, `columns` those of a CSV file.
    A row with a line takes 8 bytes of memory, as a hash of its content with its state; 8 more if it `keeps_places` of
    latest lines. Raises OutputError, with the line's number, for a line that no run has written.
    """

    def __init__(self, path: str, *, keeps_places: bool = False) -> None:
        self.path = path
        self.size = 0
        self.lines = 0
        self.rows = 0
        self.final = 0
        self.met = 0
        self.latest: Counter[Outcome] = Counter()
        self.stretches: list[Stretch] = []
        self._stretch: Stretch | None = None
        self.columns: tuple[str, ...] = COLUMNS
        self._is_csv = is_csv(path)
        self._entries = RowNumbers()
        self._places = RowNumbers() if keeps_places else None
        self._runs = RowNumbers()  # of rows that were never sent: another run may find another row there
        self._unusable_at = RowNumbers()  # the offset in the file of such a row's line, counted from 1
        self._run_numbers: dict[str | None, int] = {}
        self._shared_lines: set[int] = set()
        self._last = 0
        self._are_keyed = False  # at least some campaigns of the inputs have keys
        with open_results(path) as file:
            for line in read_lines(file, path):
                self._last = line.number
                if line.result is not None:
                    self.lines += 1
                    self._add(line.result, line.number, self.size)
                    self._count(line.result)
                else:
                    self.columns = read_header(line.raw) or COLUMNS
                self.size += len(line.raw)

    @property
    def keyed(self) -> int:
        """The number of rows identified by a key."""
        return len(self._entries.keyed)

    def mark_latest(self, is_wanted: Callable[[RowState], bool] = lambda state: True) -> bytearray:
        """Return a byte for each line of the file: 1 for the latest line of a row in a wanted state, else 0."""
        assert self._places is not None, "made without places"  # noqa: S101 - a caller's programming error
        wanted = {code for state, code in _CODES.items() if is_wanted(state)}
        marks = bytearray(self._last)
        for entry, number in self._entries.pairs(self._places):
            if entry & _CODE_MASK in wanted:
                marks[number - 1] = 1
        return marks

    def settled(self, row: Row, retry: Set[Outcome] = frozenset()) -> Outcome | None:
        """Return the outcome of a row that has ended; None for one that must still be sent or reported.

        Rows with an outcome in `retry` must be sent again. Raises InputError if the line of the input has other content
        than before.
        """
        standing = self._meet(row)
        if standing is None or not standing.is_final or standing.outcome in retry:
            return None
        return standing.outcome

    def written(self, row: Row) -> Outcome | None:
        """Return the outcome of a row that has a line, final or not.

        Raises InputError if the line of the input has other content than before.
        """
        standing = self._meet(row)
        return None if standing is None else standing.outcome

    def _meet(self, row: Row) -> RowState | None:
        """Return the state of an input's row, and note that the input has it."""
        standing = self.state_of(row)
        self._are_keyed |= not row.line
        self.met += self._stood(row) if standing is None else bool(row.line)
        return standing

    def check_all_met(self) -> None:
        """Raise InputError if the inputs lack rows that have a line here; campaigns with keys may be missing."""
        keyed = self.keyed if self._are_keyed else 0
        if (gone := self.rows - keyed - self.met) > 0:
            raise InputError(
                f"{self.path} has lines of {format_count(gone, 'row')} that the inputs no longer have; {_SAME}"
            )

    def state_of(self, row: Row) -> RowState | None:
        """Return the state of an input's row; None without a line, or if the row was unusable and has been corrected.

        Raises InputError if the line of the input has other content than before.
        """
        source, line = self._source(row), row.line or 0
        entry = self._entries.get(source, line)
        if not entry:
            return None
        row_hash = self._hash(row)
        if entry >> _CODE_BITS != row_hash and (shared := self._entries.shared.get(hash((source, line, row_hash)))):
            return _row_state(shared)
        if self._is_mended(entry, row, row_hash):
            return None
        if entry >> _CODE_BITS != row_hash:
            if hash((source, line)) in self._shared_lines:
                return None
            was = self._find(source, line)
            where = _describe_place(source, line)
            raise InputError(f"{where}: was {was} in the run that wrote {self.path}, is {_describe_row(row)}; {_SAME}")
        return _row_state(entry)

    def _stood(self, row: Row) -> bool:
        """Return whether a row without a state replaces one that has a line: it was corrected."""
        entry = self._entries.get(self._source(row), row.line or 0)
        return bool(entry) and self._is_mended(entry, row, self._hash(row))

    def find_unusable(self, row: Row) -> Result | None:
        """Return the unusable row that this one replaces; None if there was none, or if it is unchanged."""
        source, line = self._source(row), row.line or 0
        entry = self._entries.get(source, line) if line else 0
        if not entry or not self._is_mended(entry, row, self._hash(row)):
            return None
        with open_results(self.path) as file:
            file.seek(self._unusable_at.get(source, line) - 1)
            line_of_it = file.readline()
        return from_csv(line_of_it, self.columns) if self._is_csv else from_json(line_of_it)

    def _is_mended(self, entry: int, row: Row, row_hash: int) -> bool:
        """Return whether a row replaces an unusable one, and may therefore differ."""
        is_other = isinstance(row, Campaign) or entry >> _CODE_BITS != row_hash
        return bool(row.line) and is_other and _row_state(entry).outcome is Outcome.INVALID

    def _add(self, result: Result, number: int, at: int) -> None:
        source, line = self._source(result), result.line or 0
        row_hash = self._hash(result)
        shared = self._choose_row(source, line, row_hash, result, number)
        entry = self._entries.get(source, line) if shared is None else self._entries.shared.get(shared, 0)
        if not entry:
            self.rows += 1
        else:
            was = _row_state(entry)
            self.latest[was.outcome] -= 1
            self.final -= was.is_final
        ended = is_final(result)
        self.latest[result.outcome] += 1
        self.final += ended
        entry = row_hash << _CODE_BITS | _CODES[RowState(result.outcome, ended)]
        _put(self._entries, source, line, shared, entry)
        if self._places is not None:
            _put(self._places, source, line, shared, number)
        if result.outcome in _NEVER_SENT:
            run = self._run_numbers.setdefault(result.run_id, len(self._run_numbers) + 1)
            self._runs.put(source, line, run)
            self._unusable_at.put(source, line, at + 1)

    def _choose_row(self, source: str, line: int, row_hash: int, result: Result, number: int) -> int | None:
        """Return which row of its input line a result is about: None for the first one, else its hash.

        A run writes one line for each row. So two results in one place in a run are two rows; a result of another run
        in the place of an unusable row is that row, corrected.
        """
        entry = self._entries.get(source, line)
        if not entry:
            return None
        was = _row_state(entry).outcome
        is_same = entry >> _CODE_BITS == row_hash
        duplicate = hash((source, line, row_hash, Outcome.DUPLICATE))
        if result.outcome is Outcome.DUPLICATE and duplicate in self._entries.shared:
            return duplicate
        is_same_run = was in _NEVER_SENT and self._runs.get(source, line) == self._run_numbers.get(result.run_id)
        if is_same:
            if was is Outcome.DUPLICATE is not result.outcome and is_same_run and result.run_id is not None:
                self._set_aside(source, line, duplicate)
            return None
        if not line:
            raise OutputError(
                f"{self.path} line {number}: {_describe_row(result)} is at {_describe_place(source, line)}, "
                "and an earlier row is too; rows can only be resumed if each is on a line of its own"
            )
        if was is Outcome.INVALID and not is_same_run:
            return None
        self._shared_lines.add(hash((source, line)))
        return hash((source, line, row_hash))

    def _set_aside(self, source: str, line: int, shared: int) -> None:
        """Make the first row of a line a shared one, because another row of equal content takes its place."""
        for numbers in (self._entries, self._places):
            if numbers is not None:
                numbers.shared[shared] = numbers.get(source, line)
                numbers.put(source, line, 0)
        self._shared_lines.add(hash((source, line)))

    def _count(self, result: Result) -> None:
        """Count a line for its run."""
        stretch = self._stretch
        if stretch is None or stretch.run_id != result.run_id:
            if len(self.stretches) == MOST_STRETCHES:
                raise OutputError(f"{self.path}: its lines come from too many runs; give another file")
            stretch = self._stretch = Stretch(result.run_id)
            self.stretches.append(stretch)
        stretch.add(result)

    def _source(self, row: Row) -> str:
        source = row.source or ""
        return as_cell(source) if self._is_csv else source

    def _hash(self, row: Row) -> int:
        names = (row.campaign_id, row.account_id, row.stream_id)
        cells = [as_cell(name or "") for name in names] if self._is_csv else names
        return (hash((row.campaign_type, *cells)) & _MASK) >> _CODE_BITS

    def _find(self, source: str, line: int) -> str:
        """Return the content of an input line's row by reading the file again; only an error needs it."""
        with open_results(self.path) as file:
            for entry in read_lines(file, self.path):
                if entry.result and (self._source(entry.result), entry.result.line or 0) == (source, line):
                    return _describe_row(entry.result)
        return "another row"


def _put(numbers: RowNumbers, source: str, line: int, shared: int | None, number: int) -> None:
    if shared is None:
        numbers.put(source, line, number)
    else:
        numbers.shared[shared] = number


def _row_state(entry: int) -> RowState:
    return _STATES[(entry & _CODE_MASK) - 1]


def open_results(path: str) -> BinaryIO:
    """Open a result file for reading, decompressed if it is compressed (.gz); raises OutputError."""
    try:
        return _unpack(open_regular(path)) if path.endswith(PACKED) else open_regular(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from None


def _unpack(packed: BinaryIO) -> BinaryIO:
    """Return the content of a compressed file as a file; raises OSError."""
    import gzip  # rarely needed
    import shutil
    import tempfile
    import zlib

    whole = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        with packed, gzip.GzipFile(fileobj=packed) as file:
            shutil.copyfileobj(file, whole)
    except (EOFError, zlib.error) as error:
        whole.close()
        raise OSError(errno.EIO, f"the gzip file is damaged or cut off: {error}") from None
    whole.seek(0)
    return cast("BinaryIO", whole)


def _describe_place(source: str, line: int) -> str:
    return f"{printable(source)} line {line}" if line else f"key {printable(source)}"


def _describe_row(row: Row) -> str:
    """Return what identifies a row."""
    kind = "" if row.campaign_type is None else f"{row.campaign_type} "
    return f"{kind}{row.campaign_id!r} of account {row.account_id!r}, stream {row.stream_id!r}"


_SAME = "give the inputs as they were (rows may be added at the end), or -o with another file"
