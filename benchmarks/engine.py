"""Compares the complete `stop` job with a bare aiohttp loop that only posts: same server, same run, rounds in turn.

    python benchmarks/engine.py            # ratio of rates at 50 connections, and the cost of 5 % failures
    python benchmarks/engine.py --smoke    # a short run that only shows that it works

The job reads a CSV, plans it, posts, interprets each response and writes a result line per campaign; the loop posts to
the same URLs and ignores the responses. Both run on uvloop in a process of their own. Judge the ratio: the rates are
only valid for this machine and minute.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
from bare_loop import ACCOUNT, STREAM, posted

CONNECTIONS = 50
LATENCY_S = 0.1


def write_list(path: Path, campaigns: int) -> None:
    """Write a CSV of voice campaigns."""
    lines = [f"cd-{n:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d,voice,{ACCOUNT},{STREAM}" for n in range(campaigns)]
    path.write_text("campaign_id,campaign_type,account_id,stream_id\n" + "\n".join(lines) + "\n")


def whole_job(host: str, path: Path) -> float:
    """Run `stop` in this process and return its seconds, including the reading of the list."""
    from bulkstop import Settings, stop

    settings = Settings(host=host, token="x.y.z", quota="none", concurrency=CONNECTIONS)
    began = time.perf_counter()
    summary = stop([str(path)], settings, output=str(path) + ".results.jsonl", overwrite=True)
    elapsed_s = time.perf_counter() - began
    if not summary.is_done:
        raise SystemExit(f"not all stopped: {summary.stats.outcomes}")
    return elapsed_s


def bare_loop(host: str, path: Path) -> float:
    """Post to the same URLs with aiohttp alone and the same number of workers; return the seconds."""
    ids = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    answered, elapsed_s = posted(host, ids, CONNECTIONS)
    if answered != len(ids):
        raise SystemExit(f"{answered} of {len(ids)} answered 200")
    return elapsed_s


JOBS: dict[str, Callable[[str, Path], float]] = {"job": whole_job, "loop": bare_loop}


def measured(job: str, host: str, path: Path) -> float:
    """Run one job in a new process and return its seconds."""
    command = [sys.executable, __file__, "--job", job, host, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    seconds: float = json.loads(done.stdout)
    return seconds


def against_bare_loop(campaigns: int, rounds: int, folder: Path) -> None:
    """Print the rate of the complete job as a share of the bare loop's."""
    path = folder / "campaigns.csv"
    write_list(path, campaigns)
    ratios = []
    with peers.nginx() as host:
        for _ in range(rounds):
            loop_s, job_s = measured("loop", host, path), measured("job", host, path)
            ratios.append(loop_s / job_s)
            print(f"loop {campaigns / loop_s:,.0f}/s  job {campaigns / job_s:,.0f}/s  {ratios[-1]:.2f}")
    print(f"whole job / bare aiohttp loop, {CONNECTIONS} connections: {statistics.median(ratios):.2f} (target 0.85)")


def cost_of_failures(campaigns: int, rounds: int, folder: Path) -> None:
    """Print the throughput with a 503 for 5 % of first calls, as a share of that without."""
    path = folder / "slow.csv"
    write_list(path, campaigns)
    ratios = []
    for _ in range(rounds):
        with peers.slow_server(LATENCY_S) as host:
            clean_s = measured("job", host, path)
        with peers.slow_server(LATENCY_S, fail_first=0.05) as host:
            failing_s = measured("job", host, path)
        ratios.append(clean_s / failing_s)
        print(f"clean {campaigns / clean_s:,.0f}/s  5 % fail once {campaigns / failing_s:,.0f}/s  {ratios[-1]:.2f}")
    print(f"5 % answered 503 once / none, {LATENCY_S:g} s latency: {statistics.median(ratios):.2f} (target 0.85)")


def main() -> None:
    """Run one job for the parent process, or the complete comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--campaigns", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", nargs=3, metavar=("NAME", "HOST", "LIST"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        name, host, path = args.job
        print(json.dumps(JOBS[name](host, Path(path))))
        return
    campaigns, rounds = (300, 1) if args.smoke else (args.campaigns, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        against_bare_loop(campaigns, rounds, Path(folder))
        cost_of_failures(campaigns if args.smoke else min(campaigns, 10_000), min(rounds, 3), Path(folder))


if __name__ == "__main__":
    main()
