"""Checks whether stopped campaigns still contact people.

Interaction details are read by application and page. A request covers at most seven days, and by the documentation ten
pages after the first; a time with more contacts is halved and read again. The documentation says both that an offset
counts pages and that it counts contacts, so this is detected from the responses.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

from bulkstop.engine.caller import Caller
from bulkstop.errors import BulkstopError
from bulkstop.kore.calls import CONTACTS_PAGE, Call, contacts_call
from bulkstop.kore.details.contacts import Contact, ContactPage
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.interpret import read_clock_ahead_s
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, Outcome, Scope
from bulkstop.report.lists.contacts import Calling, ContactFacts
from bulkstop.runs.lists.roster import run_by_account
from bulkstop.runs.lists.states import describe_failure
from bulkstop.runs.lists.stop_times import StopTime, StopTimes, list_instances
from bulkstop.text import format_count, printable

T = TypeVar("T")

LOOK_BACK_S = 1800.0
"""Seconds before a stop in which a contact may have started that lasts after it and is to be found."""
DRAIN_S = 5.0
"""Seconds after a stop in which a contact may start and still count as one in progress before it."""
AHEAD_S = 60.0
"""Seconds that the requested time extends past the service's clock, and the tolerance for times of contacts."""
MOST_DAYS_S = 6 * 24 * 3600.0
"""Longest time of one request in seconds; the service returns at most seven days."""
MOST_OFFSET = 10
"""The last page that the service returns, counted from 0."""
MOST_CONTACTS = 200_000
"""Most contacts that are kept for the campaigns of one application."""
SCOPE_NAME = "SmartAssist Analytics"


class Window(NamedTuple):
    """The start times of the contacts to read, in unix seconds, both ends included."""

    begin_s: int
    end_s: int


@dataclass(slots=True)
class ServiceClock:
    """Measures how many seconds this machine's clock is ahead of the service's, by the latest response with a date."""

    wall: Callable[[], float] = time.time
    ahead_s: float = 0.0

    def note(self, answer: Response | TransportFailure) -> None:
        """Record the date of a response."""
        if isinstance(answer, Response):
            ahead_s = read_clock_ahead_s(answer, datetime.fromtimestamp(self.wall(), UTC))
            self.ahead_s = self.ahead_s if ahead_s is None else ahead_s

    def now_s(self) -> float:
        """Return the service's time in unix seconds."""
        return self.wall() - self.ahead_s

    def watch(self, perform: Perform) -> Perform:
        """Return a `Perform` that also records the date of each response."""

        async def perform_and_note(call: Call[T], /) -> T | Attempt:
            def read(answer: Response | TransportFailure) -> T | Attempt:
                self.note(answer)
                return call.read(answer)

            return await perform(call._replace(read=read))

        return perform_and_note


@dataclass(slots=True)
class _Application:
    """The stopped campaigns of one application, their instances, and their contacts."""

    scope: Scope
    stops: dict[str, tuple[Scope, StopTime]] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    contacts: dict[str, tuple[str, Contact]] = field(default_factory=dict)
    nameless: dict[str, Contact] = field(default_factory=dict)
    window: Window | None = None
    without_scope: str | None = None
    faults: list[str] = field(default_factory=list)

    def add(self, scope: Scope, stops: Mapping[str, StopTime]) -> None:
        """Add the campaigns of one scope."""
        self.stops |= {campaign_id: (scope, stop) for campaign_id, stop in stops.items()}
        self.instances |= list_instances(stops)

    def take(self, contact: Contact) -> None:
        """Keep the latest state of a contact of these campaigns, or of one that names none and may be theirs."""
        campaign_id = contact.campaign_id or ""
        if campaign_id not in self.stops:
            campaign_id = self.instances.get(contact.instance_id or "", "")
        if campaign_id:
            self.contacts[contact.key] = campaign_id, contact
        elif contact.may_be_of_campaign and not contact.campaign_id:
            self.nameless[contact.key] = contact


class ContactSurvey:
    """Reads the contacts of all stopped campaigns, within the quota of each account."""

    def __init__(self, stops: StopTimes, clock: ServiceClock, concurrency: int = 8) -> None:
        self.calls = 0
        self._stops = stops
        self._clock = clock
        self._concurrency = concurrency
        self._applications: dict[tuple[str | None, ...], _Application] = {}
        for scope, own in stops.by_scope.items():
            self._applications.setdefault((*scope[:3], scope.profile), _Application(scope)).add(scope, own)

    async def run(self, perform: Perform, caller_of: Callable[[Scope], Caller]) -> ContactFacts:
        """Read all contacts; an error that ends this early is among the faults of the result."""
        jobs = [
            (caller_of(each.scope), partial(self._read, each, perform, caller_of))
            for each in self._applications.values()
        ]
        faults = []
        try:
            await run_by_account(jobs, self._concurrency)
        except BulkstopError as fault:
            faults.append(str(fault))
        return self._sum_up(faults)

    async def _read(self, of: _Application, perform: Perform, caller_of: Callable[[Scope], Caller]) -> None:
        now_s, name = self._clock.now_s(), _describe_application(of.scope)
        times = _list_stops(of, self._clock.ahead_s, now_s)
        if len(times) < len(of.stops):
            of.faults.append(f"{name}: the service reports stops in the future")
        if not times:
            return
        of.window = Window(int(min(times) - LOOK_BACK_S), int(now_s + AHEAD_S))
        reader = _Reader(of, partial(self._get, of.scope, perform, caller_of(of.scope)), self._clock)
        failure = await reader.read(of.window)
        if isinstance(failure, Attempt) and failure.outcome is Outcome.UNAUTHORIZED:
            of.without_scope = (
                f'{name}: the scope "{SCOPE_NAME}" is missing, so only the states count ({describe_failure(failure)})'
            )
        elif failure is not None:
            why = describe_failure(failure) if isinstance(failure, Attempt) else failure
            of.faults.append(f"{name}: {why}")

    async def _get(
        self, scope: Scope, perform: Perform, caller: Caller, window: Window, offset: int
    ) -> ContactPage | Attempt:
        self.calls += 1
        return await caller.call(partial(perform, contacts_call(scope, window.begin_s, window.end_s, offset)))

    def _sum_up(self, faults: list[str]) -> ContactFacts:
        applications = list(self._applications.values())
        read = [each for each in applications if not each.without_scope]
        now_s, ahead_s = self._clock.now_s(), self._clock.ahead_s
        for each in read:
            faults += [*each.faults, *_find_faults(each, ahead_s, now_s)]
        if count := len(self._stops.timeless):
            faults.append(
                f"the results do not say when {format_count(count, 'campaign was', 'campaigns were')} stopped"
            )
        calling = [found for each in read for found in _find_calling(each, ahead_s, now_s)]
        return ContactFacts(
            campaigns=sum(len(each.stops) for each in read),
            contacts=sum(len(each.contacts) for each in read),
            from_s=min((each.window.begin_s for each in read if each.window), default=None),
            to_s=now_s if read else None,
            since_s=max((at for each in read for at in _list_ends(each, ahead_s, now_s)), default=None),
            calling=tuple(sorted(calling, key=lambda each: each.last_s, reverse=True)),
            unstopped=len(self._stops.unstopped),
            without_scope=tuple(each.without_scope for each in applications if each.without_scope),
            faults=tuple(map(printable, dict.fromkeys(faults))),
        )


_GetPage = Callable[[Window, int], Awaitable[ContactPage | Attempt]]


class _Reader:
    """Reads all contacts of one application that started in a window."""

    def __init__(self, of: _Application, get: _GetPage, clock: ServiceClock) -> None:
        self._of = of
        self._get = get
        self._clock = clock

    async def read(self, window: Window) -> Attempt | str | None:
        """Read all contacts; return the failure, or None."""
        begin_s = window.begin_s
        while begin_s <= window.end_s:
            part = Window(begin_s, min(window.end_s, begin_s + int(MOST_DAYS_S)))
            failure = await self._read_part(part)
            if failure is not None:
                return failure
            begin_s = part.end_s + 1
        return None

    async def _read_part(self, window: Window) -> Attempt | str | None:
        is_all = await self._read_pages(window)
        if is_all is not False:
            return None if is_all is True else is_all
        if window.end_s <= window.begin_s:
            moment = datetime.fromtimestamp(window.begin_s, UTC).isoformat()
            return f"more contacts started at {moment} than the service gives"
        middle_s = (window.begin_s + window.end_s) // 2
        first = await self._read_part(Window(window.begin_s, middle_s))
        return first if first is not None else await self._read_part(Window(middle_s + 1, window.end_s))

    async def _read_pages(self, window: Window) -> Attempt | str | bool:
        """Read the pages of a window; return whether these are all its contacts, or the failure.

        The second request is for the last page that the service returns: if it is full there are more contacts, and the
        pages between need not be read.
        """
        seen, step, numbers = set[str](), 1, [0]
        while numbers:
            number = numbers.pop(0)
            page = await self._get(window, number * step)
            if isinstance(page, Attempt):
                return page
            fresh = [contact for contact in page.contacts if contact.key not in seen]
            is_again = bool(seen) and 2 * len(fresh) <= page.rows
            seen.update(contact.key for contact in fresh)
            if fault := self._take(fresh, window):
                return fault
            if number == MOST_OFFSET and step == 1 and page.rows and is_again:
                step, numbers = CONTACTS_PAGE, [MOST_OFFSET]  # offsets count contacts: the first page came again
            elif number == MOST_OFFSET and page.rows >= CONTACTS_PAGE:
                return False
            elif number == 0:
                is_last = page.rows < CONTACTS_PAGE and (page.total or 0) <= len(seen)
                numbers = [] if is_last else [MOST_OFFSET]
            elif number == MOST_OFFSET:
                numbers = list(range(1, MOST_OFFSET))
            elif not page.rows or (page.rows < CONTACTS_PAGE and (page.total or 0) <= len(seen)):
                numbers = []
        return True

    def _take(self, contacts: list[Contact], window: Window) -> str | None:
        """Keep contacts; return what is wrong with them, or None."""
        for contact in contacts:
            if fault := _find_elsewhere(contact, window, self._clock.now_s()):
                return f"{fault}: its times may be in another time zone"
            self._of.take(contact)
        if len(self._of.contacts) + len(self._of.nameless) > MOST_CONTACTS:
            return f"more than {MOST_CONTACTS:,} contacts of these campaigns"
        return None


def _find_elsewhere(contact: Contact, window: Window, now_s: float) -> str | None:
    """Return why a contact is outside the requested window; one that started before may last into it."""
    start_s, end_s = contact.started_s, contact.ended_s
    if start_s is None:
        return None
    if max(start_s, end_s or 0.0) > now_s + AHEAD_S:
        return "the service reports a contact in the future"
    if start_s > window.end_s + AHEAD_S or max(start_s, now_s if end_s is None else end_s) < window.begin_s - AHEAD_S:
        at = datetime.fromtimestamp(start_s, UTC).isoformat()
        return f"the service reports a contact that started at {at}, outside of the time asked for"
    return None


def _find_calling(of: _Application, ahead_s: float, now_s: float) -> Iterator[Calling]:
    """Yield the campaigns with contacts that started after the stop, or that last."""
    by_campaign: dict[str, list[Contact]] = {}
    for campaign_id, contact in of.contacts.values():
        by_campaign.setdefault(campaign_id, []).append(contact)
    for campaign_id, contacts in by_campaign.items():
        scope, stop = of.stops[campaign_id]
        stopped_s = stop.at(ahead_s, now_s) or 0.0
        late = [each for each in contacts if _is_late(each, stopped_s)]
        lasting = [each for each in contacts if each.started_s is not None and each.ended_s is None]
        if late or lasting:
            last_s = max(each.started_s or 0.0 for each in (*late, *lasting))
            yield Calling(scope, campaign_id, stopped_s, len(late), len(lasting), last_s)


def _is_late(contact: Contact, stopped_s: float) -> bool:
    return contact.started_s is not None and contact.started_s > stopped_s + DRAIN_S


def _list_stops(of: _Application, ahead_s: float, now_s: float) -> list[float]:
    return [at_s for _, stop in of.stops.values() if (at_s := stop.at(ahead_s, now_s)) is not None]


def _list_ends(of: _Application, ahead_s: float, now_s: float) -> Iterator[float]:
    """Yield when each campaign was stopped, and when each contact ended."""
    yield from _list_stops(of, ahead_s, now_s)
    for _, contact in of.contacts.values():
        yield contact.ended_s if contact.ended_s is not None else contact.started_s or 0.0


def _find_faults(of: _Application, ahead_s: float, now_s: float) -> Iterator[str]:
    """Yield reasons why the contacts that were read prove nothing."""
    name, first_s = _describe_application(of.scope), min(_list_stops(of, ahead_s, now_s), default=0.0)
    if count := sum(contact.started_s is None for _, contact in of.contacts.values()):
        yield f"{name}: the times of {format_count(count, 'contact')} cannot be read"
    nameless = of.nameless.values()
    if late := [each for each in nameless if each.ended_s is None or _is_late(each, first_s)]:
        names = format_count(len(late), "contact names", "contacts name")
        yield f"{name}: {names} no campaign, and may belong to a stopped one"


def _describe_application(scope: Scope) -> str:
    return f"account {printable(scope.account_id)}, stream {printable(scope.stream_id)}"
