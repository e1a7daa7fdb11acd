"""The state of each row in a result file: its latest line, whether that is final, whether the row is unchanged."""

import gc
import importlib.util
import os
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop import model
from bulkstop.errors import InputError, OutputError
from bulkstop.model import LEFT, WORTH_A_RETRY, Campaign, CampaignType, Outcome, Result, Row, unsent_result
from bulkstop.report.stop import resume
from bulkstop.report.stop.formats import csv_header, to_csv, to_json
from bulkstop.report.stop.resume import BLOCK_LINES, ResumeIndex, is_final

VOICE, SMS = CampaignType.VOICE, CampaignType.SMS
AT = "2025-12-05T12:01:35.312Z"
NAMES = ("r.jsonl", "r.csv")


def campaign(line: int, campaign_id: str | None = None, source: str = "a.csv") -> Campaign:
    """Make the campaign of a row."""
    return Campaign.of_row(campaign_id or f"cd-{line}", VOICE, "acc", "st-1", "st-1", source, line)


def ended(row: Row, outcome: Outcome = Outcome.STOPPED, *, finished: bool = True) -> Result:
    """Make the result of a row that was sent."""
    names = row.campaign_id, row.campaign_type, row.account_id, row.stream_id
    at = AT if finished else None
    return Result(*names, outcome, source=row.source, line=row.line, started_at=AT, finished_at=at)


def not_sent(row: Row) -> Result:
    """Make the result of a row whose turn never came."""
    names = row.campaign_id, row.campaign_type, row.account_id, row.stream_id
    return Result(*names, Outcome.NOT_SENT, source=row.source, line=row.line)


def written(path: Path, results: Iterable[Result]) -> str:
    """Write a result file, CSV if it is called so."""
    is_csv = path.suffix == ".csv"
    lines = [to_csv(result) if is_csv else to_json(result) for result in results]
    path.write_bytes(b"".join([csv_header()] * is_csv + lines))
    return str(path)


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Name a result file, once of each kind."""
    return tmp_path / str(request.param)


class TestEnd:
    """Which rows have ended."""

    @pytest.mark.parametrize("outcome", Outcome)
    def test_final(self, outcome: Outcome) -> None:
        """A sent row has ended with its last attempt, unless the effect is unknown."""
        assert is_final(ended(campaign(2), outcome)) is (outcome not in LEFT)
        assert not is_final(ended(campaign(2), outcome, finished=False)), "cut off between two tries"
        assert is_final(unsent_result(campaign(2), outcome, "why")) is (outcome not in LEFT), "held back, never sent"

    def test_without_a_call(self) -> None:
        """A campaign that was at rest, so that nothing was sent to it, has ended."""
        at_rest = replace(unsent_result(campaign(2), Outcome.ALREADY_STOPPED, ""), message="listed as Stopped")
        assert is_final(at_rest)

    @pytest.mark.parametrize(
        ("schedule", "final"),
        [(None, True), ("none", True), ("disabled", True), ("failed: the run ended before", False)],
    )
    def test_schedule(self, schedule: str | None, final: bool, path: Path) -> None:
        """A campaign whose schedule was to be disabled and may start it again is taken up once more."""
        for result in (ended(campaign(2)), unsent_result(campaign(2), Outcome.ALREADY_STOPPED, "")):
            line = replace(result, schedule=schedule)
            assert is_final(line) is final
            past = ResumeIndex(written(path, [line]))
            assert (past.final, past.settled(campaign(2))) == ((1, result.outcome) if final else (0, None))

    @pytest.mark.parametrize("outcome", Outcome)
    def test_settled(self, outcome: Outcome, path: Path) -> None:
        """A row that has ended is known with its outcome, whichever that is; one that has not is to be sent."""
        rows = [campaign(2), campaign(3), campaign(4)]
        lines = [
            ended(rows[0], outcome),
            ended(rows[1], outcome, finished=False),
            unsent_result(rows[2], outcome, "why"),
        ]
        past = ResumeIndex(written(path, lines))
        known = None if outcome in LEFT | {Outcome.INVALID} else outcome  # what is a campaign now is no invalid row
        assert [past.settled(row) for row in rows] == [known, None, known]
        assert past.settled(campaign(5)) is None
        assert (past.rows, past.latest) == (3, {outcome: 3})
        assert past.final == (0 if outcome in LEFT else 2)

    @pytest.mark.parametrize("outcome", Outcome)
    def test_retry(self, outcome: Outcome, path: Path) -> None:
        """Rows with one of the given outcomes are sent again as well, but no others that have ended."""
        past = ResumeIndex(written(path, [ended(campaign(2), outcome)]))
        is_tried = outcome in LEFT | WORTH_A_RETRY | {Outcome.INVALID}
        assert past.settled(campaign(2), WORTH_A_RETRY) == (None if is_tried else outcome)
        assert past.settled(campaign(2), {outcome}) is None

    def test_what_is_worth_a_retry(self) -> None:
        """Only failures that may pass are tried again: not a rejection, not a wrong id, not a refused token."""
        assert {outcome.value for outcome in WORTH_A_RETRY - LEFT} == {
            "unconfirmed",
            "throttled",
            "server_error",
            "timeout",
            "connection_error",
        }

    def test_the_latest_line_counts(self, path: Path) -> None:
        """The last of several lines of a row is its state, even if the row had ended before."""
        row, other = campaign(2), campaign(3)
        lines = [not_sent(row), ended(row, Outcome.TIMEOUT), ended(other), ended(row), ended(other, Outcome.UNKNOWN)]
        past = ResumeIndex(written(path, lines))
        assert (past.settled(row), past.settled(other)) == (Outcome.STOPPED, None)
        assert (past.rows, past.lines, past.final) == (2, 5, 1)
        assert +past.latest == Counter({Outcome.STOPPED: 1, Outcome.UNKNOWN: 1})

    @given(
        st.lists(
            st.tuples(st.sampled_from(["a.csv", "-"]), st.integers(0, 5000), st.sampled_from(Outcome), st.booleans())
        ),
        st.sampled_from(NAMES),
    )
    def test_any_lines(
        self, tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, Outcome, bool]], name: str
    ) -> None:
        """For any lines the counts are those of a dict of each row's latest line."""
        results = [
            ended(campaign(line, source=source), outcome, finished=finished)
            for source, line, outcome, finished in lines
        ]
        path = tmp_path_factory.mktemp("past") / name
        past = ResumeIndex(written(path, results))
        latest = {(result.source, result.line): result for result in results}
        assert (past.rows, past.lines, past.size) == (len(latest), len(results), path.stat().st_size)
        assert past.final == sum(map(is_final, latest.values()))
        assert +past.latest == Counter(result.outcome for result in latest.values())
        for result in latest.values():
            assert past.settled(result) == (result.outcome if is_final(result) else None)
        past.check_all_met()


class TestSameRow:
    """A row is known by input, line and what it names; anything else is refused, never guessed."""

    @pytest.mark.parametrize(
        ("now", "said"),
        [
            ({"campaign_id": "cd-9"}, "is voice 'cd-9' of account 'acc', stream 'st-1'"),
            ({"campaign_type": SMS}, "is sms 'cd-2' of account 'acc', stream 'st-1'"),
            ({"account_id": "acc2"}, "is voice 'cd-2' of account 'acc2', stream 'st-1'"),
            ({"stream_id": "st-2"}, "is voice 'cd-2' of account 'acc', stream 'st-2'"),
        ],
    )
    @pytest.mark.parametrize("is_done", [True, False])
    def test_a_changed_row(self, now: dict[str, str], said: str, is_done: bool, path: Path) -> None:
        """A line of the input that names something else is refused with what it was and what it is, ended or not."""
        row = campaign(2)
        past = ResumeIndex(written(path, [ended(campaign(1)), ended(row) if is_done else not_sent(row)]))
        with pytest.raises(InputError) as caught:
            past.settled(row._replace(**now))  # type: ignore[arg-type]
        was = "was voice 'cd-2' of account 'acc', stream 'st-1'"
        assert str(caught.value).startswith(f"a.csv line 2: {was} in the run that wrote {path}, {said}; give ")

    @pytest.mark.parametrize("campaign_id", ["cd-2", "cd\u20132", "", "=1"])
    def test_a_mended_row(self, campaign_id: str, path: Path) -> None:
        """A row that could not be used, and so was never sent, may be another now: it is sent, and no row is gone."""
        row = Result(campaign_id, None, "", "", Outcome.INVALID, source="a.csv", line=2, row={"name": "x"})
        others = [ended(campaign(1)), replace(row, campaign_id="..", line=3)]
        past = ResumeIndex(written(path, [others[0], row, others[1]]))
        assert past.settled(row) is Outcome.INVALID
        assert past.find_unusable(row) is None
        past = ResumeIndex(str(path))
        now: list[Row] = [campaign(1), campaign(2), replace(others[1], campaign_id=".")]
        assert [past.settled(each) for each in now] == [Outcome.STOPPED, None, None]
        past.check_all_met()
        found = [past.find_unusable(each) for each in now]
        assert [each and (each.campaign_id, each.line, each.row) for each in found] == [
            None,
            (campaign_id, 2, {"name": "x"}),
            ("..", 3, {"name": "x"}),
        ]

    @pytest.mark.parametrize("campaign_id", ["cd-2", ".."])
    def test_a_mended_row_that_was_sent(self, campaign_id: str, path: Path) -> None:
        """The state of a corrected row is the result of another run: it counts once."""
        row = Result(campaign_id, VOICE, "acc", "st-1", Outcome.INVALID, source="a.csv", line=2, run_id="run-1")
        lines = [replace(ended(campaign(1)), run_id="run-1"), row, replace(ended(campaign(2)), run_id="run-2")]
        past = ResumeIndex(written(path, lines))
        assert (past.rows, past.final, +past.latest) == (2, 2, Counter({Outcome.STOPPED: 2}))
        assert [past.settled(campaign(line)) for line in (1, 2)] == [Outcome.STOPPED] * 2
        past.check_all_met()

    def test_a_removed_row(self, path: Path) -> None:
        """Rows that have a line and are no longer in the inputs are counted and refused; added ones are welcome."""
        past = ResumeIndex(written(path, [ended(campaign(line)) for line in range(2, 5)]))
        for line in (2, 4, 5, 6):
            past.settled(campaign(line))
        with pytest.raises(InputError, match="has lines of 1 row that the inputs no longer have; give the inputs as"):
            past.check_all_met()

    def test_several_inputs(self, path: Path) -> None:
        """The same line of two inputs is two rows."""
        rows = [campaign(2, source="a.csv"), campaign(2, "cd-b", source="b.csv"), campaign(2, "cd-c", source="-")]
        past = ResumeIndex(written(path, [ended(rows[0]), not_sent(rows[1]), ended(rows[2], Outcome.NOT_FOUND)]))
        assert [past.settled(row) for row in rows] == [Outcome.STOPPED, None, Outcome.NOT_FOUND]

    def test_sparse_lines(self, path: Path) -> None:
        """Rows far apart, at block boundaries and beyond any file, are all distinguished."""
        lines = [0, 1, BLOCK_LINES - 1, BLOCK_LINES, BLOCK_LINES + 1, 10**6, 2**31, 2**53]
        past = ResumeIndex(written(path, [ended(campaign(line)) for line in lines]))
        assert [past.settled(campaign(line)) for line in lines] == [Outcome.STOPPED] * len(lines)
        assert [past.settled(campaign(line)) for line in (2, BLOCK_LINES - 2, 10**6 + 1)] == [None] * 3
        past.check_all_met()

    def test_two_rows_of_a_key(self, path: Path) -> None:
        """A result file with two rows of one key, which cannot be told apart, is refused with the line."""
        written(path, [replace(ended(campaign(0, each, "key-1")), line=None) for each in ("cd-1", "cd-other")])
        number = 3 if path.suffix == ".csv" else 2
        with pytest.raises(
            OutputError, match=rf" line {number}: voice 'cd-other' of .* is at key key-1, and an earlier row is too"
        ):
            ResumeIndex(str(path))

    def test_several_rows_of_a_line(self, path: Path) -> None:
        """A line with several ids is several rows; so is one with the same id twice."""
        rows = [campaign(2, each) for each in ("cd-1", "cd-2", "cd-3")]
        twice = unsent_result(rows[0], Outcome.DUPLICATE, "the same campaign is at a.csv line 2")
        bad = Result("..", VOICE, "acc", "st-1", Outcome.INVALID, source="a.csv", line=2)
        lines = [twice, bad, not_sent(rows[0]), ended(rows[1]), ended(rows[2], Outcome.TIMEOUT)]
        past = ResumeIndex(written(path, [replace(each, run_id="run-1") for each in lines]), keeps_places=True)
        assert (past.rows, past.final) == (5, 4)
        now: list[Row] = [*rows, rows[0], bad]
        found = [past.settled(row) for row in now]
        assert found == [None, Outcome.STOPPED, Outcome.TIMEOUT, None, Outcome.INVALID]
        past.check_all_met()
        assert past.settled(campaign(2, "cd-4")) is None
        assert past.mark_latest().count(1) == 5
        with path.open("ab") as file:
            file.write((to_csv if path.suffix == ".csv" else to_json)(replace(ended(rows[0]), run_id="run-2")))
        past = ResumeIndex(str(path), keeps_places=True)
        assert (past.rows, past.final, past.settled(rows[0])) == (5, 5, Outcome.STOPPED)
        assert past.mark_latest().count(1) == 5

    @pytest.mark.parametrize("campaign_id", ["", "=1", "'=1", "'", "a\r\nb", "a\0b", "\ud800", 'é,;"', " cd "])
    def test_odd_ids(self, campaign_id: str, path: Path) -> None:
        """Any id is the same after the file has changed its form."""
        row = Result(campaign_id, None, "", "'+", Outcome.INVALID, source="a.csv", line=2)
        past = ResumeIndex(written(path, [row]))
        assert past.settled(row) is Outcome.INVALID
        assert past.settled(replace(row, campaign_id=campaign_id + "x")) is None


class TestFile:
    """The file itself."""

    def test_a_torn_line(self, path: Path) -> None:
        """An incomplete line is ignored; the length of the file before it is known, to continue there."""
        written(path, [ended(campaign(2)), ended(campaign(3))])
        whole = path.read_bytes()
        path.write_bytes(whole + whole[-20:-1])
        past = ResumeIndex(str(path))
        assert (past.size, past.lines, past.rows) == (len(whole), 2, 2)

    def test_a_broken_line(self, path: Path) -> None:
        """A line that no run has written ends the reading with its number."""
        written(path, [ended(campaign(2))])
        path.write_bytes(path.read_bytes() + b"garbage\n" * 2)
        number = 3 if path.suffix == ".csv" else 2
        with pytest.raises(OutputError, match=rf"r\.\w+ line {number}: is not a result line"):
            ResumeIndex(str(path))

    def test_runs(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The runs that wrote it are known in their order, each with its outcomes."""
        rows = [replace(ended(campaign(line)), run_id=run) for line, run in ((2, "a"), (3, "a"), (4, "b"), (5, "a"))]
        rows[1] = replace(rows[1], started_at="2025-01-01T00:00:00.000Z", schedule="failed: 404")
        rows.append(replace(not_sent(campaign(6)), run_id="a"))
        written(path, rows)
        stretches = ResumeIndex(str(path)).stretches
        assert [(each.run_id, each.lines) for each in stretches] == [("a", 2), ("b", 1), ("a", 2)]
        assert [each.outcomes.total() for each in stretches] == [2, 1, 2]
        assert stretches[0].schedules_failed == 1
        assert stretches[2].outcomes == Counter({Outcome.STOPPED: 1, Outcome.NOT_SENT: 1})
        monkeypatch.setattr(resume, "MOST_STRETCHES", 2)
        with pytest.raises(OutputError, match=r"r\.\w+: its lines come from too many runs; give another file"):
            ResumeIndex(str(path))

    def test_pipe(self, path: Path) -> None:
        """A pipe without a writer is refused, and not waited for."""
        os.mkfifo(path)
        with pytest.raises(OutputError, match=r"r\.\w+: cannot be read \(Is no regular file\)"):
            ResumeIndex(str(path))

    def test_an_empty_file(self, path: Path) -> None:
        """A file without a line, header or not, says nothing about any row."""
        for results in ([], [ended(campaign(2))]):
            written(path, results)
            assert ResumeIndex(str(path)).rows == len(results)
        path.write_bytes(b"")
        past = ResumeIndex(str(path))
        assert (past.size, past.lines, past.settled(campaign(2))) == (0, 0, None)

    @pytest.mark.parametrize(("name", "why"), [("absent", "No such file or directory"), ("", "Is a directory")])
    def test_no_file(self, name: str, why: str, tmp_path: Path) -> None:
        """A file that cannot be read is one line that says why."""
        with pytest.raises(OutputError, match=rf": cannot be read \({why}\)$"):
            ResumeIndex(str(tmp_path / name))

    @pytest.mark.full
    @pytest.mark.parametrize(("keeps_places", "most"), [(False, 10), (True, 20)])
    def test_memory(self, keeps_places: bool, most: int, tmp_path: Path) -> None:
        """In memory a row costs about 8 bytes, 16 with the place of its latest line: a million rows fit anywhere."""
        path = written(tmp_path / "r.jsonl", (ended(campaign(line)) for line in range(1, 20_001)))
        tracemalloc.start()
        try:
            past = ResumeIndex(path, keeps_places=keeps_places)
            gc.collect()  # the interpreter keeps freed dicts for later use until then
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert past.rows == 20_000
        assert kept < 20_000 * most


def with_more_outcomes(count: int, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the module once more, as if there were so many other outcomes before those there are."""
    names = [*(f"more_{number}" for number in range(count)), *Outcome]
    monkeypatch.setattr(model, "Outcome", StrEnum("Outcome", [(name.upper(), name) for name in names]))
    spec = importlib.util.spec_from_file_location("resume_with_more", str(resume.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("count", [2, 18])
def test_more_outcomes(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any number of outcomes, each row gets its own back."""
    rows = [campaign(line) for line in range(1, len(Outcome) + 1)]
    path = written(tmp_path / "r.jsonl", [ended(*each) for each in zip(rows, Outcome, strict=True)])
    index = with_more_outcomes(count, monkeypatch).ResumeIndex(path)
    found = [index.settled(row) for row in rows]
    assert found == [None if outcome in LEFT | {Outcome.INVALID} else outcome for outcome in Outcome]


def test_rows_with_keys(path: Path) -> None:
    """A campaign is found by its key; others with keys may be gone, but not from a list whose rows have lines."""
    keyed = [campaign(0, f"cd-{number}", f"key-{number}") for number in range(3)]
    results = [replace(ended(each), line=None) for each in keyed]
    index = ResumeIndex(written(path, results))
    assert (index.rows, index.final, index.keyed) == (3, 3, 3)
    assert index.settled(keyed[1]) is Outcome.STOPPED
    assert index.settled(campaign(0, "cd-9", "key-9")) is None
    index.check_all_met()
    index = ResumeIndex(written(path, [*results, ended(campaign(2))]))
    assert index.settled(campaign(2)) is Outcome.STOPPED
    with pytest.raises(InputError, match=r"has lines of 3 rows that the inputs no longer have"):
        index.check_all_met()
