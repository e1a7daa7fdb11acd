"""`bulkstop stop` for a user: a process with options, variables, files, pipes, signals and a terminal."""

import csv
import hashlib
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkstop.report.stop.formats import COLUMNS
from tests.cli.conftest import Here, MakeList
from tests.processes import (
    COMMAND,
    TOKEN,
    WAIT_S,
    Ended,
    Simulated,
    apart,
    bulkstop,
    checked,
    ended,
    environment,
    results,
    simulator,
    started,
)

pytestmark = pytest.mark.real

LINE = "campaigns.csv.results.jsonl"


def stop(sim: Simulated, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Stop `campaigns.csv` at the simulator."""
    return bulkstop("stop", "campaigns.csv", "--host", sim.url, *args, cwd=cwd, **variables)


def arrived(sim: Simulated, ids: list[str]) -> list[str]:
    """Return the campaigns that the simulator was asked to stop, once per request."""
    return [campaign_id for campaign_id in sim.ids() if campaign_id in ids]


class TestARun:
    """A run from the plan to the summary."""

    def test_everything_stopped(self, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """All stopped is exit 0; the plan comes first, the summary last, and standard output stays empty."""
        run = stop(sim, "--yes", cwd=tmp_path)
        assert (run.code, run.out) == (0, "")
        assert run.err.startswith("Plan\n")
        assert "to stop   3 (3 voice)" in run.err
        assert "rows = lines  3 = 3" in run.err
        both = (tmp_path / LINE).read_bytes() + (tmp_path / f"{LINE}.run.json").read_bytes()
        digest = hashlib.sha256(both).hexdigest()
        assert run.err.endswith(f"Results: {LINE}\nSHA-256: {digest}\nDONE: all 3 stopped\n")
        assert sorted(arrived(sim, three)) == sorted(three)

    def test_result_file(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """The result file is named after the first input, has the documented keys in order, and is private."""
        here.stop(sim, "--yes")
        lines = results(tmp_path / LINE)
        assert [tuple(line) for line in lines] == [COLUMNS] * 3
        assert {line["campaign_id"] for line in lines} == set(three)
        assert {line["outcome"] for line in lines} == {"stopped"}
        assert stat.S_IMODE((tmp_path / LINE).stat().st_mode) == 0o600
        assert TOKEN not in (tmp_path / LINE).read_text()

    def test_duplicates_alone(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """A duplicate has a line, is not sent, and is no failure."""
        rows = (tmp_path / "campaigns.csv").read_text()
        (tmp_path / "campaigns.csv").write_text(rows + rows.splitlines()[1] + "\n")
        assert here.stop(sim, "--yes").code == 0
        assert len(results(tmp_path / LINE)) == 4
        assert sorted(arrived(sim, three)) == sorted(three)

    def test_results_as_input(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """A result file is an input: its campaigns can be stopped again."""
        here.stop(sim, "--yes")
        run = here("stop", LINE, "--host", sim.url, "--expect", "3")
        assert run.code == 0
        assert {line["outcome"] for line in results(tmp_path / f"{LINE}.results.jsonl")} == {"already_stopped"}
        assert sorted(arrived(sim, three)) == sorted([*three, *three])

    def test_standard_input(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`-` reads standard input in the format of `--format`, repeatedly in the same folder."""
        args = ("--format", "txt", "--type", "voice", "--account-id", "a", "--stream-id", "st", "--expect", "3")
        ids = "".join(f"{campaign_id}\n" for campaign_id in three)
        for _ in range(2):
            assert here("stop", "-", "--host", sim.url, *args, stdin=ids).code == 0
        paths = sorted(tmp_path.glob("stdin-????-??-??-??????*.results.jsonl"))
        assert [[line["source"] for line in results(path)] for path in paths] == [["-"] * 3] * 2

    @pytest.mark.parametrize("option", ["--resume", "--retry-failed", "--trust-results", "--retry=not_found"])
    def test_standard_input_gone_on_with(self, option: str, here: Here, tmp_path: Path) -> None:
        """Results of a pipe have another name each time, so that a run that continues must name them."""
        run = here("stop", "-", "--host", "api.example", "--format", "txt", option)
        assert run.code == 2
        assert run.err.startswith(
            f"bulkstop: {option.partition('=')[0]}: the result file of standard input has the date and"
        )
        assert "give -o FILE with the file to go on with" in run.err or "--output FILE" in run.err
        assert list(tmp_path.iterdir()) == []

    def test_quiet(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`--quiet` says nothing when all went well, and the summary when something failed."""
        assert here.stop(sim, "--yes", "--quiet") == Ended(0, "", "")
        with (tmp_path / "campaigns.csv").open("a") as file:
            file.write("..,voice,a,st\n")
        run = here.stop(sim, "--yes", "--quiet", "--overwrite")
        assert run.code == 1
        assert run.err.startswith("Summary\n")


class TestBeforeSending:
    """What a careful user does first."""

    def test_dry_run(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`--dry-run` shows the plan, sends nothing and writes nothing."""
        run = here.stop(sim, "--dry-run")
        assert run.code == 0
        assert "to stop   3 (3 voice)" in run.err
        assert run.err.endswith("Dry run: nothing was sent.\n")
        assert arrived(sim, three) == []
        assert [path.name for path in tmp_path.iterdir()] == ["campaigns.csv"]

    @pytest.mark.parametrize("given", ["3", "1..3"])
    def test_expected_number(self, here: Here, given: str, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`--expect` with the right number needs no confirmation."""
        assert here.stop(sim, "--quiet", "--expect", given).code == 0
        assert sorted(arrived(sim, three)) == sorted(three)

    def test_long_list(self, here: Here, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """The plan has the least duration of a list under the quota: 1,000 campaigns take 16 min."""
        make_list(1000)
        assert "at least 16 min" in here.stop(sim, "--dry-run", "--quota-store", "memory", BULKSTOP_QUOTA=None).err


class TestSettings:
    """The option overrides the variable, which overrides the profile, then the default."""

    def test_order(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """The plan shows each level once the level above it is removed."""
        config = tmp_path / "my.toml"
        config.write_text(f'[profile.default]\nhost = "{sim.url}"\nquota = "30/60s"\n')
        base, variable = ["--dry-run", "--config", "my.toml"], {"BULKSTOP_QUOTA": "20/60s"}

        def quota(*args: str, **variables: str) -> str:
            run = here("stop", "campaigns.csv", *base, *args, variables={"BULKSTOP_QUOTA": None, **variables})
            return next(line.split()[1] for line in run.err.splitlines() if line.startswith("  quota"))

        assert quota("--quota", "10/60s", **variable) == "10/60s"
        assert quota(**variable) == "20/60s"
        assert quota() == "30/60s"
        config.write_text(f'[profile.default]\nhost = "{sim.url}"\n')
        assert quota() == "60/60s"

    def test_variables_alone(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """Variables alone can configure a run, including its token file."""
        (tmp_path / "token").write_text(TOKEN)
        run = here(
            "stop",
            "campaigns.csv",
            "--yes",
            variables={"BULKSTOP_TOKEN": None, "BULKSTOP_TOKEN_FILE": "token", "BULKSTOP_HOST": sim.url},
        )
        assert run.code == 0
        assert sorted(arrived(sim, three)) == sorted(three)


class TestCredentials:
    """The service accepts signed tokens; bad ones are reported but never shown."""

    def test_minted(self, three: list[str], tmp_path: Path) -> None:
        """With the client id and its secret a run signs tokens that the service accepts, also single-use ones."""
        secret = {"BULKSTOP_CLIENT_ID": "cs-1", "BULKSTOP_CLIENT_SECRET": "a-secret-of-32-characters-or-more"}
        with simulator(tmp_path, "--require-jti", **secret) as strict:
            run = stop(strict, "--yes", "--jti", cwd=tmp_path, BULKSTOP_TOKEN=None, **secret)
            assert run.code == 0, run.err
            assert secret["BULKSTOP_CLIENT_SECRET"] not in run.err

    def test_refused(self, three: list[str], tmp_path: Path) -> None:
        """With a refused token, lines are `unauthorized` and not final, and the exit code is 3."""
        with simulator(tmp_path, BULKSTOP_CLIENT_SECRET="a-secret-of-32-characters-or-more") as strict:
            run = stop(strict, "--yes", cwd=tmp_path)
        assert run.code == 3
        lines = results(tmp_path / LINE)
        assert [(line["outcome"], line["finished_at"]) for line in lines] == [("unauthorized", None)] * 3
        assert TOKEN not in (tmp_path / LINE).read_text()


class TestOutput:
    """Where results go, and what happens if they cannot be written."""

    def test_overwrite(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`--overwrite` replaces a result file."""
        (tmp_path / LINE).write_text("old\n" * 100)
        assert here.stop(sim, "--yes", "--overwrite").code == 0
        assert {line["campaign_id"] for line in results(tmp_path / LINE)} == set(three)

    def test_standard_output(self, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`-o -` writes results, and nothing else, to standard output."""
        run = stop(sim, "--yes", "-o", "-", cwd=tmp_path)
        assert run.code == 0
        assert {json.loads(line)["campaign_id"] for line in run.out.splitlines()} == set(three)
        assert [path.name for path in tmp_path.iterdir()] == ["campaigns.csv"]

    def test_csv(self, here: Here, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """A file name in `.csv` gets CSV with the same columns."""
        assert here.stop(sim, "--yes", "-o", "out.csv").code == 0
        with (tmp_path / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        assert {row["campaign_id"] for row in rows} == set(three)

    @pytest.mark.full
    def test_reader_that_goes(self, make_list: MakeList, tmp_path: Path) -> None:
        """`| head -1` ends the run without a traceback; unwritten results are on standard error."""
        make_list(400)
        with simulator(tmp_path, "--latency", "50") as slow:
            options = ("--yes", "-o", "-", "--quota", "none", "--concurrency", "2")
            process = started("stop", "campaigns.csv", "--host", slow.url, *options, cwd=tmp_path)
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            process.stdout.close()
            process.stdout = None
            run = ended(process)
        assert run.code == 3
        assert "standard output: cannot write results (Broken pipe); sending stops" in run.err
        told = [json.loads(line)["campaign_id"] for line in run.err.splitlines() if line.startswith("{")]
        assert told
        assert len({*told, first["campaign_id"]}) == len(told) + 1
        assert {*told, first["campaign_id"]} <= set(slow.ids())

    def test_full_disk(self, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """Unwritable results end the run with exit 3, and every stop that was made is reported."""
        run = stop(sim, "--yes", "-o", "/dev/full", cwd=tmp_path)
        assert run.code == 3
        told = [json.loads(line)["campaign_id"] for line in run.err.splitlines() if line.startswith("{")]
        assert sorted(told) == sorted(arrived(sim, three))
        assert "cannot write results" in run.err

    @pytest.mark.full
    @pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
    def test_closed_streams(self, closed: str, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """A run works with closed standard streams, and its file contains only results."""
        code, _ = self.shell(f"stop campaigns.csv --yes --host {sim.url} {closed}", tmp_path)
        assert code == 0
        assert {line["campaign_id"] for line in results(tmp_path / LINE)} == set(three)

    def test_results_to_closed_output(self, sim: Simulated, three: list[str], tmp_path: Path) -> None:
        """`-o -` with standard output closed is refused, before results could be lost."""
        code, err = self.shell(f"stop campaigns.csv --yes --host {sim.url} -o - >&-", tmp_path)
        assert (code, err) == (2, "bulkstop: -o -: standard output is closed; nothing was sent\n")
        assert arrived(sim, three) == []

    def shell(self, line: str, cwd: Path) -> tuple[int, str]:
        """Run the command in a shell, with what the shell does to its streams."""
        command = subprocess.list2cmdline(COMMAND)
        done = subprocess.run(
            ["sh", "-c", f"{command} {line}"],
            cwd=cwd,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        return done.returncode, checked(Ended(done.returncode, "", done.stderr)).err


class TestSignals:
    """The first signal drains, the second aborts; every row has its line."""

    @pytest.mark.parametrize(
        ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda each: each
    )
    def test_drain(self, signum: signal.Signals, code: int, make_list: MakeList, tmp_path: Path) -> None:
        """After a signal no further call is sent; those in flight finish, and the rest is `not_sent`."""
        make_list(400)
        with simulator(tmp_path, "--latency", "50") as slow:
            options = ("--yes", "-o", "-", "--quota", "none", "--concurrency", "2")
            process = started("stop", "campaigns.csv", "--host", slow.url, *options, cwd=tmp_path)
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signum)
            # The same reader, because it may have a second line already, which communicate() would not see.
            rest = process.stdout.read()
            run = ended(process)
            assert run.code == code
            assert f"by {signum.name}, before all were sent" in run.err
            lines = [json.loads(line) for line in [first, *rest.splitlines()]]
            sent = [line["campaign_id"] for line in lines if line["outcome"] == "stopped"]
            assert {line["outcome"] for line in lines} == {"stopped", "not_sent"}
            assert len({line["campaign_id"] for line in lines}) == len(lines) == 400
            assert sorted(sent) == sorted(slow.ids())

    def test_hang_up_with_results_on_it(self, make_list: MakeList, tmp_path: Path) -> None:
        """A terminal that is closed while it shows the results ends the run by SIGHUP, without a fault."""
        make_list(400)
        with simulator(tmp_path, "--latency", "20") as slow:
            pid, terminal = pty.fork()
            if pid == 0:
                os.chdir(tmp_path)
                options = ("--yes", "-o", "-", "--quota", "none", "--concurrency", "2", "--host", slow.url)
                os.execve(sys.executable, [*COMMAND, "stop", "campaigns.csv", *options], environment())
            seen = b""
            while b'"outcome"' not in seen:
                seen += os.read(terminal, 65536)
            os.close(terminal)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129

    def test_abort(self, three: list[str], tmp_path: Path) -> None:
        """A second Ctrl-C aborts the calls in flight: their campaigns are `unknown`, later ones `not_sent`."""
        with self.held_run(tmp_path, "--concurrency", "2", hold=2) as process:
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = next(line for line in process.stderr if line.startswith("ending"))
            assert "2 calls in flight" in said
            process.send_signal(signal.SIGINT)
            run = ended(process)
        assert run.code == 130
        lines = results(tmp_path / LINE)
        assert sorted(line["outcome"] for line in lines) == ["not_sent", "unknown", "unknown"]
        assert {line["campaign_id"] for line in lines} == set(three)

    @staticmethod
    def held_run(cwd: Path, *options: str, hold: int) -> "HeldRun":
        """Start a run at a server that takes `hold` calls and answers none."""
        return HeldRun(cwd, options, hold)


class HeldRun:
    """A run with calls in flight that are never answered."""

    def __init__(self, cwd: Path, options: tuple[str, ...], hold: int) -> None:
        self._cwd, self._options, self._hold = cwd, options, hold
        self._open = ExitStack()

    def __enter__(self) -> "subprocess.Popen[str]":
        """Start it and wait until the calls have arrived."""
        with ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.settimeout(WAIT_S)
            host = f"http://127.0.0.1:{server.getsockname()[1]}"
            apart(self._cwd / "campaigns.csv")
            process = started("stop", "campaigns.csv", "--yes", "--host", host, *self._options, cwd=self._cwd)
            stack.callback(process.kill)
            for _ in range(self._hold):
                connection = stack.enter_context(server.accept()[0])
                assert connection.recv(65536).startswith(b"POST ")
            self._open = stack.pop_all()
        return process

    def __exit__(self, *_: object) -> None:
        """Close the calls."""
        self._open.close()


class TestFirstTry:
    """A newcomer's first mistakes, which leave no files."""

    def test_two_signals_at_once(self, tmp_path: Path, make_list: MakeList) -> None:
        """A second signal while the run ends does not kill it: it reports how it ended, with its exit code."""
        make_list(20)
        with simulator(tmp_path) as sim:
            process = started(
                "stop", "campaigns.csv", "--host", sim.url, "--yes", "--quota", "1/30s", "-o", "-", cwd=tmp_path
            )
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(3):
                process.send_signal(signal.SIGTERM)
            run = ended(process)
        assert run.code == 143
        assert "rows = lines" in run.err
