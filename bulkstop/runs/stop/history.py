"""The size of the last run of each profile, to warn of a list that is much larger."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from bulkstop.engine.limits.store import default_path
from bulkstop.errors import SettingsError
from bulkstop.files.places import open_regular
from bulkstop.files.state_folder import make_private_folder
from bulkstop.files.whole import write_atomically
from bulkstop.model import utc_text

FILE = "history.json"
KEPT = 100
"""Number of runs in the file, each of another profile or host; the oldest are dropped."""
MOST_BYTES = 1024 * 1024

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class LastRun(NamedTuple):
    """The number of campaigns that a run had to stop, and its time in the format of result lines."""

    listed: int
    at: str


class _Run(NamedTuple):
    profile: str | None
    host: str
    listed: int
    at: str


def load_last_run(profile: str | None, host: str) -> LastRun | None:
    """Return the last run of this profile at this host; None if there is none."""
    of = (profile, host)
    return next((LastRun(run.listed, run.at) for run in _read() if run[:2] == of), None)


def save_run(profile: str | None, host: str, listed: int) -> None:
    """Store the size of a run; an error is ignored."""
    run = _Run(profile, host, listed, utc_text(time.time()))
    others = [each for each in _read() if each[:2] != run[:2]]
    with suppress(OSError, TypeError):  # TypeError: JSON cannot represent the name
        _write([run, *others[: KEPT - 1]])


def is_much_larger(listed: int, last: LastRun | None) -> bool:
    """Return whether a list is more than twice as long as that of the last run, and at least 10 longer."""
    return last is not None and listed > 2 * last.listed and listed >= last.listed + 10


def _path() -> Path | None:
    try:
        return default_path().with_name(FILE)
    except SettingsError:  # no home directory
        return None


def _read() -> list[_Run]:
    """Return the stored runs, newest first; invalid entries are ignored."""
    path = _path()
    if path is None:
        return []
    try:
        with open_regular(path) as file:
            document = orjson.loads(file.read(MOST_BYTES))
    except (OSError, orjson.JSONDecodeError):
        return []
    runs = document.get("runs") if isinstance(document, dict) else None
    return [run for each in runs if (run := _run(each))] if isinstance(runs, list) else []


def _run(entry: object) -> _Run | None:
    match entry:
        case {"profile": str() | None as profile, "host": str(host), "listed": int(listed), "at": str(at)}:
            is_sound = not isinstance(listed, bool) and listed >= 0 and _TIME.fullmatch(at)
            return _Run(profile, host, listed, at) if is_sound else None
    return None


def _write(runs: list[_Run]) -> None:
    """Replace the whole file, private to the user."""
    path = _path()
    if path is None:
        return
    make_private_folder(path.parent)
    text = orjson.dumps(
        {"runs": [run._asdict() for run in runs]}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    write_atomically(path, [text])
