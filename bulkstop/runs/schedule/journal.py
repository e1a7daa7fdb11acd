"""The journal of a schedule: a durable JSON line for each step of a firing."""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from bulkstop.errors import OutputError
from bulkstop.files.places import open_place
from bulkstop.runs.schedule.occasion import Occasion
from bulkstop.schedule.firings import Firing


class Event(StrEnum):
    """What a line reports of a firing."""

    STARTED = "started"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    """The firing was ended early by a signal, and can be continued."""
    VERIFIED = "verified"
    MISSED = "missed"
    SKIPPED = "skipped"
    """The firing did not run, because the one before was still running."""
    PREFLIGHT = "preflight"


OTHER_FOLDER = "give results a folder that this user can write, with room"
"""Advice for a schedule whose results folder cannot be written."""
SETTLED = frozenset({Event.ENDED, Event.VERIFIED, Event.MISSED, Event.SKIPPED})
"""Events after which a firing does not run again, unless a person starts it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal."""

    at: str
    event: Event
    schedule: str
    firing: str
    nominal: str
    zone: str
    moment: str
    by_hand: bool = False
    exit_code: int | None = None
    results: str | None = None
    note: str = ""
    host: str = ""
    pid: int = 0
    verification: Mapping[str, Any] | None = None
    """The findings of `verify`, as in its --json, without the individual campaigns."""

    @property
    def occasion(self) -> Occasion:
        """The occasion of the line."""
        nominal, moment = datetime.fromisoformat(self.nominal), datetime.fromisoformat(self.moment)
        return Occasion(Firing(self.schedule, nominal, self.zone, moment), self.by_hand)


def make_entry(
    event: Event,
    occasion: Occasion,
    now: datetime,
    *,
    exit_code: int | None = None,
    results: str | None = None,
    note: str = "",
) -> Entry:
    """Return a journal line for an occasion."""
    firing = occasion.firing
    return Entry(
        now.astimezone(UTC).isoformat(timespec="seconds"),
        event,
        firing.schedule,
        occasion.key,
        firing.nominal.isoformat(),
        firing.zone,
        firing.moment.isoformat(),
        occasion.by_hand,
        exit_code,
        results,
        note,
        socket.gethostname(),
        os.getpid(),
    )


class Journal:
    """The journal in a folder of results; several processes and machines may append to it."""

    def __init__(self, folder: str, schedule: str) -> None:
        self.path = Path(folder, f"{schedule}.journal.jsonl")

    def read(self) -> list[Entry]:
        """Return all valid lines; raises OutputError for a file that cannot be read."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror})") from None
        return [entry for line in lines if (entry := _parse(line)) is not None]

    def append(self, entry: Entry) -> None:
        """Append a line durably; raises OutputError."""
        data = json.dumps(
            {name: value for name, value in asdict(entry).items() if value not in (None, "") and value is not False}
        )
        try:
            with open_place(self.path) as place:
                place.refuse_foreign()
                fd = place.open(os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(fd).st_size
                torn = bool(size) and os.pread(fd, 1, size - 1) != b"\n"
                line = f"{chr(10) * torn}{data}\n".encode()
                if os.write(fd, line) != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); {OTHER_FOLDER}") from None


def _parse(line: bytes) -> Entry | None:
    """Return the entry of a line; None if the line is incomplete or from another program."""
    with suppress(ValueError, TypeError, KeyError):
        fields = json.loads(line)
        entry = Entry(**{**fields, "event": Event(fields["event"])})
        datetime.fromisoformat(entry.moment)
        datetime.fromisoformat(entry.nominal)
        return entry
    return None


def find_states(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the latest line of each firing, by its key."""
    return {each.firing: each for each in entries if each.event is not Event.PREFLIGHT}


def find_last_run(entries: Sequence[Entry]) -> Entry | None:
    """Return the latest line of the firing that was started last; None if none was started."""
    started = next((each for each in reversed(entries) if each.event is Event.STARTED), None)
    return None if started is None else find_states(entries)[started.firing]
