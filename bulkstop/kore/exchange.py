"""The interface of a transport: what it takes, what it returns."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from bulkstop.model import Cancellable, Outcome, RetryHint

BODY = b"{}"
BODY_CAP = 64 * 1024
"""The bytes of a response that are read; the documented ones have about 200."""
ACCEPTED = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
"""What each request accepts, whatever else a client could unpack."""


class Response(NamedTuple):
    """A response: its status, the headers that matter, its body up to the cap.

    `rate_limit` has the headers that state an allowance, by their names in lower case.
    """

    status: int
    body: bytes
    latency_ms: float
    retry_after: str | None = None
    date: str | None = None
    location: str | None = None
    rate_limit: tuple[tuple[str, str], ...] = ()


class TransportFailure(NamedTuple):
    """There is no usable response: a timeout or a broken connection, why, and whether the call may have arrived."""

    outcome: Outcome
    error: str
    latency_ms: float
    status: int | None = None
    again: RetryHint = RetryHint.LATER
    may_have_arrived: bool = False


Came = Response | TransportFailure | CancelledError
"""What an exchange produced; a cancelled one has only its CancelledError."""
Told = Callable[[Came], object]
"""Receives what an exchange produced, once and never before the call that begins it returns; must not raise."""


class PageRange(NamedTuple):
    """The start and the length of a page, as fields of the list call."""

    skip: int
    limit: int
    page: int


class Post(Protocol):
    """A transport: takes path with query, headers, body and cap, and returns what the exchange produced."""

    def __call__(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int, /
    ) -> Awaitable[Response | TransportFailure]:
        """Make one exchange and read up to `cap` bytes of its response; with an empty body it is a GET."""
        ...


class Begin(Protocol):
    """Starts an exchange that needs no waiting and returns its handle, else None."""

    def __call__(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int, told: Told, /
    ) -> Cancellable | None:
        """Start an exchange that reads up to `cap` bytes, if that is possible now."""
        ...


class Transport(Protocol):
    """Carries calls: `AiohttpTransport` over aiohttp, or the wire; it connects only inside its `async with`."""

    async def __aenter__(self) -> Self:
        """Prepare for calls; raises SettingsError if one of its settings is unusable."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close all connections."""
        ...

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = ..., cap: int = ...
    ) -> Response | TransportFailure:
        """Make one exchange and read up to `cap` bytes of its response; the default body is that of a stop call.

        With an empty body it is a GET, otherwise a POST.
        """
        ...
