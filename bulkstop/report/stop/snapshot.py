"""A run at one moment: what progress and, later, a live page show."""

from enum import StrEnum
from typing import NamedTuple

from bulkstop.model import WaitReason


class RunState(StrEnum):
    """How far a run is."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDED = "ended"


class Snapshot(NamedTuple):
    """How a run stands: `sent` campaigns have ended, of `to_send`; `done` of these are proven not to run.

    If nothing disturbs it the run ends in `left_s` seconds; None while nobody can tell. That is the time to finish by
    if it `ends_at_deadline`, before all are sent. `waits_for` says why nothing leaves right now, and for `waits_s`
    seconds, if that is known. `answered` campaigns have an answer and have not ended, as a list decides, say.
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
    left_s: float | None = None
    waits_for: WaitReason | None = None
    waits_s: float | None = None
    answered: int = 0
    ends_at_deadline: bool = False
