"""What a result file says of each row in the end, written as a file of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bulkstop.errors import OutputError
from bulkstop.model import FAILED, Outcome, Result
from bulkstop.report.lists.retry import COLUMNS, to_csv, to_jsonl
from bulkstop.report.stop.latest import format_latest, read_latest
from bulkstop.report.stop.manifest import Manifest, RunSection, manifest_path
from bulkstop.report.stop.resume import ResumeIndex, RowState
from bulkstop.source.rows import field_of

MOST_OTHERS = 200
"""So many columns of the first lists are carried along at most: each takes room in every row."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """The rows of result files that are to be tried again, as a list: its `blocks`, and what a person must know of it.

    `left_out` are rows that failed and are not in the list, `unlisted` those of which no line tells, by their file.
    """

    blocks: Iterable[bytes]
    outcomes: Mapping[Outcome, int]
    left_out: Mapping[Outcome, int]
    unlisted: Mapping[str, int] = field(default_factory=dict)
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

    Raises OutputError for a file that cannot be read, or whose manifest cannot.
    """

    def is_wanted(state: RowState) -> bool:
        return not state.is_final or state.outcome in retry

    outcomes, others, has_schedules = Counter[Outcome](), dict[str, None](), False
    for result in _results(indexes, is_wanted):
        outcomes[result.outcome] += 1
        has_schedules |= result.schedule_failed
        if result.row and len(others) < MOST_OTHERS:
            others |= dict.fromkeys(name for name in make_row(result) if name not in COLUMNS)
    names = list(others)[:MOST_OTHERS]
    rows = (make_row(result) for result in _results(indexes, is_wanted))
    latest = sum((each.latest for each in indexes), Counter[Outcome]())
    left_out = {each: latest[each] - outcomes[each] for each in Outcome if each in FAILED}
    blocks = (to_csv if form == "csv" else to_jsonl)(rows, names)
    return Remainder(blocks, outcomes, left_out, _count_unlisted(indexes), has_schedules)


def make_row(result: Result) -> dict[str, object]:
    """Return the row of a list as a result line has it: the ids, and what was carried along.

    What is carried and would be taken for one of the ids is left out.
    """
    row: dict[str, object] = {
        "campaign_id": result.campaign_id,
        "campaign_type": result.campaign_type,
        "account_id": result.account_id,
        "stream_id": result.stream_id,
    }
    for name, value in (result.row or {}).items():
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
            folder = run.facts.get("folder")
            here = Path(folder) if isinstance(folder, str) else Path()
            yield from ((f"a list that {path} is about", str(here / name)) for name in run.inputs)


def read_last_run(path: str) -> RunSection | None:
    """Return what is known of the last run that wrote a result file; None where nothing is."""
    manifest = Manifest.read(manifest_path(path))
    return manifest.last if manifest else None


def _results(indexes: Iterable[ResumeIndex], is_wanted: Callable[[RowState], bool]) -> Iterator[Result]:
    for index in indexes:
        yield from (result for _, result in read_latest(index, is_wanted))


def _count_unlisted(indexes: Iterable[ResumeIndex]) -> dict[str, int]:
    """Count the rows of each file that its last run had planned and that have no line: it was killed, or still runs."""
    planned = ((each, read_last_run(each.path)) for each in indexes)
    missing = {each.path: run.rows - each.rows for each, run in planned if run is not None}
    return {path: count for path, count in missing.items() if count > 0}
