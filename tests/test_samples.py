"""The samples work as they stand: lists, profile, demo, and the end of the day with cron, systemd and Kubernetes."""

import itertools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bulkstop.settings import OPTION_SPECS, key_of
from bulkstop.settings.load import WAYS_TO_A_TOKEN
from tests.processes import ROOT, TOKEN, WAIT_S, Simulated, bulkstop, environment, results, simulator, with_command

pytestmark = pytest.mark.real

SAMPLES = ROOT / "samples"
END_OF_DAY = SAMPLES / "end-of-day"
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
    assert set(profiles) == {"prod", "sandbox"}
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
        """Start the demo in the environment of somebody who has set up bulkstop for real use."""
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
        """Each command that it names in the end works as it stands; `make install` has tests of its own."""
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
        """Whatever ends it, its simulator ends too."""
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
        """Make sure that nobody listens where the simulator did, and that its folder is gone."""
        found = re.search(r"--host (\S+)", said)
        assert found is not None
        url = urlsplit(found[1])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname or "", url.port or 0))
        assert list((here.parent / "tmp").iterdir()) == []


def cron_line() -> str:
    """Return the command of the crontab as the shell gets it."""
    (line,) = (line for line in (END_OF_DAY / "crontab").read_text().splitlines() if re.match(r"[\d*]", line))
    *times, command = line.split(None, 5)
    assert len(times) == 5
    assert not re.search(r"(?<!\\)%", command), "cron reads % as the end of the line"
    return command.replace("\\%", "%")


def unit(name: str) -> dict[str, list[str]]:
    """Read a systemd unit: every key with its values, whatever its section."""
    found: dict[str, list[str]] = {}
    for line in (END_OF_DAY / name).read_text().splitlines():
        if match := re.match(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def systemd_line() -> str:
    """Return the command of the service as the shell gets it, its specifiers filled in as systemd does."""
    (line,) = unit("bulkstop.service")["ExecStart"]
    shell, option, script = shlex.split(line)
    assert (shell, option) == ("/bin/sh", "-c")
    filled = {"%%": "%", "$$": "$", "%d": "/run/credentials/bulkstop.service", "%S": "/var/lib"}
    return re.sub(r"%.|\$\$", lambda found: filled[found[0]], script)


def cron_job() -> dict[str, Any]:
    """Read the CronJob."""
    job, claim = yaml.safe_load_all((END_OF_DAY / "cronjob.yaml").read_text())
    assert (job["kind"], claim["kind"]) == ("CronJob", "PersistentVolumeClaim")
    return dict(job)


def kubernetes_line() -> str:
    """Return the command of the CronJob, as a shell would take it."""
    (container,) = cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    shell, option, script = container["command"]
    assert (shell, option) == ("/bin/sh", "-c")
    return str(script).replace("$$(", "$(")


# The folders of each sample, and what they are called in the test.
CASES = {
    "cron": (cron_line, {"/srv/bulkstop": "config", "/opt/bulkstop/bin": "bin"}),
    "systemd": (
        systemd_line,
        {
            "/opt/bulkstop/bin": "bin",
            "/run/credentials/bulkstop.service": "config",
            "/var/lib/bulkstop": "config/results",
        },
    ),
    "kubernetes": (kubernetes_line, {"/run/secrets/bulkstop": "config", "/results": "config/results"}),
}


class TestEndOfDay:
    """What runs unattended runs: the command lines, as cron, systemd and Kubernetes would run them."""

    @pytest.fixture
    def sim(self, tmp_path: Path) -> Iterator[Simulated]:
        """Hold a simulator open."""
        with simulator(tmp_path) as found:
            yield found

    @pytest.mark.parametrize("name", CASES)
    def test_command(self, name: str, sim: Simulated, tmp_path: Path) -> None:
        """The command stops the list with the token of its file, writes its result file, and asks nobody."""
        give_line, folders = CASES[name]
        line = give_line()
        path = with_command(tmp_path / "bin")
        config = tmp_path / "config"
        (config / "results").mkdir(parents=True)
        for sample in ("campaigns.csv", "bulkstop.toml"):
            shutil.copy(SAMPLES / sample, config)
        (config / "token").write_text(TOKEN)
        (config / "token").chmod(0o600)
        for folder, here in folders.items():
            assert folder in line
            line = re.sub(f"(?<![\\w.]){folder}", str(tmp_path / here), line)
        variables = environment(PATH=path, BULKSTOP_HOST=sim.url, BULKSTOP_TOKEN=None)
        for code in (0, 2):  # the second run on the same day finds the result file there
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=config,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=WAIT_S,
            )
            assert done.returncode == code, done.stderr
            assert done.stdout == ""
            assert code or "warning" not in done.stderr, "a job of every night would be looked at every night"
            assert code or "--quiet" not in line or not done.stderr
        assert "exists already" in done.stderr
        (written,) = (config / "results").glob("*.jsonl")
        assert [line["outcome"] for line in results(written)] == ["stopped"] * 24
        assert len(sim.requests()) == 24

    @pytest.mark.parametrize("name", CASES)
    def test_a_file_a_day(self, name: str) -> None:
        """The result file has the day in its name, and nothing goes on with the one of yesterday."""
        line = CASES[name][0]()
        assert "$(date +%F).jsonl" in line
        assert not re.search(r"--(resume|retry|overwrite)", line)

    @pytest.mark.parametrize("name", CASES)
    def test_options(self, name: str) -> None:
        """It is told how many campaigns to expect, and takes the token from a file."""
        words = re.split(r"[ =]", CASES[name][0]())
        assert re.fullmatch(r"\d+\.\.\d+", words[words.index("--expect") + 1])
        assert [knob for knob in WAYS_TO_A_TOKEN if OPTION_SPECS[knob].option(knob) in words] == ["token_file"]
        assert "--yes" not in words

    def test_timer(self) -> None:
        """The timer names its zone and makes up for a time that was missed."""
        timer = unit("bulkstop.timer")
        assert timer["OnCalendar"] == ["Mon..Fri 17:55:00 Europe/Berlin"]
        assert timer["Persistent"] == ["true"]
        assert unit("bulkstop.service")["LoadCredential"] == ["token:/etc/bulkstop/token"]

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
    def test_units(self) -> None:
        """Nothing is wrong with the units as systemd sees them, and the service is well shut in."""
        for check in (
            ["verify", "bulkstop.timer"],
            ["security", "--offline=true", "--threshold=20", "bulkstop.service"],
        ):
            command = ["systemd-analyze", check[0], *check[1:-1], str(END_OF_DAY / check[-1])]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stderr == ""

    def test_cron_job(self) -> None:
        """The CronJob names its zone, never runs twice at a time, is never repeated by itself, and may drain."""
        spec = cron_job()["spec"]
        job = spec["jobTemplate"]["spec"]
        pod = job["template"]["spec"]
        assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Europe/Berlin", "Forbid")
        assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
        (container,) = pod["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
        words = shlex.split(kubernetes_line().replace("$(date +%F)", "2025-12-05"))
        options = dict(itertools.pairwise(words))
        assert options["--token-file"].startswith(mounted["token"])
        assert options["--output"].startswith(mounted["results"])
        assert pod["terminationGracePeriodSeconds"] > OPTION_SPECS["grace_s"].read(options["--grace"])

    def test_grace(self) -> None:
        """The service, too, has longer than `--grace` before it is killed."""
        service = unit("bulkstop.service")
        found = re.search(r"--grace (\S+)", systemd_line())
        assert found is not None
        read = OPTION_SPECS["grace_s"].read
        assert read(service["TimeoutStopSec"][0]) > read(found[1])
