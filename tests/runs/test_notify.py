"""Notices of a run: they neither delay nor end it, nor contain a secret."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bulkstop.events import Event, FellBehind, RunBegan, RunEnded, Warned
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.model import Outcome
from bulkstop.runs.notify import Notice, NoticeEvent, Notifier, RunNotices, notice_to_json, show_url
from bulkstop.settings import Settings
from tests.runs.scene import AlwaysOpen, Service, ids, make_engine, make_settings
from tests.servers import Connection, authority, http, listening, replying
from tests.virtual_time import run

HOOK = "https://hooks.example/services/T0/secret-of-this-hook?key=k1k2k3k4"
END = Notice(event=NoticeEvent.END, text="all stopped", exit_code=0)
OK = Response(200, b"ok", 1.0)
LOST = TransportFailure(Outcome.CONNECTION_ERROR, "no connection", 1.0)


@dataclass
class Receivers:
    """The requests to receivers; `answers` are the responses of each in turn, the last one repeated."""

    answers: list[Response | TransportFailure] = field(default_factory=lambda: [OK])
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)
    is_silent: bool = False

    def connect(self, settings: Settings) -> Any:
        """Connect to a host."""
        receivers = self

        class To(AlwaysOpen):
            async def post(self, target: str, headers: object, body: bytes, cap: int) -> Response | TransportFailure:
                receivers.sent.append((settings.host, target, body))
                if receivers.is_silent:
                    await asyncio.Event().wait()
                return receivers.answers.pop(0) if len(receivers.answers) > 1 else receivers.answers[0]

        return To()


def send(receivers: Receivers, *notices: Notice, close_s: float = 60.0, **options: Any) -> tuple[list[str], float]:
    """Send notices in virtual time; return what was warned of, and how long it took."""
    warned: list[Event] = []

    async def work() -> None:
        notifier = Notifier(make_settings(**options), observe=warned.append, connect=receivers.connect)
        for notice in notices:
            notifier.post(notice)
        await notifier.close(close_s)

    _, took_s = run(work())
    return [each.message for each in warned if isinstance(each, Warned)], took_s


def test_webhook() -> None:
    """A webhook gets an object with a version and every key, whatever is known."""
    receivers = Receivers()
    assert send(receivers, END, notify=HOOK) == ([], 0.0)
    ((host, target, body),) = receivers.sent
    assert f"{host}{target}" == HOOK
    told = json.loads(body)
    assert list(told) == list(notice_to_json(END, 0.0))
    assert (told["version"], told["event"], told["exit_code"], told["text"]) == (1, "end", 0, "all stopped")


@pytest.mark.parametrize(
    ("notice", "called"),
    [
        (END, ["/yes"]),
        (Notice(event=NoticeEvent.END, text="", exit_code=4), ["/no"]),
        (Notice(event=NoticeEvent.PREFLIGHT_FAILED, text=""), ["/no"]),
        (Notice(event=NoticeEvent.START, text=""), []),
        (Notice(event=NoticeEvent.GUARD, text="", exit_code=3), []),
    ],
)
def test_switches(notice: Notice, called: list[str]) -> None:
    """A dead man's switch is called at the end alone, that of success for exit code 0, each with an empty body."""
    receivers = Receivers()
    send(receivers, notice, on_success="https://ping.example/yes", on_failure="https://ping.example/no")
    assert [(target, body) for _, target, body in receivers.sent] == [(each, b"") for each in called]


@pytest.mark.parametrize(
    ("answers", "tries", "fault"),
    [
        ([LOST, Response(503, b"", 1.0), OK], 3, None),
        ([Response(429, b"", 1.0), OK], 2, None),
        ([Response(404, b"", 1.0)], 1, "HTTP 404"),
        ([Response(302, b"", 1.0)], 1, "HTTP 302"),
        ([LOST], 4, "no connection"),
    ],
)
def test_tries(answers: list[Response | TransportFailure], tries: int, fault: str | None) -> None:
    """A temporary failure is retried with growing pauses; one given up is a warning that shows only the host."""
    receivers = Receivers(answers)
    warned, took_s = send(receivers, END, notify=HOOK)
    assert len(receivers.sent) == tries
    assert took_s == pytest.approx(sum((1.0, 3.0, 9.0)[: tries - 1]))
    assert warned == (
        [] if fault is None else [f"https://hooks.example/... did not take the notice of the end: {fault}"]
    )


def test_silence_is_bounded() -> None:
    """A receiver that never answers holds the end up for so long and no longer, and the others not at all."""
    warned, took_s = send(Receivers(is_silent=True), END, notify=[HOOK, "https://b.example/x"], close_s=10.0)
    assert took_s == pytest.approx(10.0)
    assert len(warned) == 2
    assert "no success within 10 s of the end" in warned[0]


def test_no_secret_is_told() -> None:
    """No notice contains a secret of the settings, and no message has more of a URL than its host."""
    receivers = Receivers([Response(500, b"", 1.0)])
    secret = Notice(event=NoticeEvent.END, text=f"refused: tok3n-of-this-run\nby {HOOK}", exit_code=3)
    warned, _ = send(receivers, secret, notify=HOOK, token="tok3n-of-this-run")
    body = receivers.sent[0][2].decode()
    assert "tok3n" not in body
    assert "secret-of-this-hook" not in body + "".join(warned)
    assert show_url("https://user:pass@h.example:8443/p?q=1") == "https://h.example:8443/..."


def observe(*events: Event, tells_end: bool = True) -> list[dict[str, Any]]:
    """Report events of a run; return what a webhook gets."""
    receivers = Receivers()

    async def work() -> None:
        settings = make_settings(notify=HOOK, finish_by="+2h")
        notifier = Notifier(settings, connect=receivers.connect)
        notices = RunNotices(notifier, settings, "r1", profile="prod", tells_end=tells_end)
        for event in events:
            notices.observe(event)
        await notifier.close()

    run(work())
    return [json.loads(body) for _, _, body in receivers.sent]


BEGAN = RunBegan("r1", "https://h", rows=5, to_send=4, accounts=1, quota="none")
ENDED = RunEnded("r1", "the failure cap is reached", 3, 7, 1.5, {"stopped": 2, "rejected": 2})


def test_run() -> None:
    """A run tells its start, that it is behind, a guard that ended it, and its end, with what is known of each."""
    told = observe(BEGAN, FellBehind("r1", 2000.0, 1000.0, 3), ENDED)
    assert [each["event"] for each in told] == ["start", "behind", "guard", "end"]
    assert told[0]["counts"] == {"rows": 5, "to_send": 4}
    assert told[1]["counts"] == {"left": 3}
    assert told[3]["counts"] == {"stopped": 2, "rejected": 2}
    assert {(each["run_id"], each["profile"]) for each in told} == {("r1", "prod")}
    assert all(each["finish_by"] and each["text"] for each in told)
    assert [each["exit_code"] for each in told] == [None, None, 3, 3]


def test_end_is_left_to_others() -> None:
    """A command that continues after its run sends the notice of the end itself."""
    assert [each["event"] for each in observe(BEGAN, ENDED, tells_end=False)] == ["start"]


async def _tell(settings: Settings, warned: list[Event]) -> None:
    notifier = Notifier(settings, observe=warned.append)
    notifier.post(END)
    await notifier.close()


async def receive(options: Callable[[str], dict[str, Any]], handle: Callable[[Connection], Awaitable[None]]) -> Any:
    """Tell a receiver that ends, and return the requests that it has seen with what was warned of."""
    warned: list[Event] = []
    async with listening(handle) as server:
        await _tell(make_settings(**options(server.url)), warned)
        return server.requests, warned


@pytest.mark.real
def test_real_receiver() -> None:
    """A webhook is a POST with JSON, a switch a GET; a login in the URL is sent as one."""

    def options(url: str) -> dict[str, Any]:
        return {"notify": url.replace("//", "//me:pass@") + "/hook?a=1", "on_success": f"{url}/ping"}

    requests, warned = asyncio.run(receive(options, replying(http(b"ok"))))
    assert warned == []
    get, post = sorted(requests)
    assert get.startswith(b"GET /ping HTTP/1.1\r\n")
    assert post.startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert b"Authorization: Basic bWU6cGFzcw==" in post
    assert json.loads(post.partition(b"\r\n\r\n")[2])["event"] == "end"


@pytest.mark.real
@pytest.mark.parametrize("end", ["close", "reset", "hang"])
def test_real_receiver_that_fails(end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that breaks off, resets, or never answers is a warning within a bounded time."""
    monkeypatch.setattr("bulkstop.runs.notify.PAUSES_S", (0.01,))
    monkeypatch.setattr("bulkstop.runs.notify.TIMEOUT_S", 0.2)
    answer = b"" if end == "hang" else b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"
    requests, warned = asyncio.run(receive(lambda url: {"notify": f"{url}/hook"}, replying(answer, end)))
    assert len(requests) == 2
    assert [each.message.partition(" did not take ")[0].rpartition("/")[2] for each in warned] == ["..."]


@pytest.mark.real
def test_real_receiver_with_a_fault_of_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrusted certificate is reported, and nothing is sent."""
    monkeypatch.setattr("bulkstop.runs.notify.PAUSES_S", ())
    warned: list[Event] = []

    async def work() -> list[bytes]:
        async with listening(replying(http(b"ok")), authority(tmp_path)[1]) as server:
            await _tell(make_settings(notify=f"{server.url}/hook"), warned)
            return server.requests

    assert asyncio.run(work()) == []
    assert [each.message for each in warned if isinstance(each, Warned) and "certificate" in each.message]


@pytest.mark.real
def test_engine_tells() -> None:
    """A run from Python tells its start and its end, and one that cannot begin tells that; the run is as without."""

    async def work() -> list[Any]:
        async with listening(replying(http(b"ok"))) as server:
            async with make_engine(Service(), notify=f"{server.url}/hook") as engine:
                assert (await engine.run(ids(3))).outcomes == {Outcome.STOPPED: 3}
                with pytest.raises(Exception, match="empty"):
                    await engine.run([])
            return [json.loads(each.partition(b"\r\n\r\n")[2]) for each in server.requests]

    told = asyncio.run(work())
    assert sorted((each["event"], each["exit_code"] or 0) for each in told) == [("end", 0), ("end", 2), ("start", 0)]
