"""A result file that goes away while it is written: that is noticed, and its lines are saved."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.files import whole as files_whole
from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.stop import ledger as ledger_module
from bulkstop.report.stop import loss as loss_module
from bulkstop.report.stop.formats import csv_header, to_csv, to_json
from bulkstop.report.stop.ledger import Ledger, Mode


def result(number: int, outcome: Outcome = Outcome.STOPPED) -> Result:
    """Make the result of a row."""
    return Result(f"cd-{number}", CampaignType.VOICE, "a", "st", outcome, 200, 1, 12.5, source="l.csv", line=number)


RESULTS = [result(1), result(2), result(3, Outcome.DUPLICATE), result(4, Outcome.TIMEOUT)]
SENT = (RESULTS[0], RESULTS[1], RESULTS[3])


def whole(path: Path) -> bytes:
    """Return what a file of that name with all results holds."""
    if path.suffix == ".csv":
        return csv_header() + b"".join(map(to_csv, RESULTS))
    return b"".join(map(to_json, RESULTS))


def write_all(ledger: Ledger) -> None:
    """Write the line of every result."""
    for each in RESULTS:
        ledger.write(each)


def remove(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def replace(path: Path) -> None:
    """Put a copy in its place, as an editor does."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def remove_folder(path: Path) -> None:
    """Return the folder another name."""
    path.parent.rename(path.parent.with_name("elsewhere"))


def empty(path: Path) -> None:
    """Cut the file to nothing."""
    os.truncate(path, 0)


def write_over(path: Path) -> None:
    """Fill the file with something else that is longer."""
    path.write_bytes(b"x" * 10_000)


@pytest.fixture(params=["r.jsonl", "r.csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Name a result file, once of each kind, in a folder of its own."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results" / str(request.param)


@pytest.mark.parametrize("deed", [remove, replace, remove_folder, empty, write_over])
def test_loss(deed: Callable[[Path], None], path: Path) -> None:
    """The next check raises, no line is accepted any more, and all sent results are saved and listed."""
    with Ledger(str(path)) as ledger:
        write_all(ledger)
        ledger.look()
        assert ledger.rescue() is None
        deed(path)
        with pytest.raises(OutputError, match=r": was .* during the run, so sending stops$"):
            ledger.look()
        with pytest.raises(OutputError, match="sending stops"):
            ledger.write(RESULTS[0])
        found = ledger.rescue()
    assert found is not None
    assert (found.gone, found.results, found.is_whole) == (4, SENT, True)
    assert found.place is not None
    assert Path(found.place).read_bytes() == whole(path)


def test_cut_in_part(path: Path) -> None:
    """For a file that was cut, only the missing results are listed."""
    with Ledger(str(path)) as ledger:
        write_all(ledger)
        os.truncate(path, path.stat().st_size - 5)
        with pytest.raises(OutputError, match=r"was cut to [\d,]+ of [\d,]+ bytes during"):
            ledger.look()
        found = ledger.rescue()
    assert found is not None
    assert (found.gone, found.results) == (1, (RESULTS[3],))


def test_more_than_is_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not all lines of an emptied file are known, the last are saved and the total is reported."""
    monkeypatch.setattr(ledger_module, "RECENT_LINES", 2)
    with Ledger(str(path)) as ledger:
        write_all(ledger)
        empty(path)
        with pytest.raises(OutputError):
            ledger.look()
        found = ledger.rescue()
    assert found is not None
    assert (found.gone, found.results, found.is_whole) == (4, (RESULTS[3],), False)
    assert found.words == f"4 of its lines are gone; the last of them are in {found.place}"


def test_often_enough(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any rate of lines, a loss is noticed while the written results are still in memory."""
    monkeypatch.setattr(ledger_module, "LOOK_EVERY_LINES", 3)
    with Ledger(str(path)) as ledger:
        ledger.write(RESULTS[0])
        path.unlink()
        with pytest.raises(OutputError, match="was removed during the run"):
            write_all(ledger)


def test_put_back(path: Path) -> None:
    """A file that is back when its run ends has lost nothing, but nothing was written to it meanwhile."""
    away = path.with_name("away")
    with Ledger(str(path)) as ledger:
        ledger.write(RESULTS[0])
        path.rename(away)
        with pytest.raises(OutputError, match=r"was moved to .*/away during"):
            ledger.look()
        away.rename(path)
        found = ledger.rescue()
    assert found is not None
    assert (found.gone, found.words) == (0, "no line is lost")


def test_lines_of_an_earlier_run(path: Path) -> None:
    """The lines of earlier runs in a removed file are saved too, while it is open."""
    with Ledger(str(path)) as ledger:
        write_all(ledger)
    with Ledger(str(path), mode=Mode.RESUME) as ledger:
        ledger.go_on_at(path.stat().st_size, len(RESULTS))
        path.unlink()
        with pytest.raises(OutputError):
            ledger.look()
        found = ledger.rescue()
    assert found is not None
    assert found.place is not None
    assert (found.gone, found.is_whole, Path(found.place).read_bytes()) == (4, True, whole(path))
    assert Path(found.place).stat().st_mode & 0o777 == 0o600


def test_csv_of_other_columns(tmp_path: Path) -> None:
    """Lines of a CSV file with columns of its own are saved below its header, so that they can be read."""
    path = tmp_path / "r.csv"
    columns = ("campaign_id", "outcome", "source", "line", "of_another_day")
    path.write_bytes(csv_header(columns) + to_csv(RESULTS[0], columns))
    with Ledger(str(path), mode=Mode.RESUME) as ledger:
        ledger.go_on_at(path.stat().st_size, 1, columns)
        ledger.write(RESULTS[1])
        assert path.read_bytes() == csv_header(columns) + b"".join(to_csv(each, columns) for each in RESULTS[:2])
        os.truncate(path, 0)
        with pytest.raises(OutputError):
            ledger.look()
        rescue = ledger.rescue()
    assert rescue is not None
    assert rescue.place is not None
    assert Path(rescue.place).read_bytes() == csv_header(columns) + to_csv(RESULTS[1], columns)
    assert [each.campaign_id for each in rescue.results] == ["cd-2"]


def test_long_name(path: Path) -> None:
    """Lines of a file whose name is as long as names can be are saved too, in two files that are both kept."""
    path = path.with_name(f"{'x' * 248}.jsonl")
    for _ in range(2):
        with Ledger(str(path)) as ledger:
            write_all(ledger)
            path.unlink()
            with pytest.raises(OutputError):
                ledger.look()
            rescued = ledger.rescue()
        assert rescued is not None
        assert Path(rescued.place or "").read_bytes() == whole(path)
    assert len([*path.parent.glob("*.recovered-[12].jsonl")]) == 2


def test_no_room_to_save(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no file can be created, all known results are listed, and no partial file is left."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loss_module, "LISTED", 1)
    monkeypatch.setattr(files_whole, "_place_new", refuse)
    with Ledger(str(path)) as ledger:
        write_all(ledger)
        path.unlink()
        with pytest.raises(OutputError):
            ledger.look()
        found = ledger.rescue()
    assert found is not None
    assert (found.results, found.place, found.is_whole) == (SENT, None, False)
    assert found.words == "4 of its lines are gone; no file could be made to save them in"
    assert list(path.parent.iterdir()) == []


def test_a_failed_write_fills_nothing_with_zeros(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that fails in a file that was emptied meanwhile does not grow it to where the line was to begin."""

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ledger(str(path)) as ledger:
        write_all(ledger)
        empty(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            with pytest.raises(OutputError, match="cannot write results"):
                ledger.write(RESULTS[0])
        assert path.read_bytes() == b""


@pytest.mark.parametrize("name", ["-", os.devnull])
def test_what_is_no_file(name: str) -> None:
    """Standard output and devices cannot go away."""
    with Ledger(name) as ledger:
        ledger.look()
        assert ledger.rescue() is None
