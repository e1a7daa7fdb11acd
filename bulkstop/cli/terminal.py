"""Prints messages for a person, and asks questions."""

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
"""Seconds until the progress of reading a list is shown, and seconds between two updates."""


def _echo(text: str) -> None:
    click.echo(text, err=True)


_writers: list[Callable[[str], None]] = [_echo]
_streams: "list[ErrStream]" = []
"""The streams that replace standard error while an event loop runs, the current one last."""


@contextmanager
def end_at_signals(before_work: str) -> Iterator[None]:
    """Treat SIGTERM and SIGHUP in the block as Ctrl-C, with a line that says so; ignored signals stay ignored."""

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
    """Write lines to standard error; a closed terminal does not end the run.

    Unprintable characters are escaped as in JSON: an id or a file name may contain terminal control sequences.
    """
    with suppress(OSError, ValueError):
        _writers[-1]("\n".join(map(escape, text.split("\n"))))


def say_at_once(text: str) -> None:
    """Write a line to standard error if it can take one right now; otherwise drop it."""
    with suppress(OSError):
        if _takes_more(2):
            # A progress bar may have hidden the cursor; show it again.
            begin = "\r\x1b[2K\x1b[?25h" if os.isatty(2) and not _is_dumb() else ""
            os.write(2, f"{begin}{text.replace('{time}', _now(text))}\n".encode())


def _now(text: str) -> str:
    if "{time}" not in text:
        return ""
    from bulkstop.model import utc_text  # imported here because `--help` does not need the nouns

    return utc_text(time.time())


def unblock_err() -> None:
    """If nobody reads standard error, redirect it to /dev/null and release writers that wait for its reader."""
    if not _takes_more(2):
        _drop(2)
        for stream in _streams:
            stream.outbox.abandon()


def drop_unread(*fds: int) -> None:
    """Redirect each descriptor that takes no data right now to /dev/null, including writes that wait."""
    for fd in fds:
        if not _takes_more(fd):
            _drop(fd)


def _takes_more(fd: int) -> bool:
    ready = select.poll()
    ready.register(fd, select.POLLOUT)
    return bool(ready.poll(0))


@contextmanager
def write_err_beside() -> Iterator[None]:
    """Write standard error on a thread within the block, so that its reader cannot block the event loop.

    A regular file is written directly, since it has no reader to wait for; so is everything if no thread can start.
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
            stream.outbox.hurry()  # do not wait for a blocked reader after a signal
        stream.outbox.close()
        if stream.outbox.is_over:
            _drop(2)
        _streams.pop()


def err_stream() -> "ErrStream | None":
    """Return the stream that writes standard error on a thread; None outside an event loop."""
    return _streams[-1] if _streams else None


def err_outboxes() -> "Sequence[Outbox[None]]":
    """Return the outbox of standard error, if it is written on a thread."""
    return [stream.outbox for stream in _streams[-1:]]


async def flush_err(within_s: float) -> None:
    """Wait until all messages are written, at most `within_s` seconds."""
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
    """Standard error as a stream whose writes never block; raises OutputError if its thread cannot start."""

    def __init__(self) -> None:
        from bulkstop.outbox import Outbox  # imported here because `--help` does not need it

        self.outbox: Outbox[None] = Outbox(os.dup(2), STDERR)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        """The encoding of standard error."""
        return sys.__stderr__.encoding if sys.__stderr__ else "utf-8"

    def write(self, text: str) -> int:
        """Queue a text for writing."""
        self.outbox.put(text.encode(self.encoding, "backslashreplace"), None)
        return len(text)

    def write_line(self, text: str) -> None:
        """Queue one or more lines for writing."""
        self.write(f"{text}\n")

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return is_shown()

    def fileno(self) -> int:
        """Return the descriptor of standard error, so that the size of its terminal can be read."""
        return 2


@contextmanager
def redirect_err(write: Callable[[str], None]) -> Iterator[None]:
    """Send messages to `write` within the block, for example to keep them above a progress bar."""
    _writers.append(write)
    try:
        yield
    finally:
        _writers.pop()


@contextmanager
def show_reading(*, is_quiet: bool) -> Iterator[None]:
    """Show on a terminal how much of a list has been read, once it takes more than a second."""
    if is_quiet or not can_redraw():
        yield
        return
    from bulkstop.source import watch_reading  # most callers of this module do not read a list

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
    """Replace the current line of the terminal."""
    with suppress(OSError, ValueError):
        click.echo(f"\r\x1b[2K{text}", err=True, nl=False)


def print_out(text: str) -> None:
    """Write to standard output; raises BrokenPipeError if its reader has closed it."""
    click.echo(text)


def print_last(text: str, code: int, *, is_for_a_person: bool = False) -> int:
    """Write the final output after the work is done; return the exit code, 3 if the output cannot be written.

    Raises BrokenPipeError only for output for a person, who may stop reading; a machine needs all of it.
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
    """Redirect standard output to /dev/null, so that Python does not report the same error again at exit."""
    _drop(1)


def flush_out() -> None:
    """Flush the standard streams; drop what cannot be written, because Python would replace our exit code with 120."""
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
    """Return whether a person can answer a question."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def is_shown() -> bool:
    """Return whether standard error is a terminal."""
    return _is_terminal(sys.stderr)


def can_redraw() -> bool:
    """Return whether standard error is a terminal on which a line can be overwritten."""
    return is_shown() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):  # closed
        return False
