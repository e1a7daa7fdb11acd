"""`bulkstop load --find-limit` as a process: its result, messages, profile lines and exit codes."""

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.loads import PATIENT, WHERE, refusal
from tests.processes import Ended, Simulated, checked, ended, simulator, started
from tests.servers import Connection, http, listening

pytestmark = pytest.mark.real

SHORT = ("--find-limit", "--step", "200ms", "--rate", "50/s", *PATIENT)
"""A search of a second or two, with tolerance for this machine's delays."""
PROFILE = """\
[profile.ours]  # staging
account_id = "a1"
stream_id = "st-1"
quota = ["60/60s"]
"""


PROVEN_S = 600
"""Most seconds of a search that holds a rate for two minutes."""


def search(sim: Simulated | str, *args: str, cwd: Path) -> Ended:
    """Run the search on a service."""
    host = sim if isinstance(sim, str) else sim.url
    process = started("load", "--host", host, *SHORT, *args, cwd=cwd)
    out, err = process.communicate(timeout=PROVEN_S)
    return checked(Ended(process.returncode, out, err))


@pytest.mark.timeout(PROVEN_S)
@pytest.mark.full  # a quota is written after it has held for two minutes
def test_found(sim: Simulated, tmp_path: Path) -> None:
    """The rate that held is reported with its counts; the profile lines are printed beside the JSON, in no file."""
    (tmp_path / "bulkstop.toml").write_text(PROFILE)
    run = search(
        sim, "--profile", "ours", "--max-rate", "90/s", "--write-quota", "--json", "--id-prefix", "limit-", cwd=tmp_path
    )
    assert run.code == 0
    report = json.loads(run.out)
    sent = sum(campaign_id.startswith("limit-") for campaign_id in sim.ids())
    assert (report["limit"], report["quota"], report["requests"], report["exit_code"]) == (90, "90/1s", sent, 0)
    assert [(each["rate"], each["became"], each["requests"]) for each in report["tried"]] == [
        (50, "held", 10),
        (90, "held", 18),
        (90, "held", 36),
        (90, "held", 10_746),
    ]
    assert run.err.startswith("Search for the limit: every request is a real stop\n")
    assert "  load       from 50/s up to 90/s, 0.2 s each\n" in run.err
    assert "      90/s  held      p99 " in run.err
    assert "  holding 90/s for 119 s more, so that a limit per minute would show\n" in run.err
    assert "  limit    at least 90/s held; a higher rate was not asked for\n" in run.err
    place = 'paste these lines under [profile.ours] of bulkstop.toml; in place of quota = ["60/60s"]'
    lines = 'quota = "90/1s"\npace = "even"'
    verdict = "DONE: at least 90/s held; a higher rate was not asked for"
    assert run.err.endswith(f"  quota    90/1s; {place}\n{lines}\n{verdict}\n")
    assert (tmp_path / "bulkstop.toml").read_text() == PROFILE


def test_limited(tmp_path: Path) -> None:
    """For a service with a quota, each rate has a line with its result, and the reported limit is that quota."""
    with simulator(tmp_path, "--quota", "25/200ms") as sim:
        run = search(sim, *WHERE, cwd=tmp_path)
        sent = len(sim.requests())
    assert run.code == 0
    assert " throttled in " in run.err
    assert f" times, {sent:,} requests\n" in run.err
    assert "  ended      the limit is known\n" in run.err
    told = re.search(r"^DONE: ([\d.]+)/s held; [\d.]+/s did not: ", run.err, re.MULTILINE)
    assert told is not None
    assert 50 <= float(told[1]) <= 135  # on a busy machine requests are sent in bursts


def test_nothing_held(tmp_path: Path) -> None:
    """If no rate held, the last line says so, with exit 1 and no profile lines."""
    (tmp_path / "bulkstop.toml").write_text(PROFILE)
    with simulator(tmp_path, "--fail", "100%") as sim:
        run = search(sim, "--profile", "ours", "--write-quota", "--quiet", cwd=tmp_path)
    assert (run.code, run.out, run.err) == (1, "", "NOT DONE: no rate held, down to 50/s\n")


async def test_sigterm(tmp_path: Path) -> None:
    """SIGTERM ends the search: the result so far is reported, with exit 143 and no profile lines."""
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
    assert "  quota    none to paste\n" in run.err
    assert run.err.endswith("\nNOT DONE: ended by SIGTERM, before the limit was known\n")
    assert run.out == ""


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("--max-rate", "5/s"), "--max-rate: is lower than --rate, where the search begins"),
        (("--results", "r"), "--results: does not go with --find-limit"),
        (("--processes", "2"), "--processes: does not go with --find-limit"),
        (("--closed",), "--closed: does not go with --find-limit"),
        (("--concurrency", "5"), "--concurrency: does not go with --find-limit"),
        (("two.csv", "--write-quota"), "--write-quota: a quota is for one account, and the list has several"),
        (("--write-quota", "--config", "broken.toml"), "broken.toml: cannot be read as TOML"),
        (("--step", "0"), "'0' is not a time"),
        (("--host", "platform.kore.ai"), "is the vendor's own service"),
    ],
)
def test_refused(args: tuple[str, ...], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is named in one line before anything is sent."""
    (tmp_path / "two.csv").write_text("campaign_id,type,account_id,stream_id\nc1,sms,a1,s\nc2,sms,a2,s\n")
    (tmp_path / "broken.toml").write_text("[profile")
    assert error in refusal(monkeypatch, tmp_path, *SHORT, *args)


@pytest.mark.parametrize("option", [("--max-rate", "5/s"), ("--write-quota",), ("--max-retry-after", "9s")])
def test_without_a_search(option: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of a search are refused without --find-limit."""
    error = refusal(monkeypatch, tmp_path, "--rate", "5/s", "--count", "1", *option)
    assert error == f"{option[0]}: goes with --find-limit"
