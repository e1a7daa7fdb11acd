"""What a result file says of each row in the end, written as a file of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bulkstop.errors import BulkstopError, InputError, OutputError
from bulkstop.model import DONE, FAILED, Campaign, CampaignType, Defaults, Outcome, Result
from bulkstop.report.lists.retry import COLUMNS, to_csv, to_jsonl
from bulkstop.report.stop.latest import format_latest, read_latest
from bulkstop.report.stop.manifest import Manifest, RunSection, manifest_path
from bulkstop.report.stop.resume import ResumeIndex, RowState, is_final
from bulkstop.source import read
from bulkstop.source.rows import ColumnChoice, field_of

MOST_OTHERS = 200
"""Most columns of the input lists that are kept: each takes room in every row."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """The rows of result files that are to be tried again, as a list: its `blocks`, and what a person must know of it.

    `left_out` are rows that failed and are not in the list, `unlisted` those of which no line tells, by their file.
    """

    blocks: Iterable[bytes]
    outcomes: Mapping[Outcome, int]
    left_out: Mapping[Outcome, int]
    unlisted: Mapping[str, int] = field(default_factory=dict)
    without_list: tuple[str, ...] = ()
    """Result files whose rows are as their lines have them, as their list is not there as it was."""
    has_schedules: bool = False
    """Some are stopped, and only their schedule is still to be disabled."""


def read_indexes(paths: Iterable[str]) -> list[ResumeIndex]:
    """Read result files, each once, for what follows; raises OutputError."""
    return [ResumeIndex(path, keeps_places=True) for path in dict.fromkeys(paths)]


def write_latest(indexes: Sequence[ResumeIndex], *, as_csv: bool) -> Iterator[bytes]:
    """Yield the latest line of each row, as bytes of a result file; raises OutputError."""
    return format_latest(indexes, as_csv=as_csv)


def collect_remainder(indexes: Sequence[ResumeIndex], retry: Set[Outcome], *, form: str) -> Remainder:
    """Collect the rows that have not ended, and those that ended in one of the outcomes in `retry`, as a list.

    A row is as the list of the run has it, where that is there as it was; else as its result line has it. Raises
    OutputError for a file that cannot be read, or whose manifest cannot.
    """

    def is_wanted(state: RowState) -> bool:
        return not state.is_final or state.outcome in retry

    parts = [_choose_origin(index, is_wanted) for index in indexes]
    outcomes = sum((each.outcomes for each in parts), Counter[Outcome]())
    names = list(dict.fromkeys(name for each in parts for name in each.others))[:MOST_OTHERS]
    rows = (row for each in parts for _, row in each.read())
    latest = sum((each.latest for each in indexes), Counter[Outcome]())
    return Remainder(
        (to_csv if form == "csv" else to_jsonl)(rows, names),
        outcomes,
        {each: latest[each] - outcomes[each] for each in Outcome if each in FAILED},
        _count_unlisted(indexes),
        tuple(each.path for each in parts if not each.is_of_list and each.outcomes),
        has_schedules=any(each.has_schedules for each in parts),
    )


Entry = tuple[RowState, dict[str, object]]
"""How a row stands, and what it has, by the names of columns."""
Wanted = Callable[[RowState], bool]


@dataclass(slots=True)
class _Part:
    """The rows of one result file that are to be tried again, which `read` yields each time anew."""

    path: str
    read: Callable[[], Iterator[Entry]]
    is_of_list: bool
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    others: dict[str, None] = field(default_factory=dict)
    has_schedules: bool = False

    def count(self) -> "_Part":
        """Read all of them once: how they stand, and what they have beside what means something."""
        for state, row in self.read():
            self.outcomes[state.outcome] += 1
            self.has_schedules |= state.outcome in DONE
            if len(self.others) < MOST_OTHERS:
                self.others |= dict.fromkeys(name for name in row if name not in COLUMNS)
        return self


def _choose_origin(index: ResumeIndex, is_wanted: Wanted) -> _Part:
    """Take the rows from the list of the run, if that has them all, and each as it was; else from the result lines."""
    run = read_last_run(index.path)
    if run is not None:
        with suppress(BulkstopError, ValueError):  # a list that is gone, has changed, or needs its options
            part = _Part(index.path, partial(_read_list, index, run, is_wanted), is_of_list=True).count()
            if part.outcomes.total() == index.mark_latest(is_wanted).count(1):
                return part
    return _Part(index.path, partial(_read_lines, index, is_wanted), is_of_list=False).count()


def _read_list(index: ResumeIndex, run: RunSection, is_wanted: Wanted) -> Iterator[Entry]:
    """Yield the rows from the files that a run had as its input; raises InputError, or ValueError for its settings."""
    was = run.settings
    kind = was.get("type")
    ids = (_text(was.get(name)) for name in ("account_id", "stream_id", "iid"))
    defaults = Defaults(None if kind is None else CampaignType(kind), *ids)
    for name, path in _find_lists(run):
        if not Path(path).is_file():
            raise InputError(f"{path}: is not a file")
        rows = read(
            [path],
            defaults=defaults,
            any_id=bool(was.get("any_id")),
            encoding=_text(was.get("encoding")),
            choice=_choose_columns(was),
            sheet=_text(was.get("sheet")),
            # What a profile gave its rows is not known here; where it is missed the lines of the results are read.
            find_defaults=lambda _: defaults,
        )
        for row in rows:
            state = index.state_of(row._replace(source=name)) if isinstance(row, Campaign) else None
            if isinstance(row, Campaign) and state is not None and is_wanted(state):
                yield state, _describe_campaign(row)


def _choose_columns(was: Mapping[str, object]) -> ColumnChoice:
    """Return which columns were meant in a run with these settings."""
    columns = was.get("column")
    texts = (each for each in columns if isinstance(each, str)) if isinstance(columns, list | tuple) else ()
    return ColumnChoice.of(_text(was.get("id_column")), texts, has_header=not was.get("no_header"))


def _read_lines(index: ResumeIndex, is_wanted: Wanted) -> Iterator[Entry]:
    for _, result in read_latest(index, is_wanted):
        yield RowState(result.outcome, is_final(result)), make_row(result)


def _find_lists(run: RunSection) -> Iterator[tuple[str, str]]:
    """Yield each input of a run as its lines name it, and where it is."""
    folder = run.facts.get("folder")
    here = Path(folder) if isinstance(folder, str) and folder != str(Path.cwd()) else Path()
    for name in run.inputs:
        yield name, str(here / name)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _describe_campaign(campaign: Campaign) -> dict[str, object]:
    campaign_id, kind, account_id, stream_id, iid, _, _, priority, name, carried, *_ = campaign
    row: dict[str, object] = dict(zip(COLUMNS, (campaign_id, kind, account_id, stream_id, iid), strict=False))
    row |= {key: value for key, value in (("priority", priority), ("name", name)) if value is not None}
    return _carry(row, carried)


def make_row(result: Result) -> dict[str, object]:
    """Return the row of a list as a result line has it: the ids, and what was carried along."""
    ids = (result.campaign_id, result.campaign_type, result.account_id, result.stream_id)
    return _carry(dict(zip(COLUMNS, ids, strict=False)), result.row)


def _carry(row: dict[str, object], carried: Mapping[str, object] | None) -> dict[str, object]:
    """Add what was carried along to a row, but for what would be taken for something that it has."""
    for name, value in (carried or {}).items():
        meaning = field_of(name)
        if meaning is None or (meaning == "campaign_id" and name.strip().lower() != meaning):
            row[name] = value
        elif meaning not in row and isinstance(value, str | int):
            row[meaning] = value
    return row


def files_read(path: str) -> Iterator[tuple[str, str]]:
    """Name the files that what is written must not take the place of: the results, and what their last run needs."""
    yield "a result file", path
    yield "a manifest", manifest_path(path)
    with suppress(OutputError):  # of one that cannot be read nothing is known
        if run := read_last_run(path):
            yield from ((f"a list that {path} is about", where) for _, where in _find_lists(run))


def read_last_run(path: str) -> RunSection | None:
    """Return what is known of the last run that wrote a result file; None where nothing is."""
    manifest = Manifest.read(manifest_path(path))
    return manifest.last if manifest else None


def _count_unlisted(indexes: Iterable[ResumeIndex]) -> dict[str, int]:
    """Count the rows of each file that its last run had planned and that have no line: it was killed, or still runs."""
    planned = ((each, read_last_run(each.path)) for each in indexes)
    missing = {each.path: run.rows - each.rows for each, run in planned if run is not None}
    return {path: count for path, count in missing.items() if count > 0}
