"""Fixtures that more than one directory of tests uses."""

import gc
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses
from hypothesis import settings

from tests.servers import NGINX, Nginx, nginx

pytest_plugins = ["tests.stalls.plugin"]

QUICK = 0.2
"""The share of a property's examples that `make check` and `make test` try: `make test-full` tries all of them."""
# No deadline: a machine with other work stands still for longer than any.
settings.register_profile("patient", deadline=None)
settings.register_profile("quick", settings.get_profile("patient"))
settings.load_profile("patient")


SERVICES = {"nginx_server", "browser"}
"""Fixtures that run an independent server or a browser."""
OUTSIDE = {"subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind", "socket.connect"}
"""Audit events of the interpreter that belong to tests with the outside world."""
_unit: list[str] = []
"""The test that runs now, if it said that it needs neither sockets nor processes."""


def _refuse_outside(event: str, _args: tuple[object, ...]) -> None:
    if event in OUTSIDE and _unit:
        raise AssertionError(f"{_unit[0]} needs {event}: mark a test with sockets or processes as pytest.mark.real")


sys.addaudithook(_refuse_outside)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count tests of services, and those that measure times, among the ones with the outside world."""
    if config.getoption("--hypothesis-profile") == "quick":
        for holder, name in _budgets(items):
            budget: settings = getattr(holder, name)
            setattr(holder, name, settings(budget, max_examples=max(1, int(budget.max_examples * QUICK))))
    gc.freeze()  # what was collected stays to the end; without this it is gone through again and again
    for item in items:
        if SERVICES & set(getattr(item, "fixturenames", ())):
            item.add_marker("full")
        if item.get_closest_marker("full") or item.get_closest_marker("alone"):
            item.add_marker("real")


def _budgets(items: Iterable[pytest.Item]) -> set[tuple[object, str]]:
    """Return where the properties keep a number of examples of their own: a state machine's class, or the function."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    machines = {
        (item.cls, "settings") for item in functions if isinstance(getattr(item.cls, "settings", None), settings)
    }
    name = "_hypothesis_internal_use_settings"
    return machines | {(item.function, name) for item in functions if hasattr(item.function, name)}


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
        for name in ("http_proxy", "https_proxy", "no_proxy"):  # of the machine that runs them
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Hear SIGINT and SIGQUIT again where a shell has started the tests in the background: children inherit that."""
    for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)


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
