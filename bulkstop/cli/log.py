"""`--log-level` and `--log-json`: write log records to standard error, one record a line."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from bulkstop.cli.terminal import print_err
from bulkstop.cli.words.naming import WordChoice
from bulkstop.engine.ending import owned
from bulkstop.events import Warned
from bulkstop.redact import REDACTOR
from bulkstop.report.log import LOG, JsonFormatter, TextFormatter, format_event, log_event

LEVELS = ("debug", "info", "warning", "error")


def with_log(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options `--log-level` and `--log-json` to a command, as the parameters `log_level` and `log_json`."""
    command = click.option(
        "--log-json",
        is_flag=True,
        envvar="BULKSTOP_LOG_JSON",
        help="Log JSON objects, one a line, instead of text for people.",
    )(command)
    return click.option(
        "--log-level",
        type=WordChoice(LEVELS),
        default="warning",
        show_default=True,
        envvar="BULKSTOP_LOG_LEVEL",
        help="Least severe messages to log on standard error.",
    )(command)


@contextmanager
def log_to_stderr(level: str, *, as_json: bool, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Log to standard error within the block, without these secrets; libraries log only warnings and errors.

    Unhandled errors of threads and destructors, which Python would print itself, are logged too.
    """
    for secret in secrets:
        REDACTOR.add(secret)
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = _StderrHandler()
    formatter = JsonFormatter() if as_json else TextFormatter()
    handler.setFormatter(formatter)
    root, before = logging.getLogger(), (logging.getLogger().level, LOG.level)
    root.addHandler(handler)
    root.setLevel(max(number, logging.WARNING))
    LOG.setLevel(number)
    if (process := owned()) is not None:
        process.format_stall = lambda stall: format_event(stall, formatter, number)
        process.format_text = (lambda text: format_event(Warned(text), formatter, 0)) if as_json else str
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = threading.excepthook = _log_unraised
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        sys.unraisablehook, threading.excepthook = hooks
        root.removeHandler(handler)
        root.setLevel(before[0])
        LOG.setLevel(before[1])


def say(text: str) -> None:
    """Print a text about how a run is about to end; with --log-json, log it."""
    log_event(Warned(text)) if is_json() else print_err(text)


def is_json() -> bool:
    """Return whether standard error has JSON lines."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def _log_unraised(found: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
        error = found.exc_type, found.exc_value, found.exc_traceback
        LOG.error("an unhandled error", exc_info=error)


class _StderrHandler(logging.Handler):
    """Writes each record through `print_err`, so that log lines do not break a progress bar on the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and record.name.partition(".")[0] != LOG.name:
            return  # a library has set its own level
        with suppress(Exception):  # the standard library would print a traceback with arguments
            print_err(self.format(record))
