"""One attempt is one HTTP exchange, on bare connections: what `client.py` does, at a fraction of its cost."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from bulkstop.kore.exchange import BODY, Answer, NoAnswer
from bulkstop.kore.redaction import masked
from bulkstop.kore.wire.connection import Line
from bulkstop.kore.wire.dialer import Dialer, UnreachedError
from bulkstop.kore.wire.pool import Pool
from bulkstop.kore.wire.request import Requests, UnsendableError
from bulkstop.kore.wire.route import route
from bulkstop.model import Again, Outcome
from bulkstop.redact import passwords

BODY_CAP = 64 * 1024
"""Bytes of an answer that are read; the documented ones have about 200."""


class Wire:
    """Sends a POST and returns within `timeout_s`, whatever the other side does; it never raises for a failed call.

    It never sends a request a second time, not even when a kept connection ends under it without a byte of an answer:
    a service that closed it just before and one that did the work and closed it then look the same from here.
    """

    def __init__(
        self,
        host: str,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        connections: int = 32,
        ca: str | None = None,
        proxy: str | None = None,
        user_agent: str = "bulkstop",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._host, self._proxy, self._ca = host, proxy, ca
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._connections = connections
        self._passwords = tuple(passwords(proxy)) if proxy else ()
        self._user_agent = user_agent
        self._clock = clock
        self._requests: Requests | None = None
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        """Get ready to connect; raises SettingsError when `--ca` or `--proxy` is unusable."""
        way = route(self._host, self._proxy)
        dialer = Dialer(way, timeout_s=self._connect_timeout_s, ca=self._ca, user_agent=self._user_agent)
        self._pool = Pool(dialer.dial, self._connections, timeout_s=self._timeout_s, clock=self._clock)
        self._requests = Requests(way, self._user_agent)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = BODY, cap: int = BODY_CAP
    ) -> Answer | NoAnswer:
        """POST a body to a path with query, sent to the byte as given, and read up to `cap` bytes of the answer."""
        pool, requests = self._pool, self._requests
        assert pool is not None, "the wire is used inside its `async with`"  # noqa: S101 - a caller's slip
        assert requests is not None  # noqa: S101 - there is one with a pool
        began = self._clock()
        try:
            request = requests.write(target, headers, body)
            line = pool.rested(began) or await self._line(pool, began)
        except UnsendableError as error:
            return NoAnswer(Outcome.CONNECTION_ERROR, str(error), self._ms_since(began), again=Again.NO)
        except UnreachedError as error:
            return NoAnswer(error.outcome, str(error), self._ms_since(began), again=error.again)
        told = line.ask(request, cap, began)
        try:
            found = await told
        except asyncio.CancelledError:
            line.drop(told)
            raise
        if self._passwords and isinstance(found, Answer):  # a proxy may repeat its own
            return masked(found, self._passwords)
        return found

    async def _line(self, pool: Pool, began: float) -> Line:
        try:
            async with asyncio.timeout(began + self._timeout_s - self._clock()):
                return await pool.line(began)
        except TimeoutError:
            why = f"no connection within {self._timeout_s:g} s; nothing was sent"
            raise UnreachedError(why, Outcome.TIMEOUT) from None

    def _ms_since(self, began: float) -> float:
        return round((self._clock() - began) * 1000, 3)
