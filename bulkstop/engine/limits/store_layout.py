"""The tables of the file with the windows, and the import from those of the previous version."""

import sqlite3
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from bulkstop.engine.limits.windows import number_of_key

APPLICATION_ID = 0x62736B32
"""Identifies the file in its header; a different table layout needs a different value."""
OLD_APPLICATION_ID = 0x62736B31
"""The value of the previous version, which had a table for each account."""

TABLES = (
    """
CREATE TABLE clock (
    name TEXT NOT NULL,         -- the clock that the time was last read from
    ahead_ms INTEGER NOT NULL,  -- what is added to that clock
    seen_ms INTEGER NOT NULL    -- the time when something was last counted
)""",
    """
CREATE TABLE accounts (
    account INTEGER PRIMARY KEY,
    keep_ms INTEGER NOT NULL,   -- the longest window that anybody has asked for
    note TEXT                   -- what all who share the file keep of it
)""",
    """
CREATE TABLE calls (
    account INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,     -- when the calls were answered; of those that were not, when they are given up
    calls INTEGER NOT NULL,
    PRIMARY KEY (account, at_ms)
) WITHOUT ROWID""",
)


class OldCalls(NamedTuple):
    """The calls of an account in the old layout: their ages, and the longest window in use."""

    account: int
    keep_ms: int
    ages_ms: list[int]


def create_tables(connection: sqlite3.Connection, clock: str, ahead_ms: int) -> None:
    """Create the tables, and start the file's clock."""
    for table in TABLES:
        connection.execute(table)
    connection.execute("INSERT INTO clock (name, ahead_ms, seen_ms) VALUES (?, ?, 0)", (clock, ahead_ms))
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def take_out_old(connection: sqlite3.Connection, clock: str, steady_ms: int, wall_ms: int) -> list[OldCalls]:
    """Return the calls in the tables of the previous version, and remove those.

    There may be thousands, and each DROP scans them all: a minute for 20,000 while all others wait. So they are removed
    from the schema at once; `free_dropped` reclaims their space.
    """
    old = []
    for table, keep_ms, read_from, ahead_ms in connection.execute("SELECT * FROM accounts").fetchall():
        times = [at_ms for (at_ms,) in connection.execute(f'SELECT item_timestamp FROM "{table}"')]  # noqa: S608 - a hash
        now_ms = max([steady_ms + ahead_ms if read_from == clock else wall_ms, *times])
        old.append(OldCalls(number_of_key(table.removeprefix("calls_")), keep_ms, [now_ms - at_ms for at_ms in times]))
    connection.execute("DROP TABLE accounts")
    connection.execute("PRAGMA writable_schema=ON")
    with suppress(sqlite3.OperationalError):  # an SQLite that forbids it leaves tables that do no harm
        connection.execute("DELETE FROM sqlite_master WHERE tbl_name LIKE 'calls!_%' ESCAPE '!'")
    connection.execute("PRAGMA writable_schema=OFF")
    return old


def free_dropped(connection: sqlite3.Connection) -> None:
    """Reclaim the space of removed tables, unless another process uses the file."""
    with suppress(sqlite3.OperationalError):
        connection.execute("VACUUM")


def put_in(connection: sqlite3.Connection, old: list[OldCalls], now_ms: int) -> None:
    """Count old calls in the tables of this version."""
    for account, keep_ms, ages_ms in old:
        connection.execute("INSERT OR IGNORE INTO accounts (account, keep_ms) VALUES (?, ?)", (account, keep_ms))
        for at_ms, calls in Counter(now_ms - age_ms for age_ms in ages_ms).items():
            connection.execute("INSERT OR IGNORE INTO calls VALUES (?, ?, ?)", (account, at_ms, calls))
