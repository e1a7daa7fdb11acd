"""`bulkstop schedule serve`: which process it starts when, by a clock of the test."""

import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from subprocess import Popen
from time import monotonic

import pytest

from bulkstop.cli.schedule.serve import Doze, Server
from bulkstop.runs.schedule.journal import Event, Journal, make_entry
from bulkstop.runs.schedule.occasion import Occasion
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import Timetable, list_firings

FIRING = datetime(2027, 3, 2, 18, tzinfo=UTC)


class _Process(Popen[bytes]):
    """A run that ends on a signal, or when the test ends it."""

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def send_signal(self, sig: int) -> None:
        self.code = -sig

    def __del__(self) -> None:
        """Do nothing, because no process was started."""


@dataclass
class World:
    """The clock, the started runs, and the output."""

    folder: Path
    now: datetime = FIRING - timedelta(hours=3)
    started: list[tuple[datetime, Sequence[str]]] = field(default_factory=list)
    processes: list[_Process] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def make_server(self) -> Server:
        """Return a server of one schedule with a preflight an hour before its firing."""
        table = Timetable("eod", (time(18),), "UTC")
        schedule = Schedule(table, "bulkstop.toml", results=str(self.folder), preflight_s=3600.0)
        return Server([schedule], self.start, self.said.append, now=lambda: self.now, sleep=self.sleep)

    def start(self, words: Sequence[str]) -> "Popen[bytes]":
        """Record a start."""
        self.started.append((self.now, words))
        self.processes.append(_Process())
        return self.processes[-1]

    def sleep(self, length_s: float) -> None:
        """Advance the clock."""
        self.now += timedelta(seconds=length_s)

    def note(self, event: Event) -> None:
        """End the run that was started last, and write a journal line about the firing."""
        (firing,) = list_firings(Timetable("eod", (time(18),), "UTC"), FIRING, FIRING)
        Journal(str(self.folder), "eod").append(make_entry(event, Occasion(firing), self.now, exit_code=0))
        self.processes[-1].code = 0

    def step_until(self, server: Server, until: datetime) -> None:
        """Let the server look at the clock every minute."""
        while self.now < until:
            server.step()
            self.sleep(60)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world three hours before the firing."""
    return World(tmp_path)


def test_preflight_and_firing(world: World) -> None:
    """It starts the preflight and the firing once, at their times, over many hours."""
    server = world.make_server()
    world.step_until(server, FIRING - timedelta(minutes=58))
    world.note(Event.PREFLIGHT)
    world.step_until(server, FIRING + timedelta(minutes=2))
    world.note(Event.ENDED)
    world.step_until(server, FIRING + timedelta(hours=4))
    assert world.started == [
        (FIRING - timedelta(hours=1), ("eod", "--preflight", "--if-due")),
        (FIRING, ("eod",)),
    ]


def test_unfinished(world: World) -> None:
    """A firing whose process ended without finishing it is started again after a minute, not at once."""
    world.now = FIRING
    server = world.make_server()
    server.step()
    world.processes[-1].code = 3
    world.sleep(59)
    server.step()
    assert len(world.started) == 1
    assert world.said == ["eod: ended with exit code 3"]
    world.sleep(1)
    server.step()
    assert len(world.started) == 2


def test_clock_set_back(world: World) -> None:
    """A clock that is set back repeats no firing, and delays none."""
    world.now = FIRING
    server = world.make_server()
    server.step()
    world.note(Event.ENDED)
    world.now = FIRING - timedelta(minutes=30)
    world.step_until(server, FIRING + timedelta(hours=1))
    assert len(world.started) == 1


def test_end(world: World) -> None:
    """On a signal, it signals its runs, waits for them, and starts nothing more."""
    world.now = FIRING
    server = world.make_server()
    server.step()
    server.end(signal.SIGTERM, sys._getframe())
    assert server.serve() == 0
    assert world.processes[-1].code == -signal.SIGTERM
    assert len(world.started) == 1


@pytest.mark.real
def test_signal_ends_the_sleep() -> None:
    """A signal ends the sleep between two checks at once."""
    doze, began = Doze(), monotonic()
    before = signal.signal(signal.SIGUSR1, lambda *_: doze.wake())
    try:
        threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)).start()
        doze.sleep(30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert monotonic() - began < 10
