"""The service on a socket; the only server use of aiohttp here."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Protocol, Self

from aiohttp import http_exceptions, web

from bulkstop.errors import SettingsError
from bulkstop.simulator import answers
from bulkstop.simulator.answers import Answer
from bulkstop.simulator.campaigns import SimulatedCampaign
from bulkstop.simulator.log import RequestLog
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.service import Exchange, Request, Service

REQUESTS_KEPT: Final = 100_000
_GRACE_S: Final = 0.1
_UNREADABLE: Final = (http_exceptions.HttpProcessingError, web.RequestPayloadError)


class Event(Protocol):
    """What ends a service when it is set, such as asyncio.Event."""

    async def wait(self) -> object:
        """Return once the service is to end."""


class Simulator:
    """A running service: `async with Simulator(options) as sim` listens at `sim.url` until the block ends.

    A request takes effect and is logged when it has arrived, whole; its answer follows after the latency. Bytes that
    are no HTTP request are answered 400 and leave no line. Raises SettingsError if it cannot listen, OutputError if
    it cannot log.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._service = Service(options, now=now, wall=wall)
        self._log = RequestLog(options.log)
        self._open = AsyncExitStack()
        self.url = ""
        self.requests: deque[Exchange] = deque(maxlen=REQUESTS_KEPT)
        """The latest requests, as they stand in the log."""

    @property
    def campaigns(self) -> Mapping[str, SimulatedCampaign]:
        """The campaigns by id."""
        return self._service.campaigns.by_id

    @property
    def states(self) -> dict[str, str]:
        """The status of every campaign by id."""
        return {campaign_id: campaign.status for campaign_id, campaign in self.campaigns.items()}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            opening.enter_context(self._log)
            runner = web.ServerRunner(
                web.Server(self._handle, access_log=None, logger=_quiet_logger()), shutdown_timeout=_GRACE_S
            )
            opening.push_async_callback(runner.cleanup)
            await runner.setup()
            await self._listen(runner)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _listen(self, runner: web.ServerRunner) -> None:
        host, port = self._options.host, self._options.port
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            # asyncio's own words repeat the address; a host that is not found has no errno above 0.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise SettingsError(f"cannot listen on {host}:{port}: {reason}; give another host or port") from error
        address = runner.addresses[0]
        self.url = f"http://[{address[0]}]:{address[1]}" if ":" in address[0] else f"http://{address[0]}:{address[1]}"

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        body, unreadable = await _read_body(http)
        answer, exchange = self._service.answer(_request(http, body), unreadable)
        try:
            self._log.append(exchange)
        except OSError:
            # Louder than a gap in the log that nobody notices.
            answer = answers.failure(500, "the simulator cannot write its log")
        self.requests.append(exchange)
        if delay_s := self._service.latency_s(exchange):
            await asyncio.sleep(delay_s)
        return _response(answer)


async def serve(options: SimulatorOptions, *, ready: Callable[[str], None], stop: Event) -> None:
    """Run a service until `stop` is set; `ready` is called with its URL once it listens."""
    async with Simulator(options) as simulator:
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
    )


def _response(answer: Answer | None) -> web.Response:
    if answer is None:
        return web.Response(status=400)  # nobody is there to read it
    headers = {"Content-Type": answer.content_type}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = f"{answer.retry_after_s:g}"
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _printable(text: str) -> str:
    # Bytes that are no UTF-8 arrive as lone surrogates, which no log line can hold.
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _OneLine(logging.Filter):
    """Bytes that are no HTTP are the caller's fault: no traceback, and none of the bytes: they may hold a token."""

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
    return logger
