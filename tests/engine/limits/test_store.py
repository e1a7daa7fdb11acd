"""The windows that are shared: what they permit, where they are, and what is said when they cannot be used."""

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrate_limiter import Rate, validate_rate_list

from bulkstop.engine.limits.store import PATIENCE_S, _PatientStore, default_path, open_store
from bulkstop.engine.limits.windows import (
    SAFETY_MARGIN,
    SAFETY_MARGIN_MOST_S,
    StoreUnavailableError,
    Window,
    key_of,
    merge_limits,
    server_of,
)
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.model import Limit
from tests.processes import ROOT, environment

MINUTE = Limit(60, 60.0)
HOUR = Limit(1800, 3600.0)
lists_of_limits = st.lists(
    st.builds(Limit, st.integers(1, 12), st.integers(1, 80).map(lambda n: n / 10)), min_size=1, max_size=5
)


def greedy(windows: Sequence[Window], gaps_ms: Sequence[int]) -> list[int]:
    """Make calls as early as the windows permit, each at least its gap after the one before; return their times.

    A window is counted as pyrate-limiter does: a call exactly one window ago still counts.
    """
    made = list[int]()
    for gap_ms in gaps_ms:
        due = (made[-1] if made else 0) + gap_ms
        free = [made[-calls] + ms + 1 for calls, ms in windows if len(made) >= calls]
        made.append(max([due, *free]))
    return made


@given(lists_of_limits, st.lists(st.sampled_from([0, 0, 0, 1, 40, 900, 9000]), min_size=1, max_size=80))
def test_merged_windows_break_no_limit(limits: list[Limit], gaps_ms: list[int]) -> None:
    """Whatever the limits, pyrate-limiter takes what they are merged to, and calls under that break none of them."""
    windows = merge_limits(limits)
    assert validate_rate_list([Rate(*window) for window in windows])
    made = greedy(windows, gaps_ms)
    for limit in limits:
        for first, beyond in zip(made, made[limit.calls :], strict=False):
            assert beyond - first >= limit.window_s * 1000


@given(lists_of_limits)
def test_merged_windows_permit_what_the_limits_do(limits: list[Limit]) -> None:
    """In the long run merging costs nothing but the guard: the same calls are late by less than a few windows."""
    exact = greedy(
        [Window(limit.calls, math.ceil(limit.window_s * 1000 * (1 + SAFETY_MARGIN))) for limit in limits], [0] * 400
    )
    late_ms = greedy(merge_limits(limits), [0] * 400)[-1] - exact[-1]
    assert late_ms <= 3 * max(window.ms for window in merge_limits(limits))


@pytest.mark.parametrize(
    ("limits", "windows"),
    [
        ([MINUTE], [(60, 60_500)]),
        ([Limit(20, 2.0), Limit(60, 10.0)], [(20, 2020), (60, 10_100)]),
        ([HOUR, MINUTE], [(60, 60_500), (1800, 3_600_500)]),
        ([MINUTE, MINUTE], [(60, 60_500)]),
        ([MINUTE, Limit(50, 60.0)], [(50, 60_500)]),
        ([Limit(100, 10.0), MINUTE], [(60, 60_500)]),  # the shorter one never binds
        ([Limit(1, 1.0), MINUTE], [(1, 1010)]),  # nor does the longer one here
        ([Limit(10, 1.0), Limit(15, 1.4)], [(10, 1010), (15, 1515)]),  # 15 in 1.4 s were never to be had twice
        ([Limit(10, 1.0), Limit(19, 1.4)], [(10, 1010), (19, 1919)]),  # one less than two of the shorter hold: it binds
        ([Limit(10, 1.0), Limit(20, 1.4)], [(10, 1010)]),
    ],
)
def test_merged(limits: list[Limit], windows: list[tuple[int, int]]) -> None:
    """Limits come shortest first with the guard on top; only one that never binds is left out."""
    assert merge_limits(limits) == windows


@given(st.floats(0.001, 1e6))
def test_guard(window_s: float) -> None:
    """A window is longer than the service's by a hundredth, but never by more than half a second."""
    ((_, ms),) = merge_limits([Limit(1, window_s)])
    assert -1e-6 < ms / 1000 - window_s - min(window_s * SAFETY_MARGIN, SAFETY_MARGIN_MOST_S) < 0.001 + 1e-6


@pytest.mark.real
def test_importing_is_cheap() -> None:
    """Who imports the module pays for neither SQLite nor Redis nor pyrate-limiter."""
    code = (
        "import sys, bulkstop.engine.limits.store; sys.exit(bool({'sqlite3', 'redis', 'pyrate_limiter'} & "
        "set(sys.modules)))"
    )
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
    """However its address is written, an account of a server has the same windows; another account has others."""
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
    """What is neither a path nor a Redis server's URL is refused; it may hold a password, so it is not shown."""
    with pytest.raises(SettingsError, match=r"^quota_store") as refused:
        await open_store(where, host="h", limits=[MINUTE])
    assert "hush" not in str(refused.value)
    assert "tiger" not in str(refused.value)


async def test_without_the_package_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, the message says how to install it."""
    monkeypatch.delitem(sys.modules, "bulkstop.engine.limits.store_redis", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"quota_store.* -m pip install 'redis>=6'$"):
        await open_store("redis://localhost", host="h", limits=[MINUTE])


class Sick:
    """A store that is away as long as `away` says so."""

    def __init__(self) -> None:
        self.away = True

    async def claim(self, account_id: str) -> float:
        """Permit."""
        if self.away:
            raise StoreUnavailableError("quota_store x: locked")
        return 0.0

    async def room(self, account_id: str) -> int:
        """Have room."""
        await self.claim(account_id)
        return 7

    async def ages(self, account_id: str) -> list[float]:
        """Remember one call."""
        await self.claim(account_id)
        return [1.0]

    async def close(self) -> None:
        """Do nothing."""


class TestPatience:
    """While the store is away nothing is permitted; after 30 s in a row of it the run ends."""

    async def test_in_a_row(self) -> None:
        """Every question within the 30 s is answered by a short wait, the first one after it by an error."""
        now = [1000.0]
        store = _PatientStore(Sick(), lambda: now[0])
        assert 0.25 <= await store.claim("a") <= 1
        assert await store.room("a") == 0
        assert await store.ages("a") == ()
        now[0] += PATIENCE_S - 0.001
        assert 0.25 <= await store.claim("a") <= 1
        now[0] += 0.001
        with pytest.raises(QuotaError, match="quota_store x: locked"):
            await store.claim("a")

    async def test_an_answer_ends_the_row(self) -> None:
        """An answer in between begins a new 30 s."""
        now, sick = [1000.0], Sick()
        store = _PatientStore(sick, lambda: now[0])
        await store.claim("a")
        now[0] += 20
        sick.away = False
        assert await store.claim("a") == 0.0
        assert await store.room("a") == 7
        now[0] += 20
        sick.away = True
        assert await store.claim("a") > 0
        now[0] += PATIENCE_S
        with pytest.raises(QuotaError):
            await store.room("a")
