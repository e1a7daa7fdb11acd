"""The windows in a file, shared by the processes of a machine.

Imported when a file is opened, not before: SQLite and pyrate-limiter cost a start-up as much as half of aiohttp.
"""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from pyrate_limiter import Decision, Rate, RateItem, SQLiteBucket, SQLiteQueries

from bulkstop.engine.limits.windows import StoreUnavailableError, Window, key_of, suggest_store
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.files.places import check_shared, open_place
from bulkstop.files.state_folder import make_private_folder
from bulkstop.text.faults import explain_os

T = TypeVar("T")

LOCK_WAIT_S = 0.25
"""How long SQLite waits for a lock before it says so."""
APPLICATION_ID = 0x62736B31
"""Marks the file as ours in its header; another layout of the tables needs another one."""
PAGE_BYTES = 1024
"""An account has a table and an index, each a page at least: a thousand accounts are 3 MB."""
BESIDE = ("", "-wal", "-shm", "-journal")
"""How the names of the file, and of those that SQLite puts beside it, end."""
UNUSED_MS = 86_400_000
"""How long after its last call stopped to count an account is forgotten."""

CREATE_ACCOUNTS = """
CREATE TABLE IF NOT EXISTS accounts (
    calls TEXT PRIMARY KEY,     -- the table with the account's calls
    keep_ms INTEGER NOT NULL,   -- the longest window that anybody has asked for
    clock TEXT NOT NULL,        -- the clock that its time was last read from
    ahead_ms INTEGER NOT NULL   -- what is added to that clock
) WITHOUT ROWID
"""
SAVE_ACCOUNT = "INSERT OR REPLACE INTO accounts (calls, keep_ms, clock, ahead_ms) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Clock:
    """Milliseconds that every process here reads alike; `name` changes when `steady_ms` has started anew."""

    name: str
    steady_ms: Callable[[], int]
    wall_ms: Callable[[], int]


def machine_clock() -> Clock:
    """Return the time since this machine was started, which nobody can set; where there is none, the wall clock."""
    if sys.platform == "linux":
        with suppress(OSError):
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            return Clock(boot_id, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, _wall_ms)
    return Clock("wall", _wall_ms, _wall_ms)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Account(NamedTuple):
    """A row of `accounts`."""

    calls: str
    keep_ms: int
    clock: str
    ahead_ms: int


class SqliteStore:
    """Windows in the file at `path`, which is made if need be.

    An account's time starts as the wall clock, goes on as the steady clock does, and is never behind a call that was
    counted. So a clock that is set back, or a machine that starts again, makes no call look older than it is and
    nobody wait for longer than a window. (A wall clock that is set forward can make calls look older: at the start
    of the machine, or at any time where there is no other clock.)

    All SQL runs in one thread of its own: a lock that another process holds never stops the event loop.
    """

    def __init__(self, path: Path, server: str, windows: Sequence[Window], clock: Clock) -> None:
        self._path = path
        self._server = server
        self._windows = windows
        self._clock = clock
        self._buckets: dict[str, SQLiteBucket] = {}
        self._is_set_up = False
        self._is_swept = False
        self._thread = ThreadPoolExecutor(1, "quota-store")
        with self._faults(SettingsError):
            self._connection = _open(path)
        self._try_to_set_up()

    async def claim(self, account_id: str) -> float:
        """Count a call or return the seconds to wait; raises StoreUnavailableError while another has the lock."""
        return await self._in_thread(self._claim, account_id)

    async def room(self, account_id: str) -> int:
        """Tell how many calls could leave right now; raises StoreUnavailableError while that cannot be read."""
        return await self._in_thread(self._room, account_id)

    async def ages(self, account_id: str) -> Sequence[float]:
        """Return the seconds since each call in a window; raises StoreUnavailableError while that cannot be read."""
        return await self._in_thread(self._ages, account_id)

    async def close(self) -> None:
        """Close the file."""
        await self._in_thread(lambda _: self._connection.close(), "")
        self._thread.shutdown(wait=False)

    async def _in_thread(self, act: Callable[[str], T], account_id: str) -> T:
        act_here = partial(copy_context().run, act, account_id)  # an error names settings as it would here
        with self._faults(QuotaError):
            return await asyncio.get_running_loop().run_in_executor(self._thread, act_here)

    @contextmanager
    def _faults(self, fatal: type[SettingsError | QuotaError]) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translate_error(error, self._path, fatal) from None

    def _try_to_set_up(self) -> None:
        try:
            with self._faults(SettingsError):
                self._set_up()
        except StoreUnavailableError:
            pass  # whoever holds the lock may have let go of it by the first claim
        except SettingsError:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        if self._is_set_up:
            return
        self._connection.execute("PRAGMA synchronous=NORMAL")  # a loss of power may lose calls, a killed process none
        tables = self._one("SELECT COUNT(*) FROM sqlite_master")
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            if tables:
                why = f"is a database of something else; {suggest_store()}"
                raise SettingsError(f" {self._path}: {why}", setting="quota_store")
            self._create()
        self._is_set_up = True

    def _create(self) -> None:
        self._connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        self._connection.execute("PRAGMA journal_mode=WAL")
        with self._locked():
            self._connection.execute(CREATE_ACCOUNTS)
            self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file: what is done is done alone, and wholly or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            if self._connection.in_transaction:  # a bucket that has counted a call has committed
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _claim(self, account_id: str) -> float:
        self._set_up()
        bucket = self._bucket(account_id)
        with self._locked():
            account = self._find_account(bucket.table)
            now_ms = self._read_ms(account)  # not before the lock is ours: a time that is old by then counts too little
            self._forget(account, now_ms)
            decision = cast(Decision, bucket.put_decision(RateItem("", now_ms)))
        return 0.0 if decision.allowed else max(decision.retry_after_ms or 0, 1) / 1000

    def _ages(self, account_id: str) -> list[float]:
        self._set_up()
        table = self._bucket(account_id).table
        if (account := self._account(table)) is None:
            return []
        now_ms = self._peek_ms(account)
        query = f'SELECT item_timestamp FROM "{table}" WHERE item_timestamp >= ?'  # noqa: S608 - the name is a hash
        rows = self._connection.execute(query, (now_ms - self._windows[-1].ms,))
        return [(now_ms - at_ms) / 1000 for (at_ms,) in rows]

    def _peek_ms(self, account: _Account) -> int:
        """Read an account's time, and note nothing."""
        return max(self._clock.steady_ms() + self._ahead_ms(account), self._newest_ms(account.calls))

    def _room(self, account_id: str) -> int:
        self._set_up()
        table = self._bucket(account_id).table
        if (account := self._account(table)) is None:
            return self._windows[0].calls
        now_ms = self._peek_ms(account)
        count = f'SELECT COUNT(*) FROM "{table}" WHERE item_timestamp >= ?'  # noqa: S608 - the name is a hash
        return max(0, min(calls - self._one(count, now_ms - ms) for calls, ms in self._windows))

    def _bucket(self, account_id: str) -> SQLiteBucket:
        if account_id not in self._buckets:
            rates = [Rate(*window) for window in self._windows]
            table = f"calls_{key_of(self._server, account_id)}"
            self._buckets[account_id] = SQLiteBucket(rates, self._connection, table)
        return self._buckets[account_id]

    def _find_account(self, table: str) -> _Account:
        """Return an account's row, and have its calls kept for as long as our windows need them."""
        account = self._account(table)
        if account is None:
            self._sweep()
            self._connection.execute(SQLiteQueries.CREATE_BUCKET_TABLE.format(table=table))
            index = {"index_name": f"{table}_by_time", "table_name": table}
            self._connection.execute(SQLiteQueries.CREATE_INDEX_ON_TIMESTAMP.format(**index))
            account = _Account(table, 0, "", 0)
        if account.keep_ms < self._windows[-1].ms:
            account = account._replace(keep_ms=self._windows[-1].ms)
            self._connection.execute(SAVE_ACCOUNT, account)
        return account

    def _account(self, table: str) -> _Account | None:
        row = self._connection.execute("SELECT * FROM accounts WHERE calls = ?", (table,)).fetchone()
        return None if row is None else _Account(*row)

    def _read_ms(self, account: _Account) -> int:
        """Read an account's time, and note it if that had to be put right."""
        steady_ms = self._clock.steady_ms()
        ahead_ms = max(self._ahead_ms(account), self._newest_ms(account.calls) - steady_ms)
        read = account._replace(clock=self._clock.name, ahead_ms=ahead_ms)
        if read != account:
            self._connection.execute(SAVE_ACCOUNT, read)
        return steady_ms + ahead_ms

    def _ahead_ms(self, account: _Account) -> int:
        known = account.clock == self._clock.name
        return account.ahead_ms if known else self._clock.wall_ms() - self._clock.steady_ms()

    def _newest_ms(self, table: str) -> int:
        return self._one(f'SELECT IFNULL(MAX(item_timestamp), 0) FROM "{table}"')  # noqa: S608 - the name is a hash

    def _forget(self, account: _Account, now_ms: int) -> None:
        delete = f'DELETE FROM "{account.calls}" WHERE item_timestamp < ?'  # noqa: S608 - the name is a hash
        self._connection.execute(delete, (now_ms - account.keep_ms,))

    def _sweep(self) -> None:
        """Drop the accounts that are long unused: once, and when there is a new one, for only then the file grows."""
        if self._is_swept:
            return
        self._is_swept = True
        for account in map(_Account._make, self._connection.execute("SELECT * FROM accounts").fetchall()):
            now_ms = self._clock.steady_ms() + self._ahead_ms(account)
            if self._newest_ms(account.calls) + account.keep_ms + UNUSED_MS < now_ms:
                self._connection.execute(f'DROP TABLE "{account.calls}"')
                self._connection.execute("DELETE FROM accounts WHERE calls = ?", (account.calls,))

    def _one(self, query: str, *values: int) -> int:
        return int(self._connection.execute(query, values).fetchone()[0])


def _translate_error(error: sqlite3.Error, path: Path, fatal: type[SettingsError | QuotaError]) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return StoreUnavailableError(f" {path}: locked by another process; {suggest_store()}", setting="quota_store")
    is_broken = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    remedy = f"remove it while nobody uses it, or {suggest_store()}" if is_broken else suggest_store()
    return fatal(f" {path}: cannot be used ({error}); {remedy}", setting="quota_store")


def _open(path: Path) -> sqlite3.Connection:
    try:
        _make_file(path)
        return sqlite3.connect(path, LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError) as error:
        named = f"{_name_in(error) or path}: " if isinstance(error, OSError) else ""
        reason = f"{named}{explain_os(error)}"
        raise SettingsError(f" {path}: cannot be made ({reason}); {suggest_store()}", setting="quota_store") from None


def _name_in(error: OSError) -> str | None:
    """Return the path that an error is about; None where it has only a name in a folder."""
    return error.filename if isinstance(error.filename, str) and error.filename.startswith("/") else None


def _make_file(path: Path) -> None:
    make_private_folder(path.parent)
    for ending in BESIDE:
        check_shared(f"{path}{ending}")
    # Only a new file: to close one that is in use would let go of all locks that this process has on it.
    with suppress(FileExistsError), open_place(path) as place:
        os.close(place.open(os.O_RDWR | os.O_CREAT | os.O_EXCL))
