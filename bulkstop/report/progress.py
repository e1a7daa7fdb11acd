"""How a run goes, for whoever watches: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from bulkstop.report.stats import Stats
from bulkstop.report.summary import duration

BAR_EVERY_S = 0.2
LINE_EVERY_S = 10.0
FIRST_LINE_S = 1.0
"""The first line comes soon: whoever waits sees that the run is under way."""


class Progress(Protocol):
    """Shows the state of a run each time it is asked to, every `every_s` seconds."""

    every_s: float

    def show(self, stats: Stats) -> None:
        """Show the counts as they are now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Shows nothing."""

    every_s = LINE_EVERY_S

    def show(self, stats: Stats) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Writes one plain line each time: for a log, a pipe, a cron mail."""

    def __init__(self, total: int, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self.every_s = FIRST_LINE_S
        self._total = total
        self._say = say
        self._now = now
        self._began = now()

    def show(self, stats: Stats) -> None:
        """Write done, failed, rate and time left."""
        ended = stats.sent
        elapsed_s = self._now() - self._began
        rate = ended / elapsed_s if elapsed_s > 0 else 0.0
        left = f", about {duration((self._total - ended) / rate)} left" if rate and ended < self._total else ""
        counts = f"{stats.done:,} done, {stats.sent_failed:,} failed"
        self._say(f"{ended:,} of {self._total:,}: {counts}, {rate:,.1f}/s{left}")
        self.every_s = LINE_EVERY_S

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
            progress.TimeRemainingColumn(compact=True),
            console=Console(file=stream),
            auto_refresh=False,  # drawn when the run says so: no thread, and no lock on the way of a result
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, done=0, failed=0, rate=0.0)
        self._began = time.monotonic()
        self._bar.start()

    def show(self, stats: Stats) -> None:
        """Draw the counts as they are now."""
        elapsed_s = time.monotonic() - self._began
        self._bar.update(
            self._task,
            completed=stats.sent,
            done=stats.done,
            failed=stats.sent_failed,
            rate=stats.sent / elapsed_s if elapsed_s else 0.0,
            refresh=True,
        )

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()
