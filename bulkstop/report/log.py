"""A log record is one line that is safe on a terminal and contains no secret."""

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from types import TracebackType

from bulkstop.events import (
    AccountThrottled,
    AttemptBroken,
    AttemptEnded,
    BreakerClosed,
    BreakerOpened,
    Event,
    FellBehind,
    HoldEnded,
    ListsRead,
    LoadBegan,
    LoopStalled,
    PaceLearnt,
    Progressed,
    QuotaStoreAway,
    QuotaStoreBack,
    QuotaStoreEmptied,
    Resting,
    RunBegan,
    RunEnded,
    SearchBegan,
    Sighted,
    TokenRenewed,
    Warned,
    WavePassed,
    WrongScheduleDisabled,
)
from bulkstop.model import utc_text
from bulkstop.redact import REDACTOR, Redactor
from bulkstop.text import escape

LOG = logging.getLogger("bulkstop")
LOG.addHandler(logging.NullHandler())  # programs that want the log add a handler
MOST_CHARS = 2000
"""The most characters of one text in a record."""

TIME = "{time}"
"""A placeholder for the time in a line that is written by a process without a log."""

_MOST = 2**63
_BARE = re.compile(r"[A-Za-z0-9_./:,@+-]+")


LONG_REST_S = 5.0
"""A longer wait before the first stop is logged as a warning."""
_RECORDS: dict[type[Event], tuple[str, int, str]] = {
    RunBegan: ("began", logging.INFO, "run {run_id} began: {to_send} of {rows} rows to send to {host}"),
    RunEnded: ("ended", logging.INFO, "run {run_id} ended: {reason}"),
    AttemptEnded: ("attempt", logging.DEBUG, "stop of {campaign_id} was answered: {outcome}"),
    AttemptBroken: ("attempt", logging.DEBUG, "stop of {campaign_id} was interrupted: {error}"),
    AccountThrottled: (
        "account_throttled",
        logging.WARNING,
        "account {account_id} waits {rest_s:g} s, because the service refused a call",
    ),
    PaceLearnt: (
        "pace_learnt",
        logging.INFO,
        "account {account_id}: calls are sent evenly, one every {interval_s:.3g} s, because the service refused some",
    ),
    BreakerOpened: (
        "breaker_opened",
        logging.WARNING,
        "the service is down: calls that failed in a row: {failed_in_a_row}; the next probe is sent in {probe_s:g} s",
    ),
    BreakerClosed: ("breaker_closed", logging.WARNING, "the service answers again, after {open_s:g} s"),
    WavePassed: (
        "wave_passed",
        logging.INFO,
        "wave {wave} of {waves} passed: {ended} ended, {failed} of them failed",
    ),
    Resting: ("resting", logging.INFO, "calls wait {rest_s:g} s: {why}"),
    ListsRead: ("listed", logging.INFO, "lists read: {lists}, calls: {calls}"),
    WrongScheduleDisabled: (
        "schedule_of_another_disabled",
        logging.ERROR,
        "the service disabled the schedule of {disabled} instead of that of {campaign_id}",
    ),
    TokenRenewed: ("token_renewed", logging.INFO, "a new token is in use"),
    QuotaStoreAway: (
        "quota_store_away",
        logging.WARNING,
        "nothing is sent while the quota store does not answer: {error}",
    ),
    QuotaStoreBack: ("quota_store_back", logging.WARNING, "the quota store answers again, after {away_s:g} s"),
    QuotaStoreEmptied: (
        "quota_store_emptied",
        logging.WARNING,
        "the quota store has lost its count of calls; its windows count as full for {full_s:g} s",
    ),
    Warned: ("doubt", logging.WARNING, "{message}"),
    Progressed: ("progress", logging.INFO, "{sent} of {to_send} ended, {failed} of them failed"),
    FellBehind: ("fell_behind", logging.INFO, "the run will not be done in time: left to stop: {left}"),
    LoopStalled: ("loop_stalled", logging.WARNING, "the event loop was blocked for {stood_s:g} s"),
    Sighted: ("sighted", logging.INFO, "sighting {sighting}: {done} of {rows} stopped"),
    HoldEnded: ("hold_ended", logging.INFO, "hold {run_id} has ended: {verdict}"),
    LoadBegan: ("load_began", logging.INFO, "load test {run_id} of {host} begins"),
    SearchBegan: ("search_began", logging.INFO, "search {run_id} for the highest rate of {host} begins"),
}
"""The name of each event in the log, its level, and the sentence template for its fields."""


def log_event(event: Event) -> None:
    """Log an event as a sentence; the record's `event` and `fields` are its name and its data."""
    name, level, text = _RECORDS[type(event)]
    if isinstance(event, AccountThrottled) and event.is_expected and event.rest_s < LONG_REST_S:
        level = logging.INFO  # this is how it finds its limit
    elif isinstance(event, PaceLearnt) and event.share < 1:
        level = logging.WARNING  # another client uses the account, or its limit is lower than stated
    elif isinstance(event, Resting) and event.rest_s >= LONG_REST_S:
        level = logging.WARNING
    if LOG.isEnabledFor(level):
        sentence = escape(_clip(REDACTOR.redact(text.format_map(event._asdict()))))
        LOG.log(level, sentence, extra={"event": name, "fields": _fields(event)})


def format_event(event: Event, formatter: logging.Formatter, level: int) -> str:
    """Return the log line of an event with TIME as its time; empty if it is below the level."""
    name, number, _ = _RECORDS[type(event)]
    if number < level:
        return ""
    values = {"levelno": number, "levelname": logging.getLevelName(number), "created": 0.0}
    record = logging.makeLogRecord({**values, "event": name, "fields": _fields(event)})
    return formatter.format(record).replace(utc_text(0.0), TIME)


def _fields(event: Event) -> dict[str, object]:
    fields: dict[str, object] = event._asdict()
    fields.pop("is_expected", None)
    if isinstance(event, WrongScheduleDisabled):
        fields["name"] = fields.pop("campaign_name")
    return fields


class TextFormatter(logging.Formatter):
    """Writes `TIME LEVEL event key=value ...`, or `TIME LEVEL logger: message`."""

    def __init__(self, redactor: Redactor = REDACTOR) -> None:
        super().__init__()
        self._secrets = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line; no record makes it raise."""
        name, fields = _event_fields(record)
        said = f"{record.name}: {_text(fields.pop('message'))}" if name is None else name
        parts = [utc_text(record.created), f"{record.levelname:<7}", escape(_clip(self._secrets.redact(said)))]
        parts += [f"{key}={self._value(value)}" for key, value in fields.items() if value is not None]
        return self._secrets.redact(escape(" ".join(parts)))

    def _value(self, value: object) -> str:
        text = _clip(self._secrets.redact(_counts(value) if isinstance(value, Mapping) else _text(value)))
        return text if _BARE.fullmatch(text) else escape(json.dumps(text, ensure_ascii=False))


class JsonFormatter(logging.Formatter):
    """Writes one JSON object in ASCII: `time`, `level` and `event`, then the fields of the event."""

    def __init__(self, redactor: Redactor = REDACTOR) -> None:
        super().__init__()
        self._secrets = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line; no record makes it raise."""
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
    except Exception as error:  # noqa: BLE001 - an error in a library's record must not end a run
        return f"{_text(record.msg)} (its arguments cannot be shown: {type(error).__name__})"


def _format_error(error: BaseException) -> str:
    """Return an exception's name, its text and the line where it was raised."""
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
