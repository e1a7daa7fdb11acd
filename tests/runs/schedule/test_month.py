"""Firings in virtual time: each ends as docs/end-of-day.md says, with notices."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from bulkstop.errors import OutputError
from bulkstop.runs.schedule.firing import Conductor, ReadBack, Stopped, Work
from bulkstop.runs.schedule.journal import Entry, Event, Journal
from bulkstop.runs.schedule.keeping import keep_results
from bulkstop.runs.schedule.keys import Overlap
from bulkstop.runs.schedule.lock import Lock
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import Timetable

TABLE = Timetable("eod", (time(18),), "Europe/Berlin", "* MON,TUE,WED,THU,FRI")


@dataclass
class World:
    """A machine with a clock of its own, and a `stop` that does as a script says."""

    folder: Path
    at: datetime = datetime(2026, 12, 1, 17, tzinfo=UTC)
    script: Callable[[Work], int] = lambda work: 0
    verdict: int = 0
    told: list[Notice] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    on_sleep: Callable[[], object] = lambda: None

    table: Timetable = TABLE
    finish_by: str = "18:30"

    def conduct(self, **settings: object) -> Conductor:
        """Return what runs a firing now."""
        more = {"results": str(self.folder), "finish_by": self.finish_by, **settings}
        schedule = Schedule(self.table, "bulkstop.toml", **more)  # type: ignore[arg-type]
        return Conductor(
            schedule,
            self.stop,
            self.verify,
            self.told.append,
            self.said.append,
            self.said.append,
            lambda: self.at,
            self.sleep,
        )

    def stop(self, work: Work) -> Stopped:
        """Stop as the script says."""
        self.work.append(work)
        Path(work.results).touch()
        return Stopped(self.script(work), "as the script says")

    def verify(self, results: str) -> ReadBack:
        """Read back what the script says."""
        return ReadBack(self.verdict, "DONE: none of 3 runs", {"campaigns": 3})

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)
        self.on_sleep()

    def kinds(self) -> list[NoticeKind]:
        """Return the kinds of the notices."""
        return [each.kind for each in self.told]

    def events(self) -> list[Event]:
        """Return what the journal has."""
        return [each.event for each in Journal(str(self.folder), "eod").read()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a machine at Tuesday, 2026-12-01 18:00 in Berlin."""
    return World(tmp_path / "results")


def test_usual(world: World) -> None:
    """A firing runs once, with the moment to finish by in its zone, and is read back; every other call ends well."""
    assert world.conduct().fire() == 0
    assert world.work[0].deadline == datetime(2026, 12, 1, 17, 30, tzinfo=UTC)
    assert Path(world.work[0].results).name == "eod-2026-12-01-1800.results.jsonl"
    assert world.events() == [Event.STARTED, Event.ENDED, Event.VERIFIED]
    assert Journal(str(world.folder), "eod").read()[-1].verification == {"campaigns": 3}
    assert world.kinds() == [NoticeKind.STARTED, NoticeKind.ENDED]
    assert world.conduct().fire() == 0
    world.at += timedelta(hours=3)
    assert world.conduct().fire() == 0
    assert len(world.work) == 1


@pytest.mark.parametrize(("code", "kinds"), [(2, []), (3, [NoticeKind.GUARD_ENDED]), (4, []), (1, [])])
def test_failures(world: World, code: int, kinds: list[NoticeKind]) -> None:
    """A stop that fails (token, empty or long list, outage) gives its exit code and reason, and is not repeated."""
    world.script = lambda work: code
    assert world.conduct().fire() == code
    assert world.kinds() == [NoticeKind.STARTED, *kinds, NoticeKind.ENDED]
    assert {(each.text, each.exit_code) for each in world.told[1:]} == {("as the script says", code)}
    assert Journal(str(world.folder), "eod").read()[1].note == "as the script says"
    assert world.conduct().fire() == 0
    assert len(world.work) == 1
    assert world.conduct().fire_again() == code
    assert world.work[1].is_again
    assert world.work[1].occasion == world.work[0].occasion


def test_again_of_compressed_results(world: World) -> None:
    """Compressed results are not overwritten: they must be unpacked first, and can then be continued."""
    world.script = lambda work: 1
    assert world.conduct().fire() == 1
    path = Path(world.work[0].results)
    path.rename(packed := f"{path}.gz")
    assert world.conduct().fire_again() == 2
    assert "unpack it first: gunzip " in world.said[-1]
    Path(packed).rename(path)
    assert world.conduct().fire_again() == 1


def test_still_running(world: World) -> None:
    """A run of which something still runs as read back ends with 1."""
    world.verdict = 1
    assert world.conduct().fire() == 1
    assert world.told[-1].exit_code == 1


def test_outage_of_20_minutes(world: World) -> None:
    """A service that is down for a while takes its time, within the same firing."""

    def wait(work: Work) -> int:
        world.at += timedelta(minutes=20)
        return 0

    world.script = wait
    assert world.conduct().fire() == 0
    assert world.events()[-1] is Event.VERIFIED


def test_late_within_grace(world: World) -> None:
    """A machine that comes up within catch_up runs the firing late."""
    world.at += timedelta(minutes=9)
    assert world.conduct().fire() == 0
    assert len(world.work) == 1


def test_late_after_grace(world: World) -> None:
    """A firing that is too late stops nothing: exit code 1, one notice, and the next day is normal."""
    world.conduct().fire()
    world.at += timedelta(days=1, minutes=11)
    assert world.conduct().fire() == 1
    assert world.kinds()[-1] is NoticeKind.MISSED
    assert world.conduct().fire() == 0
    assert len(world.work) == 1
    world.at = datetime(2026, 12, 3, 17, tzinfo=UTC)
    assert world.conduct().fire() == 0
    assert len(world.work) == 2


def test_too_late_to_finish(world: World) -> None:
    """A firing whose time to finish by has passed is missed, however long catch_up is."""
    world.at += timedelta(minutes=31)
    assert world.conduct(catch_up_s=7200.0).fire() == 1
    assert world.kinds() == [NoticeKind.MISSED]


def test_cut_off(world: World) -> None:
    """A firing that was ended or killed is continued by the next call within catch_up."""
    world.script = lambda work: 143
    assert world.conduct().fire() == 143
    world.script = lambda work: 0
    world.at += timedelta(minutes=2)
    assert world.conduct().fire() == 0
    assert [work.resumes for work in world.work] == [False, True]


def test_clock_set_back(world: World) -> None:
    """A firing is not run again by a clock that was set back, and fires on the next day."""
    world.conduct().fire()
    for minutes in (-90, 0, 1):
        world.at = datetime(2026, 12, 1, 17, tzinfo=UTC) + timedelta(minutes=minutes)
        assert world.conduct().fire() == 0
    assert len(world.work) == 1


def test_clock_set_ahead(world: World) -> None:
    """A clock that was ahead for a while takes no firing away."""
    world.at += timedelta(days=2)
    world.conduct().fire()
    world.at -= timedelta(days=1)
    assert world.conduct().fire() == 0
    assert [work.occasion.firing.nominal.day for work in world.work] == [3, 2]


@pytest.mark.parametrize(
    ("overlap", "code", "runs"), [(Overlap.SKIP, 0, 1), (Overlap.FAIL, 1, 1), (Overlap.WAIT, 1, 1)]
)
def test_overlap(world: World, overlap: Overlap, code: int, runs: int) -> None:
    """While the run before goes on, a firing is skipped, fails, or waits up to catch_up, with a notice."""

    def meanwhile(work: Work) -> int:
        world.script = lambda work: 0
        world.at += timedelta(days=1)
        assert world.conduct(overlap=overlap).fire() == code
        return 0

    world.script = meanwhile
    world.conduct(overlap=overlap).fire()
    assert len(world.work) == runs
    assert NoticeKind.MISSED in world.kinds()
    assert Event.SKIPPED in world.events()


def test_waits_for_its_turn(world: World) -> None:
    """A firing that waits runs once the one before has ended."""
    world.folder.mkdir()
    lock = Lock(str(world.folder), "eod")
    assert lock.take()
    until = world.at + timedelta(minutes=5)
    world.on_sleep = lambda: lock.free() if world.at > until else None
    assert world.conduct().fire() == 0
    assert world.at >= until
    assert len(world.work) == 1


def test_two_hosts(world: World) -> None:
    """Two machines with one folder fire once: the second finds that this firing runs, or is done."""

    def second(work: Work) -> int:
        assert world.conduct().fire() == 0
        assert len(world.work) == 1
        return 0

    world.script = second
    assert world.conduct().fire() == 0
    assert world.conduct().fire() == 0
    assert len(world.work) == 1


def test_disk_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space for the journal nothing is stopped, with exit code 3 and a notice."""

    def full(self: Journal, entry: Entry) -> None:
        raise OutputError("eod.journal.jsonl: cannot be written (No space left on device)")

    monkeypatch.setattr(Journal, "append", full)
    assert world.conduct().fire() == 3
    assert not world.work
    assert world.kinds() == [NoticeKind.ENDED]
    assert "No space left" in world.told[0].text


def test_month(world: World) -> None:
    """Called every hour for a month, each working day is stopped once."""
    world.at = datetime(2026, 11, 30, 23, tzinfo=UTC)
    while world.at < datetime(2026, 12, 31, 23, tzinfo=UTC):
        assert world.conduct(verify_s=None).fire() == 0
        world.at += timedelta(hours=1)
    days = [work.occasion.firing.nominal.day for work in world.work]
    assert days == [day for day in range(1, 32) if date(2026, 12, day).weekday() < 5]


def test_by_hand(world: World) -> None:
    """A start by hand is a run of its own, and leaves the firing of the day as it is."""
    world.at -= timedelta(hours=1)
    assert world.conduct().fire_by_hand() == 0
    world.at = datetime(2026, 12, 1, 17, tzinfo=UTC)
    assert world.conduct().fire() == 0
    assert [Path(work.results).name for work in world.work] == [
        "eod-2026-12-01-170000-by-hand.results.jsonl",
        "eod-2026-12-01-1800.results.jsonl",
    ]


def test_keep(tmp_path: Path) -> None:
    """Older results are compressed, no other files change; they are only deleted on request."""
    for name in ("eod-2026-10-01-1800", "eod-2026-12-01-1800", "other-2026-10-01-1800"):
        (tmp_path / f"{name}.results.jsonl").write_text("{}\n")
        (tmp_path / f"{name}.results.jsonl.run.json").write_text("{}\n")
    assert keep_results(str(tmp_path), "eod", 86400 * 30, date(2026, 12, 2), deletes=False) == [
        "eod-2026-10-01-1800.results.jsonl"
    ]
    assert (tmp_path / "eod-2026-10-01-1800.results.jsonl.gz").exists()
    keep_results(str(tmp_path), "eod", 86400 * 30, date(2026, 12, 2), deletes=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("eod")) == [
        "eod-2026-12-01-1800.results.jsonl",
        "eod-2026-12-01-1800.results.jsonl.run.json",
    ]


@pytest.mark.parametrize(
    ("zone", "at", "begin", "ran_at"),
    [
        ("Europe/Berlin", time(2, 30), "2026-10-25T00:02Z", "00:32"),
        ("Europe/Berlin", time(2, 30), "2027-03-28T00:02Z", "01:02"),
        ("Australia/Lord_Howe", time(2, 15), "2026-10-03T14:02Z", "15:32"),
        ("Australia/Lord_Howe", time(1, 45), "2027-04-03T14:02Z", "14:47"),
        ("Asia/Beirut", time(23, 30), "2026-10-24T19:02Z", "20:32"),
        ("Africa/Cairo", time(0), "2027-04-29T21:02Z", "22:02"),
    ],
)
def test_night_of_a_change(world: World, zone: str, at: time, begin: str, ran_at: str) -> None:
    """In the night when clocks change, a firing that is checked every five minutes runs once, at its first moment."""
    world.table, world.finish_by = Timetable("eod", (at,), zone), "+15m"
    world.at = first = datetime.fromisoformat(begin)
    ran = []
    for minutes in range(0, 240, 5):
        world.at = first + timedelta(minutes=minutes)
        before = len(world.work)
        assert world.conduct(verify_s=None).fire() == 0
        ran += [f"{world.at:%H:%M}"] * (len(world.work) - before)
    assert ran == [ran_at]
    assert world.work[0].deadline is not None
    assert world.work[0].deadline - world.work[0].occasion.firing.moment == timedelta(minutes=15)
    assert set(world.kinds()) == {NoticeKind.STARTED, NoticeKind.ENDED}


def test_two_times_in_one_gap(world: World) -> None:
    """Two times that share one moment after a gap are one run, and neither is reported as missed."""
    world.table, world.finish_by = Timetable("eod", (time(2, 30), time(3)), "Europe/Berlin"), "+15m"
    world.at = datetime(2027, 3, 28, 1, 0, 30, tzinfo=UTC)
    for _ in range(3):
        assert world.conduct(verify_s=None).fire() == 0
        world.at += timedelta(minutes=1)
    assert world.kinds() == [NoticeKind.STARTED, NoticeKind.ENDED]
    assert world.work[0].occasion.key == "2027-03-28T03:00[Europe/Berlin]"
