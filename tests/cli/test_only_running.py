"""`stop --only-running` and `--disable-schedule` for an operator, judged by the service's log."""

import asyncio
import csv
import json
import logging
import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bulkstop import Settings
from bulkstop.model import Campaign, CampaignType, Limit, Outcome
from bulkstop.runs.api import stop_async
from bulkstop.runs.lists.states import AT_REST
from bulkstop.simulator import Operation, SimulatedCampaign, Simulator, SimulatorOptions
from bulkstop.simulator.campaigns import Campaigns
from tests.cli.conftest import Here
from tests.processes import TOKEN, WAIT_S, Ended, Simulated, bulkstop, checked, ended, results, simulator, started
from tests.servers import Connection, http, listening

pytestmark = pytest.mark.real

COUNT, SEED = 230, 11
LIST = "campaigns.csv"
LINE = f"{LIST}.results.jsonl"
OPTIONS = ("--yes", "--quota-store", "memory")
BOTH = ("--only-running", "--disable-schedule")
LISTS, STOPS = "getAllCampaignDetails", "/trigger/"


def population() -> Mapping[str, SimulatedCampaign]:
    """Return the initial campaigns of every simulator here."""
    return Campaigns(count=COUNT, seed=SEED, any_id=False).by_id


def write_list(folder: Path, given: Iterable[SimulatedCampaign], *more: str) -> None:
    """Write `campaigns.csv` with these campaigns, and voice campaigns with other ids."""
    rows = [f"{each.campaign_id},{each.campaign_type},a1,st-1" for each in given]
    rows += [f"{campaign_id},voice,a1,st-1" for campaign_id in more]
    (folder / LIST).write_text("\n".join(["campaign_id,campaign_type,account_id,stream_id", *rows, ""]))


def stop(host: str, *args: str, cwd: Path) -> Ended:
    """Stop the list."""
    return bulkstop("stop", LIST, "--host", host, *OPTIONS, *args, cwd=cwd)


@contextmanager
def populated(folder: Path, *options: str) -> Iterator[Simulated]:
    """Run a simulator with the population."""
    with simulator(folder, "--campaigns", str(COUNT), "--seed", str(SEED), *options) as found:
        yield found


def lines_of(folder: Path, name: str = LINE) -> dict[str, dict[str, Any]]:
    """Return the latest line of each campaign."""
    return {line["campaign_id"]: line for line in results(folder / name)}


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return [path.name for path in folder.iterdir()]


def stopped(sim: Simulated) -> list[str]:
    """Return the id of every stop call."""
    return [request["campaign_id"] for request in sim.requests() if request["operation"] == "stop"]


def disabled(sim: Simulated) -> list[str]:
    """Return the name in every call that disables a schedule."""
    paths = [request["path"] for request in sim.requests() if request["operation"] == "schedule"]
    return [parse_qs(urlsplit(path).query)["campaignName"][0] for path in paths]


def calls_told(run: Ended) -> int:
    """Return the number of calls in the summary."""
    (told,) = re.findall(r"^  elapsed .*?, ([\d,]+) calls", run.err, re.MULTILINE)
    return int(told.replace(",", ""))


# --- only what runs -------------------------------------------------------------------------------------------------


def test_only_what_runs_is_sent(here: Here, tmp_path: Path) -> None:
    """In a list of several pages, completed or stopped campaigns get a line without a call; all others are sent."""
    everyone = population()
    write_list(tmp_path, everyone.values(), "cd-unlisted-1", "cd-unlisted-2")
    at_rest = {name for name, each in everyone.items() if each.status in AT_REST}
    with populated(tmp_path) as sim:
        run = here.stop(sim, *OPTIONS, "--only-running", "--quota", "none")
        assert sorted(stopped(sim)) == sorted({*everyone, "cd-unlisted-1", "cd-unlisted-2"} - at_rest)
        assert calls_told(run) == len(sim.requests())
        assert disabled(sim) == []
    assert run.code == 0, run.err
    assert re.search(r"^  rows = lines +232 = 232$", run.err, re.MULTILINE)
    lines = lines_of(tmp_path)
    assert len(results(tmp_path / LINE)) == len(lines) == COUNT + 2
    assert {len(everyone) - 20 > len(at_rest) > 20} == {True}
    for name, line in lines.items():
        if name in at_rest:
            told = f"listed as {everyone[name].status}; no stop call was made"
            assert (line["outcome"], line["attempts"], line["message"]) == ("already_stopped", 0, told)
            assert (line["started_at"], line["finished_at"], line["http_status"]) == (None, None, None)
        else:
            assert line["attempts"] == 1
        assert line["schedule"] is None


def test_pages_are_few(here: Here, tmp_path: Path) -> None:
    """The list costs one call per page and type, whatever the number of campaigns."""
    with populated(tmp_path) as sim:
        write_list(tmp_path, [each for each in population().values() if each.status == "Stopped"])
        run = here.stop(sim, *OPTIONS, "--only-running")
        assert Counter(request["operation"] for request in sim.requests()) == {"list": 2}
    assert run.code == 0, run.err
    assert set(Counter(line["outcome"] for line in results(tmp_path / LINE))) == {"already_stopped"}


def test_a_dry_run_asks_nothing(here: Here, tmp_path: Path) -> None:
    """`--dry-run` makes no call, not even for the list; the plan says how many calls the lists will cost at least."""
    write_list(tmp_path, population().values())
    with populated(tmp_path) as sim:
        only = here.stop(sim, *OPTIONS, "--only-running", "--dry-run")
        both = here.stop(sim, *OPTIONS, *BOTH, "--dry-run")
        assert (only.code, both.code, sim.requests()) == (0, 0, [])
    kinds = len({each.campaign_type for each in population().values()})
    assert (
        f"list first  at least {kinds} calls of the quota; campaigns that it shows as completed or stopped get"
        in only.err
    )
    assert "list first  at least 2 calls of the quota; campaigns that it shows" in both.err


def test_going_on(here: Here, tmp_path: Path) -> None:
    """Lines without a call are final: `--resume` makes no call."""
    write_list(tmp_path, population().values())
    with populated(tmp_path) as sim:
        assert here.stop(sim, *OPTIONS, "--only-running", "--quota", "none").code == 0
        before = len(sim.requests())
        run = here.stop(sim, *OPTIONS, "--only-running", "--resume")
        assert (run.code, len(sim.requests())) == (2, before)
    assert "nothing is left to send" in run.err
    assert len(results(tmp_path / LINE)) == COUNT


def test_the_quota_is_shared(here: Here, tmp_path: Path) -> None:
    """Pages, stops and schedules together never exceed the limit of the account."""
    given = [each for each in population().values() if each.campaign_type is CampaignType.VOICE]
    write_list(tmp_path, given)
    with populated(tmp_path, "--quota", "40/1s") as sim:
        run = here.stop(sim, *OPTIONS, *BOTH, "--quota", "40/1s")
        requests = sim.requests()
    assert run.code == 0, run.err
    assert {request["operation"] for request in requests} == {"list", "stop", "schedule"}
    assert len(requests) > 80
    assert 429 not in {request["status"] for request in requests}
    assert calls_told(run) == len(requests)


def test_waves_are_of_what_is_sent(tmp_path: Path) -> None:
    """A wave is a share of the campaigns that run, because campaigns at rest prove nothing."""
    write_list(tmp_path, [], *(f"cd-{number}" for number in range(60)))
    rows = [{"_id": f"cd-{number}", "status": "Stopped"} for number in range(40)]
    page = json.dumps({"status": "success", "data": {"results": rows, "hasMore": False}}).encode()
    stops: list[bytes] = []

    async def handle(connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            if LISTS.encode() in request:
                await connection.write(http(page))
            else:
                stops.append(request)
                works = len(stops) < 10
                await connection.write(http() if works else http(b"{}", status="422 Unprocessable Content"))

    async def main() -> Ended:
        async with listening(handle) as server:
            return await asyncio.to_thread(stop, server.url, "--only-running", "--waves", "50%,100%", cwd=tmp_path)

    assert (asyncio.run(main()).code, len(stops)) == (3, 10)


@pytest.mark.parametrize("options", [BOTH, ("--only-running",), ("--disable-schedule",)])
def test_a_list_that_cannot_be_read(options: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing is sent, no file remains, and one line says what to do, which then works."""
    write_list(tmp_path, [], "cd-1", "cd-2")
    arrived: list[str] = []

    async def handle(connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            arrived.append(request.split(b" ")[1].decode())
            await connection.write(http() if STOPS in arrived[-1] else http(b"{}", status="403 Forbidden"))

    async def main() -> tuple[Ended, list[str], Ended]:
        async with listening(handle) as server:
            failed = await asyncio.to_thread(stop, server.url, *options, cwd=tmp_path)
            left = names_in(tmp_path)
            return failed, left, await asyncio.to_thread(stop, server.url, cwd=tmp_path)

    failed, left, run = asyncio.run(main())
    assert failed.code == 2
    flags = " ".join(options)
    told = f"{flags}: the list of voice campaigns of account a1, stream st-1 cannot be read completely: HTTP 403"
    assert failed.err.splitlines()[-1].startswith(f"bulkstop: {told}")
    assert failed.err.endswith(f"; nothing was sent; try again, or leave out {flags}\n")
    assert left == [LIST]
    assert (run.code, len(arrived)) == (0, 3)


def test_ctrl_c_while_the_list_is_read(tmp_path: Path) -> None:
    """A signal during the list ends the run at once, and nothing was sent."""
    write_list(tmp_path, [], "cd-1", "cd-2")
    asked, arrived = asyncio.Event(), list[bytes]()

    async def hold(connection: Connection) -> None:
        arrived.append(await connection.request() or b"")
        asked.set()
        await connection.gone()

    async def main() -> Ended:
        async with listening(hold) as server:
            process = started("stop", LIST, "--host", server.url, *OPTIONS, "--only-running", cwd=tmp_path)
            await asyncio.wait_for(asked.wait(), WAIT_S)
            process.send_signal(signal.SIGINT)
            return await asyncio.to_thread(ended, process)

    run = asyncio.run(main())
    assert (run.code, len(arrived)) == (130, 1)
    assert "ended before anything was sent" in run.err
    assert names_in(tmp_path) == [LIST]


# --- schedules ------------------------------------------------------------------------------------------------------


def test_schedules_are_disabled(here: Here, tmp_path: Path) -> None:
    """Every recurring campaign is stopped and its schedule disabled, as lines and summary say."""
    everyone = population()
    recurring = {each.campaign_id: each.name for each in everyone.values() if each.recurring}
    assert len(recurring) > 10
    write_list(tmp_path, everyone.values())
    with populated(tmp_path) as sim:
        run = here.stop(sim, *OPTIONS, "--disable-schedule", "--quota", "none")
        assert sorted(stopped(sim)) == sorted(everyone)
        assert sorted(disabled(sim)) == sorted(recurring.values())
        found = here(
            "discover",
            *("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", "--quota", "none"),
            *("--status", "Stopped,Completed,Ready"),
        )
    assert run.code == 0, run.err
    assert Counter(row["recurring"] for row in csv.DictReader(found.out.splitlines())) == {"false": COUNT}
    said = {name: line["schedule"] for name, line in lines_of(tmp_path).items()}
    assert said == {name: "disabled" if name in recurring else "none" for name in everyone}
    counted = f"{len(recurring)} disabled, {COUNT - len(recurring)} none"
    assert re.search(rf"^  schedules +{counted}$", run.err, re.MULTILINE)


def test_schedules_in_csv(here: Here, tmp_path: Path) -> None:
    """The result field is a column of a CSV result file, and `--resume` reads it back."""
    given = [each for each in population().values() if each.recurring][:3]
    write_list(tmp_path, given, "cd-unlisted")
    with populated(tmp_path) as sim:
        run = here.stop(sim, *OPTIONS, "--disable-schedule", "-o", "r.csv")
        assert run.code == 1
        (header, *rows) = csv.reader((tmp_path / "r.csv").read_text().splitlines())
        assert header[-2:] == ["schedule", "stop_at"]
        assert sorted(row[-2].partition(":")[0] for row in rows) == ["disabled"] * 3 + ["failed"]
        assert here.stop(sim, *OPTIONS, "-o", "r.csv", "--resume").code == 0
        assert stopped(sim)[-1] == "cd-unlisted"
        assert len(stopped(sim)) == 5


async def test_what_is_at_rest_starts_no_more(tmp_path: Path) -> None:
    """With both options, a stopped recurring campaign gets no stop, but its schedule is disabled."""
    async with Simulator(SimulatorOptions(campaigns=COUNT, seed=SEED)) as sim:
        resting = [each for each in sim.campaigns.values() if each.status in AT_REST][:4]
        for each in resting[:2]:
            each.scheduled = each.recurring = True
        running = [each for each in sim.campaigns.values() if each.recurring and each not in resting][:2]
        write_list(tmp_path, [*resting, *running])
        run = await asyncio.to_thread(stop, sim.url, *BOTH, cwd=tmp_path)
        asked = [request for request in sim.requests if request.operation is Operation.STOP]
        assert {request.campaign_id for request in asked} == {each.campaign_id for each in running}
        assert not any(each.recurring for each in (*resting, *running))
    assert run.code == 0, run.err
    lines = lines_of(tmp_path)
    assert [lines[each.campaign_id]["schedule"] for each in resting] == ["disabled"] * 2 + ["none"] * 2
    assert {lines[each.campaign_id]["attempts"] for each in resting} == {0}


async def test_names_that_clash(tmp_path: Path) -> None:
    """If two campaigns share a name, neither is disabled, with exit 1; once they differ, `--resume` finishes."""
    async with Simulator(SimulatorOptions(campaigns=COUNT, seed=SEED)) as sim:
        first, second = [each for each in sim.campaigns.values() if each.recurring][:2]
        name, first.name = first.name, second.name
        write_list(tmp_path, [first, second])
        run = await asyncio.to_thread(stop, sim.url, "--disable-schedule", cwd=tmp_path)
        assert run.code == 1
        assert re.search(r"^  schedules +2 failed$", run.err, re.MULTILINE)
        assert {line["schedule"] for line in results(tmp_path / LINE)} == {"failed: 2 campaigns have that name"}
        assert {line["outcome"] for line in results(tmp_path / LINE)} == {"stopped"}
        assert first.recurring
        assert second.recurring
        first.name = name
        run = await asyncio.to_thread(stop, sim.url, "--disable-schedule", "--resume", cwd=tmp_path)
        assert (run.code, first.recurring, second.recurring) == (0, False, False), run.err
        assert {line["schedule"] for line in lines_of(tmp_path).values()} == {"disabled"}


async def test_another_campaign_of_that_name(tmp_path: Path) -> None:
    """If the service disables another campaign's schedule, this is reported and not counted as success."""
    async with Simulator(SimulatorOptions(campaigns=COUNT, seed=SEED)) as sim:
        first, second = [each for each in sim.campaigns.values() if each.recurring][:2]
        first.name, second.name = second.name, "another"  # the service still finds the second by its old name
        write_list(tmp_path, [first])
        run = await asyncio.to_thread(stop, sim.url, "--disable-schedule", cwd=tmp_path)
    assert run.code == 1
    (line,) = results(tmp_path / LINE)
    told = f"failed: the service disabled the schedule of another campaign of that name: {second.campaign_id}"
    assert (line["outcome"], line["schedule"]) == ("stopped", told)
    assert re.search(rf"ERROR +schedule_of_another_disabled .*{second.campaign_id}", run.err)


async def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python program sets the same two settings."""
    monkeypatch.chdir(tmp_path)
    async with Simulator(SimulatorOptions(campaigns=COUNT, seed=SEED)) as sim:
        write_list(tmp_path, sim.campaigns.values())
        settings = Settings(
            host=sim.url, token=TOKEN, quota="none", quota_store="memory", only_running=True, disable_schedule=True
        )
        summary = await stop_async([LIST], settings, output=LINE)
        assert (summary.exit_code, summary.calls, summary.rows_with_lines) == (0, len(sim.requests), COUNT)
        assert summary.stats.outcomes[Outcome.STOPPED] > 0
        assert summary.stats.schedules["disabled"] == sum(request.operation == "schedule" for request in sim.requests)
        assert not any(each.recurring for each in sim.campaigns.values())


async def test_waiting_for_the_list_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says why nothing is stopped yet."""
    async with Simulator(SimulatorOptions(campaigns=5, seed=SEED)) as sim:
        settings = Settings(
            host=sim.url, token=TOKEN, quota=(Limit(1, 0.1),), quota_store="memory", disable_schedule=True
        )
        with caplog.at_level(logging.INFO, "bulkstop"):
            first = next(iter(sim.campaigns.values()))
            row = Campaign.of_row(
                first.campaign_id, first.campaign_type or CampaignType.SMS, "a1", "st-1", "st-1", "", 1
            )
            assert (await stop_async([row], settings)).exit_code == 0
    assert [vars(record)["event"] for record in caplog.records][:3] == ["began", "resting", "listed"]


# --- broken off -----------------------------------------------------------------------------------------------------


def broken_off(sim: Simulated, cwd: Path, *, calls: int, signum: int) -> Ended:
    """Begin a run with a few calls left in its quota, and end it when they are used."""
    options = (*OPTIONS, *BOTH, "--quota", f"{calls}/1h", "--concurrency", "4")
    process = started("stop", LIST, "--host", sim.url, *options, cwd=cwd)
    try:
        while process.poll() is None and sim.log.read_bytes().count(b"\n") < calls:
            os.sched_yield()
        process.send_signal(signum)
        out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    return checked(Ended(process.returncode, out, err))


@pytest.mark.parametrize("calls", [40, 61])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_going_on_after_a_break(signum: int, calls: int, tmp_path: Path, here: Here) -> None:
    """After an interruption, `--resume` leads to the same end: all is stopped, all schedules are disabled."""
    everyone = population()
    write_list(tmp_path, everyone.values())
    at_rest = {name for name, each in everyone.items() if each.status in AT_REST}
    with populated(tmp_path) as sim:
        run = broken_off(sim, tmp_path, calls=calls, signum=signum)
        assert run.code == (130 if signum == signal.SIGINT else -signum)
        between = len(stopped(sim))
        assert between < len(everyone) - len(at_rest)
        run = here.stop(sim, *OPTIONS, *BOTH, "--quota", "none", "--resume")
        assert run.code == 0, run.err
        assert set(stopped(sim)) == set(everyone) - at_rest
        claimed = sum(each.status not in (*AT_REST, "Active") for each in everyone.values())
        assert len(stopped(sim)) <= len(set(stopped(sim))) + 4 + claimed
        assert set(disabled(sim)) == {each.name for each in everyone.values() if each.recurring}
    lines = lines_of(tmp_path)
    assert {line["outcome"] for line in lines.values()} <= {"stopped", "already_stopped"}
    assert {name for name, line in lines.items() if line["schedule"] == "disabled"} <= {
        each.campaign_id for each in everyone.values() if each.recurring
    }
    assert len(lines) == COUNT
    assert {line["schedule"] for line in lines.values()} == {"disabled", "none"}
