"""Kills `bulkstop stop` with SIGKILL and resumes it; checks the server's log and the result file."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.cli.conftest import MakeList
from tests.processes import ROOT, WAIT_S, apart, bulkstop, results, started
from tests.servers import Connection, http, listening

pytestmark = [pytest.mark.real, pytest.mark.full]

CONCURRENCY = 8
KILLS = 10
LINE = "campaigns.csv.results.jsonl"


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the benchmark, whose job and checks these tests use."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import crash

    return crash


def test_killed_ten_times_in_a_row(crash: ModuleType, tmp_path: Path) -> None:
    """However often a run is killed and resumed, every campaign is stopped, and few are sent twice."""
    moments = sorted(random.Random(4).sample(range(1, 1600), KILLS))
    with crash.simulator(tmp_path, "--latency", "1") as server:
        job = crash.Job(tmp_path, server, rows=2000, concurrency=CONCURRENCY)
        for lines in moments:
            assert job.kill_at(crash.Moment("in between", lines))
        assert job.flaws(job.finish()) == []
        twice = crash.sent_twice(server.calls())
    assert 0 < max(map(len, twice.values())) <= CONCURRENCY
    assert max(twice) < KILLS


async def test_killed_before_the_first_line(make_list: MakeList, tmp_path: Path) -> None:
    """After a kill before the first result, only calls in flight are sent twice."""
    apart(make_list(40))
    has_arrived, may_answer = asyncio.Semaphore(0), asyncio.Event()

    async def hold(connection: Connection) -> None:
        while await connection.request() is not None:
            has_arrived.release()
            await may_answer.wait()
            await connection.write(http())

    async with listening(hold) as server:
        words = ["stop", "campaigns.csv", "--host", server.url, "--quota", "none", "--concurrency", f"{CONCURRENCY}"]
        process = started(*words, "--yes", cwd=tmp_path)
        try:
            async with asyncio.timeout(WAIT_S):
                for _ in range(CONCURRENCY):
                    await has_arrived.acquire()
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate)
        assert (tmp_path / LINE).read_bytes() == b""
        may_answer.set()
        run = await asyncio.to_thread(bulkstop, *words, "--expect", "40", "--resume", cwd=tmp_path)
    sent = Counter(re.findall(rb"/trigger/(\S+)\?", b"".join(server.requests)))
    assert (run.code, "40 = 40" in run.err) == (0, True)
    assert Counter(sent.values()) == {1: 40 - CONCURRENCY, 2: CONCURRENCY}
    assert sorted(line["campaign_id"].encode() for line in results(tmp_path / LINE)) == sorted(sent)
    assert bulkstop("report", "--check", LINE, cwd=tmp_path).code == 0


def test_killed_after_the_last_line(crash: ModuleType, tmp_path: Path) -> None:
    """A run killed after its last line, before its last mark, resumes: nothing is sent, all is proven."""
    manifest = tmp_path / "results.jsonl.run.json"
    with crash.simulator(tmp_path, "--latency", "100") as server:
        job = crash.Job(tmp_path, server, rows=40, concurrency=CONCURRENCY)
        with job.start() as process:
            assert crash.Watch(job.results).reaches(1, process)
            at_first = manifest.read_text()
            process.communicate(timeout=WAIT_S)
        assert "ended_at" not in at_first
        manifest.write_text(at_first)  # as after a kill right after its last line
        server.mark()
        assert job.flaws(job.finish()) == []
        assert {call.process for call in server.calls()} == {0}


def test_killed_after_the_end(crash: ModuleType, tmp_path: Path) -> None:
    """A run killed after its end was recorded is not continued, and has no flaw."""
    with crash.simulator(tmp_path) as server:
        job = crash.Job(tmp_path, server, rows=40, concurrency=CONCURRENCY)
        assert job.finish().code == 0
        server.mark()
        again = job.finish()
        assert (again.code, job.flaws(again)) == (2, [])


def drop(lines: list[Any]) -> None:
    """Remove a line."""
    lines.pop()


def double(lines: list[Any]) -> None:
    """Write a line twice."""
    lines.append(lines[-1])


def mistake(lines: list[Any]) -> None:
    """Change the outcome of a line."""
    lines[-1]["outcome"] = "already_stopped"


def cut_off(lines: list[Any]) -> None:
    """Make a line not final."""
    lines[-1]["finished_at"] = None


PLANTS: dict[str, tuple[str, Callable[[list[Any]], None]]] = {
    "lost": ("results.jsonl", drop),
    "twice": ("results.jsonl", double),
    "untrue": ("results.jsonl", mistake),
    "not its end": ("results.jsonl", cut_off),
    "never arrived": ("requests.jsonl", drop),
    "sent twice": ("requests.jsonl", double),
}


def test_the_checks_find_what_is_wrong(crash: ModuleType, tmp_path: Path) -> None:
    """The checks find a lost, doubled or false line, and a missing or additional call."""
    with crash.simulator(tmp_path) as server:
        job = crash.Job(tmp_path, server, rows=60, concurrency=CONCURRENCY)
        job.finish()
        assert list(job.flaws_of_files()) == []
        for what, (name, plant) in PLANTS.items():
            was = (tmp_path / name).read_text()
            lines = list(map(json.loads, was.splitlines()))
            plant(lines)
            (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
            assert list(job.flaws_of_files()), what
            (tmp_path / name).write_text(was)
