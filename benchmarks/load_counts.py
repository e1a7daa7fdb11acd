"""A long load test: checks that the statistics contain every request, and that the memory does not grow.

    python benchmarks/load_counts.py                      # 2,000,000 requests against nginx: minutes
    python benchmarks/load_counts.py --requests 100000
    python benchmarks/load_counts.py --smoke              # a short run that only shows that it works

Four counts must be equal: that of nginx, that of the summary, the lines of `--results`, and the values in the histogram
log of `--hdr`. The percentiles of the summary must be those of the lines, within the three digits of a histogram. The
memory at the end must be that of the beginning. What does not hold is printed, and is exit 1.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import watched
from generators import load, write_files
from peers import counting_nginx
from tables import ms, percentile, table
from watched import Look

PARTS = 10
GROWTH = 1.1
"""Most ratio of the memory in the last tenth of a run to that in the second, after the warm-up."""
LEAST_JUDGED = 100_000
"""A shorter run is still warming up."""
PRECISION = 0.001
ROUNDING_MS = 0.0011


def service_times_ms(path: Path) -> list[float]:
    """Return all service times from the lines of a run, sorted."""
    with path.open("rb") as file:
        return sorted(line["service_ms"] for line in map(orjson.loads, file))


def counted_in_log(path: Path) -> int:
    """Return the number of latencies in a histogram log, which have no tag."""
    from hdrh.histogram import HdrHistogram

    lines = [line.rsplit(",", 1)[1] for line in path.read_text().splitlines() if line[:1].isdigit()]
    return sum(HdrHistogram.decode(line).get_total_count() for line in lines)


def memory(looks: list[Look]) -> list[float]:
    """Return the resident memory in each tenth of a run."""
    step = max(1, len(looks) // PARTS)
    return [statistics.median(look.resident_mb for look in looks[at : at + step]) for at in range(0, len(looks), step)]


def miscounted(counts: dict[str, int], requests: int) -> Iterator[str]:
    """Yield the counts that differ from the number of requests."""
    for name, count in counts.items():
        if count != requests:
            yield f"{name}: {count:,} instead of {requests:,}"


def unequal(told: dict[str, float], times_ms: list[float]) -> Iterator[str]:
    """Yield the percentiles that differ from those of the lines."""
    for name, value in told.items():
        if name.startswith("p") or name == "max":
            expected = percentile(times_ms, 100 if name == "max" else float(name[1:]))
            if abs(value - expected) > expected * PRECISION + ROUNDING_MS:
                yield f"{name}: {ms(value)} ms in the summary, {ms(expected)} ms in the lines"


def grown(tenths_mb: list[float]) -> Iterator[str]:
    """Yield a message if the memory has grown."""
    if len(tenths_mb) >= PARTS and tenths_mb[PARTS - 1] > tenths_mb[1] * GROWTH:
        yield f"the memory has grown from {tenths_mb[1]:.0f} MB to {tenths_mb[PARTS - 1]:.0f} MB"


def measure(requests: int, connections: int, folder: Path, options: list[str]) -> list[str]:
    """Run the load test, print its results, and return what does not hold."""
    write_files(folder)
    closed = (
        "--closed",
        "--concurrency",
        str(connections),
        "--count",
        str(requests),
        "--max-late",
        "1s",
        "--hdr",
        "log.hdr",
    )
    with counting_nginx() as server:
        ran = watched.run(load(server.url, *closed, *options), cwd=folder, env=watched.environment(folder))
        counts = {"nginx": server.requests()}
    told, times_ms, tenths_mb = json.loads(ran.out), service_times_ms(folder / "lines.jsonl"), memory(list(ran.looks))
    counts |= {"summary": told["requests"], "lines": len(times_ms), "log": counted_in_log(folder / "log.hdr")}
    print(f"{requests:,} requests, {connections} connections: {told['rate']:,.0f}/s, peak {ran.peak_mb:.0f} MB")
    print("counted by " + ", ".join(f"{name}: {count:,}" for name, count in counts.items()))
    print("resident MB, by tenths of the run: " + " ".join(f"{mb:.0f}" for mb in tenths_mb[:PARTS]))
    names = [name for name in told["service_ms"] if name.startswith("p")]
    rows = [
        ["summary", *(ms(told["service_ms"][name]) for name in names)],
        ["lines", *(ms(percentile(times_ms, float(name[1:]))) for name in names)],
    ]
    print(table(["service ms", *names], rows))
    growth = grown(tenths_mb) if requests >= LEAST_JUDGED else ()
    return [*miscounted(counts, requests), *unequal(told["service_ms"], times_ms), *growth]


def main() -> None:
    """Measure a long run, or a short one, whose memory is not judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--transport", choices=("wire", "aiohttp"), default="wire")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    options = ["--transport", args.transport]
    if args.processes > 1:
        options += ["--processes", str(args.processes)]
    with tempfile.TemporaryDirectory() as name:
        flaws = measure(3000 if args.smoke else args.requests, args.connections, Path(name), options)
    if flaws:
        raise SystemExit("\n".join(flaws))


if __name__ == "__main__":
    main()
