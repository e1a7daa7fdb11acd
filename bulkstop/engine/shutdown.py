"""The first signal drains, the second aborts."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A closed terminal (SIGHUP) drains as well: what is in flight then still gets its line."""


class Endable(Protocol):
    """Work that can be ended early: a pool, a generator, several processes."""

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        ...

    def drain(self) -> None:
        """Let nothing more leave."""
        ...

    def abort(self) -> None:
        """Cut off what is in flight."""
        ...


class Shutdown:
    """Counts the requests to end a run; `signum` is the first one's number, for the exit code.

    Made inside the task that runs; without work yet, nothing has been sent, and a request cancels that task.
    """

    def __init__(
        self, work: Endable | None = None, *, grace_s: float, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.signum: int | None = None
        self._task = asyncio.current_task()
        self._work = work
        self._grace_s = grace_s
        self._say = say
        self._grace: asyncio.TimerHandle | None = None

    def attach(self, work: Endable) -> None:
        """Say what to end."""
        self._work = work

    def request(self, signum: int) -> None:
        """Drain on the first call, abort on the second or when the grace is over."""
        work, is_first = self._work, self.signum is None
        self.signum = self.signum or signum
        if work is None:
            if self._task is not None:
                self._task.cancel()
        elif not is_first:
            work.abort()
        else:
            work.drain()
            self._grace = asyncio.get_running_loop().call_later(self._grace_s, work.abort)  # first: to say so may fail
            self._say(
                f"ending: waiting up to {self._grace_s:g} s for {work.in_flight} calls in flight; again cuts them off"
            )

    def close(self) -> None:
        """End the grace: the work is over."""
        if self._grace is not None:
            self._grace.cancel()


@contextmanager
def listening(shutdown: Shutdown, signals: Sequence[int]) -> Iterator[None]:
    """Pass the given signals to `shutdown` while the block runs; give none to stay out of another program's way.

    A hang-up that the process was started to ignore (nohup) stays ignored. After a request the signals are ignored:
    another one must not kill the process while it says how the run ended.
    """
    loop = asyncio.get_running_loop()
    heard = [s for s in signals if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
    try:
        for signum in heard:
            loop.add_signal_handler(signum, shutdown.request, signum)
        yield
    finally:
        shutdown.close()
        for signum in heard:
            loop.remove_signal_handler(signum)
            if shutdown.signum is not None:
                signal.signal(signum, signal.SIG_IGN)
