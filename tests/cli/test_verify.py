"""`bulkstop verify` as a process, against the simulator as a process: its findings, messages, files and exit codes."""

import asyncio
import json
import re
import signal
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.stop import formats
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.simulator.campaigns import Campaigns, SimulatedCampaign
from bulkstop.text.cells import unescape_cell
from tests.processes import (
    WAIT_S,
    Ended,
    Simulated,
    bulkstop,
    bulkstop_to,
    ended,
    results,
    shell,
    simulator,
    started,
)
from tests.servers import http, listening, replying

pytestmark = pytest.mark.real

COUNT, SEED, CHURN = 1000, 5, 12
RESULTS = "list.csv.results.jsonl"
AGAIN = f"{RESULTS}.running.csv"
FREE = ("--quota", "none")
WORDS = {"still running": "running", "scheduled    ": "scheduled", "not running  ": "not_running"}
HEADER = (
    "campaign_id,campaign_type,account_id,stream_id,iid,name,status,priority,recurring,updated_at,"
    "dialing_mode,execution_type,instance_updated_at,messages_sent"
)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Run a simulator whose campaigns do not change."""
    with simulator(tmp_path_factory.mktemp("still"), "--campaigns", str(COUNT), "--seed", str(SEED)) as found:
        yield found


@cache
def population() -> dict[str, SimulatedCampaign]:
    """Return the simulator's initial campaigns."""
    return Campaigns(count=COUNT, seed=SEED, any_id=False).by_id


def state(campaign: SimulatedCampaign) -> str:
    """Return the expected state of a campaign of the simulator."""
    if campaign.status in ("Scheduled", "Rescheduled"):
        return "scheduled"
    if campaign.status not in ("Stopped", "Completed", "Ready"):
        return "running"
    if campaign.status == "Ready" and campaign.scheduled and not campaign.recurring:
        return "scheduled"
    return "runs_again" if campaign.recurring else "not_running"


def result(campaign_id: str, outcome: Outcome = Outcome.STOPPED, line: int = 2, **more: Any) -> Result:
    """Return the result of a voice campaign."""
    known: dict[str, Any] = {"campaign_type": CampaignType.VOICE, "account_id": "a1", "stream_id": "st-1"}
    return Result(campaign_id, outcome=outcome, source="list.csv", line=line, **(known | more))


def write(folder: Path, *found: Result, name: str = RESULTS) -> None:
    """Write a result file."""
    is_csv = name.endswith(".csv")
    head = formats.csv_header() if is_csv else b""
    (folder / name).write_bytes(head + b"".join(map(formats.to_csv if is_csv else formats.to_json, found)))


def write_all(folder: Path, *states: str, account: str = "a1", name: str = RESULTS) -> list[str]:
    """Write the results of all campaigns that satisfy a condition; return their ids."""
    found = [each for each in population().values() if not states or state(each) in states]
    kinds = {each.campaign_id: each.campaign_type for each in found}
    rows = [
        result(key, line=n, campaign_type=kind, account_id=account) for n, (key, kind) in enumerate(kinds.items(), 2)
    ]
    write(folder, *rows, name=name)
    return list(kinds)


def verify(sim: Simulated | str, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run the command against a service."""
    host = sim if isinstance(sim, str) else sim.url
    return bulkstop("verify", *(args or (RESULTS,)), "--host", host, *FREE, cwd=cwd, **variables)


def rows_of(text: str) -> list[dict[str, str]]:
    """Read a CSV list."""
    header, *found = text.splitlines()
    assert header == HEADER
    return [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in found]


# --- what is found --------------------------------------------------------------------------------------------------


def test_nothing_runs(still: Simulated, tmp_path: Path) -> None:
    """If all campaigns are at rest, the command says so, and writes nothing."""
    ids = write_all(tmp_path, "not_running")
    run = verify(still, cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert len(ids) > 200
    others = Counter(state(each) for each in population().values() if each.status != "Paused")
    running, scheduled = others["running"], others["scheduled"]
    run_too = f"{running + scheduled} others"
    assert re.fullmatch(
        rf"Verification\n  not running  {len(ids)}\n  campaigns    {len(ids)}\n"
        rf"  others       {running} still running, {scheduled} scheduled in the same lists; --all counts them\n"
        rf"  asked        2\d calls in \d\.\d s\nDONE: none of {len(ids)} runs; {run_too} in the same lists do\n",
        run.out,
    )
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS]
    (tmp_path / AGAIN).write_text("older\n")
    assert verify(still, RESULTS, "--quiet", "--overwrite", cwd=tmp_path) == Ended(0, "", "")
    assert rows_of((tmp_path / AGAIN).read_text()) == []
    loud = verify(still, RESULTS, "--quiet", "--all", cwd=tmp_path)
    assert (loud.code, f"NOT STOPPED: {run_too}" in loud.out) == (1, True)


def test_what_still_runs(still: Simulated, tmp_path: Path) -> None:
    """All that runs, is scheduled or runs again is in a private list that `stop` accepts."""
    ids = write_all(tmp_path)
    run = verify(still, cwd=tmp_path)
    assert run.code == 1
    states = Counter(map(state, population().values()))
    counted = [f"  {word}  {states[name]}" for word, name in WORDS.items()]
    assert run.out.splitlines()[1:5] == [*counted, f"  campaigns      {COUNT:,}"]
    *shown, verdict, hint = run.out.partition("\nstate ")[2].splitlines()[1:]
    still_on, to_come = states["running"], states["scheduled"]
    assert verdict == (
        f"NOT STOPPED: {still_on + to_come} of {COUNT:,} ({still_on} still running, {to_come} scheduled)"
    )
    assert re.match(r"To stop them: .* stop ", hint)
    assert Counter(line[:13] for line in shown) == {
        "still running": states["running"],
        "scheduled    ": states["scheduled"],
    }
    open_ids = [name for name in ids if state(population()[name]) != "not_running"]
    rows = rows_of((tmp_path / AGAIN).read_text())
    assert Counter(row["campaign_id"] for row in rows) == Counter(open_ids)
    assert all(population()[row["campaign_id"]].campaign_type == row["campaign_type"] for row in rows)
    assert all(population()[row["campaign_id"]].name == row["name"] for row in rows)
    assert stat.S_IMODE((tmp_path / AGAIN).stat().st_mode) == 0o600
    assert re.fullmatch(
        rf"To stop them: .* stop {AGAIN} --host {still.url} .* --expect {len(rows)}", run.out.splitlines()[-1]
    )
    plan = bulkstop("stop", AGAIN, "--host", still.url, "--dry-run", "--json", *FREE, cwd=tmp_path)
    assert json.loads(plan.out)["to_send"] == len(rows)


@pytest.mark.full
def test_while_they_change(tmp_path: Path) -> None:
    """In lists of many pages that change after every call, each campaign is reported once, in a state that it had."""
    write_all(tmp_path)
    options = ("--campaigns", str(COUNT), "--seed", str(SEED), "--churn", str(CHURN))
    with simulator(tmp_path, *options) as sim:
        run = verify(sim, RESULTS, "--json", cwd=tmp_path)
        requests = sim.requests()
    told = json.loads(run.out)
    assert (run.code, told["campaigns"], told["calls"]) == (1, COUNT, len(requests))
    assert {request["operation"] for request in requests} == {"list"}
    assert 20 < len(requests) < 40
    was = {name: {state(campaign)} for name, campaign in population().items()}
    campaigns = Campaigns(count=COUNT, seed=SEED, any_id=False)
    for _ in requests:
        campaigns.churn(CHURN, "2025-12-05T00:00:00.000Z")
        for name, campaign in campaigns.by_id.items():
            was[name].add(state(campaign))
    found = {each["campaign_id"]: each["state"] for each in told["findings"]}
    assert len(found) == len(told["findings"]) == COUNT - told["states"]["not_running"]
    assert {name for name in was if found.get(name, "not_running") not in was[name]} == set()
    assert sum(len(states) > 1 for states in was.values()) > 100  # otherwise nothing changed
    assert {row["campaign_id"] for row in rows_of((tmp_path / AGAIN).read_text())} == set(found)


@pytest.mark.full
def test_after_a_stop(tmp_path: Path) -> None:
    """Stopped campaigns are at rest; one that a schedule starts again is reported, because a stop does not end that."""
    with simulator(tmp_path, "--campaigns", "120", "--seed", "3") as sim:
        where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", *FREE)
        bulkstop("discover", *where, "--status", "Active,Scheduled", "-o", "list.csv", cwd=tmp_path)
        stopped = bulkstop("stop", "list.csv", *where, "--yes", "--quiet", cwd=tmp_path)
        run = verify(sim, cwd=tmp_path)
    assert stopped.code == 0
    rows = rows_of((tmp_path / "list.csv").read_text())
    again = [row["campaign_id"] for row in rows if row["recurring"] == "true"]
    assert 0 < len(again) < len(rows)
    assert run.code == 1
    assert f"  will run again  {len(again)}\n  not running     {len(rows) - len(again)}\n" in run.out
    assert {row["campaign_id"] for row in rows_of((tmp_path / AGAIN).read_text())} == set(again)
    assert f"(a schedule starts {len(again)} of them again; --disable-schedule ends that): " in run.out


@pytest.mark.full
def test_what_was_never_stopped(still: Simulated, tmp_path: Path) -> None:
    """Rows that were not sent or failed are checked; protected ones may run; rows without a campaign are counted."""
    runs, other = [name for name, each in population().items() if each.status == "Active" and "5" in each.name][:2]
    kinds = {name: population()[name].campaign_type for name in (runs, other)}
    write(
        tmp_path,
        result(runs, Outcome.NOT_SENT, campaign_type=kinds[runs]),
        result(other, Outcome.PROTECTED, 3, campaign_type=kinds[other]),
        result("", Outcome.INVALID, 4, error="no campaign id"),
    )
    run = verify(still, cwd=tmp_path)
    assert run.code == 1
    assert "  still running  1\n  campaigns      1\n  protected      1, as it is; " in run.out
    assert (
        "\n  invalid rows   1, which names no campaign\n                 list.csv line 4: no campaign id\n" in run.out
    )
    assert re.search(rf"^still running  Active  {runs} .*  not_sent  Campaign \d+$", run.out, re.MULTILINE)
    assert other not in run.out
    assert [row["campaign_id"] for row in rows_of((tmp_path / AGAIN).read_text())] == [runs]


@pytest.mark.full
def test_what_could_not_be_used(tmp_path: Path) -> None:
    """A campaign of an unusable row may run, so it is checked; one that cannot be checked is named."""
    with simulator(tmp_path, "--campaigns", "60", "--seed", "3") as sim:
        where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", *FREE)
        bulkstop("discover", *where, "--status", "Active", "--type", "voice", "-o", "list.jsonl", cwd=tmp_path)
        rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
        running, odd = [row["campaign_id"] for row in rows if not row["recurring"]][:2]
        lines_of = [{"campaign_id": running}, {"campaign_id": odd, "iid": "st 1"}, {"name": "Promo"}]
        (tmp_path / "list.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines_of))
        results_file = "list.jsonl.results.jsonl"
        stopped = bulkstop("stop", "list.jsonl", *where, "--type", "voice", "--yes", "--verify", cwd=tmp_path)
        run = verify(sim, results_file, "--overwrite", cwd=tmp_path)
        told = json.loads(verify(sim, results_file, "--json", "-o", "again.csv", cwd=tmp_path).out)
    named = "  invalid rows   1, which names no campaign\n                 list.jsonl line 3: no campaign id\n"
    for said in (stopped.err, run.out):
        assert named in said
        assert re.search(rf"^still running  Active  {odd} .*  invalid ", said, re.MULTILINE)
    assert (stopped.code, run.code, told["exit_code"], told["invalid_rows"]) == (1, 1, 1, 1)
    assert told["not_looked_at"] == [{"source": "list.jsonl", "line": 3, "campaign_id": "", "reason": "no campaign id"}]
    assert [row["campaign_id"] for row in rows_of((tmp_path / "again.csv").read_text())] == [odd]


@pytest.mark.full
class TestLastWord:
    """How `stop --verify` ends: by the verification, if the run itself succeeded."""

    def stop(self, sim: Simulated, tmp_path: Path, *args: str, recurring: bool, more: str = "") -> Ended:
        """Stop one campaign, with or without a recurring schedule, and other rows of a list."""
        voice = (each for each in population().values() if each.campaign_type is CampaignType.VOICE)
        first = next(each for each in voice if (each.recurring if recurring else each.status == "Active"))
        (tmp_path / "list.csv").write_text(f"id,type\n{first.campaign_id},voice\n{more}")
        where = ("--host", sim.url, "--account-id", "a1", "--stream-id", "st-1", *FREE)
        return bulkstop("stop", "list.csv", *where, "--yes", "--verify", *args, cwd=tmp_path)

    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[Simulated]:
        """Run a simulator whose campaigns are stopped."""
        with simulator(tmp_path, "--campaigns", str(COUNT), "--seed", str(SEED)) as sim:
            yield sim

    def test_at_rest(self, own: Simulated, tmp_path: Path) -> None:
        """Campaigns at rest for good end as the run does; --quiet then prints nothing."""
        run = self.stop(own, tmp_path, recurring=False)
        assert (run.code, run.err.splitlines()[-1]) == (0, "DONE: all 1 stopped")
        again = self.stop(own, tmp_path, "--overwrite", "--quiet", recurring=False)
        assert (again.code, again.err) == (0, "")

    @pytest.mark.parametrize("quiet", [(), ("--quiet",)])
    def test_runs_again(self, own: Simulated, tmp_path: Path, quiet: tuple[str, ...]) -> None:
        """A campaign that a schedule starts again is not stopped, whatever the run said; the command for it follows."""
        run = self.stop(own, tmp_path, *quiet, recurring=True)
        verdict, way_on = run.err.splitlines()[-2:]
        assert run.code == 1
        why = "every stop was confirmed, but --verify does not show these at rest"
        assert verdict == f"NOT STOPPED: 1 of 1 (1 will run again); {why}"
        assert way_on.startswith("To go on: ")
        assert f" stop list.csv.results.jsonl.running.csv --host {own.url} " in way_on
        assert "DONE: " not in run.err

    def test_failed(self, own: Simulated, tmp_path: Path) -> None:
        """A failed run ends with its own verdict, after the verification."""
        run = self.stop(own, tmp_path, recurring=False, more="..,voice\n")
        verdict, way_on = run.err.splitlines()[-2:]
        assert (run.code, verdict) == (1, "NOT STOPPED: 1 of 2 (1 invalid)")
        assert run.err.index("Verification") < run.err.index(verdict)
        assert way_on.startswith("To go on, correct the invalid rows of the list: ")

    def test_log_for_machines(self, own: Simulated, tmp_path: Path) -> None:
        """A JSON log has no verdict between its lines."""
        run = self.stop(own, tmp_path, "--log-json", recurring=True)
        assert run.code == 1
        assert "NOT STOPPED" not in run.err


def test_nothing_that_can_be_looked_at(tmp_path: Path) -> None:
    """If no row names a campaign, no call is made, and that is not a proof."""
    write(tmp_path, result("", Outcome.INVALID, error="no campaign id"), result("..", line=3))
    run = verify("http://127.0.0.1:1", cwd=tmp_path)
    assert (run.code, "list.csv line 3: campaign id '..' is a path step" in run.out) == (1, True)


@pytest.mark.full
def test_several_accounts_and_files(still: Simulated, tmp_path: Path) -> None:
    """Results of several files and accounts are checked, each account with its own calls; CSV is read as well."""
    ids = write_all(tmp_path, "not_running", name="one.csv")
    write_all(tmp_path, "not_running", account="a2", name="two.jsonl")
    before = len(still.requests())
    run = verify(still, "one.csv", "two.jsonl", "--iid", "app-9", cwd=tmp_path)
    assert (run.code, f"  campaigns    {2 * len(ids)}\n" in run.out) == (0, True)
    accounts = Counter(request["account_id"] for request in still.requests()[before:])
    assert accounts["a1"] == accounts["a2"] > 10


@pytest.mark.full
def test_rows_without_a_line(still: Simulated, tmp_path: Path) -> None:
    """If a run was killed, campaigns of its list may be missing from the results, so there is no proof."""
    write_all(tmp_path, "not_running")
    rows = len(results(tmp_path / RESULTS))
    section = {"began_at": "", "user": "", "machine": "", "settings": {"host": still.url}, "inputs": {}}
    manifest = {"runs": [{**section, "plan": {"rows": rows + 7}}]}
    Path(manifest_path(str(tmp_path / RESULTS))).write_text(json.dumps(manifest))
    run = verify(still, cwd=tmp_path)
    assert run.code == 1
    assert "  without line  7 rows: their run was killed, or goes on; --resume it first\n" in run.out
    assert not (tmp_path / AGAIN).exists()


# --- one by one -----------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_what_the_list_does_not_have(tmp_path: Path) -> None:
    """Campaigns that the list lacks are read individually, after a message with the number of calls."""
    write(tmp_path, *(result(f"cd-{n}", line=n) for n in range(2, 9)))
    with simulator(tmp_path, "--campaigns", "60") as sim:
        run = verify(sim, cwd=tmp_path)
        operations = [request["operation"] for request in sim.requests()]
    assert run.code == 1
    assert operations == ["list", *["status"] * 7]
    said = "voice campaigns of account a1: not all of them are in the list; reading each campaign by itself: 7 calls\n"
    assert run.err.startswith(said)
    assert "  still running  7\n" in run.out


def test_singly(still: Simulated, tmp_path: Path) -> None:
    """With --singly no list is read."""
    ids = write_all(tmp_path, "scheduled")[:3]
    kinds = {name: population()[name].campaign_type for name in ids}
    write(tmp_path, *(result(name, line=n, campaign_type=kind) for n, (name, kind) in enumerate(kinds.items(), 2)))
    before = len(still.requests())
    assert verify(still, RESULTS, "--singly", cwd=tmp_path).code == 1
    assert [request["operation"] for request in still.requests()[before:]] == ["status"] * 3


# --- within the quota -----------------------------------------------------------------------------------------------


@pytest.mark.full
def test_within_the_quota(tmp_path: Path) -> None:
    """Lists and single calls together keep the quota of the account, by the server's own log."""
    write_all(tmp_path)
    with (tmp_path / RESULTS).open("ab") as file:
        file.writelines(formats.to_json(result(f"cd-{n}", line=n)) for n in range(5000, 5008))
    options = ("--campaigns", str(COUNT), "--seed", str(SEED), "--quota", "12/500ms")
    with simulator(tmp_path, *options) as sim:
        run = bulkstop("verify", RESULTS, "--host", sim.url, "--quota", "12/500ms", "--quiet", cwd=tmp_path)
        requests = sim.requests()
    assert (run.code, run.err) == (1, "")
    assert Counter(request["operation"] for request in requests)["status"] == 8
    assert {request["status"] for request in requests} == {200}
    times = sorted(request["arrived_monotonic_s"] for request in requests)
    assert len(times) > 30
    assert min(later - first for first, later in zip(times, times[12:], strict=False)) >= 0.5


@pytest.mark.full
def test_one_quota_with_stop(tmp_path: Path) -> None:
    """The calls of `stop` count: a long wait is reported, and a signal ends it at once."""
    with simulator(tmp_path) as sim:
        (tmp_path / "list.csv").write_text(
            "id,type,account_id,stream_id\n" + "".join(f"cd-{n},sms,a1,st\n" for n in "123")
        )
        quota = ("--host", sim.url, "--quota", "3/1h", "--account-id", "a1", "--stream-id", "st-1", "--type", "sms")
        assert bulkstop("stop", "list.csv", *quota, "--yes", "--quiet", cwd=tmp_path).code == 0
        process = started("verify", RESULTS, *quota, cwd=tmp_path)
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        run = ended(process)
        operations = {request["operation"] for request in sim.requests()}
    assert re.fullmatch(r"waiting \d+ min: account a1: its quota is used up\n", said)
    assert (run.code, operations) == (130, {"stop"})
    assert "  ended      before everything was read\n" in run.out
    assert not (tmp_path / AGAIN).exists()


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_ended_by_a_signal(tmp_path: Path) -> None:
    """A signal ends it at once, during a call; nothing is written."""
    write(tmp_path, *(result(f"cd-{n}", line=n) for n in range(2, 50)))
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with simulator(tmp_path, "--latency", "60000") as sim:
        processes = [started("verify", RESULTS, "--host", sim.url, *FREE, cwd=tmp_path) for _ in signals]
        give_up = time.monotonic() + WAIT_S
        while len(sim.requests()) < len(signals) and time.monotonic() < give_up:
            time.sleep(0.02)
        for process, signum in zip(processes, signals, strict=True):
            process.send_signal(signum)
        runs = [ended(process) for process in processes]
    assert [run.code for run in runs] == [130, 143, 129]
    assert not any("cd-" in run.out for run in runs)
    assert not (tmp_path / AGAIN).exists()


def test_no_network(tmp_path: Path) -> None:
    """If no state is known at all, that has its own exit code, and no list."""
    write(tmp_path, result("cd-1"), result("cd-2", line=3))
    run = verify("http://127.0.0.1:9", RESULTS, "--attempts", "1", cwd=tmp_path)
    assert run.code == 3
    assert run.err == ""
    assert run.out.count("ECONNREFUSED") == 1
    assert run.out.endswith("\nNOT PROVEN: 2 of 2 (2 not known)\n")
    assert not (tmp_path / AGAIN).exists()


@pytest.mark.full
def test_no_token(still: Simulated, tmp_path: Path) -> None:
    """Without credentials no call is made; a command without a token is a separate reason."""
    write(tmp_path, result("cd-1"))
    run = verify(still, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: no credentials: ")
    run = verify(still, RESULTS, "--token-command", "false", cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 3
    assert run.err.startswith("bulkstop: token command failed with exit code 1; ")


@pytest.mark.full
@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>\x1b[2Jbusy</html>"),
        http(b'{"status":"success","data":{"results":[{"_id":"other"}],"hasMore":true,"totalResults":-1}}'),
        http(b"", "Location: http://127.0.0.1:9/", status="302 Found"),
        b"\x00\xff\r\n\r\n",
    ],
)
async def test_hostile_answers(answer: bytes, tmp_path: Path) -> None:
    """Hostile responses are not states: nothing is reported, and none of their text reaches a terminal."""
    write(tmp_path, result("cd-1"), result("cd-2", line=3))
    async with listening(replying(answer, "keep" if b"Content-Length" in answer else "close")) as server:
        run = await asyncio.to_thread(verify, server.url, RESULTS, "--attempts", "1", cwd=tmp_path)
        assert len(server.requests) < 12
    assert run.code == 3
    assert all(char.isprintable() or char == "\n" for char in run.out + run.err)
    assert "  not known  2\n" in run.out


@pytest.mark.full
async def test_hostile_texts(tmp_path: Path) -> None:
    """Ids, names and states with escape sequences, line breaks or formulas forge neither a line nor a list."""
    names = ["=cd-1", "cd-\u202e2", "cd-\u20663"]
    write(tmp_path, *(result(name, line=n) for n, name in enumerate(names, 2)))
    rows = [
        {"_id": name, "name": "=1+1\x1b[2J\nnot running", "status": "Act\rive\x1b[0m", "updatedAt": "\x9b"}
        for name in names
    ]
    body = json.dumps({"status": "success", "data": {"results": rows, "hasMore": False}}).encode()
    async with listening(replying(http(body))) as server:
        run = await asyncio.to_thread(verify, server.url, RESULTS, "--any-id", cwd=tmp_path)
    assert run.code == 1
    assert all(char.isprintable() or char == "\n" for char in run.out + run.err)
    assert sum(line.startswith("still running  Act ive [0m  ") for line in run.out.splitlines()) == 3
    assert "not running" not in re.sub(r".\[2J.not running$", "", run.out, flags=re.MULTILINE)
    listed = (tmp_path / AGAIN).read_bytes().split(b"\n")
    assert [unescape_cell(line.split(b",")[0].decode()) for line in listed[1:-1]] == names
    assert all(line.decode().isprintable() for line in listed)
    assert all(b",'=1+1" in line for line in listed[1:-1])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument"),
        (["empty.jsonl"], "the list is empty; nothing was asked for"),
        ([RESULTS, "--all", "--singly"], "--all: needs the lists"),
        (["other.jsonl"], ": other.jsonl is of a run at https://other.test; give that, or other results"),
        ([RESULTS, "-o", "there.csv"], "there.csv: exists already; give --overwrite"),
        (
            [RESULTS, "-o", "gone/x.csv"],
            "gone/x.csv: cannot be opened (No such file or directory); give -o with another file",
        ),
        ([RESULTS, "-o", "list.txt"], "-o list.txt: the format is unknown: name it .csv, .jsonl, .ndjson"),
        ([RESULTS, "-o", RESULTS, "--overwrite"], f"-o {RESULTS}: is a result file, which the list would replace"),
        ([RESULTS, "-o", "-", "--json"], "-o -: standard output already takes --json"),
        ([RESULTS, "--ca", "gone.pem"], "--ca gone.pem: cannot be read"),
        ([RESULTS, "--waves", "1"], "No such option"),
    ],
)
def test_refused(args: Sequence[str], said: str, still: Simulated, tmp_path: Path) -> None:
    """An impossible command is one line and exit 2, without any call."""
    write(tmp_path, result("cd-1"))
    write(tmp_path, result("cd-1"), name="other.jsonl")
    section = {"began_at": "", "user": "", "machine": "", "inputs": {}, "plan": {"rows": 1}}
    manifest = {"runs": [{**section, "settings": {"host": "https://other.test"}}]}
    Path(manifest_path(str(tmp_path / "other.jsonl"))).write_text(json.dumps(manifest))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "list.csv").write_text("campaign_id,type\ncd-1,voice\n")
    (tmp_path / "there.csv").write_text("mine")
    before = len(still.requests())
    run = bulkstop("verify", *args, "--host", still.url, *FREE, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert run.err.count("\n") == 1
    assert len(still.requests()) == before
    assert (tmp_path / "there.csv").read_text() == "mine"


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_straight_into_stop(tmp_path: Path) -> None:
    """With -o - the list goes to standard output, the verdict to standard error: a pipe stops what still runs."""
    write(tmp_path, *(result(f"cd-{n}", line=n) for n in range(2, 5)))
    with simulator(tmp_path) as sim:
        where = f"--host {sim.url} --quota none"
        script = f"bulkstop verify {RESULTS} {where} -o - | bulkstop stop - --format csv {where} --expect 3"
        run = shell(script, cwd=tmp_path)
        again = verify(sim, cwd=tmp_path)
    assert (run.code, run.out) == (0, "")
    assert "still running  Active  cd-2" in run.err
    assert (again.code, [line["outcome"] for line in results(next(tmp_path.glob("stdin-*.results.jsonl")))]) == (
        0,
        ["stopped"] * 3,
    )


@pytest.mark.full
def test_an_older_list(still: Simulated, tmp_path: Path) -> None:
    """An older list is not mistaken for a new one: the new one has a number, or replaces it, even if empty."""
    write_all(tmp_path, "running")
    assert verify(still, cwd=tmp_path).code == 1
    older = (tmp_path / AGAIN).read_text()
    assert len(rows_of(older)) > 100
    for number in (2, 3):
        name = f"{RESULTS}.running-{number}.csv"
        assert f"stop {name} " in verify(still, cwd=tmp_path).out
        assert (tmp_path / name).read_text() == (tmp_path / AGAIN).read_text() == older
    assert verify(still, RESULTS, "--overwrite", cwd=tmp_path).code == 1
    write_all(tmp_path, "not_running")
    run = verify(still, RESULTS, "--overwrite", cwd=tmp_path)
    assert (run.code, (tmp_path / AGAIN).read_text()) == (0, f"{HEADER}\n")
    assert run.err == f"{AGAIN}: is now an empty list, because nothing has to be stopped again\n"


def test_a_plain_list(still: Simulated, tmp_path: Path) -> None:
    """A list for `stop` is checked, in any format, completed by the settings; beside results as well."""
    by_state = {state(each): each for each in population().values() if each.campaign_type is CampaignType.VOICE}
    rest, running = by_state["not_running"].campaign_id, by_state["running"].campaign_id
    (tmp_path / "ids.txt").write_text(f"{rest}\n")
    (tmp_path / "list.jsonl").write_text(json.dumps({"id": running, "streamId": "st-1"}) + "\n")
    fill = ("--type", "voice", "--account-id", "a1", "--stream-id", "st-1")
    run = verify(still, "ids.txt", *fill, cwd=tmp_path)
    assert (run.code, run.out.splitlines()[-1].partition(";")[0]) == (0, "DONE: none of 1 runs")
    write(tmp_path, result(rest))
    run = verify(still, "list.jsonl", RESULTS, *fill, cwd=tmp_path)
    assert (run.code, "NOT STOPPED: 1 of 2 (1 still running)" in run.out) == (1, True)
    assert re.search(r"stop list\.jsonl\.running\.csv .*--expect 1$", run.out, re.MULTILINE)
    assert re.search(rf"^still running .*{running} .*  -  +Campaign \d+$", run.out, re.MULTILINE)
    told = json.loads(verify(still, "list.jsonl", *fill, "--json", cwd=tmp_path).out)
    assert [(each["campaign_id"], each["outcome"]) for each in told["findings"]] == [(running, None)]
    args = ("-", "--format", "txt", "--host", still.url, *FREE, *fill)
    piped = bulkstop("verify", *args, cwd=tmp_path, stdin=running)
    assert piped.code == 1
    assert re.search(r"stop stdin\.running\.csv .*--expect 1$", piped.out, re.MULTILINE)


@pytest.mark.full
def test_others_that_run(tmp_path: Path) -> None:
    """With `--all` other running campaigns of the same lists count and are listed, except protected ones."""
    with simulator(tmp_path, "--campaigns", "40", "--seed", "3") as sim:
        found = Campaigns(count=40, seed=3, any_id=False).by_id.values()
        voice = [each for each in found if each.campaign_type is CampaignType.VOICE]
        others = [each.campaign_id for each in voice if state(each) != "not_running" and each.status != "Paused"]
        write(tmp_path, result(next(each.campaign_id for each in voice if state(each) == "not_running")))
        assert verify(sim, cwd=tmp_path).code == 0
        run = verify(sim, RESULTS, "--all", cwd=tmp_path)
        assert (run.code, f"NOT STOPPED: {len(others)} others (" in run.out) == (1, True)
        rows = rows_of((tmp_path / AGAIN).read_text())
        assert {row["campaign_id"] for row in rows} == set(others)
        (tmp_path / "keep.txt").write_text("\n".join(others))
        (tmp_path / "bulkstop.toml").write_text('[profile.default]\nprotect = ["keep.txt"]\n')
        assert verify(sim, RESULTS, "--all", cwd=tmp_path).out.endswith("\nDONE: none of 1 runs\n")


@pytest.mark.full
def test_lines_of_json(still: Simulated, tmp_path: Path) -> None:
    """The list can be JSON lines, also below /dev, where some files are not devices."""
    ids = write_all(tmp_path, "scheduled")
    with TemporaryDirectory(dir="/dev/shm") as memory:
        for target in ("again.jsonl", f"{memory}/again.jsonl"):
            assert verify(still, RESULTS, "-o", target, "--quiet", cwd=tmp_path).code == 1
            assert {line["campaign_id"] for line in results(tmp_path / target)} == set(ids)


def test_for_machines(still: Simulated, tmp_path: Path) -> None:
    """With --json standard output is a single object."""
    ids = write_all(tmp_path, "scheduled")
    run = verify(still, RESULTS, "--json", cwd=tmp_path)
    told = json.loads(run.out)
    assert (run.err, run.out.count("\n")) == ("", 1)
    assert (told["exit_code"], told["states"]["scheduled"], len(told["findings"])) == (1, len(ids), len(ids))
    assert (told["host"], told["results"], told["list"]) == (still.url, [RESULTS], AGAIN)


@pytest.mark.full
def test_a_disk_that_is_full(still: Simulated, tmp_path: Path) -> None:
    """A list that cannot be written is reported, and the verdict remains; an unwritable verdict is a failure."""
    write_all(tmp_path, "scheduled")
    run = verify(still, RESULTS, "-o", "/dev/full", cwd=tmp_path)
    assert (run.code, run.err) == (1, "bulkstop: /dev/full: cannot be written (No space left on device)\n")
    assert run.out.count("\nscheduled  ") > 50
    write_all(tmp_path, "not_running")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        said = bulkstop_to(full.fileno(), "verify", RESULTS, "--host", still.url, *FREE, cwd=tmp_path)
    assert (said.code, said.err) == (
        3,
        "bulkstop: standard output: the verdict cannot be written (No space left on device)\n",
    )


@pytest.mark.full
def test_a_reader_that_leaves(still: Simulated, tmp_path: Path) -> None:
    """A reader that closes early causes no traceback, and the list is written."""
    write_all(tmp_path)
    script = f"bulkstop verify {RESULTS} --host {still.url} {' '.join(FREE)} --quiet | head -n 1"
    run = shell(script, cwd=tmp_path)
    assert (run.out, run.err) == ("Verification\n", "")
    assert len(rows_of((tmp_path / AGAIN).read_text())) > 500
