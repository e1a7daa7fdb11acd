"""The samples work unchanged: lists, profile and demo."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bulkstop.settings import OPTION_SPECS, key_of
from tests.processes import ROOT, WAIT_S, bulkstop, environment, results, with_command

pytestmark = pytest.mark.real

SAMPLES = ROOT / "samples"
LISTS = sorted([*SAMPLES.glob("*.csv"), *(SAMPLES / "inputs").iterdir()])
DEFAULTS = ("--type", "voice", "--account-id", "a", "--stream-id", "st-1")


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_list(path: Path, tmp_path: Path) -> None:
    """Every sample list is read to its end, and all its rows but the two bad ones can be sent."""
    run = bulkstop("stop", str(path), "--dry-run", "--host", "api.example", *DEFAULTS, cwd=tmp_path)
    assert run.code == 0
    found = re.search(r"to stop   (\d+) .*\n  not sent  (.*)\n", run.err)
    assert found is not None
    assert int(found[1]) >= 5
    assert found[2] == ("1 invalid, 1 duplicate" if path.name == "with-problems.csv" else "0")


def test_there_are_lists() -> None:
    """Every form of input has a sample."""
    assert {".csv", ".jsonl", ".ndjson", ".txt", ".gz"} <= {path.suffix for path in LISTS}


def test_main_sample_is_mixed(tmp_path: Path) -> None:
    """The sample that the demo stops has both types of campaign and more than one account."""
    run = bulkstop("stop", str(SAMPLES / "campaigns.csv"), "--dry-run", "--host", "api.example", cwd=tmp_path)
    assert re.search(r"  to stop   24 \(\d+ voice, \d+ sms\)\n", run.err)
    assert len(re.findall(r"^  account   \w+: \d+ to stop; 60 calls free now; ", run.err, re.MULTILINE)) == 2


def test_profiles(tmp_path: Path) -> None:
    """Every profile of the sample can be used."""
    profiles = tomllib.loads((SAMPLES / "bulkstop.toml").read_text())["profile"]
    assert set(profiles) == {"prod", "practice"}
    for name, profile in profiles.items():
        assert set(profile) <= {key_of(knob) for knob in OPTION_SPECS}
        options = ("--config", str(SAMPLES / "bulkstop.toml"), "--profile", name, "--dry-run")
        run = bulkstop("stop", str(SAMPLES / "campaigns.csv"), *options, cwd=tmp_path)
        assert run.code == 0, run.err


@pytest.mark.full
class TestDemo:
    """samples/demo.sh, which `make demo` runs."""

    @pytest.fixture
    def here(self, tmp_path: Path) -> Path:
        """Make a checkout with samples alone."""
        shutil.copytree(SAMPLES, tmp_path / "checkout" / "samples")
        return tmp_path / "checkout"

    def demo(self, here: Path, **variables: str) -> "subprocess.Popen[str]":
        """Start the demo in the environment of a user who has configured bulkstop for real use."""
        (here.parent / "tmp").mkdir(exist_ok=True)
        own = {"BULKSTOP_HOST": "https://api.example", "BULKSTOP_TOKEN_FILE": "token", "BULKSTOP_QUOTA": "1/1h"}
        return subprocess.Popen(
            ["sh", "samples/demo.sh"],
            cwd=here,
            env=environment(TMPDIR=str(here.parent / "tmp"), **own, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def test_twice(self, here: Path) -> None:
        """It shows plan, progress and summary, leaves a result file, exits 0, and does so again."""
        path = with_command(here.parent / "bin")
        for _ in range(2):
            process = self.demo(here, PATH=path)
            said, _ = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, said
            assert [word for word in said.split() if word in ("Plan", "Summary")] == ["Plan", "Summary"]
            assert re.search(r"\d+/24  0 failed  ", said)
            assert len(results(here / "demo.results.jsonl")) == 24
            self.is_gone(here, said)

    def test_what_to_try_next(self, here: Path) -> None:
        """Each command that the demo suggests works unchanged; `make install` has its own tests."""
        path = with_command(here.parent / "bin")
        said = self.demo(here, PATH=path).communicate(timeout=WAIT_S)[0]
        commands = re.findall(
            r"^  ((?:make|bulkstop)(?: \S+)+)(?:  |$)", said.partition("What to try next")[2], re.MULTILINE
        )
        assert (commands[0], len(commands)) == ("make install", 4)
        for command in commands[1:]:
            forever = f"{command} > address & while ! grep -q http address; do sleep 0.05; done; kill $!; wait $!"
            script = forever if command.startswith("bulkstop simulate") else command
            done = subprocess.run(
                ["sh", "-c", script],
                cwd=here,
                env=environment(PATH=path),
                capture_output=True,
                check=False,
                timeout=WAIT_S,
            )
            assert done.returncode == 0, (command, done.stderr)

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_cut_short(self, signum: signal.Signals, here: Path) -> None:
        """However it ends, its simulator ends too."""
        process = self.demo(here, PATH=with_command(here.parent / "bin"))
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signum)
        said += process.communicate(timeout=WAIT_S)[0]
        assert process.returncode == 128 + signum
        self.is_gone(here, said)

    def test_reader_that_goes(self, here: Path) -> None:
        """`make demo | head -1` leaves no simulator behind either."""
        process = self.demo(here, PATH=with_command(here.parent / "bin"))
        assert process.stdout is not None
        said = process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) != 0
        self.is_gone(here, said)

    def test_no_simulator(self, here: Path) -> None:
        """If the simulator does not start it says why, fails, and leaves nothing behind."""
        folder = here.parent / "broken"
        folder.mkdir()
        (folder / "bulkstop").write_text("#!/bin/sh\necho no such thing >&2\nexit 9\n")
        (folder / "bulkstop").chmod(0o755)
        process = self.demo(here, PATH=f"{folder}:{os.environ['PATH']}")
        said = process.communicate(timeout=WAIT_S)[0]
        assert process.returncode == 1
        assert said == "demo: the simulator did not start\nno such thing\n"
        assert list((here.parent / "tmp").iterdir()) == []

    def is_gone(self, here: Path, said: str) -> None:
        """Check that the simulator's port is closed, and that its folder is gone."""
        found = re.search(r"--host (\S+)", said)
        assert found is not None
        url = urlsplit(found[1])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname or "", url.port or 0))
        assert list((here.parent / "tmp").iterdir()) == []
