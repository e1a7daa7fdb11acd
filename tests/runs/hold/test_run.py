"""A hold in virtual time: what it stops and when, what it leaves alone, what it says, and how it ends."""

import asyncio
import json
import re
import resource
import signal
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bulkstop.cli.hold import options as hold_options
from bulkstop.cli.hold.options import HoldOptions
from bulkstop.engine import tasks
from bulkstop.engine.caller import Caller
from bulkstop.engine.pool import Pool
from bulkstop.engine.shutdown import Shutdown
from bulkstop.kore.exchange import Response
from bulkstop.model import CampaignType, Outcome, Scope
from bulkstop.report.hold import HoldSummary
from bulkstop.report.lists.discovery import Discovery
from bulkstop.report.stop.ledger import Mode
from bulkstop.runs import wiring
from bulkstop.runs.clients import Others
from bulkstop.runs.engine import Engine
from bulkstop.runs.hold.accounts import list_accounts
from bulkstop.runs.hold.backoff import Backoff
from bulkstop.runs.hold.run import LATE_S, Hold, Watch
from bulkstop.runs.hold.sightings import Sightings
from bulkstop.runs.lists import running
from bulkstop.runs.lists.discover import make_filter
from bulkstop.runs.lists.listing import ListFilter
from bulkstop.runs.lists.running import list_target
from bulkstop.runs.review import review_results
from bulkstop.runs.stop import run as run_module
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.settings.finish_by import parse_finish_by
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection, Rule
from tests.runs.scene import AlwaysOpen, get_token, make_settings
from tests.virtual_time import VirtualLoop, run

SCOPE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
LATENCY_S = 0.05
DAY_S = 86_400.0
STOP = re.compile(r"/trigger/([^?]+)\?")


@dataclass
class World(AlwaysOpen):
    """A service whose campaigns start at the times in `starts`, each as often as listed there."""

    starts: list[tuple[float, str]] = field(default_factory=list)
    at_rest: int = 0
    quota: tuple[int, float] = (60, 60.0)
    down: tuple[float, float] = (0.0, 0.0)
    denies: tuple[float, float] = (0.0, 0.0)
    denied: str = ""
    refuses: frozenset[str] = frozenset()
    breaks: frozenset[str] = frozenset()
    on_stop: Callable[[str], object] = lambda campaign_id: None
    calls: list[float] = field(default_factory=list)
    stops: list[tuple[float, str]] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)
    known: dict[str, None] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer a call, after a while."""
        await asyncio.sleep(LATENCY_S)
        now = asyncio.get_running_loop().time()
        self.calls.append(now)
        while self.starts and self.starts[0][0] <= now:
            at, campaign_id = self.starts.pop(0)
            self.running.setdefault(campaign_id, at)
            self.known[campaign_id] = None
        if self.down[0] <= now < self.down[1]:
            return Response(500, b"down", 1.0)
        if self.denies[0] <= now < self.denies[1] and self.denied in target:
            return Response(401, b'{"message":"no"}', 1.0)
        if stop := STOP.search(target):
            return self._stop(stop[1], now)
        return self._list(json.loads(body))

    def most_in_a_window(self) -> int:
        """Return the most calls that came within one window of the quota."""
        return max(
            sum(at <= other < at + self.quota[1] for other in self.calls[i : i + 200])
            for i, at in enumerate(self.calls)
        )

    def _stop(self, campaign_id: str, now: float) -> Response:
        self.stops.append((now, campaign_id))
        self.on_stop(campaign_id)
        if campaign_id in self.breaks:
            return Response(500, b"broken", 1.0)
        if campaign_id in self.refuses:
            return Response(400, b'{"message":"no"}', 1.0)
        if (since := self.running.pop(campaign_id, None)) is not None:
            self.lags.append(now - since)
        return Response(200, b'{"status":"Stopped"}', 1.0)

    def _list(self, asked: dict[str, Any]) -> Response:
        wanted = asked["filters"].get("status")
        rows = [
            {"_id": key, "name": key, "status": "Active"} for key in self.running if not wanted or "Active" in wanted
        ]
        if not wanted or "Stopped" in wanted:
            rows += [{"_id": f"cd-f{number}", "name": "at rest", "status": "Stopped"} for number in range(self.at_rest)]
        page = rows[asked["skip"] : asked["skip"] + asked["limit"]]
        data = {"results": page, "hasMore": asked["skip"] + len(page) < len(rows), "totalResults": len(rows)}
        return Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0)


@dataclass
class Worlds(AlwaysOpen):
    """Services of several accounts, each with its own."""

    by_account: dict[str, World]

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Have the account's own service answer."""
        return await self.by_account[headers["accountid"]].post(target, headers, body, cap)


@dataclass
class Scene:
    """A hold of a world, its files, and what it says."""

    world: World
    folder: Path
    others: dict[str, World] = field(default_factory=dict)
    left_s: Callable[[], float] | None = None
    hours: float = 1.0
    every_s: float = 60.0
    again: int = 3
    most: int = 10_000
    end: Callable[["Scene"], Coroutine[Any, Any, None]] | None = None
    protection: Protection = field(default_factory=Protection)
    said: list[str] = field(default_factory=list)
    hold: Hold | None = None
    shutdown: Shutdown | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The result file."""
        return self.folder / "h.jsonl"

    @property
    def scopes(self) -> list[Scope]:
        """The lists of all accounts."""
        return [SCOPE, *(SCOPE._replace(account_id=account_id) for account_id in self.others)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of its list."""
        return [json.loads(line) for line in self.listed.splitlines()]

    @property
    def listed(self) -> bytes:
        """The rows of the list's file."""
        return Path(f"{self.path}.list.jsonl").read_bytes()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its result lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]


async def hold(scene: Scene, *, resume: bool = False) -> HoldSummary:
    """Hold as the command does."""
    settings = make_settings(
        **{"quota": f"{scene.world.quota[0]}/{scene.world.quota[1]:g}s", "attempts": 1} | scene.options
    )
    loop = asyncio.get_running_loop()
    end_s = loop.time() + scene.hours * 3600
    listed = f"{scene.path}.list.jsonl"
    with (
        RunJournal(str(scene.path), mode=Mode.RESUME if resume else Mode.NEW) as journal,
        Sightings(listed, again=scene.again, backoff=Backoff(scene.every_s, loop.time)) as sightings,
    ):
        sightings.open(is_new=not resume)
        whole = journal.plan_unwritten([listed], settings, sightings.note) if resume else Plan(())
        with whole:
            journal.open(whole, settings, ["bulkstop", "hold"], "run-2" if resume else "run-1")
            shutdown = scene.shutdown = Shutdown(grace_s=10.0)
            transport = Worlds({SCOPE.account_id: scene.world, **scene.others})
            engine = Engine(settings, token=get_token, transport=transport)
            if scene.others:
                engine.call_for(Others())
            async with engine:
                look = partial(look_at, engine, scene.scopes)
                left_s = (lambda: end_s - loop.time()) if scene.hours < 1e6 else (lambda: float("inf"))
                scene.hold = Hold(
                    engine,
                    look,
                    sightings,
                    journal,
                    Watch(every_s=scene.every_s, left_s=scene.left_s or left_s, most=scene.most),
                    list_accounts(scene.scopes),
                    protection=scene.protection,
                    shutdown=shutdown,
                    say=scene.said.append,
                    tell=scene.said.append,
                    run_id="run-2" if resume else "run-1",
                    now=loop.time,
                )
                first = await look(list_accounts(scene.scopes), True)
                task = loop.create_task(scene.end(scene)) if scene.end else None
                try:
                    return await scene.hold.execute(whole, first)
                finally:
                    shutdown.close()
                    if task is not None:
                        task.cancel()


async def look_at(engine: Engine, scopes: Sequence[Scope], account_ids: Collection[str], is_whole: bool) -> Discovery:
    """List what runs."""
    wanted = make_filter() if is_whole else ListFilter((), (), running=True, is_narrow=True)
    return await list_target(engine.parts, wanted, [each for each in scopes if each.account_id in account_ids])


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, HoldSummary]], HoldSummary]:
    """Return what runs a hold in virtual time, by which waits for quota are counted as well."""

    def carry_out(job: Coroutine[Any, Any, HoldSummary]) -> HoldSummary:
        loop = VirtualLoop()
        monkeypatch.setattr(tasks, "CLOCK_AGAIN_S", DAY_S)  # this clock never stands still
        for module in (wiring, run_module, running):
            monkeypatch.setattr(module, "elapsed_s", loop.time)
        for kind in (Pool, Caller):
            monkeypatch.setitem(kind.__init__.__kwdefaults__ or {}, "now", loop.time)
        monkeypatch.setitem(Pool.__init__.__kwdefaults__ or {}, "tick_s", 0.0)
        return run(job, loop=loop)[0]

    return carry_out


Virtual = Callable[[Coroutine[Any, Any, HoldSummary]], HoldSummary]


@pytest.mark.parametrize("hours", [1, pytest.param(24, marks=pytest.mark.full)])
def test_a_day(hours: int, virtual: Virtual, tmp_path: Path) -> None:
    """In a day of new campaigns each is stopped within an interval and the quota, with no call beyond the quota."""
    starts = [(600.0 * n + 7.0, f"cd-{n:x}") for n in range(6 * hours - 1)]
    starts += [(1800.0 * hours, f"cd-b{n:x}") for n in range(80)]  # more than one window holds
    scene = Scene(World(sorted(starts), at_rest=70), tmp_path, hours=hours)
    summary = virtual(hold(scene))
    world = scene.world
    assert (summary.exit_code, summary.verdict[:31]) == (0, "DONE: no matching campaign runs")
    assert len(world.stops) == len(starts) == len(scene.rows) == len(scene.lines)
    assert world.most_in_a_window() <= world.quota[0]
    one_by_one = sorted(world.lags)[:-80]
    assert max(one_by_one) < scene.every_s + 2
    assert max(world.lags) < 2 * (scene.every_s + world.quota[1])
    assert [line["row"]["sighting"] for line in scene.lines] == [row["sighting"] for row in scene.rows]
    assert not review_results(str(scene.path)).flaws


def test_what_comes_back(virtual: Virtual, tmp_path: Path) -> None:
    """A campaign that came back three times is reported and not stopped again; if it runs at the end, exit 1."""
    scene = Scene(World([(600.0 * n, "cd-1") for n in range(5)]), tmp_path)
    summary = virtual(hold(scene))
    assert [row["sighting"] for row in scene.rows] == [1, 2, 3] == [line["row"]["sighting"] for line in scene.lines]
    assert (summary.exit_code, summary.running, summary.left_alone) == (1, ("cd-1",), ("cd-1",))
    assert sum("so it is not stopped again" in said for said in scene.said) == 1


def test_a_list_that_cannot_be_read(virtual: Virtual, tmp_path: Path) -> None:
    """While no list can be read nothing is stopped, with one message; it continues when a list can be read."""
    scene = Scene(World([(1000.0, "cd-1")], down=(500.0, 1500.0)), tmp_path)
    summary = virtual(hold(scene))
    said = [text for text in scene.said if "list c" in text]
    assert said[0].startswith(
        "the list cannot be read completely: voice campaigns of account a1: HTTP 500 (down); nothing"
    )
    assert (len(said), said[1]) == (2, "the list can be read again")
    assert (summary.exit_code, summary.running) == (0, ())
    assert [1500 < at < 1562 for at, _ in scene.world.stops] == [True]


def test_a_list_that_cannot_be_read_in_the_end(virtual: Virtual, tmp_path: Path) -> None:
    """If it is unknown what runs at the end, that is exit 1, with a message."""
    summary = virtual(hold(Scene(World(down=(500.0, 1e9)), tmp_path)))
    assert summary.exit_code == 1
    assert summary.verdict.startswith("NOT STOPPED: more may run: voice campaigns of account a1: HTTP 500")


def test_accounts(virtual: Virtual, tmp_path: Path) -> None:
    """An account with more stops than its quota allows, or with an unreadable list, delays no other."""
    busy = World([(100.0, f"cd-b{n:x}") for n in range(300)])
    down = World([(1000.0, "cd-d")], down=(500.0, 1500.0))
    free = World([(130.0 + 200 * n, f"cd-{n}") for n in range(5)])
    scene = Scene(free, tmp_path, others={"busy": busy, "down": down})
    summary = virtual(hold(scene))
    assert (summary.exit_code, len(scene.rows), len(scene.lines)) == (0, 306, 306)
    assert max(free.lags) < scene.every_s + 2
    assert busy.stops[-1][0] > 350  # its stops took several windows
    assert [1500 < at < 1562 for at, _ in down.stops] == [True]
    assert [text.partition(":")[0] for text in scene.said if "list of" in text] == [
        "the list of account down cannot be read completely",
        "the list of account down can be read again",
    ]
    assert max(world.most_in_a_window() for world in (free, busy, down)) <= free.quota[0]


def test_an_account_that_cannot_be_read_in_the_end(virtual: Virtual, tmp_path: Path) -> None:
    """If one account's list cannot be read at the end, that is exit 1 with a message, whatever the others have."""
    scene = Scene(World([(30.0, "cd-1")]), tmp_path, others={"down": World(down=(500.0, 1e9))})
    summary = virtual(hold(scene))
    assert (summary.exit_code, summary.running) == (1, ())
    assert "more may run: voice campaigns of account down" in summary.verdict


@pytest.mark.parametrize("denied", ["", "/trigger/"])
def test_a_token_that_is_lost(denied: str, virtual: Virtual, tmp_path: Path) -> None:
    """While the service takes no token of ours it looks on, says so once, and stops what runs once it does again."""
    scene = Scene(World([(700.0, "cd-1")], denies=(500.0, 1500.0), denied=denied), tmp_path)
    summary = virtual(hold(scene))
    assert (summary.exit_code, summary.running) == (0, ())
    assert [line["outcome"] for line in scene.lines][-1] == "stopped"
    assert {at > 1500 for at, campaign_id in scene.world.stops} == {True}
    assert sum("401" in text for text in scene.said) == 1


def test_a_full_disk(virtual: Virtual, tmp_path: Path) -> None:
    """A sighting that cannot be written to the list is not stopped and ends the hold; with space it continues."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def fill(scene: Scene) -> None:
        await asyncio.sleep(300.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(scene.listed) + 10, usual[1]))

    scene = Scene(World([(0.0, "cd-1"), (600.0, "cd-2")]), tmp_path, end=fill)
    try:
        summary = virtual(hold(scene))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert (summary.exit_code, "list.jsonl: cannot be written (File too large)" in summary.verdict) == (3, True)
    assert ([each for _, each in scene.world.stops], len(scene.rows), len(scene.lines)) == (["cd-1"], 1, 1)
    again = Scene(World([(0.0, "cd-2")]), tmp_path)
    assert virtual(hold(again, resume=True)).exit_code == 0
    assert [line["campaign_id"] for line in again.lines] == ["cd-1", "cd-2"]


@pytest.mark.parametrize(("zone", "now"), [("UTC", "23:50"), ("Asia/Kolkata", "18:20")])
def test_until_after_midnight(
    zone: str, now: str, virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time of the day that has passed today is that of tomorrow, in the zone of the settings."""
    began = datetime.fromisoformat(f"2026-03-31T{now}:00+00:00")

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromisoformat(began.isoformat()).astimezone(tz)

    monkeypatch.setattr(hold_options, "datetime", Clock)
    seconds = SimpleNamespace(time=lambda: began.timestamp() + asyncio.get_running_loop().time())
    monkeypatch.setattr(hold_options, "time", seconds)
    until = HoldOptions(60.0, None, parse_finish_by("00:30"), 3)

    async def job() -> HoldSummary:
        watch = until.make_watch(make_settings(tz=zone, max_campaigns=5))
        return await hold(Scene(world, tmp_path, left_s=watch.left_s))

    world = World([(1200.0, "cd-1")])
    assert virtual(job()).exit_code == 0
    assert 2400 <= world.calls[-1] < 2460


def test_a_stop_that_fails(virtual: Virtual, tmp_path: Path) -> None:
    """A campaign that cannot be stopped is tried after 1, 2, 4 looks and so on, and in the end; others at once."""
    starts = [(100.0, "cd-1"), (250.0, "cd-2")]
    scene = Scene(World(starts, refuses=frozenset({"cd-1"})), tmp_path)
    summary = virtual(hold(scene))
    tries = [round((at - 120) / scene.every_s) for at, campaign_id in scene.world.stops if campaign_id == "cd-1"]
    assert tries == [0, 1, 3, 7, 15, 30, 45, 58]
    outcomes = Counter((line["campaign_id"], line["outcome"]) for line in scene.lines)
    assert outcomes == {("cd-1", "rejected"): len(tries), ("cd-2", "stopped"): 1}
    assert sum("hold continues to look" in said for said in scene.said) < len(tries)
    assert (summary.exit_code, summary.running, summary.left_alone) == (1, ("cd-1",), ())


def test_what_failed_and_came_back(virtual: Virtual, tmp_path: Path) -> None:
    """A campaign whose stop failed, and that came to rest by itself, is stopped at once when it is back."""
    world = World([(100.0, "cd-1")], refuses=frozenset({"cd-1"}))

    async def rest(scene: Scene) -> None:
        await asyncio.sleep(620.0)  # the next try would be at 1020
        world.running.clear()
        world.refuses = frozenset()
        await asyncio.sleep(100.0)
        world.running["cd-1"] = 720.0

    virtual(hold(Scene(world, tmp_path, end=rest)))
    assert 720 < world.stops[-1][0] < 785


def test_a_service_that_is_down_in_the_end(virtual: Virtual, tmp_path: Path) -> None:
    """Stops that a service outage delays do not prevent the end of a hold."""
    ids = [f"cd-{number:x}" for number in range(60)]
    starts = [(0.0, "cd-f0"), *((3500.0, each) for each in ids)]
    scene = Scene(World(starts, breaks=frozenset(ids)), tmp_path, options={"attempts": 100})
    summary = virtual(hold(scene))
    assert scene.world.calls[-1] < 3600 + LATE_S + 60
    assert (summary.exit_code, len(summary.running or ())) == (1, 60)
    assert sorted(line["line"] for line in scene.lines) == list(range(1, len(scene.rows) + 1))


def test_what_is_protected(virtual: Virtual, tmp_path: Path) -> None:
    """A protected campaign has its row once, is never sent, and does not count in the end."""
    starts = [(0.0, "cd-1"), (0.0, "cd-2")]
    scene = Scene(World(starts), tmp_path, protection=Protection([Rule("p.txt", 1, "cd-1")]))
    summary = virtual(hold(scene))
    assert {line["campaign_id"]: line["outcome"] for line in scene.lines} == {"cd-1": "protected", "cd-2": "stopped"}
    assert (len(scene.rows), summary.exit_code, [each for _, each in scene.world.stops]) == (2, 0, ["cd-2"])


def test_a_service_that_refuses_all(virtual: Virtual, tmp_path: Path) -> None:
    """A first sighting that is refused completely ends the hold, while a person can act."""
    summary = virtual(hold(Scene(World([(0.0, "cd-1")], refuses=frozenset({"cd-1"})), tmp_path)))
    assert (summary.exit_code, "may be wrong for your deployment" in summary.verdict) == (3, True)


def test_more_campaigns_than_may_be(virtual: Virtual, tmp_path: Path) -> None:
    """A sighting that would make it too many campaigns in all is not stopped, and ends the hold."""
    scene = Scene(World([(0.0, "cd-1"), (0.0, "cd-2"), (700.0, "cd-1"), (900.0, "cd-3")]), tmp_path, most=2)
    summary = virtual(hold(scene))
    assert [row["campaign_id"] for row in scene.rows] == ["cd-1", "cd-2", "cd-1"]
    assert summary.exit_code == 3
    assert summary.verdict.startswith("NOT STOPPED: --max-campaigns 2: sighting 3 would bring the total to 3 campaigns")


@pytest.mark.parametrize(
    ("hours", "signum", "code"),
    [
        (1.0, signal.SIGTERM, 143),
        (1.0, signal.SIGINT, 130),
        (1e9, signal.SIGINT, 0),
        (1e9, signal.SIGTERM, 143),
    ],
)
def test_a_signal(hours: float, signum: int, code: int, virtual: Virtual, tmp_path: Path) -> None:
    """A signal ends it early; where it has no end a Ctrl-C is the end, after which it looks what runs."""

    async def end(scene: Scene) -> None:
        await asyncio.sleep(600.0)
        assert scene.shutdown is not None
        scene.shutdown.request(signum)

    scene = Scene(World([(30.0, "cd-1")]), tmp_path, hours=hours, end=end)
    summary = virtual(hold(scene))
    assert (summary.exit_code, summary.running) == (code, () if code == 0 else None)
    assert not review_results(str(scene.path)).flaws


def test_it_goes_on(virtual: Virtual, tmp_path: Path) -> None:
    """A continued hold continues its numbers and counts, and closes the rows without a line."""
    virtual(hold(Scene(World([(0.0, "cd-1"), (700.0, "cd-1")]), tmp_path)))
    listed = tmp_path / "h.jsonl.list.jsonl"
    row = json.loads(listed.read_text().splitlines()[-1]) | {"campaign_id": "cd-2", "sighting": 3}
    with listed.open("a") as file:
        file.write(json.dumps(row) + '\n{"campaign_id":"cd-3","acc')  # as a crash leaves it
    scene = Scene(World([(0.0, "cd-1"), (0.0, "cd-2"), (700.0, "cd-1")]), tmp_path)
    summary = virtual(hold(scene, resume=True))
    assert [(line["campaign_id"], line["row"]["sighting"], line["outcome"]) for line in scene.lines] == [
        ("cd-1", 1, "stopped"),
        ("cd-1", 2, "stopped"),
        ("cd-2", 3, "unknown"),
        ("cd-1", 4, "stopped"),
        ("cd-2", 4, "stopped"),
    ]
    assert [line["line"] for line in scene.lines] == list(range(1, len(scene.rows) + 1))
    assert (summary.exit_code, summary.left_alone) == (1, ("cd-1",))
    assert summary.campaigns == {Outcome.STOPPED: 2}  # a later sighting has stopped what was cut off
    review = review_results(str(scene.path))
    assert (review.flaws, review.open_rows, review.campaigns) == ((), 0, summary.campaigns)
    assert review.runs[-1].exit_code == summary.exit_code
