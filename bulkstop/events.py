"""The events of a run, as values: parts of the engine create them, and each observer receives them.

Times are in seconds. The events are tuples because defining another kind of class takes ten times as long at start-up.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class RunBegan(NamedTuple):
    """A run starts to send."""

    run_id: str
    host: str
    rows: int
    to_send: int
    accounts: int
    quota: str


class RunEnded(NamedTuple):
    """A run has ended, and every row has been reported."""

    run_id: str
    reason: str
    exit_code: int
    calls: int
    elapsed_s: float
    outcomes: Mapping[str, int]


class AttemptEnded(NamedTuple):
    """A call that stops a campaign has ended, with or without a response."""

    campaign_id: str
    account_id: str
    campaign_type: str
    outcome: str
    http_status: int | None
    latency_ms: float | None
    again: str
    retry_after_s: float | None
    message: str | None
    error: str | None


class AttemptBroken(NamedTuple):
    """An exception named `error` broke off a call that stops a campaign."""

    campaign_id: str
    account_id: str
    campaign_type: str
    error: str


class AccountThrottled(NamedTuple):
    """The service throttled an account, which now waits; `is_expected` if that is how its limit is found."""

    account_id: str
    rest_s: float
    error: str | None
    is_expected: bool = False


class PaceLearnt(NamedTuple):
    """The pace of an account becomes even because the service refused calls; for the fields see model.PaceFinding."""

    account_id: str
    at_once: int
    interval_s: float
    share: float
    steady: int | None = None


class BreakerOpened(NamedTuple):
    """The breaker opened because several calls in a row failed; it sends a probe every `probe_s` seconds."""

    failed_in_a_row: int
    last: str
    error: str | None
    probe_s: float


class BreakerClosed(NamedTuple):
    """The service responds again, after `open_s` seconds."""

    open_s: float


class WavePassed(NamedTuple):
    """A wave has passed; the next one begins after `soak_s`."""

    wave: int
    waves: int
    ended: int
    failed: int
    soak_s: float


class Resting(NamedTuple):
    """The calls of an account wait for the stated reason."""

    rest_s: float
    why: str


class ListsRead(NamedTuple):
    """The lists of a plan were read; `at_rest` counts its campaigns at rest, and is None if that was not requested."""

    lists: int
    calls: int
    at_rest: int | None


class WrongScheduleDisabled(NamedTuple):
    """The service disabled the schedule of a different campaign with the same name."""

    campaign_id: str
    disabled: str
    campaign_name: str


class TokenRenewed(NamedTuple):
    """A new token is in use."""


class QuotaStoreAway(NamedTuple):
    """The quota store does not respond, so nothing is sent until it does."""

    error: str


class QuotaStoreBack(NamedTuple):
    """The quota store responds again, after `away_s` seconds."""

    away_s: float


class QuotaStoreEmptied(NamedTuple):
    """The quota store has lost its counts, so its windows count as full for `full_s` seconds."""

    full_s: float


class Warned(NamedTuple):
    """Something needs the user's attention before a run."""

    message: str


class Progressed(NamedTuple):
    """The progress of a run."""

    to_send: int
    sent: int
    done: int
    failed: int
    left_s: float | None
    waits_for: str | None


class FellBehind(NamedTuple):
    """At its pace a run will not finish in time; the times are in unix seconds, and `left` counts campaigns."""

    run_id: str
    ends_at: float
    finish_by: float
    left: int


class LoopStalled(NamedTuple):
    """The event loop was blocked: it sent nothing, read no response, and fired no timeout."""

    stood_s: float
    stack: str | None
    """The file with the stack where it is blocked, if there is one."""


class Sighted(NamedTuple):
    """A sighting of a hold was handled: `rows` campaigns were running, and `done` of them are at rest now."""

    run_id: str
    sighting: int
    rows: int
    done: int


class HoldEnded(NamedTuple):
    """A hold has ended; `running` counts the campaigns that run then, None if that is unknown."""

    run_id: str
    looks: int
    sightings: int
    running: int | None
    verdict: str
    exit_code: int


class LoadBegan(NamedTuple):
    """A load test starts."""

    run_id: str
    host: str
    requests: int | None
    in_flight: int


class SearchBegan(NamedTuple):
    """A search for the highest rate starts."""

    run_id: str
    host: str
    rate: float


Event = (
    RunBegan
    | RunEnded
    | AttemptEnded
    | AttemptBroken
    | AccountThrottled
    | PaceLearnt
    | BreakerOpened
    | BreakerClosed
    | WavePassed
    | Resting
    | ListsRead
    | WrongScheduleDisabled
    | TokenRenewed
    | QuotaStoreAway
    | QuotaStoreBack
    | QuotaStoreEmptied
    | Warned
    | Progressed
    | FellBehind
    | LoopStalled
    | Sighted
    | HoldEnded
    | LoadBegan
    | SearchBegan
)
"""Anything that can happen in a run."""
Observe = Callable[[Event], None]
"""Receives each event as it happens; it must return quickly and must not raise."""


def ignore(event: Event) -> None:
    """Ignore the event."""
