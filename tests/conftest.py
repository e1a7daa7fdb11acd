"""Fixtures that more than one directory of tests uses."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses
from hypothesis import settings

from tests.servers import NGINX, Nginx, nginx

settings.register_profile("patient", deadline=None)  # a machine with other work stands still for longer than any
settings.load_profile("patient")


SERVICES = {"nginx_server", "browser"}
"""Fixtures that run a server or a browser that nobody here wrote."""
OUTSIDE = {"subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind", "socket.connect"}
"""What makes a test one with the outside world, as the interpreter's audit events name it."""
_unit: list[str] = []
"""The test that runs now, if it said that it needs neither sockets nor processes."""


def _refuse_outside(event: str, _args: tuple[object, ...]) -> None:
    if event in OUTSIDE and _unit:
        raise AssertionError(f"{_unit[0]} needs {event}: mark a test with sockets or processes as pytest.mark.real")


sys.addaudithook(_refuse_outside)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count tests of services, and those that measure times, among the ones with the outside world."""
    for item in items:
        if SERVICES & set(getattr(item, "fixturenames", ())):
            item.add_marker("full")
        if item.get_closest_marker("full") or item.get_closest_marker("alone"):
            item.add_marker("real")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold a test that is not marked `real` to that: it opens no socket and starts no process."""
    if not item.get_closest_marker("real"):
        _unit.append(item.nodeid)
    try:
        return (yield)
    finally:
        _unit.clear()


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own record of calls out of the tests, and theirs out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Hear Ctrl-C again where a shell has started the tests in the background: what they start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nginx_server(tmp_path: Path) -> Iterator[Nginx]:
    """Run the real nginx, which answers both stop calls as documented."""
    if NGINX is None:
        pytest.skip("nginx is not installed here; nothing else can stand for a server that nobody here wrote")
    with nginx(tmp_path / "nginx") as server:
        yield server


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """Answer in place of aiohttp's session, without a socket."""
    # aiohttp 3.14 asks for an argument that aioresponses 0.7.9 does not give:
    # https://github.com/pnuckowski/aioresponses/issues/289
    monkeypatch.setattr(ClientResponse.__init__, "__kwdefaults__", {"stream_writer": Mock(output_size=0)})
    with aioresponses() as answers:
        yield answers
