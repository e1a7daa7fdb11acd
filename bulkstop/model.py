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
"""The least number of campaigns a share is taken of: otherwise one early failure would be 20 % of the run."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run. A closed terminal (SIGHUP) drains too, so that calls in flight still get their lines."""


class CampaignType(StrEnum):
    """The two kinds of campaign; each has its own stop call."""

    VOICE = "voice"
    SMS = "sms"
    __hash__ = str.__hash__  # Enum's own __hash__ is a Python function, and rows are counted by type


class ApiVersion(StrEnum):
    """The two documented versions of the API: V1 of older deployments, V2 of newer ones."""

    V1 = "v1"
    V2 = "v2"


class Order(StrEnum):
    """The order in which the campaigns of an account are sent."""

    INPUT = "input"
    PRIORITY = "priority"  # the highest first
    PRIORITY_ASCENDING = "priority-ascending"
    IMPACT = "impact"  # the most harmful first


class Pace(StrEnum):
    """How calls are spread within the quota."""

    AUTO = "auto"  # in bursts until the service refuses one, then evenly
    BURST = "burst"
    EVEN = "even"


class PaceFinding(NamedTuple):
    """What refused calls revealed: how many the service accepts at once, and the interval between the next ones.

    `share` is the part of the stated rate in use; it is below 1 if evenly spaced calls were refused too. Then `steady`
    is the number of calls accepted in each window before: either the limit is lower than stated, or other clients use
    the rest. It is None if that number varied, because other clients use the account now and then.
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
    """The state of a stopped campaign's recurring schedule: the first word of `schedule` in its result line."""

    DISABLED = "disabled"
    NONE = "none"
    FAILED = "failed"

    @classmethod
    def of(cls, text: str | None) -> "ScheduleState | None":
        """Return the state that a result line's `schedule` begins with; None without one."""
        return None if text is None else _SCHEDULE_STATES.get(text.partition(":")[0])


_SCHEDULE_STATES = {state.value: state for state in ScheduleState}


def schedule_failure(why: object) -> str:
    """Return the `schedule` text of a schedule that could not be disabled, and may start the campaign again."""
    return f"{ScheduleState.FAILED}: {why}"


class RetryHint(StrEnum):
    """Whether another attempt at the same campaign could end differently."""

    NO = "no"
    NEVER = "never"  # no call of the run can succeed until someone fixes the cause
    LATER = "later"  # the failure may pass
    THROTTLED = "throttled"  # the account is over its limit
    NOW = "now"  # the token was renewed; this request does not count as an attempt
    READ_BACK = "read_back"  # the service claims that the campaign does not run; its list decides


class WarningKind(StrEnum):
    """The kinds of warning in a plan, by the names that `expect_warnings` takes."""

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
    """Why nothing is sent for a while."""

    PAUSED = "paused"
    READER = "reader"  # the output of the run is not being read
    BREAKER = "breaker"  # the service is down
    THROTTLED = "throttled"  # the service asked the account to wait
    STORE = "store"  # the quota store does not answer
    QUOTA = "quota"
    PACE = "pace"  # the service accepts no more calls at once
    WAVE = "wave"  # the previous wave has not ended
    SOAK = "soak"  # the time between two waves
    CAP = "cap"  # if all calls in flight failed, the failure cap would be reached
    RAMP = "ramp"  # a group starts with one call at a time
    RETRY = "retry"
    STOP_AT = "stop_at"  # the next campaign is not due yet
    LIST = "list"  # a list must be read first


class Wait(NamedTuple):
    """Nothing is sent before `until`, on the monotonic clock; inf means until a response arrives."""

    reason: WaitReason
    until: float


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` calls in any `window_s` seconds; raises ValueError unless both are above zero."""

    calls: int
    window_s: float

    def __post_init__(self) -> None:
        """Reject a limit that would allow no calls."""
        if self.calls < 1 or not 0 < self.window_s < math.inf:
            raise ValueError("a limit has at least 1 call and a window longer than 0 s")

    def __str__(self) -> str:
        """Return it in the form in which it is given: 60/60s."""
        return f"{self.calls}/{self.window_s:g}s"


@dataclass(frozen=True, slots=True)
class FailureCap:
    """The most failures of a run: a number, or a share of the campaigns that have ended (at least `sample`)."""

    count: int | None = None
    share: float | None = None
    sample: int = SAMPLE

    def __post_init__(self) -> None:
        """Reject a cap without exactly one of count and share, or one that would allow no calls."""
        if (self.count is None) == (self.share is None):
            raise ValueError("a cap is either a number of failures or a share")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError("a share is above 0% and at most 100%")
        if self.allows(0) < 1:
            least = "1" if self.share is None else f"{100 / self.sample:g}% (of {self.sample} campaigns at first)"
            raise ValueError(f"under it nothing could be sent, as any campaign may fail; give at least {least}")

    def allows(self, settled: int) -> int:
        """Return the most failures allowed among `settled` campaigns and those still under way."""
        if self.share is None:
            return self.count or 0
        return share_of_whole(self.share, max(settled, self.sample))

    def __str__(self) -> str:
        """Return it in the form in which it is given: 10 or 2.5%."""
        return str(self.count) if self.share is None else f"{self.share * 100:g}%"


def share_of_whole(share: float, of: int) -> int:
    """Return the whole campaigns in a share; rounds up 28.999999999999996, which is 0.29 * 100, to 29."""
    return int(share * of + 1e-6)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The values for fields that a row leaves empty."""

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
    """One campaign to stop; the settings of its run fill in the fields left out.

    `key` identifies the campaign, so that a run can resume in any order; it becomes the `source` of the result. `iid`
    is the application id sent with the call, by default the stream id. A higher `priority` is more urgent; None means
    the vendor's default, 5. `row` is copied to the result. `line` counts from 1, and is 0 for a campaign with a key.
    `profile` names the credentials of the call; None means those of the run. The campaign is stopped at once, or by
    `stop_at`: a datetime with a zone, or a text as in a list; the plan turns it into a moment in UTC. It is a tuple, as
    is Attempt: a frozen dataclass takes four times as long to make, and a run makes millions.
    """

    __slots__ = ()

    def __new__(
        cls,
        campaign_id: str,
        type: CampaignType | str | None = None,  # noqa: A002 - its name everywhere else
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
        """Make a campaign; the plan checks its values."""
        if stop_at is not None:
            row = {**(row or {}), "stop_at": stop_at if isinstance(stop_at, str) else stop_at.isoformat()}
        kind = cast("CampaignType", type)  # a text or None, until the plan fills it in
        where = account_id or "", stream_id or "", iid or ""
        source = "" if key is None else str(key)  # a database may return the key as a number
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
        """Make the campaign of a row that is complete; `line` counts from 1."""
        ids = campaign_id, campaign_type, account_id, stream_id, iid
        return tuple.__new__(cls, (*ids, source, line, priority, name, row, profile, stop_at))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy the campaign by its values."""
        return type(self)._make, (tuple(self),)

    @property
    def fault(self) -> str | None:
        """Return why an id of the campaign makes it unsendable; None if it can be sent."""
        return self.fault_with()

    def fault_with(self, *, any_id: bool = False) -> str | None:
        """Return why it cannot be sent; None if it can. `any_id` also permits unusual characters in its ids."""
        campaign_id = self.campaign_id
        if POSSIBLE.fullmatch(campaign_id) is None and (fault := id_fault(campaign_id, any_id=any_id)):
            return f"campaign id {fault}" if campaign_id else "no campaign id"
        return self.scope_fault(any_id=any_id)

    def scope_fault(self, *, any_id: bool = False) -> str | None:
        """Return why an id other than the campaign's own makes it unsendable; None if none does."""
        return _other_fault(self.account_id, self.stream_id, self.iid, any_id)


CERTIFICATE_WANTED = "a client certificate is wanted"
"""Part of the error of an attempt that was refused because it had no client certificate."""


class Allowance(NamedTuple):
    """What the service says it still accepts: `remaining` calls until `reset_s` seconds have passed.

    The limit behind it is `limit` calls in `window_s` seconds. None means that the service does not say.
    """

    remaining: int | None = None
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None


class Attempt(NamedTuple):
    """The outcome of one exchange with the service, and whether to try again.

    `latency_ms` is in milliseconds; `retry_after_s` is the wait that the service asks for, in seconds. `is_foreign`
    marks a 2xx that this API did not send: a sign-in page, or an empty body. `allowance` is None if the service does
    not state one. `has_left` is False if nothing was sent, so that no limit counted the call.
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
    """The end of one row; its fields are the columns of the result line, in order.

    Times are UTC, such as 2026-01-02T03:04:05.678Z; `latency_ms`, of the last attempt, is in milliseconds. `schedule`
    is None if schedules were not to be disabled, or if the campaign was not stopped. `stop_at` is the moment by which
    to stop it, None without one. Treat it as immutable; frozen or with slots, it and its line would take several times
    as long to make.
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
        """Return whether the campaign was stopped after its `stop_at`."""
        return self.outcome in DONE and bool(self.stop_at) and (self.finished_at or "") > (self.stop_at or "")

    @property
    def schedule_failed(self) -> bool:
        """Return whether disabling the campaign's schedule failed, so that it may start again."""
        return ScheduleState.of(self.schedule) is ScheduleState.FAILED


def unsent_result(campaign: Campaign, outcome: Outcome, why: str) -> Result:
    """Return the result of a campaign that was not sent."""
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
"""A row of an input: a campaign, or the `invalid` result that says why it is not one."""
Source = Iterator[Row]
Send = Callable[[Campaign], Awaitable[Attempt]]
Answer = Attempt | BaseException | Coroutine[object, object, Attempt]
"""What a call produced: an attempt, an exception, or a coroutine that returns the attempt."""
Done = Callable[[Answer], None]
"""Receives what a call produced; it must not raise."""


class Cancellable(Protocol):
    """A call that can be cancelled; its waiter is notified before `cancel` returns."""

    def cancel(self) -> object:
        """Cancel the call."""
        ...


AtOnce = Callable[[Campaign, Done], Cancellable | None]
"""Starts a call that needs no preparation and returns its handle; for any other call it starts nothing: None."""


def never_at_once(_campaign: Campaign, _done: Done) -> None:
    """Start no call."""


Report = Callable[[Sequence[Result]], None]
"""Writes results, all of them or none."""
OnResult = Callable[[Result], Awaitable[object] | object]
"""Receives each result; an asynchronous one is awaited, so it slows the run to its own speed."""


def utc_text(unix_s: float) -> str:
    """Return a time in the format of result lines: UTC, ISO 8601, milliseconds, Z."""
    second = int(unix_s // 1)
    return _second_text(second) + _MILLISECONDS[int((unix_s - second) * 1000)]


_MILLISECONDS = tuple(f".{number:03}Z" for number in range(1000))


@lru_cache(maxsize=8)
def _second_text(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)  # a list has few of them; arguments by position, as keywords cost time
def _other_fault(account_id: str, stream_id: str, iid: str, any_id: bool) -> str | None:
    for field, value in (("account_id", account_id), ("stream_id", stream_id), ("iid", iid)):
        if fault := id_fault(value, any_id=any_id, in_header=True):
            return f"{field} {fault}" if value else f"no {field}"
    return None


class Scope(NamedTuple):
    """The campaigns of one type in one stream, which one list call returns with the credentials of a profile."""

    account_id: str
    stream_id: str
    iid: str
    campaign_type: CampaignType
    profile: str | None = None


class ListedCampaign(NamedTuple):
    """A campaign as a list returns it; missing values are None, and a status may be undocumented.

    `name` is unchanged, whatever it contains.
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
        """Return it with only the fields that determine its state: the others are most of a long list."""
        return self._replace(
            name=None, updated_at=None, dialing_mode=None, execution_type=None, instance_updated_at=None
        )

    @property
    def recurs(self) -> bool | None:
        """Whether its schedule starts it repeatedly."""
        return self.is_recurring if self.is_scheduled is not False else False


class State(StrEnum):
    """What a campaign does, according to the service; an undocumented status counts as running."""

    RUNNING = "running"
    SCHEDULED = "scheduled"
    RUNS_AGAIN = "runs_again"  # at rest, but a recurring schedule starts it again
    NOT_RUNNING = "not_running"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class Endable(Protocol):
    """Work that can be ended early: a pool, a load generator, several processes."""

    @property
    def in_flight(self) -> int:
        """The number of calls without a response so far."""
        ...

    def drain(self) -> None:
        """Send nothing more."""
        ...

    def abort(self) -> None:
        """Cancel the calls in flight."""
        ...
