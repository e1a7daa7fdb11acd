"""What a store counts: limits as windows, the names under which calls are kept, and the word for silence."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from bulkstop.errors import BulkstopError
from bulkstop.model import Limit
from bulkstop.naming import name_setting

AWAY_S = 0.25
"""How soon to ask a store again that did not answer. As the answer to a claim it says just that."""
SAFETY_MARGIN = 0.01
"""The share by which a window is longer here than at the service, up to SAFETY_MARGIN_MOST_S.

Two calls that leave one window apart arrive less than that apart when the first was slower on its way. What one
process sends is held exactly by RollingWindow, which counts from the answers; between processes, this is what their
ways may differ by. It also covers a server's own clock: nginx reads it once a turn, and with 50 connections a turn took
3 ms. It costs as much of the permitted rate.
"""
SAFETY_MARGIN_MOST_S = 0.5


def suggest_store(other: str = "another path") -> str:
    """Say what to do about a store that cannot be used."""
    return f"give {other}, or {name_setting('quota_store', 'memory')}"


class Window(NamedTuple):
    """At most `calls` in any `ms` milliseconds, the guard included."""

    calls: int
    ms: int


def merge_limits(limits: Sequence[Limit]) -> list[Window]:
    """Turn limits into windows that permit no more, in the form that pyrate-limiter takes.

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
    return Limit(limit.calls, limit.window_s + min(SAFETY_MARGIN * limit.window_s, SAFETY_MARGIN_MOST_S))


def _in_ms(limit: Limit) -> Window:
    return Window(limit.calls, math.ceil(add_safety_margin(limit).window_s * 1000))


def server_of(host: str) -> str:
    """Name a server by host and port: however its address is written, its accounts have the same windows."""
    parts = urlsplit(host if "://" in host else f"https://{host}")
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def key_of(server: str, account_id: str) -> str:
    """Name what is kept of an account, without telling which one it is."""
    return hashlib.blake2b(f"{server}|{account_id}".encode(), digest_size=16).hexdigest()


class StoreUnavailableError(BulkstopError):
    """The store does not answer now and may do so later; the message is one line that says why."""
