"""What is said to a person, and asked."""

import io
import os
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click

from bulkstop.engine.ending import owned
from bulkstop.errors import BulkstopError
from bulkstop.text import escape, format_size

if TYPE_CHECKING:
    from bulkstop.outbox import Outbox

STDERR = "standard error"
QUIET_S, EVERY_S = 1.0, 0.25
"""After how long, and how often, it is shown how far a reading has come."""


def _echo(text: str) -> None:
    click.echo(text, err=True)


_writers: list[Callable[[str], None]] = [_echo]
_streams: "list[ErrStream]" = []
"""What standard error goes through while an event loop runs."""


@contextmanager
def end_at_signals(before_work: str) -> Iterator[None]:
    """End what only asks at SIGTERM and SIGHUP as at Ctrl-C, with a line that says so; nohup stays in force."""

    def end(signum: int, _: object) -> None:
        if (process := owned()) is not None:
            process.signum = process.signum or signum
        raise KeyboardInterrupt

    if (process := owned()) is not None:
        process.before_work = before_work
    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    usual = {each: signal.signal(each, end) for each in heard}
    try:
        yield
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


def print_err(text: str) -> None:
    """Write a line, or several, to standard error; a terminal that is gone must not end a run.

    Whatever does not print is escaped, as in JSON: an id or a file name may hold what steers a terminal.
    """
    with suppress(OSError, ValueError):
        _writers[-1]("\n".join(map(escape, text.split("\n"))))


def say_at_once(text: str) -> None:
    """Write a line to standard error if it takes one right now; nothing is waited for, nor written later."""
    with suppress(OSError):
        if _takes_more(2):
            # A bar may have hidden the cursor, and nobody will show it again.
            begin = "\r\x1b[2K\x1b[?25h" if os.isatty(2) and not _is_dumb() else ""
            os.write(2, f"{begin}{text.replace('{time}', _now(text))}\n".encode())


def _now(text: str) -> str:
    if "{time}" not in text:
        return ""
    from bulkstop.model import utc_text  # here, because `--help` has no need of the nouns

    return utc_text(time.time())


def unblock_err() -> None:
    """Let standard error go nowhere from now on if nobody reads it; whoever waits for its reader goes on."""
    if not _takes_more(2):
        _drop(2)
        for stream in _streams:
            stream.outbox.abandon()


def drop_unread(*fds: int) -> None:
    """Let each of these go nowhere from now on that takes nothing right now; a write that waits goes there too."""
    for fd in fds:
        if not _takes_more(fd):
            _drop(fd)


def _takes_more(fd: int) -> bool:
    ready = select.poll()
    ready.register(fd, select.POLLOUT)
    return bool(ready.poll(0))


@contextmanager
def write_err_beside() -> Iterator[None]:
    """Write what is said meanwhile on a thread: an event loop must not wait for whoever reads it.

    A file is written to as ever: nobody reads it meanwhile. So is all where there can be no thread.
    """
    stream = _open_err_stream()
    if stream is None:
        yield
        return
    _streams.append(stream)
    try:
        with redirect_err(stream.write_line):
            yield
    finally:
        if (process := owned()) is not None and process.signum is not None:
            stream.outbox.hurry()  # whoever ends it does not wait for a reader that takes nothing
        stream.outbox.close()
        if stream.outbox.is_over:
            _drop(2)
        _streams.pop()


def err_stream() -> "ErrStream | None":
    """Return what standard error goes through right now, if it goes beside an event loop."""
    return _streams[-1] if _streams else None


def err_outboxes() -> "Sequence[Outbox[None]]":
    """Return the outbox of what is said right now, if there is one."""
    return [stream.outbox for stream in _streams[-1:]]


async def flush_err(within_s: float) -> None:
    """Wait until all that was said is written, but no longer than so many seconds."""
    for outbox in err_outboxes():
        await outbox.flush_within(within_s)


def _open_err_stream() -> "ErrStream | None":
    if sys.stderr is None or sys.stderr is not sys.__stderr__:
        return None
    with suppress(OSError, ValueError, BulkstopError):
        if not stat.S_ISREG(os.fstat(2).st_mode):
            return ErrStream()
    return None


class ErrStream(io.TextIOBase):
    """Standard error as a stream whose writes never wait; raises OutputError when there can be no thread for it."""

    def __init__(self) -> None:
        from bulkstop.outbox import Outbox  # here, because `--help` needs none

        self.outbox: Outbox[None] = Outbox(os.dup(2), STDERR)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        """The encoding of standard error."""
        return sys.__stderr__.encoding if sys.__stderr__ else "utf-8"

    def write(self, text: str) -> int:
        """Have a text written."""
        self.outbox.put(text.encode(self.encoding, "backslashreplace"), None)
        return len(text)

    def write_line(self, text: str) -> None:
        """Have a line, or several, written."""
        self.write(f"{text}\n")

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return is_shown()

    def fileno(self) -> int:
        """Return the number of standard error, for whoever asks a terminal for its size."""
        return 2


@contextmanager
def redirect_err(write: Callable[[str], None]) -> Iterator[None]:
    """Let `write` write what is said meanwhile: a bar that stands below it on the terminal."""
    _writers.append(write)
    try:
        yield
    finally:
        _writers.pop()


@contextmanager
def show_reading(*, is_quiet: bool) -> Iterator[None]:
    """Show on a terminal how far the reading of a list has come, once that takes a while."""
    if is_quiet or not can_redraw():
        yield
        return
    from bulkstop.source import watch_reading  # most who print have nothing to do with it

    shown_at, is_dirty = time.monotonic() + QUIET_S, False

    def show(name: str, size: int, lines: int) -> None:
        nonlocal shown_at, is_dirty
        if (now := time.monotonic()) >= shown_at:
            shown_at, is_dirty = now + EVERY_S, True
            text = escape(f"reading {name}: {format_size(size)}, {_format_lines(lines)} lines")
            _write_over(text[: max(0, shutil.get_terminal_size().columns - 1)])

    try:
        with watch_reading(show):
            yield
    finally:
        if is_dirty:
            _write_over("")


def _format_lines(number: int) -> str:
    return f"{number:,}" if number < 10**6 else f"{number / 1e6:.1f} M"


def _write_over(text: str) -> None:
    """Replace the line of the terminal."""
    with suppress(OSError, ValueError):
        click.echo(f"\r\x1b[2K{text}", err=True, nl=False)


def print_out(text: str) -> None:
    """Write to standard output; raises BrokenPipeError when its reader is gone."""
    click.echo(text)


def print_last(text: str, code: int, *, is_for_a_person: bool = False) -> int:
    """Write what is left to tell after the work is done; returns the exit code, which is 3 if that cannot be written.

    Raises BrokenPipeError when a person has seen enough of it; a machine needs all.
    """
    try:
        print_out(text)
    except OSError as error:
        if is_for_a_person and isinstance(error, BrokenPipeError):
            raise
        print_err(f"bulkstop: standard output cannot be written ({error.strerror})")
        drop_output()
        return 3
    return code


def drop_output() -> None:
    """Let standard output go nowhere from now on: Python would complain once more while it shuts down."""
    _drop(1)


def flush_out() -> None:
    """Write what is left; what cannot be written is dropped, or Python would exit with 120 in place of our code."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _drop(fd)


def _drop(fd: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def is_watched() -> bool:
    """Tell whether a person can answer a question."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def is_shown() -> bool:
    """Tell whether standard error is a terminal."""
    return _is_terminal(sys.stderr)


def can_redraw() -> bool:
    """Tell whether standard error is a terminal on which a line can be written over."""
    return is_shown() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):  # closed
        return False
