"""What all calls of an engine share: its token, its connections, what each account may do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from bulkstop.events import Observe
from bulkstop.kore.exchange import Response, Transport
from bulkstop.kore.token import Tokens, called_source
from bulkstop.model import Attempt, Send
from bulkstop.redact import REDACTOR
from bulkstop.report.log import log_event
from bulkstop.runs.host import fit_open_files
from bulkstop.runs.wiring import Accounts, make_send, make_tokens, make_transport, open_quota_store, watch_tokens
from bulkstop.settings import Settings

TokenCall = Callable[[], Awaitable[str]]
"""Gives a token; it is awaited at the start, before one ends and after a 401."""
Around = Callable[[Send], Send]
"""Returns a function that sends one attempt, given the one that does."""
Classify = Callable[[Response], Attempt | None]
"""Says what a response means, or None to leave that to the engine."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the runs of an engine share, once all of it is open."""

    settings: Settings
    tokens: Tokens
    transport: Transport
    accounts: Accounts
    around: Around | None = None
    classify: Classify | None = None

    def send(self) -> Send:
        """Make what stops a campaign, once a try."""
        send = make_send(self.settings, self.transport.post, self.tokens, classify=self.classify)
        return send if self.around is None else self.around(send)


@asynccontextmanager
async def open_parts(
    settings: Settings,
    *,
    token: TokenCall | None = None,
    transport: Transport | None = None,
    around: Around | None = None,
    classify: Classify | None = None,
    observe: Observe = log_event,
) -> AsyncIterator[Parts]:
    """Open what calls need while the block runs; raises a BulkstopError for settings that cannot work."""
    settings = replace(settings, concurrency=fit_open_files(settings.concurrency))
    tokens = make_tokens(settings, observe) if token is None else Tokens(watch_tokens(token, observe), renewable=True)
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(open_quota_store(settings))
        client = await opened.enter_async_context(transport or make_transport(settings))
        yield Parts(settings, tokens, client, Accounts(settings, store), around, classify)
