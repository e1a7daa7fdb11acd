"""What happens in a run, as values: who works makes them, and whoever observes the run is given each of them.

Times are in seconds. Nothing here knows who observes. Tuples, as a class of another kind takes a start-up ten times as
long to make.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class RunBegan(NamedTuple):
    """A run begins to send."""

    run_id: str
    host: str
    rows: int
    to_send: int
    accounts: int
    quota: str


class RunEnded(NamedTuple):
    """A run has ended, and each of its rows is reported."""

    run_id: str
    reason: str
    exit_code: int
    calls: int
    elapsed_s: float
    outcomes: Mapping[str, int]


class AttemptEnded(NamedTuple):
    """A call that stops a campaign has its answer, or nobody answered."""

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
    """A call that stops a campaign was broken off, by an exception of that name."""

    campaign_id: str
    account_id: str
    campaign_type: str
    error: str


class AccountThrottled(NamedTuple):
    """An account rests because the service refused a call; `is_expected` where it finds its limit like that."""

    account_id: str
    rest_s: float
    error: str | None
    is_expected: bool = False


class PaceLearnt(NamedTuple):
    """Calls of an account leave evenly from now on, as the service has refused some; see model.PaceFinding."""

    account_id: str
    at_once: int
    interval_s: float
    share: float
    steady: int | None = None


class BreakerOpened(NamedTuple):
    """The service failed several calls in a row, so only a probe is sent now and then."""

    failed_in_a_row: int
    last: str
    error: str | None
    probe_s: float


class BreakerClosed(NamedTuple):
    """The service answers again, after so many seconds."""

    open_s: float


class WavePassed(NamedTuple):
    """A wave of a run has ended as it should; the next begins after `soak_s`."""

    wave: int
    waves: int
    ended: int
    failed: int
    soak_s: float


class Resting(NamedTuple):
    """Calls of an account wait, for a reason."""

    rest_s: float
    why: str


class ListsRead(NamedTuple):
    """The lists of a plan's campaigns are read; `at_rest` is how many of these are, None if nobody asked."""

    lists: int
    calls: int
    at_rest: int | None


class WrongScheduleDisabled(NamedTuple):
    """The service disabled the schedule of another campaign of the same name."""

    campaign_id: str
    disabled: str
    campaign_name: str


class TokenRenewed(NamedTuple):
    """A new token is in use."""


class QuotaStoreAway(NamedTuple):
    """The quota store does not answer, so nothing leaves until it does."""

    error: str


class QuotaStoreBack(NamedTuple):
    """The quota store answers again, after so many seconds."""

    away_s: float


class QuotaStoreEmptied(NamedTuple):
    """The quota store has lost the calls that it had counted, so its windows count as full for so many seconds."""

    full_s: float


class Warned(NamedTuple):
    """Something should be looked at twice before a run."""

    message: str


class Progressed(NamedTuple):
    """How far a run is."""

    to_send: int
    sent: int
    done: int
    failed: int
    left_s: float | None
    waits_for: str | None


class FellBehind(NamedTuple):
    """At its pace a run will not be done in time; the times are in unix seconds, `left` counts campaigns."""

    run_id: str
    ends_at: float
    finish_by: float
    left: int


class LoopStalled(NamedTuple):
    """The event loop stood still: nothing was sent, no answer was read, and no time ran out."""

    stood_s: float
    stack: str | None
    """The file that says where it stands, if there is one."""


class Sighted(NamedTuple):
    """A sighting of a hold has been acted on: campaigns that ran, and how many of them are at rest now."""

    run_id: str
    sighting: int
    rows: int
    done: int


class HoldEnded(NamedTuple):
    """A hold has ended; `running` counts what runs then, and is None where nobody knows."""

    run_id: str
    looks: int
    sightings: int
    running: int | None
    verdict: str
    exit_code: int


class LoadBegan(NamedTuple):
    """A load test begins."""

    run_id: str
    host: str
    requests: int | None
    in_flight: int


class SearchBegan(NamedTuple):
    """A search for the highest rate begins."""

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
"""Something that happened."""
Observe = Callable[[Event], None]
"""Is given each event when it happens; it must be quick, and raises nothing."""


def ignore(event: Event) -> None:
    """Observe nothing."""
