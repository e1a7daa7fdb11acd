"""Compares a stop with the fastest possible client, for many ways in which services count calls.

    python benchmarks/limiters.py                      # all parts, as a table each: about ten minutes
    python benchmarks/limiters.py --only limits --phases 2 --limiter "GCRA, burst 1/4"
    python benchmarks/limiters.py --smoke              # a short run that only shows that it works

Parts: `limits` (each limiter of limiter_models.py on a socket), `gateways` (nginx and HAProxy), `answers` (other ways
to refuse), `second` (another client takes a third), `halves` (the limit halves and recovers), `outage` (one of three
backends fails). All figures are computed from the server's log. A run mostly waits, so many run at once; the lab
reports its lag meanwhile.
"""

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from limiter_gateways import SHAPES, gateways, list_missing
from limiter_lab import Rules, get_lateness_ms, lab
from limiter_models import LIMITERS
from limiter_runs import BURST, CLIENTS, DEFAULT, Case, Run, Runner, Size
from tables import percentile, table

from bulkstop.model import Limit

LATE_MS = 20.0
"""The machine kept up if the lab's timers were at most this late in 99 of 100 cases."""

MOST_TIME, MOST_TIME_LOG, MOST_REFUSED = 1.10, 1 / 0.98, 0.03
LEAST_OF_REST, MOST_REFUSED_BESIDE, LEAST_OF_HALVED = 0.90, 0.05, 0.85
OTHER_SHARE = 1 / 3
MOST_TIME_BROKEN = 1.1

REFUSALS = {"429, Retry-After": (429, True), "503": (503, False), "503, Retry-After": (503, True)}
REFUSING = ("fixed window", "sliding counter", "GCRA, burst 1/10", "GCRA, burst 1/4")


# --- the parts ------------------------------------------------------------------------------------------------------


def spread_phases(phases: int) -> list[float]:
    """Return evenly distributed phases of a window."""
    return [number / phases for number in range(phases)]


def rules_of(limiter: str, size: Size, args: argparse.Namespace) -> Rules:
    """Return the rules of the lab for a size."""
    return Rules(limiter, size.limit.calls, size.limit.window_s, latency_s=args.latency)


def list_cases(args: argparse.Namespace) -> list[Case]:
    """Return the cases to run, in the order of the tables."""
    return [case for part in PARTS if part in args.only for case in PARTS[part].list_cases(args)]


def guess_length(case: Case) -> tuple[bool, bool, int]:
    """Return a sort key that is smaller for a case that may take longer."""
    return case.ends_after_s == math.inf, case.client != BURST, -case.size.campaigns


def vary(case: Case, clients: Iterable[str], args: argparse.Namespace) -> list[Case]:
    """Return a case for each client and phase; clients besides the default have fewer phases."""
    return [
        replace(case, client=client, phase=phase, rules=case.rules and replace(case.rules, phase=phase))
        for client in clients
        if client in args.client
        for phase in spread_phases(args.phases if client == DEFAULT else args.phases_beside)
    ]


def list_limits(args: argparse.Namespace) -> list[Case]:
    """Return each limiter with each client."""
    return [
        case
        for size in args.size
        for limiter in args.limiter
        for case in vary(Case("limits", limiter, "", size, rules=rules_of(limiter, size, args)), CLIENTS, args)
    ]


def list_gateways(args: argparse.Namespace) -> list[Case]:
    """Return each installed gateway with each client."""
    missing = list_missing()
    return [
        case
        for size in args.size
        for name, shape in SHAPES.items()
        if shape.program not in missing and name in args.gateway
        for case in vary(Case("gateways", name, "", size), CLIENTS, args)
    ]


def list_answers(args: argparse.Namespace) -> list[Case]:
    """Return some limiters that refuse in other ways."""
    size = args.size[0]
    return [
        case
        for limiter in REFUSING
        if limiter in args.limiter
        for name, (status, retry_after) in REFUSALS.items()
        for rules in [replace(rules_of(limiter, size, args), status=status, retry_after=retry_after)]
        for case in vary(Case("answers", f"{limiter}: {name}", "", size, rules=rules), (DEFAULT, BURST), args)
    ]


def list_timed(args: argparse.Namespace, part: str, label: str, change: Callable[[Rules], Rules]) -> list[Case]:
    """Return each limiter with a list that is too long for the time."""
    limit = args.size[0].limit
    size = Size(limit.calls * (args.windows + 1), limit)
    case = Case(part, "", DEFAULT, size, ends_after_s=args.windows * limit.window_s)
    return [
        replace(case, service=limiter + label, phase=phase, rules=replace(rules, phase=phase))
        for limiter in args.limiter
        for rules in [change(rules_of(limiter, size, args))]
        for phase in spread_phases(args.phases_beside)
    ]


def list_second(args: argparse.Namespace) -> list[Case]:
    """Return each limiter with a second client, whose calls come evenly or at random."""
    return [
        *list_timed(args, "second", ", evenly", lambda rules: replace(rules, other_share=OTHER_SHARE)),
        *list_timed(
            args, "second", ", at random", lambda rules: replace(rules, other_share=OTHER_SHARE, other_is_random=True)
        ),
    ]


def list_halves(args: argparse.Namespace) -> list[Case]:
    """Return each limiter with a limit that halves and recovers."""
    every_s = args.windows / 3 * args.size[0].limit.window_s
    return list_timed(args, "halves", "", lambda rules: replace(rules, halves_every_s=every_s))


def list_outage(args: argparse.Namespace) -> list[Case]:
    """Return a service with a broken backend, within its limit."""
    size = args.size[0]
    rules = replace(rules_of("sliding log", size, args), breaks_backend=True)
    return vary(Case("outage", "one of three backends answers 503", "", size, rules=rules), (DEFAULT, BURST), args)


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    return statistics.fmean(values)


def tell_verdict(misses: Iterable[str]) -> str:
    """Return whether the targets were reached, and those that were not."""
    missed = ", ".join(misses)
    return f"NOT REACHED: {missed}" if missed else "reached"


def judge_limits(runs: Sequence[Run]) -> list[str]:
    """Return the missed targets of the table of limits."""
    first = runs[0].case
    is_log = first.service.startswith("sliding log")
    checks = {
        "time": mean(run.time for run in runs) > (MOST_TIME_LOG if is_log else MOST_TIME),
        "refused": mean(run.refused for run in runs) > MOST_REFUSED,
        "over": max(run.most for run in runs) > first.size.limit.calls,
        "outcomes": any(run.unfinished or run.outcomes.total() != first.size.campaigns for run in runs),
    }
    return [name for name, is_missed in checks.items() if is_missed]


def write_outcomes(runs: Iterable[Run]) -> str:
    """Return the campaigns that did not end stopped, by outcome."""
    counts: Counter[str] = sum((run.unfinished for run in runs), Counter())
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()) or "-"


LIMITS_HEAD = ("service", "client", "runs", "time", "highest", "refused", "most in a window", "not stopped", "verdict")


def write_limits(runs: Sequence[Run]) -> list[str]:
    """Return a row of the table of limits."""
    first = runs[0].case
    return [
        first.service,
        first.client,
        str(len(runs)),
        "over " * any(run.is_cut_off for run in runs) + f"{mean(run.time for run in runs):.2f}",
        f"{max(run.time for run in runs):.2f}",
        f"{mean(run.refused for run in runs):.1%}",
        f"{max(run.most for run in runs)} of {first.size.limit.calls}",
        write_outcomes(runs),
        tell_verdict(judge_limits(runs)) if first.client == DEFAULT else "",
    ]


SECOND_HEAD = ("service, second client", "runs", "used of the rest", "lowest", "refused", "other's refused", "verdict")


def find_used(run: Run, share: float) -> float:
    """Return the admitted calls relative to this share of the documented limit."""
    windows = run.case.ends_after_s / run.case.size.limit.window_s
    return run.let_through / (windows * run.case.size.limit.calls * share)


def write_second(runs: Sequence[Run]) -> list[str]:
    """Return a row of the table of two clients; a burst of 1 has no target."""
    used = [find_used(run, 1 - OTHER_SHARE) for run in runs]
    refused = mean(run.refused for run in runs)
    checks = {"used": mean(used) < LEAST_OF_REST, "refused": refused > MOST_REFUSED_BESIDE}
    verdict = tell_verdict(name for name, is_missed in checks.items() if is_missed)
    return [
        runs[0].case.service,
        str(len(runs)),
        f"{mean(used):.3f}",
        f"{min(used):.3f}",
        f"{refused:.1%}",
        f"{mean(run.other_refused for run in runs):.1%}",
        "" if "burst 1," in runs[0].case.service else verdict,
    ]


HALVES_HEAD = ("service", "runs", "used of what was permitted", "lowest", "refused", "verdict")


def write_halves(runs: Sequence[Run]) -> list[str]:
    """Return a row of the table of a limit that halves; of three phases two are complete."""
    used = [find_used(run, 2.5 / 3) for run in runs]
    return [
        runs[0].case.service,
        str(len(runs)),
        f"{mean(used):.3f}",
        f"{min(used):.3f}",
        f"{mean(run.refused for run in runs):.1%}",
        tell_verdict(["used"] if mean(used) < LEAST_OF_HALVED else []),
    ]


OUTAGE_HEAD = ("service", "client", "runs", "seconds", "calls", "not stopped")


def write_outage(runs: Sequence[Run]) -> list[str]:
    """Return a row of the table of a broken backend."""
    return [
        runs[0].case.service,
        runs[0].case.client,
        str(len(runs)),
        f"{mean(run.took_s for run in runs):.1f}",
        f"{mean(len(run.log.calls) for run in runs):.1f}",
        write_outcomes(runs),
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its cases, and its table."""

    title: str
    list_cases: Callable[[argparse.Namespace], list[Case]]
    head: Sequence[str]
    write_row: Callable[[Sequence[Run]], list[str]]


PARTS = {
    "limits": Part("Limiters of the lab", list_limits, LIMITS_HEAD, write_limits),
    "gateways": Part("Real gateways", list_gateways, LIMITS_HEAD, write_limits),
    "answers": Part("Other refusals", list_answers, LIMITS_HEAD, write_limits),
    "second": Part("A second client asks for a third of the rate", list_second, SECOND_HEAD, write_second),
    "halves": Part("The limit halves for a third of the time", list_halves, HALVES_HEAD, write_halves),
    "outage": Part("A fault of the service, not a limit", list_outage, OUTAGE_HEAD, write_outage),
}


def write_tables(runs: Sequence[Run], order: Sequence[Case]) -> str:
    """Return the table of each part and size, with rows in the order of the cases."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Run]]] = defaultdict(dict)
    by_case = {id(run.case): run for run in runs}
    for case in order:
        rows = groups[case.part, str(case.size)]
        rows.setdefault((case.service, case.client), []).append(by_case[id(case)])
    return "\n\n".join(
        f"{PARTS[name].title}, {size}:\n\n" + table(PARTS[name].head, map(PARTS[name].write_row, rows.values()))
        for (name, size), rows in groups.items()
    )


def write_outage_verdict(runs: Sequence[Run]) -> str:
    """Return the duration of a run with a broken backend relative to one with `--pace burst`."""
    took = {
        client: [run.took_s for run in runs if run.case.part == "outage" and run.case.client == client]
        for client in (DEFAULT, BURST)
    }
    if not all(took.values()):
        return ""
    ratio = mean(took[DEFAULT]) / mean(took[BURST])
    verdict = tell_verdict(["time"] if ratio > MOST_TIME_BROKEN else [])
    return f"\n\nA broken backend, beside --pace burst: {ratio:.2f}, {verdict}"


def write_run(run: Run) -> str:
    """Return a run as a line of JSON."""
    told = {"case": asdict(run.case), "log": asdict(run.log), "outcomes": dict(run.outcomes), "primed_s": run.primed_s}
    return json.dumps(told) + "\n"


def write_lateness(late_ms: Sequence[float]) -> str:
    """Return the lag of the lab, and whether the figures are reliable."""
    usual_ms = percentile(late_ms, 99)
    told = "the machine kept up" if usual_ms <= LATE_MS else "THE MACHINE DID NOT KEEP UP: take fewer --jobs"
    return f"The lab's timers were late by {usual_ms:.1f} ms (p99), {late_ms[-1]:.0f} ms at most: {told}"


# --- the command ----------------------------------------------------------------------------------------------------


def parse_size(text: str) -> Size:
    """Return a size from CAMPAIGNS:CALLS/SECONDSs."""
    campaigns, _, limit = text.partition(":")
    calls, _, window = limit.partition("/")
    return Size(int(campaigns), Limit(int(calls), float(window.removesuffix("s"))))


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part (repeatable)")
    parser.add_argument("--limiter", action="append", choices=LIMITERS, help="only this limiter (repeatable)")
    parser.add_argument("--gateway", action="append", choices=SHAPES, help="only this gateway (repeatable)")
    parser.add_argument("--client", action="append", choices=CLIENTS, help="only this client (repeatable)")
    parser.add_argument(
        "--size", action="append", type=parse_size, help="a list and its quota (repeatable; 120:20/5s and 480:60/5s)"
    )
    parser.add_argument("--phases", type=int, default=8, help="runs of the default pace, in as many phases (8)")
    parser.add_argument("--phases-beside", type=int, default=2, help="runs of all else (2)")
    parser.add_argument("--windows", type=int, default=30, help="length of `second` and `halves` (30)")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds to an answer of the lab (0.02)")
    parser.add_argument("--quota-store", default="memory", help="memory, sqlite (a file for each run) or redis://…")
    parser.add_argument("--jobs", type=int, default=20 * (os.cpu_count() or 1), help="runs at a time (20 for a core)")
    parser.add_argument("--runs", type=Path, help="write each run with all its calls to this file, a JSON line each")
    parser.add_argument("--smoke", action="store_true", help="a short run")
    args = parser.parse_args()
    if args.smoke:
        args.size, args.windows, args.phases, args.phases_beside = [parse_size("12:4/0.5s")], 3, 1, 1
        args.limiter, args.client = ["sliding counter"], [DEFAULT, BURST, "token bucket"]
        args.gateway = ["nginx burst=5 nodelay, 503", "HAProxy http_req_rate"]
    args.size = args.size or [parse_size("120:20/5s"), parse_size("480:60/5s")]
    every: dict[str, Iterable[str]] = {"only": PARTS, "limiter": LIMITERS, "gateway": SHAPES, "client": CLIENTS}
    vars(args).update({name: vars(args)[name] or [*values] for name, values in every.items()})
    return args


async def measure(args: argparse.Namespace) -> None:
    """Run the cases and print the tables; SIGTERM also ends the servers."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    cases = list_cases(args)
    if "gateways" in args.only:
        for program in list_missing():
            print(f"{program} is not installed: left out")
    with (
        tempfile.TemporaryDirectory() as folder,
        lab() as url,
        gateways([size.limit for size in args.size] if "gateways" in args.only else []) as gates,
    ):
        runs = await Runner(url, gates, Path(folder), args).run(sorted(cases, key=guess_length))
        late_ms = get_lateness_ms(url)
    print(write_tables(runs, cases) + write_outage_verdict(runs))
    print(f"\n{write_lateness(late_ms)}")
    if args.runs:
        args.runs.write_text("".join(map(write_run, runs)))


if __name__ == "__main__":
    asyncio.run(measure(parse_args()))
