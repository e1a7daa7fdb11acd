"""Shared windows: what they permit, where they are stored, and the messages when they cannot be used."""

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.limits.store import default_path, open_store
from bulkstop.engine.limits.windows import (
    SAFETY_MARGIN,
    SAFETY_MARGIN_LEAST_S,
    SAFETY_MARGIN_MOST_S,
    Window,
    add_safety_margin,
    find_wait_ms,
    key_of,
    merge_limits,
    server_of,
)
from bulkstop.errors import SettingsError
from bulkstop.model import Limit
from tests.processes import ROOT, environment

MINUTE = Limit(60, 60.0)
HOUR = Limit(1800, 3600.0)
lists_of_limits = st.lists(
    st.builds(Limit, st.integers(1, 12), st.integers(1, 80).map(lambda n: n / 10)), min_size=1, max_size=5
)


def greedy(windows: Sequence[Window], gaps_ms: Sequence[int]) -> list[int]:
    """Make calls as early as the windows permit, each at least its gap after the one before; return their times.

    A window is counted as a store does: a call exactly one window ago still counts.
    """
    made = list[int]()
    for gap_ms in gaps_ms:
        due = (made[-1] if made else 0) + gap_ms
        free = [made[-calls] + ms + 1 for calls, ms in windows if len(made) >= calls]
        made.append(max([due, *free]))
    return made


@given(lists_of_limits, st.lists(st.sampled_from([0, 0, 0, 1, 40, 900, 9000]), min_size=1, max_size=80))
def test_merged_windows_break_no_limit(limits: list[Limit], gaps_ms: list[int]) -> None:
    """Calls within merged limits break none of the original limits."""
    windows = merge_limits(limits)
    made = greedy(windows, gaps_ms)
    for limit in limits:
        for first, beyond in zip(made, made[limit.calls :], strict=False):
            assert beyond - first >= limit.window_s * 1000


@given(lists_of_limits)
def test_merged_windows_permit_what_the_limits_do(limits: list[Limit]) -> None:
    """In the long run merging costs nothing but the guard: the same calls are late by less than a few windows."""
    exact = greedy(
        [Window(limit.calls, math.ceil(add_safety_margin(limit).window_s * 1000)) for limit in limits], [0] * 400
    )
    late_ms = greedy(merge_limits(limits), [0] * 400)[-1] - exact[-1]
    assert late_ms <= 3 * max(window.ms for window in merge_limits(limits))


@pytest.mark.parametrize(
    ("limits", "windows"),
    [
        ([MINUTE], [(60, 60_150)]),
        ([Limit(20, 2.0), Limit(60, 10.0)], [(20, 2005), (60, 10_025)]),
        ([HOUR, MINUTE], [(60, 60_150), (1800, 3_600_500)]),
        ([MINUTE, MINUTE], [(60, 60_150)]),
        ([MINUTE, Limit(50, 60.0)], [(50, 60_150)]),
        ([Limit(100, 10.0), MINUTE], [(60, 60_150)]),  # the shorter one never binds
        ([Limit(1, 1.0), MINUTE], [(1, 1005)]),  # nor does the longer one here
        ([Limit(10, 1.0), Limit(15, 1.4)], [(10, 1005), (15, 1508)]),  # 15 in 1.4 s were never to be had twice
        ([Limit(10, 1.0), Limit(19, 1.4)], [(10, 1005), (19, 1910)]),  # one less than two of the shorter hold: it binds
        ([Limit(10, 1.0), Limit(20, 1.4)], [(10, 1005)]),
    ],
)
def test_merged(limits: list[Limit], windows: list[tuple[int, int]]) -> None:
    """Limits come shortest first with the guard on top; only one that never binds is left out."""
    assert merge_limits(limits) == windows


@given(st.floats(0.001, 1e6))
def test_guard(window_s: float) -> None:
    """A window is longer than the service's by a four-hundredth, within its two bounds."""
    ((_, ms),) = merge_limits([Limit(1, window_s)])
    assert (
        -1e-6
        < ms / 1000 - window_s - min(max(window_s * SAFETY_MARGIN, SAFETY_MARGIN_LEAST_S), SAFETY_MARGIN_MOST_S)
        < 0.001 + 1e-6
    )


@pytest.mark.real
def test_importing_is_cheap() -> None:
    """Importing the module imports neither SQLite nor Redis."""
    code = "import sys, bulkstop.engine.limits.store; sys.exit(bool({'sqlite3', 'redis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=False).returncode == 0


@pytest.mark.parametrize(
    ("state", "expected"),
    [("/var/state", "/var/state"), ("relative", "/home/u/.local/state"), ("", "/home/u/.local/state")],
)
def test_default_path(monkeypatch: pytest.MonkeyPatch, state: str, expected: str) -> None:
    """The user's own store is in the directory for state, as the XDG specification has it."""
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", "/home/u")
    assert default_path() == Path(expected) / "bulkstop" / "quota.sqlite"


def test_a_server_has_one_name() -> None:
    """An account of a server has the same windows for any spelling of the address; another account has others."""
    written = ["platform.kore.ai", "https://Platform.Kore.AI", "https://platform.kore.ai:443/base/path"]
    assert len({key_of(server_of(host), "a1") for host in written}) == 1
    assert key_of(server_of("platform.kore.ai"), "a1") != key_of(server_of("platform.kore.ai"), "a2")
    assert server_of("http://localhost:8080") != server_of("http://localhost:8081")


@pytest.mark.parametrize(
    "where",
    [
        "http://u:hush-tiger@host:6379",
        "redis:u:hush-tiger@host",
        "redis://u:hush#tiger@host",
        "redis://u:hush-tiger@host:port",
        "redis://:12/hush-tiger@host",
        "redis://u:hush-tiger@host/notanumber",
        "redis://u:hush-tiger@host:0",
        "unix://hush-tiger",
        "unix://u:hush/tiger@/run/redis.sock",
    ],
)
async def test_an_address_of_nothing(where: str) -> None:
    """A value that is neither a path nor a Redis URL is refused, and not shown, because it may contain a password."""
    with pytest.raises(SettingsError, match=r"^quota_store") as refused:
        await open_store(where, host="h", limits=[MINUTE], lease_s=30.0)
    assert "hush" not in str(refused.value)
    assert "tiger" not in str(refused.value)


async def test_without_the_package_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the redis package, the message says how to install it."""
    monkeypatch.delitem(sys.modules, "bulkstop.engine.limits.store_redis", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"quota_store.* -m pip install 'redis>=6'$"):
        await open_store("redis://localhost", host="h", limits=[MINUTE], lease_s=30.0)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 3)), max_size=12),
)
def test_the_wait_for_a_place(most: int, counts: list[tuple[int, int]]) -> None:
    """After the wait, and not before, the window has room; calls without an answer are answered now at the earliest."""
    window, now_ms = Window(most, 60), 60
    log = sorted(counts)
    wait_ms = find_wait_ms(window, log, now_ms)

    def room_after(ms: int) -> int:
        return most - sum(calls for at_ms, calls in log if min(at_ms, now_ms) >= now_ms + ms - window.ms)

    assert room_after(wait_ms) > 0
    assert wait_ms == 0 or room_after(wait_ms - 1) <= 0
