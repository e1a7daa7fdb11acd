"""`bulkstop load` beside the load generators that people know, on one server, in one run.

    make bench                                 # all of it, and a new entry in benchmarks/RESULTS.md: ten minutes
    python benchmarks/bench.py --only schedule
    python benchmarks/bench.py --smoke         # a short run that only shows that it works

Three tables. Throughput: every generator posts over as many connections to one nginx, in rounds, each round in another
order; bulkstop takes its ids from a file and writes a line for each request. Judge the ratios, which are those within
a round; the rates hold for this machine and this minute only. Schedule: how long after the intended moment a request
left. Freeze: what is told of a server that stands still once. What bulkstop says it has sent must be what nginx has
counted, to the last request: if it is not, that is exit 1.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson
import watched
from generators import AIOHTTP, BARE, GENERATORS, HEY, WIRE, WRK, Generator, Job, load, versions, write_files
from peers import Nginx, counting_nginx
from tables import ms, percentile, table

TARGETS = ((WIRE, HEY, 1.2), (WIRE, WRK, 0.4), (AIOHTTP, BARE, 0.9))
RATES = (1000, 5000, 10_000)
PUNCTUAL = (5000, 1.0)
"""At this rate 99 % of the requests leave within so many milliseconds."""
FROZEN_RATE, FROZEN_SHARE = 500, 0.005
"""Of all requests this share may be in flight: with more than 0.01 the service time's p99 would show the freeze too."""
TRANSPORTS = ("wire", "aiohttp")
UNKEPT = 3
"""The exit code of a load test that could not keep its schedule."""


class Run(NamedTuple):
    """What one run of a generator came to; `told` is how many requests it says it made, if it is asked."""

    rate: float
    cpu_us: float
    peak_mb: float
    counted: int
    told: Sequence[int]


class Size(NamedTuple):
    """How much is measured."""

    connections: int
    rounds: int
    seconds: float
    schedule_s: float
    freeze_s: float
    rates: Sequence[int]


# --- throughput -----------------------------------------------------------------------------------------------------


def measured(generator: Generator, job: Job, server: Nginx) -> Run:
    """Let a generator run once."""
    before = server.requests()
    ran = watched.run(generator.command(job), cwd=job.folder, env=watched.environment(job.folder))
    counted = server.requests() - before
    told = told_by_bulkstop(ran.out, job.folder) if generator.is_ours else ()
    return Run(generator.rate(ran, counted), ran.cpu_s / max(counted, 1) * 1e6, ran.peak_mb, counted, told)


def told_by_bulkstop(out: str, folder: Path) -> tuple[int, int]:
    """Return how many requests a run of bulkstop has told of: in its summary, and in lines."""
    with (folder / "lines.jsonl").open("rb") as file:
        return json.loads(out)["requests"], sum(1 for _ in file)


def rounds(generators: Sequence[Generator], job: Job, server: Nginx, number: int) -> dict[str, list[Run]]:
    """Let all run in turn, so often, and each time another of them first."""
    runs: dict[str, list[Run]] = {generator.name: [] for generator in generators}
    order = deque(generators)
    for _ in range(number):
        for generator in order:
            runs[generator.name].append(measured(generator, job, server))
        order.rotate(1)
    return runs


def ratio(runs: dict[str, list[Run]], name: str, to: str) -> float | None:
    """Return the median of the ratios of two rates in a round; None if one of them is not there."""
    pairs = zip(runs.get(name, ()), runs.get(to, ()), strict=False)
    found = [one.rate / other.rate for one, other in pairs if other.rate]
    return statistics.median(found) if found else None


def throughput_table(runs: dict[str, list[Run]]) -> str:
    """Write what all runs came to."""
    head = ("", "requests/s", "lowest-highest", "CPU us/request", "peak MB", f"to {BARE}", f"to {HEY}", f"to {WRK}")
    return table(head, (_throughput_row(runs, name) for name in runs))


def _throughput_row(runs: dict[str, list[Run]], name: str) -> list[str]:
    found = runs[name]
    rates = [run.rate for run in found]
    ratios = [ratio(runs, name, to) for to in (BARE, HEY, WRK)]
    return [
        name,
        f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        f"{statistics.median(run.cpu_us for run in found):,.1f}",
        f"{max(run.peak_mb for run in found):,.0f}",
        *("" if each is None else f"{each:.2f}" for each in ratios),
    ]


def judged(runs: dict[str, list[Run]]) -> Iterator[str]:
    """Say which targets are reached."""
    for name, to, target in TARGETS:
        if (found := ratio(runs, name, to)) is not None:
            yield f"{name} / {to}: {found:.2f}, target {target}: {'reached' if found >= target else 'NOT REACHED'}"


def miscounted(runs: dict[str, list[Run]]) -> list[str]:
    """Say where bulkstop, its lines and nginx have counted differently."""
    every = ((name, run) for name, found in runs.items() for run in found)
    return [
        f"{name}: {told} told, {run.counted} counted by nginx"
        for name, run in every
        for told in run.told
        if told != run.counted
    ]


def throughput(server: Nginx, folder: Path, size: Size) -> tuple[str, list[str]]:
    """Measure all that are there; return the text and what does not hold."""
    there = [generator for generator in GENERATORS if generator.is_there]
    runs = rounds(there, Job(server.url, folder, size.connections, size.seconds), server, size.rounds)
    flaws = miscounted(runs)
    ours = [run for found in runs.values() for run in found if run.told]
    total = sum(run.counted for run in ours)
    counts = f"nginx, summaries and lines agree on {total:,} requests of bulkstop in {len(ours)} runs"
    lines = [throughput_table(runs), "", *judged(runs), *(flaws or [counts])]
    absent = [generator.name for generator in GENERATORS if not generator.is_there]
    return "\n".join([*lines, *(["not there: " + ", ".join(absent)] if absent else [])]), flaws


# --- the schedule ---------------------------------------------------------------------------------------------------


def send_errors_ms(path: Path) -> list[float]:
    """Read from the lines of a run how late each request left, in order of that."""
    with path.open("rb") as file:
        return sorted((line["started_s"] - line["intended_s"]) * 1e3 for line in map(orjson.loads, file))


def schedule_row(server: Nginx, folder: Path, size: Size, transport: str, rate: int) -> tuple[list[str], float]:
    """Send at a rate in each round; return the medians of what was seen, and that of the p99."""
    command = load(server.url, "--rate", f"{rate}/s", "--duration", f"{size.schedule_s}s", "--transport", transport)
    seen = []
    for _ in range(size.rounds):
        ran = watched.run(command, cwd=folder, env=watched.environment(folder), codes=(0, UNKEPT))
        errors = send_errors_ms(folder / "lines.jsonl")
        seen.append([json.loads(ran.out)["rate"], *(percentile(errors, each) for each in (50, 99, 100))])
    sent, p50, p99, longest = (statistics.median(each) for each in zip(*seen, strict=True))
    return [f"{transport}, {rate:,}/s", f"{sent:,.0f}", ms(p50), ms(p99), ms(longest)], p99


def schedule(server: Nginx, folder: Path, size: Size) -> tuple[str, list[str]]:
    """Measure the schedule error at each rate."""
    found = {(each, rate): schedule_row(server, folder, size, each, rate) for each in TRANSPORTS for rate in size.rates}
    lines = [table(("", "sent/s", "p50 ms", "p99 ms", "max ms"), (row for row, _ in found.values()))]
    rate, target_ms = PUNCTUAL
    if rate in size.rates:
        p99 = found["wire", rate][1]
        word = "reached" if p99 < target_ms else "NOT REACHED"
        lines += ["", f"wire, p99 at {rate:,}/s: {ms(p99)} ms, target under {target_ms:g} ms: {word}"]
    return "\n".join(lines), []


# --- the freeze -----------------------------------------------------------------------------------------------------


def freeze(server: Nginx, folder: Path, size: Size) -> tuple[str, list[str]]:
    """Let the server stand still in the middle of a run; return what was told of it, and what ought to have been."""
    found = {each: frozen(server, folder, size.freeze_s, each) for each in TRANSPORTS}
    names = ("p50", "p99", "max")
    head = ("", *(f"intended {name} ms" for name in names), *(f"service {name} ms" for name in names))
    rows = [[each, *(ms(told[kind][name]) for kind in KINDS for name in names)] for each, told in found.items()]
    return table(head, rows), [flaw for each, told in found.items() for flaw in unseen(each, told, size.freeze_s)]


KINDS = ("latency_ms", "service_ms")


def frozen(server: Nginx, folder: Path, seconds: float, transport: str) -> dict[str, dict[str, float]]:
    """Send at a low rate to a server that freezes for a tenth of the time; return what the summary says."""
    in_flight = round(FROZEN_SHARE * FROZEN_RATE * seconds)
    options = ("--max-in-flight", str(in_flight), "--transport", transport)
    command = load(server.url, "--rate", f"{FROZEN_RATE}/s", "--duration", f"{seconds}s", *options)
    timer = threading.Timer(seconds / 2, server.freeze, (seconds / 10,))
    timer.start()
    try:
        ran = watched.run(command, cwd=folder, env=watched.environment(folder), codes=(0, UNKEPT))
    finally:
        timer.join()
    told = json.loads(ran.out)
    return {kind: told[kind] for kind in KINDS}


def unseen(name: str, told: dict[str, dict[str, float]], seconds: float) -> Iterator[str]:
    """Say whether the freeze is missing where it belongs, or seen where it does not."""
    intended, service = (told[kind]["p99"] for kind in KINDS)
    if intended < seconds / 10 * 1e3 / 2:
        yield f"{name}: the intended-time p99 of {ms(intended)} ms does not show the freeze"
    if service > intended / 2:
        yield f"{name}: the service-time p99 of {ms(service)} ms shows a freeze that met one request in a hundred"


# --- all of it ------------------------------------------------------------------------------------------------------

MEASURED = {"throughput": throughput, "schedule": schedule, "freeze": freeze}
PARTS = tuple(MEASURED)
TITLES = {
    "throughput": "Throughput: {size.connections} connections, {size.rounds} rounds of {size.seconds:g} s",
    "schedule": "Schedule error, from intended to sent: medians of {size.rounds} runs of {size.schedule_s:g} s",
    "freeze": "A freeze of a tenth of {size.freeze_s:g} s, at {rate}/s",
}


def machine(workers: int) -> str:
    """Say what it was measured on, as far as it matters, and when."""
    cores, load_average = os.cpu_count(), os.getloadavg()[0]
    here = f"{cores} cores ({platform.machine()}, {platform.system()}), nginx with {workers} of its workers"
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{here}; load average before: {load_average:.1f}. {told}."


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this table; repeatable")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run in the throughput table")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="of nginx")
    parser.add_argument("--append", type=Path, metavar="FILE", help="append the tables to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and append it to a file if one is named."""
    args = arguments()
    size = Size(args.connections, args.rounds, args.seconds, 5.0, 20.0, RATES)
    if args.smoke:
        size = Size(4, 1, 0.3, 0.5, 2.0, RATES[:1])
    told, flaws = [f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine(args.workers)], []
    print("\n\n".join(told))
    with tempfile.TemporaryDirectory() as name, counting_nginx(args.workers) as server:
        write_files(Path(name))
        for part in args.only or PARTS:
            text, wrong = MEASURED[part](server, Path(name), size)
            told.append(f"{TITLES[part].format(size=size, rate=FROZEN_RATE)}:\n\n{text}")
            print(f"\n{told[-1]}", flush=True)
            flaws += wrong if part != "freeze" or not args.smoke else []  # a short freeze is no longer than a hiccup
    told.append(f"Load average after: {os.getloadavg()[0]:.1f}.")
    print(f"\n{told[-1]}")
    if args.append:
        with args.append.open("a") as file:
            file.write("\n" + "\n\n".join(told) + "\n")
    if flaws:
        raise SystemExit("\n".join(flaws))


if __name__ == "__main__":
    main()
