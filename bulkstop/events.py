"""What happens in a run, as values: who works makes them, and whoever observes the run is given each of them.

An event has the name and the level under which it is logged, and a text, filled in from its fields, that says what
happened; the fields are logged with it. Times are in seconds. Nothing here knows who observes.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

LONG_REST_S = 5.0
"""A wait before the first stop that somebody should be told of."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    name: ClassVar[str] = "event"
    text: ClassVar[str] = ""
    level: ClassVar[int] = logging.INFO

    @property
    def severity(self) -> int:
        """How much it matters, as a level of `logging`."""
        return self.level

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        return self.text.format_map(self.as_dict())

    def as_dict(self) -> dict[str, object]:
        """Return its fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


Observe = Callable[[Event], None]
"""Is given each event when it happens; it must be quick, and raises nothing."""


def ignore(event: Event) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class RunBegan(Event):
    """A run begins to send."""

    run_id: str
    host: str
    rows: int
    to_send: int
    accounts: int
    quota: str
    name: ClassVar[str] = "began"
    text: ClassVar[str] = "run {run_id} begins: {to_send} of {rows} rows are sent to {host}"


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """A run has ended, and each of its rows is reported."""

    run_id: str
    reason: str
    exit_code: int
    calls: int
    elapsed_s: float
    outcomes: Mapping[str, int]
    name: ClassVar[str] = "ended"
    text: ClassVar[str] = "run {run_id} has ended: {reason}"


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
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
    name: ClassVar[str] = "attempt"
    text: ClassVar[str] = "a stop of {campaign_id} was answered: {outcome}"
    level: ClassVar[int] = logging.DEBUG


@dataclass(frozen=True, slots=True)
class AttemptBroken(Event):
    """A call that stops a campaign was broken off, by an exception of that name."""

    campaign_id: str
    account_id: str
    campaign_type: str
    error: str
    name: ClassVar[str] = "attempt"
    text: ClassVar[str] = "a stop of {campaign_id} was broken off: {error}"
    level: ClassVar[int] = logging.DEBUG


@dataclass(frozen=True, slots=True)
class AccountThrottled(Event):
    """An account rests because the service refused a call; `is_expected` where it finds its limit like that."""

    account_id: str
    rest_s: float
    error: str | None
    is_expected: bool = False
    name: ClassVar[str] = "account_throttled"
    text: ClassVar[str] = "account {account_id} rests for {rest_s:g} s, as the service refused a call"
    level: ClassVar[int] = logging.WARNING

    @property
    def severity(self) -> int:
        """A refusal that was expected is no warning."""
        return logging.INFO if self.is_expected else self.level

    def as_dict(self) -> dict[str, object]:
        """Return its fields by name, without what decides how much it matters."""
        return {"account_id": self.account_id, "rest_s": self.rest_s, "error": self.error}


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """The service failed several calls in a row, so only a probe is sent now and then."""

    failed_in_a_row: int
    last: str
    error: str | None
    probe_s: float
    name: ClassVar[str] = "breaker_opened"
    text: ClassVar[str] = (
        "the service is down: {failed_in_a_row} calls in a row failed; a probe follows in {probe_s:g} s"
    )
    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """The service answers again, after so many seconds."""

    open_s: float
    name: ClassVar[str] = "breaker_closed"
    text: ClassVar[str] = "the service answers again, after {open_s:g} s"
    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, slots=True)
class WavePassed(Event):
    """A wave of a run has ended as it should; the next begins after `soak_s`."""

    wave: int
    waves: int
    ended: int
    failed: int
    soak_s: float
    name: ClassVar[str] = "wave_passed"
    text: ClassVar[str] = "wave {wave} of {waves} has passed: {ended} campaigns have ended, {failed} of them failed"


@dataclass(frozen=True, slots=True)
class Resting(Event):
    """Calls of an account wait, for a reason."""

    rest_s: float
    why: str
    name: ClassVar[str] = "resting"
    text: ClassVar[str] = "calls rest for {rest_s:g} s: {why}"

    @property
    def severity(self) -> int:
        """A long wait is a warning."""
        return logging.WARNING if self.rest_s >= LONG_REST_S else self.level


@dataclass(frozen=True, slots=True)
class ListsRead(Event):
    """The lists of a plan's campaigns are read; `at_rest` is how many of these are, None if nobody asked."""

    lists: int
    calls: int
    at_rest: int | None
    name: ClassVar[str] = "listed"
    text: ClassVar[str] = "{lists} lists have been read, in {calls} calls"


@dataclass(frozen=True, slots=True)
class WrongScheduleDisabled(Event):
    """The service disabled the schedule of another campaign of the same name."""

    campaign_id: str
    disabled: str
    campaign_name: str
    name: ClassVar[str] = "schedule_of_another_disabled"
    text: ClassVar[str] = "the service disabled the schedule of {disabled} in place of that of {campaign_id}"
    level: ClassVar[int] = logging.ERROR

    def as_dict(self) -> dict[str, object]:
        """Return its fields by the names that they have in the log."""
        return {"campaign_id": self.campaign_id, "disabled": self.disabled, "name": self.campaign_name}


@dataclass(frozen=True, slots=True)
class TokenRenewed(Event):
    """A new token is in use."""

    name: ClassVar[str] = "token_renewed"
    text: ClassVar[str] = "a new token is in use"


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something should be looked at twice before a run."""

    message: str
    name: ClassVar[str] = "doubt"
    text: ClassVar[str] = "{message}"
    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """How far a run is."""

    to_send: int
    sent: int
    done: int
    failed: int
    least_left_s: float
    name: ClassVar[str] = "progress"
    text: ClassVar[str] = "{sent} of {to_send} campaigns have ended, {failed} of them failed"


@dataclass(frozen=True, slots=True)
class LoadBegan(Event):
    """A load test begins."""

    run_id: str
    host: str
    requests: int | None
    in_flight: int
    name: ClassVar[str] = "load_began"
    text: ClassVar[str] = "load test {run_id} of {host} begins"


@dataclass(frozen=True, slots=True)
class SearchBegan(Event):
    """A search for the highest rate begins."""

    run_id: str
    host: str
    rate: float
    name: ClassVar[str] = "search_began"
    text: ClassVar[str] = "search {run_id} for the highest rate of {host} begins"
