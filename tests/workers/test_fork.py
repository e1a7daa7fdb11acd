"""Connecting to a process, on the event loop that a run has."""

import asyncio
import socket
from collections.abc import Callable
from multiprocessing import Process

import pytest
import uvloop

from bulkstop.workers.fork import WorkerProcess


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("turns", range(4))
def test_cut_off_while_it_connects(turns: int, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whenever a Ctrl-C comes, the socket to a process is closed once; a second close could hit another socket."""

    async def cut_off() -> None:
        connecting = asyncio.ensure_future(worker.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await worker.disconnect()

    ours, theirs = socket.socketpair()
    worker = WorkerProcess(0, Process(), ours)
    with theirs, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(cut_off())
        ours.close()
    assert ours.fileno() == -1
