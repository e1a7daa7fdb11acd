"""`bulkstop load` as a process, against the simulator as a process: what it sends, says, writes and exits with."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from bulkstop.report.load.requests import KEYS
from tests.cli.conftest import MakeList
from tests.loads import NOWHERE, PATIENT, WHERE, refusal
from tests.processes import (
    COMMAND,
    TOKEN,
    WAIT_S,
    Ended,
    Simulated,
    bulkstop,
    ended,
    environment,
    results,
    shell,
    simulator,
    started,
)
from tests.servers import Connection, http, listening, replying

pytestmark = pytest.mark.real


def load(sim: Simulated | str, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run the command on a service, patient with this machine."""
    host = sim if isinstance(sim, str) else sim.url
    return bulkstop("load", "--host", host, *PATIENT, *args, cwd=cwd, **variables)


def asked_for(sim: Simulated, prefix: str) -> list[str]:
    """Return the ids that begin so, of the requests that the simulator has counted."""
    return [campaign_id for campaign_id in sim.ids() if campaign_id.startswith(prefix)]


# --- what is sent and told ------------------------------------------------------------------------------------------


def test_all_is_counted(sim: Simulated, tmp_path: Path) -> None:
    """Made-up campaigns: the simulator's log, the lines, the JSON and the summary have the same number of requests."""
    run = load(
        sim,
        *(*WHERE, "--rate", "200/s", "--duration", "1s", "--id-prefix", "all-", "--json"),
        *("--results", "r.jsonl", "--hdr", "h.hlog", "--require", "errors<1%", "--require", "service.p99<60s"),
        cwd=tmp_path,
    )
    assert run.code == 0
    ids = asked_for(sim, "all-")
    rows = results(tmp_path / "r.jsonl")
    assert len(ids) == len(set(ids)) == 200
    assert sorted(row["campaign_id"] for row in rows) == sorted(ids)
    assert {tuple(row) for row in rows} == {KEYS}
    found = json.loads(run.out)
    assert (found["requests"], found["outcomes"], found["planned"]) == (200, {"stopped": 200}, 200)
    assert found["latency_ms"]["max"] == max(row["latency_ms"] for row in rows)
    assert (found["exit_code"], found["ended"], found["unsent"]) == (0, "all sent", 0)
    assert [each["held"] for each in found["required"]] == [True, True]
    assert run.err.startswith("Load test: every request is a real stop\n")
    assert "  load       200/s, for 1.0 s: 200 requests\n" in run.err
    assert "  campaigns  made up: voice campaigns all-...\n" in run.err
    assert "  stopped    200\n" in run.err
    assert "  required   errors<1%: held (0%)\n" in run.err
    assert (tmp_path / "h.hlog").read_text().startswith("#[Histogram log format version 1.3]\n#[StartTime: ")


def test_list_is_cycled(sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """A list is gone through again and again: the second stop of a campaign finds it stopped, and is no error."""
    make_list(4)
    run = load(sim, "campaigns.csv", "--closed", "--concurrency", "1", "--count", "10", cwd=tmp_path)
    assert run.code == 0
    listed = [line.split(",")[0] for line in (tmp_path / "campaigns.csv").read_text().splitlines()[1:]]
    sent = [campaign_id for campaign_id in sim.ids() if campaign_id in set(listed)]
    assert sent == (listed * 3)[:10]
    assert "  stopped          4\n" in run.err
    assert "  already_stopped  6\n" in run.err
    assert "campaigns  4 of campaigns.csv, in its order, again and again\n" in run.err


def test_list_once(sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """Without a time or a number each campaign of the list is sent once; what cannot be sent is told."""
    with make_list(5).open("a") as file:
        file.write(",voice,a1,st-1\n")
    run = load(sim, "campaigns.csv", "--rate", "500/s", "--json", cwd=tmp_path)
    assert run.code == 0
    assert json.loads(run.out)["outcomes"] == {"stopped": 5}
    line = "campaigns  5 of campaigns.csv, in its order, each once; not used: 1 invalid; first campaigns.csv line 7: "
    assert line in run.err
    first = load(sim, "campaigns.csv", "--rate", "500/s", "--count", "2", cwd=tmp_path)
    assert "campaigns  the first 2 of the 5 of campaigns.csv, in its order, each once; not used: 1 " in first.err


def test_several_processes(sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
    """Several processes together send each campaign of a list once, and there is one report."""
    make_list(31)
    run = load(sim, "campaigns.csv", "--rate", "500/s", "--processes", "2", "--json", cwd=tmp_path)
    assert run.code == 0
    found = json.loads(run.out)
    assert (found["processes"], found["requests"], found["outcomes"]) == (2, 31, {"stopped": 31})
    assert "  processes  2, each with its part of that\n" in run.err
    assert "  stopped    31\n" in run.err


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        (("--ramp", "10..190/s", "--duration", "500ms"), 50),
        (("--steps", "50,100/s", "--step", "200ms"), 30),
        (("--rate", "6000/min", "--spike", "300/s:100ms", "--duration", "500ms"), 70),
    ],
)
def test_shapes(shape: tuple[str, ...], count: int, sim: Simulated, tmp_path: Path) -> None:
    """Every shape sends as many as its rates add up to."""
    run = load(sim, *WHERE, *shape, "--json", "--quiet", cwd=tmp_path)
    assert run.code == 0
    assert json.loads(run.out)["requests"] == json.loads(run.out)["planned"] == count


@pytest.mark.parametrize("processes", ["1", "2"])
def test_rate_is_at_most_what_was_asked_for(processes: str, sim: Simulated, tmp_path: Path) -> None:
    """Twenty requests at 40/s are 40/s and no more, though the last is answered before its part of the time is over."""
    how = ("--rate", "40/s", "--count", "20", "--processes", processes, "--require", "rate>40/s", "--json", "--quiet")
    run = load(sim, *WHERE, *how, cwd=tmp_path)
    found = json.loads(run.out)
    assert found["elapsed_s"] >= 0.5
    assert 0 < found["rate"] <= 40
    assert (run.code, [each["held"] for each in found["required"]]) == (1, [False])


async def test_few_files(tmp_path: Path) -> None:
    """Where open files are what is short, it is they that are named, and not an option that changes nothing."""
    async with listening(replying(b"", end="hang")) as server:
        args = f"--host {server.url} {' '.join(WHERE)} --timeout 1 --grace 1ms --max-late 60s --max-in-flight 400"
        command = f"ulimit -n 40; bulkstop load {args} --rate 500/s --duration 200ms"
        run = await asyncio.to_thread(shell, command, cwd=tmp_path)
    assert run.code == 1
    assert "the limit on open files has no room for more\n" in run.err
    assert "raise the limit on open files (ulimit -n)\n" in run.err
    assert "--max-in-flight" not in run.err


def test_failures_are_told(tmp_path: Path) -> None:
    """Requests that fail are errors, each once; a threshold that does not hold is named, and exit 1."""
    with simulator(tmp_path, "--fail", "100%") as sim:
        run = load(
            sim,
            *(*WHERE, "--rate", "100/s", "--count", "20", "--quiet", "--require", "errors<1%"),
            *("--require", "rate>0/s", "--require", "server_error<=100%"),
            cwd=tmp_path,
        )
        assert len(sim.requests()) == 20
    assert (run.code, run.out) == (1, "")
    assert run.err == (
        "bulkstop: errors<1%: FAILED (100%)\n"
        "bulkstop: WARNING: no request stopped a campaign: all 20 requests ended as server_error (HTTP 503); "
        "the figures are those of answering so\n"
    )


@pytest.mark.parametrize("processes", ["1", "2"])
def test_why_requests_failed(processes: str, tmp_path: Path) -> None:
    """The reason stands in the summary, in the JSON and in the last line, however many processes sent."""
    args = (*WHERE, "--rate", "100/s", "--count", "8", "--json", "--processes", processes)
    run = load("http://127.0.0.1:1", *args, cwd=tmp_path)
    assert run.code == 1
    (reason,) = json.loads(run.out)["reasons"]
    assert (reason["outcome"], reason["requests"]) == ("connection_error", 8)
    assert "127.0.0.1:1" in reason["error"]
    assert f"  reason            8 connection_error: {reason['error']}\n" in run.err
    last = f"no request was answered: all 8 requests ended as connection_error ({reason['error']})"
    assert run.err.splitlines()[-1] == f"bulkstop: {last}"


def test_own_lateness(sim: Simulated, tmp_path: Path) -> None:
    """A generator that was later than allowed says so, and exits with 3, whatever else holds."""
    args = (*WHERE, "--rate", "100/s", "--count", "20", "--quiet", "--max-late", "0.00001ms", "--require", "rate>0/s")
    run = bulkstop("load", "--host", sim.url, *args, cwd=tmp_path)
    assert run.code == 3
    assert run.err.startswith("bulkstop: THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than ")


async def test_secrets_stay_secret(tmp_path: Path) -> None:
    """A token that a server repeats stands in no line, no log and no summary."""

    async def handle(connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            await connection.write(http(request, "Location: /" + TOKEN, status="302 Elsewhere"))

    async with listening(handle) as server:
        args = (*WHERE, "--closed", "--count", "5", "--results", "r.jsonl", "--log-level", "debug")
        run = await asyncio.to_thread(load, server.url, *args, cwd=tmp_path)
        assert TOKEN.encode() in server.requests[0]
    assert run.code == 0
    assert len(results(tmp_path / "r.jsonl")) == 5
    assert TOKEN not in (tmp_path / "r.jsonl").read_text()


# --- how it ends early ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_signal(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    """A signal lets nothing more leave; what is in flight is waited for, and what was done is summed up."""
    process: subprocess.Popen[str] | None = None

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 10 and process is not None:
                process.send_signal(signum)
            await connection.write(http())

    async with listening(handle) as server:
        process = started(
            *("load", "--host", server.url, *WHERE, "--rate", "50/s", "--duration", "10m", "--json"),
            *("--results", "r.jsonl", "--hdr", "h.hlog"),
            cwd=tmp_path,
        )
        run = await asyncio.to_thread(ended, process)
        sent = len(server.requests)
    assert run.code == code
    found = json.loads(run.out)
    assert found["requests"] == found["outcomes"]["stopped"] == sent == len(results(tmp_path / "r.jsonl")) >= 10
    assert (found["ended"], found["unsent"]) == (f"by {signum.name}, before all were sent", 0)
    assert f"  ended      by {signum.name}, before all were sent\n" in run.err
    assert "\nTag=service," in (tmp_path / "h.hlog").read_text()


def test_reader_that_goes(sim: Simulated, tmp_path: Path) -> None:
    """`--results - | head -1` gives its line and ends the run without a traceback."""
    script = (
        f"bulkstop load --host {sim.url} {' '.join(WHERE)} --rate 100/s --duration 10m --id-prefix gone- --results - "
        "| head -1; echo ${PIPESTATUS[0]}"
    )
    run = shell(script, cwd=tmp_path)
    line, code = run.out.splitlines()
    assert json.loads(line)["campaign_id"].startswith("gone-")
    assert code == "3"
    assert "--results -: cannot be written (Broken pipe); sending stops" in run.err
    assert "  ended " in run.err


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give one of --rate 500/s"),
        (("--rate", "5/s"), "--duration 30s or --count N: neither is given"),
        (("--rate", "0/s", "--count", "1"), "'0/s': sends nothing"),
        (("--rate", "fast", "--count", "1"), "'fast': a rate is written 500/s"),
        (("--rate", "5/s", "--closed", "--count", "1"), "give one of --rate"),
        (("--rate", "5/s", "--duration", "0"), "'0' is no time"),
        (("--rate", "5/s", "--count", "0"), "'0' is no whole number"),
        (("--rate", "5/s", "--count", "1", "--require", "p99<fast"), "'p99<fast' is no threshold"),
        (("--rate", "5/s", "--count", "1", "--concurrency", "5"), "--concurrency: is for --closed"),
        (("--closed", "--count", "9", "--concurrency", "3", "--processes", "4"), "--processes 4: more than the 3 "),
        (("--rate", "5/s", "--count", "1", "--processes", "0"), "'0' is no whole number"),
        (("--closed", "--count", "1", "--max-in-flight", "5"), "--max-in-flight: a closed model has --concurrency"),
        (("--rate", "5/s", "--count", "1", "--json", "--results", "-"), "--json: standard output is taken"),
        (("--rate", "5/s", "--count", "1", "--results", "there"), "--results there: exists already; give --overwrite"),
        (("--rate", "5/s", "--count", "1", "--hdr", "none/h", "--results", "r"), "--hdr none/h: cannot be opened"),
        (("--rate", "5/s", "--count", "1", "--id-prefix", "a\tb"), "--id-prefix, "),
        (("there", "--rate", "5/s", "--id-prefix", "x"), "--id-prefix: is for campaigns that are made up"),
        (("--rate", "5/s", "--count", "1", "--format", "csv"), "--format: is the form of INPUT; give INPUT"),
        (("--rate", "5/s", "--count", "1", "--json", "--hdr", "-"), "--json: standard output is taken by --hdr -"),
        (
            ("--rate", "5/s", "--count", "1", "--results", "r", "--hdr", "./r"),
            "--hdr ./r: is also what --results writes",
        ),
        (
            ("there", "--format", "csv", "--rate", "5/s", "--hdr", "there", "--overwrite"),
            "--hdr there: is INPUT itself",
        ),
        (("missing.csv", "--rate", "5/s"), "missing.csv"),
        (("there", "--format", "csv", "--rate", "5/s"), "there: holds no campaign that can be sent"),
        (("--rate", "5/s", "--count", "1", "--results", "r.CSV"), "--results r.CSV: its lines are JSON, not CSV"),
        (("--rate", "5/s", "--duration", "99999999h"), "'99999999h' is too long; a time is at most 100000h"),
        (("--rate", "5/s", "--count", "1", "--timeout", "1us"), "'1us': a time is given in ms, s, m, h, such as"),
        (("--rate", "5/s", "--count", "1", "--timeout", "-1"), "'-1' is no time above zero"),
        (("--quota", "5/s"), "No such option --quota"),
        (("--rate", "5/s", "--count", "1", "--only-running"), "No such option --only-running"),
        (("--rate", "5/s", "--count", "1", "--disable-schedule"), "No such option --disable-schedule"),
        (("--rate", "5/s", "--count", "3", "--max-campaigns", "2"), "--max-campaigns 2: 3 campaigns would be made up"),
        (("--closed", "--duration", "1s", "--max-campaigns", "2"), "--max-campaigns 2: as many campaigns as there is"),
        (("--find-limit", "--max-campaigns", "2"), "--max-campaigns 2: as many campaigns as there is time for"),
        (
            ("--rate", "5/s", "--count", "3", "--protect", "protected.txt"),
            "--protect: made-up campaigns are protected by protected.txt line 1 (bulkstop-load*)",
        ),
    ],
)
def test_refused(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is named in one line, and no file is left behind."""
    (tmp_path / "there").write_text("campaign_id\n")
    (tmp_path / "protected.txt").write_text("bulkstop-load*\n")
    words = refusal(monkeypatch, tmp_path, *args)
    assert said in words.replace("option: ", "option ").replace("option '", "option ").replace("'", "") + words


def test_refused_as_a_process(sim: Simulated, tmp_path: Path) -> None:
    """A refusal is exit 2 and one line after the plan; nothing was sent."""
    args = (*WHERE, "--rate", "5/s", "--count", "1", "--id-prefix", "never-")
    run = load(sim, *args, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert (run.code, run.out) == (2, "")
    assert [line for line in run.err.splitlines() if line.startswith("bulkstop: ")] == run.err.splitlines()[-1:]
    assert "no credentials: " in run.err
    assert asked_for(sim, "never-") == []


def test_host_is_named(tmp_path: Path) -> None:
    """Without a host nothing is sent anywhere, and no other is thought of."""
    run = bulkstop("load", *WHERE, "--rate", "5/s", "--count", "1", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: --host: not given; ")


def test_account_is_named(tmp_path: Path) -> None:
    """Made-up campaigns are those of an account that somebody names."""
    where = ("--host", "http://127.0.0.1:1", "--stream-id", "st-1", "--type", "voice")
    run = bulkstop("load", *where, "--rate", "5/s", "--count", "1", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: --account-id: not given; made-up campaigns need one")


def test_some_are_protected(sim: Simulated, tmp_path: Path) -> None:
    """Made-up campaigns that a file protects are passed over."""
    (tmp_path / "protected.txt").write_text("kept-*2\n")
    how = ("--rate", "500/s", "--count", "12", "--id-prefix", "kept-", "--protect", "protected.txt", "--quiet")
    assert load(sim, *WHERE, *how, cwd=tmp_path).code == 0
    numbers = [int(campaign_id.rpartition("-")[2]) for campaign_id in asked_for(sim, "kept-")]
    assert sorted(numbers) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]


class TestVendor:
    """The vendor's own hosts are loaded by nobody who does not name them; no test gets further than a dead proxy."""

    @pytest.mark.parametrize("host", ["platform.kore.ai", "https://PLATFORM.kore.AI.:443", "kore.ai"])
    def test_refused(self, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host of the vendor is refused, however it is written, also when another one is allowed."""
        args = ("--rate", "5/s", "--count", "1", "--allow-host", "other.kore.ai", "--host", host)
        said = refusal(monkeypatch, tmp_path, *args)
        assert "is the vendor's own service, which others use as well; a load test there needs --allow-host" in said

    def test_allowed(self, tmp_path: Path) -> None:
        """Named in --allow-host it is loaded."""
        args = (*WHERE, "--rate", "5/s", "--count", "1", "--allow-host", "Platform.Kore.ai", "--quiet")
        run = bulkstop("load", *NOWHERE, "--host", "https://platform.kore.ai:443", *args, *PATIENT, cwd=tmp_path)
        assert run.code == 1
        assert run.err.startswith("bulkstop: no request was answered: the only request ended as connection_error (")

    @pytest.mark.parametrize(("typed", "code"), [("PLATFORM.kore.ai", 1), ("kore.ai", 2)])
    def test_typed(self, typed: str, code: int, tmp_path: Path) -> None:
        """On a terminal its name is asked for, and only that name will do."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "load", *NOWHERE, "--host", "platform.kore.ai", *WHERE, "--closed", "--count", "1"],
            cwd=tmp_path,
            env=environment(),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, f"{typed}\n".encode())
        said = read_all(ours)
        assert process.wait(WAIT_S) == code
        assert "platform.kore.ai is the vendor's own service, which others use as well. To load it, type" in said
        assert ("not confirmed: platform.kore.ai was not typed; nothing was sent" in said) is (code == 2)


def read_all(fd: int) -> str:
    """Read a terminal until nobody writes to it any more."""
    said = b""
    try:
        while data := os.read(fd, 65536):
            said += data
    except OSError:  # how Linux ends a terminal that everybody else has closed
        pass
    os.close(fd)
    return said.decode()
