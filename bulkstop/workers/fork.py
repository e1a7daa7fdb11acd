"""A process: forked off, given orders, read from, ended."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bulkstop.errors import BulkstopError, SettingsError, unforeseen
from bulkstop.model import SIGNALS
from bulkstop.workers.link import Ended, ParentLink, read_message

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


ENDED_S = 5.0
"""How long a process may take to end that has nothing left to do."""

Work = Callable[[ParentLink, int], BulkstopError | None]
"""What a process does, given its link to the parent and its number, from 0; gives what ended it early."""


class WorkerProcess:
    """A process, and the parent's end of the socket to it."""

    def __init__(self, number: int, process: "BaseProcess", sock: socket.socket) -> None:
        self.number = number
        self.in_flight = 0
        self.upto_s = 0.0
        self.has_ended = False
        self._process = process
        self._sock = sock
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Get ready to read its messages."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock, limit=2**20)

    async def read_message(self) -> object:
        """Return its next message; None when it is gone."""
        assert self._reader is not None, "it is connected first"  # noqa: S101 - a slip
        return await read_message(self._reader)

    def order(self, *words: bytes) -> None:
        """Tell it what to do, if it is still there."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(b" ".join(words) + b"\n")

    async def disconnect(self) -> None:
        """Have no more to do with it: it ends, if it has not."""
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> None:
        """See to it that it is gone."""
        self._sock.close()
        self._process.join(ENDED_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def death(self) -> str:
        """Say how it ended, that should not have; it has closed its end of the socket."""
        self._process.join(ENDED_S)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ended unexpectedly (exit code {code})"
        return f"was killed ({signal.Signals(-code).name})"


@contextmanager
def fork_workers(work: Work, processes: int) -> Iterator[list[WorkerProcess]]:
    """Have so many processes work meanwhile; however the block is left, none is left behind."""
    import multiprocessing  # here, because one process does without

    context = multiprocessing.get_context("fork")
    workers, parent_ends = list[WorkerProcess](), list[socket.socket]()
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a child is to ignore them from the beginning
        try:
            for number in range(processes):
                parent_end, child_end = socket.socketpair()
                parent_ends.append(parent_end)
                args = (work, number, child_end, tuple(parent_ends), mask)
                process = context.Process(target=_run_process, args=args, daemon=True)
                with child_end:
                    process.start()
                workers.append(WorkerProcess(number, process, parent_end))
        except OSError as error:
            why = f"only {len(workers)} of them can be started ({error.strerror})"
            raise SettingsError(f" {processes}: {why}; nothing was sent", setting="processes") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield workers
    finally:
        for sock in parent_ends:
            sock.close()
        for worker in workers:
            worker.end()


def _run_process(
    work: Work,
    number: int,
    sock: socket.socket,
    parent_ends: Sequence[socket.socket],
    mask: set[signal.Signals],
) -> None:
    """Be a process of a run: work, and tell how it ended."""
    for signum in SIGNALS:  # Ctrl-C goes to all; the parent says what is to be done about it
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for each in parent_ends:  # else it would not be seen here, nor by the others, when the parent is gone
        each.close()
    link = ParentLink(sock)
    try:
        fault = work(link, number)
    except BulkstopError as error:
        fault = error
    except asyncio.CancelledError:
        fault = None
    except Exception as error:  # noqa: BLE001 - the border: a traceback is not for a user
        fault = BulkstopError(f"a process failed: {unforeseen(error)}")
    link.send(Ended(fault))
