"""The shared store of windows: which one to open, and its interface.

A store is a sliding-window log of when each call was answered, or until when it counts as unanswered. One lock covers
reading the time and counting, and the time never goes back.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bulkstop.engine.limits.windows import Change, Grant, Take, merge_limits, server_of, suggest_store
from bulkstop.engine.tasks import import_beside
from bulkstop.errors import SettingsError
from bulkstop.events import Observe, ignore
from bulkstop.files.state_folder import expand_home, find_state_folder
from bulkstop.model import Limit
from bulkstop.text import write_install

REDIS = ("redis", "rediss", "unix")
"""The URL schemes of a Redis server."""


class QuotaStore(Protocol):
    """Counts the calls of all its users, and keeps a short note about each account.

    A place counts from the response to its call, or, without one, until a window after its lease. A store that cannot
    count grants nothing: it raises StoreUnavailableError if that may pass, else QuotaError.
    """

    async def settle(
        self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
    ) -> Sequence[Grant]:
        """Apply changes to places, save the notes, then grant free places; all in one transaction."""
        ...

    async def ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return for each account how many seconds ago each call in a window was counted; counts nothing."""
        ...

    async def load_note(self, account_id: str) -> str | None:
        """Return the note about an account."""
        ...

    async def close(self) -> None:
        """Close the file or the connection; the counts stay."""
        ...


async def open_store(
    where: str, *, host: str, limits: Sequence[Limit], lease_s: float, observe: Observe = ignore
) -> QuotaStore:
    """Open the store at `where`, a path or the URL of a Redis server, for the accounts of `host` under `limits`.

    There is at least one limit. A call gets its response within `lease_s` of taking its place, or never. Raises
    SettingsError, which names the setting, if the store cannot be used; a server has 5 s to respond.
    """
    windows = merge_limits(limits)
    if is_server(where):
        try:
            await import_beside("redis.asyncio")
            from bulkstop.engine.limits.store_redis import RedisStore
        except ImportError:
            needs = f"needs the package redis: {write_install('redis>=6')}"
            raise SettingsError(f": a Redis server {needs}", setting="quota_store") from None
        server = RedisStore(where, server_of(host), windows, lease_s, os.urandom(8).hex(), observe)
        await server.open()
        return server
    if "://" in where:  # the rest may contain a password
        scheme = where.partition("://")[0]
        why = "is neither a path nor a URL such as redis://host:6379"
        raise SettingsError(f" {scheme}://...: {why}", setting="quota_store")
    from bulkstop.engine.limits.store_sqlite import SqliteStore, machine_clock

    store = SqliteStore(_path(where), server_of(host), windows, lease_s, machine_clock())
    await store.open()
    return store


def is_server(where: str) -> bool:
    """Return whether a store is a Redis server."""
    return where.partition(":")[0].lower() in REDIS


def default_path() -> Path:
    """Return the path of the user's own store in the state folder."""
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
