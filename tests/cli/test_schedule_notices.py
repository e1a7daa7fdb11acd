"""The notices of a firing are sent beside it: receivers, reachable or not, do not affect the run."""

import json
import socket
from datetime import UTC, datetime

import pytest

from bulkstop.cli.schedule.notify import Teller
from bulkstop.runs.schedule.notices import Notice, NoticeKind
from bulkstop.runs.schedule.settings import Schedule
from bulkstop.schedule.firings import Timetable
from tests.servers import receiver

pytestmark = pytest.mark.real

ENDED = Notice(NoticeKind.ENDED, "eod", "2027-03-02T18:00[UTC]", datetime(2027, 3, 2, 18, tzinfo=UTC), "DONE", 0)


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


def make_schedule(*urls: str) -> Schedule:
    """Return a schedule with these receivers; the profile file is missing, as it may be in reality."""
    return Schedule(Timetable("eod", (), "UTC"), "missing.toml", notify=urls)


def test_all_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each receiver gets the notice, even if another refuses the connection."""
    monkeypatch.setattr("bulkstop.runs.notify.PAUSES_S", (0.01,))
    bodies: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = f"http://127.0.0.1:{server.getsockname()[1]}/hook"

    def receive(connection: socket.socket) -> None:
        with connection:
            bodies.append(take(connection))

    with receiver(receive) as url:
        notifier = Teller(make_schedule(refusing, url))
        notifier.notify(ENDED)
        (fault,) = notifier.close()
    assert fault.startswith("http://127.0.0.1:")
    (body,) = bodies
    told = json.loads(body)
    assert (told["event"], told["schedule"], told["exit_code"]) == ("end", "eod", 0)
    assert "the firing has ended with exit code 0: DONE" in told["text"]
