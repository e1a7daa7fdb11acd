"""A run at one moment: what progress and, later, a live page show."""

from enum import StrEnum
from typing import NamedTuple


class RunState(StrEnum):
    """How far a run is."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDED = "ended"


class Snapshot(NamedTuple):
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
