"""Write down the campaigns that run now, as an input for `stop`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.errors import BulkstopError, SettingsError
from bulkstop.kore.session import make_perform
from bulkstop.kore.token import Tokens
from bulkstop.model import Campaign, CampaignType, ListedCampaign, Scope
from bulkstop.report.lists.discovery import FORMULA, Discovery
from bulkstop.runs import host
from bulkstop.runs.lists.listing import ListFilter, Listing, read_listings
from bulkstop.runs.lists.states import choose_worse
from bulkstop.runs.wiring import Accounts, make_tokens, make_transport, open_quota_store
from bulkstop.settings import Settings
from bulkstop.text import replace_controls


def discover(
    settings: Settings,
    wanted: ListFilter,
    *,
    types: Sequence[CampaignType] = tuple(CampaignType),
    name: str | None = None,
    signals: Sequence[int] = (),
    rests: Callable[[float], object] = lambda seconds: None,
) -> Discovery:
    """Read the lists of the settings' account and stream; `name` is a pattern (`Promo*`) that names must match.

    One of the `signals` ends it at once.
    Raises a BulkstopError, SettingsError for one, when no call could be made at all.
    """
    scopes = _list_scopes(settings, types)
    return host.run(_discover(settings, wanted, scopes, name, signals, rests), fast=False)


async def _discover(
    settings: Settings,
    wanted: ListFilter,
    scopes: Sequence[Scope],
    name: str | None,
    signals: Sequence[int],
    rests: Callable[[float], object],
) -> Discovery:
    tokens, shutdown = make_tokens(settings), Shutdown(grace_s=0.0, lost="nothing was written")
    with handle_signals(shutdown, signals):
        try:
            await tokens.get()  # without credentials there is nothing to begin with
            return await _read_discovery(settings, tokens, wanted, scopes, name, rests)
        except asyncio.CancelledError:
            if shutdown.signum is None:
                raise
            return Discovery((), (), 0, signum=shutdown.signum)


async def _read_discovery(
    settings: Settings,
    tokens: Tokens,
    wanted: ListFilter,
    scopes: Sequence[Scope],
    name: str | None,
    rests: Callable[[float], object],
) -> Discovery:
    try:
        return _make_discovery(await _read_lists(settings, tokens, wanted, scopes, rests), name)
    except SettingsError:
        raise
    except BulkstopError as fault:
        return Discovery((), (), 0, fault=str(fault))


async def _read_lists(
    settings: Settings,
    tokens: Tokens,
    wanted: ListFilter,
    scopes: Sequence[Scope],
    rests: Callable[[float], object],
) -> list[Listing]:
    async with open_quota_store(settings) as store, make_transport(settings) as client:
        accounts = Accounts(settings, store, rests=rests)
        return await read_listings(
            scopes, make_perform(client.post, tokens), accounts.caller, wanted, any_id=settings.any_id
        )


def _list_scopes(settings: Settings, types: Sequence[CampaignType]) -> list[Scope]:
    account_id = settings.account_id or _refuse_missing("--account-id")
    stream_id = settings.stream_id or _refuse_missing("--stream-id")
    iid = settings.iid or stream_id
    if fault := Campaign("cd-1", types[0], account_id, stream_id, iid, "", 0).fault_with(any_id=settings.any_id):
        raise SettingsError(f"{fault}; nothing was asked for")
    return [Scope(account_id, stream_id, iid, kind) for kind in types]


def _refuse_missing(option: str) -> str:
    raise SettingsError(f"{option}: not given; the list is that of one account and one stream")


def _make_discovery(listings: Sequence[Listing], name: str | None) -> Discovery:
    rows: dict[str, tuple[Scope, ListedCampaign]] = {}
    twice = changed = 0
    for listing in listings:
        for item in listing.items:
            if name is None or fnmatchcase(item.name or "", name):
                twice += item.campaign_id in rows
                known = rows.setdefault(item.campaign_id, (listing.scope, item))
                if choose_worse(known[1], item) is not known[1]:
                    rows[item.campaign_id] = (listing.scope, item)
                    changed += 1
    calls, fault = sum(listing.calls for listing in listings), next(filter(None, map(_explain_failure, listings)), None)
    return Discovery(tuple(rows.values()), tuple(_list_notes(listings, rows, twice, changed)), calls, fault)


def _explain_failure(listing: Listing) -> str | None:
    if listing.failure is None:
        return None
    message = f" ({listing.failure.message})" if listing.failure.message else ""
    return f"{_describe(listing.scope)}: {listing.failure.error}{message}"


def _list_notes(listings: Sequence[Listing], rows: Iterable[str], twice: int, changed: int) -> Iterable[str]:
    for listing in listings:
        if listing.doubt:
            yield f"{_describe(listing.scope)}: {listing.doubt}"
        if listing.doubled:
            yield f"{_describe(listing.scope)}: listed more than once: {listing.doubled:,}; one row that runs counts"
        if listing.unusable:
            many, first = len(listing.unusable), listing.unusable[0]
            yield f"{_describe(listing.scope)}: left out, because they cannot be used: {many:,}; first: {first}"
    if twice:
        but = f", but for {changed:,} of which only the other one runs" if changed else ""
        yield f"campaigns listed as of both types: {twice:,}; each is written once, as of the type listed first{but}"
    if risky := sum(campaign_id.startswith(FORMULA) for campaign_id in rows):
        yield f"ids that look like formulas to a spreadsheet: {risky:,}; they are written as they are"


def _describe(scope: Scope) -> str:
    return f"{scope.campaign_type} campaigns of account {replace_controls(scope.account_id)}"
