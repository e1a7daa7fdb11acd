"""The windows that are remembered and shared: what they permit, and where they are.

The sliding-window log in store_sqlite and store_redis is pyrate-limiter's. Ours is what it leaves to its user: one
lock around reading the time and counting, a time that never goes back, the removal of what is old, and errors that a
person can act on.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from bulkstop.engine.limits.windows import AWAY_S, StoreUnavailableError, merge_limits, server_of, suggest_store
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.files.state_folder import expand_home, find_state_folder
from bulkstop.model import Limit
from bulkstop.text import write_install

T = TypeVar("T")

PATIENCE_S = 30.0
"""How long a store may go without answering before the run ends."""
REDIS = ("redis", "rediss", "unix")
"""The schemes of a Redis server's URL."""


class QuotaStore(Protocol):
    """Counts the calls of all who share it; one that cannot count permits none, and in the end raises QuotaError."""

    async def claim(self, account_id: str) -> float:
        """Count a call that may leave now and give 0.0; else count nothing and give the seconds to ask again after."""
        ...

    async def room(self, account_id: str) -> int:
        """Tell how many calls could leave right now; counts nothing."""
        ...

    async def ages(self, account_id: str) -> Sequence[float]:
        """Return how many seconds ago each call was counted that is still in a window; counts nothing."""
        ...

    async def close(self) -> None:
        """Let go of the file or the connections; what was counted stays."""
        ...


async def open_store(
    where: str, *, host: str, limits: Sequence[Limit], now: Callable[[], float] = time.monotonic
) -> QuotaStore:
    """Open the store at `where`, a path or the URL of a Redis server, for the accounts of `host` under `limits`.

    There is at least one limit; `now` is a clock in seconds by which the store's silence is measured.
    Raises SettingsError, naming the setting, when the store cannot be used; a server is given 5 s to answer.
    """
    windows = merge_limits(limits)
    if where.partition(":")[0].lower() in REDIS:
        try:
            from bulkstop.engine.limits.store_redis import RedisStore
        except ImportError:
            needs = f"needs the package redis: {write_install('redis>=6')}"
            raise SettingsError(f": a Redis server {needs}", setting="quota_store") from None
        store = RedisStore(where, server_of(host), windows)
        await store.open()
        return _PatientStore(store, now)
    if "://" in where:  # what follows may hold a password
        scheme = where.partition("://")[0]
        why = "is no path, and no URL such as redis://host:6379"
        raise SettingsError(f" {scheme}://...: {why}", setting="quota_store")
    from bulkstop.engine.limits.store_sqlite import SqliteStore, machine_clock

    return _PatientStore(SqliteStore(_path(where), server_of(host), windows, machine_clock()), now)


def default_path() -> Path:
    """Return the path of the user's own store, in the directory for state."""
    state = find_state_folder()
    if state is None:
        why = "no home directory to keep the quota in; give a path, or memory"
        raise SettingsError(f": {why}", setting="quota_store")
    return state / "bulkstop" / "quota.sqlite"


def _path(where: str) -> Path:
    try:
        return expand_home(where).absolute()
    except RuntimeError:
        raise SettingsError(
            f" {where}: ~ is no home directory that is known; {suggest_store()}", setting="quota_store"
        ) from None


class _PatientStore:
    """A store that may be away for a while: nothing leaves meanwhile, and after PATIENCE_S the run ends."""

    def __init__(self, store: QuotaStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._away_since: float | None = None

    async def claim(self, account_id: str) -> float:
        return await self._ask(self._store.claim(account_id), AWAY_S)

    async def room(self, account_id: str) -> int:
        return await self._ask(self._store.room(account_id), 0)

    async def ages(self, account_id: str) -> Sequence[float]:
        return await self._ask(self._store.ages(account_id), ())

    async def close(self) -> None:
        await self._store.close()

    async def _ask(self, answer: Awaitable[T], away: T) -> T:
        try:
            reply = await answer
        except StoreUnavailableError as error:
            self._bear(error)
            return away
        self._away_since = None
        return reply

    def _bear(self, error: StoreUnavailableError) -> None:
        now = self._now()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= PATIENCE_S:
            raise QuotaError(f"{error}; nothing is sent uncounted, so the run ends after {PATIENCE_S:g} s of this")
