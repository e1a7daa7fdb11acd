"""Calls that are started at once, and what follows their responses."""

import asyncio

from bulkstop.engine.tasks import Calls, Tasks
from bulkstop.model import Answer, never_at_once
from tests.engine.parts import STOPPED, always


async def test_what_follows_a_response_never_begins() -> None:
    """A call whose renewal is cancelled before its first step was sent: it is cancelled, not never begun."""
    tasks = Tasks()
    told: list[Answer] = []
    Calls(always(STOPPED).send, never_at_once, tasks).finish(asyncio.sleep(0, STOPPED), told.append)
    tasks.cancel()
    await tasks.finish()
    assert [type(each) for each in told] == [asyncio.CancelledError]
