"""A long list: measures the memory of a run of 1,000,000 campaigns, and whether it slows down.

    python benchmarks/scale.py                 # 1,000,000 rows against nginx, then the finished run resumed: minutes
    python benchmarks/scale.py --rows 100000   # fewer rows: the memory says less, the rates are the same
    python benchmarks/scale.py --smoke         # a short run that only shows that it works

The real command runs as a process; nginx returns the documented response to every call. The peak is the kernel's figure
for the process. Rates come from the times in the result lines: those of each tenth of the run, and of its fastest
tenth, which excludes seconds that other work on the machine took. The table also has the processor time per row and the
memory at the end of each tenth. Targets: at most 250 MB, and the last tenth at least 0.90 as fast as the first, by the
fastest part of each; a missed one is exit 1. There is no peer: the run is compared with itself.
"""

import argparse
import bisect
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import orjson
import peers
import watched
from bare_loop import ACCOUNT, STREAM
from watched import Look, Ran

MOST_MB = 250
LEAST_RATIO = 0.90
PARTS = 10
SHORTEST_S = 0.001


class Tenth(NamedTuple):
    """A tenth of a run: its rows, its beginning, and the times at which each of its ten parts ended."""

    rows: int
    times: Sequence[float]

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / max(self.times[-1] - self.times[0], SHORTEST_S)

    @property
    def best_rate(self) -> float:
        """Rows per second of the fastest part."""
        return self.rows / PARTS / max(min(end - begin for begin, end in pairwise(self.times)), SHORTEST_S)


def write_list(path: Path, rows: int) -> None:
    """Write a CSV of voice campaigns."""
    with path.open("w") as file:
        file.write("campaign_id,campaign_type,account_id,stream_id\n")
        file.writelines(f"cd-{n:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d,voice,{ACCOUNT},{STREAM}\n" for n in range(rows))


def stop(host: str, folder: Path, concurrency: int, *more: str, code: int = 0) -> Ran:
    """Stop the list with the real command and watch the process; it must end with exit code `code`."""
    command = [sys.executable, "-m", "bulkstop", "stop", "list.csv", "-o", "results.jsonl", "--host", host, *more]
    command += ["--quota", "none", "--concurrency", str(concurrency), "--yes", "--quiet"]
    return watched.run(command, cwd=folder, env=watched.environment(folder), codes=(code,))


def at(looks: Sequence[Look], unix_s: float) -> Look:
    """Return the last look before a moment."""
    return looks[max(0, bisect.bisect(looks, unix_s, key=lambda look: look.unix_s) - 1)]


def tenths(results: Path, rows: int) -> list[Tenth]:
    """Split a run into ten parts with equal numbers of rows, by the times in its result lines."""
    step = rows // PARTS**2
    with results.open("rb") as file:
        began = orjson.loads(file.readline())["started_at"]
        file.seek(0)
        ends = [orjson.loads(line)["finished_at"] for line in islice(file, step - 1, None, step)]
    times = [unix_s(text) for text in (began, *ends)]
    if len(ends) != PARTS**2:
        raise SystemExit(f"{len(ends) * step:,} result lines instead of {rows:,}")
    return [Tenth(step * PARTS, times[at : at + PARTS + 1]) for at in range(0, PARTS**2, PARTS)]


def unix_s(text: str) -> float:
    """Return the unix time of a result line."""
    return datetime.fromisoformat(text).timestamp()


def tell(ran: Ran, parts: Sequence[Tenth]) -> float:
    """Print the figures of each tenth; return the rate of the last as a share of the first's."""
    print("tenth    rows/s   fastest part   CPU us/row   resident MB")
    for number, part in enumerate(parts, start=1):
        mb = at(ran.looks, part.times[-1]).resident_mb
        print(f"{number:5} {part.rate:9,.0f} {part.best_rate:14,.0f} {cpu_us(ran, part):12.0f} {mb:13.0f}")
    first, last = parts[0], parts[-1]
    ratio = last.best_rate / first.best_rate
    print(
        f"last tenth / first tenth: fastest part {ratio:.2f} (target at least {LEAST_RATIO:.2f}), "
        f"whole {last.rate / first.rate:.2f}, CPU for a row {cpu_us(ran, last) / max(cpu_us(ran, first), 1):.2f}"
    )
    return ratio


def cpu_us(ran: Ran, part: Tenth) -> float:
    """Return the processor time per row."""
    return (at(ran.looks, part.times[-1]).cpu_s - at(ran.looks, part.times[0]).cpu_s) / part.rows * 1e6


def measure(host: str, folder: Path, rows: int, concurrency: int, *, resume: bool) -> bool:
    """Run the list, then resume the finished run; print both and return whether every target is met."""
    write_list(folder / "list.csv", rows)
    ran = stop(host, folder, concurrency)
    parts = tenths(folder / "results.jsonl", rows)
    planned = [each.resident_mb for each in ran.looks if each.unix_s < parts[0].times[0]]
    print(
        f"{rows:,} rows in {ran.elapsed_s:.1f} s: peak {ran.peak_mb:.0f} MB (target at most {MOST_MB}), "
        f"{max(planned, default=0):.0f} MB while planning"
    )
    ratio, peaks = tell(ran, parts), [ran.peak_mb]
    if resume:
        size = (folder / "results.jsonl").stat().st_size
        again = stop(host, folder, concurrency, "--resume", code=2)  # refused, but only after all rows are read
        peaks.append(again.peak_mb)
        if (folder / "results.jsonl").stat().st_size != size:
            raise SystemExit("there was nothing left to do, but the resumed run wrote results")
        print(
            f"the finished run resumed: {again.elapsed_s:.1f} s, peak {again.peak_mb:.0f} MB (target at most {MOST_MB})"
        )
    return max(peaks) <= MOST_MB and ratio >= LEAST_RATIO


def main() -> None:
    """Measure a long list; a short one is not judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--rows", type=int, default=1_000_000, help="a multiple of 100")
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--no-resume", action="store_true", help="leave the resuming out")
    args = parser.parse_args()
    rows = 2000 if args.smoke else args.rows
    if rows < 1 or rows % PARTS**2:
        parser.error(f"--rows: give a multiple of {PARTS**2}")
    with tempfile.TemporaryDirectory() as folder, peers.nginx() as host:
        is_met = measure(host, Path(folder), rows, args.concurrency, resume=not args.no_resume)
    if not is_met and not args.smoke:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
