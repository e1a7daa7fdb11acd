"""What all calls of an engine share: its token, its connections, what each account may do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bulkstop.errors import SettingsError
from bulkstop.events import Observe
from bulkstop.kore.exchange import Transport
from bulkstop.kore.session import Classify, Perform, make_perform
from bulkstop.kore.token import Tokens, called_source
from bulkstop.model import Send
from bulkstop.report.log import log_event
from bulkstop.runs.host import fit_open_files
from bulkstop.runs.wiring import (
    MEMORY,
    Accounts,
    make_load_transport,
    make_paths,
    make_send,
    make_tokens,
    make_transport,
    open_quota_store,
    watch_tokens,
)
from bulkstop.settings import Settings

if TYPE_CHECKING:
    from bulkstop.runs.stop.run import Run

GetToken = Callable[[], Awaitable[str]]
"""Gives a token; it is awaited at the start, before one ends and after a 401."""
Around = Callable[[Send], Send]
"""Returns a function that sends one attempt, given the one that does."""
Connect = Callable[[Settings], Transport]
"""Makes a transport with as many connections as `settings.concurrency` says."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What takes the place of a part: of the token's source, of the transport, of how an attempt is sent and read.

    `accounts` are those of calls that this process made before, so that their calls count.
    """

    token: GetToken | None = None
    transport: Transport | None = None
    around: Around | None = None
    classify: Classify | None = None
    accounts: Accounts | None = None


@dataclass(slots=True)
class Parts:
    """What the runs of an engine share while it is open, in one event loop; `runs` are those that go on."""

    settings: Settings
    tokens: Tokens
    perform: Perform
    accounts: Accounts
    hooks: Hooks
    loop: asyncio.AbstractEventLoop | None
    runs: "set[Run]" = field(default_factory=set)

    def check_usable(self) -> None:
        """Raise SettingsError when the engine is not open any more, or belongs to another event loop."""
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
    """Open what calls need while the block runs, but for tokens that are there already.

    Raises a BulkstopError for settings that cannot work.
    """
    hooks = hooks or Hooks()
    settings = replace(settings, concurrency=fit_open_files(settings.concurrency))
    tokens = tokens or _make_tokens(settings, hooks, observe)
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(open_quota_store(settings, observe))
        transport = await opened.enter_async_context(hooks.transport or connect(settings))
        perform = make_perform(transport.post, tokens, make_paths(settings))
        accounts = Accounts(settings, store) if hooks.accounts is None else hooks.accounts.reopen(store)
        yield Parts(settings, tokens, perform, accounts, hooks, asyncio.get_running_loop())


def make_stop_send(parts: Parts) -> Send:
    """Make what stops a campaign, once a try, with what the hooks put around it."""
    send = make_send(parts.perform, classify=parts.hooks.classify)
    return send if parts.hooks.around is None else parts.hooks.around(send)


@asynccontextmanager
async def open_load_parts(
    settings: Settings,
    in_flight: int,
    hooks: Hooks | None = None,
    *,
    shared: Parts | None = None,
    connect: Connect = make_load_transport,
) -> AsyncIterator[Parts]:
    """Open what a load test needs: as many connections as requests may be in flight, and no memory of calls.

    With the parts of an engine (`shared`) it has the same token, and where a hook is the transport, that.
    """
    settings = replace(settings, concurrency=in_flight, quota_store=MEMORY)
    if shared is not None and hooks is not None and hooks.transport is not None:  # it is open already
        yield replace(shared, settings=replace(settings, concurrency=fit_open_files(in_flight)))
        return
    async with open_parts(settings, hooks, tokens=shared.tokens if shared else None, connect=connect) as parts:
        yield parts


def _make_tokens(settings: Settings, hooks: Hooks, observe: Observe) -> Tokens:
    if hooks.token is None:
        return make_tokens(settings, observe)
    return Tokens(watch_tokens(called_source(hooks.token), observe), renewable=True)
