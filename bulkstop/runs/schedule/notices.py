"""What is told of a firing, as values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What has happened."""

    STARTED = "started"
    GUARD_ENDED = "guard_ended"
    BEHIND = "behind"
    """The run will not be done by its time to finish by."""
    ENDED = "ended"
    PREFLIGHT_FAILED = "preflight_failed"
    MISSED = "missed"
    """A firing did not run: it came too late, or the one before still ran."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened in a firing; there is no secret in it."""

    kind: NoticeKind
    schedule: str
    firing: str
    """The key of the firing: its nominal local time and zone."""
    at: datetime
    text: str = ""
    exit_code: int | None = None
    """How it ended, of `ended` and `guard_ended`."""
    results: str | None = None
    """The result file."""
