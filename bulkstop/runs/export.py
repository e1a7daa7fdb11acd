"""Exports the latest state of each row of a result file, as a file of its own."""

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
"""Most other columns of the input lists that are kept, because each takes memory in every row."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """The rows of result files to send again, as a list: its `blocks`, and the facts about it for a person.

    `left_out` counts failed rows that are not in the list, `unlisted` rows without a result line, by file.
    """

    blocks: Iterable[bytes]
    outcomes: Mapping[Outcome, int]
    left_out: Mapping[Outcome, int]
    unlisted: Mapping[str, int] = field(default_factory=dict)
    without_list: tuple[str, ...] = ()
    """Result files whose rows come from result lines, because their input list has changed or is gone."""
    has_schedules: bool = False
    """Whether some campaigns are stopped, and only their schedules are still to be disabled."""


def read_indexes(paths: Iterable[str]) -> list[ResumeIndex]:
    """Read each result file once; raises OutputError."""
    return [ResumeIndex(path, keeps_places=True) for path in dict.fromkeys(paths)]


def write_latest(indexes: Sequence[ResumeIndex], *, as_csv: bool) -> Iterator[bytes]:
    """Yield the latest line of each row as blocks of a result file; raises OutputError."""
    return format_latest(indexes, as_csv=as_csv)


def collect_remainder(indexes: Sequence[ResumeIndex], retry: Set[Outcome], *, form: str) -> Remainder:
    """Collect as a list the rows that have not ended, or that ended with an outcome in `retry`.

    A row comes from the run's input list if that is unchanged, else from its result line. Raises OutputError if a file
    or its manifest cannot be read.
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
"""The state of a row, and its values by column."""
Wanted = Callable[[RowState], bool]


@dataclass(slots=True)
class _Part:
    """The rows of one result file that are to be sent again; each call of `read` yields them."""

    path: str
    read: Callable[[], Iterator[Entry]]
    is_of_list: bool
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    others: dict[str, None] = field(default_factory=dict)
    has_schedules: bool = False

    def count(self) -> "_Part":
        """Read all rows once, and count their outcomes and other columns."""
        for state, row in self.read():
            self.outcomes[state.outcome] += 1
            self.has_schedules |= state.outcome in DONE
            if len(self.others) < MOST_OTHERS:
                self.others |= dict.fromkeys(name for name in row if name not in COLUMNS)
        return self


def _choose_origin(index: ResumeIndex, is_wanted: Wanted) -> _Part:
    """Read the rows from the run's input list if it is complete and unchanged, else from the result lines."""
    run = read_last_run(index.path)
    if run is not None:
        with suppress(BulkstopError, ValueError):  # the list is gone, has changed, or needs its options
            part = _Part(index.path, partial(_read_list, index, run, is_wanted), is_of_list=True).count()
            if part.outcomes.total() == index.mark_latest(is_wanted).count(1):
                return part
    return _Part(index.path, partial(_read_lines, index, is_wanted), is_of_list=False).count()


def _read_list(index: ResumeIndex, run: RunSection, is_wanted: Wanted) -> Iterator[Entry]:
    """Yield the rows from a run's inputs; raises InputError, or ValueError for its settings."""
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
            # The defaults of other profiles are unknown here; a row that needs them makes the caller read the result
            # lines.
            find_defaults=lambda _: defaults,
        )
        for row in rows:
            state = index.state_of(row._replace(source=name)) if isinstance(row, Campaign) else None
            if isinstance(row, Campaign) and state is not None and is_wanted(state):
                yield state, _describe_campaign(row)


def _choose_columns(was: Mapping[str, object]) -> ColumnChoice:
    """Return the choice of columns in a run with these settings."""
    columns = was.get("column")
    texts = (each for each in columns if isinstance(each, str)) if isinstance(columns, list | tuple) else ()
    return ColumnChoice.of(_text(was.get("id_column")), texts, has_header=not was.get("no_header"))


def _read_lines(index: ResumeIndex, is_wanted: Wanted) -> Iterator[Entry]:
    for _, result in read_latest(index, is_wanted):
        yield RowState(result.outcome, is_final(result)), make_row(result)


def _find_lists(run: RunSection) -> Iterator[tuple[str, str]]:
    """Yield each input of a run: its name in the result lines, and its path."""
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
    """Return the list row of a result line: its ids, and the values carried along."""
    ids = (result.campaign_id, result.campaign_type, result.account_id, result.stream_id)
    return _carry(dict(zip(COLUMNS, ids, strict=False)), result.row)


def _carry(row: dict[str, object], carried: Mapping[str, object] | None) -> dict[str, object]:
    """Add carried values to a row, except those under the name of a column that means something."""
    for name, value in (carried or {}).items():
        meaning = field_of(name)
        if meaning is None or (meaning == "campaign_id" and name.strip().lower() != meaning):
            row[name] = value
        elif meaning not in row and isinstance(value, str | int):
            row[meaning] = value
    return row


def files_read(path: str) -> Iterator[tuple[str, str]]:
    """Yield the files that an export must not replace: the results, and the files that their last run needs."""
    yield "a result file", path
    yield "a manifest", manifest_path(path)
    with suppress(OutputError):  # a file that cannot be read names no others
        if run := read_last_run(path):
            yield from ((f"a list that {path} is about", where) for _, where in _find_lists(run))


def read_last_run(path: str) -> RunSection | None:
    """Return what is recorded of the last run of a result file; None if nothing is."""
    manifest = Manifest.read(manifest_path(path))
    return manifest.last if manifest else None


def _count_unlisted(indexes: Iterable[ResumeIndex]) -> dict[str, int]:
    """Count by file the planned rows without a line; their run was killed, or still runs."""
    planned = ((each, read_last_run(each.path)) for each in indexes)
    missing = {each.path: run.rows - each.rows for each, run in planned if run is not None}
    return {path: count for path, count in missing.items() if count > 0}
