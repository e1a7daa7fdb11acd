"""A load test by several processes: one schedule, one report, even if one dies.

All run as processes, because a test has threads.
"""

import asyncio
import json
import os
import select
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.loads import NOWHERE, PATIENT, WHERE, assert_same_times, counts_of
from tests.processes import (
    TOKEN,
    WAIT_S,
    Ended,
    bulkstop,
    ended,
    results,
    shell,
    simulator,
    started,
)
from tests.servers import Connection, Listener, Nginx, http, listening, replying

pytestmark = pytest.mark.real

ENDLESS = (*WHERE, "--rate", "300/s", "--duration", "10m")
Process = subprocess.Popen[str]


def load(url: str, *args: str, cwd: Path, stdin: str | None = None, **variables: str | None) -> Ended:
    """Run the command, patient with this machine."""
    return bulkstop("load", "--host", url, *PATIENT, *args, cwd=cwd, stdin=stdin, **variables)


def launched(url: str, *args: str, cwd: Path, **variables: str | None) -> Process:
    """Start the command."""
    return started("load", "--host", url, *PATIENT, *args, cwd=cwd, **variables)


def children_of(process: Process) -> list[int]:
    """Return the processes that another has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def await_ends(pids: list[int]) -> None:
    """Wait until processes have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                assert select.select([fd], [], [], WAIT_S)[0], f"{pid} still runs"
            finally:
                os.close(fd)


# --- one report -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [("--rate", "300/s"), ("--closed", "--concurrency", "8")], ids=["open", "closed"])
def test_every_request_counts(how: tuple[str, ...], nginx_server: Nginx, tmp_path: Path) -> None:
    """The server's log, the lines and the figures agree: the list in turn, each time once, nothing twice or lost."""
    ids = [f"cd-{number}" for number in range(7)]
    listed = "campaign_id,campaign_type,account_id,stream_id\n" + "".join(f"{each},voice,a1,st-1\n" for each in ids)
    run = load(
        nginx_server.url,
        *("-", "--format", "csv", *how, "--count", "500", "--processes", "3", "--json"),
        *("--results", "r.jsonl", "--hdr", "h.hlog"),
        cwd=tmp_path,
        stdin=listed,
    )
    assert run.code == 0, run.err
    found, rows = json.loads(run.out), results(tmp_path / "r.jsonl")
    assert (found["requests"], found["planned"], found["outcomes"]) == (500, 500, {"stopped": 500})
    assert (found["processes"], found["unsent"], found["ended"]) == (3, 0, "all sent")
    sent = Counter(line.split("/trigger/")[1].split("?")[0] for line in nginx_server.stop())
    assert sent == Counter(row["campaign_id"] for row in rows)
    assert sent == {each: 500 // 7 + (place < 500 % 7) for place, each in enumerate(ids)}
    if how[0] == "--rate":
        assert sorted(row["intended_s"] for row in rows) == pytest.approx([n / 300 for n in range(500)], abs=2e-6)
    assert_same_times(found, rows, ("latency_ms", "service_ms") if how[0] == "--rate" else ("service_ms",))
    assert counts_of(tmp_path / "h.hlog") == {None: 500, "service": 500}
    assert "  processes  3, each with its part of that\n" in run.err


def test_fewer_requests_than_processes(tmp_path: Path) -> None:
    """A process that has nothing to send ends, and is no failure."""
    with simulator(tmp_path) as sim:
        run = load(sim.url, *WHERE, "--closed", "--count", "2", "--processes", "3", "--json", cwd=tmp_path)
        assert (run.code, json.loads(run.out)["requests"]) == (0, 2)
        assert len(set(sim.ids())) == 2


def test_lines_to_a_pipe_are_whole(nginx_server: Nginx, tmp_path: Path) -> None:
    """Lines of several processes do not tear each other, also where a write goes through a pipe in pieces."""
    how = ("--closed", "--concurrency", "16", "--count", "3000", "--processes", "3", "--results", "-", "--quiet")
    run = load(nginx_server.url, *WHERE, *how, cwd=tmp_path)
    rows = [json.loads(line) for line in run.out.splitlines()]
    assert len({row["campaign_id"] for row in rows}) == len(rows) == len(nginx_server.stop()) == 3000
    assert run.err == ""


def test_lateness_of_all(nginx_server: Nginx, tmp_path: Path) -> None:
    """A missed schedule is reported for all processes together."""
    args = (*WHERE, "--rate", "100/s", "--count", "30", "--processes", "2", "--quiet", "--max-late", "0.000000001ms")
    run = bulkstop("load", "--host", nginx_server.url, *args, cwd=tmp_path)
    assert run.code == 3
    assert run.err.startswith("bulkstop: THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than ")


def test_each_gets_a_token(nginx_server: Nginx, tmp_path: Path) -> None:
    """Each process runs the token command; its token is on no command line."""
    command = f"echo ran >> {tmp_path}/ran; cat /proc/$PPID/cmdline >> {tmp_path}/said; echo {TOKEN}"
    args = (*WHERE, "--closed", "--count", "9", "--processes", "3", "--token-command", command, "--quiet")
    run = load(nginx_server.url, *args, cwd=tmp_path, BULKSTOP_TOKEN=None)
    assert run.code == 0
    assert (tmp_path / "ran").read_text() == "ran\n" * 3
    assert {line.split("|")[2] for line in nginx_server.stop()} == {TOKEN}


# --- how it ends early ----------------------------------------------------------------------------------------------


async def run_until(
    requests: int, then: Callable[[Process], None], folder: Path, *args: str
) -> tuple[Listener, Ended, list[int]]:
    """Run against a server, do something at so many requests; return the server, the end, the processes there were."""
    process: Process | None = None
    pids: list[int] = []

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == requests and process is not None:
                pids.extend(children_of(process))
                then(process)
            await connection.write(http())

    async with listening(handle) as server:
        process = launched(server.url, *ENDLESS, "--json", *args, cwd=folder)
        run = await asyncio.to_thread(ended, process)
        await_ends(pids)
        await server.all_ended()
    return server, run, pids


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signal(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    """A signal to the parent, or to all, drains: what is in flight gets its answer, and all is counted."""

    def tell(process: Process) -> None:
        if signum == signal.SIGINT:  # as a terminal does
            for pid in (*children_of(process), process.pid):
                os.kill(pid, signum)
        else:
            process.send_signal(signum)

    server, run, pids = await run_until(60, tell, tmp_path, "--processes", "3", "--results", "r.jsonl")
    found = json.loads(run.out)
    assert (run.code, len(pids)) == (code, 3)
    assert found["ended"] == f"by {signum.name}, before all were sent"
    assert found["requests"] == found["outcomes"]["stopped"] == len(server.requests) >= 60
    assert len(results(tmp_path / "r.jsonl")) == len(server.requests)


async def test_second_signal(tmp_path: Path) -> None:
    """The second one cuts off what is in flight, in all processes; each such request is counted as unknown."""
    process: Process | None = None

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 6 and process is not None:
                process.send_signal(signal.SIGINT)
            await connection.gone()
            return

    async with listening(handle) as server:
        args = (*WHERE, "--closed", "--concurrency", "6", "--duration", "10m", "--processes", "3", "--json")
        process = launched(server.url, *args, cwd=tmp_path)
        assert process.stderr is not None
        while "ending: waiting up to " not in await asyncio.to_thread(process.stderr.readline):
            pass
        process.send_signal(signal.SIGINT)
        run = await asyncio.to_thread(ended, process)
    assert run.code == 130
    assert json.loads(run.out)["outcomes"] == {"unknown": 6}


async def test_killed_child(tmp_path: Path) -> None:
    """A process that is killed ends the run: exit 3, and a line that says whose requests are missing."""
    killed: list[int] = []

    def kill(process: Process) -> None:
        killed.append(children_of(process)[1])
        os.kill(killed[0], signal.SIGKILL)

    server, run, pids = await run_until(60, kill, tmp_path, "--processes", "3", "--results", "r.jsonl")
    found = json.loads(run.out)
    assert (run.code, found["exit_code"]) == (3, 3)
    assert killed[0] in pids
    assert "process 2 of 3 was killed (SIGKILL): ITS REQUESTS SINCE 0.0 s ARE MISSING in the figures" in found["ended"]
    assert found["ended"] in run.err
    assert 0 < found["requests"] < len(server.requests)
    assert 0 < len(results(tmp_path / "r.jsonl")) <= len(server.requests)


async def test_killed_parent(tmp_path: Path) -> None:
    """Without the parent no process continues, because its requests would not be counted."""
    _, run, pids = await run_until(60, subprocess.Popen.kill, tmp_path, "--processes", "2")
    assert run.code == -signal.SIGKILL
    assert len(pids) == 2  # and, as `run_until` has made sure, they are gone


# --- what keeps it from beginning -----------------------------------------------------------------------------------


def test_more_than_the_system_allows(tmp_path: Path) -> None:
    """Processes that cannot be started are refused in one line, and those that were are gone."""
    args = f"{' '.join((*NOWHERE, *WHERE))} --closed --concurrency 40 --count 40 --processes 40 --quiet"
    run = shell(f"ulimit -n 30; bulkstop load {args}", cwd=tmp_path)
    assert run.code == 2
    assert "of them can be started (Too many open files); nothing was sent\n" in run.err
    assert run.err.startswith("bulkstop: --processes 40: only ")
    assert run.err.count("\n") == 1


async def test_interrupted_before_it_begins(tmp_path: Path) -> None:
    """Ctrl-C while tokens are still got ends all processes, and nothing was sent."""
    async with listening(replying(http())) as server:
        os.mkfifo(tmp_path / "pipe")
        command = f"echo >> {tmp_path}/pipe; sleep 60"
        args = (*ENDLESS, "--processes", "2", "--quiet", "--token-command", command)
        process = launched(server.url, *args, cwd=tmp_path, BULKSTOP_TOKEN=None)
        await asyncio.to_thread((tmp_path / "pipe").read_text)
        pids = children_of(process)
        process.send_signal(signal.SIGINT)
        run = await asyncio.to_thread(ended, process)
        assert (run.code, run.err) == (130, "\nbulkstop: ended before anything was sent (SIGINT)\n")
        assert server.connections == 0
    await_ends(pids)
