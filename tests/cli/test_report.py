"""`bulkstop report` for a user and an auditor."""

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from bulkstop.cli import main
from bulkstop.cli.report import go_to_folder
from bulkstop.model import Outcome
from bulkstop.report.stop.ledger import Mode
from bulkstop.report.stop.manifest import RunSection
from bulkstop.runs.stop.journal import RunJournal
from tests.processes import COMMAND, WAIT_S, Ended, bulkstop, checked, environment
from tests.runs.stop.test_journal import killed, manifest, result_of, run, until, with_token, write_list

Report = Callable[..., Ended]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a result file in the working directory, beside a list of five campaigns."""
    monkeypatch.chdir(tmp_path)
    write_list(5)
    return Path("r.jsonl")


@pytest.fixture
def report(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """Run the command in this process."""

    def run_it(*args: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bulkstop", "report", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return checked(Ended(caught.value.code, *capsys.readouterr()))

    return run_it


def value(ended: Ended, name: str) -> str:
    """Return the value of a name in the output."""
    (found,) = (line[2 + len(name) :].strip() for line in ended.out.splitlines() if line.startswith(f"  {name} "))
    return found


class TestSums:
    """The summary of a result file."""

    def test_all_done(self, report: Report, path: Path) -> None:
        """The latest outcomes, the rows and the runs are on standard output, with the proof of every line."""
        run(path, outcome_of=until(3))
        run(path)
        told = report(str(path))
        assert (told.code, told.err) == (0, "")
        assert told.out.startswith("r.jsonl\n")
        assert value(told, "stopped") == "5"
        assert value(told, "rows") == "5 in 8 lines"
        assert value(told, "run 1").endswith(": all sent (exit code 1)")
        assert value(told, "run 2").endswith(": all sent (exit code 0)")
        assert value(told, "check") == "every line is as it was written"
        both = path.read_bytes() + Path(f"{path}.run.json").read_bytes()
        assert value(told, "SHA-256") == sha256(both).hexdigest()
        assert "not ended" not in told.out
        assert report(str(path), "--check") == told

    @pytest.mark.real
    def test_what_is_left(self, report: Report, path: Path) -> None:
        """Rows that have not ended are counted, including those without a line, with the command that continues."""
        write_list(8)
        run(path, outcome_of=lambda campaign: Outcome.TIMEOUT if campaign.line == 2 else until(5)(campaign))
        told = report("--check", str(path))
        assert (told.code, value(told, "not ended")) == (0, "4")
        assert (value(told, "timeout"), value(told, "stopped"), value(told, "not_sent")) == ("1", "3", "4")
        path.unlink()
        Path(f"{path}.run.json").unlink()
        killed(path, 2, 1)
        assert value(report(str(path)), "not ended") == "5"

    def test_several_files(self, report: Report, path: Path) -> None:
        """Several files are reported in sequence, and an unproven one fails the check of all."""
        run(path)
        run(Path("s.csv"))
        told = report("--check", str(path), "s.csv")
        assert (told.code, told.out.count("every line is as it was written")) == (0, 2)
        Path("s.csv.run.json").unlink()
        told = report("--check", "s.csv", str(path))
        assert told.code == 1
        assert "FAILED: there is no s.csv.run.json to check it against" in told.out
        assert told.out.index("s.csv\n") < told.out.index("r.jsonl\n")
        assert report("s.csv", str(path)).code == 0, "without --check it is only told"

    def test_nothing_dangerous_is_shown(self, report: Report, path: Path) -> None:
        """Names with escape sequences are shown without them."""
        odd = Path("\x1b[31mr.jsonl")
        run(odd)
        sections = manifest(odd)
        sections[0] |= {"user": "\x1b[2J", "reason": "a\nb", "machine": "\ud800"}
        Path(f"{odd}.run.json").write_text(json.dumps({"runs": sections}))
        told = report(str(odd))
        assert told.code == 0
        assert "\x1b" not in told.out
        assert value(told, "run 1").endswith(" on \ufffd: a\ufffdb (exit code 0)")


class TestCheck:
    """The check of an auditor."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("altered", "lines 1 to 5 are not as they were written"),
            ("cut", "it is shorter than the 5 lines that were written"),
            ("appended", "something was added after line 5, the last one that was written"),
        ],
    )
    def test_tampered(self, change: str, said: str, report: Report, path: Path) -> None:
        """An altered, removed or added line is exit 1; without --check it is also reported."""
        run(path, outcome_of=until(4))
        lines = path.read_bytes().splitlines(keepends=True)
        forged = lines[4].replace(b"not_sent", b"stopped")
        match change:
            case "altered":
                lines[0] = lines[0].replace(b"stopped", b"unknown")
            case "cut":
                del lines[4]
            case _:
                lines.append(forged)
        path.write_bytes(b"".join(lines))
        told = report("--check", str(path))
        assert told.code == 1
        assert f"FAILED: {said}" in told.out
        unchecked = report(str(path))
        assert (unchecked.code, unchecked.out) == (0, told.out)

    @pytest.mark.real
    def test_killed(self, report: Report, path: Path) -> None:
        """Lines of a killed run after its last mark are reported as unproven, until a resume vouches for them."""
        killed(path, 2, 2)
        told = report("--check", str(path))
        assert told.code == 1
        assert value(told, "run 1").endswith(": no end recorded")
        assert "the last 2 lines are not vouched for: the run that wrote them was killed, or still runs" in told.out
        assert "FAILED: 5 rows were planned, 4 have a line" in told.out
        run(path)
        assert report("--check", str(path)).code == 0

    def test_while_it_runs(self, report: Report, path: Path) -> None:
        """A file that is being written can be reported, and is not changed."""
        with RunJournal(str(path), mode=Mode.NEW) as record, record.plan(["list.csv"], with_token()) as plan:
            record.open(plan, with_token(), [], "run")
            record.write([result_of(next(plan.campaigns("acc")))])
            before = path.read_bytes()
            told = report(str(path))
            assert path.read_bytes() == before
        assert (told.code, value(told, "rows")) == (0, "1 in 1 line")

    def test_a_run_that_was_broken_off(self, report: Report, path: Path) -> None:
        """The report says how a run was broken off."""
        with pytest.raises(ZeroDivisionError):
            self.break_off(path)
        assert value(report(str(path)), "run 1").endswith(": broken off: ZeroDivisionError")

    @staticmethod
    def break_off(path: Path) -> None:
        """Raise after one line."""
        with RunJournal(str(path)) as record, record.plan(["list.csv"], with_token()) as plan:
            record.open(plan, with_token(), [], "run")
            record.write([result_of(next(plan.campaigns("acc")))])
            raise ZeroDivisionError


class TestRefused:
    """An unreadable file is exit 2 and one line."""

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("absent.jsonl", "absent.jsonl: cannot be read (No such file or directory)"),
            (".", ".: cannot be read (Is a directory)"),
            ("list.csv", "list.csv line 1: is not the header of a result file; give another file"),
            ("r.jsonl.run.json", "r.jsonl.run.json line 1: is not a result line ("),
        ],
    )
    def test_no_result_file(self, name: str, said: str, report: Report, path: Path) -> None:
        """A missing file, or one with other content."""
        run(path)
        told = report("--check", name)
        assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
        assert told.err.startswith(f"bulkstop: {said}")

    def test_a_broken_line(self, report: Report, path: Path) -> None:
        """A broken line is reported with its number, and fails the check."""
        run(path)
        path.write_bytes(path.read_bytes().replace(b'"cd-2"', b'"cd-2'))
        told = report(str(path))
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith("bulkstop: r.jsonl line 2: is not a result line (")
        told = report("--check", str(path))
        assert told.code == 1
        assert value(told, "check").startswith("FAILED: r.jsonl line 2: is not a result line (")

    def test_a_damaged_manifest(self, report: Report, path: Path) -> None:
        """An unreadable manifest is reported with the remedy."""
        run(path)
        Path(f"{path}.run.json").write_text("{}")
        told = report("--check", str(path))
        said = "bulkstop: r.jsonl.run.json: cannot be read (it is not a manifest, or was damaged); restore it, or give"
        assert (told.code, told.out) == (2, "")
        assert told.err == f"{said} --trust-results to go on without it\n"

    def test_no_file_given(self, report: Report) -> None:
        """Without a file, the command is refused."""
        assert report().code == 2


class TestProcess:
    """The command as a process."""

    @pytest.mark.real
    def test_standard_output(self, path: Path) -> None:
        """The report goes to standard output, and the exit code is that of the check."""
        killed(path, 1, 1)
        told = bulkstop("report", "--check", str(path), cwd=Path.cwd())
        assert (told.code, told.err) == (1, "")
        assert told.out.startswith("r.jsonl\n")

    @pytest.mark.real
    def test_a_reader_that_goes(self, path: Path) -> None:
        """A reader that has closed the output causes no traceback."""
        run(path)
        process = subprocess.Popen(
            [*COMMAND, "report", str(path)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize(
    ("folder", "way"),
    [
        ("/a b", "cd '/a b' && "),
        ("/a\x1b[2J\n", "in the folder /a\ufffd[2J\ufffd: "),
        (str(Path.cwd()), ""),
        (None, ""),
    ],
)
def test_the_folder_of_a_run(folder: str | None, way: str) -> None:
    """A suggested command names the folder of its run, and shows nothing that a terminal would interpret."""
    run = RunSection({"folder": folder}, "", "", "", {}, {}, 0, None, None, None, None, None)
    assert go_to_folder(run) == way
