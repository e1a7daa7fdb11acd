"""The rows to send again, as a list for `stop`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkstop.model import WORTH_A_RETRY, Campaign, CampaignType, Defaults, Outcome, Result, schedule_failure
from bulkstop.report.stop.formats import csv_header, to_csv, to_json
from bulkstop.runs.export import MOST_OTHERS, Remainder, collect_remainder, read_indexes
from bulkstop.source import read

AT = "2025-12-05T12:01:35.312Z"
VOICE = CampaignType.VOICE


def line(number: int, outcome: Outcome, *, row: dict[str, object] | None = None, **more: Any) -> Result:
    """Make the line of a row that was sent, or that was not."""
    is_unsent = outcome in (Outcome.NOT_SENT, Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED)
    times = {} if is_unsent else {"started_at": AT, "finished_at": AT}
    facts: dict[str, Any] = {"source": "a.csv", "line": number, "row": row, **times, **more}
    return Result(f"cd-{number}", VOICE, "acc", "st-1", outcome, **facts)


def collect(
    results: Path, lines: Sequence[Result], retry: frozenset[Outcome] = WORTH_A_RETRY, form: str = "csv"
) -> Remainder:
    """Write a result file and collect what is to be tried again."""
    is_csv = results.suffix == ".csv"
    results.write_bytes(csv_header() * is_csv + b"".join(map(to_csv if is_csv else to_json, lines)))
    return collect_remainder(read_indexes([str(results)]), retry, form=form)


def campaigns(remainder: Remainder, path: Path) -> list[Campaign]:
    """Write the list and read it as `stop` does."""
    path.write_bytes(b"".join(remainder.blocks))
    rows = list(read([str(path)], defaults=Defaults()))
    assert all(isinstance(row, Campaign) for row in rows)
    return [row for row in rows if isinstance(row, Campaign)]


@pytest.fixture(params=["again.csv", "again.jsonl"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Name a list, once of each form."""
    return tmp_path / str(request.param)


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_which_rows(name: str, tmp_path: Path) -> None:
    """The list has what `--retry-failed` would send; what else failed is counted, and what is at rest is left out."""
    lines = [line(number, outcome) for number, outcome in enumerate(Outcome, start=1)]
    cut_off = line(50, Outcome.UNAUTHORIZED, finished_at=None)
    mended = [line(60, Outcome.TIMEOUT), line(60, Outcome.STOPPED)]
    remainder = collect(tmp_path / name, [*lines, cut_off, *mended])
    expected = {*WORTH_A_RETRY, Outcome.NOT_SENT, Outcome.UNAUTHORIZED}
    assert dict(remainder.outcomes) == dict.fromkeys(expected, 1)
    ids = [each.campaign_id for each in campaigns(remainder, tmp_path / "again.csv")]
    assert ids == [each.campaign_id for each in [*lines, cut_off] if each.outcome in expected and each != lines[5]]
    left = {outcome: number for outcome, number in remainder.left_out.items() if number}
    assert left == dict.fromkeys([Outcome.NOT_FOUND, Outcome.REJECTED, Outcome.UNAUTHORIZED, Outcome.INVALID], 1)


def test_more_outcomes(tmp_path: Path) -> None:
    """Outcomes that are chosen are in the list, too."""
    lines = [line(1, Outcome.NOT_FOUND), line(2, Outcome.REJECTED), line(3, Outcome.INVALID)]
    remainder = collect(tmp_path / "r.jsonl", lines, WORTH_A_RETRY | {Outcome.NOT_FOUND})
    assert remainder.outcomes == {Outcome.NOT_FOUND: 1}


def test_schedules(tmp_path: Path) -> None:
    """A campaign of which only the schedule is left is in the list, and that is known."""
    remainder = collect(tmp_path / "r.jsonl", [line(1, Outcome.STOPPED, schedule=schedule_failure("HTTP 500"))])
    assert (remainder.outcomes, remainder.has_schedules) == ({Outcome.STOPPED: 1}, True)


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_what_a_row_has(name: str, again: Path, tmp_path: Path) -> None:
    """Ids and carried values are kept; a row without an application id uses its stream."""
    row: dict[str, object] = {
        "owner": "Ann, Bob",
        "note": "two\nlines",
        "priority": "?",
    }
    lines = [line(1, Outcome.TIMEOUT, row=row), line(2, Outcome.NOT_SENT, row={"other": "x"})]
    first, second = campaigns(collect(tmp_path / name, lines, form=again.suffix[1:]), again)
    assert first[:5] == ("cd-1", VOICE, "acc", "st-1", "st-1")
    assert first.row is not None
    assert second.row is not None
    assert (first.row["owner"], first.row["priority"], second.row["other"]) == ("Ann, Bob", "?", "x")


def test_names_that_mean_something(again: Path, tmp_path: Path) -> None:
    """A carried value named like an id never replaces it, nor makes two columns of it."""
    row: dict[str, object] = {
        "Type": "sms",
        "accountId": "other",
        "id": "17",
        "iid": "i-9",
        "name": "Promo",
        "x": {},
    }
    remainder = collect(tmp_path / "r.jsonl", [line(1, Outcome.TIMEOUT, row=row)], form=again.suffix[1:])
    (campaign,) = campaigns(remainder, again)
    assert campaign[:5] == ("cd-1", VOICE, "acc", "st-1", "i-9")
    assert campaign.name == "Promo"
    assert campaign.row is not None
    assert campaign.row["id"] == "17"


def test_formulas(tmp_path: Path) -> None:
    """A cell that a spreadsheet would run is marked as text, once however often a list is made of a list."""
    again = tmp_path / "again.csv"
    cells = {"a": "=1+1", "b": "'=marked"}
    for _ in range(2):
        (campaign,) = campaigns(collect(tmp_path / "r.jsonl", [line(1, Outcome.TIMEOUT, row=dict(cells))]), again)
        assert dict(campaign.row or {}) == {"a": "'=1+1", "b": "'=marked"}
        cells = {name: str(value) for name, value in (campaign.row or {}).items()}


def test_many_columns(tmp_path: Path) -> None:
    """A list of objects that all have other keys makes no table of millions of columns."""
    lines = [line(number, Outcome.TIMEOUT, row={f"k{number}": 1, f"l{number}": 1}) for number in range(1, 200)]
    header, *rows = b"".join(collect(tmp_path / "r.jsonl", lines).blocks).decode().splitlines()
    assert len(header.split(",")) == 7 + MOST_OTHERS
    assert len(rows) == 199


def test_nothing_left(again: Path, tmp_path: Path) -> None:
    """If all is done the list is empty, but valid."""
    remainder = collect(tmp_path / "r.jsonl", [line(1, Outcome.STOPPED)], form=again.suffix[1:])
    assert campaigns(remainder, again) == [] if again.suffix == ".csv" else b"".join(remainder.blocks) == b""
    assert not remainder.outcomes
