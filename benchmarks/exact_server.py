"""A server with exactly defined behaviour and an exact log of when each request arrived and was answered.

    python benchmarks/exact_server.py constant --port 8080 --log log.jsonl     # SIGTERM ends it and writes the log

The log has an object for each request, in the order of arrival: `id`, `arrived`, `answered` (seconds of the monotonic
clock, which all processes of a machine share; null without an answer) and `status` (null where it hung up).
"""

import argparse
import asyncio
import gc
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from peers import await_port, free_port

BODY = b'{"status":"Stopped","message":"Campaign Stopped","updatedAt":"2025-12-05T12:01:35.312Z"}'
FAILED_BODY = b'{"status":"Failed","message":"Campaign could not be stopped"}'
REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Unavailable"}
BASE_S = 0.002


class Answer(NamedTuple):
    """When a request is answered, with which status (None hangs up), and whether the connection then ends.

    If it `breaks`, the connection ends in the middle of the body.
    """

    at: float
    status: int | None = 200
    closes: bool = False
    body: bytes = BODY
    breaks: bool = False


class Log(NamedTuple):
    """The log entry of a request."""

    id: str
    arrived: float
    answered: float | None
    status: int | None


Shape = Callable[[float, float, int], Answer]
"""Returns the response to a request from the time now, the time since the first request, and its number."""


def constant(latency_s: float) -> Shape:
    """Answer each request after the same time."""
    return lambda now, since_s, number: Answer(now + latency_s)


def log_normal(median_s: float = 0.005, sigma: float = 0.6) -> Shape:
    """Answer after times with a long tail, the same in each run."""
    draw = random.Random(1)
    return lambda now, since_s, number: Answer(now + median_s * draw.lognormvariate(0, sigma))


def stall(every_s: float = 2.0, for_s: float = 0.4) -> Shape:
    """Pause again and again; the first time after half of `every_s`."""

    def answer(now: float, since_s: float, number: int) -> Answer:
        into_s = (since_s + BASE_S + every_s / 2) % every_s
        return Answer(now + BASE_S + (for_s - into_s if into_s < for_s and since_s > every_s / 4 else 0.0))

    return answer


def freeze(from_s: float = 1.0) -> Shape:
    """Stop answering after a while."""
    return lambda now, since_s, number: Answer(now + (BASE_S if since_s < from_s else 3600.0))


def seldom_slow(share: int = 100, slow_s: float = 1.0) -> Shape:
    """Answer one request in `share` after `slow_s`."""
    return lambda now, since_s, number: Answer(now + (slow_s if number % share == share - 1 else BASE_S))


def one_by_one(rate: float = 500.0, base_s: float = 0.0, depth: float = math.inf) -> Shape:
    """Answer one request after the other, at this rate, `base_s` later each; send 503 while more than `depth` wait."""
    free_at = 0.0

    def answer(now: float, since_s: float, number: int) -> Answer:
        nonlocal free_at
        if (max(free_at, now) - now) * rate > depth:
            return Answer(now + BASE_S, 503)
        free_at = max(free_at, now) + 1 / rate
        return Answer(free_at + base_s)

    return answer


def tiring(rate: float = 1000.0, tired: float = 200.0, after: int = 800) -> Shape:
    """Answer one request after the other, at `rate` for the first `after` requests, then at `tired`."""
    free_at = 0.0

    def answer(now: float, since_s: float, number: int) -> Answer:
        nonlocal free_at
        free_at = max(free_at, now) + 1 / (rate if number < after else tired)
        return Answer(free_at)

    return answer


def two_kinds(slow_of_ten: int = 3, slow_s: float = 2.0) -> Shape:
    """Answer `slow_of_ten` of ten requests after `slow_s`, the others at once."""
    return lambda now, since_s, number: Answer(now + (slow_s if number * 7 % 10 < slow_of_ten else BASE_S))


def away(from_s: float = 1.0, to_s: float = 2.5) -> Shape:
    """Pause once; answer all requests that arrive during the pause at its end."""
    return lambda now, since_s, number: Answer(now + BASE_S + (to_s - since_s if from_s <= since_s < to_s else 0.0))


def bursts(every_s: float = 1.0, for_s: float = 0.1) -> Shape:
    """Answer 429 for `for_s` at the beginning of every `every_s`, else 200."""
    return lambda now, since_s, number: Answer(now + BASE_S, 429 if since_s % every_s < for_s else 200)


def broken(of_ten: int = 2) -> Shape:
    """Hang up in the middle of the responses to `of_ten` of ten requests."""
    return lambda now, since_s, number: Answer(now + BASE_S, breaks=number % 10 < of_ten)


def false_success(of_ten: int = 2) -> Shape:
    """Answer `of_ten` of ten requests with 200 and a body that says that the campaign could not be stopped."""
    return lambda now, since_s, number: Answer(now + BASE_S, body=FAILED_BODY if number % 10 < of_ten else BODY)


def mixed() -> Shape:
    """Answer one in ten with 500, one with 404, one with 429, and hang up on one."""
    statuses = {3: 500, 5: 404, 7: 429, 9: None}
    return lambda now, since_s, number: Answer(now + BASE_S, statuses.get(number % 10, 200))


def ending() -> Shape:
    """End the connection with every fifth response, as some servers do after a number of requests."""
    return lambda now, since_s, number: Answer(now + BASE_S, closes=number % 5 == 4)


def limited(rate: int = 100) -> Shape:
    """Answer requests above the rate of a second with 429."""
    taken = dict[int, int]()

    def answer(now: float, since_s: float, number: int) -> Answer:
        second = int(since_s)
        taken[second] = taken.get(second, 0) + 1
        return Answer(now + BASE_S, 200 if taken[second] <= rate else 429)

    return answer


def dead() -> Shape:
    """Hang up on 78 of 100 requests."""
    return lambda now, since_s, number: Answer(now + BASE_S, 200 if number % 100 < 22 else None)


def failing(latency_s: float = 1.5) -> Shape:
    """Answer everything with a slow 503."""
    return lambda now, since_s, number: Answer(now + latency_s, 503)


def cold(for_s: float = 1.5, slow_s: float = 0.2) -> Shape:
    """Answer slowly at first."""
    return lambda now, since_s, number: Answer(now + (slow_s if since_s < for_s else BASE_S))


SHAPES: dict[str, Callable[[], Shape]] = {
    "constant": lambda: constant(0.005),
    "constant 20 ms": lambda: constant(0.02),
    "constant 2 s": lambda: constant(2.0),
    "log-normal": log_normal,
    "stall": stall,
    "freeze": freeze,
    "frozen": lambda: freeze(0.0),
    "1 % of 1 s": seldom_slow,
    "500/s": one_by_one,
    "50/s": lambda: one_by_one(50.0),
    "2000/s": lambda: one_by_one(2000.0),
    "500/s after 0.5 s": lambda: one_by_one(500.0, base_s=0.5),
    "500/s, 50 may wait": lambda: one_by_one(500.0, depth=50),
    "1000/s, then 200/s": tiring,
    "3 of 10 take 2 s": two_kinds,
    "1 of 10 takes 2 s": lambda: two_kinds(1),
    "away for 1.5 s": away,
    "bursts of 429": bursts,
    "broken bodies": broken,
    "200 and not stopped": false_success,
    "mixed errors": mixed,
    "keep-alive ends": ending,
    "429 over 100/s": limited,
    "dead": dead,
    "failing": failing,
    "cold": cold,
}


class Connection(asyncio.Protocol):
    """Answers the requests of a connection one after the other, as the shape says."""

    def __init__(self, shape: Shape, log: list[Log], began: list[float]) -> None:
        self._shape, self._log, self._began = shape, log, began
        self._transport: asyncio.Transport | None = None
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle each complete request."""
        now = time.monotonic()
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._unread) < end + 4 + length:
                return
            path = self._unread.split(b" ", 2)[1].split(b"?", 1)[0]
            self._unread = self._unread[end + 4 + length :]
            self._take(path.rsplit(b"/", 1)[1].decode(), now)

    def _take(self, name: str, now: float) -> None:
        self._began.append(now) if not self._began else None
        number = len(self._log)
        answer = self._shape(now, now - self._began[0], number)
        self._log.append(Log(name, now, None, answer.status))
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + max(0.0, answer.at - time.monotonic()), self._answer, number, answer)

    def _answer(self, number: int, answer: Answer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if answer.status is None:
            self._transport.abort()
            return
        closes = "Connection: close\r\n" if answer.closes else ""
        head = f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: application/json\r\n{closes}"
        self._log[number] = self._log[number]._replace(answered=None if answer.breaks else time.monotonic())
        body = answer.body[: len(answer.body) // 2] if answer.breaks else answer.body
        self._transport.write(f"{head}Content-Length: {len(answer.body)}\r\n\r\n".encode() + body)
        if answer.closes or answer.breaks:
            self._transport.close()


async def serve(shape: Shape, port: int) -> list[Log]:
    """Serve until SIGTERM; return the log."""
    log, began, over = list[Log](), list[float](), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(lambda: Connection(shape, log, began), "127.0.0.1", port, backlog=4096)
    await over.wait()
    server.close()
    return log


@contextmanager
def exact_server(shape: str) -> Iterator[tuple[str, Callable[[], list[Log]]]]:
    """Run a server of a shape in its own process; yield its URL, and a function that ends it and returns its log."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "log.jsonl")
        process = subprocess.Popen([sys.executable, __file__, shape, "--port", str(port), "--log", str(path)])

        def end() -> list[Log]:
            process.terminate()
            process.wait(30)
            return [Log(**json.loads(line)) for line in path.read_text().splitlines()]

        try:
            await_port(port)
            yield f"http://127.0.0.1:{port}", end
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Serve, and write the log at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    args = parser.parse_args()
    gc.disable()
    log = asyncio.run(serve(SHAPES[args.shape](), args.port))
    args.log.write_text("".join(json.dumps(each._asdict()) + "\n" for each in log))


if __name__ == "__main__":
    main()
