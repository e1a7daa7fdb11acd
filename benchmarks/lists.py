"""Measures how fast lists are read: plain CSV against an earlier commit, and each other format against plain CSV.

    python benchmarks/lists.py --base COMMIT    # the same list, read by this tree and by that commit, in turn
    python benchmarks/lists.py                  # the forms alone
    python benchmarks/lists.py --smoke          # a short run that only shows that it works

A list is read completely and its rows are made, in a process of its own whose processor time counts. Trees and formats
run in turn; printed are the median of each and its ratio within a round. Target: plain CSV takes at most 1.10 times the
base's time; more is exit 1.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from bare_loop import ACCOUNT, STREAM

ROOT = Path(__file__).resolve().parent.parent
MOST_RATIO = 1.10
PLAIN = "plain.csv"
HEADER = ("campaign_id", "campaign_type", "account_id", "stream_id", "name")
READ = """
import sys, time
from collections import deque
from bulkstop.model import CampaignType, Defaults
from bulkstop.source import read
began = time.process_time()
rows = 0
for row in read([sys.argv[1]], defaults=Defaults(CampaignType.VOICE, "a", "s")):
    rows += 1
print(rows, time.process_time() - began)
"""


def rows(count: int) -> Iterator[tuple[str, ...]]:
    """Yield distinct campaigns."""
    for number in range(count):
        yield (f"cd-{number:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d", "voice", ACCOUNT, STREAM, f"Reminder {number}")


def texts(count: int) -> Mapping[str, bytes]:
    """Return the list in each format, by file name."""
    table = "".join(",".join(row) + "\n" for row in (HEADER, *rows(count)))
    objects = [dict(zip(HEADER, row, strict=True)) for row in rows(count)]
    return {
        PLAIN: table.encode(),
        "quoted.csv": "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (HEADER, *rows(count))).encode(),
        "semicolon-cp1252.csv": table.replace(",", ";").replace("Reminder", "Rückruf").encode("cp1252"),
        "utf16.csv": table.encode("utf-16"),
        "packed.csv.gz": gzip.compress(table.encode(), 1),
        "lines.jsonl": "".join(json.dumps(each) + "\n" for each in objects).encode(),
        "array.json": json.dumps(objects).encode(),
        "ids.txt": "".join(row[0] + "\n" for row in rows(count)).encode(),
        "decorated.txt": "".join(f'- "{row[0]}",\n' for row in rows(count)).encode(),
    }


def unpack(commit: str, folder: Path) -> Path:
    """Extract the package at a commit to a folder."""
    archive = subprocess.run(
        ["git", "archive", commit, "bulkstop"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def read_s(tree: Path, path: Path, count: int) -> float:
    """Read a list with a tree in a new process and return its processor time; no row may be missing."""
    env = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], env=env, cwd=tree, stdout=subprocess.PIPE, text=True, check=True
    )
    number, taken_s = done.stdout.split()
    if int(number) != count:
        raise SystemExit(f"{path.name}: {number} rows instead of {count:,}")
    return float(taken_s)


def compare(trees: Mapping[str, Path], path: Path, count: int, rounds: int) -> float:
    """Print how long each tree takes for plain CSV; return the median ratio of the first to the last."""
    taken: dict[str, list[float]] = {name: [] for name in trees}
    for number in range(rounds):
        order = list(trees) if number % 2 else list(trees)[::-1]
        for name in order:
            taken[name].append(read_s(trees[name], path, count))
    for name, each in taken.items():
        print(f"{path.name}, {name}: {statistics.median(each) / count * 1e6:.2f} us a row")
    first, last = taken.values()
    return statistics.median(one / other for one, other in zip(first, last, strict=True))


def measure_forms(folder: Path, names: Sequence[str], count: int, rounds: int) -> None:
    """Print how long each format takes, relative to plain CSV in the same round."""
    taken = {name: [read_s(ROOT, folder / name, count) for _ in range(rounds)] for name in names}
    plain_s = statistics.median(taken[PLAIN])
    for name, each in taken.items():
        median_s = statistics.median(each)
        print(f"{name}: {median_s / count * 1e6:.2f} us a row, {median_s / plain_s:.2f} of {PLAIN}")


def main() -> None:
    """Measure; a missed target is exit 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--base", metavar="COMMIT", help="read plain CSV as this commit does, too")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    count, rounds = (2000, 1) if args.smoke else (args.rows, args.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lists = texts(count)
        for each, content in lists.items():
            (folder / each).write_bytes(content)
        measure_forms(folder, list(lists), count, min(rounds, 3))
        if args.base:
            trees = {"this tree": ROOT, args.base: unpack(args.base, folder / "base")}
            ratio = compare(trees, folder / PLAIN, count, rounds)
            print(f"this tree / {args.base}: {ratio:.3f} (target at most {MOST_RATIO})")
            sys.exit(ratio > MOST_RATIO)


if __name__ == "__main__":
    main()
