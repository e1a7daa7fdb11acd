"""`bulkstop schedule serve`: runs each firing on machines without another scheduler."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event
from types import FrameType

import click

from bulkstop.cli.log import log_to_stderr, say, with_log
from bulkstop.cli.options import GroupedCommand
from bulkstop.cli.schedule.reading import choose, is_config_named, with_config
from bulkstop.errors import BulkstopError
from bulkstop.runs.schedule.due import Due, decide, find_preflight
from bulkstop.runs.schedule.journal import Journal
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import find_next

STEP_S = 5.0
"""Seconds between two looks at the clock, short enough to notice at once that it was set or the machine slept."""
AGAIN_S = 60.0
"""Seconds until a firing that its process left unfinished is started again."""
EXAMPLE = """\b
Example:
  bulkstop schedule serve --config /etc/bulkstop/bulkstop.toml

\b
Exit codes:
  0  ended by SIGTERM or Ctrl-C, after what ran had drained
  2  usage is wrong, or a schedule is not valid
"""


@click.command("serve", cls=GroupedCommand, epilog=EXAMPLE)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@with_log
@with_config
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], *, log_level: str, log_json: bool, **_: object) -> int:
    """Wait for each firing, and run it as `bulkstop schedule run` does, in its own process.

    Use it in a container, or on a machine without a scheduler. The journal remembers firings across restarts. Two
    servers that share one folder of results run each firing once.
    """
    schedules = choose(ctx, names)
    options = ["--config", ctx.params["config"]] if is_config_named(ctx) else []
    options += ["--log-level", log_level, *(["--log-json"] if log_json else [])]
    doze = Doze()
    server = Server(schedules, partial(_start, options), partial(_say, log_level, as_json=log_json), sleep=doze.sleep)

    def end(signum: int, frame: FrameType | None) -> None:
        server.end(signum, frame)
        doze.wake()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    return server.serve()


class Doze:
    """Sleeps for a time; `wake`, which a signal handler may call, ends the current sleep."""

    def __init__(self) -> None:
        self._woken = Event()

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or `wake` is called; after a `wake`, always sleep the whole time."""
        if self._woken.is_set():
            time.sleep(seconds)
        else:
            self._woken.wait(seconds)

    def wake(self) -> None:
        """End the current sleep."""
        self._woken.set()


def _say(level: str, text: str, *, as_json: bool) -> None:
    with log_to_stderr(level, as_json=as_json):
        say(text)


def _start(options: Sequence[str], words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start `schedule run` with these words in its own session, so that it gets a terminal's signals only from us."""
    words = [sys.executable, "-m", "bulkstop", "schedule", "run", *words, *options]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - ourselves


def read_clock() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass
class Server:
    """Starts a process for each due firing and each due preflight, until a signal ends it."""

    schedules: Sequence[Schedule]
    start: Callable[[Sequence[str]], "subprocess.Popen[bytes]"]
    say: Callable[[str], None]
    now: Callable[[], datetime] = read_clock
    sleep: Callable[[float], None] = time.sleep
    is_ending: bool = False
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    tried: dict[str, datetime] = field(default_factory=dict)

    def end(self, signum: int, frame: FrameType | None) -> None:
        """Start nothing more, and let running firings drain; a second signal aborts them."""
        self.is_ending = True
        for process in self.running.values():
            with suppress(OSError):
                process.send_signal(signal.SIGTERM)

    def serve(self) -> int:
        """Run firings until a signal, then wait for those that still run; return the exit code."""
        for each in self.schedules:
            if upcoming := find_next(each.timetable, self.now()):
                self.say(f"{each.name}: fires next at {upcoming.local:%Y-%m-%d %H:%M %z} {upcoming.zone}")
        while not self.is_ending:
            self.step()
            self.sleep(STEP_S)
        while self.running:
            self._reap()
            self.sleep(0.1)
        return 0

    def step(self) -> None:
        """Start what is due now."""
        self._reap()
        for each in self.schedules:
            if each.name not in self.running and not self.is_ending and (words := self._find_due(each)):
                self.tried[each.name] = self.now()
                self.running[each.name] = self.start(words)

    def _reap(self) -> None:
        for name, process in list(self.running.items()):
            if (code := process.poll()) is not None:
                del self.running[name]
                if code:
                    self.say(f"{name}: ended with exit code {code}")

    def _find_due(self, schedule: Schedule) -> tuple[str, ...]:
        """Return the words of the `schedule run` that is due; none if nothing is due."""
        now, tried = self.now(), self.tried.get(schedule.name)
        if tried is not None and timedelta() <= now - tried < timedelta(seconds=AGAIN_S):
            return ()
        try:
            entries = Journal(schedule.results, schedule.name).read()
        except BulkstopError as error:
            self.say(f"bulkstop: {error}")
            return ()
        decision = decide(schedule.timetable, entries, now, schedule.catch_up_s)
        if decision.due in (Due.RUN, Due.RESUME) or decision.missed:
            return (schedule.name,)
        ahead_s = schedule.preflight_s
        is_tried = ahead_s is None or find_preflight(schedule.timetable, entries, now, ahead_s) is None
        return () if is_tried else (schedule.name, "--preflight", "--if-due")
