"""Kills holds with kill -9 at random moments, resumes them, and checks what was stopped twice or not reported.

    python benchmarks/crash_hold.py                       # 5 holds, each killed 20 times: minutes
    python benchmarks/crash_hold.py --trials 1 --seed 7   # others, chosen by the seed
    python benchmarks/crash_hold.py --smoke               # a short run that only shows that it works

The real command runs as a process against the simulator, whose campaigns start and end at each look. A killed process
is followed by `hold --resume`; the last one runs to its end. One kill in four comes while the command starts, the
others after some further calls. Every second hold writes CSV, and in every third one call in ten gets a 503. Then
independent code reads the server's log, the list of sightings and the result file, which must agree: no sighting has a
campaign twice, every row of the list has one line, and no process has sent a campaign more stops than it had sightings
of it (plus the stops with another response than a success). What does not hold is printed, and is exit 1.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crash import LOOK_EVERY_S, WAIT_S, Call, Server, Watch, read_results, simulator, start_command, unequal

KILLS = 20
CAMPAIGNS = ("--campaigns", "600", "--churn", "10", "--latency", "2")
FAILING = ("--fail", "10%")
WHERE = ("--account-id", "a1", "--stream-id", "st-1")
HOW = ("--yes", "--every", "50ms", "--again", "1000", "--max-campaigns", "600", "--quota", "none")
STARTUP_S = 0.6
"""Approximate seconds from the start of the command to its first call."""
MOST_CALLS = 120
STOPPED = 200
"""The status of a successful stop; after another one, hold asks again, and sends what runs again."""


class Killed(NamedTuple):
    """A killed process: whether it was starting, and the rows of the list at that time."""

    at_start: bool
    rows: int


class HoldJob:
    """One hold of one server with its list and results, and the processes that work on them in sequence."""

    def __init__(self, folder: Path, server: Server, *, output: str = "hold.jsonl") -> None:
        self.server = server
        self.results = folder / output
        self.list = folder / f"{output}.list.jsonl"
        self.killed: list[Killed] = []
        self._folder = folder

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The complete lines of the list."""
        text = self.list.read_text() if self.list.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start the command; all but the first time it resumes."""
        resume = ["--resume"] if self.killed else []
        return self._command("hold", "--host", self.server.url, *WHERE, *HOW, "-o", self.results.name, *resume, *args)

    def kill(self, rng: random.Random) -> None:
        """Start the command and kill it; raises AssertionError if it ended by itself."""
        at_start, calls, watch = rng.random() < 0.25, rng.randrange(1, MOST_CALLS), Watch(self.server.log)
        before, process = watch.lines(), self.start()
        if at_start:
            time.sleep(rng.uniform(0, STARTUP_S))
        else:
            watch.reaches(before + calls, process)
            time.sleep(rng.uniform(0, 2 * LOOK_EVERY_S))
        process.kill()
        said, _ = process.communicate()
        self.server.mark()
        assert process.returncode == -signal.SIGKILL, said
        self.killed.append(Killed(at_start, len(self.rows)))

    def finish(self) -> tuple[int, str]:
        """Wait for the end of the hold; return its exit code and output."""
        process = self.start("--for", "300ms")
        said, _ = process.communicate(timeout=WAIT_S)
        return process.returncode, said

    def flaws(self, code: int, said: str) -> list[str]:
        """Return what does not hold after the last process."""
        report = self._command("report", "--check", self.results.name)
        checked, _ = report.communicate(timeout=WAIT_S)
        return [
            *([] if code in (0, 1) else [f"exit code {code}: {said}"]),  # a campaign may start at the very end
            *([f"report --check: exit code {report.returncode}: {checked}"] if report.returncode else []),
            *self.flaws_of_files(),
        ]

    def flaws_of_files(self) -> Iterator[str]:
        """Yield what does not hold by the server's log, the list and the result file."""
        rows, lines = self.rows, read_results(self.results)
        seen = Counter((row["sighting"], row["campaign_id"]) for row in rows)
        yield from (f"sighting {key[0]} has {key[1]} {count} times" for key, count in seen.items() if count > 1)
        yield from unequal("rows, lines", set(range(1, len(rows) + 1)), {line.number for line in lines})
        if len(lines) != len(rows):
            yield f"{len(rows)} rows have {len(lines)} lines"
        for line in lines:
            if not 0 < line.number <= len(rows) or rows[line.number - 1]["campaign_id"] != line.campaign_id:
                yield f"{line} is of no row"
        yield from self._flaws_of_calls(rows, self.server.calls())

    def _flaws_of_calls(self, rows: Sequence[dict[str, Any]], calls: Sequence[Call]) -> Iterator[str]:
        ends = [*(each.rows for each in self.killed), len(rows)]
        for process, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            sighted = Counter(row["campaign_id"] for row in rows[first:last])
            mine = [call for call in calls if call.process == process]
            retried = Counter(call.campaign_id for call in mine if call.status != STOPPED)
            sent = Counter(call.campaign_id for call in mine)
            yield from (
                f"process {process} sent {name} {count} times, and sighted it {sighted[name]} times"
                for name, count in sent.items()
                if count > sighted[name] + retried[name]
            )

    def _command(self, *words: str) -> "subprocess.Popen[str]":
        return start_command(self._folder, *words)


class Trial(NamedTuple):
    """The result of a hold: its kills, its rows, its stops, and what does not hold."""

    killed: tuple[Killed, ...]
    rows: int
    stops: int
    flaws: tuple[str, ...]


def tried(folder: Path, number: int, seed: int, kills: int) -> Trial:
    """Kill a hold several times, let it finish, and check it."""
    rng = random.Random(f"{seed} {number}")
    options = (*CAMPAIGNS, "--seed", str(number), *(FAILING if number % 3 == 2 else ()))
    with simulator(folder, *options) as server:
        job = HoldJob(folder, server, output="hold.csv" if number % 2 else "hold.jsonl")
        for _ in range(kills):
            job.kill(rng)
        flaws = job.flaws(*job.finish())
        return Trial(tuple(job.killed), len(job.rows), len(server.calls()), tuple(flaws))


def main() -> None:
    """Run as many holds as requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    wanted, kills = (1, 3) if args.smoke else (args.trials, KILLS)
    failed = 0
    for number in range(wanted):
        folder = Path(tempfile.mkdtemp(prefix="bulkstop-crash-hold-"))
        trial = tried(folder, number, args.seed, kills)
        at_start = sum(each.at_start for each in trial.killed)
        print(
            f"hold {number}: {len(trial.killed)} kills ({at_start} at start-up), {trial.rows} rows, {trial.stops} stops"
        )
        if trial.flaws:
            failed += 1
            print(f"in {folder}:", *trial.flaws[:10], sep="\n  ")
        else:
            shutil.rmtree(folder)
    print(f"{wanted} holds, {failed} failed")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
