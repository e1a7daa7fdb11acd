"""What a transport takes, what it gives back."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from bulkstop.model import Cancellable, Outcome, RetryHint

BODY = b"{}"
BODY_CAP = 64 * 1024
"""Bytes of an answer that are read; the documented ones have about 200."""
ACCEPTED = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
"""What each request accepts, whatever a client could unpack beside it."""


class Response(NamedTuple):
    """What came back over the wire: status, the headers that matter, the body up to the cap.

    `rate_limit` has the headers, by their names in lower case, in which services say how much they still take.
    """

    status: int
    body: bytes
    latency_ms: float
    retry_after: str | None = None
    date: str | None = None
    location: str | None = None
    rate_limit: tuple[tuple[str, str], ...] = ()


class TransportFailure(NamedTuple):
    """Nothing usable came back: a timeout or a broken connection, why, and whether the call may have arrived."""

    outcome: Outcome
    error: str
    latency_ms: float
    status: int | None = None
    again: RetryHint = RetryHint.LATER
    may_have_arrived: bool = False


Came = Response | TransportFailure | CancelledError
"""What came of an exchange; one that was cut off has nothing else."""
Told = Callable[[Came], object]
"""Is told once what came of an exchange, and not before the call that begins it has returned; raises nothing."""


class PageRange(NamedTuple):
    """Where a page begins and how long it is, in the words of the list call."""

    skip: int
    limit: int
    page: int


class Post(Protocol):
    """A transport: path with query, headers, body and cap in, what came back out."""

    def __call__(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int, /
    ) -> Awaitable[Response | TransportFailure]:
        """Make one exchange and read up to `cap` bytes of its answer; without a body (b"") it is a GET."""
        ...


class Begin(Protocol):
    """What begins an exchange at once if nothing is to be awaited before; returns what cuts it off, else None."""

    def __call__(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int, told: Told, /
    ) -> Cancellable | None:
        """Begin an exchange of which up to `cap` bytes are read, if that can be done now."""
        ...


class Transport(Protocol):
    """What carries calls: `AiohttpTransport` over aiohttp, and the wire; it connects only inside its `async with`."""

    async def __aenter__(self) -> Self:
        """Get ready; raises SettingsError when a setting of it is unusable."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End all connections."""
        ...

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = ..., cap: int = ...
    ) -> Response | TransportFailure:
        """Make one exchange and read up to `cap` bytes of its answer; unless a body is given it is that of a stop call.

        With an empty one the exchange is a GET, else a POST.
        """
        ...
