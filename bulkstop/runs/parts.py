"""The parts that all calls of an engine share: its token, its connections, its accounts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bulkstop.errors import BulkstopError, CredentialsError, SettingsError
from bulkstop.events import Observe
from bulkstop.kore import session
from bulkstop.kore.exchange import Begin, Transport
from bulkstop.kore.session import Classify, Perform, make_perform
from bulkstop.kore.token import Tokens, TokenSource, called_source
from bulkstop.model import AtOnce, Send, never_at_once
from bulkstop.report.log import LOG, log_event
from bulkstop.runs.clients import Client, Connect, Others, open_clients, open_terms, route_calls
from bulkstop.runs.host import fit_open_files
from bulkstop.runs.wiring import (
    MEMORY,
    Accounts,
    import_transport,
    make_paths,
    make_send,
    make_tokens,
    make_transport,
    open_quota_store,
    watch_tokens,
)
from bulkstop.settings import Settings
from bulkstop.settings.parse import TransportName

if TYPE_CHECKING:
    from bulkstop.runs.stop.run import Run

GetToken = Callable[[], Awaitable[str]]
"""Returns a token; it is awaited at the start, before a token expires, and after a 401."""
Around = Callable[[Send], Send]
"""Gets the function that sends one attempt, and returns one that replaces it."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Replacements for parts: the source of tokens, the transport, how an attempt is sent and interpreted.

    `accounts` have the calls that this process made before, so that they count. `others` are the profiles besides that
    of the settings.
    """

    token: GetToken | None = None
    transport: Transport | None = None
    around: Around | None = None
    classify: Classify | None = None
    accounts: Accounts | None = None
    others: Others | None = None


@dataclass(slots=True)
class Parts:
    """The parts that the runs of an open engine share, in one event loop; `runs` are those in progress."""

    settings: Settings
    tokens: Tokens
    perform: Perform
    accounts: Accounts
    hooks: Hooks
    loop: asyncio.AbstractEventLoop | None
    runs: "set[Run]" = field(default_factory=set)
    clients: Mapping[str, Client | SettingsError | CredentialsError] = field(default_factory=dict)
    """The client of each other profile, or the error that prevents it."""
    begin: Begin | None = None
    """Begins an exchange without a task, if all calls go over one transport that can."""

    async def check_credentials(self) -> None:
        """Raise a BulkstopError if no profile has a token; a run would then send nothing."""
        others = self.hooks.others
        faults: list[BulkstopError] = []
        for client in (self, *self.clients.values()) if others is None or others.is_own_used else self.clients.values():
            try:
                if isinstance(client, BulkstopError):
                    raise client
                await client.tokens.get()
            except (CredentialsError, SettingsError) as fault:
                faults.append(fault)
            else:
                return
        raise faults[0]

    def check_usable(self) -> None:
        """Raise SettingsError if the engine is closed, or belongs to another event loop."""
        if self.loop is None:
            raise SettingsError("the engine is not open: use it in `async with`")
        if self.loop is not asyncio.get_running_loop():
            raise SettingsError("the engine belongs to the event loop in which it was opened, and this is another one")


@asynccontextmanager
async def open_parts(
    settings: Settings,
    hooks: Hooks | None = None,
    *,
    tokens: Tokens | None = None,
    connect: Connect = make_transport,
    observe: Observe = log_event,
) -> AsyncIterator[Parts]:
    """Open the parts for calls within the block; `tokens` replaces those of the settings.

    Raises a BulkstopError for settings that cannot work.
    """
    hooks = hooks or Hooks()
    settings = replace(settings, concurrency=fit_open_files(settings.concurrency))
    tokens = tokens or _make_tokens(settings, hooks, observe)
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(open_quota_store(settings, observe))
        if hooks.transport is None:
            await import_transport(settings)
        transport = await opened.enter_async_context(hooks.transport or connect(settings))
        perform = make_perform(transport.post, tokens, make_paths(settings))
        others = hooks.others or Others()
        clients = await open_clients(others, settings, connect, observe, opened)
        terms = await open_terms(others, settings, observe, opened)
        if clients:
            perform = route_calls(perform, clients)
        accounts = Accounts(settings, store, terms=terms)
        if hooks.accounts is not None:
            accounts = hooks.accounts.reopen(store, terms)
        begin = None if clients else getattr(transport, "begin", None)
        yield Parts(
            settings, tokens, perform, accounts, hooks, asyncio.get_running_loop(), clients=clients, begin=begin
        )


def make_stop_send(parts: Parts) -> Send:
    """Return the function that sends one attempt to stop a campaign, wrapped by the hooks."""
    send = make_send(parts.perform, classify=parts.hooks.classify)
    return send if parts.hooks.around is None else parts.hooks.around(send)


def make_stop_at_once(parts: Parts, *, is_brief: bool = False) -> AtOnce:
    """Return the function that stops a campaign without a task; it declines if a hook or a log must see the call."""
    if parts.begin is None or parts.hooks.around is not None or LOG.isEnabledFor(logging.DEBUG):
        return never_at_once
    paths, classify = make_paths(parts.settings), parts.hooks.classify
    return session.make_stop_at_once(parts.begin, parts.tokens, paths, classify=classify, is_brief=is_brief)


@asynccontextmanager
async def open_load_parts(
    settings: Settings,
    in_flight: int,
    hooks: Hooks | None = None,
    *,
    shared: Parts | None = None,
    connect: Connect = make_transport,
) -> AsyncIterator[Parts]:
    """Open the parts of a load test: a connection for each request in flight, and no quota store.

    Calls go over the wire unless the settings name another transport.
    The parts of an engine (`shared`) provide its token and, if a hook replaces the transport, that.
    """
    transport = settings.transport or TransportName.WIRE
    settings = replace(settings, concurrency=in_flight, quota_store=MEMORY, transport=transport)
    if shared is not None and hooks is not None and hooks.transport is not None:  # the hook's transport is open already
        yield replace(shared, settings=replace(settings, concurrency=fit_open_files(in_flight)))
        return
    async with open_parts(settings, hooks, tokens=shared.tokens if shared else None, connect=connect) as parts:
        yield parts


def _make_tokens(settings: Settings, hooks: Hooks, observe: Observe) -> Tokens:
    if hooks.others is not None and hooks.others.profiles and hooks.token is None:
        try:
            return make_tokens(settings, observe)
        except (SettingsError, CredentialsError) as fault:
            return Tokens(_refusing_source(fault), renewable=False)  # the other profiles have their own tokens
    if hooks.token is None:
        return make_tokens(settings, observe)
    return Tokens(watch_tokens(called_source(hooks.token), observe), renewable=True)


def _refusing_source(fault: BulkstopError) -> TokenSource:
    async def refuse() -> str:
        raise fault

    return refuse
