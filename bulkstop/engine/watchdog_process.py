"""The process beside a run that reports for it, and ends it when the run itself cannot.

It runs as a standalone script without this package, so that it starts at once and depends on nothing.
"""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

GOES_ON = 0
"""The message of a run, in place of a signal, that it is still writing and needs longer."""
LATER_S = 1.0
LOOK_EVERY_S = 0.05
"""The interval of checks for an unread signal; a run whose loop turns reads it much sooner."""
DIES_WITHIN_S = 0.3
"""How long a process may take to exit when ordered to; then it is killed."""
FOR_EVER_S = 3600.0
"""The timeout when there is nothing to wait for; the wait just begins again."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_STALLS = 20
"""The most reports of stalls; a lasting stall is reported again each time that it has lasted as long again."""
BEGINS = b"Timeout ("
"""The start of a stack dump that faulthandler writes after a timeout."""


class Stall:
    """The reports of a blocked run: a line, and a file for the stacks that arrive from `source`."""

    def __init__(self, source: int = -1, line: str = "", path: str = "") -> None:
        self.source = source
        self._line = line
        self._path = path
        self._left = MOST_STALLS

    def tell(self) -> None:
        """Report what has arrived; at the end of the stream stop waiting for it."""
        data = os.read(self.source, 65536)
        self._left -= data.count(BEGINS)
        if not data:
            self.source = -1
        if not data or self._left < 0:
            return
        if self._path:
            with suppress(OSError):
                self._append(data)
        if self._line and BEGINS in data:
            write_err(f"{self._line}\n")

    def _append(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o600)
        try:
            status = os.fstat(fd)
            if status.st_uid == os.geteuid() and status.st_nlink == 1:  # otherwise another user may have planted it
                os.write(fd, data)
        finally:
            os.close(fd)


def watch(run: socket.socket, inbox: socket.socket, within_s: float, stall: Stall | None = None) -> int | None:
    """Wait until a run is overdue after its second signal, and return the first; return None if it has ended.

    A signal counts once the run reports it over `run`, or while it is unread in the `inbox`, where the kernel's handler
    writes it: so it counts even while no Python runs in the run.
    """
    heard, unread, signums, due = b"", b"", b"", float("inf")
    stall = stall or Stall()
    while (now := time.monotonic()) < due:
        # Unread bytes stay readable, so polling for them would return at once.
        fds = [run.fileno(), *([] if unread else [inbox.fileno()]), *([] if stall.source < 0 else [stall.source])]
        ready = _readable(fds, min(due - now, LOOK_EVERY_S if unread else FOR_EVER_S))
        if stall.source in ready:
            stall.tell()
        if run.fileno() in ready:  # before the inbox is read, otherwise bytes moved meanwhile would count twice
            message = run.recv(64)
            if not message:
                return None
            due = time.monotonic() + LATER_S if GOES_ON in message else due
            heard += bytes(signum for signum in message if signum != GOES_ON)
        unread = _unread(inbox)
        signums = heard + bytes(signum for signum in unread if signum in SIGNALS)
        if due == float("inf") and len(signums) > 1:
            due = time.monotonic() + within_s
    return signums[0]


def _readable(fds: Sequence[int], within_s: float) -> list[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(within_s * 1000)]


def _is_gone(run: socket.socket, until: float) -> bool:
    while (left_s := until - time.monotonic()) > 0:
        if _readable([run.fileno()], left_s) and not run.recv(64):
            return True
    return False


def _unread(inbox: socket.socket) -> bytes:
    with suppress(BlockingIOError):
        return inbox.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


def end(pid: int, run: socket.socket, orders: Mapping[int, int], code: int, text: str) -> None:
    """Report that a process is ended, and end it: by an order for the exit code, and if that fails by SIGKILL."""
    write_err(text)
    if code in orders:
        os.write(orders[code], (1).to_bytes(8, sys.byteorder))
        if _is_gone(run, time.monotonic() + DIES_WITHIN_S):
            return
    os.kill(pid, signal.SIGKILL)  # it still exists: otherwise its end of the socket would be closed


def write_err(text: str) -> None:
    """Write to standard error, with `{time}` replaced, if that does not block."""
    with suppress(OSError):
        room = select.poll()
        room.register(2, select.POLLOUT)
        if room.poll(0):
            begin = "\r\x1b[2K" if os.isatty(2) else ""  # clear a progress bar
            now = time.time()
            at = time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(now * 1000) % 1000:03}Z", time.gmtime(now))
            os.write(2, f"{begin}{text.replace('{time}', at)}".encode(errors="backslashreplace"))


def main(
    pid: str, run: str, inbox: str, stacks: str, within_s: str, orders: str, text: str, line: str, path: str
) -> None:
    """Watch the process `pid`; the other arguments are its descriptors, its deadline and its messages."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)  # signals to everything called bulkstop are not meant for this process
    with socket.socket(fileno=int(run)) as parent, socket.socket(fileno=int(inbox)) as unread:
        first = watch(parent, unread, float(within_s), Stall(int(stacks), line, path))
        if first is not None:
            pairs = (pair.split("=") for pair in orders.split(",") if pair)
            end(int(pid), parent, {int(code): int(fd) for code, fd in pairs}, 128 + first, text)


if __name__ == "__main__":
    main(*sys.argv[1:])
