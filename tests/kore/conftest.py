"""The event loops on which the tests of a transport run."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


@pytest.hookimpl
def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """Offer both loops to tests marked with `loop_factories`, and the usual one to all others."""
    loops: Loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    marker = item.get_closest_marker("asyncio")
    return loops if marker and "loop_factories" in marker.kwargs else {"asyncio": asyncio.new_event_loop}
