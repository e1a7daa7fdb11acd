"""What is said to a person, and asked."""

import sys
from contextlib import suppress
from typing import TextIO

import click


def say(text: str) -> None:
    """Write a line to standard error; a terminal that is gone must not end a run."""
    with suppress(OSError, ValueError):
        click.echo(text, err=True)


def tell(text: str) -> None:
    """Write to standard output; raises BrokenPipeError when its reader is gone."""
    click.echo(text)


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
