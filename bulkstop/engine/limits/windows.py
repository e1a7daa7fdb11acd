"""What a store counts: limits as windows, the places in them, and the names under which they are kept."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from bulkstop.errors import BulkstopError
from bulkstop.model import Limit
from bulkstop.naming import name_setting

SAFETY_MARGIN = 0.0025
"""The share by which a window is longer here than at the service, within the two bounds below.

Two calls that leave one window apart arrive less than that apart when the first was slower on its way. What one
process sends is held exactly by RollingWindow, which counts from the answers; between processes, this is what their
ways may differ by. It costs as much of the permitted rate.
"""
SAFETY_MARGIN_LEAST_S = 0.005
"""For a server's own clock: nginx reads it once a turn, and with 50 connections a turn took 3 ms."""
SAFETY_MARGIN_MOST_S = 0.5


def suggest_store(other: str = "another path") -> str:
    """Say what to do about a store that cannot be used."""
    return f"give {other}, or {name_setting('quota_store', 'memory')}"


class Window(NamedTuple):
    """At most `calls` in any `ms` milliseconds, the guard included."""

    calls: int
    ms: int


class Take(NamedTuple):
    """An account asks for up to so many places."""

    account_id: str
    want: int


class Change(NamedTuple):
    """What became of a place: its call was answered so many seconds ago; None: it was not used, and is free again."""

    account_id: str
    place: int
    answered_s: float | None


class Grant(NamedTuple):
    """The places that an account was given; one that got fewer than it wanted may ask again in `wait_s` seconds.

    `busy` are the places of all who share the store whose calls have no answer yet, and which may be free sooner; they
    are only counted for one that has to wait. `note` is the text that is kept of the account.
    """

    places: tuple[int, ...] = ()
    wait_s: float = 0.0
    busy: int = 0
    note: str | None = None


def merge_limits(limits: Sequence[Limit]) -> list[Window]:
    """Turn limits into windows that permit no more, in the form that stores count.

    Each is longer than the one before and has more calls, but not more calls a second. What another limit implies is
    left out. A window that has more calls a second than a shorter one is made longer: that rate was forbidden anyway.
    """
    windows: list[Window] = []
    for window in _binding(limits):
        if not windows:
            windows.append(window)
        # As many of the windows before it as cover it may hold no more than it does: then it never binds.
        elif window.calls < windows[-1].calls * -(-window.ms // windows[-1].ms):
            even_ms = -(-window.calls * windows[-1].ms // windows[-1].calls)
            windows.append(Window(window.calls, max(window.ms, even_ms)))
    return windows


def _binding(limits: Sequence[Limit]) -> list[Window]:
    """Return the windows, shortest first, without each that has as many calls as a longer one, or more."""
    windows: list[Window] = []
    for window in sorted(map(_in_ms, limits), key=lambda window: (-window.ms, window.calls)):
        if not windows or window.calls < windows[-1].calls:
            windows.append(window)
    return windows[::-1]


def add_safety_margin(limit: Limit) -> Limit:
    """Lengthen a limit's window by the guard."""
    margin_s = min(max(SAFETY_MARGIN * limit.window_s, SAFETY_MARGIN_LEAST_S), SAFETY_MARGIN_MOST_S)
    return Limit(limit.calls, limit.window_s + margin_s)


def _in_ms(limit: Limit) -> Window:
    return Window(limit.calls, math.ceil(add_safety_margin(limit).window_s * 1000))


def server_of(host: str) -> str:
    """Name a server by host and port: however its address is written, its accounts have the same windows."""
    parts = urlsplit(host if "://" in host else f"https://{host}")
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def key_of(server: str, account_id: str) -> str:
    """Name what is kept of an account, without telling which one it is."""
    return hashlib.blake2b(f"{server}|{account_id}".encode(), digest_size=16).hexdigest()


def number_of(server: str, account_id: str) -> int:
    """Return the name of an account as a number of 64 bits; two of one number would share their windows."""
    return number_of_key(key_of(server, account_id))


def number_of_key(key: str) -> int:
    """Return what `key_of` gives as a number of 64 bits."""
    return int.from_bytes(bytes.fromhex(key[:16]), signed=True)


def find_wait_ms(window: Window, counts: Sequence[tuple[int, int]], now_ms: int) -> int:
    """Return after how long a window has a place; `counts` are its calls by time, `(at_ms, calls)`, the oldest first.

    A call that has no answer yet counts from a time that is still to come, and is answered now at the earliest. A call
    exactly one window ago still counts.
    """
    over = sum(calls for _, calls in counts) - window.calls
    for at_ms, calls in counts:
        if over < 0:
            break
        over -= calls
        if over < 0:
            return min(at_ms, now_ms) + window.ms + 1 - now_ms
    return 0


class StoreUnavailableError(BulkstopError):
    """The store does not answer now and may do so later; the message is one line that says why."""
