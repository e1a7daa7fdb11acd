"""Sends notices of a run: to webhooks at its events, and to dead man's switches at its end.

Notices never delay or end a run: they are sent beside it, and one that does not arrive is a warning. They contain no
secrets. A URL may be a secret, so messages show only its host.
"""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from bulkstop.engine.tasks import start_task
from bulkstop.errors import BulkstopError, unforeseen
from bulkstop.events import Event, FellBehind, Observe, RunBegan, RunEnded, Warned
from bulkstop.kore.exchange import Response, Transport, TransportFailure
from bulkstop.model import RetryHint, utc_text
from bulkstop.redact import REDACTOR, Redactor
from bulkstop.report.log import log_event
from bulkstop.runs.courier import CLOSE_S
from bulkstop.runs.wiring import import_transport, list_secrets, make_transport
from bulkstop.settings import Settings, is_loopback
from bulkstop.settings.finish_by import find_moment
from bulkstop.text import format_count, printable
from bulkstop.text.clock import format_clock

VERSION = 1
"""Version of the JSON that a webhook gets; keys may be added, but none is removed."""
TIMEOUT_S = 10.0
"""Timeout of one attempt in seconds."""
PAUSES_S = (1.0, 3.0, 9.0)
"""Seconds between the attempts of one notice."""
ANSWER_BYTES = 1024
WORTH_A_RETRY = frozenset({408, 425, 429})
"""Statuses below 500 after which another attempt may help."""


class NoticeEvent(StrEnum):
    """The subject of a notice; the values are public (docs/notifications.md)."""

    START = "start"
    BEHIND = "behind"
    GUARD = "guard"
    END = "end"
    PREFLIGHT_FAILED = "preflight_failed"
    MISSED = "missed"
    """A firing of a schedule did not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The content of a notice: an event, a line of text, and its facts; `finish_by` is UTC, as in result lines.

    `counts` are rows: `rows` and `to_send` at the start, every outcome that occurred at the end.
    """

    event: NoticeEvent
    text: str
    host: str = ""
    run_id: str | None = None
    schedule: str | None = None
    profile: str | None = None
    exit_code: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    finish_by: str | None = None

    @property
    def is_failure(self) -> bool | None:
        """Whether a person must act; None while that is not known."""
        if self.event in (NoticeEvent.PREFLIGHT_FAILED, NoticeEvent.MISSED):
            return True
        return self.exit_code != 0 if self.event is NoticeEvent.END else None


def notice_to_json(notice: Notice, at: float) -> dict[str, Any]:
    """Return the JSON object of a notice that was made `at` this unix time."""
    return {
        "version": VERSION,
        "event": notice.event.value,
        "at": utc_text(at),
        "schedule": notice.schedule,
        "profile": notice.profile,
        "host": notice.host,
        "run_id": notice.run_id,
        "exit_code": notice.exit_code,
        "counts": dict(notice.counts),
        "finish_by": notice.finish_by,
        "text": notice.text,
    }


def has_receivers(settings: Settings) -> bool:
    """Return whether the settings name any receiver."""
    return bool(settings.notify or settings.on_success or settings.on_failure)


def show_url(url: str) -> str:
    """Return a URL without possible secrets: `https://hooks.example/...`."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}/..."


def find_finish_by(settings: Settings) -> str | None:
    """Return the moment to finish by in the format of result lines."""
    if settings.finish_by is None:
        return None
    return utc_text(find_moment(settings.finish_by, settings.tz, datetime.now(UTC)).timestamp())


class Notifier:
    """Sends notices to the receivers in the settings, concurrently with other work of its event loop.

    A webhook gets each notice; a URL for success or failure is called at the end. Each receiver has its own attempts,
    so that one that is down does not delay the others; `observe` gets a warning for a notice that failed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        observe: Observe = log_event,
        connect: Callable[[Settings], Transport] = make_transport,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._connect = connect
        self._sleep = sleep
        self._secrets = Redactor(*list_secrets(settings))
        self._running: dict[asyncio.Task[None], tuple[str, Notice]] = {}

    def post(self, notice: Notice) -> None:
        """Send a notice from within the event loop; only `close` waits for it. Raise nothing."""
        body = self._write(notice)
        for url in self._settings.notify:
            self._start(url, notice, body)
        if notice.is_failure is not None:
            for url in self._settings.on_failure if notice.is_failure else self._settings.on_success:
                self._start(url, notice, b"")

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Wait at most `timeout_s` for notices on their way; a notice that has not arrived by then is a warning."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        late = dict(self._running)
        for task, (url, notice) in late.items():
            task.cancel()
            self._warn(url, notice, f"no success within {timeout_s:.0f} s of the end")
        if late:
            await asyncio.wait(late, timeout=1.0)

    def _write(self, notice: Notice) -> bytes:
        text = " ".join(printable(self._secrets.redact(REDACTOR.redact(notice.text))).split())
        return json.dumps(notice_to_json(replace(notice, text=text), time.time())).encode()

    def _start(self, url: str, notice: Notice, body: bytes) -> None:
        task = start_task(self._deliver(url, notice, body))
        self._running[task] = url, notice
        task.add_done_callback(lambda done: self._running.pop(done, None))

    async def _deliver(self, url: str, notice: Notice, body: bytes) -> None:
        try:
            fault = await self._try(url, body)
        except BulkstopError as error:  # a TLS file, or a proxy that refuses
            fault = str(error)
        except Exception as error:  # noqa: BLE001 - a notice never ends the run
            fault = unforeseen(error)
        if fault is not None:
            self._warn(url, notice, fault)

    async def _try(self, url: str, body: bytes) -> str | None:
        """Make an exchange, with some more attempts until one succeeds; return the last error, or None."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        headers = {"Content-Type": "application/json"} if body else {}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        settings = self._settings_for(url)
        await import_transport(settings)
        async with self._connect(settings) as transport:
            for pause_s in (*PAUSES_S, None):
                fault, may_help = _judge(await transport.post(target, headers, body, ANSWER_BYTES))
                if fault is None or not may_help or pause_s is None:
                    return fault
                await self._sleep(pause_s)
        return None

    def _settings_for(self, url: str) -> Settings:
        """Return the settings for a receiver: the run's authorities and proxy, but never its client certificate."""
        parts = urlsplit(url)
        return replace(
            self._settings,
            host=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            timeout_s=TIMEOUT_S,
            proxy=None if is_loopback(parts.hostname) else self._settings.proxy,
            cert=None,
            key=None,
            concurrency=1,
        )

    def _warn(self, url: str, notice: Notice, why: str) -> None:
        what = f"notice of the {notice.event.value.replace('_', ' ')}"
        self._observe(Warned(f"{show_url(url)} did not take the {what}: {printable(self._secrets.redact(why))}"))


def _judge(answer: Response | TransportFailure) -> tuple[str | None, bool]:
    """Return the error in a response, or None, and whether another attempt may help."""
    if isinstance(answer, TransportFailure):
        return answer.error, answer.again is not RetryHint.NEVER
    if 200 <= answer.status < 300:
        return None, False
    return f"HTTP {answer.status}", answer.status >= 500 or answer.status in WORTH_A_RETRY


class Posts(Protocol):
    """Sends notices without waiting for them."""

    def post(self, notice: Notice) -> None:
        """Send a notice without waiting for it; raise nothing."""
        ...


class HasSize(Protocol):
    """The size of a run at its start."""

    @property
    def rows(self) -> int:
        """The rows of its list."""
        ...

    @property
    def to_send(self) -> int:
        """The campaigns that it is to stop."""
        ...


class RunNotices:
    """Sends notices of the events of a run: its start, its delay, its guards, its end.

    Without `tells_end` the end is left to the command, which may still verify the run.
    """

    def __init__(
        self,
        notifier: Posts,
        settings: Settings,
        run_id: str,
        *,
        profile: str | None = None,
        tells_end: bool = True,
    ) -> None:
        self._notifier = notifier
        self._tells_end = tells_end
        self._base = Notice(
            event=NoticeEvent.START,
            text="",
            host=settings.host,
            run_id=run_id,
            profile=profile,
            finish_by=find_finish_by(settings),
        )

    def observe(self, event: Event) -> None:
        """Send a notice if receivers are notified of this event."""
        match event:
            case RunBegan():
                self.begin(f"a run begins: {format_count(event.to_send, 'campaign')} to stop at {event.host}", event)
            case FellBehind():
                self._post(NoticeEvent.BEHIND, describe_delay(event, time.time()), counts={"left": event.left})
            case RunEnded():
                if self._tells_end:
                    self._post_end(event)
            case _:
                pass

    def begin(self, text: str, size: HasSize) -> None:
        """Send the notice of the start."""
        self._post(NoticeEvent.START, text, counts={"rows": size.rows, "to_send": size.to_send})

    def refuse(self, fault: BaseException) -> None:
        """Send the notice that the run could not begin."""
        if self._tells_end:
            why = str(fault) if isinstance(fault, BulkstopError) else type(fault).__name__
            self._post(NoticeEvent.END, f"a run could not begin: {why}", exit_code=2)

    def _post_end(self, event: RunEnded) -> None:
        counts, code = dict(event.outcomes), event.exit_code
        text = f"a run has ended with exit code {code}: {event.reason}"
        for each in (NoticeEvent.GUARD, NoticeEvent.END) if code == 3 else (NoticeEvent.END,):
            self._post(each, text, counts=counts, exit_code=code)

    def _post(self, event: NoticeEvent, text: str, **facts: Any) -> None:
        self._notifier.post(replace(self._base, event=event, text=text, **facts))


def describe_delay(event: FellBehind, now: float) -> str:
    """Return one line saying that a run will miss its time to finish by."""
    ends, by = format_clock(event.ends_at, now, UTC), format_clock(event.finish_by, now, UTC)
    left = format_count(event.left, "campaign")
    return f"a run is behind: it would end at {ends}, and is to finish by {by}; {left} left"
