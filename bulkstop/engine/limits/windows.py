"""The data of a store: limits as windows, the places in them, and the keys of accounts."""

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

Two calls sent one window apart arrive closer together if the first took longer on its way. RollingWindow, which counts
from the responses, is exact for one process; between processes, this margin covers the difference. It costs the same
share of the permitted rate.
"""
SAFETY_MARGIN_LEAST_S = 0.005
"""For a server's coarse clock: nginx reads it once per event loop turn, and with 50 connections a turn took 3 ms."""
SAFETY_MARGIN_MOST_S = 0.5


def suggest_store(other: str = "another path") -> str:
    """Return what to do about a store that cannot be used."""
    return f"give {other}, or {name_setting('quota_store', 'memory')}"


class Window(NamedTuple):
    """At most `calls` in any `ms` milliseconds, including the safety margin."""

    calls: int
    ms: int


class Take(NamedTuple):
    """An account's request for up to `want` places."""

    account_id: str
    want: int


class Change(NamedTuple):
    """A change of a place: its call was answered `answered_s` seconds ago, or None if it was not used and is free."""

    account_id: str
    place: int
    answered_s: float | None


class Grant(NamedTuple):
    """The places granted to an account; if they are too few, it may ask again in `wait_s` seconds.

    `busy` counts the places in use without a response, by all users of the store, which may be free sooner; it is
    counted only for an account that must wait. `note` is the note about the account.
    """

    places: tuple[int, ...] = ()
    wait_s: float = 0.0
    busy: int = 0
    note: str | None = None


def merge_limits(limits: Sequence[Limit]) -> list[Window]:
    """Return windows for limits that permit no more than these, in the form that stores count.

    Each is longer than the one before and has more calls, but no higher rate. A limit implied by another is dropped. A
    window with a higher rate than a shorter one is lengthened: that rate was forbidden anyway.
    """
    windows: list[Window] = []
    for window in _binding(limits):
        if not windows:
            windows.append(window)
        # It binds only if the shorter windows that cover it permit more calls together.
        elif window.calls < windows[-1].calls * -(-window.ms // windows[-1].ms):
            even_ms = -(-window.calls * windows[-1].ms // windows[-1].calls)
            windows.append(Window(window.calls, max(window.ms, even_ms)))
    return windows


def _binding(limits: Sequence[Limit]) -> list[Window]:
    """Return the windows, shortest first, without those that permit at least as many calls as a longer one."""
    windows: list[Window] = []
    for window in sorted(map(_in_ms, limits), key=lambda window: (-window.ms, window.calls)):
        if not windows or window.calls < windows[-1].calls:
            windows.append(window)
    return windows[::-1]


def add_safety_margin(limit: Limit) -> Limit:
    """Lengthen a limit's window by the safety margin."""
    margin_s = min(max(SAFETY_MARGIN * limit.window_s, SAFETY_MARGIN_LEAST_S), SAFETY_MARGIN_MOST_S)
    return Limit(limit.calls, limit.window_s + margin_s)


def _in_ms(limit: Limit) -> Window:
    return Window(limit.calls, math.ceil(add_safety_margin(limit).window_s * 1000))


def server_of(host: str) -> str:
    """Return the name of a server, host and port: its accounts share their windows however its address is written."""
    parts = urlsplit(host if "://" in host else f"https://{host}")
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def key_of(server: str, account_id: str) -> str:
    """Return the key of an account, which does not reveal the account."""
    return hashlib.blake2b(f"{server}|{account_id}".encode(), digest_size=16).hexdigest()


def number_of(server: str, account_id: str) -> int:
    """Return the key of an account as a 64-bit number; two accounts with one number would share their windows."""
    return number_of_key(key_of(server, account_id))


def number_of_key(key: str) -> int:
    """Return a key of `key_of` as a 64-bit number."""
    return int.from_bytes(bytes.fromhex(key[:16]), signed=True)


def find_wait_ms(window: Window, counts: Sequence[tuple[int, int]], now_ms: int) -> int:
    """Return the milliseconds until a window has a place; `counts` are its calls `(at_ms, calls)`, the oldest first.

    An unanswered call counts from a time in the future, and is answered now at the earliest. A call exactly one window
    ago still counts.
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
    """The store does not respond now but may do so later; the message is one line with the reason."""
