"""A log record is one line, safe on a terminal, without a secret."""

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from types import TracebackType

from bulkstop.events import Event
from bulkstop.model import utc_text
from bulkstop.redact import REDACTOR, Redactor
from bulkstop.text import escape

LOG = logging.getLogger("bulkstop")
MOST_CHARS = 2000
"""The most characters of one text in a record."""

_MOST = 2**63
_BARE = re.compile(r"[A-Za-z0-9_./:,@+-]+")


def log_event(event: Event) -> None:
    """Log what has happened in a sentence; the record's `event` and `fields` are its name and its data."""
    if LOG.isEnabledFor(event.severity):
        sentence = escape(_clip(REDACTOR.redact(event.sentence)))
        LOG.log(event.severity, sentence, extra={"event": event.name, "fields": event.as_dict()})


class TextFormatter(logging.Formatter):
    """Writes `TIME LEVEL event key=value ...`, or `TIME LEVEL logger: message`."""

    def __init__(self, redactor: Redactor = REDACTOR) -> None:
        super().__init__()
        self._secrets = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the one line of a record; no record makes it raise."""
        name, fields = _event_fields(record)
        said = f"{record.name}: {_text(fields.pop('message'))}" if name is None else name
        parts = [utc_text(record.created), f"{record.levelname:<7}", escape(_clip(self._secrets.redact(said)))]
        parts += [f"{key}={self._value(value)}" for key, value in fields.items() if value is not None]
        return self._secrets.redact(escape(" ".join(parts)))

    def _value(self, value: object) -> str:
        text = _clip(self._secrets.redact(_counts(value) if isinstance(value, Mapping) else _text(value)))
        return text if _BARE.fullmatch(text) else escape(json.dumps(text, ensure_ascii=False))


class JsonFormatter(logging.Formatter):
    """Writes one JSON object in ASCII: `time`, `level` and `event`, then what belongs to the event."""

    def __init__(self, redactor: Redactor = REDACTOR) -> None:
        super().__init__()
        self._secrets = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the one line of a record; no record makes it raise."""
        name, fields = _event_fields(record)
        head = {"time": utc_text(record.created), "level": record.levelname.lower(), "event": name or "message"}
        origin = {"logger": record.name} if name is None else {}
        values = {key: self._value(value) for key, value in (head | origin | fields).items()}
        return json.dumps(values).replace("\x7f", "\\u007f")

    def _value(self, value: object) -> object:
        if value is None or (isinstance(value, int) and abs(value) <= _MOST):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {_clip(self._secrets.redact(_text(key))): self._value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(each) for each in value]
        return _clip(self._secrets.redact(_text(value)))


def _event_fields(record: logging.LogRecord) -> tuple[str | None, dict[str, object]]:
    """Return the event of a record, None for a message in words, and its fields."""
    name, values = getattr(record, "event", None), getattr(record, "fields", None)
    if not isinstance(values, Mapping):
        name, values = None, {"message": _message(record)}
    fields: dict[str, object] = dict(values)
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = _format_error(record.exc_info[1])
    return (None if name is None else _text(name)), fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - a slip in a library's record must not end a run
        return f"{_text(record.msg)} (its arguments cannot be shown: {type(error).__name__})"


def _format_error(error: BaseException) -> str:
    """Name an exception, its text and the line it came from."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""  # noqa: PTH119 - a name, not a file
    said = _text(error)
    return f"{type(error).__name__}{where}" + (f": {said}" if said else "")


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"(no text: {type(error).__name__})"


def _counts(values: Mapping[object, object]) -> str:
    return ",".join(f"{_text(name)}:{_text(value)}" for name, value in values.items())


def _clip(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "..."
