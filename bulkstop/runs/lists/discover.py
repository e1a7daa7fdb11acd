"""Lists the campaigns that run now, as an input for `stop`."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from bulkstop.engine.caller import OnRest, ignore_rest
from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError, ListError, SettingsError
from bulkstop.impact import is_normal
from bulkstop.kore.calls import STATUSES
from bulkstop.model import Campaign, CampaignType, ListedCampaign, Scope
from bulkstop.naming import name_setting
from bulkstop.report.lists.discovery import UNTOLD, Discovery, list_carried
from bulkstop.report.log import log_event
from bulkstop.runs import host
from bulkstop.runs.clients import ListedTargets
from bulkstop.runs.lists.calling_hours import OnCost, add_stop_times
from bulkstop.runs.lists.listing import ListFilter, Listing
from bulkstop.runs.lists.roster import Roster, read_roster
from bulkstop.runs.lists.states import choose_worse, describe_failure, describe_scope
from bulkstop.runs.options import explain_kind
from bulkstop.runs.parts import Hooks, Parts, open_parts
from bulkstop.settings import Settings
from bulkstop.settings.parse import parse_campaign_type
from bulkstop.text import printable
from bulkstop.text.cells import runs_in_spreadsheet
from bulkstop.text.likeness import compile_pattern

T = TypeVar("T")
Place = tuple[str, str, str]
"""Identifies a campaign: its profile, whose host may differ, account, stream and id."""
RUNNING = "running"
"""The word for every status that may run now; the default."""
ANY_STATUS = "all"
"""The word for any status."""


NAMED = 5
"""Number of campaigns that a note names; the others are counted."""


def discover(
    settings: Settings,
    wanted: ListFilter,
    *,
    types: Sequence[CampaignType] = tuple(CampaignType),
    targets: ListedTargets | None = None,
    name: str | None = None,
    signals: Sequence[int] = (),
    rests: OnRest = ignore_rest,
    hours: OnCost | None = None,
) -> Discovery:
    """List the campaigns of the settings' account and stream; `name` is a pattern (`Promo*`) for their names.

    `targets` lists these instead; one that cannot be read does not affect the others. `hours` receives the cost of
    reading calling hours, which are then read as well. One of the `signals` ends the listing at once. Raises a
    BulkstopError, such as SettingsError, when no call could be made at all.
    """
    scopes = list_scopes(settings, types) if targets is None else targets.scopes

    async def read(parts: Parts) -> Discovery:
        found = await read_discovery(parts, wanted, scopes, name, rests)
        if hours is None or not found.is_usable:
            return found
        return await add_stop_times(parts, found, on_cost=hours, rests=rests)

    return host.run(run_listing(settings, read, signals, targets), fast=False)


async def run_listing(
    settings: Settings,
    read: Callable[[Parts], Awaitable[Discovery]],
    signals: Sequence[int],
    targets: ListedTargets | None = None,
) -> Discovery:
    """Open the parts for calls and read lists; one of the `signals` ends this at once."""
    shutdown = Shutdown(grace_s=0.0, lost="nothing was written", observe=log_event)
    with handle_signals(shutdown, signals):
        try:
            async with open_parts(settings, None if targets is None else Hooks(others=targets.others)) as parts:
                await parts.check_credentials()  # without credentials no call can succeed
                return await read(parts)
        except asyncio.CancelledError:
            if shutdown.signum is None:
                raise
            return Discovery(signum=shutdown.signum)


async def read_discovery(
    parts: Parts,
    wanted: ListFilter,
    scopes: Sequence[Scope],
    name: str | None,
    rests: OnRest = ignore_rest,
) -> Discovery:
    """Read the lists of these scopes, all accounts at once.

    An error that keeps a list from being read completely is the `fault` of the result; with several targets, the others
    are still read.
    """
    began, accounts = time.monotonic(), parts.accounts.of_run(rests=rests)
    try:
        roster = await read_roster(
            scopes, parts.perform, accounts.caller_of, wanted, any_id=parts.settings.any_id, all_at_once=True
        )
    except SettingsError:
        raise
    except BulkstopError as fault:
        return Discovery(fault=fault)
    is_whole = wanted.asked == ((), ())
    elapsed_s, is_apart = time.monotonic() - began, has_targets(parts)
    return make_discovery(roster, name, elapsed_s, is_whole=is_whole, is_apart=is_apart, account_of=parts.accounts.name)


def has_targets(parts: Parts) -> bool:
    """Return whether several targets are listed, so that one that cannot be read does not affect the others."""
    return parts.hooks.others is not None


async def find_campaigns(
    parts: Parts,
    *,
    types: str | Iterable[str] | None = None,
    name: str | None = None,
    statuses: str | Iterable[str] = RUNNING,
    priorities: str | int | Iterable[int] = (),
) -> list[Campaign]:
    """Return the campaigns that run now; a filter is a text as on the command line, or a sequence.

    Raises SettingsError for an invalid filter, and the error that keeps a list from being read completely.
    """
    wanted = make_filter(_read("statuses", parse_statuses, statuses), _read("priorities", parse_priorities, priorities))
    kinds = _read("types", parse_types, () if types is None else types) or choose_types(parts.settings)
    discovery = await read_discovery(parts, wanted, list_scopes(parts.settings, kinds), name)
    if discovery.fault is not None:
        raise discovery.fault
    if discovery.failed:
        raise ListError("; ".join(discovery.failed))
    return [
        Campaign(
            item.campaign_id,
            scope.campaign_type,
            scope.account_id,
            scope.stream_id,
            iid=scope.iid,
            priority=item.priority,
            name=item.name,
            row=list_carried(item),
        )
        for scope, item in discovery.rows
    ]


def parse_types(text: str) -> tuple[CampaignType, ...]:
    """Return campaign types, from `voice`, `sms` or `voice,sms`."""
    return tuple(dict.fromkeys(parse_campaign_type(part) for part in _split(text)))


def parse_statuses(text: str) -> tuple[str, ...]:
    """Return statuses, in any letter case, also `running` and `all`; an undocumented one is kept unchanged."""
    known = {status.lower(): status for status in (*STATUSES, RUNNING, ANY_STATUS)}
    return tuple(dict.fromkeys(known.get(part.lower(), part) for part in _split(text)))


def make_filter(statuses: Sequence[str] = (RUNNING,), priorities: Sequence[int] = ()) -> ListFilter:
    """Return the filter for these words; without a status it accepts any."""
    if ANY_STATUS in statuses:
        return ListFilter((), tuple(priorities))
    named = tuple(status for status in statuses if status != RUNNING)
    return ListFilter(named, tuple(priorities), running=RUNNING in statuses)


def parse_priorities(text: str) -> tuple[int, ...]:
    """Return priorities from 1 to 5, from `1` or `1,2`."""
    parts = _split(text)
    if not set(parts) <= set("12345"):
        raise ValueError(f"{text!r} is not a list of priorities from 1 to 5 such as 1,2")
    return tuple(dict.fromkeys(map(int, parts)))


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isprintable() and part for part in parts):
        raise ValueError(f"{text!r} is not a list of words separated by commas")
    return parts


def _read(name: str, parse: Callable[[str], tuple[T, ...]], value: object) -> tuple[T, ...]:
    # bytes would be read as numbers that match nothing, as if nothing ran
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    for each in values:
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise SettingsError(f"{name}: {explain_kind(each, 'a text, or a list of what the text would list')}")
    text = ",".join(map(str, values))
    try:
        return parse(text) if text else ()
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def choose_types(settings: Settings) -> tuple[CampaignType, ...]:
    """Return the type that the settings name, else both."""
    return tuple(CampaignType) if settings.type is None else (settings.type,)


def list_scopes(settings: Settings, types: Sequence[CampaignType]) -> list[Scope]:
    """Return the scopes of the settings' account and stream; raises SettingsError if these are missing."""
    account_id = settings.account_id or _refuse_missing("account_id")
    stream_id = settings.stream_id or _refuse_missing("stream_id")
    iid = settings.iid or stream_id
    if fault := Campaign.of_row("cd-1", types[0], account_id, stream_id, iid, "", 0).fault_with(any_id=settings.any_id):
        raise SettingsError(f"{fault}; nothing was asked for")
    return [Scope(account_id, stream_id, iid, kind) for kind in types]


def _refuse_missing(name: str) -> str:
    remedy = f"give it, or a profile that has it ({name_setting('profile', 'NAME')})"
    raise SettingsError(f": is missing; a list belongs to one account and one stream: {remedy}", setting=name)


def make_discovery(
    roster: Roster,
    name: str | None = None,
    elapsed_s: float = 0.0,
    *,
    is_whole: bool = False,
    is_apart: bool = False,
    account_of: Callable[[Scope], str] = attrgetter("account_id"),
) -> Discovery:
    """Return the roster's campaigns whose names match, each once; of two rows, the one that may call somebody.

    `is_whole` says that whole lists were read, so that what is left out is counted. `is_apart` says that they are lists
    of several targets, so that one that could not be read is named beside the others. `account_of` tells apart accounts
    that have the same id at two hosts.
    """

    def place_of(scope: Scope, campaign_id: str) -> Place:
        return account_of(scope), scope.stream_id, campaign_id

    rows: dict[Place, tuple[Scope, ListedCampaign]] = {}
    rest: dict[Place, str] = {}
    twice = changed = 0
    is_wanted = (lambda text: True) if name is None else compile_pattern(name)
    for scope, item in roster.rows():
        place = place_of(scope, item.campaign_id)
        if is_wanted(item.name or ""):
            twice += place in rows
            known = rows.setdefault(place, (scope, item))
            if choose_worse(known[1], item) is not known[1]:
                rows[place] = (scope, item)
                changed += 1
        else:
            rest[place] = item.status or ""
    listings = roster.listings.values()
    for one in listings:
        rest |= {place_of(one.scope, key): status for key, status in one.rest.items()}
    failed = [one for one in listings if one.failure]
    describe = _describe_stream if is_apart else describe_scope
    faults = [printable(f"{describe(one.scope)}: {describe_failure(one.failure)}") for one in failed if one.failure]
    is_partly_read = is_apart and (len(failed) < len(listings) or bool(rows))
    notes = (*_list_notes(listings, [key for *_, key in rows], twice, changed), *_list_unusual(rows.values()))
    left_out = _count_states(status for place, status in rest.items() if place not in rows)
    return Discovery(
        tuple(rows.values()),
        tuple(map(printable, notes)),
        sum(listing.calls for listing in listings),
        elapsed_s,
        None if is_partly_read else next(map(ListError, faults), None),
        left_out=left_out if is_whole else None,
        failed=tuple(faults) if is_partly_read else (),
        is_doubtful=any(listing.doubt for listing in listings),
    )


def _describe_stream(scope: Scope) -> str:
    return f"{describe_scope(scope)}, stream {printable(scope.stream_id)}"


def _count_states(statuses: Iterable[str]) -> dict[str, int]:
    """Count statuses; the spelling of the documentation replaces other letter cases."""
    known = {status.lower(): status for status in STATUSES}
    return dict(Counter(known.get(status.lower(), status) or UNTOLD for status in statuses))


def _list_unusual(rows: Iterable[tuple[Scope, ListedCampaign]]) -> Iterable[str]:
    """Yield notes on campaigns with undocumented statuses, and on unusual ones."""
    items = [item for _, item in rows]
    documented = {status.lower() for status in STATUSES}
    odd = _count_states(item.status or "" for item in items if (item.status or "").lower() not in documented)
    if odd:
        counts = ", ".join(f"{number:,} {state}" for state, number in odd.items())
        yield f"in an undocumented state, so they may run and are listed: {counts}"
    if special := [item for item in items if not is_normal(item.execution_type)]:
        named = ", ".join(f"{item.campaign_id} ({item.execution_type})" for item in special[:NAMED])
        more = f" and {len(special) - NAMED:,} more" if len(special) > NAMED else ""
        yield f"not of the execution type NORMAL: {named}{more}"


def _list_notes(listings: Iterable[Listing], rows: Iterable[str], twice: int, changed: int) -> Iterable[str]:
    for listing in listings:
        scope = describe_scope(listing.scope)
        if listing.doubt:
            yield f"{scope}: {listing.doubt}"
        if listing.doubled:
            yield f"{scope}: listed more than once: {listing.doubled:,}; a row that runs wins"
        if listing.unusable:
            many, first = len(listing.unusable), listing.unusable[0]
            yield f"{scope}: {many:,} left out, because they cannot be used; first: {first}"
    if twice:
        but = f", but for {changed:,} of which only the other one runs" if changed else ""
        yield f"campaigns listed with both types: {twice:,}; each is written once, with the type listed first{but}"
    if risky := sum(map(runs_in_spreadsheet, rows)):
        yield f"ids that a spreadsheet would run as formulas: {risky:,}; they are written unchanged"
