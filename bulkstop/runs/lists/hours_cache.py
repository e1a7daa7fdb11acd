"""A cache of calling hours, each valid until the service reports a change of its campaign."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from bulkstop.files.places import open_regular
from bulkstop.files.state_folder import find_state_folder, make_private_folder
from bulkstop.files.whole import write_atomically
from bulkstop.kore.details.calling_hours import DAYS, CallingHours, Hours, Window
from bulkstop.redact import REDACTOR

FILE = "calling-hours.json"
VERSION = 1
"""Version of the file and of how calling hours are read; files of other versions are ignored."""
KEPT = 20_000
"""Number of campaigns in the cache; the least recently used ones are dropped."""
MOST_BYTES = 64 * 1024 * 1024
_MINUTES = 24 * 60


class Key(NamedTuple):
    """A campaign of a service, and when it last changed, as the service's list says."""

    host: str
    account_id: str
    stream_id: str
    campaign_id: str
    updated_at: str


class HoursCache:
    """Calling hours read before, and those read now; `note` says why the file could not be read, if so.

    A cache that cannot be read or written costs additional calls, and nothing else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.note: str | None = None
        self._path = path or find_path()
        self._known = self._read()
        self._used: dict[Key, Hours] = {}

    def find(self, key: Key) -> Hours | None:
        """Return the calling hours of a campaign that has not changed since; None if there are none."""
        if (hours := self._known.get(key)) is not None:
            self._used[key] = hours
        return hours

    def add(self, key: Key, hours: Hours) -> None:
        """Store the calling hours of a campaign, unless they contain a secret."""
        text = "\n".join([*key, hours.fault or "", hours.found.timezone if hours.found else ""])
        if REDACTOR.redact(text) == text:
            self._used[key] = hours._replace(allowance=None)

    def save(self) -> str | None:
        """Replace the file, private to the user, latest used entries first; return the error, or None."""
        if self._path is None:
            return "the calling hours are not kept for the next time: no home directory"
        campaigns = {key[:-1] for key in self._used}
        others = ((key, hours) for key, hours in self._known.items() if key[:-1] not in campaigns)
        entries = [_to_entry(*each) for each in islice((*self._used.items(), *others), KEPT)]
        try:
            data = orjson.dumps({"version": VERSION, "campaigns": entries}, option=orjson.OPT_APPEND_NEWLINE)
            make_private_folder(self._path.parent)
            write_atomically(self._path, [data])
        except OSError as error:
            return f"the calling hours are not kept for the next time: {self._path}: {error.strerror}"
        except TypeError:  # a lone surrogate
            return "the calling hours are not kept for the next time: no JSON can hold the id of a campaign"
        return None

    def _read(self) -> Mapping[Key, Hours]:
        try:
            if self._path is None:
                return {}
            with open_regular(self._path) as file:
                document = orjson.loads(file.read(MOST_BYTES))
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self._give_up(f"cannot be read ({error.strerror})")
        except orjson.JSONDecodeError:
            return self._give_up("is damaged")
        if not isinstance(document, dict):
            return self._give_up("is damaged")
        if document.get("version") != VERSION:
            return self._give_up("was written by another version of bulkstop")
        entries = document.get("campaigns")
        read = [_read_entry(each) for each in entries] if isinstance(entries, list) else [None]
        known = dict(each for each in read if each is not None)
        return known if None not in read else self._give_up("is damaged")

    def _give_up(self, why: str) -> Mapping[Key, Hours]:
        self.note = f"{self._path} {why}: all calling hours are asked for anew"
        return {}


def find_path() -> Path | None:
    """Return the path of the cache; None without a home directory."""
    state = find_state_folder()
    return None if state is None else state / "bulkstop" / FILE


def _to_entry(key: Key, hours: Hours) -> dict[str, object]:
    zone = windows = None
    if hours.found is not None:
        zone, windows = hours.found.timezone, [list(window) for window in hours.found.windows]
    return key._asdict() | {"timezone": zone, "windows": windows, "fault": hours.fault}


def _read_entry(entry: object) -> tuple[Key, Hours] | None:
    """Return an entry; None if this version has not written it."""
    match entry:
        case {"timezone": None, "windows": None, "fault": str() | None as fault, **names}:
            key, hours = _read_key(names), Hours(fault=fault)
        case {"timezone": str(zone), "windows": [*rows], "fault": None, **names} if windows := _read_windows(rows):
            key, hours = _read_key(names), Hours(CallingHours(zone, windows))
        case _:
            return None
    return None if key is None else (key, hours)


def _read_key(names: Mapping[object, object]) -> Key | None:
    texts = [text for name in Key._fields if isinstance(text := names.get(name), str)]
    return Key(*texts) if len(texts) == len(Key._fields) else None


def _read_windows(rows: Iterable[object]) -> tuple[Window, ...] | None:
    windows = [_read_window(row) for row in rows]
    return None if None in windows else tuple(each for each in windows if each is not None)


def _read_window(row: object) -> Window | None:
    match row:
        case [int(day), int(start), int(end)] if not any(isinstance(each, bool) for each in row):
            is_sound = day in range(len(DAYS)) and {start, end} <= set(range(_MINUTES)) and start != end
            return Window(day, start, end) if is_sound else None
    return None
