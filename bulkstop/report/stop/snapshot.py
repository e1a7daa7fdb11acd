"""A snapshot of a run, for the progress display and, later, a live page."""

from enum import StrEnum
from typing import NamedTuple

from bulkstop.model import PaceFinding, WaitReason


class RunState(StrEnum):
    """The phase of a run."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDED = "ended"


class Snapshot(NamedTuple):
    """The state of a run: `sent` campaigns of `to_send` have ended; `done` of these are proven not to run.

    The run is expected to end in `left_s` seconds; None if unknown. If it `ends_at_deadline`, that is the time to
    finish by, before all are sent. `waits_for` says why nothing is sent right now, and `waits_s` for how many seconds,
    if known. `answered` campaigns have a response and have not ended, for example because a list decides. `pace` says
    why calls are slower than the quota permits, in the slowed account with the most campaigns left.
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
    pace: PaceFinding | None = None
    answered: int = 0
    ends_at_deadline: bool = False
