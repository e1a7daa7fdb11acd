"""A process ends in time after its second signal, whatever its event loop is doing.

A loop can be late for three reasons, and each has its remedy:

- Python code, a regular expression, or a write to a stalled reader: Python's signal handlers still run, between
  bytecodes or when the kernel interrupts the write. So a kernel timer is set whose handler ends the process; this needs
  no thread, which the machine may refuse. If only messages to a person are stuck, the handler discards them, and the
  run finishes with all its lines.
- A call into C that holds the interpreter's lock: no handler runs, and a `Watchdog` ends the process from outside.
- Plain work that takes long: while lines are written at the speed of a file, the process continues.

Only the command line permits this (`own_process`); as a library the engine never ends the process.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from bulkstop.events import LoopStalled

if TYPE_CHECKING:
    import socket

    from bulkstop.engine.watchdog import Watchdog

WITHIN_S = 1.0
"""A process is gone this long after the grace that follows its second signal."""
_TIMER_S, _WATCHDOG_S = WITHIN_S - 0.25, WITHIN_S - 0.05
"""Python's own handler acts first; the watchdog acts afterwards."""
CHECK_EVERY_S = 0.25
STALL_S = 5.0
"""An event loop that has not run for this long counts as blocked."""
BEAT_S = 0.5
"""The interval of heartbeats from the event loop."""
LINES_A_CHECK = 250
"""A file takes far more lines than these per check; with fewer, the reader of the output is the bottleneck."""


class Process:
    """A process that may be ended: how to exit with a code, how to print a message, how to unblock output.

    While the context manager `beside` is open, messages bypass the event loop, so that it waits for no reader. `signum`
    is the first signal received; `has_worked` says whether the work was completed, and `before_work` is the phrase that
    a message uses before that. `format_stall` formats the log line of a blocked event loop, `format_text` any other
    message about the end; `{time}` in it stands for the time.
    """

    def __init__(
        self,
        leave: Callable[[int], object],
        tell: Callable[[str], object],
        unblock: Callable[[], object],
        beside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.leave = leave
        self.tell = tell
        self.unblock = unblock
        self.beside = beside
        self.format_text: Callable[[str], str] = str
        self.format_stall: Callable[[LoopStalled], str] = lambda stall: ""
        self.signum: int | None = None
        self.has_worked = False
        self.before_work = " before anything was sent"


_owned: list[Process] = []


@contextmanager
def own_process(
    leave: Callable[[int], object],
    tell: Callable[[str], object],
    unblock: Callable[[], object],
    beside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[Process]:
    """Permit the engine to end this process while the block runs, by calling `leave` with an exit code."""
    _owned.append(Process(leave, tell, unblock, beside))
    try:
        yield _owned[-1]
    finally:
        _owned.pop()


def owned() -> Process | None:
    """Return the process if the engine may end it, else None."""
    return _owned[-1] if _owned else None


class Run(Protocol):
    """The facts about a run that are needed to end it by force."""

    grace_s: float
    lines: int
    """The number of lines written so far."""
    lost: str
    """What becomes of unfinished work, in words for the user."""
    stack: str | None
    """The file that receives the stack of a blocked run."""

    def why_stuck(self) -> str:
        """Return which part of the run has not ended."""
        ...

    def kill(self) -> None:
        """End everything that would outlive the process."""
        ...


class Ending:
    """Counts the signals of a run, and ends its process if the second one has no effect in time."""

    def __init__(self, process: Process, run: Run, inbox: "socket.socket", signals: Sequence[int]) -> None:
        self._process = process
        self._run = run
        self._lines = 0
        self._heard = 0
        self._due = math.inf
        self._alarm_before = signal.signal(signal.SIGALRM, self._ring)
        self._watchdog = _watchdog(process, run, inbox, signals)

    def hear(self, signum: int) -> None:
        """Count a signal; the second one starts the timer, and no other extends it."""
        self._process.signum = self._process.signum or signum
        if self._watchdog is not None:
            self._watchdog.hear(signum)
        self._heard += 1
        if self._heard == 2:
            self._due = time.monotonic() + self._run.grace_s + _TIMER_S
            signal.setitimer(signal.ITIMER_REAL, CHECK_EVERY_S, CHECK_EVERY_S)

    def beat(self) -> None:
        """Report that the event loop runs; call it every BEAT_S seconds."""
        if self._watchdog is not None:
            self._watchdog.beat()

    def close(self) -> None:
        """Stop watching."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._alarm_before)
        if self._watchdog is not None:
            self._watchdog.close()

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        self._process.unblock()
        before, self._lines = self._lines, self._run.lines
        if time.monotonic() < self._due:
            return
        if self._lines - before < LINES_A_CHECK:
            self._end()
        elif self._watchdog is not None:
            self._watchdog.wait()

    def _end(self) -> None:
        try:
            self._run.kill()
            self._process.tell(self._process.format_text(_line(self._run.why_stuck(), self._run.lost)))
        finally:
            self._process.leave(128 + (self._process.signum or signal.SIGTERM))


def _watchdog(process: Process, run: Run, inbox: "socket.socket", signals: Sequence[int]) -> "Watchdog | None":
    from bulkstop.engine.watchdog import Watchdog  # imported here because `--help` does not need it

    text = f"{process.format_text(_line('the event loop did not answer', run.lost))}\n"
    line = process.format_stall(LoopStalled(STALL_S, run.stack))
    with suppress(OSError):
        return Watchdog(inbox, signals, within_s=run.grace_s + _WATCHDOG_S, text=text, stall_line=line, stack=run.stack)
    return None  # no process can be started: a call into C must be awaited


def _line(why: str, lost: str) -> str:
    return f"bulkstop: ended by force after the second signal: {why}; {lost}"
