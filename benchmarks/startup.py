"""Measures the start of two help pages and a one-campaign run, compared with `python -c "import aiohttp"`.

python benchmarks/startup.py            # ratios of medians, commands in turn
python benchmarks/startup.py --smoke    # a short run that only shows that it works
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers

TARGETS = {"--help": 0.5, "stop --help": 0.6, "one campaign": 1.6}


def wall_s(command: list[str], env: dict[str, str]) -> float:
    """Run a command and return its seconds; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def commands(host: str, folder: Path) -> dict[str, list[str]]:
    """Return the commands by name, the peer first."""
    path = folder / "one.csv"
    path.write_text("campaign_id,campaign_type,account_id,stream_id\ncd-1,voice,64f0a1b2c3d4e5f60718293a,st-1\n")
    bulkstop = [sys.executable, "-m", "bulkstop"]
    stop = [*bulkstop, "stop", str(path), "--host", host, "--expect", "1", "--overwrite"]
    return {
        "import aiohttp": [sys.executable, "-c", "import aiohttp"],
        "--help": [*bulkstop, "--help"],
        "stop --help": [*bulkstop, "stop", "--help"],
        "one campaign": stop,
    }


def main() -> None:
    """Time the commands in turn and print each as a share of the import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, peers.nginx() as host:
        env = {**os.environ, "BULKSTOP_TOKEN": "x.y.z", "XDG_STATE_HOME": folder}
        for _ in range(2 if args.smoke else args.rounds):
            for name, command in commands(host, Path(folder)).items():
                times.setdefault(name, []).append(wall_s(command, env))
    base_s = statistics.median(times["import aiohttp"])
    for name, taken in times.items():
        median_s = statistics.median(taken)
        target = f" (target {TARGETS[name]})" if name in TARGETS else ""
        print(f"{name}: {median_s * 1000:.0f} ms, {median_s / base_s:.2f} of import aiohttp{target}")


if __name__ == "__main__":
    main()
