"""Sends two signals at random moments of a blocked run, and checks that it ends in time and every row has its line.

    python benchmarks/second_signal.py                        # 100 moments of each condition: half an hour
    python benchmarks/second_signal.py --moments 5 --seed 7   # others, chosen by the seed
    python benchmarks/second_signal.py --only "full pipe"     # one condition
    python benchmarks/second_signal.py --smoke                # a short run that only shows that it works

The real command runs as a process against a server that answers as the condition says. At a random moment it gets a
SIGTERM, and a little later a SIGINT. It must end within `--grace` and a second, with exit code 143 (or its own, if it
had ended before), and the result file must have one line for each row, or no line if nothing was sent. If nobody reads
its lines, the missing ones must be counted; a full disk has no room for more. Each campaign whose stop has arrived has
a line, in the file or on standard error. What does not hold is printed, and is exit 1.
"""

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from watched import environment

ROWS = 200
GRACE_S = 0.5
WITHIN_S = GRACE_S + 1.0
"""Seconds after the second signal within which the process must end."""
LATEST_FIRST_S = 1.0
"""Seconds after the first request within which the first signal comes."""
LATEST_SECOND_S = 0.4
CODE = 128 + signal.SIGTERM
WAIT_S = 60.0
RESULTS = "list.txt.results.jsonl"
STOPPED = {"status": "Stopped", "message": "Campaign Stopped"}
NOT_ACTIVE = {"status": "failure", "message": "Campaign is not active"}
HOSTILE = (
    {"status": "failure", "message": "failed for " + ", ".join(["cd-5464b37-74ac-5607-8562-71c6a29234da"] * 40)},
    {"errors": [{"msg": "\u202e\x9b31m" * 500, "code": 4002}] * 50},
    {"status": "Stopped " * 1000, "message": "(" * 5000 + "already stopped" * 100},
)


class Answer(NamedTuple):
    """A response: its status, a JSON value or bytes, headers, and its delay."""

    status: int = 200
    body: Any = STOPPED
    headers: Mapping[str, str] = {}
    after_s: float = 0.005


class Condition(NamedTuple):
    """What blocks a run: the server's response by call number, options, and words before the command."""

    name: str
    answer: Callable[[int, str], Answer]
    options: Sequence[str] = ()
    before: str = ""
    is_read: bool = True


def answer_hostile(number: int, path: str) -> Answer:
    """Answer with long and deep texts, broken JSON, and sometimes correctly."""
    if number % 4 == 3:
        return Answer()
    return Answer(409, HOSTILE[number % 3]) if number % 2 else Answer(500, b"[" * 20_000)


def answer_not_active(number: int, path: str) -> Answer:
    """Claim that nothing is active, and answer the list that could prove it slowly."""
    return Answer(after_s=30.0) if "getAll" in path else Answer(409, NOT_ACTIVE)


CONDITIONS = (
    Condition("hostile answer", answer_hostile),
    Condition("slow server", lambda number, path: Answer(after_s=30.0)),
    Condition("full pipe", lambda number, path: Answer(), ("-o", "-"), is_read=False),
    Condition("full disk", lambda number, path: Answer(after_s=0.05), before="ulimit -f 100;"),
    Condition("throttled", lambda number, path: Answer(429, {}, {"Retry-After": "30"})),
    Condition("soak", lambda number, path: Answer(), ("--waves", "10,100%", "--soak", "60s")),
    Condition("read-back", answer_not_active),
)


# --- the server -----------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Answers as a condition says, and counts the stops that have arrived."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, condition: Condition) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.condition = condition
        self.requests = 0
        self.stopped: set[str] = set()
        self.over = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, path: str) -> int:
        """Count a request; return the number of earlier ones."""
        with self._lock:
            if (stop := re.search(r"/trigger/([^?]+)", path)) is not None:
                self.stopped.add(stop[1])
            self.requests += 1
            return self.requests - 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that has left."""


class Handler(BaseHTTPRequestHandler):
    """The handler of one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Answer a call."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.condition.answer(self.server.count(self.path), self.path)
        if self.server.over.wait(answer.after_s):
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Log nothing."""


@contextmanager
def serving(condition: Condition) -> Iterator[Server]:
    """Run a server within the block."""
    server = Server(condition)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


# --- one moment -----------------------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """When the signals come: seconds after the first request, and after the first signal."""

    first_s: float
    second_s: float


class Ended(NamedTuple):
    """How a process ended: its code, its delay after the second signal, its output, and the stops that arrived."""

    code: int
    after_s: float
    err: str
    lines: Sequence[bytes]
    stopped: frozenset[str]
    is_signalled: bool

    @property
    def told(self) -> frozenset[str]:
        """The campaigns that a line reports as sent, in the file or on standard error."""
        said = [line.encode() for line in self.err.splitlines() if line.startswith('{"campaign_id"')]
        results = [json.loads(line) for line in (*self.lines, *said)]
        return frozenset(result["campaign_id"] for result in results if result["outcome"] != "not_sent")

    @property
    def missing(self) -> int:
        """The number of lines that it reports as unread."""
        match = re.search(r"([\d,]+) result lines could not be written", self.err)
        return int(match[1].replace(",", "")) if match else 0


def end_at(condition: Condition, moment: Moment, folder: Path) -> Ended:
    """Run the command under a condition, and send it two signals."""
    write_list(folder / "list.txt")
    with serving(condition) as server, unread_pipe(condition) as (reader, stdout):
        words = [sys.executable, "-m", "bulkstop", "stop", "list.txt", "--host", server.url, "--yes", "--quota", "none"]
        words += ["--type", "voice", "--account-id", "64f0a1b2c3d4e5f607182930", "--stream-id", "st-1"]
        words += ["--grace", f"{GRACE_S:g}", "--max-outage", "60", "--quiet", *condition.options]
        process = subprocess.Popen(
            ["sh", "-c", f"{condition.before} exec {shlex.join(words)}"],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: server.stopped or process.poll() is not None)
        time.sleep(moment.first_s)
        is_signalled = process.poll() is None
        process.send_signal(signal.SIGTERM)
        time.sleep(moment.second_s)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=WAIT_S)
        after_s = time.monotonic() - began
        lines = read_pipe(reader) if reader >= 0 else read_file(folder / RESULTS)
        return Ended(process.returncode, after_s, err, lines, frozenset(server.stopped), is_signalled)


def write_list(path: Path) -> None:
    """Write a list of campaigns."""
    path.write_text("".join(f"cd-{number:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d\n" for number in range(ROWS)))


@contextmanager
def unread_pipe(condition: Condition) -> Iterator[tuple[int, int]]:
    """Create a pipe that is read only at the end, if the condition needs one; else yield -1 and no output."""
    if condition.is_read:
        yield -1, subprocess.DEVNULL
        return
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            with suppress(OSError):
                os.close(fd)


def read_pipe(reader: int) -> list[bytes]:
    """Return the lines in a pipe."""
    os.set_blocking(reader, False)
    data = b""
    with suppress(BlockingIOError):
        while block := os.read(reader, 65536):
            data += block
    return data.splitlines()


def read_file(path: Path) -> list[bytes]:
    """Return the lines of a file; a missing file has none."""
    return path.read_bytes().splitlines() if path.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    give_up = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(0.005)


def flaws_of(condition: Condition, ended: Ended, within_s: float = WITHIN_S) -> Iterator[str]:
    """Yield what does not hold."""
    if ended.after_s > within_s:
        yield f"it took {ended.after_s:.2f} s after the second signal"
    codes = {CODE, -signal.SIGTERM} if ended.is_signalled else {0, 1, 3, CODE}  # after its end the signal kills it
    if ended.code not in ({*codes, 3} if condition.before else codes):
        yield f"exit code {ended.code}"
    if len(ended.lines) + ended.missing not in {ROWS, ROWS if ended.stopped else 0} and not condition.before:
        yield f"{ROWS} rows, but {len(ended.lines)} lines and {ended.missing} that are missing"
    if not ended.stopped <= ended.told:
        yield f"{len(ended.stopped - ended.told)} campaigns were sent, and no line tells of it"
    if ended.missing and condition.is_read:
        yield "lines are missing though they are read"
    if "Traceback" in ended.err or "internal error" in ended.err:
        yield "it says more than a user should see"


# --- all of them ----------------------------------------------------------------------------------------------------


def draw(condition: Condition, number: int, seed: int) -> Moment:
    """Draw the moments of the signals."""
    rng = random.Random(f"{seed} {condition.name} {number}")
    return Moment(rng.uniform(0, LATEST_FIRST_S), rng.uniform(0, LATEST_SECOND_S))


def try_condition(condition: Condition, moments: int, seed: int) -> int:
    """Run a condition several times; print the results, and return the number of failures."""
    failed, took = 0, list[float]()
    for number in range(moments):
        moment = draw(condition, number, seed)
        with tempfile.TemporaryDirectory(prefix="bulkstop-signal-") as name:
            ended = end_at(condition, moment, Path(name))
        took.append(ended.after_s)
        if flaws := list(flaws_of(condition, ended)):
            failed += 1
            print(
                f"{condition.name}, moment {number} ({moment}): exit {ended.code}", *flaws, ended.err[-600:], sep="\n  "
            )
    took.sort()
    print(f"{condition.name:<16} {moments:8} {failed:8} {took[len(took) // 2]:10.2f} {took[-1]:9.2f}", flush=True)
    return failed


def main() -> None:
    """Run as many moments as requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--only", choices=[each.name for each in CONDITIONS])
    args = parser.parse_args()
    moments = 1 if args.smoke else args.moments
    print("condition         moments   failed   median s   most s (from the second signal to the end)")
    chosen = [each for each in CONDITIONS if args.only in (None, each.name)]
    if sum(try_condition(each, moments, args.seed) for each in chosen):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
