"""A process that was told twice to end does so within a time, whatever its event loop is doing.

Three things can hold up a loop, and each is met where it can be:

- Python code, a regular expression or a write that nobody reads: handlers of Python run in there, between two steps of
  it or when the kernel breaks off the write. So a timer of the kernel is set, and its handler ends the process. No
  thread is needed, of which a machine may have no more. If it is only what is said to a person that nobody reads, the
  handler lets that go nowhere, and the run comes to its end with all its lines.
- A call into C that keeps the interpreter's lock: no handler runs, and a `Watchdog` ends the process from outside.
- Nothing, it just takes long: as long as lines are written at the speed of a file, the process is let be.

Only the command line gives its process away like this (`own_process`); as a library the engine ends nobody's process.
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
"""A process told twice to end is gone so long after the grace."""
_TIMER_S, _WATCHDOG_S = WITHIN_S - 0.25, WITHIN_S - 0.05
"""When Python ends it, and when it is ended from outside: after Python had its chance."""
CHECK_EVERY_S = 0.25
STALL_S = 5.0
"""An event loop that has not turned for so long stands still."""
BEAT_S = 0.5
"""How often it is told that the loop turns."""
LINES_A_CHECK = 250
"""A file takes far more lines than these in that time; what takes fewer is held up by whoever reads it."""


class Process:
    """A process that may be ended: how it is left, with an exit code, what is said before, and how talk is unblocked.

    What is said while the block `beside` is open goes past an event loop, so that this waits for no reader. `signum` is
    the first signal that told it to end; `has_worked` tells whether work was done to its end in it, and
    `before_work` is what is said of an end before that. `format_stall`
    writes the line that is logged of an event loop that stands still, `format_text` any other that is said of the end;
    TIME in it stands for the time.
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
    """Let the engine end this process while the block runs, by calling `leave` with an exit code."""
    _owned.append(Process(leave, tell, unblock, beside))
    try:
        yield _owned[-1]
    finally:
        _owned.pop()


def owned() -> Process | None:
    """Return the process, if it may be ended."""
    return _owned[-1] if _owned else None


class Run(Protocol):
    """What has to be known of a run that is ended by force."""

    grace_s: float
    lines: int
    """How many lines it has written."""
    lost: str
    """What becomes of what was not finished, for a person."""
    stack: str | None
    """The file to which it is written where the run stands, if it stands still."""

    def why_stuck(self) -> str:
        """Say what has not come to its end."""
        ...

    def kill(self) -> None:
        """End all that would outlive the process."""
        ...


class Ending:
    """Counts the signals of a run, and ends its process when it does not heed the second in time."""

    def __init__(self, process: Process, run: Run, inbox: "socket.socket", signals: Sequence[int]) -> None:
        self._process = process
        self._run = run
        self._lines = 0
        self._heard = 0
        self._due = math.inf
        self._alarm_before = signal.signal(signal.SIGALRM, self._ring)
        self._watchdog = _watchdog(process, run, inbox, signals)

    def hear(self, signum: int) -> None:
        """Take a signal; from the second on the time runs, and no other makes it longer."""
        self._process.signum = self._process.signum or signum
        if self._watchdog is not None:
            self._watchdog.hear(signum)
        self._heard += 1
        if self._heard == 2:
            self._due = time.monotonic() + self._run.grace_s + _TIMER_S
            signal.setitimer(signal.ITIMER_REAL, CHECK_EVERY_S, CHECK_EVERY_S)

    def beat(self) -> None:
        """Be told, every BEAT_S seconds, that the event loop turns."""
        if self._watchdog is not None:
            self._watchdog.beat()

    def close(self) -> None:
        """End nobody any more."""
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
    from bulkstop.engine.watchdog import Watchdog  # here, because `--help` needs none

    text = f"{process.format_text(_line('the event loop did not answer', run.lost))}\n"
    line = process.format_stall(LoopStalled(STALL_S, run.stack))
    with suppress(OSError):
        return Watchdog(inbox, signals, within_s=run.grace_s + _WATCHDOG_S, text=text, stall_line=line, stack=run.stack)
    return None  # there can be no more processes: then a call into C is waited for


def _line(why: str, lost: str) -> str:
    return f"bulkstop: ended by force after the second signal: {why}; {lost}"
