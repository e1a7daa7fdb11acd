"""The nouns: a Campaign comes in, Attempts are made, a Result goes out."""

import math
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol, Self, cast

from bulkstop.ids import POSSIBLE, id_fault

SAMPLE = 100
"""A share is taken of at least so many campaigns: else one failure among the first few would be 20 % of the run."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A closed terminal (SIGHUP) drains as well: what is in flight then still gets its line."""


class CampaignType(StrEnum):
    """The two kinds of campaign, each with a stop call of its own."""

    VOICE = "voice"
    SMS = "sms"
    __hash__ = str.__hash__  # an Enum's own is a function in Python, and rows are counted by type


class ApiVersion(StrEnum):
    """The two documented forms of the API: what older deployments answer, and what newer ones do."""

    V1 = "v1"
    V2 = "v2"


class Order(StrEnum):
    """In which order the campaigns of an account are sent."""

    INPUT = "input"
    PRIORITY = "priority"  # the highest first
    PRIORITY_ASCENDING = "priority-ascending"
    IMPACT = "impact"  # what does the most harm first


class Pace(StrEnum):
    """How soon calls leave that the quota lets leave."""

    AUTO = "auto"  # in bursts until the service refuses one, then evenly
    BURST = "burst"
    EVEN = "even"


class PaceFinding(NamedTuple):
    """What refused calls have told of a service: how many it takes at once, and the seconds from one to the next.

    `share` is the part of the stated rate that is in use, less than 1 where evenly spaced calls were refused as well.
    Then `steady` are the calls that were taken in each window before: the limit is lower than stated, or somebody uses
    up the rest; None where these differ, as somebody else uses the account now and then.
    """

    at_once: int
    interval_s: float
    share: float = 1.0
    steady: int | None = None


class Outcome(StrEnum):
    """What became of one row; the values are public (see docs/results.md)."""

    STOPPED = "stopped"
    ALREADY_STOPPED = "already_stopped"
    UNCONFIRMED = "unconfirmed"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    PROTECTED = "protected"
    NOT_SENT = "not_sent"


DONE = frozenset({Outcome.STOPPED, Outcome.ALREADY_STOPPED})
HELD_BACK = frozenset({Outcome.DUPLICATE, Outcome.PROTECTED})
LEFT = frozenset({Outcome.NOT_SENT, Outcome.UNKNOWN})
FAILED = frozenset(Outcome) - DONE - HELD_BACK - LEFT
WORTH_A_RETRY = frozenset(
    {
        Outcome.UNCONFIRMED,
        Outcome.THROTTLED,
        Outcome.SERVER_ERROR,
        Outcome.TIMEOUT,
        Outcome.CONNECTION_ERROR,
        Outcome.UNKNOWN,
    }
)


class ScheduleState(StrEnum):
    """What became of the recurring schedule of a stopped campaign: the first word of what its line says of that."""

    DISABLED = "disabled"
    NONE = "none"
    FAILED = "failed"

    @classmethod
    def of(cls, text: str | None) -> "ScheduleState | None":
        """Read what a line says; None where it says nothing of a schedule."""
        return None if text is None else _SCHEDULE_STATES.get(text.partition(":")[0])


_SCHEDULE_STATES = {state.value: state for state in ScheduleState}


def schedule_failure(why: object) -> str:
    """Write what a line says of a schedule that was to be disabled, and may start the campaign again."""
    return f"{ScheduleState.FAILED}: {why}"


class RetryHint(StrEnum):
    """What another try of the same campaign could change."""

    NO = "no"
    NEVER = "never"  # no call of the run can succeed before somebody mends something
    LATER = "later"  # the failure may pass
    THROTTLED = "throttled"  # the account is over its limit
    NOW = "now"  # the token was renewed; this try cost no attempt
    READ_BACK = "read_back"  # the service claims that it does not run; the list says whether that is so


class WarningKind(StrEnum):
    """What a plan warns of, by the name with which it can be expected."""

    LARGER_LIST = "larger_list"
    INSTANCE_IDS = "instance_ids"
    ODD_IDS = "odd_ids"
    ODD_PRIORITIES = "odd_priorities"
    UNUSABLE_ROWS = "unusable_rows"
    ACCOUNTS = "accounts"
    NAMELESS = "nameless"
    ALL_PROTECTED = "all_protected"
    UNUSED_RULES = "unused_rules"
    PLAIN_HTTP = "plain_http"
    LATE_STOPS = "late_stops"
    NO_STOP_AT = "no_stop_at"


class WaitReason(StrEnum):
    """Why nothing leaves for a while."""

    PAUSED = "paused"
    READER = "reader"  # nobody takes what the run writes
    BREAKER = "breaker"  # the service is down
    THROTTLED = "throttled"  # the service told the account to wait
    STORE = "store"  # the quota store does not answer
    QUOTA = "quota"
    PACE = "pace"  # the service takes no more at once
    WAVE = "wave"  # the wave before has not ended
    SOAK = "soak"  # the time between two waves
    CAP = "cap"  # all that is under way could fail, and the failure cap would be reached
    RAMP = "ramp"  # a group begins with one call at a time
    RETRY = "retry"
    STOP_AT = "stop_at"  # the next campaign still has time
    LIST = "list"  # a list decides


class Wait(NamedTuple):
    """Nothing leaves before `until`, on the clock of the calls; inf: before an answer."""

    reason: WaitReason
    until: float


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` calls in any `window_s` seconds; raises ValueError unless both are above zero."""

    calls: int
    window_s: float

    def __post_init__(self) -> None:
        """Refuse a limit under which nothing could ever be sent."""
        if self.calls < 1 or not 0 < self.window_s < math.inf:
            raise ValueError("a limit has at least 1 call and a window longer than 0 s")

    def __str__(self) -> str:
        """Write it as it is given: 60/60s."""
        return f"{self.calls}/{self.window_s:g}s"


@dataclass(frozen=True, slots=True)
class FailureCap:
    """The most failures of a run: a number, or a share of the campaigns that have ended (at least `sample`)."""

    count: int | None = None
    share: float | None = None
    sample: int = SAMPLE

    def __post_init__(self) -> None:
        """Refuse a cap that is none, or under which nothing could ever be sent."""
        if (self.count is None) == (self.share is None):
            raise ValueError("a cap is either a number of failures or a share")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError("a share is above 0% and at most 100%")
        if self.allows(0) < 1:
            least = "1" if self.share is None else f"{100 / self.sample:g}% (of {self.sample} campaigns at first)"
            raise ValueError(f"under it nothing could be sent, as any campaign may fail; give at least {least}")

    def allows(self, settled: int) -> int:
        """Return the most failures that may be among `settled` campaigns and those that are still under way."""
        if self.share is None:
            return self.count or 0
        return share_of_whole(self.share, max(settled, self.sample))

    def __str__(self) -> str:
        """Write it as it is given: 10 or 2.5%."""
        return str(self.count) if self.share is None else f"{self.share * 100:g}%"


def share_of_whole(share: float, of: int) -> int:
    """Return the whole campaigns in a share; 0.29 * 100 is 28.999999999999996, and 29% of 100 are 29."""
    return int(share * of + 1e-6)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a row that does not say it is taken to mean."""

    campaign_type: CampaignType | None = None
    account_id: str | None = None
    stream_id: str | None = None
    iid: str | None = None


class _CampaignFields(NamedTuple):
    campaign_id: str
    campaign_type: CampaignType
    account_id: str
    stream_id: str
    iid: str
    source: str
    line: int
    priority: int | None = None
    name: str | None = None
    row: Mapping[str, object] | None = None
    profile: str | None = None
    stop_at: str | None = None


class Campaign(_CampaignFields):
    """One campaign to be stopped; what one that was made by hand lacks comes from the settings of its run.

    `key` says which campaign it is, so that a run can be resumed whatever the order of its campaigns; in a result it
    stands as the `source`. `iid` is the application id that goes with the call, by default the stream id; a higher
    `priority` is more urgent, and none is the vendor's default (5); `row` is carried along into the result. `line`
    counts from 1, and is 0 for a campaign with a key. A `profile` says with whose credentials the call is made; None is
    that of the run. It is stopped at once, or by `stop_at`: a datetime with a zone, or a text as in a list; once it is
    planned that is a moment in UTC.
    A tuple, as is Attempt: a frozen dataclass takes four times as long to make, and a run makes millions.
    """

    __slots__ = ()

    def __new__(
        cls,
        campaign_id: str,
        type: CampaignType | str | None = None,  # noqa: A002 - what it is called everywhere
        account_id: str | None = None,
        stream_id: str | None = None,
        *,
        iid: str | None = None,
        key: str | None = None,
        priority: int | None = None,
        name: str | None = None,
        row: Mapping[str, object] | None = None,
        profile: str | None = None,
        stop_at: datetime | str | None = None,
    ) -> Self:
        """Make one; nothing is checked before it is planned."""
        if stop_at is not None:
            row = {**(row or {}), "stop_at": stop_at if isinstance(stop_at, str) else stop_at.isoformat()}
        kind = cast("CampaignType", type)  # a text, or None, until the plan fills it in
        where = account_id or "", stream_id or "", iid or ""
        source = "" if key is None else str(key)  # it may come as a number out of a database
        return cls.of_row(campaign_id, kind, *where, source, 0, priority, name, row, profile)

    @classmethod
    def of_row(
        cls,
        campaign_id: str,
        campaign_type: CampaignType,
        account_id: str,
        stream_id: str,
        iid: str,
        source: str,
        line: int,
        priority: int | None = None,
        name: str | None = None,
        row: Mapping[str, object] | None = None,
        profile: str | None = None,
        stop_at: str | None = None,
    ) -> Self:
        """Make the campaign of a row, which lacks nothing; `line` counts from 1."""
        ids = campaign_id, campaign_type, account_id, stream_id, iid
        return tuple.__new__(cls, (*ids, source, line, priority, name, row, profile, stop_at))

    def __reduce__(self) -> tuple[object, ...]:
        """Be copied and sent to another process as what it holds."""
        return type(self)._make, (tuple(self),)

    @property
    def fault(self) -> str | None:
        """Say why it cannot be sent: one of its ids is not possible; else None."""
        return self.fault_with()

    def fault_with(self, *, any_id: bool = False) -> str | None:
        """Say why it cannot be sent, also where `any_id` allows characters that ids do not have; else None."""
        campaign_id = self.campaign_id
        if POSSIBLE.fullmatch(campaign_id) is None and (fault := id_fault(campaign_id, any_id=any_id)):
            return f"campaign id {fault}" if campaign_id else "no campaign id"
        return self.scope_fault(any_id=any_id)

    def scope_fault(self, *, any_id: bool = False) -> str | None:
        """Say why it cannot be sent whatever its own id is; else None."""
        return _other_fault(self.account_id, self.stream_id, self.iid, any_id)


CERTIFICATE_WANTED = "a client certificate is wanted"
"""What the error of an attempt says that was refused for want of one."""


class Allowance(NamedTuple):
    """What a service says that it still takes: `remaining` calls until `reset_s` seconds have passed.

    Of the limit behind it, `limit` calls in `window_s` seconds. None is what the service does not say.
    """

    remaining: int | None = None
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None


class Attempt(NamedTuple):
    """What one exchange with the service told: an outcome, and whether to try again.

    `latency_ms` is in milliseconds; `retry_after_s` is how many seconds the service asked to be left alone.
    `is_foreign` marks a 2xx that this API did not give: a page to sign in, or nothing at all. `allowance` is None
    where the service does not say how much it still takes. `has_left` is False where nothing was sent, so that no limit
    has counted it.
    """

    outcome: Outcome
    again: RetryHint = RetryHint.NO
    http_status: int | None = None
    latency_ms: float | None = None
    message: str | None = None
    updated_at: str | None = None
    campaign_instance_id: str | None = None
    campaign_execution_type: str | None = None
    error: str | None = None
    retry_after_s: float | None = None
    is_foreign: bool = False
    allowance: Allowance | None = None
    has_left: bool = True


@dataclass
class Result:
    """One row's end: the fields are the columns of the result line, in order.

    Times are UTC, such as 2026-01-02T03:04:05.678Z; `latency_ms`, of the last attempt, is in milliseconds.
    `schedule` is None where nobody asked for schedules to be disabled, or the campaign was not stopped. `stop_at` is
    the moment by which it was to be stopped, None for one that had no time.
    Nobody changes one; it is not frozen, nor has it slots, as both would make it and its line several times as dear.
    """

    campaign_id: str
    campaign_type: CampaignType | None
    account_id: str | None
    stream_id: str | None
    outcome: Outcome
    http_status: int | None = None
    attempts: int = 0
    latency_ms: float | None = None
    message: str | None = None
    updated_at: str | None = None
    campaign_instance_id: str | None = None
    campaign_execution_type: str | None = None
    error: str | None = None
    source: str | None = None
    line: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    run_id: str | None = None
    row: Mapping[str, object] | None = None
    schedule: str | None = None
    stop_at: str | None = None

    @property
    def is_late(self) -> bool:
        """Tell whether the campaign was stopped after the time by which it was to be."""
        return self.outcome in DONE and bool(self.stop_at) and (self.finished_at or "") > (self.stop_at or "")

    @property
    def schedule_failed(self) -> bool:
        """Tell whether the campaign's schedule was to be disabled, and may start it again."""
        return ScheduleState.of(self.schedule) is ScheduleState.FAILED


def unsent_result(campaign: Campaign, outcome: Outcome, why: str) -> Result:
    """Make the result of a campaign that is not sent."""
    return Result(
        campaign.campaign_id,
        campaign.campaign_type,
        campaign.account_id,
        campaign.stream_id,
        outcome,
        error=why,
        source=campaign.source,
        line=campaign.line or None,
        row=campaign.row,
        stop_at=campaign.stop_at,
    )


Row = Campaign | Result
"""A row of an input: a campaign, or the `invalid` line that says why it is none."""
Source = Iterator[Row]
Send = Callable[[Campaign], Awaitable[Attempt]]
Answer = Attempt | BaseException | Coroutine[object, object, Attempt]
"""What became of a call: an attempt, what it raised, or what is still to be awaited for the attempt."""
Done = Callable[[Answer], None]
"""Is told what became of a call; raises nothing."""


class Cancellable(Protocol):
    """A call that can be cut off: who waits for it is told so before `cancel` returns."""

    def cancel(self) -> object:
        """Cut it off."""
        ...


AtOnce = Callable[[Campaign, Done], Cancellable | None]
"""Begins a call that needs nothing before it, and returns what cuts it off; None, and no call, for any other."""


def never_at_once(_campaign: Campaign, _done: Done) -> None:
    """Begin no call at once."""


Report = Callable[[Sequence[Result]], None]
"""Writes results, all of them or none."""
OnResult = Callable[[Result], Awaitable[object] | object]
"""Is given each result; one that is asynchronous is awaited, so it paces the run."""


def utc_text(unix_s: float) -> str:
    """Write a time as a result line has it: UTC, ISO 8601, milliseconds, Z."""
    second = int(unix_s // 1)
    return _second_text(second) + _MILLISECONDS[int((unix_s - second) * 1000)]


_MILLISECONDS = tuple(f".{number:03}Z" for number in range(1000))


@lru_cache(maxsize=8)
def _second_text(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)  # a list has few of them; by place, as a name costs time
def _other_fault(account_id: str, stream_id: str, iid: str, any_id: bool) -> str | None:
    for field, value in (("account_id", account_id), ("stream_id", stream_id), ("iid", iid)):
        if fault := id_fault(value, any_id=any_id, in_header=True):
            return f"{field} {fault}" if value else f"no {field}"
    return None


class Scope(NamedTuple):
    """The campaigns of one type in one stream: what a list call can ask for, with the credentials of a profile."""

    account_id: str
    stream_id: str
    iid: str
    campaign_type: CampaignType
    profile: str | None = None


class ListedCampaign(NamedTuple):
    """A campaign as a list tells of it; None is what it does not tell, and a status may be one that nobody documented.

    `name` is as the service has it, whatever it holds.
    """

    campaign_id: str
    campaign_type: CampaignType
    name: str | None = None
    status: str | None = None
    priority: int | None = None
    is_scheduled: bool | None = None
    is_recurring: bool | None = None
    updated_at: str | None = None
    dialing_mode: str | None = None
    execution_type: str | None = None
    instance_updated_at: str | None = None
    messages_sent: int | None = None

    def without_texts(self) -> Self:
        """Return it with nothing but what its state can be told by: the rest is most of a long list."""
        return self._replace(
            name=None, updated_at=None, dialing_mode=None, execution_type=None, instance_updated_at=None
        )

    @property
    def recurs(self) -> bool | None:
        """Whether its schedule starts it again and again."""
        return self.is_recurring if self.is_scheduled is not False else False


class State(StrEnum):
    """What a campaign does, as far as the service tells; a status that nobody documented counts as running."""

    RUNNING = "running"
    SCHEDULED = "scheduled"
    RUNS_AGAIN = "runs_again"  # at rest, but a recurring schedule starts it again
    NOT_RUNNING = "not_running"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class Endable(Protocol):
    """Work that can be ended early: a pool, a generator, several processes."""

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        ...

    def drain(self) -> None:
        """Let nothing more leave."""
        ...

    def abort(self) -> None:
        """Cut off what is in flight."""
        ...
