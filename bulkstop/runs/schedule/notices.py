"""The events of a firing that receivers are notified of, as values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """The kind of event."""

    STARTED = "started"
    GUARD_ENDED = "guard_ended"
    BEHIND = "behind"
    """The run will miss its time to finish by."""
    ENDED = "ended"
    PREFLIGHT_FAILED = "preflight_failed"
    MISSED = "missed"
    """A firing did not run: it was too late, or the one before still ran."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event of a firing; it contains no secrets."""

    kind: NoticeKind
    schedule: str
    firing: str
    """The key of the occasion, which contains its nominal local time."""
    at: datetime
    text: str = ""
    exit_code: int | None = None
    """The exit code, for `ended` and `guard_ended`."""
    results: str | None = None
    """The result file."""
