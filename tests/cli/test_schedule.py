"""`bulkstop schedule`: faults with their lines, firings that run, and the real schedulers."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Here
from tests.processes import ROOT, TOKEN, WAIT_S, Simulated, ended, results, started, with_command

pytestmark = pytest.mark.real
PROFILE = '[profile.prod]\nhost = "{host}"\naccount_id = "a1"\nstream_id = "st-1"\nquota = ["none"]\n[schedule.eod]\n'


def is_cron_there() -> bool:
    """Return whether a cron daemon runs here already."""
    with suppress(OSError, ValueError):
        return Path(f"/proc/{int(Path('/run/crond.pid').read_text())}/comm").read_text().startswith("cron")
    return False


def write(folder: Path, host: str, *lines: str, at: datetime | None = None) -> None:
    """Write a schedule whose firing is today at a time in UTC, by default now."""
    when = at or datetime.now(UTC)
    usual = [f'at = "{when:%H:%M}"', 'tz = "UTC"', 'profile = "prod"', 'input = "campaigns.csv"', "verify = false"]
    path = folder / "bulkstop.toml"
    path.write_text(PROFILE.format(host=host) + "\n".join([*usual, *lines]) + "\n")
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('at = "25:00"', "line 11: schedule.eod.at: '25:00' is not a time of day; write it as 18:00"),
        (
            'tz = "Europe/Berln"',
            "line 11: schedule.eod.tz: 'Europe/Berln' is not a time zone; did you mean Europe/Berlin?",
        ),
        ('finsh_by = "18:30"', "line 11: schedule.eod.finsh_by: unknown key; did you mean finish_by?"),
        ('max_failures = "banana"', "line 11: schedule.eod.max_failures: "),
        ('host = "x.example"', "line 11: schedule.eod.host: is a setting of a connection"),
        ("running = true", "line 11: schedule.eod.running: names input and running to stop; give one"),
        (
            'overlap = "wiat"',
            "line 11: schedule.eod.overlap: 'wiat' is not one of wait, skip, fail; did you mean wait?",
        ),
        ("keep_delete = true", "line 11: schedule.eod.keep_delete: needs keep"),
        ('profile = "prd"', "schedule.eod.profile: "),
        ('finish_by = "2026-12-01T18:30"', "line 11: schedule.eod.finish_by: "),
        ('soak = "5s"', "line 11: schedule.eod.soak: is the wait between waves; give waves with it"),
        ('protect = "missing.txt"', "line 11: schedule.eod.protect: missing.txt: cannot be read"),
        ("protect = []", "line 11: schedule.eod.protect: is an empty list; leave it out"),
        ('input = "missing.csv"', "line 11: schedule.eod.input: missing.csv: no such file in "),
        ('type = "fax"', "line 11: schedule.eod.type: 'fax' is not one of voice, sms"),
        ('order = ""', "line 11: schedule.eod.order: is empty; give it a value, or leave it out"),
        ('results = "a\\u0000b"', "line 11: schedule.eod.results: has a character that no file name can have"),
        (
            'finish_by = "soon"',
            "line 11: schedule.eod.finish_by: 'soon' is not a time to finish by; give a time of the day",
        ),
        ('profile = "banana"', "line 11: schedule.eod.profile: bulkstop.toml has no [profile.banana]; it has prod"),
    ],
)
def test_check(line: str, fault: str, here: Here, three: list[str]) -> None:
    """Each fault is reported with file, line, key and remedy."""
    write(here.folder, "api.example", 'days = "daily"', line)
    path = here.folder / "bulkstop.toml"
    key = line.split(" ")[0]
    first = [each for each in path.read_text().splitlines() if not each.startswith(f"{key} =") or each == line]
    first = [each for each in first if each != line]
    at = 10
    while len(first) < at:
        first.append("# a comment")
    path.write_text("\n".join([*first[:at], line, *first[at:]]) + "\n")
    run = here("schedule", "check")
    assert run.code == 2
    assert fault.replace("  ", " ") in run.err.replace("line 12", "line 11").replace("  ", " ")


def test_table_with_a_slip(here: Here) -> None:
    """A misspelled schedule table is reported with its line and the name that was probably meant."""
    (here.folder / "bulkstop.toml").write_text('[shedule.eod]\nat = "18:00"\n')
    (here.folder / "bulkstop.toml").chmod(0o600)
    run = here("schedule", "check")
    assert (run.code, run.err) == (
        2,
        "bulkstop: bulkstop.toml line 1: unknown table [shedule]; did you mean [schedule.eod]?\n",
    )


def test_firing(here: Here, sim: Simulated, three: list[str]) -> None:
    """A due firing stops its list once; afterwards the command says that it is not due, and sends nothing."""
    write(here.folder, sim.url, 'expect = "3"')
    assert here("schedule", "run", "eod", "--quiet").code == 0
    (written,) = (here.folder / "results").glob("eod-*.results.jsonl")
    assert [line["outcome"] for line in results(written)] == ["stopped"] * 3
    run = here("schedule", "run", "eod")
    assert (run.code, "is done" in run.err) == (0, True)
    assert "ended, exit code 0; DONE: all 3 stopped; " in here("schedule", "history").out
    packed = written.with_name(f"{written.name}.gz")
    subprocess.run(["gzip", str(written)], check=True)
    assert here("report", str(packed), "--check").code == 0


def test_guard(here: Here, sim: Simulated, three: list[str]) -> None:
    """A list of unexpected length gives exit code 2, and nothing is sent; the history has the reason."""
    write(here.folder, sim.url, 'expect = "20..30"')
    before = len(sim.ids())
    assert here("schedule", "run", "eod").code == 2
    assert len(sim.ids()) == before
    assert (
        "ended, exit code 2; --expect: the list has 3 campaigns to stop, not 20 to 30"
        in here("schedule", "history").out
    )


def test_read_back(here: Here, sim: Simulated, three: list[str]) -> None:
    """The history has the verification after a firing: its verdict for a person, its facts for a machine."""
    write(here.folder, sim.url)
    path = here.folder / "bulkstop.toml"
    path.write_text(path.read_text().replace("verify = false", 'verify = "1s"'))
    run = here("schedule", "run", "eod")
    assert run.code == 0, run.err
    assert "DONE: none of 3 runs" in here("schedule", "history").out
    *_, last = map(json.loads, here("schedule", "history", "--json").out.splitlines())
    assert last["event"] == "verified"
    assert (last["verification"]["campaigns"], last["verification"]["exit_code"]) == (3, 0)


def test_quiet(here: Here, sim: Simulated, three: list[str]) -> None:
    """With --quiet, a success writes nothing that cron would mail; after a failure, the journal has the reason."""
    (here.folder / "campaigns.csv").write_text(
        "\n".join(["campaign_id,type", *(f"{each},voice" for each in three), ""])
    )
    write(here.folder, sim.url)
    path = here.folder / "bulkstop.toml"
    path.write_text(path.read_text().replace("verify = false", 'verify = "1s"'))
    for words in (("--preflight",), ("--now",), ("--preflight", "--if-due")):
        run = here("schedule", "run", "eod", "--quiet", *words)
        assert (run.code, run.out, run.err) == (0, "", "")
    path.write_text(path.read_text().replace(sim.url, "http://127.0.0.1:9"))
    run = here("schedule", "run", "eod", "--preflight", "--quiet")
    assert (run.code, "bulkstop: NOT READY: no connection to 127.0.0.1:9 (ECONNREFUSED)" in run.err) == (1, True)
    *_, last = map(json.loads, here("schedule", "history", "--json").out.splitlines())
    assert last["note"].startswith("NOT READY: no connection to 127.0.0.1:9")


def test_command(here: Here, sim: Simulated, three: list[str]) -> None:
    """The output of a command is the list, which is kept beside the results."""
    write(here.folder, sim.url)
    path = here.folder / "bulkstop.toml"
    path.write_text(path.read_text().replace('input = "campaigns.csv"', 'command = "cat campaigns.csv"'))
    assert here("schedule", "run", "eod", "--now", "--quiet").code == 0
    assert len(list((here.folder / "results").glob("eod-*-by-hand.list"))) == 1
    path.write_text(path.read_text().replace("cat campaigns.csv", "false"))
    run = here("schedule", "run", "eod")
    assert (run.code, "ended with exit code 1" in run.err) == (2, True)


def test_way_on(here: Here, three: list[str]) -> None:
    """The suggested command is that of the schedule, and with --log-json all lines are JSON."""
    write(here.folder, "http://127.0.0.1:1", "attempts = 1", "max_failures = 1")
    run = here("schedule", "run", "eod")
    assert run.code == 3
    (line,) = (each for each in run.err.splitlines() if each.lstrip().startswith("ended "))
    assert "--max-failures" in line
    assert line.endswith("schedule run eod --again")
    assert "--resume" not in run.err
    run = here("schedule", "run", "eod", "--log-json")
    assert run.code == 0
    assert [json.loads(line) for line in run.err.splitlines()]


@pytest.mark.full
@pytest.mark.parametrize("is_shared", [False, True])
def test_container(here: Here, sim: Simulated, three: list[str], *, is_shared: bool) -> None:
    """The command of a CronJob's container works with only the files that are mounted."""
    write(here.folder, sim.url, f'results = "{here.folder}/var/results"')
    if is_shared:  # one row has another profile, with a token of its own
        path, rows = here.folder / "bulkstop.toml", here.folder / "campaigns.csv"
        other = f'[profile.north]\nhost = "{sim.url}"\naccount_id = "a2"\ntoken_file = "north.token"\n'
        path.write_text(path.read_text().replace("[schedule", f'token_file = "prod.token"\n{other}[schedule', 1))
        first, second, *others = rows.read_text().splitlines()
        rows.write_text("\n".join([f"{first},profile", f"{second},north", *(f"{each}," for each in others)]) + "\n")
    folder = here.folder / "etc"
    assert here("schedule", "export", "kubernetes", "eod", "--directory", str(folder), "-o", "k8s").code == 0
    text = (here.folder / "k8s" / "bulkstop-eod.yaml").read_text()
    job = next(each for each in yaml.safe_load_all(text) if each and each["kind"] == "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _mount(pod, {name: here.folder / name for name in ("bulkstop.toml", "campaigns.csv")}, folder)
    variables = {each["name"]: each["value"] for each in container["env"]}
    if "BULKSTOP_TOKEN_FILE" in variables:
        place = here.folder / "token"
        place.write_text(TOKEN)
        place.chmod(0o600)
        variables["BULKSTOP_TOKEN_FILE"] = str(place)
    with_command(here.folder / "bin")
    done = subprocess.run(
        [str(here.folder / "bin" / "bulkstop"), *container["args"]],
        cwd=container["workingDir"],
        env={"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (written,) = (here.folder / "var" / "results").glob("*.results.jsonl")
    assert [each["outcome"] for each in results(written)] == ["stopped"] * 3


def _mount(pod: dict[str, Any], configmap: dict[str, Path], folder: Path) -> None:
    """Make the folder of the file of profiles as Kubernetes does: the configmap and the projected secrets."""
    folder.mkdir()
    for name, path in configmap.items():
        shutil.copy(path, folder / name)
    config = next(each for each in pod["volumes"] if each["name"] == "config")
    for source in config.get("projected", {}).get("sources", []):
        for item in source.get("secret", {}).get("items", []):
            (folder / item["path"]).write_text(TOKEN)
            (folder / item["path"]).chmod(0o440)


@pytest.mark.full
def test_serve(tmp_path: Path, sim: Simulated) -> None:
    """A server runs a due firing once, and ends successfully on a signal."""
    (tmp_path / "campaigns.csv").write_text("campaign_id,campaign_type\ncd-1,voice\n")
    write(tmp_path, sim.url)
    servers = [started("schedule", "serve", cwd=tmp_path) for _ in range(2)]
    until = time.monotonic() + WAIT_S
    journal = tmp_path / "results" / "eod.journal.jsonl"
    while not (journal.exists() and "ended" in journal.read_text()) and time.monotonic() < until:
        time.sleep(0.2)
    for server in servers:
        server.send_signal(signal.SIGTERM)
    assert [ended(server).code for server in servers] == [0, 0]
    assert journal.read_text().count('"started"') == 1


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("cron") is None, reason="needs root and Debian's cron")
@pytest.mark.skipif(is_cron_there(), reason="a cron runs here already")
@pytest.mark.timeout(200)
def test_cron_daemon(here: Here, sim: Simulated, three: list[str]) -> None:
    """Debian's cron runs an exported crontab a minute ahead, in this machine's zone."""
    write(here.folder, sim.url, at=datetime.now(UTC) + timedelta(minutes=1, seconds=5))
    (here.folder / "token").write_text(TOKEN)
    (here.folder / "token").chmod(0o600)
    with_command(here.folder / "bin")
    here.folder.chmod(0o755)
    program = str(here.folder / "bin" / "bulkstop")
    assert here("schedule", "export", "cron", "eod", "--program", program, "-o", "cron").code == 0
    before = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    tab = here.folder / "cron" / "bulkstop-eod.crontab"
    tab.write_text(f"PYTHONPATH={ROOT}\n" + tab.read_text())
    subprocess.run(["crontab", str(tab)], check=True)
    daemon = subprocess.Popen(["cron", "-f"])
    try:
        until = time.monotonic() + 150
        journal = here.folder / "results" / "eod.journal.jsonl"
        while not (journal.exists() and '"ended"' in journal.read_text()) and time.monotonic() < until:
            time.sleep(0.5)
        assert '"exit_code": 0' in journal.read_text()
        (written,) = (here.folder / "results").glob("eod-*.results.jsonl")
        assert len(results(written)) == 3
    finally:
        daemon.terminate()
        daemon.wait(WAIT_S)
        restore = ["crontab", "-"] if before.returncode == 0 else ["crontab", "-r"]
        subprocess.run(restore, input=before.stdout if before.returncode == 0 else None, text=True, check=False)
