"""Messages between the processes of a load test."""

import asyncio
from collections import Counter

from bulkstop.errors import OutputError
from bulkstop.model import Outcome
from bulkstop.runs.load.part import IntervalReport
from bulkstop.workers.link import Ended, Lines, Ready, pack, read_message
from tests.loads import measured


async def test_messages_arrive() -> None:
    """Each message arrives unchanged, in order, in any pieces; then there is none."""
    reader = asyncio.StreamReader()
    sent = (
        Ready(7),
        Lines(b"one\ntwo\n"),
        IntervalReport(3.0, 3.25, 2, measured(3, latency_s=0.3, service_s=0.05)),
        Ended(OutputError("full")),
        Ended(None),
    )
    for at in (data := b"".join(map(pack, sent))):
        reader.feed_data(bytes([at]))
    assert len(data) > 100
    reader.feed_eof()
    got = [await read_message(reader) for _ in sent]
    assert got[:2] == list(sent[:2])
    second, fault = got[2], got[3]
    assert isinstance(second, IntervalReport)
    assert second.interval[:3] == (3.0, 0.25, Counter({Outcome.STOPPED: 3}))
    assert (second.interval.latency.max_s, second.interval.service.max_s) == (0.3, 0.05)
    assert isinstance(fault, Ended)
    assert isinstance(fault.fault, OutputError)
    assert str(fault.fault) == "full"
    assert got[4] == Ended(None)
    assert await read_message(reader) is None


async def test_a_message_that_is_cut_off() -> None:
    """A process that dies within a message sends no more."""
    reader = asyncio.StreamReader()
    reader.feed_data(pack(Ready(7))[:-1])
    reader.feed_eof()
    assert await read_message(reader) is None
