"""Kills runs with kill -9 at random moments, resumes each to its end, and checks what was sent twice or not reported.

    python benchmarks/crash.py                        # 50 trials of 2,000 rows: minutes
    python benchmarks/crash.py --trials 5 --seed 7    # others, chosen by the seed
    python benchmarks/crash.py --smoke                # a short run that only shows that it works

The real command runs as a process against the simulator. A killed process is followed by `stop --resume`, which is
killed once or twice more in every third trial; the last process runs to its end. Every fifth trial writes CSV, in
another fifth one call in twenty gets a 503, and in every fourth the beginning of a line is appended where the killed
process stopped writing. Then independent code reads the server's log and the result file, which must agree: every
campaign was stopped, every row of the list has one final line, and of the campaigns whose stop was answered at most
`--concurrency` per crash were sent again. What does not hold is printed, and is exit 1.
"""

import argparse
import csv
import http.client
import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from watched import environment

ROWS, CONCURRENCY = 2000, 8
LATENCY = ("--latency", "4", "--sigma", "0.5")
FAILING = ("--fail", "5%")
LOOK_EVERY_S = 0.0005
MOST_LATER_S = 0.005
WAIT_S = 120
STREAM = "st-5c8e21d4-6a1f-4b7e-9d2c-3f8a5e7b1c0d"
MARK = "/a-process-has-ended"
SENT = frozenset({"stopped", "already_stopped"})
MOMENTS = ("start-up", "first line", "in between", "last line")


# --- the list -------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the list: its values, and its possible outcomes."""

    campaign_id: str
    ends_as: frozenset[str]


def write_list(path: Path, rows: int) -> dict[int, Row]:
    """Write a list of five accounts and both types, with duplicates and unusable rows; return its rows by line."""
    listed = {}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["campaign_id", "campaign_type", "account_id", "stream_id", "note"])
        for number in range(rows):
            cells, ends_as = made(number)
            writer.writerow([*cells, f'=row "{number}", as it was'])
            listed[number + 2] = Row(cells[0], ends_as)
    return listed


def made(number: int) -> tuple[list[str], frozenset[str]]:
    """Return a row; one in a hundred names an earlier campaign, one in 250 cannot be used."""
    if number % 250 == 249:
        campaign_id, kind = [("..", "voice"), ("cd-by-fax", "fax"), ("", "sms")][number // 250 % 3]
        return [campaign_id, kind, account(number), STREAM], frozenset({"invalid"})
    if number % 100 == 99:
        return made(number - 60)[0], frozenset({"duplicate"})
    begin = "-" if number % 500 == 7 else "cd-"  # as a formula begins
    campaign_id = f"{begin}{number:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d"
    return [campaign_id, "voice" if number % 3 else "sms", account(number), STREAM], SENT


def account(number: int) -> str:
    """Return the account of a row."""
    return f"64f0a1b2c3d4e5f60718293{number % 5}"


# --- what the server saw --------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A stop call in the server's log: its campaign, its process (from 0), and its response."""

    campaign_id: str
    process: int
    status: int

    @property
    def is_answered(self) -> bool:
        """Return whether the campaign was stopped by this call or earlier."""
        return self.status in (200, 409)


@dataclass(frozen=True, slots=True)
class Server:
    """A running simulator and its log."""

    url: str
    log: Path

    def mark(self) -> None:
        """Log that a process has ended, by a call that arrives after all of its calls."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=WAIT_S)
        connection.request("GET", MARK)
        connection.getresponse().read()
        connection.close()

    def calls(self) -> list[Call]:
        """Return the calls in the log."""
        calls, process = [], 0
        for line in self.log.read_text().splitlines():
            request = json.loads(line)
            if request["path"] == MARK:
                process += 1
            elif request["operation"] == "stop":  # others ask for the list, or for a state
                calls.append(Call(request["campaign_id"], process, request["status"]))
        return calls


@contextmanager
def simulator(folder: Path, *options: str) -> Iterator[Server]:
    """Run a simulator that logs each request when it arrives."""
    log = folder / "requests.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkstop", "simulate", "--log", str(log), *options],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip(), log)
    finally:
        process.terminate()
        process.communicate()


def sent_twice(calls: Iterable[Call]) -> dict[int, set[str]]:
    """Return by process the campaigns that it had stopped and that were sent again later.

    A campaign stopped earlier has no line until the list was read, so that after a crash it may be sent once more.
    """
    answered: dict[str, int] = {}
    twice: dict[int, set[str]] = defaultdict(set)
    for call in calls:
        if call.campaign_id in answered:
            twice[answered[call.campaign_id]].add(call.campaign_id)
        if call.status == 200:
            answered[call.campaign_id] = call.process
    return twice


# --- what the result file says --------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of a result file."""

    source: str
    number: int
    campaign_id: str
    outcome: str
    finished_at: str | None


def read_results(path: Path) -> list[Line]:
    """Read a result file, JSON lines or CSV, without the apostrophe before formulas."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True)) if path.suffix == ".csv" else list(map(json.loads, file))
    return [
        Line(
            row["source"],
            int(row["line"]),
            re.sub(r"^'(?=[=+\-@\t'])", "", row["campaign_id"]),
            row["outcome"],
            row["finished_at"] or None,
        )
        for row in rows
    ]


# --- one job --------------------------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """When a process is killed: a time after the result file has some number of lines."""

    name: str
    lines: int
    later_s: float = 0.0


class Ended(NamedTuple):
    """How a process ended, what it printed, and the lines of the result file when it began."""

    code: int
    said: str
    lines_before: int


class Watch:
    """Counts the complete lines of a growing file, whose torn end may be cut off meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._count = 0

    def lines(self) -> int:
        """Count the lines, without a CSV header; a missing file has none."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
        except FileNotFoundError:
            return 0
        self._at += new.rfind(b"\n") + 1
        self._count += new.count(b"\n")
        return max(0, self._count - (self._path.suffix == ".csv"))

    def reaches(self, lines: int, process: "subprocess.Popen[str]") -> bool:
        """Wait until the file has this many lines, or its process has ended; return whether the process still runs."""
        while self.lines() < lines and process.poll() is None:
            time.sleep(LOOK_EVERY_S)
        return process.poll() is None


class Job:
    """One list, one server and one result file, and the processes that work on them in sequence."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        rows: int = ROWS,
        output: str = "results.jsonl",
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.server = server
        self.results = folder / output
        self.processes = 0
        self.listed = write_list(folder / "list.csv", rows)
        self._folder = folder
        self._concurrency = concurrency

    @property
    def lines(self) -> int:
        """The number of complete lines in the result file."""
        return Watch(self.results).lines()

    @property
    def is_torn(self) -> bool:
        """Whether the result file ends within a line."""
        data = self.results.read_bytes() if self.results.exists() else b""
        return not data.endswith(b"\n") and data != b""

    def start(self) -> "subprocess.Popen[str]":
        """Start the command; all but the first time it resumes."""
        resume = ["--resume"] if self.processes else []
        self.processes += 1
        limits = ["--quota", "none", "--concurrency", str(self._concurrency)]
        return self._command("stop", "list.csv", "-o", self.results.name, *resume, *self._host, *limits, "--yes")

    def kill_at(self, moment: Moment) -> bool:
        """Start the command and kill it; return whether it was still running at that moment."""
        watch, process = Watch(self.results), self.start()
        watch.reaches(moment.lines, process)
        time.sleep(moment.later_s)
        process.kill()
        process.communicate()
        self.server.mark()
        return process.returncode == -signal.SIGKILL

    def finish(self) -> Ended:
        """Start the command and wait for its end."""
        lines_before, process = self.lines, self.start()
        said, _ = process.communicate(timeout=WAIT_S)
        return Ended(process.returncode, said, lines_before)

    def flaws(self, ended: Ended) -> list[str]:
        """Return what does not hold after the last process."""
        return [*self.flaws_of_files(), *self._flaws_of_words(ended)]

    def flaws_of_files(self) -> Iterator[str]:
        """Yield what does not hold by the server's log and the result file."""
        calls, lines = self.server.calls(), read_results(self.results)
        twice = sent_twice(calls)
        yield from self._flaws_of_calls(calls, twice)
        yield from self._flaws_of_lines(lines)
        already = {line.campaign_id for line in lines if line.outcome == "already_stopped"}
        yield from unequal("already_stopped, sent twice", already, set().union(*twice.values()))

    def _flaws_of_calls(self, calls: Sequence[Call], twice: dict[int, set[str]]) -> Iterator[str]:
        wanted = {row.campaign_id for row in self.listed.values() if row.ends_as is SENT}
        yield from unequal("to be stopped, answered", wanted, {call.campaign_id for call in calls if call.is_answered})
        yield from unequal("to be stopped, sent", wanted, {call.campaign_id for call in calls})
        for process, ids in twice.items():
            if len(ids) > self._concurrency:
                yield f"{len(ids)} campaigns of process {process} were sent twice"
            if process == self.processes - 1:
                yield f"the process that came to its end sent {len(ids)} campaigns twice"
        answers = Counter((call.campaign_id, call.process) for call in calls if call.is_answered)
        yield from (
            f"{name} was answered {count} times in process {process}"
            for (name, process), count in answers.items()
            if count > 1
        )

    def _flaws_of_lines(self, lines: Sequence[Line]) -> Iterator[str]:
        yield from unequal("rows, lines", set(self.listed), {line.number for line in lines})
        if len(lines) != len(self.listed):
            yield f"{len(self.listed)} rows have {len(lines)} lines"
        for line in lines:
            row = self.listed.get(line.number)
            is_final = line.outcome not in SENT or line.finished_at is not None
            if row is None or not is_final or line.source != "list.csv":
                yield f"not the end of a row: {line}"
            elif line.campaign_id != row.campaign_id or line.outcome not in row.ends_as:
                yield f"{line} is not true of {row}"

    def _flaws_of_words(self, ended: Ended) -> Iterator[str]:
        if ended.code != 2 or "its run finished at" not in ended.said:  # else the run had ended before the kill
            yield from self._flaws_of_summary(ended)
        report = self._command("report", "--check", self.results.name)
        said, _ = report.communicate(timeout=WAIT_S)
        if report.returncode:
            yield f"report --check: exit code {report.returncode}: {said}"

    def _flaws_of_summary(self, ended: Ended) -> Iterator[str]:
        code = int(any("invalid" in row.ends_as for row in self.listed.values()))
        if ended.code != code:
            yield f"exit code {ended.code} instead of {code}: {ended.said}"
        rows, before = len(self.listed), ended.lines_before
        told = f"{rows:,} = {before:,} + {rows - before:,}" if before else f"{rows:,} = {rows:,}"
        if not re.search(rf"^ *rows = lines +{re.escape(told)}$", ended.said, re.MULTILINE):
            yield f"the summary does not say {told}: {ended.said}"

    @property
    def _host(self) -> tuple[str, str]:
        return "--host", self.server.url

    def _command(self, *words: str) -> "subprocess.Popen[str]":
        return start_command(self._folder, *words)


T = TypeVar("T", str, int)


def start_command(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a command in a folder, with its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "bulkstop", *words],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def unequal(what: str, one: set[T], other: set[T]) -> list[str]:
    """Return how two sets differ, if they do."""
    only = [sorted(one - other)[:5], sorted(other - one)[:5]]
    return (
        [f"{what}: {len(one)} and {len(other)}; only in one of them: {only[0]} and {only[1]} ..."]
        if one != other
        else []
    )


# --- the trials -----------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """The conditions of a trial: its output, its server, the number of kills, and whether lines are torn."""

    output: str
    options: tuple[str, ...]
    kills: int
    tears: bool


class Crash(NamedTuple):
    """A killed process: when, whether it tore a line itself, and how many of its campaigns were sent twice."""

    moment: str
    is_torn: bool
    sent_twice: int


class Trial(NamedTuple):
    """The result of a trial."""

    crashes: tuple[Crash, ...]
    torn_by_hand: int
    left_behind: int
    flaws: tuple[str, ...]


def kind_of(number: int, rng: random.Random) -> Kind:
    """Return the conditions of a trial by its number, so that a few trials cover all."""
    return Kind(
        "results.csv" if number % 5 == 1 else "results.jsonl",
        (*LATENCY, *(FAILING if number % 5 == 3 else ())),
        1 + (rng.randint(1, 2) if number % 3 == 2 else 0),
        number % 4 == 1,
    )


def drawn(rng: random.Random, lines: int, rows: int, startup_s: float) -> Moment:
    """Draw a moment anywhere in the run, with more weight on its start-up, its beginning and its end."""
    (name,) = rng.choices(MOMENTS, (15, 10, 60, 15)) if lines < rows else MOMENTS[:1]
    if name == "start-up":
        return Moment(name, 0, rng.uniform(0, startup_s))
    if name == "first line":
        return Moment(name, lines + 1)
    at = rows if name == "last line" else rng.randint(lines + 1, rows)
    return Moment(name, at, rng.uniform(0, MOST_LATER_S))


def tear(results: Path, rng: random.Random) -> None:
    """Append the beginning of a line to a result file, as a process that is killed in a write leaves it."""
    line = results.read_bytes().splitlines()[-1]
    with results.open("ab") as file:
        file.write(line[: rng.randint(1, len(line))])


def tried(folder: Path, kind: Kind, rng: random.Random, rows: int, startup_s: float) -> Trial:
    """Kill a job as often as its conditions say, let it finish, and check it."""
    with simulator(folder, *kind.options) as server:
        job = Job(folder, server, rows=rows, output=kind.output)
        killed: dict[int, tuple[str, bool]] = {}
        torn_by_hand = 0
        for _ in range(kind.kills):
            moment, before = drawn(rng, job.lines, rows, startup_s), (job.lines, job.is_torn)
            if not job.kill_at(moment):
                break  # the kill came too late, so the job has ended
            killed[job.processes - 1] = moment.name, job.is_torn and before != (job.lines, True)
            # A run with all its lines may have recorded its end; it writes no more, so no line could be torn.
            if kind.tears and 0 < job.lines < rows and not job.is_torn:
                tear(job.results, rng)
                torn_by_hand += 1
        flaws = job.flaws(job.finish())
        twice = sent_twice(server.calls())
    crashes = [Crash(*how, len(twice.get(process, ()))) for process, how in killed.items()]
    return Trial(tuple(crashes), torn_by_hand, len(list(folder.glob(".*"))), tuple(flaws))


def untouched(rows: int) -> tuple[float, float]:
    """Run a job without kills; return the seconds to its first line and to its end."""
    with tempfile.TemporaryDirectory() as name, simulator(Path(name), *LATENCY) as server:
        job, began = Job(Path(name), server, rows=rows), time.monotonic()
        watch, process = Watch(job.results), job.start()
        watch.reaches(1, process)
        startup_s = time.monotonic() - began
        said, _ = process.communicate(timeout=WAIT_S)
        elapsed_s = time.monotonic() - began
        if flaws := job.flaws(Ended(process.returncode, said, 0)):
            raise SystemExit("\n".join(flaws))
    return startup_s, elapsed_s


def tell(trials: Sequence[Trial]) -> None:
    """Print the results of the crashes by their moment."""
    crashes = [crash for trial in trials for crash in trial.crashes]
    print("killed at     crashes   sent twice: most    mean   lines torn")
    for name in (*MOMENTS, "all"):
        some = [crash for crash in crashes if name in (crash.moment, "all")]
        twice = [crash.sent_twice for crash in some] or [0]
        torn = sum(crash.is_torn for crash in some)
        print(f"{name:<12} {len(some):8} {max(twice):18} {sum(twice) / len(twice):7.1f} {torn:12}")


def main() -> None:
    """Run as many trials as requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    wanted, rows = (2, 400) if args.smoke else (args.trials, ROWS)
    began = time.monotonic()
    startup_s, untouched_s = untouched(rows)
    print(
        f"{rows:,} rows, concurrency {CONCURRENCY}: {untouched_s:.1f} s, of which {startup_s:.1f} s to the first line"
    )
    trials = list(all_trials(wanted, args.seed, rows, startup_s))
    tell(trials)
    failed = sum(bool(trial.flaws) for trial in trials)
    print(
        f"{wanted} trials, {failed} failed, {time.monotonic() - began:.0f} s; lines torn by hand, and cut: "
        f"{sum(trial.torn_by_hand for trial in trials)}; hidden files left behind: "
        f"{sum(trial.left_behind for trial in trials)}"
    )
    if failed:
        raise SystemExit(1)


def all_trials(wanted: int, seed: int, rows: int, startup_s: float) -> Iterator[Trial]:
    """Yield this many trials with a crash; one that ended before its kill is repeated with another draw."""
    for number in range(wanted):
        for draw in itertools.count():
            rng = random.Random(f"{seed} {number} {draw}")
            folder, kind = Path(tempfile.mkdtemp(prefix="bulkstop-crash-")), kind_of(number, rng)
            trial = tried(folder, kind, rng, rows, startup_s)
            if trial.flaws:
                print(f"trial {number}, draw {draw} ({kind}), in {folder}:", *trial.flaws[:10], sep="\n  ")
            else:
                shutil.rmtree(folder)
            if trial.crashes or trial.flaws:
                yield trial
                break


if __name__ == "__main__":
    main()
