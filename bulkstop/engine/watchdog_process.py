"""The process beside a run that ends it when nothing in the run can.

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


def watch(run: socket.socket, inbox: socket.socket, within_s: float) -> int | None:
    """Wait until a run has not ended in time after its second signal, and give the first; None when it has ended.

    A signal counts once the run tells of it over `run`, and before that when it stands unread in the `inbox`, where the
    kernel's handler puts it: so it counts as well while no Python runs in there.
    """
    heard, unread, signums, due = b"", b"", b"", float("inf")
    while (now := time.monotonic()) < due:
        # What is unread stays readable: to wait for it again would be no wait.
        ready = _readable([run] if unread else [run, inbox], min(due - now, LOOK_EVERY_S if unread else FOR_EVER_S))
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


def _readable(sockets: Sequence[socket.socket], within_s: float) -> list[int]:
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    return [fd for fd, _ in poll.poll(within_s * 1000)]


def _is_gone(run: socket.socket, until: float) -> bool:
    while (left_s := until - time.monotonic()) > 0:
        if _readable([run], left_s) and not run.recv(64):
            return True
    return False


def _unread(inbox: socket.socket) -> bytes:
    with suppress(BlockingIOError):
        return inbox.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


def end(pid: int, run: socket.socket, orders: Mapping[int, int], code: int, text: str) -> None:
    """Say that a process is ended, and see to it: by an order for the exit code, and if that does not help, at once."""
    with suppress(OSError):
        room = select.poll()
        room.register(2, select.POLLOUT)
        if room.poll(0):  # a standard error that nobody reads must not hold this up
            os.write(2, text.encode())
    if code in orders:
        os.write(orders[code], (1).to_bytes(8, sys.byteorder))
        if _is_gone(run, time.monotonic() + DIES_WITHIN_S):
            return
    os.kill(pid, signal.SIGKILL)  # it is there: else its end of the socket would be closed


def main(pid: str, run: str, inbox: str, within_s: str, orders: str, text: str) -> None:
    """Watch the process of that id, to whose sockets and orders these files lead."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)  # whoever signals all that is called bulkstop does not mean this one
    with socket.socket(fileno=int(run)) as parent, socket.socket(fileno=int(inbox)) as unread:
        first = watch(parent, unread, float(within_s))
        if first is not None:
            pairs = (pair.split("=") for pair in orders.split(",") if pair)
            end(int(pid), parent, {int(code): int(fd) for code, fd in pairs}, 128 + first, text)


if __name__ == "__main__":
    main(*sys.argv[1:])
