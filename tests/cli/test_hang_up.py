"""The records of a run that a signal ended name the signal."""

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Here, MakeList
from tests.processes import COMMAND, WAIT_S, ended, environment, simulator, started

pytestmark = pytest.mark.real


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["check", "token"])
def test_what_only_asks(command: str, signum: signal.Signals, tmp_path: Path) -> None:
    """A signal ends a waiting command with one line that names the signal."""
    os.mkfifo(tmp_path / "pipe")
    where = ("--host", "http://127.0.0.1:9", "--account-id", "a1", "--stream-id", "st-1") if command == "check" else ()
    waits = ("--token-command", f"echo >> {tmp_path}/pipe; exec sleep 60")
    process = started(command, *where, *waits, cwd=tmp_path, BULKSTOP_TOKEN=None)
    (tmp_path / "pipe").read_text()
    process.send_signal(signum)
    run = ended(process)
    said = "nothing was stopped" if command == "check" else "no token was shown"
    assert (run.code, run.err) == (128 + signum, f"\nbulkstop: ended; {said} ({signum.name})\n")


def test_manifest_and_report(here: Here, make_list: MakeList, tmp_path: Path) -> None:
    """The manifest and `report` name SIGHUP for a run whose terminal was closed, and --check passes."""
    make_list(200)
    with simulator(tmp_path, "--latency", "50") as slow:
        options = ("--yes", "--quota", "none", "--concurrency", "2")
        process = started("stop", "campaigns.csv", "--host", slow.url, *options, cwd=tmp_path)
        while not slow.ids():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        run = ended(process)
    assert run.code == 129
    results = tmp_path / "campaigns.csv.results.jsonl"
    section = json.loads((tmp_path / f"{results.name}.run.json").read_text())["runs"][-1]
    assert (section["reason"], section["exit_code"]) == ("by SIGHUP, before all were sent", 129)
    told = here("report", results.name)
    assert ": by SIGHUP, before all were sent (exit code 129)" in told.out
    assert "every line is as it was written" in told.out


def test_closed_terminal_with_a_bar(here: Here, make_list: MakeList, tmp_path: Path) -> None:
    """A closed terminal that showed a bar ends a run as SIGHUP does, and each campaign has its line."""
    make_list(200)
    ours, theirs = pty.openpty()
    with simulator(tmp_path, "--latency", "50") as slow:
        words = ("stop", "campaigns.csv", "--host", slow.url, "--yes", "--quota", "none", "--concurrency", "2")
        process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *words],
            cwd=tmp_path,
            env=environment(TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while b"\x1b[?25l" not in shown or not slow.ids():  # the bar hides the cursor
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(WAIT_S) == 129
    results = tmp_path / "campaigns.csv.results.jsonl"
    section = json.loads((tmp_path / f"{results.name}.run.json").read_text())["runs"][-1]
    assert (section["reason"], section["exit_code"]) == ("by SIGHUP, before all were sent", 129)
    assert len(results.read_text().splitlines()) == 200
