"""A service that answers in the same process, for tests of runs that need no socket."""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from bulkstop.kore.exchange import Response
from bulkstop.model import CampaignType
from bulkstop.runs.engine import Engine
from bulkstop.settings import NO_LIMIT, Settings

STOPPED = Response(200, b'{"status":"Stopped"}', 1.0)


class AlwaysOpen:
    """A transport that need not be opened or closed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Service:
    """Answers every call after a few turns of the loop; while `is_silent` it answers none."""

    def __init__(self, turns: int = 1, *, is_silent: bool = False) -> None:
        self.targets: list[str] = []
        self.is_open = False
        self._turns = turns
        self._is_silent = is_silent

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer a call."""
        self.targets.append(target)
        await turn(self._turns)
        if self._is_silent:
            await asyncio.Event().wait()
        return STOPPED


async def turn(turns: int) -> None:
    """Let the loop turn so often."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    while not is_so():  # noqa: ASYNC110 - what it waits for sets no event
        await asyncio.sleep(0)


async def get_token() -> str:
    """Give a token, not at once."""
    await turn(2)
    return "a-token-of-these-tests"


async def get_no_token() -> str:
    """Never give a token."""
    await asyncio.Event().wait()
    return ""


def make_settings(**options: Any) -> Settings:
    """Make settings that lack nothing."""
    known = {"host": "http://127.0.0.1:9", "account_id": "a1", "stream_id": "st-1", "type": CampaignType.VOICE}
    limits = {"quota": NO_LIMIT, "quota_store": "memory", "concurrency": 5}
    return Settings(**{**known, **limits, **options})


def make_engine(service: Service | None = None, token: Any = get_token, **options: Any) -> Engine:
    """Make an engine whose calls the service answers."""
    return Engine(make_settings(**options), token=token, transport=service or Service())


def ids(count: int) -> list[str]:
    """Name so many campaigns."""
    return [f"cd-{number}" for number in range(count)]
