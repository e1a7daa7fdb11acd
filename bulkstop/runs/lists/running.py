"""Lists what runs as the first step of a stop: documented statuses first, the rest within the quota that is left.

Reading a list of thousands takes longer than stopping what runs in it. So the service is first asked for the documented
statuses of running campaigns, a page or two; then as much of the whole list is read, for undocumented statuses, as the
quota leaves after a stop for each campaign found. What was not read is reported.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from bulkstop.engine.caller import OnRest, ignore_rest
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.estimate import add_stored
from bulkstop.errors import BulkstopError, ListError, SettingsError
from bulkstop.kore.calls import STATUSES, Call, list_call
from bulkstop.kore.exchange import PageRange
from bulkstop.kore.session import Perform
from bulkstop.model import Attempt, CampaignType, Outcome, Scope
from bulkstop.report.lists.discovery import Discovery
from bulkstop.runs import host
from bulkstop.runs.clients import ListedTargets
from bulkstop.runs.lists.calling_hours import OnCost, add_stop_times
from bulkstop.runs.lists.discover import has_targets, list_scopes, make_discovery, run_listing
from bulkstop.runs.lists.listing import ListFilter, Listing, read_listing
from bulkstop.runs.lists.roster import Roster, read_roster, run_by_account
from bulkstop.runs.lists.states import describe_failure, describe_scope
from bulkstop.runs.parts import Parts
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import Settings
from bulkstop.text import format_count, format_duration, printable
from bulkstop.text.likeness import compile_pattern

T = TypeVar("T")

LOOK_ON_S = 30.0
"""Longest time in seconds that stops wait for the rest of the lists."""
LATEST_S = 30.0
"""Seconds that the stops of all targets wait for the slowest first list; lists not read by then are named."""
LONGEST_WAIT_S = 2.0
"""A wait in seconds for a place in the quota beyond which none is considered free."""


UNREAD_NAMED = 6
"""Number of unread lists that are named; further ones are counted."""

SPARE = 20
"""Number of stops for which one additional call is reserved, in case one needs another attempt."""


class Found(NamedTuple):
    """The campaigns found, and what the accounts may still do after these calls."""

    discovery: Discovery
    accounts: Accounts | None = None


def find_running(
    settings: Settings,
    wanted: ListFilter,
    *,
    types: Sequence[CampaignType],
    targets: ListedTargets | None = None,
    name: str | None = None,
    signals: Sequence[int] = (),
    rests: OnRest = ignore_rest,
    hours: OnCost | None = None,
) -> Found:
    """List the selected campaigns of the settings' account and stream before a stop; `name` is a pattern.

    With `targets` it lists these, all accounts at once. One of the `signals` ends it at once. With `hours`, it also
    reads the calling hours of the campaigns that it found, and calls `hours` with the cost of that. Raises a
    BulkstopError when no call could be made at all.
    """
    scopes = list_scopes(settings, types) if targets is None else targets.scopes
    accounts: list[Accounts] = []

    async def read(parts: Parts) -> Discovery:
        accounts.append(parts.accounts)
        found = await list_target(parts, wanted, scopes, name, rests, reads_hours=hours is not None)
        if hours is None or not found.rows:
            return found
        return await add_stop_times(parts, found, on_cost=hours, rests=rests)

    discovery = host.run(run_listing(settings, read, signals, targets), fast=False)
    return Found(discovery, accounts[0] if accounts else None)


async def list_target(
    parts: Parts,
    wanted: ListFilter,
    scopes: Sequence[Scope],
    name: str | None = None,
    rests: OnRest = ignore_rest,
    *,
    reads_hours: bool = False,
) -> Discovery:
    """List the selected campaigns of these scopes, with the credentials and the quota of one target.

    With `reads_hours`, it leaves enough quota to read the calling hours next. Campaigns found count even if a list
    could not be read completely; the reason is then the `fault`.
    """
    began, drained = time.monotonic(), asyncio.Event()
    accounts = parts.accounts.of_run(drained=drained, rests=rests)
    is_apart = has_targets(parts)
    timer = asyncio.get_running_loop().call_later(LATEST_S, drained.set) if is_apart else None
    first = replace(wanted, is_narrow=wanted.running)
    any_id = parts.settings.any_id
    try:
        roster = await read_roster(scopes, parts.perform, accounts.caller_of, first, any_id=any_id, all_at_once=True)
    except SettingsError:
        raise
    except BulkstopError as fault:
        return Discovery(fault=fault, elapsed_s=time.monotonic() - began)
    finally:
        if timer is not None:
            timer.cancel()
    stops = _count_calls(roster, name, 1 + reads_hours, disables=parts.settings.disable_schedule)
    rest = await _LookOn(parts, wanted, first, roster, stops).read() if wanted.is_whole else {}
    both = {scope: _join(one, rest.get(scope)) for scope, one in roster.listings.items()}
    discovery = make_discovery(
        Roster(both),
        name,
        is_whole=wanted.is_whole or wanted.asked == ((), ()),
        is_apart=is_apart,
        account_of=parts.accounts.name,
    )
    unread = tuple(map(printable, _list_unread(rest)))
    lacks = (
        text for scope, one in roster.listings.items() if (text := _explain_lack(one, both[scope], rest.get(scope)))
    )
    doubt = discovery.fault or next((ListError(printable(text)) for text in lacks), None)
    return replace(discovery, fault=doubt, unread=unread, elapsed_s=time.monotonic() - began)


class _Rest(NamedTuple):
    """The second reading of a list: its calls, the campaigns it saw, and the service's count.

    For a list that was not read completely, `odd` is the service's count of campaigns in undocumented statuses.
    """

    listing: Listing | None = None
    calls: int = 0
    seen: int = 0
    total: int | None = None
    odd: int | None = None
    is_late: bool = False


class _LookOn:
    """Reads whole lists, within the quota that is left after the stops of the campaigns found."""

    def __init__(
        self, parts: Parts, wanted: ListFilter, first: ListFilter, roster: Roster, stops: Mapping[Scope, int]
    ) -> None:
        self._parts = parts
        self._is_apart = has_targets(parts)  # a failed list is then named, and gets no more calls
        self._wanted = wanted
        self._first = first
        self._roster = roster
        self._stops = stops
        self._until = time.monotonic() + LOOK_ON_S
        self._rest: dict[Scope, _Rest] = {}

    async def read(self) -> Mapping[Scope, _Rest]:
        """Return for each scope what its list has besides the campaigns found."""
        by_account: dict[str, list[Scope]] = {}
        failed = {scope for scope, one in self._roster.listings.items() if self._is_apart and one.failure}
        for scope in (each for each in self._stops if each not in failed):
            by_account.setdefault(self._parts.accounts.name(scope), []).append(scope)
        jobs = [(account_id, partial(self._read_account, account_id, own)) for account_id, own in by_account.items()]
        await run_by_account(jobs, max(1, len(jobs)))
        return self._rest

    async def _read_account(self, account_id: str, scopes: Sequence[Scope]) -> None:
        stops = sum(self._stops[scope] for scope in scopes)
        left = await _count_room(self._parts.accounts, account_id) - stops - math.ceil(stops / SPARE)
        shortest_first = sorted(scopes, key=self._stops.__getitem__)  # so that an unused share goes to the next list
        for number, scope in enumerate(shortest_first):
            share = left if left == math.inf else math.ceil(left / (len(scopes) - number))
            rest = self._rest[scope] = await self._read_scope(scope, share)
            left -= rest.calls

    async def _read_scope(self, scope: Scope, most: float) -> _Rest:
        if most < 1 or time.monotonic() > self._until:
            return _Rest()
        seen = total = None

        def note(_: Scope, seen_now: int, total_now: int | None) -> None:
            nonlocal seen, total
            seen, total = seen_now, total if total_now is None else total_now

        drained = asyncio.Event()
        perform, count = self._within(max(1, most - 1), drained)  # one call is reserved to count unread campaigns
        accounts = self._parts.accounts.of_run(drained=drained, rests=partial(_drain_for_long, drained))
        any_id, odd = self._parts.settings.any_id, None
        try:
            listing = await read_listing(scope, perform, accounts.caller_of, self._wanted, on_page=note, any_id=any_id)
            if listing.failure and listing.failure.outcome is Outcome.NOT_SENT and count() < most and total:
                odd = await self._count_odd(scope, total)
        except BulkstopError as fault:  # the campaigns found are still to be stopped
            listing = Listing(scope, {}, failure=Attempt(Outcome.UNAUTHORIZED, error=str(fault)))
        is_late = time.monotonic() > self._until
        return _Rest(listing, count() + (odd is not None), seen or 0, total, odd, is_late)

    async def _count_odd(self, scope: Scope, total: int) -> int | None:
        """Return the service's count of campaigns in undocumented statuses; None if it cannot tell."""
        first, (asked, priorities) = self._roster.listings[scope], self._first.asked
        others = [status for status in STATUSES if status not in asked]
        if first.failure or priorities or not others:
            return None
        drained = asyncio.Event()
        accounts = self._parts.accounts.of_run(drained=drained, rests=partial(_drain_for_long, drained))
        call = list_call(scope, PageRange(0, 1, 1), others, any_id=self._parts.settings.any_id)
        page = await accounts.caller_of(scope).call(partial(self._parts.perform, call))
        if isinstance(page, Attempt) or page.total is None:
            return None
        odd = total - page.total - len(first.items) - len(first.unusable)
        return odd if odd >= 0 else None

    def _within(self, most: float, drained: asyncio.Event) -> tuple[Perform, Callable[[], int]]:
        """Return a `Perform` that allows `most` calls until the time is over, and a function that counts them."""
        calls = 0

        async def perform(call: Call[T], /) -> T | Attempt:
            nonlocal calls
            calls += 1
            if calls >= most or time.monotonic() > self._until:
                drained.set()
            return await self._parts.perform(call)

        return perform, lambda: calls


def _count_calls(roster: Roster, name: str | None, calls_each: int, *, disables: bool) -> Mapping[Scope, int]:
    """Return for each list the number of calls that its campaigns still need."""
    is_wanted = (lambda text: True) if name is None else compile_pattern(name)
    return {
        scope: sum(
            calls_each + (disables and item.recurs is True) for item in one.items.values() if is_wanted(item.name or "")
        )
        for scope, one in roster.listings.items()
    }


def _drain_for_long(drained: asyncio.Event, seconds: float, _: str) -> None:
    if seconds > LONGEST_WAIT_S:
        drained.set()


async def _count_room(accounts: Accounts, account_id: str) -> float:
    """Return the calls that an account may make right now, by its quota and by the calls in the store."""
    now = elapsed_s()
    stored = await accounts.read_stored([account_id], elapsed_s)
    places = add_stored(accounts.quota(account_id).places(now, 0.0), stored.get(account_id))
    rooms = (each.size - sum(until > now for until in each.taken_until) for each in places if each.is_shared)
    return min(rooms, default=math.inf)


def _join(first: Listing, rest: _Rest | None) -> Listing:
    """Combine two readings of a list; a campaign that runs in either counts."""
    if rest is None or (more := rest.listing) is None:
        return first
    items = {**more.items, **first.items}
    left_out = {key: status for key, status in more.rest.items() if key not in items}
    return replace(
        first,
        items={key: items[key] for key in dict.fromkeys((*first.items, *more.items))},
        unusable=tuple(dict.fromkeys((*first.unusable, *more.unusable))),
        calls=first.calls + rest.calls,
        doubt=first.doubt or more.doubt,
        doubled=max(first.doubled, more.doubled),
        rest=left_out,
    )


def _list_unread(rest: Mapping[Scope, _Rest]) -> Iterable[str]:
    """Yield what was not read; of many lists skipped for the same reason, only the first is named."""
    left_alone = [scope for scope, one in rest.items() if one.listing is None]
    for scope, one in rest.items():
        if one.listing is not None or len(left_alone) <= UNREAD_NAMED:
            yield from _explain_unread(scope, one)
    if len(left_alone) > UNREAD_NAMED:
        first = next(_explain_unread(left_alone[0], rest[left_alone[0]]))
        yield f"{format_count(len(left_alone), 'list')}, the first of which is that of {first}"


def _explain_unread(scope: Scope, rest: _Rest) -> Iterator[str]:
    """Yield what of a list was not read for undocumented states, and why."""
    name, failure = describe_scope(scope), rest.listing.failure if rest.listing else None
    if rest.listing is None:
        yield f"{name}: those in undocumented states (the quota is needed for the stops)"
    elif failure is not None:
        left = None if rest.total is None else rest.total - rest.seen
        many = f"{left:,} of {rest.total:,}" if left is not None and left > 0 else f"all but {rest.seen:,}"
        why = "the quota is needed for the stops"
        if rest.is_late:
            why = f"reading takes longer than {format_duration(LOOK_ON_S)}"
        elif failure.outcome is not Outcome.NOT_SENT:
            why = describe_failure(failure)
        may = "they may be in undocumented states"
        if rest.odd is not None:
            whole = format_count(rest.odd, "of the whole list is", "of the whole list are")
            count = whole if rest.odd else "none of the whole list is"
            may = f"by the service's own count, {count} in an undocumented state"
        yield f"{name}: {many} ({why}); {may}"


def _explain_lack(first: Listing, both: Listing, rest: _Rest | None) -> str | None:
    """Return why campaigns may run that were not found although the list was read; None without such a reason."""
    name = describe_scope(first.scope)
    if first.unusable:
        many = format_count(len(first.unusable), "campaign that runs", "campaigns that run")
        return f"{name}: {many} cannot be used; first: {first.unusable[0]}"
    if both.doubt:
        return f"{name}: {both.doubt}"
    return None if rest is None else _explain_missed(both, rest)


def _explain_missed(listing: Listing, rest: _Rest) -> str | None:
    """Return a message if campaigns in undocumented statuses were not found; else None."""
    documented = {status.lower() for status in STATUSES}
    odd = sum((item.status or "").lower() not in documented for item in listing.items.values())
    if rest.odd is None or rest.odd <= odd:
        return None
    many = format_count(rest.odd - odd, "more campaign", "more campaigns")
    name = describe_scope(listing.scope)
    return f"{name}: the service counts {many} in undocumented states; discover finds them"
