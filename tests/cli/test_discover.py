"""`bulkstop discover` as a process, against the simulator as a process: its output, messages and exit codes."""

import asyncio
import json
import signal
import stat
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bulkstop.simulator.campaigns import Campaigns
from tests.processes import (
    WAIT_S,
    Ended,
    Simulated,
    bulkstop,
    ended,
    results,
    shell,
    simulator,
    started,
)
from tests.servers import http, listening, replying

pytestmark = pytest.mark.real

COUNT, SEED, CHURN = 1200, 7, 9
WHERE = ("--account-id", "a1", "--stream-id", "st-1")
OPEN = (*WHERE, "--quota", "none")
HEADER = (
    "campaign_id,campaign_type,account_id,stream_id,iid,name,status,priority,recurring,updated_at,"
    "dialing_mode,execution_type,instance_updated_at,messages_sent"
)
RUNS = ("Active", "Preparing")


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Run a simulator whose campaigns do not change."""
    with simulator(tmp_path_factory.mktemp("still"), "--campaigns", str(COUNT), "--seed", str(SEED)) as found:
        yield found


def discover(sim: Simulated | str, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run the command against a service."""
    host = sim if isinstance(sim, str) else sim.url
    return bulkstop("discover", "--host", host, *(args or OPEN), cwd=cwd, **variables)


def rows_of(text: str) -> list[dict[str, str]]:
    """Read a CSV list."""
    header, *lines = text.splitlines()
    assert header == HEADER
    return [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in lines]


def population(**wanted: str) -> set[str]:
    """Return the ids of the simulator's campaigns that satisfy a condition."""
    found = Campaigns(count=COUNT, seed=SEED, any_id=False).by_id.values()
    return {c.campaign_id for c in found if all(str(getattr(c, name)) == value for name, value in wanted.items())}


def all_that_run(**wanted: str) -> set[str]:
    """Return the ids of the running campaigns."""
    return population(status="Active", **wanted) | population(status="Preparing", **wanted)


def always_running(calls: int) -> tuple[set[str], set[str]]:
    """Move the simulator's campaigns on once per call; return those always running, and those ever running."""
    campaigns = Campaigns(count=COUNT, seed=SEED, any_id=False)
    always = ever = all_that_run()
    for _ in range(calls):
        campaigns.churn(CHURN, "2025-12-05T00:00:00.000Z")
        now = {c.campaign_id for c in campaigns.by_id.values() if c.status in RUNS}
        always, ever = always & now, ever | now
    return always, ever


# --- what is found --------------------------------------------------------------------------------------------------


def test_all_that_runs(still: Simulated, tmp_path: Path) -> None:
    """Every campaign of both types that runs is written once, with all that `stop` needs, into a private file.

    The others are counted by state.
    """
    run = discover(still, *OPEN, "-o", "running.csv", cwd=tmp_path)
    assert (run.code, run.out) == (0, "")
    path = tmp_path / "running.csv"
    rows = rows_of(path.read_text())
    assert len(rows) > 400
    assert Counter(row["campaign_id"] for row in rows) == Counter(all_that_run())
    for kind in ("voice", "sms"):
        ids = {row["campaign_id"] for row in rows if row["campaign_type"] == kind}
        assert ids == all_that_run(campaign_type=kind)
    assert {(row["account_id"], row["stream_id"], row["iid"]) for row in rows} == {("a1", "st-1", "st-1")}
    assert {row["status"] for row in rows} == set(RUNS)
    assert {row["dialing_mode"] for row in rows} == {"Agentless", "Progressive", "Preview", "Power", ""}
    assert {row["execution_type"] for row in rows if row["campaign_type"] == "sms"} == {"NORMAL"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["running.csv"]
    counted = Counter(row["campaign_type"] for row in rows)
    said = f"{len(rows)} campaigns ({counted['voice']} voice, {counted['sms']} sms); "
    assert run.err.startswith(f"DONE: {said}")
    rest = Counter(c.status for c in Campaigns(count=COUNT, seed=SEED, any_id=False).by_id.values())
    left_out = ", ".join(f"{number} {status}" for status, number in rest.most_common() if status not in RUNS)
    assert f" sms); left out: {left_out}; " in run.err
    assert "; written to running.csv\nTo stop them: " in run.err


def test_all_states(still: Simulated, tmp_path: Path) -> None:
    """--status all omits nothing."""
    run = discover(still, *OPEN, "--status", "all", cwd=tmp_path)
    assert len(rows_of(run.out)) == COUNT
    assert "; left out: none; " in run.err


@pytest.mark.full
def test_for_a_machine(still: Simulated, tmp_path: Path) -> None:
    """With --json, standard output is one object whose counts are those of the list."""
    run = discover(still, *OPEN, "-o", "running.csv", "--json", cwd=tmp_path)
    facts = json.loads(run.out)
    rows = rows_of((tmp_path / "running.csv").read_text())
    assert (run.code, facts["campaigns"], facts["exit_code"], facts["output"]) == (0, len(rows), 0, "running.csv")
    assert facts["states"] == Counter(row["status"] for row in rows)
    assert facts["campaigns"] + sum(facts["left_out"].values()) == COUNT
    assert discover(still, *OPEN, "--json", cwd=tmp_path).code == 2


@pytest.mark.full
def test_while_they_change(tmp_path: Path) -> None:
    """In a list of many pages that changes after every call, all that always run are found, none twice."""
    options = ("--campaigns", str(COUNT), "--seed", str(SEED), "--churn", str(CHURN))
    with simulator(tmp_path, *options) as sim:
        run = discover(sim, cwd=tmp_path)
        calls = len(sim.requests())
    assert run.code == 0
    ids = [row["campaign_id"] for row in rows_of(run.out)]
    always, ever = always_running(calls)
    assert len(ids) == len(set(ids))
    assert always <= set(ids) <= ever
    assert len(always) < len(ids)  # otherwise nothing changed
    assert 24 < calls < 90


def test_what_is_asked_for(still: Simulated, tmp_path: Path) -> None:
    """Status, type, priority and name filter the list; recurring campaigns are marked."""
    run = discover(
        still,
        *(*OPEN, "--status", "scheduled, Rescheduled", "--type", "SMS", "--priority", "1,3", "--name", "Campaign 1*"),
        *("--iid", "app-9", "-o", "some.jsonl"),
        cwd=tmp_path,
    )
    assert run.code == 0
    rows: list[dict[str, Any]] = results(tmp_path / "some.jsonl")
    by_id = Campaigns(count=COUNT, seed=SEED, any_id=False).by_id
    assert {row["campaign_id"] for row in rows} == {
        campaign.campaign_id
        for campaign in by_id.values()
        if campaign.status in ("Scheduled", "Rescheduled")
        and campaign.campaign_type == "sms"
        and campaign.priority in (1, 3)
        and campaign.name.startswith("Campaign 1")
    }
    assert [row["recurring"] for row in rows] == [by_id[row["campaign_id"]].recurring for row in rows]
    recurring = sum(row["recurring"] for row in rows)
    assert recurring
    assert f"; {recurring} recurring: a stop does not end their schedule; " in run.err
    assert {(row["campaign_type"], row["iid"]) for row in rows} == {("sms", "app-9")}


@pytest.mark.full
def test_types_from_elsewhere(still: Simulated, tmp_path: Path) -> None:
    """Without --type, the type comes from the environment, else the profile, else both; a flag overrides all."""
    (tmp_path / "bulkstop.toml").write_text(f'[profile.p]\ntype = "sms"\nhost = "{still.url}"\n')

    def types(*args: str, **variables: str) -> set[str]:
        args = ("discover", "--profile", "p", *OPEN, "--quiet", *args)
        return {row["campaign_type"] for row in rows_of(bulkstop(*args, cwd=tmp_path, **variables).out)}

    assert types() == {"sms"}
    assert types(BULKSTOP_TYPE="voice") == {"voice"}
    assert types("--type", "voice,sms", BULKSTOP_TYPE="voice") == {"voice", "sms"}


def test_nothing_found(still: Simulated, tmp_path: Path) -> None:
    """An empty list is written and reported except with --quiet; `stop` refuses it."""
    run = discover(still, *OPEN, "--name", "no such", cwd=tmp_path)
    assert run.err.startswith("DONE: no campaign matches; the list is empty; ")
    run = discover(still, *OPEN, "--name", "no such", "--quiet", cwd=tmp_path)
    assert (run.code, run.out, run.err) == (0, f"{HEADER}\n", "")
    stop = bulkstop("stop", "-", "--format", "csv", "--host", still.url, "--yes", cwd=tmp_path, stdin=run.out)
    assert stop.code == 2


@pytest.mark.full
def test_a_status_nobody_documented(still: Simulated, tmp_path: Path) -> None:
    """An unknown status is sent to the service, because it may exist; a similar one is suggested."""
    run = discover(still, *OPEN, "--status", "Active,Throttled", cwd=tmp_path)
    assert run.code == 0
    assert "bulkstop: note: --status Throttled: is not one of Active, Completed, " in run.err
    assert len(rows_of(run.out)) == len(population(status="Active"))
    assert " sms); nothing else was asked for; " in run.err


# --- in an incident -------------------------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.parametrize(("expect", "code"), [("20..500", 0), ("1..5", 2)])
def test_straight_into_stop(expect: str, code: int, tmp_path: Path) -> None:
    """Piped into `stop`, all running campaigns are stopped if their number is expected; both share one quota."""
    with simulator(tmp_path, "--campaigns", "100", "--seed", "3", "--quota", "25/1s") as sim:
        where = f"--host {sim.url} --account-id a1 --stream-id st-1 --quota 25/1s"
        script = f"bulkstop discover {where} -o - | bulkstop stop - --format csv {where} --expect {expect}"
        run = shell(script, cwd=tmp_path)
        assert (run.code, run.out) == (code, "")
        requests = sim.requests()
        assert Counter(request["status"] for request in requests)[429] == 0
        stopped = [request["campaign_id"] for request in requests if request["operation"] == "stop"]
        if code:
            assert stopped == []
            return
        again = discover(sim, cwd=tmp_path)
    assert 20 < len(stopped) == len(set(stopped))
    assert again.out == f"{HEADER}\n"
    lines = results(next(tmp_path.glob("stdin-*.results.jsonl")))
    assert {line["outcome"] for line in lines} == {"stopped"}
    assert {line["row"]["status"] for line in lines} == set(RUNS)


@pytest.mark.full
def test_a_list_that_fails_stops_nothing(tmp_path: Path) -> None:
    """If the list cannot be read completely, standard output is empty, and `stop` does nothing."""
    with simulator(tmp_path, "--campaigns", "300", "--fail", "100%") as sim:
        run = discover(sim, *OPEN, "--attempts", "2", cwd=tmp_path)
        assert (run.code, run.out) == (3, "")
        assert run.err.startswith(
            "NOT COMPLETE: the list could not be read completely; voice campaigns of account a1: HTTP 503 (<html>"
        )
        *_, verdict, way_on = run.err.splitlines()
        assert verdict.endswith("</html>); nothing was written")
        assert way_on.endswith(f" discover --host {sim.url} {' '.join(OPEN)} --attempts 2")
        assert way_on.startswith("To try again: ")
        stop = bulkstop("stop", "-", "--format", "csv", "--host", sim.url, "--yes", cwd=tmp_path, stdin=run.out)
        assert stop.code == 2
        assert {request["operation"] for request in sim.requests()} == {"list"}


# --- when the service is in trouble ---------------------------------------------------------------------------------


@pytest.mark.full
def test_throttled_in_mid_list(tmp_path: Path) -> None:
    """Discover waits for a service that refuses some calls; the list is complete."""
    options = ("--campaigns", str(COUNT), "--seed", str(SEED), "--quota", "4/300ms", "--retry-after", "0.3")
    with simulator(tmp_path, *options) as sim:
        run = discover(sim, *WHERE, "--quota", "none", "--max-retry-after", "300ms", cwd=tmp_path)
        statuses = Counter(request["status"] for request in sim.requests())
    assert (run.code, {row["campaign_id"] for row in rows_of(run.out)}) == (0, all_that_run())
    assert statuses[429] >= 1
    assert statuses[200] > 10


@pytest.mark.full
def test_within_the_quota(tmp_path: Path) -> None:
    """Within its own quota, discover is never refused."""
    options = ("--campaigns", str(COUNT), "--seed", str(SEED), "--quota", "5/400ms")
    with simulator(tmp_path, *options) as sim:
        run = discover(sim, *WHERE, "--quota", "5/400ms", cwd=tmp_path)
        statuses = Counter(request["status"] for request in sim.requests())
    assert run.code == 0
    assert len(rows_of(run.out)) == len(all_that_run())
    assert set(statuses) == {200}


def test_a_long_wait(still: Simulated, tmp_path: Path) -> None:
    """A long wait for the quota is reported, and Ctrl-C ends it at once."""
    process = started(
        "discover", "--host", still.url, *WHERE, "--quota", "3/1h", "--type", "voice", "-o", "list.csv", cwd=tmp_path
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == "waiting 60 min: account a1: its quota is used up\n"
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_is_refused(tmp_path: Path) -> None:
    """A wrong token is reported, and nothing is written."""
    with simulator(tmp_path, BULKSTOP_CLIENT_SECRET="a client secret of more than thirty-two characters") as sim:
        run = discover(sim, *OPEN, "-o", "running.csv", cwd=tmp_path)
    assert run.code == 3
    assert "voice campaigns of account a1: HTTP 401: wrong token, stream id or scope" in run.err
    assert not (tmp_path / "running.csv").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"<html>busy</html>"), "HTTP 200, but the answer is not a page of campaigns (<html>busy</html>)"),
        (b"\x00\xff\r\n\r\n", "the answer is not HTTP"),
    ],
)
async def test_no_list_at_all(answer: bytes, said: str, tmp_path: Path) -> None:
    """Any response that is not a list is reported in a line, and nothing is written."""
    async with listening(replying(answer, "keep" if b"Content-Length" in answer else "close")) as server:
        run = await asyncio.to_thread(discover, server.url, *OPEN, "--attempts", "1", cwd=tmp_path)
    assert (run.code, run.out) == (3, "")
    assert said in run.err
    assert [line.split(": ")[0] for line in run.err.splitlines()] == ["NOT COMPLETE", "To try again"]


async def test_more_for_ever(tmp_path: Path) -> None:
    """A service that always promises more is called a few times; its campaigns are written, with a doubt and exit 1."""
    rows = b'{"_id":"cd-1","status":"Active"},{"_id":"c\\nd","name":"\\u001b[2J","status":"Active"}'
    body = b'{"status":"success","data":{"results":[%s],"hasMore":false,"totalResults":9}}' % rows
    async with listening(replying(http(body))) as server:
        run = await asyncio.to_thread(discover, server.url, *OPEN, "--type", "voice", cwd=tmp_path)
        assert len(server.requests) < 10
    assert (run.code, run.out.splitlines()[1:]) == (1, ["cd-1,voice,a1,st-1,st-1,,Active,,,,,,,"])
    assert "bulkstop: note: voice campaigns of account a1: the service counts 9 but gives 2\n" in run.err
    assert "NOT COMPLETE: more may run than was found, as noted; 1 campaign (1 voice, 0 sms)" in run.err
    assert "1 left out, because they cannot be used; first: campaign 'c d': campaign id 'c\\nd' holds" in run.err


# --- what is refused, and how it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--stream-id", "st-1"], "--account-id: is missing"),
        (["--account-id", "a1"], "--stream-id: is missing"),
        (
            ["--account-id", "a\u00e9", "--stream-id", "s"],
            "--account-id: 'aé' holds U+00E9 LATIN SMALL",
        ),
        ([*WHERE, "--type", "voice,fax"], "'fax' is not one of voice, sms"),
        ([*WHERE, "--status", "Active,"], "is not a list of words"),
        ([*WHERE, "--priority", "0"], "is not a list of priorities from 1 to 5"),
        ([*WHERE, "-o", "list.txt"], "-o list.txt: the format is unknown: name it .csv, .jsonl, .ndjson"),
        ([*WHERE, "-o", "list.csv", "--format", "jsonl"], "--format jsonl: -o list.csv has the ending of csv"),
        ([*WHERE, "-o", "there.csv"], "there.csv: exists already; give --overwrite"),
        (
            [*WHERE, "-o", "gone/list.csv"],
            "gone/list.csv: cannot be opened (No such file or directory); give -o with another file",
        ),
        ([*WHERE, "--ca", "gone.pem"], "--ca gone.pem: cannot be read"),
        ([*WHERE, "--finish-by", "18:00"], "No such option"),
    ],
)
def test_refused(args: list[str], said: str, still: Simulated, tmp_path: Path) -> None:
    """An impossible command is one line and exit 2, without any call."""
    (tmp_path / "there.csv").write_text("mine")
    before = len(still.requests())
    run = discover(still, *args, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert run.err.count("\n") == 1
    assert len(still.requests()) == before
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_no_credentials(still: Simulated, tmp_path: Path) -> None:
    """Without credentials no call is made."""
    run = discover(still, *OPEN, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 2
    assert run.err.startswith("bulkstop: no credentials: ")


@pytest.mark.full
def test_replaced_when_asked_for(still: Simulated, tmp_path: Path) -> None:
    """--overwrite replaces an existing list, and only by a complete one."""
    path = tmp_path / "running.csv"
    path.write_text("old")
    dead = discover("http://127.0.0.1:9", *OPEN, "-o", "running.csv", "--overwrite", "--attempts", "1", cwd=tmp_path)
    assert (dead.code, path.read_text()) == (3, "old")
    run = discover(still, *OPEN, "-o", "running.csv", "--overwrite", "--quiet", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert len(rows_of(path.read_text())) > 400


def test_a_disk_that_is_full(still: Simulated, tmp_path: Path) -> None:
    """A list that cannot be written is a failure."""
    run = discover(still, *OPEN, "-o", "/dev/full", cwd=tmp_path)
    assert run.code == 3
    fault, verdict = run.err.splitlines()
    assert fault == "bulkstop: /dev/full: cannot be written (No space left on device)"
    assert verdict.startswith(f"NOT COMPLETE: {len(all_that_run())} campaigns (")
    assert verdict.endswith(" sms), and no list of it was written")


@pytest.mark.full
def test_ended_while_it_reads(tmp_path: Path) -> None:
    """Ctrl-C ends it at once, and leaves no file."""
    with simulator(tmp_path, "--campaigns", "500", "--latency", "60000") as sim:
        process = started("discover", "--host", sim.url, *OPEN, "-o", "running.csv", cwd=tmp_path)
        give_up = time.monotonic() + WAIT_S
        while not sim.requests() and time.monotonic() < give_up:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        run = ended(process)
    assert run.code == 130
    assert "NOT COMPLETE: ended by SIGINT; nothing was written\nTo try again: " in run.err
    assert not (tmp_path / "running.csv").exists()


@pytest.mark.full
def test_the_reader_is_gone(still: Simulated, tmp_path: Path) -> None:
    """A reader that closes early causes no traceback."""
    command = f"bulkstop discover --host {still.url} {' '.join(OPEN)} --quiet | head -c 0"
    run = shell(command, cwd=tmp_path)
    assert (run.out, run.err) == ("", "")


@pytest.mark.full
def test_unbuffered(tmp_path: Path) -> None:
    """With PYTHONUNBUFFERED, a list of which only a part is read is a failure too."""
    with simulator(tmp_path, "--campaigns", "2000") as many:
        discover = f"bulkstop discover --host {many.url} {' '.join(OPEN)}"
        run = shell(f"export PYTHONUNBUFFERED=1; set -o pipefail; {discover} | head -c 1", cwd=tmp_path)
    assert (run.code, run.out) == (1, "c")
    assert "DONE" not in run.err


def test_each_by_its_calling_hours(tmp_path: Path) -> None:
    """With --calling-hours the list has times to stop by, which `stop` plans; unchanged ones are cached."""
    hours = "9:00 AM-12:00 PM,1:30 PM-6:00 PM Asia/Kolkata"
    with simulator(tmp_path, "--campaigns", "40", "--running", "8", "--calling-hours", hours) as sim:
        first, again = (
            discover(sim, *OPEN, "--calling-hours", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path)) for _ in range(2)
        )
        asked = [request["operation"] for request in sim.requests()]
        options = ("--host", sim.url, *OPEN, "--dry-run", "--json")
        plan = bulkstop("stop", "-", *options, cwd=tmp_path, stdin=first.out)
    assert (first.code, again.code, again.out) == (0, 0, first.out)
    assert asked == ["list", "list", *["get"] * 8, "list", "list"]
    assert first.err.startswith("calling hours of 8 campaigns: 8 calls\n")
    assert again.err.startswith("calling hours of 8 campaigns: no call; 8 unchanged since the last time\n")
    (stop,) = json.loads(plan.out)["timetable"]
    assert (stop["zone"], stop["campaigns"]) == ("Asia/Kolkata", 8)
    rows = [line.rsplit(",", 2)[1:] for line in first.out.splitlines()]
    local = datetime.fromisoformat(stop["at"]).astimezone(ZoneInfo("Asia/Kolkata"))
    assert rows == [["stop_at", "timezone"], *[[f"{local:%Y-%m-%d}T18:00", "Asia/Kolkata"]] * 8]
    assert f"{local:%H:%M:%S}" == "18:00:00"
