"""Notices are sent from a thread of their own: they delay nothing but the end, and that at most by `CLOSE_S`."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from bulkstop.engine.ending import own_process
from bulkstop.runs import courier as module
from bulkstop.runs.courier import Courier, close_all
from bulkstop.runs.notify import Notice, NoticeEvent
from tests.processes import WAIT_S
from tests.runs.scene import make_settings
from tests.servers import receiver

pytestmark = pytest.mark.real

START = Notice(event=NoticeEvent.START, text="a run begins")
END = Notice(event=NoticeEvent.END, text="all stopped", exit_code=0)


def answer(connection: socket.socket) -> None:
    """Receive a request and respond."""
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


def test_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that never responds delays the end by `CLOSE_S` in all, for any number of couriers and notices."""
    monkeypatch.setattr(module, "CLOSE_S", 0.3)
    held: list[socket.socket] = []
    with receiver(held.append) as url:
        couriers = [Courier(lambda: make_settings(notify=url)) for _ in range(3)]
        began = monotonic()
        for each in couriers:
            each.post(START)
            each.post(END)
        posted_s = monotonic() - began
        while len(held) < 6 and monotonic() < began + WAIT_S:
            threading.Event().wait(0.01)
        began = monotonic()
        faults = close_all(couriers)
        took_s = monotonic() - began
        for connection in held:
            connection.close()
    assert posted_s < 1.0
    assert took_s < 1.0
    assert len(faults) == 6
    assert "secret" not in "".join(faults)
    assert faults[0].endswith("/... did not take the notice of the start: no success within 0 s of the end")


def test_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits until the notices have arrived, and no longer."""
    monkeypatch.setattr(module, "CLOSE_S", WAIT_S)
    came: list[str] = []

    def take(connection: socket.socket) -> None:
        answer(connection)
        came.append("answered")

    with receiver(take) as url:
        courier = Courier(lambda: make_settings(notify=url))
        courier.post(END)
        began = monotonic()
        assert close_all([courier]) == []
        assert monotonic() - began < WAIT_S / 2
    assert came == ["answered"]


def test_name_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow name lookup delays neither the end of the command nor that of the process."""
    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait(WAIT_S))
    courier = Courier(lambda: make_settings(notify="https://hooks.example/services/T0"))
    courier.post(END)
    while not [each for each in threading.enumerate() if each.name == "look-up"]:
        is_over.wait(0.01)
    began = monotonic()
    assert len(close_all([courier])) == 1
    assert monotonic() - began < 2.0
    assert all(each.daemon for each in threading.enumerate() if each is not threading.main_thread())
    is_over.set()


def test_what_is_said_meanwhile() -> None:
    """Notices under way do not change how the command writes its output."""
    entered: list[str] = []

    @contextmanager
    def beside() -> Iterator[None]:
        entered.append("beside")
        yield

    with receiver(answer) as url, own_process(str, str, str, beside):
        courier = Courier(lambda: make_settings(notify=url))
        courier.post(END)
        assert close_all([courier]) == []
    assert entered == []


def test_nobody_to_tell() -> None:
    """Without a notice no thread starts, and the end does not wait."""
    before = threading.active_count()
    assert close_all([Courier(make_settings)]) == []
    assert threading.active_count() == before


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the notice is lost with a message, and nothing fails."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    courier = Courier(make_settings)
    courier.post(END)
    assert close_all([courier]) == ["notices were not sent: can't start new thread"]
