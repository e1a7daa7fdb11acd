"""`bulkstop load --find-limit` as a process: what it finds, says, prints for a profile and exits with."""

import asyncio
import json
import re
import signal
import subprocess
import tomllib
from itertools import cycle, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.cli.load.limit import QuotaTarget, describe_paste, format_profile
from bulkstop.model import Limit
from bulkstop.settings.profiles import Profile
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


def test_found(sim: Simulated, tmp_path: Path) -> None:
    """What held is told and counted; the lines for the profile go beside the JSON, and the file stays as it is."""
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
    place = 'paste these lines under [profile.ours] of bulkstop.toml; in place of quota = ["60/60s"]'
    assert run.err.endswith(f'  quota    90/1s; {place}\n[profile.ours]\nquota = "90/1s"\npace = "even"\n')
    assert (tmp_path / "bulkstop.toml").read_text() == PROFILE


def test_limited(tmp_path: Path) -> None:
    """A service with a quota: the line of each rate says what became of it, and `stop` goes by what is printed."""
    with simulator(tmp_path, "--quota", "25/200ms") as sim:
        run = search(sim, *WHERE, "--write-quota", cwd=tmp_path)
        sent = len(sim.requests())
    assert run.code == 0
    assert " throttled in " in run.err
    assert f" times, {sent:,} requests\n" in run.err
    assert "  ended      all known\n" in run.err
    assert "; add these lines to bulkstop.toml\n" in run.err
    assert not (tmp_path / "bulkstop.toml").exists()
    found = tomllib.loads(run.out)["profile"]["default"]
    assert found["pace"] == "even"
    calls, window = found["quota"].split("/")
    assert window == "1s"
    assert 50 <= int(calls) <= 135  # a machine with other work to do sends in bursts
    (tmp_path / "bulkstop.toml").write_text(run.out)
    campaigns(tmp_path / "campaigns.csv", ["cd-1"])
    args = ("--host", sim.url, *WHERE, "--dry-run", "--quota-store", "memory")
    plan = bulkstop("stop", "campaigns.csv", *args, cwd=tmp_path)
    assert f"  quota     {found['quota']} per account, even" in plan.err


def test_nothing_held(tmp_path: Path) -> None:
    """Where nothing holds, that is the last line, exit 1, and there is nothing to paste."""
    (tmp_path / "bulkstop.toml").write_text(PROFILE)
    with simulator(tmp_path, "--fail", "100%") as sim:
        run = search(sim, "--profile", "ours", "--write-quota", "--quiet", cwd=tmp_path)
    assert (run.code, run.out, run.err) == (1, "", "bulkstop: no rate held, down to 50/s\n")


def test_steps_too_short(tmp_path: Path) -> None:
    """A service that counts by the minute is not judged by runs of less: exit 3, with what to give."""
    with simulator(tmp_path, "--quota", "5/60s", "--retry-after", "42") as sim:
        run = search(sim, *WHERE, "--write-quota", "--quiet", cwd=tmp_path)
    assert run.code == 3
    assert run.err == (
        "bulkstop: the service asked to wait 42 s, so it counts over a longer time than any rate is held here; "
        "give --step 42s\n"
    )
    assert run.out == ""


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
    """SIGTERM ends the search: what is known so far is told, exit 143, and there is nothing to paste."""
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
    assert run.out == ""


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
        (("--step", "0"), "'0' is no time"),
        (("--host", "platform.kore.ai"), "is the vendor's own service"),
    ],
)
def test_refused(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is named in one line before anything is sent."""
    (tmp_path / "two.csv").write_text("campaign_id,type,account_id,stream_id\nc1,sms,a1,s\nc2,sms,a2,s\n")
    (tmp_path / "broken.toml").write_text("[profile")
    assert said in refusal(monkeypatch, tmp_path, *SHORT, *args)


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_any_profile(name: str) -> None:
    """The lines for a profile of any name are TOML, and a profile reads them as the quota and the pace."""
    text = format_profile(name, Limit(48, 1.0))
    assert tomllib.loads(text) == {"profile": {name: {"quota": "48/1s", "pace": "even"}}}
    profile = Profile("b.toml", name, text, tomllib.loads(text)["profile"][name])
    assert (profile.value("quota"), profile.value("pace")) == ((Limit(48, 1.0),), "even")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (None, "add these lines to b.toml"),
        ({}, 'paste these lines under [profile."a b"] of b.toml; there is neither yet'),
        (
            {"quota": ["60/60s", "9/s"], "pace": "burst", "client_secret_file": "here"},
            'paste these lines under [profile."a b"] of b.toml; in place of quota = ["60/60s", "9/s"], pace = "burst"',
        ),
    ],
)
def test_where_to_paste(values: dict[str, object] | None, place: str) -> None:
    """It is told where the lines belong, and which they replace; nothing else of the profile is told."""
    told = describe_paste(QuotaTarget("b.toml", "a b", values), Limit(48, 1.0))
    assert told == [("quota", f"48/1s; {place}")]


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
