"""A run at one moment: what progress and, later, a live page show."""

from dataclasses import dataclass
from enum import StrEnum


class RunState(StrEnum):
    """How far a run is."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a run stands: `sent` campaigns have ended, of `to_send`; `done` of these are proven not to run.

    By the quota the rest takes at least `least_left_s` seconds.
    """

    run_id: str
    state: RunState
    rows: int
    to_send: int
    sent: int
    done: int
    failed: int
    in_flight: int
    elapsed_s: float
    least_left_s: float
