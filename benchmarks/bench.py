"""Measures every speed target, with other tools for comparison, on one server in one run.

    make bench                                        # every row, and a new entry in benchmarks/RESULTS.md
    python benchmarks/bench.py --only stop --runs 3
    python benchmarks/bench.py --smoke                # a short run that only shows that it works

The rows: `load` (every generator posts over the same number of connections to one nginx), `stop` and `aiohttp` (the
complete job, compared with hey and wrk, or with a naive loop), `plan`, `startup`, `schedule` (the delay of requests
after their due time), `memory`, and `freeze` (what is reported about a server that pauses once). Tools run in turn, in
another order each round. Judge the ratios, which are within a round; the rates are only valid for this machine and
minute. The requests that bulkstop reports, nginx has counted and the result lines have must be equal; a difference is
exit 1.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson
import stop_rows
import watched
from generators import BARE, GENERATORS, HEY, NO_LINES, TWO, WIRE, WRK, Generator, Job, load, versions, write_files
from peers import Nginx, counting_nginx
from rounds import Measured, in_turn, ratios, targets_table
from stop_rows import Found, Place, miscount
from tables import ms, percentile, table

LOAD_TARGETS = (
    *((one, HEY, 1.3, 1.5) for one in (WIRE, NO_LINES)),
    *((one, WRK, 0.5, 0.6) for one in (WIRE, NO_LINES)),
    (TWO, WIRE, 1.2, None),
)
PUNCTUAL_MS = {("wire", 5000): 0.2, ("wire", 20_000): 5.0, ("aiohttp", 5000): None}
"""Milliseconds within which 99 % of the requests are sent at these rates."""
MAY_BE_LATE = 20_000
"""Rate at which a run may also report that it cannot keep its schedule."""
FROZEN_RATE, FROZEN_SHARE = 500, 0.005
"""Rate, and share of requests in flight; above 0.01 the p99 of the service time would show the freeze too."""
TRANSPORTS = ("wire", "aiohttp")
UNKEPT = 3
"""The exit code of a load test that could not keep its schedule."""


class Run(NamedTuple):
    """The result of one run of a generator; `told` is the number of requests it reports, if that is read."""

    rate: float
    cpu_us: float
    peak_mb: float
    counted: int
    told: Sequence[int]


class Size(NamedTuple):
    """How much is measured."""

    connections: int
    runs: int
    seconds: float
    schedule_s: float
    freeze_s: float
    campaigns: int
    aiohttp_campaigns: int
    plan_rows: int
    memory_rows: int
    start_runs: int


# The result of a row: tables to read, rows for the table of targets, and what does not hold.
Part = tuple[str, list[Measured], list[str]]


# --- load -----------------------------------------------------------------------------------------------------------


def measured(generator: Generator, job: Job, server: Nginx) -> Run:
    """Run a generator once."""
    before = server.requests()
    ran = watched.run(generator.command(job), cwd=job.folder, env=watched.environment(job.folder))
    counted = server.requests() - before
    told = told_by_bulkstop(generator, ran.out, job.folder) if generator.is_ours else ()
    return Run(generator.rate(ran, counted), ran.cpu_s / max(counted, 1) * 1e6, ran.peak_mb, counted, told)


def told_by_bulkstop(generator: Generator, out: str, folder: Path) -> list[int]:
    """Return the request counts of a bulkstop run: in its summary, and in its lines if it writes them."""
    told = [json.loads(out)["requests"]]
    if generator.has_lines:
        with (folder / "lines.jsonl").open("rb") as file:
            told.append(sum(1 for _ in file))
    return told


def ratios_of(runs: dict[str, list[Run]], name: str, to: str) -> list[float]:
    """Return the ratios of two rates by round; empty if one of them is missing."""
    one, other = ([run.rate for run in runs.get(each, ())] for each in (name, to))
    return ratios(one, other)


def ratio(runs: dict[str, list[Run]], name: str, to: str) -> float | None:
    """Return the median ratio of two rates; None if one of them is missing."""
    found = ratios_of(runs, name, to)
    return statistics.median(found) if found else None


def throughput_table(runs: dict[str, list[Run]]) -> str:
    """Return the table of all runs."""
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


def load_targets(runs: dict[str, list[Run]]) -> Iterator[Measured]:
    """Yield the rows for the table of targets whose peer is installed."""
    for name, to, bar, stretch in LOAD_TARGETS:
        if found := ratios_of(runs, name, to):
            yield Measured(
                f"load, {name.removeprefix('bulkstop, ')} / {to.removeprefix('bulkstop, ')}", found, bar, stretch
            )


def miscounted(runs: dict[str, list[Run]]) -> list[str]:
    """Return where the counts of bulkstop, its lines and nginx differ."""
    every = ((name, run) for name, found in runs.items() for run in found)
    return [
        f"{name}: {told} told, {run.counted} counted by nginx"
        for name, run in every
        for told in run.told
        if told != run.counted
    ]


def throughput(server: Nginx, folder: Path, size: Size) -> Part:
    """Measure the installed generators; return the text, the targets, and what does not hold."""
    there = [generator for generator in GENERATORS if generator.is_there]
    job = Job(server.url, folder, size.connections, size.seconds)
    runs = in_turn({each.name: partial(measured, each, job, server) for each in there}, size.runs)
    flaws = miscounted(runs)
    ours = [run for found in runs.values() for run in found if run.told]
    total = sum(run.counted for run in ours)
    counts = f"nginx, summaries and lines agree on {total:,} requests of bulkstop in {len(ours)} runs"
    absent = [f"{generator.name}: not installed, left out" for generator in GENERATORS if not generator.is_there]
    return "\n".join([throughput_table(runs), "", *(flaws or [counts]), *absent]), list(load_targets(runs)), flaws


# --- the schedule ---------------------------------------------------------------------------------------------------


def read_lines(path: Path) -> tuple[list[float], int]:
    """Return how late each request of a run was in ms, sorted, and the number of responses, from its lines."""
    with path.open("rb") as file:
        lines = list(map(orjson.loads, file))
    errors_ms = sorted((line["started_s"] - line["intended_s"]) * 1e3 for line in lines)
    return errors_ms, sum(line["http_status"] is not None for line in lines)


class Punctual(NamedTuple):
    """The result of one run at a constant rate."""

    rate: float
    errors_ms: tuple[float, float, float]
    """p50, p99 and the longest."""
    flaw: str
    is_unkept: bool
    """Whether it reported that the schedule was not kept."""


def kept(server: Nginx, folder: Path, seconds: float, transport: str, rate: int) -> Punctual:
    """Run once at a rate."""
    before = server.requests()
    command = load(server.url, "--rate", f"{rate}/s", "--duration", f"{seconds}s", "--transport", transport)
    ran = watched.run(command, cwd=folder, env=watched.environment(folder), codes=(0, UNKEPT))
    (errors, answered), told = read_lines(folder / "lines.jsonl"), json.loads(ran.out)
    counts = {"counted by nginx": server.requests() - before, "answered by the lines": answered}
    name, due = f"{transport}, {rate:,}/s", told["requests"] - told["unsent"]
    flaw = miscount(name, counts, told["answered"]) or miscount(name, {"lines": len(errors)}, due)
    p50, p99, longest = (percentile(errors, each) for each in (50, 99, 100))
    return Punctual(told["rate"], (p50, p99, longest), flaw, ran.code == UNKEPT)


def schedule(server: Nginx, folder: Path, size: Size) -> Part:
    """Measure the schedule error at each rate."""
    runners = {each: partial(kept, server, folder, size.schedule_s, *each) for each in PUNCTUAL_MS}
    found = in_turn(runners, size.runs)
    targets = [punctual(*each, runs) for each, runs in found.items()]
    flaws = [run.flaw for runs in found.values() for run in runs if run.flaw]
    head = ("", "sent/s", "p50 ms", "p99 ms", "max ms", "said that it was late")
    return table(head, (_schedule_row(*each, runs) for each, runs in found.items())), targets, flaws


def punctual(transport: str, rate: int, runs: Sequence[Punctual]) -> Measured:
    """Return the row for the table of targets."""
    excuse = "late, and said so" if rate >= MAY_BE_LATE and all(run.is_unkept for run in runs) else ""
    name, p99s = f"schedule error p99, {transport}, {rate:,}/s", [run.errors_ms[1] for run in runs]
    return Measured(name, p99s, PUNCTUAL_MS[transport, rate], unit="ms", is_most=True, excuse=excuse)


def _schedule_row(transport: str, rate: int, runs: Sequence[Punctual]) -> list[str]:
    errors = [ms(statistics.median(each)) for each in zip(*(run.errors_ms for run in runs), strict=True)]
    unkept = sum(run.is_unkept for run in runs)
    sent = statistics.median(run.rate for run in runs)
    return [f"{transport}, {rate:,}/s", f"{sent:,.0f}", *errors, f"{unkept} of {len(runs)}"]


# --- the freeze -----------------------------------------------------------------------------------------------------


def freeze(server: Nginx, folder: Path, size: Size) -> Part:
    """Freeze the server during a run; return what was reported about it, and what should have been."""
    found = {each: frozen(server, folder, size.freeze_s, each) for each in TRANSPORTS}
    names = ("p50", "p99", "max")
    head = ("", *(f"intended {name} ms" for name in names), *(f"service {name} ms" for name in names))
    rows = [[each, *(ms(told[kind][name]) for kind in KINDS for name in names)] for each, told in found.items()]
    flaws = [flaw for each, told in found.items() for flaw in unseen(each, told, size.freeze_s)]
    return table(head, rows), [], flaws


KINDS = ("latency_ms", "service_ms")


def frozen(server: Nginx, folder: Path, seconds: float, transport: str) -> dict[str, dict[str, float]]:
    """Send at a low rate to a server that freezes for a tenth of the time; return the figures of the summary."""
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
    """Return where the freeze is missing in the figures, or visible where it should not be."""
    intended, service = (told[kind]["p99"] for kind in KINDS)
    if intended < seconds / 10 * 1e3 / 2:
        yield f"{name}: the intended-time p99 of {ms(intended)} ms does not show the freeze"
    if service > intended / 2:
        yield f"{name}: the service-time p99 of {ms(service)} ms shows a freeze that met one request in a hundred"


# --- all of it ------------------------------------------------------------------------------------------------------


def of_targets(measure: Callable[[Place, Size], Found]) -> Callable[[Nginx, Path, Size], Part]:
    """Return a function that measures a row without a table of its own."""

    def part(server: Nginx, folder: Path, size: Size) -> Part:
        rows, flaws = measure(Place(server, folder, size.connections, size.runs), size)
        return targets_table(rows), rows, flaws

    return part


MEASURED: dict[str, Callable[[Nginx, Path, Size], Part]] = {
    "load": throughput,
    "stop": of_targets(lambda place, size: stop_rows.stop_wire(place, size.campaigns, size.seconds)),
    "aiohttp": of_targets(lambda place, size: stop_rows.stop_aiohttp(place, size.aiohttp_campaigns)),
    "plan": of_targets(lambda place, size: stop_rows.plan(place, size.plan_rows)),
    "startup": of_targets(lambda place, size: stop_rows.startup(place._replace(runs=size.start_runs))),
    "schedule": schedule,
    "memory": of_targets(lambda place, size: stop_rows.memory(place, size.memory_rows)),
    "freeze": freeze,
}
TITLES = {
    "load": "Load: {size.connections} connections, {size.runs} rounds of {size.seconds:g} s",
    "stop": "Stop over wire: {size.campaigns:,} campaigns, {size.connections} connections, {size.runs} rounds",
    "aiohttp": "The same over aiohttp: {size.aiohttp_campaigns:,} campaigns, {size.runs} rounds",
    "plan": "Plan of {size.plan_rows:,} rows, processor time, {size.runs} rounds",
    "startup": "Start-up, {size.start_runs} rounds",
    "schedule": "Schedule error, from intended to sent: medians of {size.runs} runs of {size.schedule_s:g} s",
    "memory": "Memory of {size.memory_rows:,} rows, one run",
    "freeze": "A freeze of a tenth of {size.freeze_s:g} s, at {rate}/s",
}
MINUTES = {
    "load": 2.7,
    "stop": 1.1,
    "aiohttp": 0.9,
    "plan": 0.4,
    "startup": 0.2,
    "schedule": 1.6,
    "memory": 1.0,
    "freeze": 0.8,
}
"""Approximate minutes of five runs on two cores."""
ONCE = ("memory", "freeze")


def expected_minutes(rows: Sequence[str], runs: int) -> float:
    """Return about how many minutes these rows take."""
    return sum(MINUTES[row] * (1 if row in ONCE else runs / 5) for row in rows)


def machine(workers: int) -> str:
    """Return a description of the machine, and the time."""
    cores, load_average = os.cpu_count(), os.getloadavg()[0]
    here = f"{cores} cores ({platform.machine()}, {platform.system()}), nginx with {workers} of its workers"
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{here}; load average before: {load_average:.1f}. {told}."


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument(
        "--only",
        choices=MEASURED,
        action="append",
        metavar="ROW",
        help=f"only this row: {', '.join(MEASURED)}; repeatable",
    )
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5, help="of each command of a row")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run in the row `load`")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="of nginx")
    parser.add_argument("--append", type=Path, metavar="FILE", help="append the tables to this file")
    return parser.parse_args()


def sized(args: argparse.Namespace) -> Size:
    """Return how much is measured."""
    if args.smoke:
        return Size(4, 1, 0.3, 0.5, 2.0, 400, 200, 2000, 2000, 1)
    return Size(args.connections, args.runs, args.seconds, 5.0, 20.0, 60_000, 20_000, 200_000, 1_000_000, 2 * args.runs)


def measure(rows: Sequence[str], size: Size, workers: int) -> Part:
    """Measure these rows, print their tables, and return them with all targets and flaws."""
    texts, targets, flaws = list[str](), list[Measured](), list[str]()
    with tempfile.TemporaryDirectory() as name, counting_nginx(workers) as server:
        write_files(Path(name))
        for row in rows:
            text, found, wrong = MEASURED[row](server, Path(name), size)
            texts.append(f"{TITLES[row].format(size=size, rate=FROZEN_RATE)}:\n\n{text}")
            print(f"\n{texts[-1]}", flush=True)
            targets += found
            flaws += wrong
    return "\n\n".join(texts), targets, flaws


def main() -> None:
    """Measure, print, and append the results to a file if one is named."""
    args = arguments()
    rows, size = args.only or tuple(MEASURED), sized(args)
    when, where = f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine(args.workers)
    print(f"{when}\n\n{where}", flush=True)
    if not args.smoke:
        print(f"\nThis takes about {expected_minutes(rows, size.runs):.0f} minutes.", flush=True)
    text, targets, flaws = measure(rows, size, args.workers)
    judged = f"The targets; a ratio is that within a round:\n\n{targets_table([each for each in targets if each.bar])}"
    after = f"Load average after: {os.getloadavg()[0]:.1f}."
    print(f"\n{judged}\n\n{after}")
    if args.append:
        with args.append.open("a") as file:
            file.write("\n" + "\n\n".join([when, where, judged, text, after]) + "\n")
    if args.smoke:  # a short freeze looks like a hiccup
        flaws = [flaw for flaw in flaws if "freeze" not in flaw]
    if flaws:
        raise SystemExit("\n".join(flaws))


if __name__ == "__main__":
    main()
