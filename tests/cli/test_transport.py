"""`--transport`: with either transport, a command does the same, and the service sees the same."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bulkstop.simulator.campaigns import Campaigns
from tests.loads import PATIENT
from tests.processes import WAIT_S, Simulated, bulkstop, environment, results, simulator

pytestmark = pytest.mark.real

TRANSPORTS = ("aiohttp", "wire")
FOR_STOP = ("--yes", "--quota", "none", "--quota-store", "memory")
COUNT, SEED = 120, 11
POPULATION = Campaigns(count=COUNT, seed=SEED, any_id=False)
KEYS = ("campaign_id", "outcome", "http_status", "message", "attempts", "schedule")
TIMES = {"updated_at", "instance_updated_at"}
ACCOUNT = ("--account-id", "a1", "--stream-id", "st-1")


def calls(sim: Simulated) -> Counter[tuple[str, str]]:
    """Return the number of calls of a service."""
    return Counter((request["operation"], request["campaign_id"] or "") for request in sim.requests())


def stopped_and_verified(folder: Path, transport: str) -> tuple[list[tuple[object, ...]], Counter[tuple[str, str]]]:
    """Stop all campaigns and their schedules, verify, and list them; return the lines without times, and the calls."""
    folder.mkdir()
    rows = [f"{each.campaign_id},{each.campaign_type},a1,st-1\n" for each in POPULATION.by_id.values()]
    (folder / "all.csv").write_text("campaign_id,campaign_type,account_id,stream_id\n" + "".join(rows))
    with simulator(folder, "--campaigns", str(COUNT), "--seed", str(SEED)) as sim:
        to = ("--host", sim.url, "--transport", transport)
        stop = ("stop", "all.csv", *to, *FOR_STOP, "--only-running", "--disable-schedule", "--verify")
        run = bulkstop(*stop, cwd=folder)
        assert run.code == 0, run.err
        found = bulkstop("discover", *ACCOUNT, *to, "--quota", "none", "--status", "Stopped", cwd=folder)
        assert found.code == 0, found.err
        lines = [tuple(line[key] for key in KEYS) for line in results(folder / "all.csv.results.jsonl")]
        listed = [{key: row[key] for key in row if key not in TIMES} for row in csv.DictReader(found.out.splitlines())]
        assert all(row["status"] == "Stopped" for row in listed), found.out
        return sorted((*lines, *(tuple(row.items()) for row in listed)), key=repr), calls(sim)


@pytest.mark.full
def test_the_whole_way(tmp_path: Path) -> None:
    """`discover`, `stop` with the lists and `--verify` make the same calls and write the same lines over either."""
    over_aiohttp, over_wire = (stopped_and_verified(tmp_path / name, name) for name in TRANSPORTS)
    lines, made = over_wire
    assert over_aiohttp == over_wire
    assert len(lines) > COUNT
    assert {operation for operation, _ in made} >= {"stop", "list", "schedule"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_load_test(transport: str, tmp_path: Path) -> None:
    """`load` sends each request over either."""
    with simulator(tmp_path) as sim:
        to = ("--host", sim.url, *ACCOUNT, "--transport", transport)
        run = bulkstop("load", *to, *PATIENT, "--closed", "--concurrency", "4", "--count", "200", cwd=tmp_path)
        assert (run.code, len(sim.requests())) == (0, 200), run.err


@pytest.mark.parametrize(
    ("args", "carrier"),
    [
        (("stop", "one.csv", *FOR_STOP), "aiohttp.client"),
        (("stop", "one.csv", *FOR_STOP, "--transport", "wire"), "httptools"),
        (("load", *ACCOUNT, "--closed", "--count", "1"), "httptools"),
        (("load", *ACCOUNT, "--closed", "--count", "1", "--transport", "aiohttp"), "aiohttp.client"),
    ],
    ids=["stop", "stop-wire", "load", "load-aiohttp"],
)
def test_only_one_is_imported(args: tuple[str, ...], carrier: str, tmp_path: Path) -> None:
    """A command imports only its transport, by default or by name."""
    (tmp_path / "one.csv").write_text("campaign_id,campaign_type,account_id,stream_id\ncd-1,voice,a1,st-1\n")
    with simulator(tmp_path) as sim:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "bulkstop", *args, "--host", sim.url],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"aiohttp.client", "httptools"} & imported == {carrier}


def test_https_proxy(tmp_path: Path) -> None:
    """The wire refuses a proxy that is reached by TLS, before any call."""
    (tmp_path / "one.csv").write_text("campaign_id,campaign_type,account_id,stream_id\ncd-1,voice,a1,st-1\n")
    to = ("--host", "https://api.example", "--proxy", "https://u:pa55word@proxy", "--transport", "wire")
    run = bulkstop("stop", "one.csv", *to, "--yes", cwd=tmp_path)
    assert run.code == 2
    assert "--proxy: the wire only supports http:// proxies; give --transport aiohttp" in run.err
    assert "pa55word" not in run.err
