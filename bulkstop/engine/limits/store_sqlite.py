"""The windows in a file, shared by processes of a machine, or by a group's users if it is in the group's folder.

Import it only to open a file: SQLite costs a third of the start-up time of aiohttp.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from bulkstop.engine.limits.store_file import make_file
from bulkstop.engine.limits.store_layout import (
    APPLICATION_ID,
    OLD_APPLICATION_ID,
    create_tables,
    free_dropped,
    put_in,
    take_out_old,
)
from bulkstop.engine.limits.windows import (
    Change,
    Grant,
    StoreUnavailableError,
    Take,
    Window,
    find_wait_ms,
    number_of,
    suggest_store,
)
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.text.faults import explain_os

T = TypeVar("T")
Delta = tuple[int, int, int]
"""An account, a time, and by how many the calls at that time change."""

LOCK_WAIT_S = 0.25
"""How long SQLite waits for a lock before it raises an error."""
PAGE_BYTES = 1024
"""The accounts of a batch are spread over the file, so small pages mean fewer bytes to write."""
CHECKPOINT_PAGES = 16_000
"""The size of the write-ahead log at which it is merged into the file, which waits for the disk."""
CACHE_KB = 16_000
"""Enough for the calls of some thousand accounts, which are spread over the file."""
MOST_ACCOUNTS = 1000
"""The most accounts whose calls are read at once."""
GRAINS = 1000
"""Calls answered within this fraction of a window (1/GRAINS) are counted as one time, the later."""
UNUSED_MS = 86_400_000
"""An account is forgotten this long after its last call has left the windows."""

# A batch is passed and returned as one JSON text: each step of a statement releases the interpreter's lock, and a busy
# event loop is slow to return it.
ADD_CALLS = """
INSERT INTO calls (account, at_ms, calls)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
FROM json_each(?) WHERE true
ON CONFLICT (account, at_ms) DO UPDATE SET calls = calls + excluded.calls
"""
ADD_ACCOUNTS = """
INSERT INTO accounts (account, keep_ms) SELECT value, ?1 FROM json_each(?2) WHERE true
ON CONFLICT (account) DO UPDATE SET keep_ms = MAX(keep_ms, excluded.keep_ms)
"""
SAVE_NOTES = """
INSERT INTO accounts (account, keep_ms, note)
SELECT json_extract(value, '$[0]'), ?1, json_extract(value, '$[1]') FROM json_each(?2) WHERE true
ON CONFLICT (account) DO UPDATE SET note = excluded.note
"""
COUNT = "(SELECT SUM(MAX(calls, 0)) FROM calls WHERE calls.account = ask.value AND at_ms >= ?)"
READ_ACCOUNTS = """
SELECT json_group_array(json_array(ask.value, accounts.keep_ms, accounts.note, {counts}))
FROM json_each(?) AS ask LEFT JOIN accounts ON accounts.account = ask.value
"""
READ_CALLS = """
SELECT json_group_array(json_array(account, at_ms, calls)) FROM calls
WHERE account IN (SELECT value FROM json_each(?)) AND at_ms >= ? AND calls > 0
"""
FORGET = """
DELETE FROM calls WHERE account IN (SELECT value FROM json_each(?1))
AND at_ms < ?2 - (SELECT keep_ms FROM accounts WHERE accounts.account = calls.account)
"""
SWEEP_ACCOUNTS = """
DELETE FROM accounts WHERE NOT EXISTS (
    SELECT 1 FROM calls
    WHERE calls.account = accounts.account AND calls.calls > 0 AND calls.at_ms >= ? - accounts.keep_ms
)
"""
SWEEP_CALLS = "DELETE FROM calls WHERE account NOT IN (SELECT account FROM accounts)"


@dataclass(frozen=True, slots=True)
class Clock:
    """Milliseconds that every process on the machine reads alike; `name` changes if `steady_ms` restarts."""

    name: str
    steady_ms: Callable[[], int]
    wall_ms: Callable[[], int]


def machine_clock() -> Clock:
    """Return the time since the machine was started, which cannot be set; if there is none, the wall clock."""
    if sys.platform == "linux":
        with suppress(OSError):
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            return Clock(boot_id, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, _wall_ms)
    return Clock("wall", _wall_ms, _wall_ms)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Time(NamedTuple):
    """The file's time, and how far it is ahead of the steady clock; `is_corrected` if that must be written."""

    now: int
    ahead: int
    is_corrected: bool


class _Account(NamedTuple):
    """What the file knows of an account, and how many calls it may make now."""

    keep_ms: int
    note: str | None
    room: int


class SqliteStore:
    """The windows in the file at `path`, which is created if needed.

    The file's time starts as the wall clock, advances with the steady clock, and is never before the last counted call.
    So neither setting the clock back nor a reboot makes a call look older than it is, or a caller wait longer than a
    window. (Setting the wall clock forward can make calls look older: at a boot, or at any time if there is no other
    clock.)

    All SQL runs in one thread of its own, so a lock held by another process never blocks the event loop.
    """

    def __init__(self, path: Path, server: str, windows: Sequence[Window], lease_s: float, clock: Clock) -> None:
        self._path = path
        self._server = server
        self._windows = windows
        self._lease_ms = round(lease_s * 1000)
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._is_set_up = False
        self._is_swept = False
        self._thread = ThreadPoolExecutor(1, "quota-store")
        self._connection: sqlite3.Connection | None = None
        self._keep_ms = windows[-1].ms
        self._grain_ms = windows[0].ms / GRAINS
        self._accounts_query = READ_ACCOUNTS.format(counts=", ".join([COUNT] * len(windows)))

    async def open(self) -> None:
        """Open or create the file; raises SettingsError if it cannot be used."""
        try:
            with suppress(StoreUnavailableError):  # the lock may be free by the first take
                await self._in_thread(self._open, SettingsError)
        except SettingsError:
            await self.close()
            raise

    async def settle(
        self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
    ) -> Sequence[Grant]:
        """Do all of it in a transaction; raises StoreUnavailableError while another process holds the lock."""
        return await self._in_thread(partial(self._settle, takes, changes, notes))

    async def ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return the seconds since each call in a window; raises StoreUnavailableError if the file cannot be read."""
        return await self._in_thread(partial(self._ages, account_ids))

    async def load_note(self, account_id: str) -> str | None:
        """Return the note about an account; raises StoreUnavailableError while the file cannot be read."""
        return await self._in_thread(partial(self._load_note, account_id))

    async def close(self) -> None:
        """Close the file."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, act: Callable[[], T], fatal: type[SettingsError | QuotaError] = QuotaError) -> T:
        act_here = partial(copy_context().run, act)  # errors name settings as they would here
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act_here)
        except sqlite3.Error as error:
            raise _translate_error(error, self._path, fatal) from None

    def _open(self) -> None:
        self._connection = _connect(self._path)
        self._set_up(self._connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> sqlite3.Connection:
        assert self._connection is not None, "open the store first"  # noqa: S101 - a programming error
        if not self._is_set_up:
            self._set_up(self._connection)
        return self._connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")  # a power failure may lose calls; a killed process loses none
        layout = _one(connection, "PRAGMA application_id")
        if layout != APPLICATION_ID:
            if layout != OLD_APPLICATION_ID and _one(connection, "SELECT COUNT(*) FROM sqlite_master"):
                why = f"is a database of something else; {suggest_store()}"
                raise SettingsError(f" {self._path}: {why}", setting="quota_store")
            self._create(connection)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KB}")
        self._is_set_up = True

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        with _locked(connection):
            layout = _one(connection, "PRAGMA application_id")
            if layout == APPLICATION_ID:
                return  # another process has created them meanwhile
            name, steady_ms, wall_ms = self._clock.name, self._clock.steady_ms(), self._clock.wall_ms()
            old = take_out_old(connection, name, steady_ms, wall_ms) if layout == OLD_APPLICATION_ID else []
            create_tables(connection, name, wall_ms - steady_ms)
            put_in(connection, old, wall_ms)
        if old:
            free_dropped(connection)

    def _settle(self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]) -> list[Grant]:
        connection = self._connected()
        asking = [self._number(take.account_id) for take in takes]
        with _locked(connection):
            time_ms = self._read_ms(connection)  # read under the lock, otherwise it would be out of date
            now_ms = time_ms.now
            self._note_changes(connection, changes, notes, now_ms)
            grants = self._grant(connection, takes, asking, now_ms) if takes else []
            if any(grant.places for grant in grants):
                connection.execute(FORGET, (orjson.dumps(asking).decode(), now_ms))
            if changes or time_ms.is_corrected or any(grant.places for grant in grants):
                values = (self._clock.name, time_ms.ahead, time_ms.now)
                connection.execute("UPDATE clock SET name = ?, ahead_ms = ?, seen_ms = ?", values)
        return grants

    def _note_changes(
        self, connection: sqlite3.Connection, changes: Sequence[Change], notes: Mapping[str, str], now_ms: int
    ) -> None:
        """Count answered places from their responses, and free the unused ones."""
        deltas: dict[tuple[int, int], int] = {}
        for account_id, place, answered_s in changes:
            account = self._number(account_id)
            deltas[account, place] = deltas.get((account, place), 0) - 1
            if answered_s is not None:
                age_ms = int(answered_s * 1000)
                at_ms = now_ms - age_ms if age_ms > self._grain_ms else now_ms
                deltas[account, at_ms] = deltas.get((account, at_ms), 0) + 1
        if deltas:
            _add_calls(connection, [(*key, calls) for key, calls in deltas.items()])
        if notes:
            texts = [(self._number(account_id), text) for account_id, text in notes.items()]
            _execute(connection, SAVE_NOTES, texts, self._keep_ms)

    def _grant(
        self, connection: sqlite3.Connection, takes: Sequence[Take], asking: Sequence[int], now_ms: int
    ) -> list[Grant]:
        accounts = self._read_accounts(connection, asking, now_ms)
        self._keep(connection, [account for account in asking if accounts[account].keep_ms < self._keep_ms], now_ms)
        given = [max(0, min(take.want, accounts[account].room)) for take, account in zip(takes, asking, strict=True)]
        until_ms = now_ms + self._lease_ms
        _add_calls(
            connection, [(account, until_ms, calls) for account, calls in zip(asking, given, strict=True) if calls]
        )
        short = [account for account, take, calls in zip(asking, takes, given, strict=True) if calls < take.want]
        waits = self._find_waits(connection, short, now_ms) if short else {}
        return [
            Grant((until_ms,) * calls, *waits.get(account, (0.0, 0)), accounts[account].note)
            for account, calls in zip(asking, given, strict=True)
        ]

    def _read_accounts(self, connection: sqlite3.Connection, asking: Sequence[int], now_ms: int) -> dict[int, _Account]:
        """Return how many calls each account may make, and what is known of it."""
        since = [now_ms - ms for _, ms in self._windows]
        rows = _read_json(connection, self._accounts_query, *since, orjson.dumps(asking).decode())
        return {
            account: _Account(
                keep_ms or 0,
                note,
                min(calls - (count or 0) for (calls, _), count in zip(self._windows, counts, strict=True)),
            )
            for account, keep_ms, note, *counts in rows
        }

    def _keep(self, connection: sqlite3.Connection, accounts: Sequence[int], now_ms: int) -> None:
        """Extend the time for which the calls of accounts are kept to what these windows need."""
        if accounts:
            self._sweep(connection, now_ms)
            _execute(connection, ADD_ACCOUNTS, accounts, self._keep_ms)

    def _find_waits(
        self, connection: sqlite3.Connection, accounts: Sequence[int], now_ms: int
    ) -> dict[int, tuple[float, int]]:
        """Return for each account the seconds until it has a place, and how many of its calls are unanswered."""
        logs = self._read_logs(connection, accounts, now_ms)
        return {account: self._find_wait(log, now_ms) for account, log in logs.items()}

    def _find_wait(self, log: Sequence[tuple[int, int]], now_ms: int) -> tuple[float, int]:
        waits_ms = [
            find_wait_ms(window, [each for each in log if each[0] >= now_ms - window.ms], now_ms)
            for window in self._windows
        ]
        return max(1, *waits_ms) / 1000, sum(calls for at_ms, calls in log if at_ms > now_ms)

    def _read_logs(
        self, connection: sqlite3.Connection, accounts: Sequence[int], now_ms: int
    ) -> dict[int, list[tuple[int, int]]]:
        """Return the calls in the windows of each account, ordered by time."""
        logs: dict[int, list[tuple[int, int]]] = {account: [] for account in accounts}
        asked = orjson.dumps(accounts).decode()
        for account, at_ms, calls in _read_json(connection, READ_CALLS, asked, now_ms - self._keep_ms):
            logs[account].append((at_ms, calls))
        return {account: sorted(log) for account, log in logs.items()}

    def _ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        connection = self._connected()
        now_ms = self._read_ms(connection).now
        accounts = [self._number(account_id) for account_id in account_ids]
        logs: dict[int, list[tuple[int, int]]] = {}
        for first in range(0, len(accounts), MOST_ACCOUNTS):
            logs |= self._read_logs(connection, accounts[first : first + MOST_ACCOUNTS], now_ms)
        return [
            [max(0, now_ms - at_ms) / 1000 for at_ms, calls in logs[account] for _ in range(calls)]
            for account in accounts
        ]

    def _load_note(self, account_id: str) -> str | None:
        query = "SELECT note FROM accounts WHERE account = ?"
        row = self._connected().execute(query, (self._number(account_id),)).fetchone()
        return None if row is None else row[0]

    def _number(self, account_id: str) -> int:
        if (number := self._numbers.get(account_id)) is None:
            number = self._numbers[account_id] = number_of(self._server, account_id)
        return number

    def _read_ms(self, connection: sqlite3.Connection) -> _Time:
        name, known_ms, seen_ms = connection.execute("SELECT name, ahead_ms, seen_ms FROM clock").fetchone()
        steady_ms = self._clock.steady_ms()
        ahead_ms = known_ms if name == self._clock.name else self._clock.wall_ms() - steady_ms
        ahead_ms = max(ahead_ms, seen_ms - steady_ms)
        return _Time(steady_ms + ahead_ms, ahead_ms, name != self._clock.name or ahead_ms != known_ms)

    def _sweep(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Delete accounts that are long unused: once, when a new one makes the file grow."""
        if not self._is_swept:
            self._is_swept = True
            connection.execute(SWEEP_ACCOUNTS, (now_ms - UNUSED_MS,))
            connection.execute(SWEEP_CALLS)


@contextmanager
def _locked(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the file's lock, and run the block as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _add_calls(connection: sqlite3.Connection, deltas: Sequence[Delta]) -> None:
    if deltas:
        connection.execute(ADD_CALLS, (orjson.dumps(deltas).decode(),))


def _execute(connection: sqlite3.Connection, statement: str, of: Iterable[object], value: int) -> None:
    connection.execute(statement, (value, orjson.dumps(of).decode()))


def _read_json(connection: sqlite3.Connection, query: str, *values: str | int) -> Any:
    return orjson.loads(connection.execute(query, values).fetchone()[0])


def _one(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _translate_error(error: sqlite3.Error, path: Path, fatal: type[SettingsError | QuotaError]) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return StoreUnavailableError(f" {path}: locked by another process; {suggest_store()}", setting="quota_store")
    is_broken = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    remedy = f"remove it while nobody uses it, or {suggest_store()}" if is_broken else suggest_store()
    return fatal(f" {path}: cannot be used ({error}); {remedy}", setting="quota_store")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        make_file(path)
        return sqlite3.connect(path, LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError) as error:
        named = f"{_name_in(error) or path}: " if isinstance(error, OSError) else ""
        reason = f"{named}{explain_os(error)}"
        raise SettingsError(f" {path}: cannot be made ({reason}); {suggest_store()}", setting="quota_store") from None


def _name_in(error: OSError) -> str | None:
    """Return the path that an error is about; None if it has only a name within a folder."""
    return error.filename if isinstance(error.filename, str) and error.filename.startswith("/") else None
