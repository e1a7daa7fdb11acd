"""Measures the cost of the quota store for many accounts, and whether processes that share it keep the limit.

    python benchmarks/store.py                  # all of it: some minutes; Redis too where redis-server is installed
    python benchmarks/store.py --accounts 4000  # a smaller fleet: the ratios are about the same
    python benchmarks/store.py --smoke          # a short run that only shows that it works

The fleet is 20,000 accounts with 5 campaigns each, and 1,000 with 60: the real command as a process, an nginx that
answers at once, and each store in turn with `memory`. Target: at most 1.2 times the duration with `memory`, by the
median of the ratios within a round. Then two and four processes work on one store and one account, and processes are
killed with SIGKILL at random moments and replaced: by nginx's own log no rolling window exceeds the limit, and
surviving processes use at least 0.97 of what it permits. A missed target is exit 1.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import peers
import watched
from limited_nginx import Call, Limited
from quota import NO_LIMIT, bulkstop, fullest, seen, started, used

from bulkstop.model import Limit

MOST_RATIO = 1.2
LEAST_USED = 0.97
REDIS = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin:/usr/local/bin")
SHARED = (Limit(20, 2.0), Limit(60, 10.0))


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Run a Redis server without persistence and yield its URL; None if Redis is not installed."""
    if REDIS is None:
        yield None
        return
    port = peers.free_port()
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command = [REDIS, *where, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            peers.await_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


# --- what it costs --------------------------------------------------------------------------------------------------


def write_fleet(path: Path, accounts: int, each: int) -> None:
    """Write a list with this many campaigns of each account."""
    with path.open("w") as file:
        file.write("campaign_id,campaign_type,account_id,stream_id\n")
        file.writelines(
            f"cd-{account:06x}-{n:04x},voice,account-{account},st-1\n"
            for account in range(accounts)
            for n in range(each)
        )


def stop_fleet(host: str, folder: Path, store: str, number: int) -> tuple[float, float]:
    """Stop the list with a store without earlier rounds; return the seconds, and the processor time."""
    where = (
        f"{store[:-1]}{number}" if "://" in store else store if store == "memory" else str(folder / f"{store}-{number}")
    )
    command = [sys.executable, "-m", "bulkstop", "stop", "fleet.csv", "-o", "results.jsonl", "--host", host]
    command += ["--quota-store", where, "--yes", "--quiet", "--overwrite"]
    ran = watched.run(command, cwd=folder, env=watched.environment(folder))
    return ran.elapsed_s, ran.cpu_s


def measure_fleet(accounts: int, each: int, rounds: int) -> bool:
    """Print what each store costs relative to memory, and return whether none costs too much."""
    print(f"{accounts:,} accounts with {each} campaigns each: seconds, and those of the processor")
    with tempfile.TemporaryDirectory() as name, peers.nginx() as host, redis_server(Path(name)) as url:
        folder = Path(name)
        write_fleet(folder / "fleet.csv", accounts, each)
        stores = ["memory", "quota.sqlite", *([url] if url else [])]
        times = [{store: stop_fleet(host, folder, store, number) for store in stores} for number in range(rounds)]
    is_met = True
    for store in stores:
        took_s, cpu_s = map(statistics.median, zip(*(ran[store] for ran in times), strict=True))
        ratios = [[ran[store][at] / ran["memory"][at] for ran in times] for at in (0, 1)]
        is_met &= statistics.median(ratios[0]) <= MOST_RATIO
        print(
            f"  {store.partition(':')[0]:<14} {took_s:7.1f} {cpu_s:7.1f}   of memory "
            f"{statistics.median(ratios[0]):.2f} and {statistics.median(ratios[1]):.2f} (target at most {MOST_RATIO})"
        )
    return is_met


# --- whether it is exact --------------------------------------------------------------------------------------------


def share(processes: int, campaigns: int, limits: Sequence[Limit], where: str | None = None) -> list[Call]:
    """Run processes on one account with one store, and return the calls in the server's log."""
    quota = [word for limit in limits for word in ("--quota", str(limit))]

    def run(server: Limited, folder: Path) -> None:
        flags = (*quota, "--quota-store", where or str(folder / "quota.sqlite"))
        each = campaigns // processes
        started([bulkstop(server.url, folder, each, *flags, name=f"n{number}") for number in range(processes)])

    return seen(NO_LIMIT, run, burst=NO_LIMIT)


def measure_shared(campaigns: int, counts: Sequence[int], limits: Sequence[Limit]) -> bool:
    """Print the fullest window and the calls used, with both stores; return whether they meet the targets."""
    is_met = True
    for processes in counts:
        with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as url:
            for where in (None, url) if url else (None,):
                calls = share(processes, campaigns, limits, where)
                full, part = fullest(calls, limits), used(calls, limits)
                is_met &= full <= 1 and part >= LEAST_USED
                store = "Redis" if where else "SQLite"
                print(
                    f"  {processes} processes, {store}: {len(calls)} calls, fullest window {full:.2f} (at most 1), "
                    f"used {part:.3f} (at least {LEAST_USED})"
                )
    return is_met


def measure_kills(kills: int, limit: Limit) -> bool:
    """Kill and replace processes during their calls; return whether no window exceeded the limit."""
    drawn = random.Random(7)

    def run(server: Limited, folder: Path) -> None:
        # A call that is cut off counts as long as it may take, and the next one would wait for that.
        flags = ("--quota", str(limit), "--timeout", "1", "--quota-store", str(folder / "quota.sqlite"))
        commands = [bulkstop(server.url, folder, 1000, *flags, name=name) for name in ("k0", "k1")]
        env = {"BULKSTOP_TOKEN": "x.y.z", **os.environ}
        for _ in range(kills):
            running = [
                subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
                for command in commands
            ]
            time.sleep(drawn.uniform(0.5, 4.0))
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    calls = seen(NO_LIMIT, run, burst=NO_LIMIT)
    full = fullest(calls, [limit])
    print(f"  {kills} times two processes killed: {len(calls)} calls, fullest window {full:.2f} (at most 1)")
    return full <= 1 and bool(calls)


def main() -> None:
    """Measure everything; a short run is not judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--only", choices=["fleet", "shared", "kills"])
    args = parser.parse_args()
    if args.smoke:
        args.accounts, args.rounds, args.kills = 40, 1, 1
    parts: dict[str, Callable[[], bool]] = {
        "fleet": lambda: (
            measure_fleet(args.accounts, 5, args.rounds) & measure_fleet(max(1, args.accounts // 20), 60, args.rounds)
        ),
        "shared": lambda: measure_shared(*((40, (2,), (Limit(20, 0.5),)) if args.smoke else (240, (2, 4), SHARED))),
        "kills": lambda: measure_kills(args.kills, Limit(40, 2.0)),
    }
    is_met = [measure() for name, measure in parts.items() if args.only in (None, name)]
    if not all(is_met) and not args.smoke:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
