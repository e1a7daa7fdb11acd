"""The rows of `bench.py` that are not load tests: stops, the plan of a list, the start, the memory of a long list."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import scale
import watched
from generators import GENERATORS, HEY, WRK, Generator, Job
from lists import texts
from peers import Nginx
from rounds import Measured, in_turn, ratios

HERE = Path(__file__).resolve().parent
Found = tuple[list[Measured], list[str]]
"""The rows for the table of targets, and what does not hold."""
LIST, RESULTS = "list.csv", "results.jsonl"
PLAN = """
import sys, time
from bulkstop import Settings
from bulkstop.runs.stop.plan import make_plan
settings = Settings(host="http://127.0.0.1:1", token="x.y.z", account_id="a", stream_id="s")
began = time.process_time()
with make_plan([sys.argv[1]], settings) as plan:
    print(plan.to_send, time.process_time() - began)
"""
BARE_READING = """
import csv, sys, time
began = time.process_time()
with open(sys.argv[1], newline="") as file:
    rows = sum(1 for _ in csv.reader(file)) - 1
print(rows, time.process_time() - began)
"""
LOOPS = ("asyncio", "uvloop")
MOST_MB = 96
STARTS_MS = {"stop --dry-run of one row": (94, 80), "--help": (41, 35)}


class Place(NamedTuple):
    """The setting of a row: the server, the folder of its files, the connections of each client, and the runs."""

    server: Nginx
    folder: Path
    connections: int
    runs: int


class Stopped(NamedTuple):
    """The result of a run that stops a list: campaigns per second, for sending alone and for the whole process."""

    sending: float
    whole: float
    flaw: str
    cpu_us: float
    """Processor time per campaign, including the start; other load affects it less."""


def bulkstop_run(place: Place, campaigns: int, transport: str) -> Stopped:
    """Stop the list with the real command; the server, the manifest and the lines must have equal counts."""
    before = place.server.requests()
    ran = scale.stop(place.server.url, place.folder, place.connections, "--transport", transport, "--overwrite")
    manifest = json.loads((place.folder / f"{RESULTS}.run.json").read_text())["runs"][-1]
    with (place.folder / RESULTS).open("rb") as file:
        lines = sum(1 for _ in file)
    counts = {
        "counted by nginx": place.server.requests() - before,
        "calls told": manifest["calls"],
        "stopped told": manifest["outcomes"].get("stopped", 0),
        "lines": lines,
    }
    return Stopped(
        campaigns / manifest["elapsed_s"],
        campaigns / ran.elapsed_s,
        miscount(transport, counts, campaigns),
        ran.cpu_s / campaigns * 1e6,
    )


def miscount(name: str, counts: dict[str, int], expected: int) -> str:
    """Return the counts that differ from what was to be sent; empty if none does."""
    wrong = [f"{count:,} {what}" for what, count in counts.items() if count != expected]
    return f"{name}: {', '.join(wrong)}, not {expected:,}" if wrong else ""


def peer_run(place: Place, job: Job, generator: Generator) -> Stopped:
    """Run a load generator with its requests at the same server."""
    before = place.server.requests()
    ran = watched.run(generator.command(job), cwd=job.folder, env=watched.environment(job.folder))
    counted = place.server.requests() - before
    rate = generator.rate(ran, counted)
    is_counted = job.requests is not None and generator.name == HEY
    return Stopped(
        rate,
        rate,
        miscount(HEY, {"counted by nginx": counted}, job.requests or 0) if is_counted else "",
        ran.cpu_s / max(counted, 1) * 1e6,
    )


def naive_run(place: Place, campaigns: int, loop: str) -> Stopped:
    """Stop the list with the naive loop."""
    before = place.server.requests()
    command = [sys.executable, str(HERE / "naive_loop.py"), place.server.url, LIST, str(place.connections), loop]
    ran = watched.run(command, cwd=place.folder, env=watched.environment(place.folder))
    counts = {"counted by nginx": place.server.requests() - before, "told": json.loads(ran.out)["stopped"]}
    return Stopped(
        0.0, campaigns / ran.elapsed_s, miscount(f"naive loop, {loop}", counts, campaigns), ran.cpu_s / campaigns * 1e6
    )


def cpu_rows(what: str, runs: dict[str, list[Stopped]]) -> Iterator[Measured]:
    """Yield the processor time of each command per campaign or request."""
    for name, each in runs.items():
        yield Measured(f"{what}, {name}, CPU", [run.cpu_us for run in each], unit="us")


def flaws_of(runs: dict[str, list[Stopped]]) -> list[str]:
    """Return the counts that differ in any run."""
    return [run.flaw for each in runs.values() for run in each if run.flaw]


def stop_wire(place: Place, campaigns: int, seconds: float) -> Found:
    """Stop a list over wire, compared with hey, which makes the same number of requests, and wrk."""
    scale.write_list(place.folder / LIST, campaigns)
    job = Job(place.server.url, place.folder, place.connections, seconds, requests=campaigns)
    ours = "bulkstop"
    runners: dict[str, Callable[[], Stopped]] = {ours: partial(bulkstop_run, place, campaigns, "wire")}
    there = {each.name: each for each in GENERATORS if each.name in (HEY, WRK) and each.is_there}
    runners |= {name: partial(peer_run, place, job, each) for name, each in there.items()}
    found = in_turn(runners, place.runs)
    rows = list[Measured]()
    for kind, bars in (
        ("sending", {HEY: (0.95, 1.1), WRK: (0.33, 0.4)}),
        ("whole", {HEY: (0.7, 0.9), WRK: (0.23, 0.3)}),
    ):
        mine = [getattr(run, kind) for run in found[ours]]
        rows += (
            Measured(
                f"stop wire, {campaigns:,}, {kind} / {peer}",
                ratios(mine, [run.whole for run in found[peer]]),
                *bars[peer],
            )
            for peer in there
        )
        rows.append(Measured(f"stop wire, {campaigns:,}, {kind}", mine, unit="campaigns/s"))
    return [*rows, *cpu_rows("stop wire", found)], flaws_of(found)


def stop_aiohttp(place: Place, campaigns: int) -> Found:
    """Stop a list over aiohttp, compared with a naive loop; both as complete processes."""
    scale.write_list(place.folder / LIST, campaigns)
    ours = "bulkstop"
    runners: dict[str, Callable[[], Stopped]] = {ours: partial(bulkstop_run, place, campaigns, "aiohttp")}
    runners |= {loop: partial(naive_run, place, campaigns, loop) for loop in LOOPS}
    found = in_turn(runners, place.runs)
    mine = [run.whole for run in found[ours]]
    bars = {"asyncio": (1.0, 1.1), "uvloop": (0.9, 1.0)}
    rows = [
        Measured(
            f"stop aiohttp, {campaigns:,}, whole / naive loop, {loop}",
            ratios(mine, [run.whole for run in found[loop]]),
            *bars[loop],
        )
        for loop in LOOPS
    ]
    rows.append(Measured(f"stop aiohttp, {campaigns:,}, whole", mine, unit="campaigns/s"))
    return [*rows, *cpu_rows("stop aiohttp", found)], flaws_of(found)


def read_us(script: str, path: Path, rows: int) -> float:
    """Read a list in a new process and return its processor time per row; no row may be missing."""
    env = watched.environment(path.parent)
    number, taken_s = watched.run([sys.executable, "-c", script, str(path)], cwd=path.parent, env=env).out.split()
    if int(number) != rows:
        raise SystemExit(f"{path.name}: {number} rows instead of {rows:,}")
    return float(taken_s) / rows * 1e6


def plan(place: Place, rows: int) -> Found:
    """Plan a list as CSV and as JSON lines, compared with reading by the csv module alone."""
    scale.write_list(place.folder / LIST, rows)
    (place.folder / "lines.jsonl").write_bytes(texts(rows)["lines.jsonl"])
    bare, csv_form, json_form = "csv module's bare reading, a row", "plan of a CSV, a row", "plan of JSONL, a row"
    runners = {
        csv_form: partial(read_us, PLAN, place.folder / LIST, rows),
        json_form: partial(read_us, PLAN, place.folder / "lines.jsonl", rows),
        bare: partial(read_us, BARE_READING, place.folder / LIST, rows),
    }
    found = in_turn(runners, place.runs)
    return [
        Measured(csv_form, found[csv_form], 4, 3, "us", is_most=True),
        Measured(f"{csv_form} / bare reading", ratios(found[csv_form], found[bare])),
        Measured(json_form, found[json_form], unit="us"),
        Measured(f"{json_form} / bare reading", ratios(found[json_form], found[bare])),
        Measured(bare, found[bare], unit="us"),
    ], []


def startup(place: Place) -> Found:
    """Time a dry run of one row and the help, compared with a bare interpreter and the import of aiohttp."""
    from startup import wall_s

    scale.write_list(place.folder / "one.csv", 1)
    bulkstop, empty, imported = [sys.executable, "-m", "bulkstop"], "python -c pass", "import aiohttp"
    dry = ["stop", str(place.folder / "one.csv"), "--dry-run", "--host", "http://127.0.0.1:1"]
    commands = {
        "stop --dry-run of one row": [*bulkstop, *dry],
        "--help": [*bulkstop, "--help"],
        empty: [sys.executable, "-c", "pass"],
        imported: [sys.executable, "-c", "import aiohttp"],
    }
    env = watched.environment(place.folder)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # users start with compiled modules
    found = in_turn({name: partial(wall_s, each, env) for name, each in commands.items()}, place.runs)
    return list(_starts(found, empty, imported)), []


def _starts(found: dict[str, list[float]], empty: str, imported: str) -> Iterator[Measured]:
    for name, bars in STARTS_MS.items():
        yield Measured(name, _ms(found[name]), *bars, "ms", is_most=True)
        for peer in (empty, imported):
            yield Measured(f"{name} / {peer}", ratios(found[name], found[peer]))
    for peer in (empty, imported):
        yield Measured(peer, _ms(found[peer]), unit="ms")


def _ms(seconds: Sequence[float]) -> list[float]:
    return [each * 1e3 for each in seconds]


def memory(place: Place, rows: int) -> Found:
    """Stop a long list once; its peak memory hardly varies."""
    scale.write_list(place.folder / LIST, rows)
    before = place.server.requests()
    ran = scale.stop(place.server.url, place.folder, place.connections, "--transport", "wire", "--overwrite")
    flaw = miscount("memory", {"counted by nginx": place.server.requests() - before}, rows)
    row = Measured(f"stop wire, {rows:,} rows, peak", [ran.peak_mb], MOST_MB, unit="MB", is_most=True)
    return [row], [flaw] if flaw else []
