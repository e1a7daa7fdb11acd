"""Compares what `load` reports about a service with the truth: the log of a server with exactly defined behaviour.

    python benchmarks/verdicts.py                     # all: about fifteen minutes
    python benchmarks/verdicts.py --only figures      # figures against the truth, on each transport, by two processes
    python benchmarks/verdicts.py --only verdicts     # exit codes, limits, signals; --way aiohttp for that transport
    python benchmarks/verdicts.py --only peers        # what hey and wrk report about two of the servers
    python benchmarks/verdicts.py --smoke             # a short run that only shows that it works

The first table: requests reported = lines of --results = requests in the server's log, outcomes of the lines = statuses
in the log, and percentiles of the latency compared with the true ones, which come from the log and the due times of
requests. The second: the exit code and the verdict, compared with the correct ones. What does not hold is marked, and
is exit 1.
"""

import argparse
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from exact_server import Log, exact_server
from tables import ms, percentile, table
from watched import environment

WAYS = {
    "wire": ("--transport", "wire"),
    "aiohttp": ("--transport", "aiohttp"),
    "wire, 2 processes": ("--transport", "wire", "--processes", "2"),
}
FIGURES = (
    ("constant", "200/s"),
    ("log-normal", "200/s"),
    ("stall", "200/s"),
    ("1 % of 1 s", "200/s"),
    ("500/s", "400/s"),
    ("500/s", "480/s"),
    ("500/s", "520/s"),
    ("mixed errors", "200/s"),
    ("keep-alive ends", "200/s"),
    ("429 over 100/s", "200/s"),
    ("bursts of 429", "200/s"),
    ("away for 1.5 s", "200/s"),
    ("3 of 10 take 2 s", "100/s"),
)
OUTCOMES = {200: "stopped", 404: "not_found", 429: "throttled", 500: "server_error", 503: "server_error"}
NEAR, NEAR_MS = 0.1, 5.0
"""A figure is correct within a tenth, or within the milliseconds that a process waits for its turn on two cores."""
PATIENT = ("--max-late", "1s")
"""Options that tolerate delays by other programs, because the figures are compared with the truth."""


@dataclass
class Told:
    """How a load test ended: code, JSON, output, the lines of --results, the server's log, its seconds."""

    code: int
    figures: dict[str, Any]
    said: str
    lines: list[dict[str, Any]]
    log: list[Log]
    took_s: float

    def get(self, *names: str) -> float:
        """Return a figure."""
        value: Any = self.figures
        for name in names:
            value = (value or {}).get(name)
        return math.nan if value is None else float(value)


class Case(NamedTuple):
    """A verdict: its name, the server, the options, the expectation, and how it is run."""

    name: str
    shape: str
    args: Sequence[str]
    right: str
    holds: Callable[[Told], bool]
    how: Mapping[str, Any] = MappingProxyType({})


def run(
    shape: str,
    *args: str,
    ways: Sequence[str] = WAYS["wire"],
    signals_s: Sequence[float] = (),
    files: int | None = None,
    starved: bool = False,
    before: Sequence[str] | None = None,
) -> Told:
    """Run `load` against a shape; with SIGINT after some seconds, few open files, or a busy core."""
    with tempfile.TemporaryDirectory() as name, exact_server(shape) as (url, end):
        folder = Path(name)
        command = [sys.executable, "-m", "bulkstop", "load", "--account-id", "a1", "--stream-id", "st-1", "--json"]
        if before is not None:
            (folder / "old.json").write_text(json.dumps(run(*before).figures))
        command += ["--results", "lines.jsonl", "--host", url, *ways, *args]
        if "--find-limit" in args:
            command[command.index("--results") : command.index("--results") + 2] = []
        began = time.monotonic()
        with hogging(starved) as place:
            process = subprocess.Popen(
                [*place, *command],
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=None
                if files is None
                else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
            )
            for after_s in signals_s:
                time.sleep(after_s)
                process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=240)
        took_s = time.monotonic() - began
        path = folder / "lines.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return Told(process.returncode, json.loads(out) if out.strip() else {}, said, lines, end(), took_s)


@contextmanager
def hogging(wanted: bool) -> Iterator[list[str]]:
    """Keep a core busy with another program, and run a command on that core."""
    taskset = shutil.which("taskset")
    if not wanted or taskset is None:
        yield []
        return
    core = str(min(os.sched_getaffinity(0)))
    hogs = [subprocess.Popen([taskset, "-c", core, sys.executable, "-c", "while True: pass"]) for _ in range(1)]
    try:
        yield [taskset, "-c", core]
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def true_latencies_ms(told: Told) -> list[float]:
    """Return the latency of each answered request since its due time, by the server's log, sorted.

    The fastest request shows when the run began on the server's clock.
    """
    log = {each.id: each for each in told.log}
    seen = [(line, log[line["campaign_id"]]) for line in told.lines if line["campaign_id"] in log]
    began = min((each.arrived - line["started_s"] for line, each in seen), default=0.0)
    times = [(each.answered - began - line["intended_s"]) * 1e3 for line, each in seen if each.answered is not None]
    return sorted(times)


def told_latencies_ms(told: Told) -> list[float]:
    """Return the same latencies from the lines."""
    return sorted(line["latency_ms"] for line in told.lines if line["http_status"] is not None)


def flaws_of(told: Told, truth_ms: Sequence[float]) -> list[str]:
    """Return the counts that differ from the log, and the figures that are wrong."""
    flaws = []
    counts = int(told.get("requests")), len(told.lines), len(told.log)
    if len(set(counts)) > 1:
        flaws.append("sent {}, lines {}, log {}".format(*counts))
    statuses = Counter("connection_error" if each.status is None else OUTCOMES[each.status] for each in told.log)
    if statuses != Counter(line["outcome"] for line in told.lines):
        flaws.append(f"outcomes {dict(Counter(line['outcome'] for line in told.lines))} are {dict(statuses)}")
    lines_ms = told_latencies_ms(told)
    for percent in (50, 90, 99) if truth_ms and lines_ms else ():
        value, true = percentile(lines_ms, percent), percentile(truth_ms, percent)
        if abs(value - true) > max(NEAR * true, NEAR_MS):
            flaws.append(f"p{percent} {ms(value)} is {ms(true)}")
    return flaws


def compare_figures(seconds: str, cases: Sequence[tuple[str, str]], ways: Sequence[str]) -> list[str]:
    """Print the first table; return what does not hold."""
    rows, wrong = [], []
    for shape, rate in cases:
        for way in ways:
            told = run(shape, "--rate", rate, "--duration", seconds, *PATIENT, ways=WAYS[way])
            truth_ms, lines_ms = true_latencies_ms(told), told_latencies_ms(told)
            flaws = flaws_of(told, truth_ms)
            figures = [
                f"{ms(percentile(lines_ms, percent))} / {ms(percentile(truth_ms, percent))}" for percent in (50, 90, 99)
            ]
            rows.append([f"{shape} at {rate}, {way}", str(len(told.log)), *figures, "; ".join(flaws) or "yes"])
            wrong += [f"{shape} at {rate}, {way}: {flaw}" for flaw in flaws]
    print(table(["server, rate, transport", "requests", "p50 told / true ms", "p90", "p99", "right"], rows), flush=True)
    return wrong


def within(value: float, least: float, most: float) -> bool:
    """Return whether a figure is between two others."""
    return least <= value <= most


ALL = ("--require", "p99<250ms", "--require", "rate>20/s")
VERDICTS = (
    Case(
        "--find-limit, steps of 1 s",
        "500/s",
        ("--find-limit", "--rate", "100/s", "--step", "1s", *PATIENT),
        "found within 450..510/s",
        lambda told: told.code == 0 and within(told.get("limit"), 450, 510),
    ),
    *(
        Case(
            f"--find-limit at {shape}, steps of {step}",
            shape,
            ("--find-limit", "--rate", start, "--step", step, *PATIENT),
            f"found within {least}..{most}/s",
            lambda told, least=least, most=most: told.code == 0 and within(told.get("limit"), least, most),  # type: ignore[misc]
        )
        for shape, start, least, most in (
            ("50/s", "10/s", 45, 51),
            ("500/s after 0.5 s", "100/s", 450, 520),
            ("500/s, 50 may wait", "100/s", 450, 510),
            ("2000/s", "300/s", 1800, 2040),
        )
        for step in ("1s", "2s")
    ),
    Case(
        "--find-limit, answers after the timeout",
        "500/s",
        ("--find-limit", "--rate", "5000/s", "--step", "2s", "--timeout", "1s", *PATIENT),
        "found within 450..510/s",
        lambda told: told.code == 0 and within(told.get("limit"), 450, 510),
    ),
    Case(
        "Ctrl-C in a stall",
        "freeze",
        ("--rate", "600/s", "--duration", "60s", "--max-in-flight", "300", *PATIENT),
        "130; the due count; p50 of all over 500 ms",
        lambda told: (
            told.code == 130
            and told.get("unsent") > 300
            and told.get("latency_ms", "p50") > 500
            and not told.figures["kept_schedule"]
        ),
        {"signals_s": (3.6, 0.3)},
    ),
    Case(
        "unsent and p90<10ms",
        "freeze",
        (
            *("--rate", "200/s", "--duration", "2s", "--max-in-flight", "50", "--timeout", "3s"),
            *("--grace", "100ms", "--require", "p90<10ms", *PATIENT),
        ),
        "not 0; kept_schedule false",
        lambda told: told.code in (1, 3) and not told.figures["kept_schedule"] and told.get("unsent") > 50,
    ),
    Case(
        "dead to 78 %",
        "dead",
        ("--rate", "200/s", "--duration", "3s", *ALL, *PATIENT),
        "1, for failed<1%",
        lambda told: told.code == 1 and "failed<1%: FAILED (78" in told.said,
    ),
    Case(
        "constant 2 s, default places",
        "constant 2 s",
        ("--rate", "100/s", "--duration", "4s", "--require", "p99<2500ms", "--require", "rate>=99/s", *PATIENT),
        "0; p50 2.0 s; rate 100/s",
        lambda told: told.code == 0 and within(told.get("latency_ms", "p50"), 1999, 2100),
    ),
    Case(
        "constant 2 s, 50 places",
        "constant 2 s",
        ("--rate", "100/s", "--duration", "4s", "--max-in-flight", "50", "--require", "p99<2500ms", *PATIENT),
        "3, the generator was the limit; said before",
        lambda told: (
            told.code == 3
            and "THE GENERATOR AND NOT THE SERVICE WAS THE LIMIT" in told.said
            and "enough while answers take up to 0.5 s" in told.said
        ),
    ),
    Case(
        "constant 2 s, ulimit -n 100",
        "constant 2 s",
        ("--rate", "100/s", "--duration", "4s", *PATIENT),
        "3, open files; said before",
        lambda told: told.code == 3 and "warning: the limit on open files" in told.said,
        {"files": 100},
    ),
    Case(
        "a starved generator",
        "constant",
        ("--rate", "200/s", "--duration", "4s"),
        "3",
        lambda told: told.code == 3,
        {"starved": True},
    ),
    Case(
        "a starved generator of a closed model",
        "constant",
        ("--closed", "--concurrency", "50", "--duration", "3s"),
        "3",
        lambda told: told.code == 3,
        {"starved": True},
    ),
    Case(
        "a rate beside slow last answers",
        "constant 2 s",
        ("--rate", "200/s", "--duration", "5s", "--require", "rate>=199/s", *PATIENT),
        "0",
        lambda told: told.code == 0 and within(told.get("rates", "successful"), 199, 201),
    ),
    Case(
        "more than a server takes",
        "500/s",
        ("--rate", "800/s", "--duration", "4s", *PATIENT),
        "answered 500/s of 800/s offered",
        lambda told: within(told.get("rates", "answered"), 450, 530) and within(told.get("rates", "offered"), 799, 801),
    ),
    Case(
        "a rate beside some slow answers",
        "1 of 10 takes 2 s",
        ("--rate", "100/s", "--duration", "4s", "--require", "rate>=99/s", "--require", "p50<100ms", *PATIENT),
        "0",
        lambda told: told.code == 0 and within(told.get("rates", "successful"), 99, 101),
    ),
    Case(
        "a rate just above what a server takes",
        "500/s",
        ("--rate", "515/s", "--duration", "4s", "--require", "rate>=508/s", *PATIENT),
        "1; answered 500/s",
        lambda told: told.code == 1 and within(told.get("rates", "answered"), 490, 505),
    ),
    Case(
        "a server that tires",
        "1000/s, then 200/s",
        ("--rate", "400/s", "--duration", "4s", "--require", "rate>=380/s", *PATIENT),
        "1; answered 267/s",
        lambda told: told.code == 1 and within(told.get("rates", "answered"), 255, 280),
    ),
    Case(
        "3 of 10 take 2 s, 40 places",
        "3 of 10 take 2 s",
        ("--rate", "100/s", "--duration", "4s", "--max-in-flight", "40", "--require", "p50<100ms", *PATIENT),
        "3, the generator was the limit",
        lambda told: told.code == 3 and "THE GENERATOR AND NOT THE SERVICE WAS THE LIMIT" in told.said,
    ),
    Case(
        "away for 1.5 s, 50 places",
        "away for 1.5 s",
        ("--rate", "200/s", "--duration", "4s", "--max-in-flight", "50", "--require", "p99<100ms", *PATIENT),
        "1, and not 3: the places are enough while it answers",
        lambda told: told.code == 1 and within(told.get("latency_ms", "p99"), 1350, 1600),
    ),
    Case(
        "a closed model of slow answers",
        "constant 2 s",
        ("--closed", "--concurrency", "10", "--duration", "5s", *PATIENT),
        "0; answered 5/s",
        lambda told: told.code == 0 and within(told.get("rates", "answered"), 4.8, 5.1),
    ),
    Case(
        "a closed model",
        "stall",
        ("--closed", "--concurrency", "5", "--duration", "2s", *PATIENT),
        "0; says what it hides, and the command",
        lambda told: told.code == 0 and bool(re.search(r"coordinated omission\); to see it: .* --rate ", told.said)),
    ),
    Case(
        "--abort-on 'failed>20%'",
        "failing",
        ("--rate", "100/s", "--duration", "60s", "--abort-on", "failed>20%", *PATIENT),
        "1 within 6 s",
        lambda told: told.code == 1 and told.took_s < 6 and told.figures["aborted"] is not None,
    ),
    Case(
        "--abort-on, 2 processes",
        "failing",
        ("--rate", "100/s", "--duration", "60s", "--abort-on", "failed>20%", *PATIENT),
        "1 within 7 s",
        lambda told: told.code == 1 and told.took_s < 7 and told.figures["aborted"] is not None,
        {"ways": WAYS["wire, 2 processes"]},
    ),
    *(
        Case(
            f"--abort-on a rate beside slow answers, {way}",
            "constant 2 s",
            ("--rate", "100/s", "--duration", "6s", "--abort-on", "rate<80/s", *PATIENT),
            "0; nothing is aborted",
            lambda told: told.code == 0 and told.figures["aborted"] is None,
            {"ways": WAYS[way]},
        )
        for way in ("wire", "wire, 2 processes")
    ),
    Case(
        "--abort-on a rate of a server that answers nothing",
        "frozen",
        ("--rate", "100/s", "--duration", "60s", "--abort-on", "rate<50/s", "--timeout", "90s", *PATIENT),
        "1 within 14 s",
        lambda told: told.code == 1 and told.took_s < 14,
    ),
    Case(
        "--warmup 2s at a cold server",
        "cold",
        ("--rate", "100/s", "--duration", "2s", "--warmup", "2s", "--require", "p90<100ms", *PATIENT),
        "0; 200 + 200 requests in the log",
        lambda told: told.code == 0 and len(told.log) == 400 == int(told.get("requests") + told.get("warmup_requests")),
    ),
    Case(
        "--arrivals poisson",
        "constant",
        ("--rate", "200/s", "--duration", "3s", "--arrivals", "poisson", *PATIENT),
        "600 requests; gaps vary as much as their mean",
        lambda told: len(told.log) == 600 and within(variation([line["intended_s"] for line in told.lines]), 0.8, 1.2),
    ),
    Case(
        "--compare with a run that was quicker",
        "constant 20 ms",
        ("--rate", "200/s", "--duration", "3s", "--compare", "old.json", "--max-regression", "10%", *PATIENT),
        "1, p50 WORSE",
        lambda told: told.code == 1 and "p50: WORSE by more than 10%" in told.said,
        {"before": ("constant", "--rate", "200/s", "--duration", "3s", *PATIENT)},
    ),
)


def variation(times_s: Sequence[float]) -> float:
    """Return the variation of gaps as a share of their mean."""
    ordered = sorted(times_s)
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    mean = sum(gaps) / len(gaps)
    return math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean


def give_verdicts(cases: Sequence[Case], way: str) -> list[str]:
    """Print the second table; return what does not hold."""
    rows, wrong = [], []
    for case in cases:
        if "--find-limit" in case.args and "--processes" in WAYS[way]:
            continue  # a search runs in one process
        told = run(case.shape, *case.args, **{"ways": WAYS[way], **case.how})
        holds = case.holds(told)
        last = told.said.strip().splitlines()[-1] if told.said.strip() else ""
        figures = {
            "limit": told.get("limit"),
            "p50 ms": told.get("latency_ms", "p50"),
            "successful/s": told.get("rates", "successful"),
            "unsent": told.get("unsent"),
        }
        shown = ", ".join(f"{name} {value:,.6g}" for name, value in figures.items() if value and not math.isnan(value))
        rows.append([case.name, str(told.code), shown, case.right, "yes" if holds else "NO"])
        if not holds:
            wrong.append(f"{case.name}: exit {told.code} after {told.took_s:.1f} s, {last}")
    print(table(["case", "exit", "told", "right is", "so it is"], rows), flush=True)
    return wrong


def ask_peers(seconds: int) -> None:
    """Print what hey and wrk report about a server that pauses, and one that is slow for one request in a hundred."""
    rows = []
    for shape in ("stall", "1 % of 1 s"):
        for name, make in PEERS.items():
            if shutil.which(name) is None:
                continue
            with exact_server(shape) as (url, end):
                out = subprocess.run(make(url, seconds), capture_output=True, text=True, check=True).stdout
                log = end()
            busy = [(each.answered - each.arrived) * 1e3 for each in log if each.answered is not None]
            found = re.findall(r"(?:(\d+)%%? in ([\d.]+) secs|^ +(\d+)% +([\d.]+)(us|ms|s))", out, re.MULTILINE)
            told = ", ".join(" ".join(filter(None, each)) for each in found if {"50", "90", "99"} & set(each))
            rows.append([f"{name}: {shape}", str(len(log)), ms(percentile(sorted(busy), 99)), told])
        told_ = run(shape, "--rate", "200/s", "--duration", f"{seconds}s", *PATIENT)
        truth_ms, lines_ms = true_latencies_ms(told_), told_latencies_ms(told_)
        figures = ", ".join(f"p{percent} {ms(percentile(lines_ms, percent))} ms" for percent in (50, 90, 99))
        rows.append([f"bulkstop: {shape}", str(len(told_.log)), ms(percentile(truth_ms, 99)), figures])
    print(table(["who: server", "requests", "true p99 ms, by the log", "what it says"], rows))


PEERS: dict[str, Callable[[str, int], list[str]]] = {
    "hey": lambda url, seconds: ["hey", "-z", f"{seconds}s", "-c", "10", "-q", "20", "-m", "POST", f"{url}/x/cd-1"],
    "wrk": lambda url, seconds: ["wrk", "-t", "1", "-c", "10", "-d", f"{seconds}s", "--latency", f"{url}/x/cd-1"],
}


def main() -> None:
    """Run the requested comparisons; a short run is judged by its counts alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--only", choices=("figures", "verdicts", "peers"))
    parser.add_argument("--case", default="", help="only verdicts whose names contain this")
    parser.add_argument("--way", choices=WAYS, default="wire", help="the transport of the verdicts")
    parser.add_argument("--seconds", type=int, default=4)
    args = parser.parse_args()
    wrong = list[str]()
    if args.smoke:
        wrong += [each for each in compare_figures("1s", FIGURES[:1], list(WAYS)) if "lines" in each]
    else:
        if args.only in (None, "figures"):
            wrong += compare_figures(f"{args.seconds}s", FIGURES, list(WAYS))
        if args.only in (None, "verdicts"):
            wrong += give_verdicts([case for case in VERDICTS if args.case in case.name], args.way)
        if args.only in (None, "peers"):
            ask_peers(args.seconds)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
