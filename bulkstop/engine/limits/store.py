"""The windows that are remembered and shared: which store, and what it answers.

A store is a sliding-window log: when each call was answered, or until when it counts as not answered yet. One lock is
around reading the time and counting, and the time never goes back.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bulkstop.engine.limits.windows import Change, Grant, Take, merge_limits, server_of, suggest_store
from bulkstop.errors import SettingsError
from bulkstop.events import Observe, ignore
from bulkstop.files.state_folder import expand_home, find_state_folder
from bulkstop.model import Limit
from bulkstop.text import write_install

REDIS = ("redis", "rediss", "unix")
"""The schemes of a Redis server's URL."""


class QuotaStore(Protocol):
    """Counts the calls of all who share it, and keeps a short text of each account for them.

    A place that was taken counts until its lease ends and a window longer, or from when its call was answered. A store
    that cannot count permits nothing: it raises StoreUnavailableError where that may pass, else QuotaError.
    """

    async def settle(
        self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
    ) -> Sequence[Grant]:
        """Note what became of places, keep the texts, then give what is free; all of it in one transaction."""
        ...

    async def ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return how many seconds ago each call of each account was counted that is in a window; counts nothing."""
        ...

    async def load_note(self, account_id: str) -> str | None:
        """Return the text that is kept of an account."""
        ...

    async def close(self) -> None:
        """Let go of the file or the connection; what was counted stays."""
        ...


async def open_store(
    where: str, *, host: str, limits: Sequence[Limit], lease_s: float, observe: Observe = ignore
) -> QuotaStore:
    """Open the store at `where`, a path or the URL of a Redis server, for the accounts of `host` under `limits`.

    There is at least one limit. After `lease_s` the call of a place that was taken has its answer, or never gets one.
    Raises SettingsError, naming the setting, when the store cannot be used; a server is given 5 s to answer.
    """
    windows = merge_limits(limits)
    if is_server(where):
        try:
            from bulkstop.engine.limits.store_redis import RedisStore
        except ImportError:
            needs = f"needs the package redis: {write_install('redis>=6')}"
            raise SettingsError(f": a Redis server {needs}", setting="quota_store") from None
        server = RedisStore(where, server_of(host), windows, lease_s, os.urandom(8).hex(), observe)
        await server.open()
        return server
    if "://" in where:  # what follows may hold a password
        scheme = where.partition("://")[0]
        why = "is neither a path nor a URL such as redis://host:6379"
        raise SettingsError(f" {scheme}://...: {why}", setting="quota_store")
    from bulkstop.engine.limits.store_sqlite import SqliteStore, machine_clock

    store = SqliteStore(_path(where), server_of(host), windows, lease_s, machine_clock())
    await store.open()
    return store


def is_server(where: str) -> bool:
    """Tell whether a store is a Redis server."""
    return where.partition(":")[0].lower() in REDIS


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
            f" {where}: ~ is not a known home directory; {suggest_store()}", setting="quota_store"
        ) from None
