"""Measures how much of a limit is used, and how often it is broken, compared with three other ways of pacing.

    python benchmarks/quota.py            # known windows, an unknown limit, a limit that drops and comes back
    python benchmarks/quota.py --smoke    # a short run that only shows that it works

All figures are computed from nginx's own log. The peers are typical of scripts: a fixed delay after each response, a
token bucket with burst = limit, and full speed with a pause of 15 s for each 429.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
from limited_nginx import Call, Limited, limited

from bulkstop.engine.limits.quota import min_duration_s
from bulkstop.model import Limit

ACCOUNT, STREAM = "64f0a1b2c3d4e5f60718293a", "st-5c8e21d4"
WINDOWS = (Limit(20, 2.0), Limit(60, 10.0))
NO_LIMIT = 50_000
UNKNOWN = 500
SETTLED_S = 3.0
FLAT_STOP_S = 15.0


def bulkstop(host: str, folder: Path, campaigns: int, *flags: str, name: str = "one") -> list[str]:
    """Return the command that stops this many made-up campaigns."""
    path = folder / f"{name}.txt"
    path.write_text("".join(f"cd-{name}-{number}\n" for number in range(campaigns)))
    ids = ["--type", "voice", "--account-id", ACCOUNT, "--stream-id", STREAM]
    out = ["--yes", "--quiet", "--overwrite", "-o", str(folder / f"{name}.results.jsonl")]
    return [sys.executable, "-m", "bulkstop", "stop", str(path), "--host", host, *ids, *out, *flags]


def peer(name: str, host: str, calls: int, seconds: float, per_s: float, burst: int) -> list[str]:
    """Return the command that runs one of the peers of this file."""
    return [sys.executable, __file__, "--peer", name, host, str(calls), str(seconds), str(per_s), str(burst)]


def started(commands: Sequence[list[str]]) -> None:
    """Run commands concurrently until all have ended."""
    env = {"BULKSTOP_TOKEN": "x.y.z", **os.environ}
    running = [subprocess.Popen(command, env=env) for command in commands]
    for process in running:
        process.wait()


# --- the peers ------------------------------------------------------------------------------------------------------


async def run_peer(name: str, host: str, calls: int, seconds: float, per_s: float, burst: int) -> None:
    """Post until this many calls are made or the time is over."""
    url = f"{host}/api/v2/public/{STREAM}/campaign/trigger/cd-{{}}?accountId={ACCOUNT}&campaignType=voice&trigger=stop"
    end, numbers = time.monotonic() + seconds, iter(range(calls))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

        async def post(number: int) -> int:
            async with session.post(url.format(number), json={}) as response:
                await response.read()
                return response.status

        workers, turn = PEERS[name](per_s, burst)

        async def worker() -> None:
            for number in numbers:
                while await turn(None) and time.monotonic() < end:
                    if await turn(await post(number)):
                        break
                if time.monotonic() >= end:
                    return

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # a peer in a longer pause is cut off
                await asyncio.gather(*(worker() for _ in range(workers)))


Turn = Callable[[int | None], Awaitable[bool]]
"""Called with None before a call, with the status after it.

Returns whether to continue, or whether the call is done.
"""


def fixed_delay(per_s: float, burst: int) -> tuple[int, Turn]:
    """Wait the same time after each response, as long as the limit needs for a call."""

    async def turn(status: int | None) -> bool:
        if status is not None:
            await asyncio.sleep(1 / per_s)
        return True

    return 1, turn


def token_bucket(per_s: float, burst: int) -> tuple[int, Turn]:
    """Use a token bucket of the limit's size and rate; a refused call is repeated."""
    tokens, filled = float(burst), time.monotonic()

    async def turn(status: int | None) -> bool:
        nonlocal tokens, filled
        if status is not None:
            return status != 429
        while True:
            now = time.monotonic()
            tokens, filled = min(float(burst), tokens + (now - filled) * per_s), now
            if tokens >= 1:
                tokens -= 1
                return True
            await asyncio.sleep((1 - tokens) / per_s)

    return 32, turn


def flat_stop(per_s: float, burst: int) -> tuple[int, Turn]:
    """Send as fast as eight workers can; pause for 15 s at each 429."""

    async def turn(status: int | None) -> bool:
        if status == 429:
            await asyncio.sleep(FLAT_STOP_S)
        return status != 429

    return 8, turn


PEERS = {"fixed delay": fixed_delay, "token bucket": token_bucket, "flat 15 s stop": flat_stop}


# --- what the server saw --------------------------------------------------------------------------------------------


def fullest(calls: Sequence[Call], limits: Sequence[Limit]) -> float:
    """Return the calls of the fullest rolling window as a share of its limit."""
    times = sorted(call.unix_s for call in calls)
    share = 0.0
    for limit in limits:
        first = 0
        for last, at in enumerate(times):
            while times[first] <= at - limit.window_s:
                first += 1
            share = max(share, (last - first + 1) / limit.calls)
    return share


def used(calls: Sequence[Call], limits: Sequence[Limit]) -> float:
    """Return the shortest permitted duration of these calls as a share of their duration."""
    times = [call.unix_s for call in calls]
    return min_duration_s(len(calls), limits) / (max(times) - min(times))


def goodput(calls: Sequence[Call], per_s: float, after_s: float = SETTLED_S) -> float:
    """Return the calls accepted from `after_s` on as a share of those permitted."""
    began = min(call.unix_s for call in calls) + after_s
    late = [call for call in calls if call.unix_s >= began]
    good = sum(call.status == 200 for call in late)
    return good / per_s / (max(call.unix_s for call in late) - began) if late else 0.0


def wasted(calls: Sequence[Call]) -> float:
    """Return the share of all calls that were refused."""
    return sum(call.status == 429 for call in calls) / len(calls)


# --- the three questions --------------------------------------------------------------------------------------------


def seen(rate: int, run: Callable[[Limited, Path], None], lowered: int = 1, burst: int = 0) -> list[Call]:
    """Run against a new nginx with this limit and return its log."""
    with tempfile.TemporaryDirectory() as folder, limited(rate, lowered_per_s=lowered, burst=burst) as server:
        run(server, Path(folder))
        return server.stop()


def known_windows(campaigns: int, limits: Sequence[Limit]) -> None:
    """Print, for windows that the client knows: the share of permitted calls used, and the fullest window."""
    quota = [word for limit in limits for word in ("--quota", str(limit))]
    per_s, burst = min(limit.calls / limit.window_s for limit in limits), min(limit.calls for limit in limits)
    half = campaigns // 2

    def one(server: Limited, folder: Path) -> None:
        started([bulkstop(server.url, folder, campaigns, *quota, "--quota-store", str(folder / "quota.sqlite"))])

    def two(server: Limited, folder: Path) -> None:
        flags = (*quota, "--quota-store", str(folder / "quota.sqlite"))
        started([bulkstop(server.url, folder, half, *flags, name=name) for name in ("one", "two")])

    runs = {"bulkstop": one, "bulkstop, two processes": two}
    for name in ("fixed delay", "token bucket"):
        runs[name] = lambda server, folder, name=name: started(  # type: ignore[misc]
            [peer(name, server.url, campaigns, 600, per_s, burst)]
        )
    print(f"Known windows {' '.join(map(str, limits))}, {campaigns} calls: permitted calls used, fullest window")
    for name, run in runs.items():
        calls = seen(NO_LIMIT, run, burst=NO_LIMIT)
        print(f"  {name:<24} {used(calls, limits):.3f}  {fullest(calls, limits):.2f}")


def unknown_limit(seconds: float, rate: int = UNKNOWN) -> None:
    """Print, for a limit that the client does not know: goodput after 3 s, and calls wasted on 429."""
    calls_made = int(rate * seconds)
    flags = ("--quota", "none", "--adaptive", "--concurrency", "64")
    runs: dict[str, Callable[[Limited, Path], None]] = {
        "bulkstop --adaptive": lambda server, folder: started([bulkstop(server.url, folder, calls_made, *flags)])
    }
    for name in PEERS:
        runs[name] = lambda server, folder, name=name: started(  # type: ignore[misc]
            [peer(name, server.url, 10**9, seconds, rate, rate)]
        )
    print(f"Unknown limit of {rate}/s, no burst: goodput after {SETTLED_S:g} s, calls answered 429")
    for name, run in runs.items():
        calls = seen(rate, run)
        print(f"  {name:<24} {goodput(calls, rate, min(SETTLED_S, seconds / 2)):.3f}  {wasted(calls):.3f}")


def step_change(seconds: float, rate: int = UNKNOWN) -> None:
    """Print the goodput of a limit that drops to a fifth for a while and recovers."""
    permitted = rate * seconds * 2.2
    flags = ("--quota", "none", "--adaptive", "--concurrency", "64")

    def run(server: Limited, folder: Path) -> None:
        env = {"BULKSTOP_TOKEN": "x.y.z", **os.environ}
        with subprocess.Popen(bulkstop(server.url, folder, int(permitted * 2), *flags), env=env) as process:
            for act in (server.lower, server.restore, process.terminate):
                time.sleep(seconds)
                act()

    calls = seen(rate, run, lowered=rate // 5)
    good = sum(call.status == 200 for call in calls)
    print(f"Limit {rate}/s, a fifth of it for {seconds:g} s, and back: goodput {good / permitted:.3f}")


def main() -> None:
    """Run one peer for the parent process, or the complete comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--peer", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        name, host, calls, seconds, per_s, burst = args.peer
        asyncio.run(run_peer(name, host, int(calls), float(seconds), float(per_s), int(burst)))
    elif args.smoke:
        known_windows(30, (Limit(10, 0.5),))
        unknown_limit(1.0)
        step_change(0.5)
    else:
        known_windows(240, WINDOWS)
        unknown_limit(15.0)
        step_change(10.0)


if __name__ == "__main__":
    main()
