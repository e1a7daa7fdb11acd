"""`bulkstop report --latest` and `--failed`: the final state of a result file, as a file of its own."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkstop.model import Outcome
from bulkstop.runs.options import CAN_BE_RETRIED, format_outcomes
from tests.cli.conftest import Here, MakeList
from tests.cli.test_report import Report, path, report, value
from tests.processes import COMMAND, WAIT_S, Ended, Simulated, bulkstop, bulkstop_to, environment, shell
from tests.runs.stop.test_journal import killed, run, until

__all__ = ["path", "report"]  # fixtures


class TestLatest:
    """The latest line of each row."""

    def test_file(self, report: Report, path: Path) -> None:
        """The file has each row once, in the format of its name, private to the user; the results are unchanged."""
        run(path, outcome_of=until(3))
        run(path)
        before = path.read_bytes()
        told = report(str(path), "--latest", "-o", "latest.jsonl")
        assert told == Ended(0, "", "5 rows, the latest line of each; written to latest.jsonl\n")
        lines = Path("latest.jsonl").read_bytes().splitlines(keepends=True)
        assert [json.loads(line)["outcome"] for line in lines] == ["stopped"] * 5
        assert set(lines) < set(before.splitlines(keepends=True))
        assert Path("latest.jsonl").stat().st_mode & 0o777 == 0o600
        assert report(str(path), "--latest", "-o", "latest.csv").code == 0
        assert value(report("latest.csv"), "rows") == "5 in 5 lines"
        assert path.read_bytes() == before

    def test_standard_output(self, report: Report, path: Path) -> None:
        """Without a file, or with -, only the lines go to standard output, in the format of the results."""
        run(path, outcome_of=until(3))
        told = report(str(path), "--latest")
        assert (told.code, told.out, told.err) == (0, path.read_text(), "")
        assert report(str(path), "--latest", "-o", "-") == told

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--latest", "--failed"), "--latest and --failed: write different files; use one at a time"),
            (("-o", "x.csv"), "-o: only works with --latest or --failed"),
            (("--latest", "-o", " "), "-o: is empty; give the path of a file, or - for standard output"),
            (("--overwrite",), "--overwrite: only works with --latest or --failed"),
            (("--retry", "not_found"), "--retry: only works with --failed; add --failed"),
            (("--failed", "--retry", "not_fond"), "--retry: 'not_fond' is not an outcome; did you mean not_found?"),
            (
                ("--failed", "--retry", "invalid"),
                "--retry: what is invalid can never be sent; correct such rows in the list, and resume; give "
                + format_outcomes(CAN_BE_RETRIED),
            ),
            (("--latest", "-o", "there.csv"), "there.csv: exists already; give --overwrite, or -o with another file"),
            (("--latest", "-o", "r.jsonl", "--overwrite"), "-o r.jsonl: is a result file; give another file"),
            (("--failed", "-o", "./r.jsonl", "--overwrite"), "-o ./r.jsonl: is a result file; give another file"),
            (("--latest", "-o", "link.jsonl", "--overwrite"), "-o link.jsonl: is a result file; give another file"),
            (("--latest", "-o", "r.jsonl.run.json", "--overwrite"), "-o r.jsonl.run.json: is a manifest; give another"),
            (
                ("--failed", "-o", "list.csv", "--overwrite"),
                "-o list.csv: is a list that r.jsonl is about; give another",
            ),
            (("--latest", "-o", "no/x.csv"), "no/x.csv: cannot be opened (No such file or directory); give -o with"),
            (("--failed", "-o", "x.txt"), "-o x.txt: the format is unknown: name it .csv, .jsonl, .ndjson"),
        ],
    )
    def test_refused(self, args: tuple[str, ...], said: str, report: Report, path: Path) -> None:
        """Options that conflict, or an output that replaces another file, are one line and exit 2."""
        run(path)
        Path("there.csv").write_text("mine")
        Path("link.jsonl").hardlink_to(path)
        before = {each.name: each.read_bytes() for each in Path().iterdir()}
        told = report(str(path), *args)
        assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
        assert told.err.startswith(f"bulkstop: {said}")
        assert {each.name: each.read_bytes() for each in Path().iterdir()} == before

    def test_unreadable(self, report: Report, path: Path) -> None:
        """If a result file cannot be read, the existing output remains, even with --overwrite."""
        path.write_text("no result\n")
        Path("latest.jsonl").write_text("old")
        told = report(str(path), "--latest", "-o", "latest.jsonl", "--overwrite")
        assert (told.code, told.err.count("\n")) == (2, 1)
        assert "r.jsonl line 1: is not a result line" in told.err
        assert Path("latest.jsonl").read_text() == "old"
        assert report("gone.jsonl", "--latest", "-o", "x.jsonl").code == 2
        assert sorted(each.name for each in Path().iterdir()) == ["latest.jsonl", "list.csv", "r.jsonl"]

    def test_not_proven(self, report: Report, path: Path) -> None:
        """With --check nothing is written for an unproven file."""
        run(path)
        assert report(str(path), "--latest", "--check", "-o", "x.jsonl").code == 0
        path.write_bytes(path.read_bytes().replace(b"stopped", b"unknown", 1))
        told = report(str(path), "--failed", "--check", "-o", "y.csv")
        assert (told.code, told.out) == (1, "")
        assert "FAILED: lines 1 to 5 are not as they were written" in told.err
        assert not Path("y.csv").exists()

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize(
        ("target", "rest"), [("x.jsonl", "; nothing was written"), ("-", " before all was written")]
    )
    def test_ended(
        self, signum: int, target: str, rest: str, report: Report, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal while writing leaves no file, and the exit code names the signal."""
        run(path)

        def write(*_: object, **__: object) -> Iterator[bytes]:
            yield b"{}\n" * 9999
            os.kill(os.getpid(), signum)
            yield b""

        monkeypatch.setattr("bulkstop.cli.report.write_latest", write)
        before = set(Path().iterdir()), signal.getsignal(signum)
        told = report(str(path), "--latest", "-o", target)
        said = f"NOT COMPLETE: ended by {signal.Signals(signum).name}{rest}\n"
        assert (told.code, told.err) == (128 + signum, said)
        assert (set(Path().iterdir()), signal.getsignal(signum)) == before


class TestFailed:
    """The rows to send again, as a list."""

    def test_list(self, report: Report, path: Path) -> None:
        """The list has rows that were not sent or are worth a retry; omitted rows and the reason are reported."""
        outcomes = [Outcome.STOPPED, Outcome.TIMEOUT, Outcome.NOT_FOUND, Outcome.NOT_SENT, Outcome.UNKNOWN]
        run(path, outcome_of=lambda campaign: outcomes[campaign.line - 2])
        told = report(str(path), "--failed", "-o", "again.csv")
        assert (told.code, told.out) == (0, "")
        assert told.err.splitlines()[:2] == [
            "3 rows to send again (1 timeout, 1 unknown, 1 not_sent); written to again.csv",
            "left out: 1 not_found, because another attempt alone changes nothing; --retry not_found includes them",
        ]
        header, *rows = Path("again.csv").read_text().splitlines()
        assert header.startswith("campaign_id,campaign_type,account_id,stream_id,iid,priority,name")
        assert len(rows) == 3
        more = report(str(path), "--failed", "--retry", "not_found", "-o", "more.jsonl")
        assert more.err.startswith("4 rows to send again (1 not_found, 1 timeout, ")
        assert len(Path("more.jsonl").read_text().splitlines()) == 4

    @pytest.mark.real
    @pytest.mark.parametrize("change", ["none", "more", "other", "gone"])
    def test_what_only_the_list_has(self, change: str, here: Here, tmp_path: Path) -> None:
        """Rows keep all values of the run's list, if that is unchanged; otherwise the message says what is missing."""
        rows = ["cd-1,app-1,5,Promo,Ann", "cd-2,,1,,Bob", "cd-3,app-3,,,"]
        source = tmp_path / "list.csv"
        source.write_text("\n".join(["id,iid,priority,name,owner", *rows, ""]))
        where = ("--host", "http://127.0.0.1:9", "--account-id", "a1", "--stream-id", "st-1", "--type", "sms")
        assert here("stop", "list.csv", *where, "--attempts", "1", "--max-failures", "1", "--yes").code == 3
        match change:
            case "more":
                source.write_text(f"{source.read_text()}cd-4,,,,\n")
            case "other":
                source.write_text(source.read_text().replace("cd-2", "cd-9"))
            case "gone":
                source.rename(tmp_path / "moved.csv")
        told = here("report", "list.csv.results.jsonl", "--failed", "-o", "again.csv")
        header, *found = (tmp_path / "again.csv").read_text().splitlines()
        assert header == "campaign_id,campaign_type,account_id,stream_id,iid,priority,name,owner"
        ids = "sms,a1,st-1"
        if change in ("none", "more"):
            assert found == [f"cd-1,{ids},app-1,5,Promo,Ann", f"cd-2,{ids},st-1,1,,Bob", f"cd-3,{ids},app-3,,,"]
            assert "note: " not in told.err
        else:
            assert sorted(found) == [f"cd-1,{ids},,,,Ann", f"cd-2,{ids},,,,Bob", f"cd-3,{ids},,,,"]
            assert "note: list.csv.results.jsonl: the list is gone or changed, so" in told.err

    def test_nothing(self, report: Report, path: Path) -> None:
        """If all is done, the list is empty, and no command is suggested."""
        run(path)
        told = report(str(path), "--failed", "-o", "again.csv")
        assert told == Ended(0, "", "no row has to be sent again; the list is empty; written to again.csv\n")

    @pytest.mark.real
    def test_rows_without_a_line(self, report: Report, path: Path) -> None:
        """Rows that a killed run left without a line are in no list, and the message says so."""
        killed(path, 2, 1)
        told = report(str(path), "--failed", "-o", "again.csv")
        assert "NOT IN THE LIST: r.jsonl: 2 rows of its list have no line yet, because its run was killed " in told.err

    def test_without_a_manifest(self, report: Report, path: Path) -> None:
        """If the command of the run is unknown, the message says what the suggested one lacks."""
        run(path, outcome_of=until(3))
        Path("r.jsonl.run.json").unlink()
        told = report(str(path), "--failed", "-o", "-again.csv")
        way = "To stop them, with the --profile or --host of the run, because no manifest says which: "
        assert told.err.splitlines()[-1].startswith(way)
        assert told.err.endswith(" stop ./-again.csv --expect 3\n")

    @pytest.mark.real
    def test_command(self, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """The suggested command stops the list, with the profile of the run."""
        make_list(3)
        (tmp_path / "bulkstop.toml").write_text(f'[profile.prod]\nhost = "{sim.url}"\niid = "app-1"\n')
        assert here("stop", "campaigns.csv", "--profile", "prod", "--yes", "-o", "r.csv").code == 0
        results = tmp_path / "r.csv"
        results.write_bytes(results.read_bytes().replace(b",stopped,", b",timeout,", 2))
        told = here("report", "r.csv", "--failed", "-o", "what is left.csv")
        (command,) = re.findall(r"^To stop them: (.*)$", told.err, re.MULTILINE)
        words = shlex.split(command)[shlex.split(command).index("stop") :]
        assert words == ["stop", "what is left.csv", "--profile", "prod", "--expect", "2"]
        ended = here(*words)
        assert (ended.code, ended.err.splitlines()[-1]) == (0, "DONE: all 2 stopped")

    @pytest.mark.real
    def test_host_of_the_environment(
        self, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run whose host came from a variable continues at that host, even from another folder."""
        make_list(3)
        run_of_it = here("stop", "campaigns.csv", "--max-failures", "9", "--yes", variables={"BULKSTOP_HOST": sim.url})
        assert run_of_it.code == 0
        path = tmp_path / "campaigns.csv.results.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"outcome":"stopped"', b'"outcome":"timeout"', 2))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        told = here("report", "../campaigns.csv.results.jsonl", "--failed", "-o", "again.csv")
        (command,) = re.findall(r"^To stop them: (.*)$", told.err, re.MULTILINE)
        folder, stop = command.split(" && ")
        assert shlex.split(folder) == ["cd", str(tmp_path)]
        again = str(tmp_path / "elsewhere" / "again.csv")
        words = shlex.split(stop)[shlex.split(stop).index("stop") :]
        assert words == ["stop", again, "--max-failures", "9", "--host", sim.url, "--expect", "2"]
        monkeypatch.chdir(tmp_path)
        ended = here(*words, variables={"BULKSTOP_HOST": None})
        assert (ended.code, ended.err.splitlines()[-1]) == (0, "DONE: all 2 stopped")


@pytest.mark.real
class TestAsProcess:
    """The destinations of the output, with real processes and files."""

    def test_reader_that_goes(self, path: Path, tmp_path: Path) -> None:
        """`--latest | head -1` prints its line, and nothing on standard error."""
        run(path)
        told = shell("for each in latest failed; do bulkstop report r.jsonl --$each | head -1; done", cwd=tmp_path)
        first, header = told.out.splitlines()
        assert (json.loads(first)["outcome"], header.split(",")[0]) == ("stopped", "campaign_id")
        assert "roken" not in told.err

    def test_full_disk(self, path: Path, tmp_path: Path) -> None:
        """An output that cannot be written is exit code 3 and one line."""
        run(path)
        full = "cannot be written (No space left on device)"
        told = bulkstop("report", "r.jsonl", "--latest", "-o", "/dev/full", cwd=tmp_path)
        assert (told.code, told.err) == (3, f"bulkstop: /dev/full: {full}\n")
        with open("/dev/full", "w") as device:  # noqa: PTH123 - a device
            told = bulkstop_to(device.fileno(), "report", "r.jsonl", "--failed", cwd=tmp_path)
        assert (told.code, told.err) == (3, f"bulkstop: standard output: {full}\n")

    def test_into_the_results(self, path: Path, tmp_path: Path) -> None:
        """Standard output into the result file is refused, because its lines would be in it twice."""
        run(path)
        before = path.read_bytes()
        with path.open("ab") as file:
            told = bulkstop_to(file.fileno(), "report", "r.jsonl", "--latest", cwd=tmp_path)
        assert told.code == 2
        assert "standard output goes to a result file that is read" in told.err
        assert path.read_bytes() == before

    def test_terminal_that_is_closed(self, path: Path, tmp_path: Path) -> None:
        """A terminal that is closed before the message changes neither the file nor the exit code."""
        run(path, outcome_of=until(3))
        ours, theirs = pty.openpty()
        os.close(ours)
        command = [*COMMAND, "report", "r.jsonl", "--failed", "-o", "again.csv"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=theirs, stderr=theirs, timeout=WAIT_S, check=False
        )
        os.close(theirs)
        assert done.returncode == 0
        assert len((tmp_path / "again.csv").read_text().splitlines()) == 4
