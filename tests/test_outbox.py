"""Writes that a reader may block happen beside the event loop: real pipes, real threads."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Iterator

import pytest

from bulkstop.errors import OutputError
from bulkstop.outbox import PIECE_BYTES, Outbox, make_room
from tests.processes import WAIT_S

LINE = b"x" * 99 + b"\n"
PIPE_BYTES = 4096
"""The smallest pipe: one page."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Have a small pipe; the outbox closes its end of it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    yield reader, writer
    os.close(reader)


def wait_for_full(reader: int, outbox: Outbox[int], lines: int) -> None:
    """Wait until the pipe has taken what it can of so many lines."""
    give_up = time.monotonic() + WAIT_S
    while len(outbox.unwritten) > lines - PIECE_BYTES // len(LINE):
        assert time.monotonic() < give_up
        time.sleep(0)


def read_to_end(reader: int) -> bytes:
    """Read until the other end is closed."""
    return b"".join(iter(lambda: os.read(reader, 65536), b""))


def test_order(pipe: tuple[int, int]) -> None:
    """All that is put in is written, in order; `close` waits for it."""
    reader, writer = pipe
    outbox = Outbox[int](writer, "there")
    read: list[bytes] = []
    taker = threading.Thread(target=lambda: read.append(read_to_end(reader)))
    taker.start()
    for number in range(1000):
        assert outbox.put(b"%d\n" % number, number)
    outbox.close()
    taker.join(WAIT_S)
    assert read[0].split() == [b"%d" % number for number in range(1000)]
    assert (outbox.unwritten, outbox.fault) == ([], None)


async def test_room(pipe: tuple[int, int]) -> None:
    """Producers wait while it is full, and the event loop runs; a reader releases them."""
    reader, writer = pipe
    outbox = Outbox[int](writer, "there", room_bytes=1000)
    assert make_room([outbox]) is None
    for number in range(200):
        outbox.put(LINE, number)
    waiting = asyncio.ensure_future(outbox.wait_for_room())
    for _ in range(10):
        await asyncio.sleep(0)
    assert outbox.is_full
    assert not waiting.done()
    while not waiting.done():
        os.read(reader, 100)
        await asyncio.sleep(0)
    assert not outbox.is_full
    outbox.abandon()


async def test_hurry(pipe: tuple[int, int]) -> None:
    """In a hurry a blocked reader is given up; no caller waits, and the unwritten data is returned."""
    reader, writer = pipe
    outbox = Outbox[int](writer, "there", room_bytes=1000)
    for number in range(200):
        outbox.put(LINE, number)
    waiting = [asyncio.ensure_future(wait) for wait in (outbox.wait_for_room(), outbox.flush())]
    wait_for_full(reader, outbox, 200)
    assert not any(each.done() for each in waiting)
    outbox.hurry()
    await asyncio.wait_for(asyncio.gather(*waiting), WAIT_S)
    missing = outbox.unwritten
    assert missing == list(range(200 - len(missing), 200))
    assert not outbox.put(LINE, 200)
    outbox.close()
    whole = os.read(reader, 65536)
    assert whole == LINE * (200 - len(missing))  # no line is torn


async def test_slow_reader_in_a_hurry(pipe: tuple[int, int]) -> None:
    """A reader that takes something now and then is not given up."""
    reader, writer = pipe
    outbox = Outbox[int](writer, "there")
    for number in range(500):
        outbox.put(LINE, number)
    outbox.hurry()
    flush = asyncio.ensure_future(outbox.flush())
    read = b""
    while not flush.done():
        read += await asyncio.to_thread(os.read, reader, 1000)
    assert not outbox.is_over
    outbox.close()
    assert read + read_to_end(reader) == LINE * 500


def test_close_in_a_hurry(pipe: tuple[int, int]) -> None:
    """`close` does not wait for ever without a reader."""
    _, writer = pipe
    outbox = Outbox[int](writer, "there")
    for number in range(100):
        outbox.put(LINE, number)
    outbox.hurry()
    outbox.close()
    assert outbox.unwritten


async def test_reader_gone() -> None:
    """When the reader has gone, that is its fault, the rest is returned, and no caller waits."""
    reader, writer = os.pipe()
    os.close(reader)
    outbox = Outbox[int](writer, "there", room_bytes=1)
    outbox.put(LINE, 1)
    await asyncio.wait_for(outbox.wait_for_room(), WAIT_S)
    assert isinstance(outbox.fault, BrokenPipeError)
    assert not outbox.put(LINE, 2)
    assert outbox.unwritten == [1]
    outbox.close()


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no thread left, one line says so, with the remedy."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OutputError, match=r"^there: no thread can be started; raise the limit on processes"):
        Outbox[int](-1, "there")
