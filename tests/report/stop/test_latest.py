"""The latest line of each row of a result file, in either format."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import OutputError
from bulkstop.model import Outcome, Result
from bulkstop.report.stop.formats import COLUMNS, csv_header, to_csv, to_json
from bulkstop.report.stop.latest import format_latest, read_latest
from bulkstop.report.stop.resume import BLOCK_LINES, ResumeIndex
from tests.report.stop.test_resume import campaign, ended, not_sent, path, written

__all__ = ["path"]  # a fixture

Lines = list[tuple[int, Outcome]]
OUTCOMES = (Outcome.STOPPED, Outcome.TIMEOUT, Outcome.NOT_SENT)


def result(line: int, outcome: Outcome) -> Result:
    """Make a line of a row; one of a high number has a key instead of a line."""
    row = campaign(line) if line < 3 * BLOCK_LINES else campaign(0, f"cd-{line}", f"key-{line}")
    return not_sent(row) if outcome is Outcome.NOT_SENT else ended(row, outcome)


def latest(*paths: Path, as_csv: bool) -> bytes:
    """Return what is written of the latest lines of these files."""
    return b"".join(format_latest([ResumeIndex(str(each), keeps_places=True) for each in paths], as_csv=as_csv))


def said(name: Path, lines: Sequence[Result]) -> bytes:
    """Return these lines as a file of that name has them."""
    is_csv = name.suffix == ".csv"
    return csv_header() * is_csv + b"".join(map(to_csv if is_csv else to_json, lines))


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, BLOCK_LINES, 4 * BLOCK_LINES]), st.sampled_from(OUTCOMES))))
def test_latest(tmp_path_factory: pytest.TempPathFactory, lines: Lines) -> None:
    """The last line of each row is written unchanged, in the order of the file, for JSON and CSV."""
    expected = [lines[at] for at in sorted({line: at for at, (line, _) in enumerate(lines)}.values())]
    for name in ("r.jsonl", "r.csv"):
        file = tmp_path_factory.mktemp("latest") / name
        written(file, [result(*each) for each in lines])
        assert latest(file, as_csv=name == "r.csv") == said(file, [result(*each) for each in expected])


def test_state(path: Path) -> None:
    """Only rows with a wanted state are returned, with their latest line and no earlier one."""
    rows = [result(1, Outcome.TIMEOUT), result(2, Outcome.TIMEOUT), result(3, Outcome.NOT_SENT)]
    index = ResumeIndex(written(path, [*rows, result(1, Outcome.STOPPED)]), keeps_places=True)
    failed = list(read_latest(index, lambda state: state.outcome is Outcome.TIMEOUT))
    assert [(each.campaign_id, each.outcome) for _, each in failed] == [("cd-2", Outcome.TIMEOUT)]
    left = list(read_latest(index, lambda state: not state.is_final))
    assert [each.campaign_id for _, each in left] == ["cd-3"]


def test_torn(path: Path) -> None:
    """An incomplete last line is ignored, as by a resumed run."""
    lines = [result(1, Outcome.TIMEOUT), result(2, Outcome.STOPPED)]
    written(path, lines)
    with path.open("ab") as file:
        file.write(said(path, [result(1, Outcome.STOPPED)])[-60:-1])
    assert latest(path, as_csv=path.suffix == ".csv") == said(path, lines)


def test_other_form(tmp_path: Path) -> None:
    """Lines of several files are converted to one format; those in that format are unchanged."""
    one, other = result(1, Outcome.TIMEOUT), result(2, Outcome.STOPPED)
    lines, table = tmp_path / "r.jsonl", tmp_path / "r.csv"
    written(lines, [one])
    written(table, [other])
    assert latest(lines, table, as_csv=True) == said(table, [one, other])
    assert latest(lines, table, as_csv=False) == said(lines, [one, other])


def test_what_other_versions_wrote(tmp_path: Path) -> None:
    """Keys and columns that this version does not know stay."""
    line = to_json(result(1, Outcome.STOPPED)).replace(b"{", b'{"newer":1,', 1)
    (tmp_path / "r.jsonl").write_bytes(line)
    assert latest(tmp_path / "r.jsonl", as_csv=False) == line
    columns = (*COLUMNS[:-1], "newer")
    (tmp_path / "r.csv").write_bytes(csv_header(columns) + to_csv(result(1, Outcome.STOPPED), columns))
    (tmp_path / "s.csv").write_bytes(said(tmp_path / "s.csv", [result(2, Outcome.STOPPED)]))
    header, *rows = latest(tmp_path / "r.csv", tmp_path / "s.csv", as_csv=True).splitlines(keepends=True)
    assert header == csv_header(columns)
    assert rows == [to_csv(result(line, Outcome.STOPPED), columns) for line in (1, 2)]


def test_more_lines_meanwhile(path: Path) -> None:
    """Lines that a run appends after the first reading change nothing."""
    index = ResumeIndex(written(path, [result(1, Outcome.TIMEOUT)]), keeps_places=True)
    written(path, [result(1, Outcome.TIMEOUT), result(2, Outcome.STOPPED)])
    assert [each.campaign_id for _, each in read_latest(index)] == ["cd-1"]


@pytest.mark.parametrize("harm", ["cut", "other", "gone"])
def test_changed_meanwhile(path: Path, harm: str) -> None:
    """A file that is another one at the second reading is one error, and not half of it."""
    index = ResumeIndex(written(path, [result(1, Outcome.TIMEOUT), result(2, Outcome.STOPPED)]), keeps_places=True)
    match harm:
        case "cut":
            written(path, [result(1, Outcome.TIMEOUT)])
        case "other":
            path.write_bytes(b"other\n" * 9)
        case _:
            path.unlink()
    with pytest.raises(OutputError, match=r"has changed while it was read|cannot be read"):
        list(read_latest(index))


def test_json_only_for_a_reader(tmp_path: Path) -> None:
    """The JSON of a CSV file is read as the lines that a run would have written."""
    row = {"owner": "=a", "n": 1}
    table = tmp_path / "r.csv"
    written(table, [Result("cd-1", None, "a", "s", Outcome.TIMEOUT, source="a.csv", line=1, row=row)])
    assert json.loads(latest(table, as_csv=False))["row"] == row
