"""The notices of a firing are sent beside it: receivers, reachable or not, do not affect the run."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from time import monotonic

import pytest

from bulkstop.cli.schedule import notify as module
from bulkstop.cli.schedule.notify import Background, make_notifier
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import Timetable
from tests.processes import WAIT_S

pytestmark = pytest.mark.real

ENDED = Notice(NoticeKind.ENDED, "eod", "2027-03-02T18:00[UTC]", datetime(2027, 3, 2, 18, tzinfo=UTC), "DONE", 0)
Receive = Callable[[socket.socket], object]


def take(connection: socket.socket) -> bytes:
    """Return the body of a request, and answer it."""
    with connection.makefile("rb") as file:
        length = 0
        while (line := file.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = file.read(length)
    connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    return body


@contextmanager
def receiver(receive: Receive) -> Iterator[str]:
    """Pass each connection to a function; return the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                receive(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


def make_schedule(*urls: str) -> Schedule:
    """Return a schedule with these receivers; the profile file is missing, as it may be in reality."""
    return Schedule(Timetable("eod", (), "UTC"), "missing.toml", notify=urls)


@pytest.mark.full  # the refused notice is attempted for 10 s
def test_all_receivers() -> None:
    """Each receiver gets the notice, even if another refuses the connection."""
    bodies: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = f"http://127.0.0.1:{server.getsockname()[1]}/hook"

    def receive(connection: socket.socket) -> None:
        with connection:
            bodies.append(take(connection))

    with receiver(receive) as url:
        notifier = make_notifier(make_schedule(refusing, url))
        notifier.notify(ENDED)
        notifier.close()
    (body,) = bodies
    told = json.loads(body)
    assert (told["event"], told["schedule"], told["exit_code"]) == ("end", "eod", 0)
    assert "the firing has ended with exit code 0: DONE" in told["text"]


def test_receiver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that never answers delays neither the notice nor, beyond a limit, the end."""
    monkeypatch.setattr(module, "CLOSE_S", 0.2)
    held: list[socket.socket] = []
    came = threading.Event()

    def hold(connection: socket.socket) -> None:
        held.append(connection)
        came.set()

    with receiver(hold) as url:
        notifier = Background(make_schedule(url))
        began = monotonic()
        notifier.notify(ENDED)
        notified_s = monotonic() - began
        assert came.wait(WAIT_S)
        began = monotonic()
        notifier.close()
        closed_s = monotonic() - began
        for each in held:
            each.close()
    assert notified_s < 1.0
    assert closed_s < 2.0


def test_nobody_to_tell() -> None:
    """A schedule without receivers starts no thread."""
    before = threading.active_count()
    notifier = make_notifier(make_schedule())
    notifier.notify(ENDED)
    notifier.close()
    assert threading.active_count() == before


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started the notice is lost, and the firing continues."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    notifier = Background(make_schedule("http://127.0.0.1:9/hook"))
    notifier.notify(ENDED)
    notifier.close()
