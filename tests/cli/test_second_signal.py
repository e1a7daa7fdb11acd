"""The second signal ends a blocked command in time: real processes, real signals, real full pipes."""

import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bulkstop.model import CampaignType, Outcome, Result
from bulkstop.report.stop.formats import to_json
from tests.cli.conftest import MakeList
from tests.processes import (
    COMMAND,
    ROOT,
    WAIT_S,
    Ended,
    Simulated,
    apart,
    bulkstop,
    checked,
    environment,
    results,
    simulator,
)

pytestmark = [pytest.mark.real, pytest.mark.full]

GRACE_S = 0.2
PATIENCE_S = 10.0
"""Seconds that a busy machine may add to the grace and the second after it."""
OPTIONS = ("--yes", "--quota", "none", "--grace", "200ms")
LINE = "campaigns.csv.results.jsonl"
WHERE = ("--account-id", "644e9b61138c7160307450fa", "--stream-id", "st-1")

STUCK = {
    "python": "while True: pass",
    "regex": "__import__('re').match('(a+)+$', 'a' * 64 + 'b')",
    # Holds the interpreter's lock for ever, and never checks for signals.
    "c": "__import__('collections').deque(__import__('itertools').repeat(0), maxlen=0)",
}
AT_AN_ANSWER = """
import os, bulkstop.kore.session as here
def stuck(*args):
    open("stuck-" + str(os.getpid()), "w").close()
    {how}
here.redact_token = stuck
"""
IMPATIENT = "import bulkstop.runs.stop.run as here; here.UNREAD_S = 0.2"
UNREAD = "standard output is full: nothing more is sent until somebody reads it"
SLOW_ANSWER = """
import time, bulkstop.engine.ending as ending, bulkstop.kore.session as here
ending.STALL_S, ending.BEAT_S = {stall_s}, 0.05
redact, pause_s = here.redact_token, [0.5]
def slow(*args):
    time.sleep(pause_s[0])
    pause_s[0] = 0
    return redact(*args)
here.redact_token = slow
"""


def stuck_at_an_answer(how: str, folder: Path) -> str:
    """Make the command hang in its first response; return the path of the module that does this."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(AT_AN_ANSWER.format(how=STUCK[how]))
    return f"{folder}:{ROOT}"


@contextmanager
def command(
    *args: str, cwd: Path, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, **variables: str
) -> Iterator["subprocess.Popen[str]"]:
    """Start the command, and kill it at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told_twice(
    process: "subprocess.Popen[str]", *more: signal.Signals, first: signal.Signals = signal.SIGTERM
) -> Ended:
    """Send a signal twice and then others, and check that the process ends in time.

    Of two different ones at once, a busy machine may handle the second first.
    """
    process.send_signal(first)
    for signum in (first, *more):
        await_heard(process)
        process.send_signal(signum)
    began = time.monotonic()
    out, err = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - began < GRACE_S + 1 + PATIENCE_S
    return checked(Ended(process.returncode, out or "", err or ""))


def await_heard(process: "subprocess.Popen[str]") -> None:
    """Wait until no signal is pending, because the kernel merges two pending ones."""
    status = Path(f"/proc/{process.pid}/status")
    wait_for(lambda: not any(int(line.split()[1], 16) for line in status.read_text().splitlines() if "Pnd:" in line))


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    give_up = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Create a pipe that is not read."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for fd in ends:
            with suppress(OSError):
                os.close(fd)


def is_full(fd: int) -> bool:
    """Return whether a pipe is full."""
    return not select.select([], [fd], [], 0)[1]


def waits_to_write(process: "subprocess.Popen[str]") -> bool:
    """Return whether a process is blocked by an unread pipe."""
    return "pipe_w" in Path(f"/proc/{process.pid}/wchan").read_text()


def fill(fd: int) -> None:
    """Write to a pipe until it is full."""
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(fd, b"x" * 4096)
    os.set_blocking(fd, True)


@contextmanager
def silent_service() -> Iterator[tuple[str, Callable[[int], None]]]:
    """Run a service that answers no calls; return its URL, and a function that waits for a number of calls."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(WAIT_S)

        def arrived(calls: int) -> None:
            for _ in range(calls):
                connection = stack.enter_context(server.accept()[0])
                assert connection.recv(65536)

        yield f"http://127.0.0.1:{server.getsockname()[1]}", arrived


class TestStuckLoop:
    """The event loop is blocked for ever."""

    @pytest.mark.parametrize("how", STUCK)
    def test_stop(self, how: str, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """The first signal sets the exit code, one line says what is unknown, and `--resume` continues."""
        make_list(40)
        args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "--concurrency", "4")
        path = stuck_at_an_answer(how, tmp_path / "with")
        with command(*args, "--quiet", cwd=tmp_path, PYTHONPATH=path) as process:
            wait_for(lambda: list(tmp_path.glob("stuck-*")))
            run = told_twice(process, signal.SIGINT, signal.SIGHUP)
        assert (run.code, run.out) == (143, "")
        assert run.err.splitlines()[-1] == (
            "bulkstop: ended by force after the second signal: the event loop did not answer; "
            "result lines already written are kept; campaigns in flight are unknown; to go on: "
            f"{shlex.join([*COMMAND, *args])} --quiet --resume"
        )
        again = bulkstop(*args, "--resume", cwd=tmp_path)
        assert again.code == 0, again.err
        assert len({line["campaign_id"] for line in results(tmp_path / LINE)}) == 40

    @pytest.mark.parametrize(
        ("how", "name"), [("python", "verify"), ("c", "discover"), ("c", "load"), ("python", "load by processes")]
    )
    def test_others(self, how: str, name: str, sim: Simulated, tmp_path: Path) -> None:
        """The same holds for every command that uses a network, and no process is left."""
        result = Result("cd-1", CampaignType.VOICE, WHERE[1], WHERE[3], Outcome.STOPPED)
        (tmp_path / "r.jsonl").write_bytes(to_json(result))
        closed = ("load", *WHERE, "--closed", "--duration", "10m", "--quiet", "--grace", "200ms")
        words = {
            "verify": ("verify", "r.jsonl", "--quota", "none", "--quiet"),
            "discover": ("discover", *WHERE, "--quota", "none", "-o", "list.csv", "--quiet"),
            "load": closed,
            "load by processes": (*closed, "--processes", "2"),
        }[name]
        path = stuck_at_an_answer(how, tmp_path / "with")
        with command(*words, "--host", sim.url, cwd=tmp_path, PYTHONPATH=path) as process:
            wait_for(lambda: len(list(tmp_path.glob("stuck-*"))) == (2 if name == "load by processes" else 1))
            run = told_twice(process)
        assert (run.code, run.out) == (143, "")
        assert run.err.splitlines()[-1].startswith("bulkstop: ended by force after the second signal: ")
        pids = [int(each.name.rpartition("-")[2]) for each in tmp_path.glob("stuck-*")]
        wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


class TestStall:
    """The event loop is blocked for a while; here "a while" is 0.3 s."""

    @pytest.mark.parametrize("how", ["python", "c"])
    @pytest.mark.parametrize("as_json", [True, False])
    def test_told(self, how: str, as_json: bool, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """A log line reports the stall, and a file beside the manifest its place, even where no Python runs."""
        make_list(10)
        path = stuck_at_an_answer(how, tmp_path / "with")
        with (tmp_path / "with" / "sitecustomize.py").open("a") as patch:
            patch.write("import bulkstop.engine.ending\nbulkstop.engine.ending.STALL_S = 0.3\n")
        args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "--quiet", *(["--log-json"] if as_json else []))
        stack = tmp_path / f"{LINE}.stack.txt"
        with command(*args, cwd=tmp_path, PYTHONPATH=path) as process:
            wait_for(lambda: stack.exists() and " in stuck" in stack.read_text())
            assert process.stderr is not None
            while "0.3" not in (
                line := process.stderr.readline()
            ):  # a busy machine may have stalled before, for longer
                assert "loop_stalled" in line
            told_twice(process)
        if as_json:
            record = json.loads(line)
            assert (record["event"], record["level"], record["stack"]) == ("loop_stalled", "warning", stack.name)
        else:
            assert line.endswith(f"WARNING loop_stalled stood_s=0.3 stack={stack.name}\n")
        at = datetime.fromisoformat(record["time"] if as_json else line.split()[0])
        assert abs(at.timestamp() - time.time()) < WAIT_S
        assert stack.stat().st_mode & 0o077 == 0

    def test_over(self, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """After the stall the log reports its length, and the run finishes; without a stall there is no file."""
        make_list(10)
        (tmp_path / "with").mkdir()
        for is_slow in (True, False):
            (tmp_path / "with" / "sitecustomize.py").write_text(SLOW_ANSWER.format(stall_s=0.3 if is_slow else 60))
            args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "--quiet", "--overwrite")
            run = bulkstop(*args, cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'with'}:{ROOT}")
            assert run.code == 0
            stood = [float(each) for each in re.findall(r"loop_stalled stood_s=([\d.]+)", run.err)]
            assert bool(stood) == is_slow
            assert not stood or max(stood) >= 0.5
            stack = tmp_path / f"{LINE}.stack.txt"
            assert stack.exists() == is_slow
            stack.unlink(missing_ok=True)


class TestUnreadOutput:
    """The output goes to a pipe that is not read."""

    @pytest.mark.parametrize("rows", [400, 4000])  # 64 KiB fill a pipe; 4,000 lines are more than a megabyte
    def test_results(self, rows: int, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """A run with unread lines ends; a later reader finds complete lines, and the others are counted."""
        listed_ids = make_list(rows).read_text()
        with pipe() as (reads, writes):
            args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "-o", "-", "--quiet")
            (tmp_path / "with").mkdir()
            (tmp_path / "with" / "sitecustomize.py").write_text(IMPATIENT)
            path = f"{tmp_path / 'with'}:{ROOT}"
            with command(*args, cwd=tmp_path, stdout=writes, PYTHONPATH=path) as process:
                wait_for(lambda: is_full(writes))
                if rows == 4000:
                    assert process.stderr is not None
                    while UNREAD not in (line := process.stderr.readline()):
                        assert line
                run = told_twice(process)
            os.close(writes)
            with os.fdopen(reads, closefd=False) as file:
                lines = [json.loads(line) for line in file.read().splitlines()]
        assert run.code == 143
        assert {line["outcome"] for line in lines} <= {"stopped", "unknown"}
        assert len(lines) > 50
        missing = re.search(
            r"standard output: ([\d,]+) result lines could not be written, because nobody reads them", run.err
        )
        assert missing is not None
        assert len(lines) + int(missing[1].replace(",", "")) == rows
        listed = [json.loads(line) for line in run.err.splitlines() if line.startswith('{"campaign_id"')]
        sent = {campaign_id for campaign_id in sim.ids() if campaign_id in listed_ids}
        assert sent <= {line["campaign_id"] for line in [*lines, *listed] if line["outcome"] != "not_sent"}

    @pytest.mark.parametrize("how", ["stdout", "stderr", "time"])
    def test_one_end_is_enough(self, how: str, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """After one signal, or at the deadline, a reader is waited for at most the grace period."""
        make_list(2000)
        by = f"{datetime.now(UTC) + timedelta(seconds=3):%H:%M:%S}"
        options = {
            "stdout": ("-o", "-"),
            "stderr": ("--log-level", "debug"),
            "time": ("-o", "-", "--finish-by", by, "--tz", "UTC"),
        }[how]
        with pipe() as (_, writes):
            out, err = (subprocess.PIPE, writes) if how == "stderr" else (writes, subprocess.PIPE)
            args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "--quiet", *options)
            with command(*args, cwd=tmp_path, stdout=out, stderr=err) as process:
                wait_for(lambda: is_full(writes))
                if how != "time":
                    process.terminate()
                assert process.wait(WAIT_S) == (4 if how == "time" else 143)

    @pytest.mark.parametrize("processes", ["1", "2"])
    def test_load(self, processes: str, sim: Simulated, tmp_path: Path) -> None:
        """A load test also ends by its signal; its lines are read or counted, from any of its processes."""
        options = ("--rate", "400/s", "--duration", "1h", "--max-late", "60s", "--grace", "200ms")
        with pipe() as (reads, writes):
            args = ("load", *WHERE, "--host", sim.url, *options, "--results", "-", "--processes", processes)
            with command(*args, cwd=tmp_path, stdout=writes) as process:
                wait_for(lambda: is_full(writes))
                process.terminate()
                assert process.wait(WAIT_S) == 143
                assert process.stderr is not None
                err = process.stderr.read()
            os.close(writes)
            with os.fdopen(reads, closefd=False) as file:
                lines = file.read().splitlines()
        requests = re.search(r"^ +rate .*: ([\d,]+) requests in", err, re.MULTILINE)
        missing = re.search(r"--results -: ([\d,]+) lines could not be written, because nobody reads them", err)
        assert requests is not None
        counts = [int(match[1].replace(",", "")) for match in (requests, missing) if match]
        assert len(lines) + sum(counts[1:]) == counts[0]

    def test_rows_that_are_not_sent(self, sim: Simulated, make_list: MakeList, tmp_path: Path) -> None:
        """So does a run before its first stop, with unread lines of rows that are not sent."""
        path = make_list(1)
        header, row = path.read_text().splitlines()
        path.write_text("\n".join([header, *[row] * 2001]))
        with pipe() as (reads, writes):
            args = ("stop", "campaigns.csv", "--host", sim.url, *OPTIONS, "-o", "-", "--quiet")
            with command(*args, cwd=tmp_path, stdout=writes) as process:
                wait_for(lambda: is_full(writes))
                run = told_twice(process)
            os.close(writes)
            with os.fdopen(reads, closefd=False) as file:
                lines = [json.loads(line) for line in file.read().splitlines()]
        assert run.code == 143
        missing = re.search(r"standard output: ([\d,]+) result lines could not be written", run.err)
        assert missing is not None
        assert len(lines) + int(missing[1].replace(",", "")) == 2001

    def test_messages(self, make_list: MakeList, tmp_path: Path) -> None:
        """If only the messages are unread, the run finishes: every row has its line."""
        apart(make_list(30))
        with pipe() as (_, writes), silent_service() as (url, arrived):
            fill(writes)
            args = ("stop", "campaigns.csv", "--host", url, *OPTIONS, "--quiet", "--concurrency", "2")
            with command(*args, cwd=tmp_path, stderr=writes) as process:
                arrived(2)
                run = told_twice(process)
        assert run.code == 143
        outcomes = sorted(line["outcome"] for line in results(tmp_path / LINE))
        assert outcomes == ["not_sent"] * 28 + ["unknown"] * 2

    def test_the_plan(self, make_list: MakeList, tmp_path: Path) -> None:
        """Before any call, the second Ctrl-C also ends a run that cannot even print its plan."""
        make_list(3)
        with pipe() as (_, writes):
            fill(writes)
            args = ("stop", "campaigns.csv", "--host", "http://127.0.0.1:1", *OPTIONS)
            with command(*args, cwd=tmp_path, stderr=writes) as process:
                wait_for(lambda: waits_to_write(process))
                run = told_twice(process, first=signal.SIGINT)
        assert run.code == 130
        assert not (tmp_path / LINE).exists()

    @pytest.mark.parametrize("is_drained", [True, False])
    def test_the_summary(self, is_drained: bool, make_list: MakeList, tmp_path: Path) -> None:
        """After the run, with an unread summary, the second signal ends it, or the first if there was none before."""
        apart(make_list(3))
        with pipe() as (reads, writes), simulator(tmp_path, "--latency", "500") as slow:
            args = ("stop", "campaigns.csv", "--host", slow.url, *OPTIONS[:-1], "5s")
            with command(*args, cwd=tmp_path, stderr=writes) as process:
                wait_for(lambda: len(slow.requests()) == 3)
                if is_drained:
                    process.send_signal(signal.SIGTERM)
                    wait_for(lambda: b"ending: waiting" in os.read(reads, 65536))
                fill(writes)
                wait_for(lambda: waits_to_write(process))
                process.send_signal(signal.SIGINT)
                code = process.wait(WAIT_S)
        assert code == (143 if is_drained else 130)
        assert [line["outcome"] for line in results(tmp_path / LINE)] == ["stopped"] * 3


def test_a_service_that_never_answers(make_list: MakeList, tmp_path: Path) -> None:
    """Without a blocked part, the second signal ends the run at once in the normal way, within a long grace."""
    apart(make_list(5))
    with silent_service() as (url, arrived):
        args = ("stop", "campaigns.csv", "--host", url, *OPTIONS[:-1], "5m", "--concurrency", "2")
        with command(*args, cwd=tmp_path) as process:
            arrived(2)
            run = told_twice(process)
    assert run.code == 143
    assert "by SIGTERM, before all were sent" in run.err
    assert "by force" not in run.err
    assert len(results(tmp_path / LINE)) == 5


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    "name", ["hostile answer", "slow server", "full pipe", "full disk", "throttled", "soak", "read-back"]
)
def test_at_any_moment(name: str, number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever blocks a run, and whenever the signals come, it ends in time, and reports all it sent.

    benchmarks/second_signal.py tries a hundred moments of each.
    """
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import second_signal

    (condition,) = (each for each in second_signal.CONDITIONS if each.name == name)
    ended = second_signal.end_at(condition, second_signal.draw(condition, number, seed=1), tmp_path)
    assert list(second_signal.flaws_of(condition, ended, second_signal.WITHIN_S + PATIENCE_S)) == []


def test_json_to_the_end(make_list: MakeList, tmp_path: Path) -> None:
    """With `--log-json` all messages about the end are JSON, even when it is forced."""
    apart(make_list(3))
    with silent_service() as (url, arrived):
        args = ("stop", "campaigns.csv", "--host", url, *OPTIONS, "--log-json")
        path = stuck_at_an_answer("python", tmp_path / "with")
        with command(*args, cwd=tmp_path) as process:
            arrived(1)
            run = told_twice(process)
        assert [json.loads(line)["event"] for line in run.err.splitlines()]
        assert "ending: waiting up to" in run.err
    make_list(3)
    with (
        simulator(tmp_path) as sim,
        command(
            *(word if word != url else sim.url for word in args), "--overwrite", cwd=tmp_path, PYTHONPATH=path
        ) as process,
    ):
        wait_for(lambda: list(tmp_path.glob("stuck-*")))
        run = told_twice(process)
    last = json.loads(run.err.splitlines()[-1])
    assert last["message"].startswith("bulkstop: ended by force after the second signal")
    assert abs(datetime.fromisoformat(last["time"]).timestamp() - time.time()) < WAIT_S
