"""Fails a test in which an event loop was held for more than 250 ms of processor time, also one of another process."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stalls.monitor import VARIABLE, install, take_stalls


def pytest_configure(config: pytest.Config) -> None:
    """Begin to measure; each worker of the tests has its own file, and so have the processes that it starts."""
    config.addinivalue_line("markers", "stalls(reason): holds an event loop on purpose")
    folder = tempfile.TemporaryDirectory(prefix="stalls-")
    config.add_cleanup(folder.cleanup)
    os.environ[VARIABLE] = str(Path(folder.name) / "stalls")
    install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that succeeded, and held a loop."""
    take_stalls()
    result = yield
    stalls = take_stalls()
    if stalls and item.get_closest_marker("stalls") is None:
        pytest.fail("an event loop was held by\n" + "\n".join(stalls), pytrace=False)
    return result
