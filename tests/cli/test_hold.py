"""`bulkstop hold` as a process: its list, stops and results, refusals, kills and continuation."""

import json
import os
import pty
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes import (
    COMMAND,
    ROOT,
    WAIT_S,
    Ended,
    Simulated,
    bulkstop,
    ended,
    environment,
    results,
    simulator,
    started,
)

pytestmark = pytest.mark.real

WHERE = ("--account-id", "a1", "--stream-id", "st-1")
MINE = ("-o", "mine.jsonl", "--max-campaigns", "60")
ASKED = re.compile(
    r"To stop (?:(\d+) campaigns now|campaigns as they start), (\d+) campaigns at most, type that number:"
)
LIST = "mine.jsonl.list.jsonl"
QUICK = ("--every", "50ms", "--for", "100ms", "--quota", "none")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulated]:
    """Run a simulator whose campaigns start and end at each look."""
    with simulator(tmp_path, "--campaigns", "60", "--seed", "3", "--churn", "2") as found:
        yield found


def hold(sim: Simulated, *args: str, cwd: Path, **variables: str | None) -> Ended:
    """Run a hold against a service."""
    return bulkstop("hold", "--host", sim.url, *WHERE, *args, cwd=cwd, **variables)


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the list."""
    return [json.loads(line) for line in (folder / LIST).read_text().splitlines()]


def check_lines(folder: Path) -> None:
    """Check that each row of the list has one line, with its sighting, and that the file is proven."""
    listed, lines = rows(folder), results(folder / "mine.jsonl")
    assert sorted(line["line"] for line in lines) == list(range(1, len(listed) + 1))
    for line in lines:
        row = listed[line["line"] - 1]
        assert (line["campaign_id"], line["row"]["sighting"]) == (row["campaign_id"], row["sighting"])
    assert max(Counter((row["sighting"], row["campaign_id"]) for row in listed).values()) == 1
    assert bulkstop("report", "--check", "mine.jsonl", cwd=folder).code == 0


def test_what_comes_up_is_stopped(service: Simulated, tmp_path: Path) -> None:
    """What runs, and what starts later, is stopped; each sighting is a row whose line has its number."""
    run = hold(service, *MINE, *QUICK, "--yes", cwd=tmp_path)
    assert run.code in (0, 1), run.err  # at the very end a campaign may start
    verdict = run.err.splitlines()[-1 if run.code == 0 else -2]
    assert verdict.startswith("DONE: nothing runs" if run.code == 0 else "NOT STOPPED: ")
    assert rows(tmp_path)[-1]["sighting"] > 1
    check_lines(tmp_path)
    again = hold(service, *MINE, *QUICK, "--yes", "--resume", cwd=tmp_path)
    assert again.code in (0, 1), again.err
    check_lines(tmp_path)


@pytest.mark.full
def test_killed_twenty_times(service: Simulated, tmp_path: Path) -> None:
    """However often a hold is killed and continued, no campaign is stopped twice in a sighting, and rows = lines."""
    chance = random.Random(4)
    args = ("--host", service.url, *WHERE, *MINE, "--yes", "--every", "50ms", "--again", "99", "--quota", "none")
    for number in range(20):
        before = len(service.requests())
        process = started("hold", *args, *(["--resume"] if number else []), cwd=tmp_path)
        enough = before + chance.randrange(5, 60)
        while len(service.requests()) < enough:
            assert process.poll() is None, ended(process).err
        process.kill()
        ended(process)
    run = bulkstop("hold", *args, "--for", "300ms", "--resume", cwd=tmp_path)
    assert run.code in (0, 1), run.err
    check_lines(tmp_path)
    sighted = Counter(row["campaign_id"] for row in rows(tmp_path))
    assert Counter(service.ids()) <= sighted


@pytest.mark.full
def test_killed_once(service: Simulated, tmp_path: Path) -> None:
    """A hold killed during a sighting continues with a new one; rows without a line become unknown."""
    args = ("--host", service.url, *WHERE, *MINE, "--yes", "--concurrency", "1")
    process = started("hold", *args, "--quota", "8/60s", cwd=tmp_path)  # most of the first sighting waits
    while not service.ids() or not (tmp_path / "mine.jsonl").stat().st_size:  # a check also creates it for a moment
        assert process.poll() is None, ended(process).err
    process.kill()
    ended(process)
    sent = service.ids()
    told = bulkstop("report", "mine.jsonl", cwd=tmp_path).out
    assert f"bulkstop hold --host {service.url}" in told
    assert "--quota 8/60s --resume" in told
    run = bulkstop("hold", *args, "--quota", "none", "--for", "100ms", "--resume", cwd=tmp_path)
    assert run.code in (0, 1), run.err
    check_lines(tmp_path)
    lines = results(tmp_path / "mine.jsonl")
    assert {line["outcome"] for line in lines if line["row"]["sighting"] == 1} <= {"stopped", "unknown"}
    assert Counter(service.ids())[sent[0]] <= 2
    assert max(line["row"]["sighting"] for line in lines) > 1


def test_a_person_types_the_number(service: Simulated, tmp_path: Path) -> None:
    """On a terminal, the user types the number of running campaigns or, if none runs, that of --max-campaigns."""
    for more, besides, codes in ((), 1, {2}), (("--name", "no such"), 1, {2}), ((), 0, {0, 1}):
        words = ("hold", "--host", service.url, *WHERE, *MINE, *QUICK, *more)
        said, number, code = answer(words, besides, tmp_path)
        assert code in codes, said
        assert (f"not confirmed: {number} was not typed; nothing was sent" in said) is (code == 2), said
        assert (number == 60) is bool(more)
        assert bool(service.ids()) is (code != 2)


def answer(words: Sequence[str], besides: int, folder: Path) -> tuple[str, int, int]:
    """Run the command on its own terminal, and type the number that it asks for, plus `besides`.

    Return the output, that number, and the exit code.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(TERM="xterm", XDG_STATE_HOME=str(folder / "state")),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said, number = "", 0
    with suppress(OSError):  # the terminal is closed
        while data := os.read(ours, 65536):
            said += data.decode()
            if not number and (asked := ASKED.search(said)):
                number = int(asked[1] or asked[2])
                os.write(ours, f"{number + besides}\n".encode())
    os.close(ours)
    return said, number, process.wait(WAIT_S)


def test_a_dry_run_leaves_nothing(service: Simulated, tmp_path: Path) -> None:
    """A dry run shows the plan, sends nothing and leaves no file; so does an unconfirmed run."""
    before = set(tmp_path.iterdir())
    run = hold(service, *MINE, "--dry-run", "--json", cwd=tmp_path)
    assert (run.code, json.loads(run.out)["to_send"] > 1) == (0, True)
    for args, said in (((), "there is no terminal to confirm on"), (("--expect", "1..3"), "--expect: the list has")):
        run = hold(service, *MINE, *args, cwd=tmp_path)
        assert (run.code, said in run.err) == (2, True)
    assert not service.ids()
    assert set(tmp_path.iterdir()) == before


def test_nothing_runs(service: Simulated, tmp_path: Path) -> None:
    """If nothing runs, hold looks again, and ends successfully without a file."""
    run = hold(service, *MINE, *QUICK, "--yes", "--name", "no such", cwd=tmp_path)
    assert (run.code, run.err.splitlines()[-1][:31]) == (0, "DONE: no matching campaign runs")
    assert not list(tmp_path.glob("mine.jsonl*"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--max-campaigns", "5", "--for", "1h", "--until", "08:00"], "--for and --until both set the end"),
        (["-o", "x.jsonl"], "--max-campaigns: is required, because nobody confirms later"),
        ([*MINE, "--status", "all"], "--status all: also matches stopped campaigns"),
        (["--max-campaigns", "5", "--resume"], "--resume: the result file of a hold has the date and time in its name"),
        ([*MINE, "--until", "2020-01-01T00:00"], "--until 2020-01-01T00:00: has passed"),
        (["--max-campaigns", "5", "-o", "there.jsonl"], "there.jsonl: exists already; give --resume"),
        ([*MINE, "--again", "0"], "is not a whole number of at least 1"),
    ],
)
def test_refused_before_it_lists(args: list[str], said: str, service: Simulated, tmp_path: Path) -> None:
    """An impossible command is one line and exit 2, without any call."""
    (tmp_path / "there.jsonl").write_text("mine\n")
    run = hold(service, "--yes", *args, cwd=tmp_path)
    assert (run.code, said in run.err) == (2, True), run.err
    assert service.requests() == []


@pytest.mark.full
def test_the_checks_of_crashes_find_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks find a lost or doubled line, a repeated row, and a stop without a sighting."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from crash import simulator as watched_simulator
    from crash_hold import CAMPAIGNS, HoldJob

    with watched_simulator(tmp_path, *CAMPAIGNS) as server:
        job = HoldJob(tmp_path, server)
        job.kill(random.Random(4))
        assert job.flaws(*job.finish()) == []
    stop = next(line for line in server.log.read_text().splitlines() if '"stop"' in line and ":200," in line)
    for path, change in (
        (job.results, lambda lines: lines[:-1]),
        (job.results, lambda lines: [*lines, lines[-1]]),
        (job.list, lambda lines: [*lines[:-1], lines[0], lines[-1]]),
        (server.log, lambda lines: [stop, *lines]),
    ):
        was = path.read_text()
        path.write_text("".join(f"{line}\n" for line in change(was.splitlines())))
        assert list(job.flaws_of_files()), path
        path.write_text(was)
