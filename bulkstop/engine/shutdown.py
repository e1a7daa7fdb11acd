"""The first signal drains, the second aborts."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from bulkstop.engine.ending import BEAT_S, STALL_S, Ending, owned
from bulkstop.events import LoopStalled, Observe, ignore
from bulkstop.model import Endable
from bulkstop.text import format_count

Handler = Callable[[int, FrameType | None], object] | int | None


class Shutdown:
    """Counts the requests to end a run; `signum` is the first signal, for the exit code.

    Create it inside the task of the run; until work is attached nothing has been sent, and a request cancels that task.
    If the process is ended by force (see `Ending`), `lost` says what becomes of unfinished work, and `kill` ends what
    would outlive it; `lines` counts the lines written so far, because a run that still writes is not stuck.

    `observe` receives the event of a blocked event loop; its stack is written to the file `stack`.
    """

    def __init__(
        self,
        work: Endable | None = None,
        *,
        grace_s: float,
        say: Callable[[str], None] = lambda text: None,
        lost: str = "what was in flight is unknown",
        kill: Callable[[], None] = lambda: None,
        observe: Observe = ignore,
        stack: str | None = None,
    ) -> None:
        self.signum: int | None = None
        self.grace_s = grace_s
        self.lines = 0
        self.lost = lost
        self.kill = kill
        self.observe = observe
        self.stack = stack
        self._task = asyncio.current_task()
        self._work = work
        self._say = say
        self._grace: asyncio.TimerHandle | None = None
        self._requests = 0
        self._is_over = False

    def attach(self, work: Endable) -> None:
        """Set the work to end."""
        self._work = work

    def request(self, signum: int) -> None:
        """Drain on the first request; abort on the second, or when the grace is over."""
        if self._is_over:
            return
        work, is_first = self._work, self.signum is None
        self.signum = self.signum or signum
        self._requests += 1
        if work is None:
            if self._task is not None:
                self._task.cancel()
        elif not is_first:
            work.abort()
        else:
            work.drain()
            self._grace = asyncio.get_running_loop().call_later(self.grace_s, work.abort)  # the message may fail
            self._say(
                f"ending: waiting up to {self.grace_s:g} s for "
                f"{format_count(work.in_flight, 'call')} in flight; again cuts them off"
            )

    def close(self) -> None:
        """Cancel the grace timer, because the work is over."""
        self._is_over = True
        if self._grace is not None:
            self._grace.cancel()

    def why_stuck(self) -> str:
        """Return why a run has not ended after two requests."""
        if self._is_over:
            return "it was over, but could not say so to its end (does anybody read that?)"
        return "what was cut off did not end" if self._requests > 1 else "the event loop did not answer"


@contextmanager
def handle_signals(shutdown: Shutdown, signals: Sequence[int]) -> Iterator[None]:
    """Pass the given signals to `shutdown` while the block runs; without any, the handlers of the program stay.

    If the process was started with SIGHUP ignored (nohup), that stays. After a request the signals are ignored: another
    one must not kill the process while it reports how the run ended. In a process of our own (`own_process`) the second
    signal still ends it in time, even after the block.
    """
    heard = [s for s in signals if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
    listener = _Listener(shutdown, heard) if heard else None
    try:
        yield
        if (process := owned()) is not None:
            process.has_worked = True
    finally:
        shutdown.close()
        if listener is not None:
            listener.close()


class _Listener:
    """Receives signals at once, even while the event loop is blocked, and passes them to the loop.

    The loop's own handlers (`add_signal_handler`) run only when it turns. Python's handlers run between bytecodes of
    the main thread, and when the kernel interrupts a system call. They run once for any number of signals in between;
    the kernel writes one byte for each signal to the `inbox`, so those bytes are counted. A readable inbox also wakes a
    loop that sleeps in C (uvloop's).
    """

    def __init__(self, shutdown: Shutdown, signals: Sequence[int]) -> None:
        self._shutdown = shutdown
        self._loop = asyncio.get_running_loop()
        self._signals = frozenset(signals)
        self._heard = False
        self._inbox, self._mail = socket.socketpair()
        self._inbox.setblocking(False)
        self._mail.setblocking(False)
        self._loop.add_reader(self._inbox, self._collect)
        self._wakeup_before = self._wake()
        process = owned()
        self._ending = None if process is None else Ending(process, shutdown, self._inbox, signals)
        self._before = {signum: signal.signal(signum, self._handle) for signum in signals}
        self._turned_at = time.monotonic()
        self._beat()

    def close(self) -> None:
        """Stop receiving signals; a process of our own that is to end only detaches from the loop."""
        self._timer.cancel()
        self._loop.remove_reader(self._inbox)
        if self._ending is not None and self._heard:
            return
        for signum, before in self._before.items():
            signal.signal(signum, signal.SIG_IGN if self._heard else _restorable(before))
        signal.set_wakeup_fd(self._wakeup_before)
        if self._ending is not None:
            self._ending.close()
        self._inbox.close()
        self._mail.close()

    def _beat(self) -> None:
        """Record that the loop turns, and report a stall if it did not for long."""
        before, self._turned_at = self._turned_at, time.monotonic()
        if (stood_s := self._turned_at - before) >= STALL_S:
            has_stack = self._shutdown.stack is not None and os.path.lexists(self._shutdown.stack)
            self._shutdown.observe(LoopStalled(round(stood_s, 1), self._shutdown.stack if has_stack else None))
        if self._ending is not None:
            self._ending.beat()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _wake(self) -> int:
        """Redirect the kernel's wakeup bytes here, and return the previous descriptor."""
        return signal.set_wakeup_fd(self._mail.fileno(), warn_on_full_buffer=False)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        was = self._wake()
        if was != self._mail.fileno():  # other code took the wakeup descriptor and got the byte
            self._wakeup_before = was
            self._hear(signum)
        self._collect()

    def _collect(self) -> None:
        with suppress(BlockingIOError):
            for signum in self._inbox.recv(4096):
                if signum in self._signals:
                    self._hear(signum)
                elif self._wakeup_before >= 0:  # for a handler that is not ours
                    with suppress(OSError):
                        os.write(self._wakeup_before, bytes([signum]))

    def _hear(self, signum: int) -> None:
        self._heard = True
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._shutdown.request, signum)
        if self._ending is not None:
            self._ending.hear(signum)


def _restorable(before: Handler) -> Handler:
    """Return the handler to restore; for asyncio's temporary SIGINT handler, Python's default."""
    if before is None:  # a handler not installed from Python
        return signal.SIG_DFL
    is_of_asyncio = getattr(getattr(before, "func", None), "__module__", "") == "asyncio.runners"
    return signal.default_int_handler if is_of_asyncio else before
