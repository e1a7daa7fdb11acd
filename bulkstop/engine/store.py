"""The windows that are remembered and shared: what they permit, and where they are.

The sliding-window log in store_sqlite and store_redis is pyrate-limiter's. Ours is what it leaves to its user: one
lock around reading the time and counting, a time that never goes back, the removal of what is old, and errors that a
person can act on.
"""

import hashlib
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from bulkstop.errors import QuotaError, SettingsError
from bulkstop.model import Limit

T = TypeVar("T")

GUARD = 0.01
"""The share by which a window is longer here than at the service, up to GUARD_MOST_S.

Two calls that leave one window apart arrive less than that apart when the first was slower on its way. What one
process sends is held exactly by RollingWindow, which counts from the answers; between processes, this is what their
ways may differ by. It costs as much of the permitted rate.
"""
GUARD_MOST_S = 0.5
ASK_AGAIN_S = 0.25
"""How soon to ask a store again that did not answer."""
PATIENCE_S = 30.0
"""How long a store may go without answering before the run ends."""
REDIS = ("redis", "rediss", "unix")
"""The schemes of a Redis server's URL."""
ELSEWHERE = "give another path, or --quota-store memory"
"""What to do about a file that cannot be used."""


class QuotaStore(Protocol):
    """Counts the calls of all who share it; one that cannot count permits none, and in the end raises QuotaError."""

    async def claim(self, account_id: str) -> float:
        """Count a call that may leave now and give 0.0; else count nothing and give the seconds to ask again after."""
        ...

    async def room(self, account_id: str) -> int:
        """Tell how many calls could leave right now; counts nothing."""
        ...

    async def close(self) -> None:
        """Let go of the file or the connections; what was counted stays."""
        ...


def open_store(
    where: str, *, host: str, limits: Sequence[Limit], now: Callable[[], float] = time.monotonic
) -> QuotaStore:
    """Open the store at `where`, a path or the URL of a Redis server, for the accounts of `host` under `limits`.

    There is at least one limit; `now` is a clock in seconds by which the store's silence is measured.
    Raises SettingsError, naming --quota-store, when the store cannot be used; a server is given 2 s to answer.
    """
    windows = merged(limits)
    if where.partition(":")[0].lower() in REDIS:
        try:
            from bulkstop.engine.store_redis import RedisStore
        except ImportError:
            needs = "needs the package redis: pip install 'bulkstop[redis]'"
            raise SettingsError(f"--quota-store: a Redis server {needs}") from None
        return _Patient(RedisStore(where, server_of(host), windows), now)
    if "://" in where:  # what follows may hold a password
        scheme = where.partition("://")[0]
        raise SettingsError(f"--quota-store {scheme}://...: is no path, and no URL such as redis://host:6379")
    from bulkstop.engine.store_sqlite import SqliteStore, machine_clock

    return _Patient(SqliteStore(_path(where), server_of(host), windows, machine_clock()), now)


def default_path() -> Path:
    """Give the path of the user's own store, in the directory for state."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:  # one that is not absolute is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
        state = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        raise SettingsError("--quota-store: no home directory to keep the quota in; give a path, or memory") from None
    return state / "bulkstop" / "quota.sqlite"


def _path(where: str) -> Path:
    try:
        return Path(where).expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(f"--quota-store {where}: {error}; {ELSEWHERE}") from None


class Window(NamedTuple):
    """At most `calls` in any `ms` milliseconds, the guard included."""

    calls: int
    ms: int


def merged(limits: Sequence[Limit]) -> list[Window]:
    """Turn limits into windows that permit no more, in the form that pyrate-limiter takes.

    Each is longer than the one before and has more calls, but not more calls a second. What another limit implies is
    left out. A window that has more calls a second than a shorter one is made longer: that rate was forbidden anyway.
    """
    found: list[Window] = []
    for window in _binding(limits):
        if not found:
            found.append(window)
        # As many of the windows before it as cover it may hold no more than it does: then it never binds.
        elif window.calls < found[-1].calls * -(-window.ms // found[-1].ms):
            even_ms = -(-window.calls * found[-1].ms // found[-1].calls)
            found.append(Window(window.calls, max(window.ms, even_ms)))
    return found


def _binding(limits: Sequence[Limit]) -> list[Window]:
    """Give the windows, shortest first, without each that has as many calls as a longer one, or more."""
    found: list[Window] = []
    for window in sorted(map(_guarded, limits), key=lambda window: (-window.ms, window.calls)):
        if not found or window.calls < found[-1].calls:
            found.append(window)
    return found[::-1]


def _guarded(limit: Limit) -> Window:
    guard_s = min(GUARD * limit.window_s, GUARD_MOST_S)
    return Window(limit.calls, math.ceil((limit.window_s + guard_s) * 1000))


def server_of(host: str) -> str:
    """Name a server by host and port: however its address is written, its accounts have the same windows."""
    parts = urlsplit(host if "://" in host else f"https://{host}")
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def key_of(server: str, account_id: str) -> str:
    """Name what is kept of an account, without telling which one it is."""
    return hashlib.blake2b(f"{server}|{account_id}".encode(), digest_size=16).hexdigest()


class AwayError(Exception):
    """The store does not answer now and may do so later; the message is one line that says why."""


class _Patient:
    """A store that may be away for a while: nothing leaves meanwhile, and after PATIENCE_S the run ends."""

    def __init__(self, store: QuotaStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._away_since: float | None = None

    async def claim(self, account_id: str) -> float:
        return await self._ask(self._store.claim(account_id), ASK_AGAIN_S)

    async def room(self, account_id: str) -> int:
        return await self._ask(self._store.room(account_id), 0)

    async def close(self) -> None:
        await self._store.close()

    async def _ask(self, answer: Awaitable[T], away: T) -> T:
        try:
            given = await answer
        except AwayError as error:
            self._bear(error)
            return away
        self._away_since = None
        return given

    def _bear(self, error: AwayError) -> None:
        now = self._now()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= PATIENCE_S:
            raise QuotaError(f"{error}; nothing is sent uncounted, so the run ends after {PATIENCE_S:g} s of this")
