"""The HTTP server of the service; no other module here uses aiohttp's server."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import formatdate
from types import TracebackType
from typing import Final, Protocol, Self, Unpack

from aiohttp import http_exceptions, web

from bulkstop.errors import SettingsError
from bulkstop.simulator import answers
from bulkstop.simulator.answers import Answer
from bulkstop.simulator.campaigns import SimulatedCampaign
from bulkstop.simulator.log import RequestLog
from bulkstop.simulator.options import Faults, SimulatorOptions, make_options
from bulkstop.simulator.service import Exchange, Request, Service
from bulkstop.simulator.thread import ServiceThread

REQUESTS_KEPT: Final = 100_000
_GRACE_S: Final = 0.1
_UNREADABLE: Final = (http_exceptions.HttpProcessingError, web.RequestPayloadError)


class Event(Protocol):
    """Ends a service when it is set, such as an asyncio.Event."""

    async def wait(self) -> object:
        """Return once the service must end."""


class Simulator:
    """A simulator of the service on this machine; it listens at `url` within its `with` or `async with` block.

    The options are those of `SimulatorOptions`, as keywords or as such a value: `Simulator(campaigns=10,
    latency_ms=50)`. `with` serves in its own thread, `async with` in the running event loop. A request takes effect and
    is logged when it has arrived completely; its response follows after the latency. Bytes that are not HTTP get a 400
    and no line. Raises SettingsError for invalid options or if it cannot listen, OutputError if it cannot log.
    """

    def __init__(
        self,
        options: SimulatorOptions | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        **faults: Unpack[Faults],
    ) -> None:
        self._options = make_options(options, faults)
        self._service = Service(self._options, now=now, wall=wall)
        self._log = RequestLog(self._options.log)
        self._requests: deque[Exchange] = deque(maxlen=REQUESTS_KEPT)
        self._open: AbstractAsyncContextManager[None] | ServiceThread | None = None
        self.url = ""

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """The latest 100,000 requests, as they are in the log."""
        return tuple(self._requests)  # a copy, because a thread may add requests

    @property
    def campaigns(self) -> Mapping[str, SimulatedCampaign]:
        """The campaigns by id."""
        return self._service.campaigns.by_id

    @property
    def states(self) -> dict[str, str]:
        """The status of every campaign by id, as in a list."""
        return {campaign_id: campaign.status for campaign_id, campaign in self._service.campaigns.by_id.copy().items()}

    def __enter__(self) -> Self:
        """Start listening in a thread."""
        self._refuse_second()
        thread = ServiceThread(self._serve)
        thread.start()
        self._open = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread, and close every connection."""
        if isinstance(self._open, ServiceThread):
            thread, self._open = self._open, None
            thread.close()

    async def __aenter__(self) -> Self:
        """Start listening in this event loop."""
        self._refuse_second()
        listening = self._listening()
        await listening.__aenter__()
        self._open = listening
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._open is not None and not isinstance(self._open, ServiceThread):
            listening, self._open = self._open, None
            await listening.__aexit__(None, None, None)

    def _refuse_second(self) -> None:
        if self._open is not None:
            raise SettingsError(f"the simulator listens at {self.url} already; use it in one block at a time")

    async def _serve(self, listens: Callable[[], None], over: Event) -> None:
        async with self._listening():
            listens()
            await over.wait()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        with self._log:
            runner = web.ServerRunner(
                web.Server(self._handle, access_log=None, logger=_quiet_logger()), shutdown_timeout=_GRACE_S
            )
            try:
                await runner.setup()
                await self._listen(runner)
                yield
            finally:
                await runner.cleanup()

    async def _listen(self, runner: web.ServerRunner) -> None:
        host, port = self._options.host, self._options.port
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            # asyncio's message repeats the address; a host that is not found has no errno above 0.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise SettingsError(f"cannot listen on {host}:{port}: {reason}; give another host or port") from error
        address = runner.addresses[0]
        self.url = f"http://[{address[0]}]:{address[1]}" if ":" in address[0] else f"http://{address[0]}:{address[1]}"

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        body, unreadable = await _read_body(http)
        answer, exchange = self._service.answer(_request(http, body), unreadable)
        try:
            await self._log.append(exchange)
        except OSError:
            # Easier to notice than a missing log line.
            answer = answers.failure(500, "the simulator cannot write its log")
        self._requests.append(exchange)
        if delay_s := self._service.latency_s(exchange):
            await asyncio.sleep(delay_s)
        return _response(answer)


async def serve(simulator: Simulator, *, ready: Callable[[str], None], stop: Event) -> None:
    """Run a service until `stop` is set; `ready` gets its URL once it listens."""
    async with simulator:
        ready(simulator.url)
        await stop.wait()


async def _read_body(http: web.BaseRequest) -> tuple[bytes | None, Answer | None]:
    try:
        return await http.read(), None
    except web.HTTPRequestEntityTooLarge:
        return None, answers.errors(413, "body is too large")
    except _UNREADABLE:
        return None, answers.errors(400, "body cannot be read")
    except OSError:
        return None, None


def _request(http: web.BaseRequest, body: bytes | None) -> Request:
    headers = http.headers
    account_id = headers.get("accountid")
    return Request(
        method=http.method,
        path=_printable(http.raw_path),
        token=headers.get("auth"),
        account_id=account_id and _printable(account_id),
        body=body,
        iid=headers.get("iid"),
    )


def _response(answer: Answer | None) -> web.Response:
    if answer is None:
        return web.Response(status=400)  # the caller has left
    headers = {"Content-Type": answer.content_type, "Date": formatdate(usegmt=True), **dict(answer.headers)}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = f"{answer.retry_after_s:g}"
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _printable(text: str) -> str:
    # Bytes that are not UTF-8 arrive as lone surrogates, which a log line cannot contain.
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _OneLine(logging.Filter):
    """Logs bytes that are not HTTP without traceback and without the bytes, which may contain a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, _UNREADABLE):
            record.msg, record.args = "a request cannot be read: %s", (type(error).__name__,)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = None
        return True


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger("bulkstop.simulator")
    if not logger.filters:
        logger.addFilter(_OneLine())
        logger.addHandler(logging.NullHandler())  # an application that wants the log adds a handler
    return logger
