"""What runs share: connections, tokens, quotas; and the runs themselves."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bulkstop.errors import BulkstopError, SettingsError
from bulkstop.events import Observe
from bulkstop.model import Campaign, CampaignType, Outcome
from bulkstop.report.log import log_event
from bulkstop.runs.parts import Classify, Parts, Around, TokenCall, open_parts
from bulkstop.runs.stop.run import OnResult, Run
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.kore.exchange import Transport

Source = str | PathLike[str] | Iterable[Campaign | str | PathLike[str]] | AsyncIterable[Campaign | str]
"""Paths of lists, campaigns, or ids; an iterable may be lazy, and asynchronous."""


class Engine:
    """Stops campaigns in any number of runs, which share its connections, its token and its quotas.

    Use it as an async context manager, in one event loop. `token` gives a token each time it is awaited, in place of
    the credentials in the settings; `transport` carries the calls; `around` is given the function that sends one
    attempt, and returns another in its place; `classify` says what a response means, or None to leave that to the
    engine. Leaving the block aborts the runs that have not ended, and waits for them. Raises SettingsError for
    settings that cannot work, before anything is sent.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: TokenCall | None = None,
        transport: "Transport | None" = None,
        around: Around | None = None,
        classify: Classify | None = None,
    ) -> None:
        self.settings = settings
        self._hooks = (token, transport, around, classify)
        self._open = AsyncExitStack()
        self._parts: Parts | None = None
        self._runs: list[Run] = []

    async def __aenter__(self) -> Self:
        token, transport, around, classify = self._hooks
        self._parts = await self._open.enter_async_context(
            open_parts(self.settings, token=token, transport=transport, around=around, classify=classify)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort the runs that have not ended, wait for them, and close what they shared."""
        try:
            for run in self._runs:
                await run.close()
        finally:
            self._parts = None
            await self._open.aclose()
