"""The progress of a run: a bar on a terminal, otherwise a line now and then."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TextIO

from bulkstop.events import Observe, Progressed
from bulkstop.model import WaitReason
from bulkstop.naming import name_setting
from bulkstop.report.stop.snapshot import Snapshot
from bulkstop.text import format_duration
from bulkstop.text.clock import format_clock

if TYPE_CHECKING:
    from rich.table import Table

BAR_EVERY_S = 0.2
LINE_EVERY_S = 10.0
FIRST_LINE_S = 1.0
"""The first line is shown early, so that the user sees that the run has started."""


class Progress(Protocol):
    """Shows the state of a run whenever it is called, every `every_s` seconds."""

    every_s: float

    def show(self, run: Snapshot) -> None:
        """Show the state of the run."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


GAP = "  "
LEAST_BAR = 12
"""The least width of a bar in columns; below it there is none."""
FORESEEN = frozenset({WaitReason.QUOTA, WaitReason.PACE, WaitReason.SOAK, WaitReason.WAVE})
"""The waits that are normal for a run, and included in its estimated end."""


def format_progress(run: Snapshot, width: int | None = None, *, at: float | None = None) -> str:
    """Return a run's progress: numbers first, then as many words as fit into `width` columns, each whole.

    The counts of ended and failed rows are always included, and so is a wait if nothing has ended. `at` is the unix
    time, by default now.
    """
    parts = [f"{run.sent:,}/{run.to_send:,}", f"{run.failed:,} failed"]
    for part in filter(None, _list_words(run, time.time() if at is None else at)):
        if width is not None and len(GAP.join((*parts, part))) > width:
            break
        parts.append(part)
    return GAP.join(parts)


def _list_words(run: Snapshot, at: float) -> Iterable[str]:
    """Yield the words in order of importance: an unexpected wait, or one while nothing has ended, comes first."""
    answered = f"{run.answered:,} answered" if run.answered else ""
    end = "" if run.ends_at_deadline and not run.left_s else _format_end(run, at)
    deadline = "(deadline)" if end and run.ends_at_deadline else ""
    wait = _format_wait(run)
    is_sign = not answered and (not run.sent or run.waits_for not in FORESEEN)
    out = f"{run.in_flight:,} in flight" if is_sign and not wait and not run.sent and run.in_flight else ""
    first, later = ((wait, out), ()) if is_sign else ((), (wait,))
    return (answered, *first, end, deadline, *later, _format_pace(run), _format_rate(run), f"{run.done:,} done")


def _format_end(run: Snapshot, at: float) -> str:
    if run.left_s is None or run.sent >= run.to_send:
        return ""
    return f"ends {format_clock(at + run.left_s, at)}"


def _format_wait(run: Snapshot) -> str:
    if run.waits_for is None:
        return ""
    return f"waits: {run.waits_for}" + ("" if run.waits_s is None else f" {format_duration(max(0.0, run.waits_s))}")


def _format_pace(run: Snapshot) -> str:
    """Return that calls are evenly spaced, and why."""
    if run.pace is None:
        return ""
    evenly = f"evenly, one every {format_duration(run.pace.interval_s)}"
    if run.pace.share == 1:
        return f"{evenly}: refused at {run.pace.at_once} at once"
    if run.pace.steady is not None:
        return f"{evenly}: the service accepts {run.pace.steady} in a window, fewer than {name_setting('quota')} says"
    return f"{evenly}: something else also uses the account"


def _format_rate(run: Snapshot) -> str:
    return f"{run.sent / run.elapsed_s:,.1f}/s" if run.elapsed_s > 0 else ""


class Lines:
    """Writes one plain line each time: for a log, a pipe, a cron mail, a terminal that only prints."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.every_s = FIRST_LINE_S
        self._say = say

    def show(self, run: Snapshot) -> None:
        """Write the state of the run."""
        self._say(format_progress(run))
        self.every_s = LINE_EVERY_S

    def close(self) -> None:
        """Do nothing."""


class LoggedProgress:
    """Reports a run's progress to observers: for a run whose standard error is read by a machine."""

    every_s = LINE_EVERY_S

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def show(self, run: Snapshot) -> None:
        """Report the current counts."""
        left_s = None if run.left_s is None else round(run.left_s, 1)
        self._observe(Progressed(run.to_send, run.sent, run.done, run.failed, left_s, run.waits_for))

    def close(self) -> None:
        """Do nothing."""


class Bar:
    """Keeps one line at the end of a terminal: the numbers, and a bar if there is room; the only user of rich."""

    every_s = BAR_EVERY_S

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        # Drawn on demand: no thread, and no lock that delays a result.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def show(self, run: Snapshot) -> None:
        """Draw the current counts."""
        self._live.start()  # not before the run: an error at its start needs a clean terminal
        self._live.update(self._draw(run), refresh=True)

    def _draw(self, run: Snapshot) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._console.width - 1  # a terminal may wrap at its last column
        text = format_progress(run, width)
        line = Table.grid(padding=(0, len(GAP), 0, 0))
        cells: list[Text | ProgressBar] = [Text(text, no_wrap=True, overflow="ellipsis")]
        if (rest := width - len(text) - len(GAP)) >= LEAST_BAR:
            cells.append(ProgressBar(max(1, run.to_send), run.sent, width=rest))
        line.add_row(*cells)
        return line

    def say(self, text: str) -> None:
        """Write a line above the bar unchanged: neither wrapped nor coloured."""
        self._console.out(text, highlight=False)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._live.stop()
