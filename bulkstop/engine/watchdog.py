"""A process outside the run ends it if it hangs inside C, where no Python handler runs.

A call into C that neither returns nor checks for signals holds the interpreter's lock, and so blocks all Python threads
and handlers of the process. Only the kernel's part of a handler still runs: it writes the signal's number to a socket.
A separate process (watchdog_process.py) reads and counts these. It could kill the run, but not give it an exit code; so
the C library is asked beforehand to exit with that code once an eventfd is readable (`aio_read`, served by a thread of
the library), which takes no Python.

The watchdog also reports stalls: `faulthandler`, whose thread needs no interpreter either, writes the run's stacks into
a pipe when the event loop has not turned for STALL_S, and the watchdog copies them to a file.
"""

import faulthandler
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bulkstop.engine.ending import STALL_S
from bulkstop.engine.watchdog_process import GOES_ON

_SCRIPT = str(Path(__file__).with_name("watchdog_process.py"))
_DETACHED = ("/bin/sh", "-c", '"$@" &', "sh")
"""Starts a detached process: it need not be awaited, and is not counted among the working processes."""
_SIGEV_THREAD = 2


class Watchdog:
    """A process that ends this one `within_s` after a second signal, unless it has ended by then.

    If STALL_S pass after a `beat` without another, it writes `stall_line` to standard error and the stacks of this
    process to the file `stack`, unless these are empty. Raises OSError if it cannot be started.
    """

    def __init__(
        self,
        inbox: socket.socket,
        signals: Sequence[int],
        *,
        within_s: float,
        text: str,
        stall_line: str = "",
        stack: str | None = None,
    ) -> None:
        orders = exit_orders(tuple(128 + signum for signum in signals))
        self._run, theirs = socket.socketpair()
        self._run.setblocking(False)
        stacks, self._stacks = os.pipe()
        fds = (theirs.fileno(), inbox.fileno(), stacks)
        pairs = ",".join(f"{code}={fd}" for code, fd in orders.items())
        words = (os.getpid(), *fds, within_s, pairs, text, stall_line, stack or "")
        with theirs, os.fdopen(stacks):
            try:
                subprocess.run(  # noqa: S603 - this interpreter, and a script of this package
                    [*_DETACHED, sys.executable, "-I", "-S", _SCRIPT, *map(str, words)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[*fds, *orders.values()],
                    start_new_session=True,  # otherwise Ctrl-C would reach it too
                    env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                    check=False,
                )
            except BaseException:
                self.close()
                raise

    def hear(self, signum: int) -> None:
        """Report a signal that was taken out of the inbox."""
        with suppress(OSError):  # without the watchdog, only a hang inside C goes unnoticed
            self._run.send(bytes([signum]))

    def wait(self) -> None:
        """Report that the run still writes, and needs a little longer."""
        self.hear(GOES_ON)

    def beat(self) -> None:
        """Report that the event loop turns."""
        with suppress(RuntimeError):  # no thread can be started: a stall is reported only afterwards
            faulthandler.dump_traceback_later(STALL_S, repeat=True, file=self._stacks)

    def close(self) -> None:
        """Let the watchdog end."""
        faulthandler.cancel_dump_traceback_later()
        self._run.close()
        os.close(self._stacks)


@cache
def exit_orders(codes: tuple[int, ...]) -> Mapping[int, int]:
    """Return an eventfd for each exit code: writing a number to it ends this process, whatever it is doing.

    Empty if the layout of the C library's structures is unknown. They exist as long as the process.
    """
    is_known = sys.platform == "linux" and sys.byteorder == "little" and sys.maxsize > 2**32
    orders: dict[int, int] = {}
    for code in codes if is_known else ():
        with suppress(OSError, AttributeError, ImportError):
            orders[code] = _exit_order(code)
    return orders


def _exit_order(code: int) -> int:
    """Ask the C library to exit with a code once a number is written to an eventfd, and return that."""
    import ctypes  # imported here because only signal handling needs it

    class Event(ctypes.Structure):
        _fields_ = (
            ("value", ctypes.c_void_p),
            ("signo", ctypes.c_int),
            ("notify", ctypes.c_int),
            ("function", ctypes.c_void_p),
            ("rest", ctypes.c_char * 40),
        )

    class Read(ctypes.Structure):
        _fields_ = (
            ("fd", ctypes.c_int),
            ("opcode", ctypes.c_int),
            ("priority", ctypes.c_int),
            ("buffer", ctypes.c_void_p),
            ("size", ctypes.c_size_t),
            ("event", Event),
            ("rest", ctypes.c_char * 256),  # more than any C library stores here
        )

    library = ctypes.CDLL(None, use_errno=True)
    leave = ctypes.cast(library._exit, ctypes.c_void_p).value  # noqa: SLF001 - its name in C
    order, number = os.eventfd(0), ctypes.create_string_buffer(8)
    event = Event(value=code, notify=_SIGEV_THREAD, function=leave)
    read = Read(fd=order, buffer=ctypes.addressof(number), size=8, event=event)
    if library.aio_read(ctypes.byref(read)):
        os.close(order)
        raise OSError(ctypes.get_errno(), "no more threads")
    for value in (number, read):
        # The library's thread may read them during interpreter shutdown, and would take freed memory for a failed read:
        # 2 of 60 short runs ended with this code instead of their own.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return order
