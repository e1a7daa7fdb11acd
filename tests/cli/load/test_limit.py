"""`bulkstop load --find-limit` as a process: what it finds, says, writes down and exits with."""

import asyncio
import json
import re
import signal
import subprocess
import tomllib
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.loads import PATIENT, WHERE, refusal
from tests.processes import Ended, Simulated, bulkstop, campaigns, ended, simulator, started
from tests.servers import Connection, http, listening

pytestmark = pytest.mark.real

SHORT = ("--find-limit", "--step", "200ms", "--rate", "50/s", *PATIENT)
"""A search of a second or two, patient with this machine."""
PROFILE = """\
[profile.ours]  # staging
account_id = "a1"
stream_id = "st-1"
quota = ["60/60s"]
"""


def search(sim: Simulated | str, *args: str, cwd: Path) -> Ended:
    """Run the search on a service."""
    return bulkstop("load", "--host", sim if isinstance(sim, str) else sim.url, *SHORT, *args, cwd=cwd)


def test_written(sim: Simulated, tmp_path: Path) -> None:
    """What held is told, counted and written into the profile; the next `stop` goes by it."""
    (tmp_path / "bulkstop.toml").write_text(PROFILE)
    run = search(
        sim, "--profile", "ours", "--max-rate", "90/s", "--write-quota", "--json", "--id-prefix", "limit-", cwd=tmp_path
    )
    assert run.code == 0
    found = json.loads(run.out)
    sent = sum(campaign_id.startswith("limit-") for campaign_id in sim.ids())
    assert (found["limit"], found["quota"], found["requests"], found["exit_code"]) == (90, "90/1s", sent, 0)
    assert [(each["rate"], each["became"], each["requests"]) for each in found["tried"]] == [
        (50, "held", 10),
        (90, "held", 18),
        (90, "held", 36),
    ]
    assert run.err.startswith("Search for the limit: every request is a real stop\n")
    assert "  load       from 50/s up to 90/s, 0.2 s each\n" in run.err
    assert "      90/s  held      p99 " in run.err
    assert "  limit    at least 90/s held; no higher rate was to be tried\n" in run.err
    said = 'quota = "90/1s", pace = "even" in [profile.ours] of bulkstop.toml; before: quota = ["60/60s"]\n'
    assert f"  written  {said}" in run.err
    text = (tmp_path / "bulkstop.toml").read_text()
    assert text == PROFILE.replace('["60/60s"]', '"90/1s"') + 'pace = "even"\n'
    campaigns(tmp_path / "campaigns.csv", ["cd-1"])
    plan = bulkstop(
        "stop",
        "campaigns.csv",
        "--host",
        sim.url,
        "--profile",
        "ours",
        "--dry-run",
        "--quota-store",
        "memory",
        cwd=tmp_path,
    )
    assert "  quota     90/1s per account, even" in plan.err


def test_limited(tmp_path: Path) -> None:
    """A service with a quota: the line of each rate says what became of it, and the file is made for the default."""
    with simulator(tmp_path, "--quota", "25/200ms") as sim:
        run = search(sim, *WHERE, "--write-quota", cwd=tmp_path)
        sent = len(sim.requests())
    assert run.code == 0
    assert " throttled in " in run.err
    assert f" times, {sent:,} requests\n" in run.err
    assert "  ended      all known\n" in run.err
    found = tomllib.loads((tmp_path / "bulkstop.toml").read_text())["profile"]["default"]
    assert found["pace"] == "even"
    calls, window = found["quota"].split("/")
    assert window == "1s"
    assert 50 <= int(calls) <= 135  # a machine with other work to do sends in bursts


def test_nothing_held(tmp_path: Path) -> None:
    """Where nothing holds, that is the last line, exit 1, and the profile stays as it is."""
    (tmp_path / "bulkstop.toml").write_text(PROFILE)
    with simulator(tmp_path, "--fail", "100%") as sim:
        run = search(sim, "--profile", "ours", "--write-quota", "--quiet", cwd=tmp_path)
    assert (run.code, run.out, run.err) == (1, "", "bulkstop: no rate held, down to 50/s\n")
    assert (tmp_path / "bulkstop.toml").read_text() == PROFILE


def test_steps_too_short(tmp_path: Path) -> None:
    """A service that counts by the minute is not judged by runs of less: exit 3, with what to give."""
    with simulator(tmp_path, "--quota", "5/60s", "--retry-after", "42") as sim:
        run = search(sim, *WHERE, "--write-quota", "--quiet", cwd=tmp_path)
    assert run.code == 3
    assert run.err == (
        "bulkstop: the service asked to wait 42 s, so it counts over a longer time than any rate is held here; "
        "give --step 42s\n"
    )
    assert not (tmp_path / "bulkstop.toml").exists()


def test_list(sim: Simulated, tmp_path: Path) -> None:
    """Campaigns of a list are used, again and again."""
    campaigns(tmp_path / "campaigns.csv", ["cd-limit-1", "cd-limit-2"])
    run = search(sim, "campaigns.csv", "--max-rate", "50/s", "--max-in-flight", "1", cwd=tmp_path)
    assert run.code == 0
    ids = [each for each in sim.ids() if each.startswith("cd-limit")]
    assert len(ids) >= 10 + 20
    assert ids == list(islice(cycle(["cd-limit-1", "cd-limit-2"]), len(ids)))
    assert "  campaigns  2 of campaigns.csv, in its order, again and again\n" in run.err


async def test_sigterm(tmp_path: Path) -> None:
    """SIGTERM ends the search: what is known so far is told, exit 143, and nothing is written down."""
    process: subprocess.Popen[str] | None = None

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 30 and process is not None:
                process.send_signal(signal.SIGTERM)
            await connection.write(http())

    async with listening(handle) as server:
        args = (*WHERE, *SHORT, "--max-rate", "100/s", "--write-quota")
        process = started("load", "--host", server.url, *args, cwd=tmp_path)
        run = await asyncio.to_thread(ended, process)
    assert run.code == 143
    assert "  held     50/s held, so far\n" in run.err
    assert "  ended    by SIGTERM, before the limit was known\n" in run.err
    assert "  quota    not written\n" in run.err
    assert not (tmp_path / "bulkstop.toml").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--max-rate", "5/s"), "--max-rate: is lower than --rate, where the search begins"),
        (("--duration", "5s"), "--duration: does not go with --find-limit"),
        (("--results", "r"), "--results: does not go with --find-limit"),
        (("--processes", "2"), "--processes: does not go with --find-limit"),
        (("--closed",), "--closed: does not go with --find-limit"),
        (("--concurrency", "5"), "--concurrency: does not go with --find-limit"),
        (("two.csv", "--write-quota"), "--write-quota: a quota is one account's, and the list has several"),
        (("--write-quota", "--config", "broken.toml"), "broken.toml: cannot be read as TOML"),
        (("--write-quota", "--config", "odd.toml"), "--write-quota: odd.toml cannot be changed"),
        (("--step", "0"), "'0' is no time"),
        (("--host", "platform.kore.ai"), "is the vendor's own service"),
    ],
)
def test_refused(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is named in one line before anything is sent."""
    (tmp_path / "two.csv").write_text("campaign_id,type,account_id,stream_id\nc1,sms,a1,s\nc2,sms,a2,s\n")
    (tmp_path / "broken.toml").write_text("[profile")
    (tmp_path / "odd.toml").write_text("[[profile]]\nx = 1\n")
    assert said in refusal(monkeypatch, tmp_path, *SHORT, *args)


@pytest.mark.parametrize("option", [("--max-rate", "5/s"), ("--write-quota",)])
def test_without_a_search(option: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to the search is refused without it."""
    said = refusal(monkeypatch, tmp_path, "--rate", "5/s", "--count", "1", *option)
    assert said == f"{option[0]}: goes with --find-limit"


def test_why_nothing_was_answered(tmp_path: Path) -> None:
    """Where nobody answers the reason is told, to a person and to a machine."""
    run = search("http://127.0.0.1:1", *WHERE, "--quiet", "--json", cwd=tmp_path)
    assert run.code == 1
    (reason,) = json.loads(run.out)["reasons"]
    said = f"all {reason['requests']} requests ended as connection_error ({reason['error']})"
    assert run.err == f"bulkstop: no request was answered: {said}\n"


async def test_limit_of_refusals(tmp_path: Path) -> None:
    """A limit that was found with refusals alone is told as one, with what was refused."""
    count = 0

    async def handle(connection: Connection) -> None:
        nonlocal count
        while await connection.request() is not None:
            count += 1
            await connection.write(http(status="404 Not Found"))

    async with listening(handle) as server:
        args = (*WHERE, "--max-rate", "50/s")
        run = await asyncio.to_thread(search, server.url, *args, cwd=tmp_path)
    why = "HTTP 404: no such campaign, or the path template is wrong here"
    assert run.code == 0
    assert f"  reason     {count} not_found: {why}\n" in run.err
    last = f"requests ended as not_found ({why}); the limit is that of answering so"
    assert re.fullmatch(rf"bulkstop: WARNING: all \d+ {re.escape(last)}", run.err.splitlines()[-1])
