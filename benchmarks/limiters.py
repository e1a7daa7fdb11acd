"""How near a stop comes to the fastest client there can be, whatever way the service counts its calls.

    python benchmarks/limiters.py                      # all parts, as a table each: about ten minutes
    python benchmarks/limiters.py --only limits --phases 2 --limiter "GCRA, burst 1/4"
    python benchmarks/limiters.py --smoke              # a short run that only shows that it works

Parts: `limits` (each limiter of limiter_models.py behind a socket), `gateways` (nginx and HAProxy), `answers` (other
ways to refuse), `second` (somebody else takes a third), `halves` (the limit halves and comes back), `outage` (one of
three backends is broken). All figures are computed from what the server has logged. Most of the time a run waits, so
many run at once; the lab says how late it was meanwhile.
"""

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import aiohttp
from limiter_gateways import SHAPES, Gateways, gateways, list_missing
from limiter_lab import Call, Log, Rules, get_lateness_ms, get_log, lab, put_rules
from limiter_models import LIMITERS, find_fastest_s
from tables import percentile, table

from bulkstop.model import Limit

STREAM = "st-5c8e21d4"
POLL_S = 0.05
MOST_TIMES = 8
"""A run that takes so many times as long as the quota asks for is cut off."""
LATE_MS = 20.0
"""The machine kept up if the lab's timers were not later than this in 99 of 100 cases."""

MOST_TIME, MOST_TIME_LOG, MOST_REFUSED = 1.10, 1 / 0.98, 0.03
LEAST_OF_REST, MOST_REFUSED_BESIDE, LEAST_OF_HALVED = 0.90, 0.05, 0.85
OTHER_SHARE, PHASE_WINDOWS = 1 / 3, 10
MOST_TIME_BROKEN = 1.1

DEFAULT, BURST, EVEN = "bulkstop", "bulkstop --pace burst", "bulkstop --pace even"
FLAGS = {DEFAULT: (), BURST: ("--pace", "burst"), EVEN: ("--pace", "even")}

REFUSALS = {"429, Retry-After": (429, True), "503": (503, False), "503, Retry-After": (503, True)}
REFUSING = ("fixed window", "sliding counter", "GCRA, burst 1/10", "GCRA, burst 1/4")


@dataclass(frozen=True, slots=True)
class Size:
    """A list of so many campaigns of one account, under a quota."""

    campaigns: int
    limit: Limit

    @property
    def most_s(self) -> float:
        """Return the seconds that a run of it may take."""
        return MOST_TIMES * self.campaigns / self.limit.calls * self.limit.window_s

    def __str__(self) -> str:
        """Write it as it is given."""
        return f"{self.campaigns}:{self.limit}"


@dataclass(frozen=True, slots=True)
class Case:
    """What is run once: a client, and the service that it meets (one of the lab's, if there are rules)."""

    part: str
    service: str
    client: str
    size: Size
    phase: float = 0.0
    rules: Rules | None = None
    ends_after_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a case: the calls that the server has logged, and the outcomes that the client tells."""

    case: Case
    log: Log
    outcomes: Counter[str]
    primed_s: float = 0.0
    """How long the account's first window had run when the first call came."""

    @property
    def took_s(self) -> float:
        """Return the seconds until the last call was let through."""
        return max((call.at_s for call in self.log.calls if call.status == 200), default=math.nan)

    @property
    def is_cut_off(self) -> bool:
        """Tell whether the list was too long for the time."""
        return self.let_through < self.case.size.campaigns

    @property
    def time(self) -> float:
        """Return the time beside the fastest client's; of a run that was cut off, the time it had."""
        size = self.case.size
        if self.case.rules is not None:
            limiter = self.case.rules.make_limiter()
        else:
            limiter = SHAPES[self.case.service].make_model(size.limit, 0.0)
        if self.primed_s:
            limiter.call(0.0)
        took_s = self.case.size.most_s if self.is_cut_off else self.took_s
        return took_s / find_fastest_s(limiter, size.limit, size.campaigns, self.primed_s)

    @property
    def refused(self) -> float:
        """Return the share of the calls that were refused."""
        calls = self.log.calls
        return sum(call.status != 200 for call in calls) / len(calls) if calls else math.nan

    @property
    def most(self) -> int:
        """Return the most calls in any rolling window, refused ones as well."""
        return count_most([call.at_s for call in self.log.calls], self.case.size.limit.window_s)

    @property
    def unfinished(self) -> Counter[str]:
        """Return the outcomes that are none of a campaign at rest."""
        return Counter({outcome: n for outcome, n in self.outcomes.items() if outcome != "stopped"})

    @property
    def let_through(self) -> int:
        """Return how many calls were let through."""
        return sum(call.status == 200 for call in self.log.calls)

    @property
    def other_refused(self) -> float:
        """Return the share of the second client's calls that were refused."""
        return sum(not ok for _, ok in self.log.others) / max(1, len(self.log.others))


def count_most(times_s: Sequence[float], window_s: float) -> int:
    """Return the most of some times, which are in order, that lie in a window."""
    most = first = 0
    for last, at_s in enumerate(times_s):
        while times_s[first] <= at_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


# --- the clients ----------------------------------------------------------------------------------------------------

Post = Callable[[int], Awaitable[int]]
"""Asks for the campaign of this number to be stopped, and returns the status."""


async def call_with_delay(post: Post, size: Size) -> None:
    """Wait the same time after each answer; the delay is that of the limit."""
    for number in range(size.campaigns):
        status = 0
        while status != 200:
            status = await post(number)
            await asyncio.sleep(size.limit.window_s / size.limit.calls)


async def call_by_bucket(post: Post, size: Size) -> None:
    """Fill a bucket of the limit's size at the limit's rate; a refused call is tried again with the next token."""
    loop, left = asyncio.get_running_loop(), list(range(size.campaigns))
    burst, interval_s = size.limit.calls, size.limit.window_s / size.limit.calls
    empty_at = loop.time() - burst * interval_s

    async def take_token() -> None:
        nonlocal empty_at
        empty_at = max(empty_at, loop.time() - burst * interval_s) + interval_s
        await asyncio.sleep(max(0.0, empty_at - loop.time()))

    async def work() -> None:
        while left:
            number = left.pop()
            await take_token()
            if await post(number) != 200:
                left.append(number)

    await asyncio.gather(*(work() for _ in range(burst)))


PEERS = {"fixed delay": call_with_delay, "token bucket": call_by_bucket}
CLIENTS = (*FLAGS, *PEERS)


class Runner:
    """Runs cases at the lab and the gateways."""

    def __init__(self, url: str, gates: Gateways, folder: Path, args: argparse.Namespace) -> None:
        self._url, self._gates, self._folder = url, gates, folder
        self._store = args.quota_store
        self._jobs = asyncio.Semaphore(args.jobs)
        self._starting = asyncio.Semaphore(os.cpu_count() or 1)
        self._accounts = 0

    async def run(self, cases: Sequence[Case]) -> list[Run]:
        """Run all cases, so many at a time, and tell how far it is."""
        runs = []
        for done, run in enumerate(asyncio.as_completed([self._run(case) for case in cases]), 1):
            runs.append(await run)
            if done % max(1, len(cases) // 10) == 0:
                print(f"{done} of {len(cases)} runs", file=sys.stderr, flush=True)
        return runs

    async def _run(self, case: Case) -> Run:
        async with self._jobs:
            self._accounts += 1
            account = f"lab-{self._accounts}"
            async with self._starting:  # a process that starts takes a core; one that runs waits
                host = await self._open(case, account)
                outcomes = asyncio.create_task(self._stop(case, host, account))
                began = asyncio.create_task(self._await_call(case, account))
                await asyncio.wait([outcomes, began], return_when=asyncio.FIRST_COMPLETED)
                began.cancel()
            return await asyncio.to_thread(self._read, case, account, await outcomes)

    async def _open(self, case: Case, account: str) -> str:
        if case.rules is not None:
            await asyncio.to_thread(put_rules, self._url, account, case.rules)
            return self._url
        limit = case.size.limit
        if self._primes(case):
            await asyncio.to_thread(self._gates.prime, case.service, limit, account)
            await asyncio.sleep(case.phase * limit.window_s)
        return self._gates.url(case.service, limit)

    async def _await_call(self, case: Case, account: str) -> None:
        while not await asyncio.to_thread(self._has_called, case, account):  # noqa: ASYNC110 - another process calls
            await asyncio.sleep(POLL_S)

    def _has_called(self, case: Case, account: str) -> bool:
        return bool(self._read(case, account, Counter()).log.calls)

    def _primes(self, case: Case) -> bool:
        return case.rules is None and SHAPES[case.service].keeps_phase

    def _read(self, case: Case, account: str, outcomes: Counter[str]) -> Run:
        log = get_log(self._url, account) if case.rules else Log(self._gates.read_calls(case.service, account))
        calls, primed_s = log.calls, 0.0
        if self._primes(case):
            calls = calls[1:]
            primed_s = calls[0].at_s if calls else 0.0
        calls = [Call(at_s - primed_s, status) for at_s, status in calls if at_s - primed_s < case.ends_after_s]
        return Run(case, Log(calls, log.others), outcomes, primed_s)

    async def _stop(self, case: Case, host: str, account: str) -> Counter[str]:
        most_s = case.size.most_s if case.ends_after_s == math.inf else case.ends_after_s
        if case.client in FLAGS:
            return await self._run_bulkstop(case, host, account, most_s)
        target = f"{host}/api/v2/public/{STREAM}/campaign/trigger/cd-{{}}?accountId={account}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def post(number: int) -> int:
                async with session.post(target.format(number), json={}) as response:
                    await response.read()
                    return response.status

            with suppress(TimeoutError):
                await asyncio.wait_for(PEERS[case.client](post, case.size), most_s)
        return Counter()

    async def _run_bulkstop(self, case: Case, host: str, account: str, most_s: float) -> Counter[str]:
        path, results = self._folder / f"{account}.txt", self._folder / f"{account}.results.jsonl"
        path.write_text("".join(f"cd-{number:x}\n" for number in range(case.size.campaigns)))
        ids = ["--type", "voice", "--account-id", account, "--stream-id", STREAM, "--host", host]
        store = str(self._folder / f"{account}.sqlite") if self._store == "sqlite" else self._store
        quota = ["--quota", str(case.size.limit), "--quota-store", store]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "bulkstop", "stop", str(path), *ids, *quota, *FLAGS[case.client]],
            *["--yes", "--quiet", "-o", str(results)],
            cwd=self._folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("BULKSTOP_")}
            | ({"XBURST": "1"} if case.client != DEFAULT else {})
            | {"BULKSTOP_TOKEN": "x.y.z", "XDG_STATE_HOME": str(self._folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60) as timeout:
                await self._await_call(case, account)
                timeout.reschedule(asyncio.get_running_loop().time() + most_s)
                await process.wait()
        except TimeoutError:
            process.terminate()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        if not results.exists():
            assert process.stderr is not None
            raise SystemExit((await process.stderr.read()).decode())
        return Counter(json.loads(line)["outcome"] for line in results.read_text().splitlines())


# --- the parts ------------------------------------------------------------------------------------------------------


def spread_phases(phases: int) -> list[float]:
    """Return so many phases of a window."""
    return [number / phases for number in range(phases)]


def rules_of(limiter: str, size: Size, args: argparse.Namespace) -> Rules:
    """Return how the lab counts for a size."""
    return Rules(limiter, size.limit.calls, size.limit.window_s, latency_s=args.latency)


def list_cases(args: argparse.Namespace) -> list[Case]:
    """Return what is to be run, the longest first."""
    return [case for part in reversed(PARTS) if part in args.only for case in PARTS[part].list_cases(args)]


def vary(case: Case, clients: Iterable[str], args: argparse.Namespace) -> list[Case]:
    """Return a case for each client and phase; those beside the default have fewer phases."""
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
    """Return each program that is installed with each client."""
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
    """Return each limiter with a list that does not end in the time."""
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
    """Return each limiter with somebody else, whose calls come evenly or at random."""
    return [
        *list_timed(args, "second", ", evenly", lambda rules: replace(rules, other_share=OTHER_SHARE)),
        *list_timed(
            args, "second", ", at random", lambda rules: replace(rules, other_share=OTHER_SHARE, other_is_random=True)
        ),
    ]


def list_halves(args: argparse.Namespace) -> list[Case]:
    """Return each limiter with a limit that halves and comes back."""
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
    """Write whether targets were reached, and which were not."""
    missed = ", ".join(misses)
    return f"NOT REACHED: {missed}" if missed else "reached"


def judge_limits(runs: Sequence[Run]) -> list[str]:
    """Return what is beyond the targets of the table of limits."""
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
    """Write which campaigns did not end stopped."""
    counts: Counter[str] = sum((run.unfinished for run in runs), Counter())
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()) or "-"


LIMITS_HEAD = ("service", "client", "runs", "time", "highest", "refused", "most in a window", "not stopped", "verdict")


def write_limits(runs: Sequence[Run]) -> list[str]:
    """Write a row of the table of limits."""
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
    """Return the calls let through beside those of the stated limit that this share leaves."""
    windows = run.case.ends_after_s / run.case.size.limit.window_s
    return run.let_through / (windows * run.case.size.limit.calls * share)


def write_second(runs: Sequence[Run]) -> list[str]:
    """Write a row of the table of two clients; with a burst of 1 there is no target."""
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
    """Write a row of the table of a limit that halves: of three phases two are whole."""
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
    """Write a row of the table of a broken backend."""
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
    """One part: what is run, and the table of it."""

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
    """Write the table of each part and size, whose rows are in the order of the cases."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Run]]] = defaultdict(dict)
    by_case = {id(run.case): run for run in runs}
    for name in PARTS:
        for case in order:
            if case.part == name:
                rows = groups[name, str(case.size)]
                rows.setdefault((case.service, case.client), []).append(by_case[id(case)])
    return "\n\n".join(
        f"{PARTS[name].title}, {size}:\n\n" + table(PARTS[name].head, map(PARTS[name].write_row, rows.values()))
        for (name, size), rows in groups.items()
    )


def write_outage_verdict(runs: Sequence[Run]) -> str:
    """Write how long a run with a broken backend takes beside one with `--pace burst`."""
    took = {
        client: [run.took_s for run in runs if run.case.part == "outage" and run.case.client == client]
        for client in (DEFAULT, BURST)
    }
    if not all(took.values()):
        return ""
    ratio = mean(took[DEFAULT]) / mean(took[BURST])
    verdict = tell_verdict(["time"] if ratio > MOST_TIME_BROKEN else [])
    return f"\n\nA broken backend, beside --pace burst: {ratio:.2f}, {verdict}"


def write_lateness(late_ms: Sequence[float]) -> str:
    """Write how late the lab was, and whether the figures can be relied on."""
    usual_ms = percentile(late_ms, 99)
    told = "the machine kept up" if usual_ms <= LATE_MS else "THE MACHINE DID NOT KEEP UP: take fewer --jobs"
    return f"The lab's timers were late by {usual_ms:.1f} ms (p99), {late_ms[-1]:.0f} ms at most: {told}"


# --- the command ----------------------------------------------------------------------------------------------------


def parse_size(text: str) -> Size:
    """Read CAMPAIGNS:CALLS/SECONDSs."""
    campaigns, _, limit = text.partition(":")
    calls, _, window = limit.partition("/")
    return Size(int(campaigns), Limit(int(calls), float(window.removesuffix("s"))))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
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
        args.size, args.windows, args.phases, args.phases_beside = [parse_size("12:4/0.5s")], 3, 2, 1
        args.limiter, args.gateway = ["sliding counter", "GCRA, burst 1/2"], [*SHAPES][3:5] + [*SHAPES][-1:]
    args.size = args.size or [parse_size("120:20/5s"), parse_size("480:60/5s")]
    every: dict[str, Iterable[str]] = {"only": PARTS, "limiter": LIMITERS, "gateway": SHAPES, "client": CLIENTS}
    vars(args).update({name: vars(args)[name] or [*values] for name, values in every.items()})
    return args


async def measure(args: argparse.Namespace) -> None:
    """Run the cases and print the tables; SIGTERM ends the servers as well."""
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
        runs = await Runner(url, gates, Path(folder), args).run(cases)
        late_ms = get_lateness_ms(url)
    if args.runs:
        args.runs.write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))
    print(write_tables(runs, cases) + write_outage_verdict(runs))
    print(f"\n{write_lateness(late_ms)}")


if __name__ == "__main__":
    asyncio.run(measure(parse_args()))
