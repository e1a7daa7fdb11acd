"""The runs of limiters.py: the clients, their services, and what the services have logged."""

import argparse
import asyncio
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from limiter_gateways import SHAPES, Gateways
from limiter_lab import Call, Log, Rules, get_log, put_rules
from limiter_models import find_fastest_s

from bulkstop.model import Limit

STREAM = "st-5c8e21d4"
POLL_S = 0.05
MOST_TIMES = 8
"""A run is cut off after this many times the duration that the quota needs."""
DEFAULT, BURST, EVEN = "bulkstop", "bulkstop --pace burst", "bulkstop --pace even"
FLAGS = {DEFAULT: (), BURST: ("--pace", "burst"), EVEN: ("--pace", "even")}


@dataclass(frozen=True, slots=True)
class Size:
    """A list of campaigns of one account, and its quota."""

    campaigns: int
    limit: Limit

    @property
    def most_s(self) -> float:
        """Return the longest duration of a run in seconds."""
        return MOST_TIMES * self.campaigns / self.limit.calls * self.limit.window_s

    def __str__(self) -> str:
        """Return it in the form of the option."""
        return f"{self.campaigns}:{self.limit}"


@dataclass(frozen=True, slots=True)
class Case:
    """What is run once: a client, and its service (one of the lab's, if there are rules)."""

    part: str
    service: str
    client: str
    size: Size
    phase: float = 0.0
    rules: Rules | None = None
    ends_after_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a case: the calls in the server's log, and the outcomes that the client reports."""

    case: Case
    log: Log
    outcomes: Counter[str]
    primed_s: float = 0.0
    """Seconds of the account's first window that had passed at the first call."""

    @property
    def took_s(self) -> float:
        """Return the seconds until the last call was admitted."""
        return max((call.at_s for call in self.log.calls if call.status == 200), default=math.nan)

    @property
    def is_cut_off(self) -> bool:
        """Return whether the list was too long for the time."""
        return self.let_through < self.case.size.campaigns

    @property
    def time(self) -> float:
        """Return the duration relative to the fastest client's; for a run that was cut off, its time limit."""
        size = self.case.size
        if self.case.rules is not None:
            limiter = self.case.rules.make_limiter()
        else:
            limiter = SHAPES[self.case.service].make_model(size.limit, 0.0)
        if self.primed_s:
            limiter.call(0.0)
        took_s = self.case.size.most_s if self.is_cut_off else self.took_s
        return took_s / find_fastest_s(limiter, size.limit, size.campaigns, self.primed_s)

    @property
    def refused(self) -> float:
        """Return the share of the calls that were refused."""
        calls = self.log.calls
        return sum(call.status != 200 for call in calls) / len(calls) if calls else math.nan

    @property
    def most(self) -> int:
        """Return the most calls in any rolling window, including refused ones."""
        return count_most([call.at_s for call in self.log.calls], self.case.size.limit.window_s)

    @property
    def unfinished(self) -> Counter[str]:
        """Return the outcomes of campaigns that are not at rest."""
        return Counter({outcome: n for outcome, n in self.outcomes.items() if outcome != "stopped"})

    @property
    def let_through(self) -> int:
        """Return the number of admitted calls."""
        return sum(call.status == 200 for call in self.log.calls)

    @property
    def other_refused(self) -> float:
        """Return the share of the second client's calls that were refused."""
        return sum(not ok for _, ok in self.log.others) / max(1, len(self.log.others))


def count_most(times_s: Sequence[float], window_s: float) -> int:
    """Return the most of these sorted times in any window."""
    most = first = 0
    for last, at_s in enumerate(times_s):
        while times_s[first] <= at_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


# --- the clients ----------------------------------------------------------------------------------------------------

Post = Callable[[int], Awaitable[int]]
"""Stops the campaign with this number, and returns the status."""


async def call_with_delay(post: Post, size: Size) -> None:
    """Wait the same time after each response, as long as the limit needs for a call."""
    for number in range(size.campaigns):
        status = 0
        while status != 200:
            status = await post(number)
            await asyncio.sleep(size.limit.window_s / size.limit.calls)


async def call_by_bucket(post: Post, size: Size) -> None:
    """Use a token bucket of the limit's size and rate; a refused call is repeated with the next token."""
    loop, left = asyncio.get_running_loop(), list(range(size.campaigns))
    burst, interval_s = size.limit.calls, size.limit.window_s / size.limit.calls
    empty_at = loop.time() - burst * interval_s

    async def take_token() -> None:
        nonlocal empty_at
        empty_at = max(empty_at, loop.time() - burst * interval_s) + interval_s
        await asyncio.sleep(max(0.0, empty_at - loop.time()))

    async def work() -> None:
        while left:
            number = left.pop()
            await take_token()
            if await post(number) != 200:
                left.append(number)

    await asyncio.gather(*(work() for _ in range(burst)))


PEERS = {"fixed delay": call_with_delay, "token bucket": call_by_bucket}
CLIENTS = (*FLAGS, *PEERS)


class Runner:
    """Runs cases at the lab and the gateways."""

    def __init__(self, url: str, gates: Gateways, folder: Path, args: argparse.Namespace) -> None:
        self._url, self._gates, self._folder = url, gates, folder
        self._store = args.quota_store
        self._jobs = asyncio.Semaphore(args.jobs)
        self._starting = asyncio.Semaphore(os.cpu_count() or 1)
        self._accounts = 0

    async def run(self, cases: Sequence[Case]) -> list[Run]:
        """Run all cases, several at a time, and print the progress."""
        runs = []
        for done, run in enumerate(asyncio.as_completed([self._run(case) for case in cases]), 1):
            runs.append(await run)
            if done % max(1, len(cases) // 10) == 0:
                print(f"{done} of {len(cases)} runs", file=sys.stderr, flush=True)
        return runs

    async def _run(self, case: Case) -> Run:
        async with self._jobs:
            self._accounts += 1
            account = f"lab-{self._accounts}"
            async with self._starting:  # a starting process needs a core; a running one waits
                host = await self._open(case, account)
                outcomes = asyncio.create_task(self._stop(case, host, account))
                began = asyncio.create_task(self._await_call(case, account))
                await asyncio.wait([outcomes, began], return_when=asyncio.FIRST_COMPLETED)
                began.cancel()
            return await asyncio.to_thread(self._read, case, account, await outcomes)

    async def _open(self, case: Case, account: str) -> str:
        if case.rules is not None:
            await asyncio.to_thread(put_rules, self._url, account, case.rules)
            return self._url
        limit = case.size.limit
        if self._primes(case):
            await asyncio.to_thread(self._gates.prime, case.service, limit, account)
            await asyncio.sleep(case.phase * limit.window_s)
        return self._gates.url(case.service, limit)

    async def _await_call(self, case: Case, account: str) -> None:
        while not await asyncio.to_thread(self._has_called, case, account):  # noqa: ASYNC110 - another process calls
            await asyncio.sleep(POLL_S)

    def _has_called(self, case: Case, account: str) -> bool:
        return bool(self._read(case, account, Counter()).log.calls)

    def _primes(self, case: Case) -> bool:
        return case.rules is None and SHAPES[case.service].keeps_phase

    def _read(self, case: Case, account: str, outcomes: Counter[str]) -> Run:
        log = get_log(self._url, account) if case.rules else Log(self._gates.read_calls(case.service, account))
        calls, primed_s = log.calls, 0.0
        if self._primes(case):
            calls = calls[1:]
            primed_s = calls[0].at_s if calls else 0.0
        calls = [Call(at_s - primed_s, status) for at_s, status in calls if at_s - primed_s < case.ends_after_s]
        return Run(case, Log(calls, log.others), outcomes, primed_s)

    async def _stop(self, case: Case, host: str, account: str) -> Counter[str]:
        most_s = case.size.most_s if case.ends_after_s == math.inf else case.ends_after_s
        if case.client in FLAGS:
            return await self._run_bulkstop(case, host, account, most_s)
        target = f"{host}/api/v2/public/{STREAM}/campaign/trigger/cd-{{}}?accountId={account}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def post(number: int) -> int:
                async with session.post(target.format(number), json={}) as response:
                    await response.read()
                    return response.status

            with suppress(TimeoutError):
                await asyncio.wait_for(PEERS[case.client](post, case.size), most_s)
        return Counter()

    async def _run_bulkstop(self, case: Case, host: str, account: str, most_s: float) -> Counter[str]:
        path, results = self._folder / f"{account}.txt", self._folder / f"{account}.results.jsonl"
        path.write_text("".join(f"cd-{number:x}\n" for number in range(case.size.campaigns)))
        ids = ["--type", "voice", "--account-id", account, "--stream-id", STREAM, "--host", host]
        store = str(self._folder / f"{account}.sqlite") if self._store == "sqlite" else self._store
        quota = ["--quota", str(case.size.limit), "--quota-store", store]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "bulkstop", "stop", str(path), *ids, *quota, *FLAGS[case.client]],
            *["--yes", "--quiet", "-o", str(results)],
            cwd=self._folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("BULKSTOP_")}
            | {"BULKSTOP_TOKEN": "x.y.z", "XDG_STATE_HOME": str(self._folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60) as timeout:
                await self._await_call(case, account)
                timeout.reschedule(asyncio.get_running_loop().time() + most_s)
                await process.wait()
        except TimeoutError:
            process.terminate()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        if not results.exists():
            assert process.stderr is not None
            raise SystemExit((await process.stderr.read()).decode())
        return Counter(json.loads(line)["outcome"] for line in results.read_text().splitlines())
