"""How a run goes, for whoever watches: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from bulkstop.events import Observe, Progressed
from bulkstop.report.stop.snapshot import Snapshot
from bulkstop.text import format_duration

BAR_EVERY_S = 0.2
LINE_EVERY_S = 10.0
FIRST_LINE_S = 1.0
"""The first line comes soon: whoever waits sees that the run is under way."""


class Progress(Protocol):
    """Shows the state of a run each time it is asked to, every `every_s` seconds."""

    every_s: float

    def show(self, run: Snapshot) -> None:
        """Show how the run stands."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Pace:
    """How fast a run goes, and how long the rest will take."""

    def __init__(self, total: int, now: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self._now = now
        self._began = now()

    def rate(self, ended: int) -> float:
        """Return the campaigns ended a second."""
        elapsed_s = self._now() - self._began
        return ended / elapsed_s if elapsed_s > 0 else 0.0

    def left(self, ended: int, least_left_s: float) -> str:
        """Say how long the rest takes: by the quota where that decides, else at the rate so far."""
        if ended >= self.total:
            return ""
        if least_left_s > 0:
            at = time.strftime("%H:%M:%S", time.localtime(time.time() + least_left_s))
            return f"at least {format_duration(least_left_s)} left, the last stop leaves at {at} or later"
        rate = self.rate(ended)
        return f"about {format_duration((self.total - ended) / rate)} left" if rate else ""


class Lines:
    """Writes one plain line each time: for a log, a pipe, a cron mail."""

    def __init__(self, total: int, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self.every_s = FIRST_LINE_S
        self._say = say
        self._pace = Pace(total, now)

    def show(self, run: Snapshot) -> None:
        """Write done, failed, rate and time left."""
        pace = self._pace
        counts = f"{run.done:,} done, {run.failed:,} failed, {pace.rate(run.sent):,.1f}/s"
        parts = ", ".join(filter(None, (counts, pace.left(run.sent, run.least_left_s))))
        self._say(f"{run.sent:,} of {pace.total:,}: {parts}")
        self.every_s = LINE_EVERY_S

    def close(self) -> None:
        """Do nothing."""


class LoggedProgress:
    """Tells observers now and then how a run stands: for one whose standard error is read by a machine."""

    every_s = LINE_EVERY_S

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def show(self, run: Snapshot) -> None:
        """Tell the counts as they are now."""
        self._observe(Progressed(run.to_send, run.sent, run.done, run.failed, round(run.least_left_s, 1)))

    def close(self) -> None:
        """Do nothing."""


class Bar:
    """Draws a bar with done, failed, rate and time left; rich is imported only here, only for a terminal."""

    every_s = BAR_EVERY_S

    def __init__(self, total: int, stream: TextIO = sys.stderr) -> None:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.BarColumn(bar_width=None),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[done]:,} done  {task.fields[failed]:,} failed"),
            progress.TextColumn("{task.fields[rate]:,.1f}/s"),
            progress.TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
            auto_refresh=False,  # drawn when the run says so: no thread, and no lock on the way of a result
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, done=0, failed=0, rate=0.0, left="")
        self._pace = Pace(total)

    def show(self, run: Snapshot) -> None:
        """Draw the counts as they are now."""
        self._bar.start()  # not before the run does: whatever keeps it from starting is said on a clean terminal
        self._bar.update(
            self._task,
            completed=run.sent,
            done=run.done,
            failed=run.failed,
            rate=self._pace.rate(run.sent),
            left=self._pace.left(run.sent, run.least_left_s),
            refresh=True,
        )

    def say(self, text: str) -> None:
        """Write a line above the bar, as it is: not wrapped, not coloured."""
        self._bar.console.out(text, highlight=False)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()
