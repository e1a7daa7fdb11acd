"""A service that stops any campaign, within limits: one process with a limiter for each account.

    with lab() as url:                        # the host of the calls
        put_rules(url, "one", Rules(...))     # how the calls of account "one" are counted
        ...                                   # stop campaigns of that account
        log = get_log(url, "one")             # what it has seen of them: when, and what it answered

A call is counted after half its latency, by a clock that begins with the account's first call. Other events of the
account, a second client or a limit that halves, are functions of that clock too.
"""

import asyncio
import http.client
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import peers
from limiter_models import LIMITERS, Halving, Limiter

from bulkstop.model import Limit

TICK_S = 0.02
"""Seconds between two measurements of the lab's lag."""
BACKENDS = 3


class Call(NamedTuple):
    """A call: when it was counted, in seconds after the account's first call, and its status."""

    at_s: float
    status: int


@dataclass(frozen=True, slots=True)
class Rules:
    """How the calls of one account are counted and answered, and what else happens on it."""

    limiter: str
    calls: int
    window_s: float
    phase: float = 0.0
    status: int = 429
    retry_after: bool = False
    latency_s: float = 0.02
    other_share: float = 0.0
    """The share of the rate that a second client requests, without retries."""
    other_is_random: bool = False
    halves_every_s: float | None = None
    breaks_backend: bool = False
    """Whether one of three backends answers admitted calls with 503."""

    @property
    def limit(self) -> Limit:
        """Return the documented limit."""
        return Limit(self.calls, self.window_s)

    def make_limiter(self) -> Limiter:
        """Return a limiter that counts the calls."""
        make = LIMITERS[self.limiter]
        whole = make(self.limit, self.phase)
        if self.halves_every_s is None:
            return whole
        return Halving(whole, make(Limit(self.calls // 2, self.window_s), self.phase), self.halves_every_s)


@dataclass(frozen=True, slots=True)
class Log:
    """The calls of an account, and those of the second client with whether each was admitted."""

    calls: list[Call] = field(default_factory=list)
    others: list[tuple[float, bool]] = field(default_factory=list)


class _Account:
    """The limiter and the log of one account."""

    def __init__(self, rules: Rules, seed: str) -> None:
        self.rules = rules
        self.log = Log()
        self._limiter = rules.make_limiter()
        self._random = random.Random(seed)
        self._began_at = self._other_at = math.nan
        self._let_through = 0

    def half_latency_s(self) -> float:
        """Return half the latency of a response; it differs for each."""
        return self.rules.latency_s / 2 * self._random.uniform(0.8, 1.2)

    def count(self, now: float) -> tuple[int, str]:
        """Count a call; return its status, and headers if there are any."""
        if not self.log.calls:
            self._began_at, self._other_at = now, self._other_step_s() if self.rules.other_share else math.inf
        at = now - self._began_at
        self._count_others(at)
        is_let_through = self._limiter.call(at)
        status = self._answer() if is_let_through else self.rules.status
        self.log.calls.append(Call(at, status))
        if is_let_through or not self.rules.retry_after:
            return status, ""
        return status, f"Retry-After: {max(1, math.ceil(self._limiter.ready_at(at) - at))}\r\n"

    def _answer(self) -> int:
        self._let_through += 1
        return 503 if self.rules.breaks_backend and self._let_through % BACKENDS == 0 else 200

    def _count_others(self, until: float) -> None:
        while self._other_at <= until:
            self.log.others.append((self._other_at, self._limiter.call(self._other_at)))
            self._other_at += self._other_step_s()

    def _other_step_s(self) -> float:
        step_s = self.rules.window_s / self.rules.calls / self.rules.other_share
        return self._random.expovariate(1 / step_s) if self.rules.other_is_random else step_s


class _Lab:
    """All accounts, and the lag of the loop that counts their calls."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._late_ms: list[float] = []

    async def watch_lateness(self) -> None:
        """Record repeatedly how late a timer is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late_ms.append((loop.time() - due) * 1000)

    def account(self, key: str) -> _Account:
        """Return the account with this key."""
        return self._accounts[key]

    def answer_control(self, method: str, path: str, body: bytes) -> object:
        """Store rules, or return a log."""
        key = path.removeprefix("/lab/")
        if method == "PUT":
            self._accounts[key] = _Account(Rules(**json.loads(body)), key)
            return None
        return asdict(self._accounts[key].log) if key else self._late_ms


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection in sequence."""

    def __init__(self, lab: _Lab) -> None:
        self._lab = lab
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(":", 1) for line in head[1:])
            whole = end + 4 + int(fields.get("content-length", 0))
            if len(self._data) < whole:
                return
            body, self._data = self._data[end + 4 : whole], self._data[whole:]
            method, target, _ = head[0].split(" ", 2)
            self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: bytes) -> None:
        parts = urlsplit(target)
        if parts.path.startswith("/lab/"):
            self._write(200, "", json.dumps(self._lab.answer_control(method, parts.path, body)))
            return
        account = self._lab.account(parse_qs(parts.query)["accountId"][0])
        asyncio.get_running_loop().call_later(account.half_latency_s(), self._count, account)

    def _count(self, account: _Account) -> None:
        loop = asyncio.get_running_loop()
        status, headers = account.count(loop.time())
        body = peers.VOICE_ANSWER if status == 200 else '{"errors":[{"msg":"not now"}]}'
        loop.call_later(account.half_latency_s(), self._write, status, headers, body)

    def _write(self, status: int, headers: str, body: str) -> None:
        head = f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/json\r\n{headers}"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


async def _serve(port: int) -> None:
    lab = _Lab()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(lab), "127.0.0.1", port, backlog=1024)
    async with server:
        await lab.watch_lateness()


@contextmanager
def lab() -> Iterator[str]:
    """Run the lab in its own process until the block ends; yields its URL."""
    port = peers.free_port()
    with peers.running([sys.executable, __file__, str(port)], port):
        yield f"http://127.0.0.1:{port}"


def put_rules(url: str, account: str, rules: Rules) -> None:
    """Create an account without calls."""
    _ask(url, "PUT", account, json.dumps(asdict(rules)))


def get_log(url: str, account: str) -> Log:
    """Return the log of an account so far."""
    answer = json.loads(_ask(url, "GET", account))
    return Log([Call(*call) for call in answer["calls"]], [(at_s, ok) for at_s, ok in answer["others"]])


def get_lateness_ms(url: str) -> Sequence[float]:
    """Return how late the timers of the lab were in ms, sorted."""
    late_ms: list[float] = json.loads(_ask(url, "GET", ""))
    return sorted(late_ms)


def _ask(url: str, method: str, account: str, body: str | None = None) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, f"/lab/{account}", body)
        return connection.getresponse().read()
    finally:
        connection.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
