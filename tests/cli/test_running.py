"""`bulkstop stop --running` as a process: what it lists, stops and keeps, and how it continues."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkstop.simulator.campaigns import Campaigns
from tests.processes import Ended, Simulated, bulkstop, ended, results, simulator, started
from tests.servers import Connection, http, listening, replying

pytestmark = pytest.mark.real

WHERE = ("--account-id", "a1", "--stream-id", "st-1")
OPTIONS = ("--campaigns", "60", "--seed", "3")
MINE = ("-o", "mine.jsonl")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulated]:
    """Run a simulator with a few dozen campaigns."""
    with simulator(tmp_path, *OPTIONS) as found:
        yield found


def population(*statuses: str) -> set[str]:
    """Return the ids of the simulator's campaigns in these states."""
    return {c.campaign_id for c in Campaigns(count=60, seed=3, any_id=False).by_id.values() if c.status in statuses}


RUNS = population("Active", "Preparing")


def stop(sim: Simulated | str, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Stop what runs at a service."""
    host = sim if isinstance(sim, str) else sim.url
    return bulkstop("stop", "--running", "--host", host, *WHERE, *args, cwd=cwd, **variables)


def operations(sim: Simulated) -> Counter[str]:
    """Count the operations that a service was asked for."""
    return Counter(request["operation"] for request in sim.requests())


def test_all_that_runs_is_stopped(service: Simulated, tmp_path: Path) -> None:
    """One command lists, stops and proves it; the list is kept beside the results, the most harmful first."""
    run = stop(service, *MINE, "--expect", "1..60", cwd=tmp_path)
    assert run.code == 0, run.err
    lines = results(tmp_path / "mine.jsonl")
    assert {line["campaign_id"] for line in lines} == RUNS
    assert {line["outcome"] for line in lines} == {"stopped"}
    assert {line["source"] for line in lines} == {"mine.jsonl.list.csv"}
    assert (tmp_path / "mine.jsonl.list.csv").read_text().count("\n") == len(RUNS) + 1
    modes = [line["row"]["dialing_mode"] for line in lines if line["campaign_type"] == "voice"]
    assert modes == sorted(modes, key=["Power", "Agentless", "Progressive", "Preview"].index)
    assert f"mine.jsonl.list.csv ({len(RUNS)} found; left out: " in run.err
    assert run.err.splitlines()[-1] == f"DONE: all {len(RUNS)} stopped"
    assert operations(service) == {"list": 4, "stop": len(RUNS)}


def test_without_a_name(service: Simulated, tmp_path: Path) -> None:
    """Without -o the results are named after the time, with the list beside them."""
    run = stop(service, "--yes", "--type", "voice", "--name", "campaign 1*", cwd=tmp_path)
    assert run.code == 0
    (path,) = tmp_path.glob("running-*.results.jsonl")
    assert Path(f"{path}.list.csv").exists()
    assert {line["campaign_type"] for line in results(path)} == {"voice"}
    assert all(line["row"]["status"] in ("Active", "Preparing") for line in results(path))


@pytest.mark.full
def test_an_order_that_is_given(service: Simulated, tmp_path: Path) -> None:
    """A given order, typed or in the profile, overrides that of impact."""
    (tmp_path / "bulkstop.toml").write_text('[profile.p]\norder = "priority"\n')
    for args, order in (((), "impact"), (("--order", "input"), "input"), (("--profile", "p"), "priority")):
        run = stop(service, "--dry-run", "--json", *args, cwd=tmp_path)
        assert json.loads(run.out)["order"] == order


def test_a_dry_run_leaves_nothing(service: Simulated, tmp_path: Path) -> None:
    """A dry run lists, shows the plan, sends nothing and leaves no file; so does an unconfirmed run."""
    before = set(tmp_path.iterdir())
    run = stop(service, *MINE, "--dry-run", "--json", cwd=tmp_path)
    facts = json.loads(run.out)
    assert (run.code, facts["to_send"], facts["running"]["campaigns"]) == (0, len(RUNS), len(RUNS))
    assert facts["running"]["left_out"] == Counter(
        c.status for c in Campaigns(count=60, seed=3, any_id=False).by_id.values() if c.campaign_id not in RUNS
    )
    run = stop(service, *MINE, cwd=tmp_path)
    assert (run.code, "there is no terminal to confirm on" in run.err) == (2, True)
    run = stop(service, *MINE, "--expect", "1..3", cwd=tmp_path)
    assert (run.code, "--expect: the list has" in run.err) == (2, True)
    assert operations(service)["stop"] == 0
    assert set(tmp_path.iterdir()) == before


def test_nothing_runs(service: Simulated, tmp_path: Path) -> None:
    """If nothing matches, the message says so with what was left out, and the run fails."""
    run = stop(service, "--name", "no such", "--yes", cwd=tmp_path)
    assert run.code == 2
    assert run.err.startswith("NOT STOPPED: no matching campaign runs; left out: ")
    assert run.err.endswith("; nothing was sent\n")


@pytest.mark.full
def test_it_goes_on_with_its_list(tmp_path: Path) -> None:
    """An interrupted run continues with its list: nothing is listed again, and no campaign is stopped twice."""
    with simulator(tmp_path, *OPTIONS, "--latency", "100") as sim:
        args = (*MINE, "--yes", "--quota", "none", "--concurrency", "1")
        process = started("stop", "--running", "--host", sim.url, *WHERE, *args, cwd=tmp_path)
        while len(sim.ids()) < 3:
            assert process.poll() is None
        process.terminate()
        first = ended(process)
        assert first.code == 143
        listed = operations(sim)["list"]
        assert f"stop --running --host {sim.url}" in first.err.splitlines()[-1]
        assert first.err.splitlines()[-1].endswith(" --resume")
        second = stop(sim, *args, "--resume", cwd=tmp_path)
        assert (second.code, operations(sim)["list"]) == (0, listed), second.err
        assert Counter(sim.ids()) == Counter(RUNS)
    assert "continuing with mine.jsonl.list.csv; campaigns that started since then are not in it" in second.err
    again = stop("http://127.0.0.1:9", *args, "--resume", cwd=tmp_path)
    assert (again.code, "is of a run at" in again.err) == (2, True)


def test_results_of_another_list(service: Simulated, tmp_path: Path) -> None:
    """Results of another kind of list are not continued, and a missing list is named."""
    (tmp_path / "ids.txt").write_text(f"{min(RUNS)}\n")
    bulkstop("stop", "ids.txt", "--host", service.url, *WHERE, "--type", "sms", "--yes", *MINE, cwd=tmp_path)
    run = stop(service, *MINE, "--resume", "--yes", cwd=tmp_path)
    assert run.code == 2
    assert "mine.jsonl has the results of ids.txt; name ids.txt instead of --running" in run.err


@pytest.mark.full
def test_list_and_stops_in_one_quota(tmp_path: Path) -> None:
    """Even without a store, the list and the stops together keep the quota."""
    with simulator(tmp_path, *OPTIONS, "--quota", "12/1s") as sim:
        run = stop(sim, "--yes", "--quota", "12/1s", "--quota-store", "memory", "--type", "sms", cwd=tmp_path)
        statuses = Counter(request["status"] for request in sim.requests())
    assert run.code == 0
    assert set(statuses) == {200}
    assert statuses[200] > 12


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["ids.txt"], "--running: takes its list from the service; leave out ids.txt"),
        (["--format", "csv"], "leave out --format csv"),
        (["--resume"], "--resume: the result file of --running has the date and time in its name; give -o FILE"),
        (["-o", "there.jsonl"], "there.jsonl: exists already; give --resume to continue it, --overwrite,"),
        (["--protect", "gone.txt"], "--protect gone.txt: "),
        (["--finish-by", "2020-01-01T00:00"], "--finish-by 2020-01-01T00:00"),
        (["--priority", "7"], "is not a list of priorities from 1 to 5"),
    ],
)
def test_refused_before_it_lists(args: list[str], said: str, service: Simulated, tmp_path: Path) -> None:
    """An impossible command is one line and exit 2, without any call."""
    (tmp_path / "there.jsonl").write_text("mine\n")
    run = stop(service, "--yes", *args, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert service.requests() == []
    assert not list(tmp_path.glob("*.list*"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--status", "Active"], "--status: a filter only works with --running"),
        (["--name", "x"], "--name: a filter only works with --running"),
        (["--type", "voice,sms"], "--type: a list of types only works with --running"),
        ([], None),
    ],
)
def test_filters_of_a_list(args: list[str], said: str | None, tmp_path: Path) -> None:
    """Filters only work with --running; without an input the message names the ways."""
    (tmp_path / "ids.txt").write_text("cd-1\n")
    where = ("--host", "http://127.0.0.1:9", *WHERE, "--yes")
    run = bulkstop("stop", *(["ids.txt"] if said else []), *where, *args, cwd=tmp_path)
    assert run.code == 2
    assert (said or "Missing argument 'INPUT [INPUT ...]'; or use --running to stop what runs now") in run.err


async def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    """If nothing was found because no list could be read, nothing is sent, with exit code 3."""
    async with listening(replying(http(b'{"message":"down"}', status="500 Down"))) as server:
        run = await asyncio.to_thread(stop, server.url, "--yes", "--attempts", "1", cwd=tmp_path)
    assert run.code == 3
    why = "the list could not be read completely; voice campaigns of account a1: HTTP 500"
    assert run.err.startswith(f"NOT STOPPED: {why}")


async def test_a_list_without_an_end(tmp_path: Path) -> None:
    """Campaigns of an endless list are stopped; a message says that more may run, with exit 1."""
    row: dict[str, Any] = {"_id": "cd-1", "status": "Active"}
    data = {"results": [row], "hasMore": True, "totalResults": 9}
    page = http(json.dumps({"status": "success", "data": data}).encode())

    async def handle(connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            await connection.write(page if b"getAllCampaignDetails" in request else http())

    async with listening(handle) as server:
        run = await asyncio.to_thread(stop, server.url, "--yes", "--type", "voice", "--attempts", "1", cwd=tmp_path)
    assert run.code == 1, run.err
    *_, verdict, way_on = run.err.splitlines()
    assert verdict.startswith("NOT STOPPED: 0 of 1; more may run than was found: voice ")
    assert way_on.startswith("To list and stop what still runs: ")
