"""The journal of a schedule: what became of each firing, a JSON line each, appended and made durable."""

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
    """What a line tells of a firing."""

    STARTED = "started"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    """It was told to end before its end, and can be gone on with."""
    VERIFIED = "verified"
    MISSED = "missed"
    SKIPPED = "skipped"
    """It did not run, as the one before still did."""
    PREFLIGHT = "preflight"


OTHER_FOLDER = "give results a folder that this user can write, with room"
"""What to do where the folder of a schedule cannot be written."""
SETTLED = frozenset({Event.ENDED, Event.VERIFIED, Event.MISSED, Event.SKIPPED})
"""After these a firing does not run any more, unless somebody asks for it."""


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
    """What `verify` found, as its --json has it, without the campaigns one by one."""

    @property
    def occasion(self) -> Occasion:
        """What the line is about."""
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
    """Return a line about an occasion."""
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
        """Return all lines that make sense; raises OutputError for a file that cannot be read."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror})") from None
        return [entry for line in lines if (entry := _parse(line)) is not None]

    def append(self, entry: Entry) -> None:
        """Add a line, durable when this returns; raises OutputError."""
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
    """Return a line's entry; None for one that was torn, or is of another program."""
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
    """Return the latest line of the firing that was started last; None where none was."""
    started = next((each for each in reversed(entries) if each.event is Event.STARTED), None)
    return None if started is None else find_states(entries)[started.firing]
