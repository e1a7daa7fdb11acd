"""Files that earlier versions wrote can be used for ever; what is in `kept` is never changed, only added to."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkstop.errors import OutputError
from bulkstop.model import Outcome
from bulkstop.report.stop.formats import COLUMNS, csv_header, read_lines, to_csv
from bulkstop.report.stop.ledger import Mode
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.runs.lists.verify import is_result_file, read_targets
from bulkstop.runs.review import review_results
from bulkstop.runs.stop.journal import RunJournal
from tests.runs.stop.test_journal import carried_out, with_token

KEPT = Path(__file__).with_name("kept")
FILES = sorted(path for path in KEPT.glob("v*/*") if path.name.startswith(("finished", "drained", "killed")))
RESULTS = [path for path in FILES if not path.name.endswith(".run.json")]
ENDED = {
    "finished": {"stopped": 7, "already_stopped": 1, "not_found": 1},
    "drained": {"stopped": 2, "already_stopped": 1, "server_error": 1},
    "killed": {"stopped": 2, "already_stopped": 1, "server_error": 1},
}
HELD = {"invalid": 1, "duplicate": 1, "protected": 1}
LEFT = {"finished": {}, "drained": {"not_found": 1, "unknown": 1, "not_sent": 3}, "killed": {}}
"""The refusal is of a group that was not yet known to be right, so its row has not ended."""
AGAIN = {"rejected": 1}


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Copy a file, its manifest and its list into the working directory, private to the user as they were."""
    monkeypatch.chdir(tmp_path)

    def copy_it(path: Path) -> Path:
        for name in (path, Path(manifest_path(str(path))), path.with_name("list.csv")):
            shutil.copyfile(name, name.name)
            Path(name.name).chmod(0o600)
        Path("protect.txt").write_text("cd-0000099-1111-2222-3333-444455556666\n")
        return Path(path.name)

    return copy_it


def settings_of(path: Path) -> Any:
    """Make the settings that the runs of a file had, as far as a row means something by them."""
    return with_token(type="voice", account_id="acc1", stream_id="st-1", protect=("protect.txt",))


def go_on(path: Path) -> None:
    """Continue a file until its end; rejected rows are sent again."""
    settings, retry = settings_of(path), frozenset({Outcome.REJECTED})
    with (
        RunJournal(str(path), mode=Mode.RESUME, retry=retry) as journal,
        journal.plan(["list.csv"], settings) as plan,
    ):
        assert plan.rows == 13
        assert {outcome.value: count for outcome, count in plan.settled.items()} == ENDED[path.stem] | HELD
        assert carried_out(journal, plan, lambda campaign: Outcome.STOPPED, settings).rows_with_lines == 13


def names(path: Path) -> str:
    """Name a kept file."""
    return f"{path.parent.name}-{path.name}"


def test_something_is_kept() -> None:
    """There are files of each form and of each way to end."""
    assert {path.name for path in RESULTS} >= {"finished.jsonl", "finished.csv", "drained.jsonl", "killed.jsonl"}


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_report(path: Path, copy: Callable[[Path], Path]) -> None:
    """They are summed up, and those that were ended are proven."""
    review = review_results(str(copy(path)))
    name = path.stem
    assert {outcome.value: count for outcome, count in review.outcomes.items() if count} == (
        ENDED[name] | HELD | LEFT[name] | AGAIN
    )
    assert len(review.flaws) == (2 if name == "killed" else 0)


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_resume(path: Path, copy: Callable[[Path], Path]) -> None:
    """Exactly the rows that have not ended are sent, without trust, and all is proven afterwards."""
    here = copy(path)
    go_on(here)
    review = review_results(str(here))
    assert review.flaws == ()
    assert sum(review.outcomes.values()) == 13
    assert json.loads(Path(manifest_path(str(here))).read_bytes())["schema"] == 1


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_verify(path: Path, copy: Callable[[Path], Path]) -> None:
    """Every campaign in them is known to be looked at, and so are rows that have no line."""
    here = copy(path)
    assert is_result_file(str(here))
    targets = read_targets([str(here)], settings_of(here))
    assert targets.campaigns + targets.unlisted + targets.invalid == 12
    assert targets.unlisted == (5 if path.stem == "killed" else 0)
    assert targets.notes == []


@pytest.mark.parametrize("dropped", ["schedule", "row", "latency_ms"])
def test_csv_of_other_columns(dropped: str, tmp_path: Path, copy: Callable[[Path], Path]) -> None:
    """A CSV file with a missing or an unknown column is continued with its own columns."""
    path = copy(KEPT / "v1" / "killed.csv")
    columns = (*(name for name in COLUMNS if name != dropped), "of_another_day")
    rewrite(path, columns)
    go_on(path)
    header, *lines = path.read_bytes().splitlines(keepends=True)
    assert header == csv_header(columns)
    with path.open("rb") as file:
        results = [line.result for line in read_lines(file, path.name) if line.result]
    assert len(results) == len(lines)
    assert {getattr(result, dropped) for result in results if dropped != "row"} <= {None}
    assert review_results(str(path)).flaws == ()


def test_lines_of_other_keys(copy: Callable[[Path], Path]) -> None:
    """A file whose lines have other keys is continued, and keeps them."""
    path = copy(KEPT / "v1" / "killed.jsonl")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines:
        del line["schedule"], line["latency_ms"]
        line["of_another_day"] = {"a": 1}
    was = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(was)
    go_on(path)
    assert path.read_bytes().startswith(was)
    assert review_results(str(path)).flaws == ()


def test_of_a_newer_form(copy: Callable[[Path], Path]) -> None:
    """A manifest of a newer version is one line in every command that reads it, with any lines."""
    path = copy(KEPT / "v1" / "drained.jsonl")
    document = json.loads(Path(manifest_path(str(path))).read_bytes()) | {"schema": 2}
    Path(manifest_path(str(path))).write_text(json.dumps(document))
    for use in (
        lambda: review_results(str(path)),
        lambda: RunJournal(str(path), mode=Mode.RESUME, trust=True),
        lambda: read_targets([str(path)], settings_of(path)),
    ):
        with pytest.raises(OutputError, match=r"^drained\.jsonl\.run\.json: is of a newer version of bulkstop \("):
            use()


def rewrite(path: Path, columns: tuple[str, ...]) -> None:
    """Write a CSV file anew in other columns."""
    with path.open("rb") as file:
        results = [line.result for line in read_lines(file, path.name) if line.result]
    path.write_bytes(csv_header(columns) + b"".join(to_csv(result, columns) for result in results))
