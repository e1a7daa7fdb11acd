"""What a result file already says: which rows have ended, and how."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from bulkstop.errors import InputError, OutputError
from bulkstop.files.places import open_regular
from bulkstop.model import LEFT, Outcome, Result, Row
from bulkstop.report.stop.formats import COLUMNS, as_cell, is_csv, read_header, read_lines
from bulkstop.text import format_count, printable

BLOCK_LINES = 1024
MOST_STRETCHES = 100_000
"""Each run that has lines is one; more of them than this are in no file that runs have written."""


class RowState(NamedTuple):
    """What the latest line of a row says, and whether that is its end."""

    outcome: Outcome
    is_final: bool


@dataclass(slots=True)
class Stretch:
    """Lines one after another of the same run: how many of each outcome."""

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
_CODE_BITS = len(_STATES).bit_length()  # codes begin at 1: 0 is a line without a row
_CODE_MASK = (1 << _CODE_BITS) - 1
_MASK = (1 << 64) - 1


class RowNumbers:
    """A number for each row, known by its input and line, or by its key: 8 bytes a row; 0 is for one that has none."""

    def __init__(self) -> None:
        self.keyed: dict[str, int] = {}
        self.blocks: dict[tuple[str, int], array[int]] = {}

    def get(self, source: str, line: int) -> int:
        """Return the number of a row."""
        if not line:
            return self.keyed.get(source, 0)
        block = self.blocks.get((source, line // BLOCK_LINES))
        return block[line % BLOCK_LINES] if block else 0

    def put(self, source: str, line: int, number: int) -> None:
        """Have a row have this number."""
        if not line:
            self.keyed[source] = number
            return
        block = self.blocks.get((source, line // BLOCK_LINES))
        if block is None:
            block = self.blocks[source, line // BLOCK_LINES] = array("Q", bytes(8 * BLOCK_LINES))
        block[line % BLOCK_LINES] = number

    def pairs(self, other: "RowNumbers") -> Iterator[tuple[int, int]]:
        """Yield the number of each row here, and the one that it has there."""
        for key, number in self.keyed.items():
            yield number, other.keyed[key]
        for place, block in self.blocks.items():
            yield from zip(block, other.blocks[place], strict=True)


def is_final(result: Result) -> bool:
    """Tell whether a result is the row's end: nothing of it is left to do, and it was not cut off."""
    if result.outcome in LEFT or result.schedule_failed:
        return False
    return result.finished_at is not None or result.started_at is None


class ResumeIndex:
    """What the lines of a result file say about each row of the inputs; the latest line of a row counts.

    `rows` have a line, `final` of them have ended, `latest` counts how they stand. Rows are known by input and line,
    or by their key, and by what they name. `stretches` are the runs that wrote the lines, `columns` those of a CSV
    file. In memory a row with a line costs 8 bytes: the rows of an input stand in
    arrays by line, each as a hash of what it names and the state of it; 8 more if it `keeps_places` of their latest
    lines. Raises OutputError, with the line's number, for a line that no run has written.
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
        self._last = 0
        self._are_keyed = False  # the campaigns of the inputs, some of them at least
        with open_results(path) as file:
            for line in read_lines(file, path):
                self.size += len(line.raw)
                self._last = line.number
                if line.result is not None:
                    self.lines += 1
                    self._add(line.result, line.number)
                    self._count(line.result)
                else:
                    self.columns = read_header(line.raw) or COLUMNS

    @property
    def keyed(self) -> int:
        """How many rows are known by a key."""
        return len(self._entries.keyed)

    def mark_latest(self, is_wanted: Callable[[RowState], bool] = lambda state: True) -> bytearray:
        """Return a byte for each line of the file: 1 for the latest one of a row that stands as is wanted, else 0."""
        assert self._places is not None, "made without places"  # noqa: S101 - a slip of the caller
        wanted = {code for state, code in _CODES.items() if is_wanted(state)}
        marks = bytearray(self._last)
        for entry, number in self._entries.pairs(self._places):
            if entry & _CODE_MASK in wanted:
                marks[number - 1] = 1
        return marks

    def settled(self, row: Row, retry: Set[Outcome] = frozenset()) -> Outcome | None:
        """Return the outcome of a row that has ended; None for one that is still to be sent, or told.

        What ended in one of the outcomes in `retry` is to be sent once more.
        Raises InputError when the line of the input names something else than it did.
        """
        standing = self.state_of(row)
        self._are_keyed |= not row.line
        if standing is None:
            return None
        self.met += bool(row.line)
        if not standing.is_final or standing.outcome in retry:
            return None
        return standing.outcome

    def check_all_met(self) -> None:
        """Raise InputError when the inputs have lost rows that have a line here; of campaigns with keys some may go."""
        keyed = self.keyed if self._are_keyed else 0
        if (gone := self.rows - keyed - self.met) > 0:
            raise InputError(
                f"{self.path} has lines of {format_count(gone, 'row')} that the inputs no longer have; {_SAME}"
            )

    def state_of(self, row: Row) -> RowState | None:
        """Return how a row of an input stands, None for one without a line.

        Raises InputError when the line of the input names something else than it did.
        """
        source, line = self._source(row), row.line or 0
        entry = self._entries.get(source, line)
        if not entry:
            return None
        if entry >> _CODE_BITS != self._hash(row):
            was = self._find(source, line)
            where = _describe_place(source, line)
            raise InputError(f"{where}: was {was} in the run that wrote {self.path}, is {_describe_row(row)}; {_SAME}")
        return _row_state(entry)

    def _add(self, result: Result, number: int) -> None:
        source, line = self._source(result), result.line or 0
        entry = self._entries.get(source, line)
        row_hash = self._hash(result)
        if not entry:
            self.rows += 1
        elif entry >> _CODE_BITS != row_hash:
            raise OutputError(
                f"{self.path} line {number}: {_describe_row(result)} stands at {_describe_place(source, line)}, "
                "and so does another row further up; only rows with a line of their own can be told apart"
            )
        else:
            was = _row_state(entry)
            self.latest[was.outcome] -= 1
            self.final -= was.is_final
        ended = is_final(result)
        self.latest[result.outcome] += 1
        self.final += ended
        self._entries.put(source, line, row_hash << _CODE_BITS | _CODES[RowState(result.outcome, ended)])
        if self._places is not None:
            self._places.put(source, line, number)

    def _count(self, result: Result) -> None:
        """Count a line for its run."""
        stretch = self._stretch
        if stretch is None or stretch.run_id != result.run_id:
            if len(self.stretches) == MOST_STRETCHES:
                raise OutputError(f"{self.path}: its lines are of more runs than any file; give another file")
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
        """Read once more what the row of an input line was; only a refusal needs it."""
        with open_results(self.path) as file:
            for entry in read_lines(file, self.path):
                if entry.result and (self._source(entry.result), entry.result.line or 0) == (source, line):
                    return _describe_row(entry.result)
        return "another row"


def _row_state(entry: int) -> RowState:
    return _STATES[(entry & _CODE_MASK) - 1]


def open_results(path: str) -> BinaryIO:
    """Open a result file to be read; raises OutputError."""
    try:
        return open_regular(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from None


def _describe_place(source: str, line: int) -> str:
    return f"{printable(source)} line {line}" if line else f"key {printable(source)}"


def _describe_row(row: Row) -> str:
    """Say what a row names."""
    kind = "" if row.campaign_type is None else f"{row.campaign_type} "
    return f"{kind}{row.campaign_id!r} of account {row.account_id!r}, stream {row.stream_id!r}"


_SAME = "give the inputs as they were (rows may be added at the end), or -o with another file"
