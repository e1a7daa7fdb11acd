"""The process beside a run that speaks for it and ends it when nothing in the run can.

Started as a script of its own, without this package: it is to be there at once, and to need nothing.
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
"""What a run tells instead of a signal: it is still writing, look again a little later."""
LATER_S = 1.0
LOOK_EVERY_S = 0.05
"""How often it looks whether a signal is still unread; a run that turns has read it long before."""
DIES_WITHIN_S = 0.3
"""A process whose exit was ordered is gone by then, or is killed."""
FOR_EVER_S = 3600.0
"""Nothing happens by itself; a wait that ends early is begun again."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_STALLS = 20
"""Most reports of a stall: one that lasts is reported again each time that it has gone on for as long."""
BEGINS = b"Timeout ("
"""How the stacks of a process begin that faulthandler writes after a time."""


class Stall:
    """What is told of a run that stands still: a line, and the stacks that come out of `source` go into a file."""

    def __init__(self, source: int = -1, line: str = "", path: str = "") -> None:
        self.source = source
        self._line = line
        self._path = path
        self._left = MOST_STALLS

    def tell(self) -> None:
        """Tell what has come; when nothing more can come, nothing is waited for any more."""
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
            if status.st_uid == os.geteuid() and status.st_nlink == 1:  # else somebody has put it there
                os.write(fd, data)
        finally:
            os.close(fd)


def watch(run: socket.socket, inbox: socket.socket, within_s: float, stall: Stall | None = None) -> int | None:
    """Wait until a run has not ended in time after its second signal, and give the first; None when it has ended.

    A signal counts once the run tells of it over `run`, and before that when it stands unread in the `inbox`, where the
    kernel's handler puts it: so it counts as well while no Python runs in there.
    """
    heard, unread, signums, due = b"", b"", b"", float("inf")
    stall = stall or Stall()
    while (now := time.monotonic()) < due:
        # What is unread stays readable: to wait for it again would be no wait.
        fds = [run.fileno(), *([] if unread else [inbox.fileno()]), *([] if stall.source < 0 else [stall.source])]
        ready = _readable(fds, min(due - now, LOOK_EVERY_S if unread else FOR_EVER_S))
        if stall.source in ready:
            stall.tell()
        if run.fileno() in ready:  # before the look into the inbox, or what moves meanwhile would count twice
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
    """Say that a process is ended, and see to it: by an order for the exit code, and if that does not help, at once."""
    write_err(text)
    if code in orders:
        os.write(orders[code], (1).to_bytes(8, sys.byteorder))
        if _is_gone(run, time.monotonic() + DIES_WITHIN_S):
            return
    os.kill(pid, signal.SIGKILL)  # it is there: else its end of the socket would be closed


def write_err(text: str) -> None:
    """Write to standard error if it takes something right now, `{time}` as the time; it must not hold this up."""
    with suppress(OSError):
        room = select.poll()
        room.register(2, select.POLLOUT)
        if room.poll(0):
            begin = "\r\x1b[2K" if os.isatty(2) else ""  # a bar may stand there
            now = time.time()
            at = time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(now * 1000) % 1000:03}Z", time.gmtime(now))
            os.write(2, f"{begin}{text.replace('{time}', at)}".encode(errors="backslashreplace"))


def main(
    pid: str, run: str, inbox: str, stacks: str, within_s: str, orders: str, text: str, line: str, path: str
) -> None:
    """Watch the process of that id, to whose sockets, stacks and orders these files lead."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)  # whoever signals all that is called bulkstop does not mean this one
    with socket.socket(fileno=int(run)) as parent, socket.socket(fileno=int(inbox)) as unread:
        first = watch(parent, unread, float(within_s), Stall(int(stacks), line, path))
        if first is not None:
            pairs = (pair.split("=") for pair in orders.split(",") if pair)
            end(int(pid), parent, {int(code): int(fd) for code, fd in pairs}, 128 + first, text)


if __name__ == "__main__":
    main(*sys.argv[1:])
