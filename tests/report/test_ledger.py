"""A result as a line, and the file that the lines go to."""

import csv
import io
import json
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.ledger import COLUMNS, Ledger, csv_header, to_csv, to_json

PLAIN = Result("cd-1", CampaignType.VOICE, "a", "st", Outcome.STOPPED, 200, 1, 12.5, source="list.csv", line=2)


def cells(result: Result) -> dict[str, str]:
    """Read a CSV line back."""
    (record,) = csv.DictReader(io.StringIO((csv_header() + to_csv(result)).decode()))
    return dict(record)


def test_json_line_has_every_key_in_order() -> None:
    """All keys stand in each line, in the contract's order; what is absent is null."""
    line = to_json(PLAIN)
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == list(COLUMNS)
    assert json.loads(line)["message"] is None


@pytest.mark.parametrize("row", [{"note": "\ud800"}, {"huge": 2**80}, {"odd": object()}, {"line\n": "a\nb"}])
def test_any_row_is_one_line(row: dict[str, object]) -> None:
    """Whatever a row carries along, its result is one line of JSON, in the same order."""
    line = to_json(Result("cd-1", None, None, None, Outcome.INVALID, row=row))
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == list(COLUMNS)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_cells_are_no_formulas(text: str) -> None:
    """A cell that a spreadsheet would run is text there; numbers stay numbers."""
    found = cells(Result(text, None, None, None, Outcome.INVALID, latency_ms=-1.0, message=text))
    assert found["campaign_id"] == found["message"] == f"'{text}"
    assert found["latency_ms"] == "-1.0"


def test_csv_has_the_same_columns() -> None:
    """The columns of a CSV file are the keys of a JSON line."""
    assert list(cells(PLAIN)) == list(COLUMNS)
    assert cells(PLAIN)["outcome"] == "stopped"


def test_file_is_private_and_not_taken_twice(tmp_path: Path) -> None:
    """A new file is its owner's alone, and one that exists is kept without --overwrite."""
    path = tmp_path / "results.jsonl"
    with Ledger(str(path)) as ledger:
        ledger.write(PLAIN)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OutputError, match="exists already"):
        Ledger(str(path))
    assert path.read_bytes() == to_json(PLAIN)


def test_overwriting_begins_with_the_first_line(tmp_path: Path) -> None:
    """Until there is a line the old results stand; then they are gone whole, also where the new ones are shorter."""
    path = tmp_path / "results.csv"
    path.write_text("old\n" * 1_000)
    with Ledger(str(path), overwrite=True) as ledger:
        assert path.read_text().startswith("old\n")
        ledger.write(PLAIN)
        assert path.read_bytes() == csv_header() + to_csv(PLAIN)


def test_a_file_without_a_line_is_not_left_behind(tmp_path: Path) -> None:
    """A run that never began is not in the way of the next; an older file is not removed with it."""
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    old.write_text("kept\n")
    with Ledger(str(new)), Ledger(str(old), overwrite=True):
        assert new.exists()
    assert not new.exists()
    assert old.read_text() == "kept\n"


def test_a_full_disk_is_an_error_and_stays_one() -> None:
    """What cannot be written raises, and so does every line after it."""
    with Ledger("/dev/full") as ledger:
        for _ in range(2):
            with pytest.raises(OutputError, match=r"/dev/full: cannot write results \(No space left on device\)"):
                ledger.write(PLAIN)
