"""What is said to a person, and asked."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from bulkstop.text import escape


def _echo(text: str) -> None:
    click.echo(text, err=True)


_writers: list[Callable[[str], None]] = [_echo]


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
            begin = "\r\x1b[2K\x1b[?25h" if os.isatty(2) else ""
            os.write(2, f"{begin}{text}\n".encode())


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
def redirect_err(write: Callable[[str], None]) -> Iterator[None]:
    """Let `write` write what is said meanwhile: a bar that stands below it on the terminal."""
    _writers.append(write)
    try:
        yield
    finally:
        _writers.pop()


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


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):  # closed
        return False
