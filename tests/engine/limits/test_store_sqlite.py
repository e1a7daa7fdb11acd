"""The windows in a file, with real files, real locks and real processes."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.limits.blocks import MOST_PLACES
from bulkstop.engine.limits.store import QuotaStore, open_store
from bulkstop.engine.limits.store_file import is_shared
from bulkstop.engine.limits.store_sqlite import LOCK_WAIT_S, UNUSED_MS, Clock, SqliteStore, machine_clock
from bulkstop.engine.limits.windows import Change, Grant, StoreUnavailableError, Take, key_of, merge_limits
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.model import Limit
from tests.engine.limits.claims import (
    ACCOUNT,
    HOST,
    LEASE_S,
    Call,
    assert_never_over,
    assert_never_over_whenever,
    claim,
    claim_until,
    claims,
    counted,
    read_grants,
    start_claimers,
    windows_used,
)
from tests.processes import ROOT, environment
from tests.strangers import IS_ROOT, make_giver

MINUTE = Limit(60, 60.0)
T0_MS = 1_764_892_800_000


@asynccontextmanager
async def opened(path: Path, *limits: Limit, host: str = HOST) -> AsyncIterator[QuotaStore]:
    """Hold a store open."""
    store = await open_store(str(path), host=host, limits=limits or [MINUTE], lease_s=LEASE_S)
    try:
        yield store
    finally:
        await store.close()


@dataclass
class Machine:
    """A machine with a clock that can be set, one that cannot, and a switch."""

    has_steady: bool = True
    passed_ms: int = 0
    wall_off_ms: int = 0
    started_ms: list[int] = field(default_factory=lambda: [-5_000])

    def clock(self) -> Clock:
        """Return what a process reads here, as `machine_clock` does."""
        if not self.has_steady:
            return Clock("wall", self._wall, self._wall)
        return Clock(f"boot{len(self.started_ms)}", lambda: self.passed_ms - self.started_ms[-1], self._wall)

    def start_again(self) -> None:
        """Switch it off and on."""
        self.started_ms.append(self.passed_ms)

    def _wall(self) -> int:
        return T0_MS + self.passed_ms + self.wall_off_ms


@asynccontextmanager
async def on(machine: Machine, path: Path, *limits: Limit) -> AsyncIterator[SqliteStore]:
    """Hold a store open in a process of a machine."""
    store = SqliteStore(path, "h:443", merge_limits(limits), LEASE_S, machine.clock())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def locked(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Have another process hold the file's lock until its input is closed."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
        "print('locked', flush=True); sys.stdin.read(); c.execute('ROLLBACK'); c.close(); print('free', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield process
    finally:
        unlock(process)


def unlock(process: "subprocess.Popen[str]") -> None:
    """Let it go."""
    process.communicate()


class TestWindow:
    """Which calls are permitted, for whom, and when."""

    async def test_calls_are_counted_over_openings(self, tmp_path: Path) -> None:
        """A reopened store continues the same window, and returns the time until it has a place."""
        path = tmp_path / "quota.sqlite"
        async with opened(path, Limit(3, 20.0)) as store:
            assert await claims(store, 2) == [0.0, 0.0]
        async with opened(path, Limit(3, 20.0)) as store:
            assert await counted(store) == 2
            assert await claim(store) == 0.0
            assert 19 < await claim(store) <= 20.051
            assert await counted(store) == 3

    async def test_the_wait_is_enough(self, tmp_path: Path) -> None:
        """A caller that waits as requested is permitted then, and not before."""
        machine = Machine()
        async with on(machine, tmp_path / "q", Limit(2, 1.0), Limit(3, 10.0)) as store:
            assert await claims(store, 2, "a") == [0.0, 0.0]
            for expected in (0.0, 0.0):
                wait_s = await claim(store, "a")
                machine.passed_ms += round(wait_s * 1000) - 1
                assert await claim(store, "a") == pytest.approx(0.001)
                machine.passed_ms += 1
                assert await claim(store, "a") == expected
            assert machine.passed_ms == 10_026

    async def test_ages_count_nothing(self, tmp_path: Path) -> None:
        """Asking for the calls counts none, for an account never seen as for any other."""
        async with opened(tmp_path / "q", Limit(3, 60.0), Limit(4, 600.0)) as store:
            assert [await store.ages([ACCOUNT, "another"]) for _ in range(3)] == [[[], []]] * 3
            await claim(store)
            assert [await counted(store) for _ in range(3)] == [1] * 3
            assert await counted(store, "another") == 0

    async def test_accounts_and_hosts_are_apart(self, tmp_path: Path) -> None:
        """An exhausted account leaves the others, and the same one at another host, all they have."""
        path = tmp_path / "q"
        async with opened(path, Limit(1, 60.0)) as store, opened(path, Limit(1, 60.0), host="https://eu") as eu:
            assert await claim(store, "a") == 0.0
            assert await claim(store, "a") > 0
            assert await claim(store, "b") == 0.0
            assert await claim(eu, "a") == 0.0

    async def test_another_quota_forgets_nothing(self, tmp_path: Path) -> None:
        """A run with a short window leaves a long one what it needs."""
        machine, path = Machine(), tmp_path / "q"
        short, long = Limit(5, 10.0), Limit(6, 3600.0)
        async with on(machine, path, short, long) as both, on(machine, path, short) as one:
            assert await claim(both, "a") == 0.0
            for _ in range(5):
                machine.passed_ms += 11_000
                assert await claim(one, "a") == 0.0
            assert await claim(both, "a") > 3500

    async def test_a_name_is_only_a_name(self, tmp_path: Path) -> None:
        """An account may be called anything; the file does not hold it."""
        path = tmp_path / "q"
        async with opened(path, Limit(1, 60.0)) as store:
            for account in ("'; DROP TABLE accounts; --", '"', "%", "ä" * 500, "topsecretaccount"):
                assert await claim(store, account) == 0.0
                assert await claim(store, account) > 0
        assert b"topsecretaccount" not in path.read_bytes()
        assert b"DROP TABLE accounts" not in path.read_bytes()


@pytest.mark.full
class TestProcesses:
    """Several processes at once."""

    @pytest.mark.real
    def test_two_share_one_window(self, tmp_path: Path) -> None:
        """Two that claim as fast as they can never break a window together, and use all that it permits."""
        limits = [Limit(400, 2.0), Limit(1200, 10.0)]  # more than one can take before the other is awake
        both = start_claimers(2, str(tmp_path / "q"), limits)
        claim_until(ends_at := time.monotonic() + 4.2, both)
        shares = [read_grants(process) for process in both]
        assert [process.wait() for process in both] == [0, 0]
        grants = [grant for share in shares for grant in share]
        assert_never_over(grants, limits)
        assert len(grants) >= 0.98 * 400 * windows_used(grants, ends_at, 2.0)
        assert all(shares), "one of them got nothing at all"

    @pytest.mark.real
    def test_a_killed_one_is_followed_by_its_window(self, tmp_path: Path) -> None:
        """After SIGKILL in the middle of its claims, the next process has what that one left, and no more.

        A block is lost that was taken, and counts for as long as a call may take.
        """
        limits = [Limit(1000, 3.5)]
        (first,) = start_claimers(1, str(tmp_path / "q"), limits)
        claim_until(time.monotonic() + 60, [first])
        before = read_grants(first, 10)
        first.kill()
        before += read_grants(first)
        assert first.wait() == -signal.SIGKILL
        assert len(before) < 1000
        (second,) = start_claimers(1, str(tmp_path / "q"), limits)
        claim_until(before[0].earliest + 3.4, [second])
        after = read_grants(second)
        assert second.wait() == 0
        assert 1000 - MOST_PLACES - 1 <= len(before) + len(after) <= 1000

    @pytest.mark.real
    async def test_the_time_is_read_under_the_lock(self, tmp_path: Path) -> None:
        """A call that had to wait for the lock is counted when it leaves, not when it asked."""
        path = tmp_path / "q"
        async with opened(path) as store:
            await claim(store)
            with locked(path) as holder:
                claiming = asyncio.ensure_future(claim(store))
                await asyncio.sleep(LOCK_WAIT_S / 2)
                before = machine_clock().steady_ms()
                unlock(holder)
                assert await claiming == 0.0
            with closing(sqlite3.connect(path)) as file:
                ahead_ms = file.execute("SELECT ahead_ms FROM clock").fetchone()[0]
                newest = file.execute("SELECT MAX(at_ms) FROM calls WHERE calls > 0").fetchone()[0]
            assert newest - ahead_ms >= before


class TestLeases:
    """Places whose calls have no answer yet."""

    async def test_a_place_counts_from_the_answer(self, tmp_path: Path) -> None:
        """A slow call keeps its place until a window after its answer, for all processes."""
        machine = Machine()
        async with (
            on(machine, tmp_path / "q", Limit(2, 10.0)) as store,
            on(machine, tmp_path / "q", Limit(2, 10.0)) as two,
        ):
            (grant,) = await store.settle([Take("a", 2)], [], {})
            assert (len(grant.places), grant.wait_s) == (2, 0.0)
            machine.passed_ms += 15_000
            assert await two.settle([Take("a", 1)], [], {}) == [Grant((), 10.026, 2)]
            changes = [Change("a", grant.places[0], 3.0), Change("a", grant.places[1], 1.0)]
            await store.settle([], changes, {})
            assert await two.ages(["a"]) == [[3.0, 1.0]]
            assert await two.settle([Take("a", 1)], [], {}) == [Grant((), 7.026, 0)]

    async def test_a_process_that_died(self, tmp_path: Path) -> None:
        """Its places count as long as its calls may have taken, plus a window; then they are free."""
        machine = Machine()
        async with on(machine, tmp_path / "q", Limit(2, 10.0)) as store:
            await store.settle([Take("a", 2)], [], {})
            machine.passed_ms += round(LEASE_S * 1000) + 10_025
            assert await store.settle([Take("a", 1)], [], {}) == [Grant((), 0.001, 0)]
            machine.passed_ms += 1
            assert await claims(store, 2, "a") == [0.0, 0.0]

    async def test_given_back(self, tmp_path: Path) -> None:
        """A place that was not used is free at once, and those taken with it stay taken."""
        machine = Machine()
        async with on(machine, tmp_path / "q", Limit(3, 10.0)) as store:
            ((places, *_),) = await store.settle([Take("a", 3)], [], {})
            (again,) = await store.settle([Take("a", 2)], [Change("a", places[0], None)], {})
            assert (len(again.places), again.busy) == (1, 3)

    async def test_many_accounts_in_a_transaction(self, tmp_path: Path) -> None:
        """Each account gets its own free places, in the order of the requests."""
        async with on(Machine(), tmp_path / "q", Limit(3, 10.0), Limit(5, 600.0)) as store:
            await claims(store, 2, "b")
            grants = await store.settle([Take(name, 3) for name in "cba"], [], {"b": "of b"})
            assert [len(grant.places) for grant in grants] == [3, 1, 3]
            assert [grant.note for grant in grants] == [None, "of b", None]

    @settings(max_examples=25)
    @given(st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 4), st.integers(-1, 3000)), min_size=5, max_size=40))
    def test_whatever_happens(self, steps: list[tuple[int, int, int]]) -> None:
        """However places are taken, answered late or returned, no window has more calls than the limit.

        The service counts a call at any moment between its departure and its answer.
        """
        limits = [Limit(3, 1.0), Limit(5, 4.0)]
        with tempfile.TemporaryDirectory() as folder:
            calls = asyncio.run(self._calls(Machine(), Path(folder) / "q", limits, steps))
        assert_never_over_whenever(calls, limits)

    async def _calls(
        self, machine: Machine, path: Path, limits: Sequence[Limit], steps: Sequence[tuple[int, int, int]]
    ) -> list[Call]:
        calls, open_calls = list[Call](), list[tuple[int, int, int]]()
        async with on(machine, path, *limits) as store:
            for gap_ms, want, takes_ms in steps:
                machine.passed_ms += gap_ms
                now_ms = machine.passed_ms
                over = [each for each in open_calls if each[1] <= now_ms]
                open_calls = [each for each in open_calls if each[1] > now_ms]
                calls += [Call(began / 1000, ended / 1000) for began, ended, _ in over]
                changes = [Change("a", place, (now_ms - ended) / 1000) for _, ended, place in over]
                (grant,) = await store.settle([Take("a", want)], changes, {})
                if takes_ms < 0:
                    await store.settle([], [Change("a", place, None) for place in grant.places], {})
                else:
                    open_calls += [(now_ms, now_ms + takes_ms, place) for place in grant.places]
        return calls + [Call(began / 1000, ended / 1000) for began, ended, _ in open_calls]


class TestNotes:
    """The text that is kept of an account."""

    async def test_kept(self, tmp_path: Path) -> None:
        """All who share the file have the last one written, also of an account that has made no call."""
        path = tmp_path / "q"
        async with opened(path) as one, opened(path) as two:
            assert await one.load_note("a") is None
            await one.settle([], [], {"a": "1", "b": '{"burst": 5}'})
            await two.settle([], [], {"a": "2"})
            (grant,) = await one.settle([Take("a", 1)], [], {})
            assert grant.note == "2"
        async with opened(path) as again:
            assert await again.load_note("b") == '{"burst": 5}'


class TestLocked:
    """Another process holds the lock and does not let go."""

    @pytest.mark.real
    async def test_nothing_is_permitted_and_nothing_stands_still(self, tmp_path: Path) -> None:
        """While the lock is held a claim reports that, and the event loop runs; then all continues."""
        path = tmp_path / "q"
        async with opened(path) as store:
            assert await claim(store) == 0.0
            with locked(path):
                claiming = asyncio.ensure_future(claim(store))
                turns = 0
                while not claiming.done():
                    await asyncio.sleep(0.01)
                    turns += 1
                with pytest.raises(
                    StoreUnavailableError, match=r"^quota_store .*/q: locked by another process"
                ) as away:
                    await claiming
                assert turns >= 5
            assert "\n" not in str(away.value)
            assert await claim(store) == 0.0
            assert await counted(store) == 2

    @pytest.mark.real
    async def test_from_the_start(self, tmp_path: Path) -> None:
        """A file that is locked when it is opened is waited for like any other."""
        path = tmp_path / "q"
        with locked(path) as holder:
            async with opened(path) as store:
                with pytest.raises(StoreUnavailableError):
                    await claim(store)
                unlock(holder)
                assert await claim(store) == 0.0

    @pytest.mark.real
    async def test_a_claim_that_is_given_up(self, tmp_path: Path) -> None:
        """A claim that is cancelled while it waits for the lock harms no later one."""
        path = tmp_path / "q"
        async with opened(path) as store:
            await claim(store)
            with locked(path):
                claiming = asyncio.ensure_future(claim(store))
                await asyncio.sleep(0)
                claiming.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await claiming
            assert await claims(store, 3) == [0.0] * 3


class TestClock:
    """Clocks that are set, and machines that start again."""

    @pytest.mark.parametrize("has_steady", [True, False])
    async def test_set_back(self, tmp_path: Path, has_steady: bool) -> None:
        """A wall clock that is set back by an hour permits nothing early, and delays nothing by more than a window."""
        machine = Machine(has_steady)
        async with on(machine, tmp_path / "q", Limit(3, 10.0)) as store:
            assert await claims(store, 3, "a") == [0.0] * 3
            machine.wall_off_ms = -3_600_000
            assert await counted(store, "a") == 3
            wait_s = await claim(store, "a")
            assert 0 < wait_s <= 10.026
            machine.passed_ms += round(wait_s * 1000)
            assert await claims(store, 3, "a") == [0.0] * 3
            assert await claim(store, "a") > 10

    async def test_room_after_a_set_back(self, tmp_path: Path) -> None:
        """A wall clock that is set back brings no call into the window again that had left it."""
        machine = Machine(has_steady=False)
        async with on(machine, tmp_path / "q", Limit(3, 10.0)) as store:
            for _ in range(2):
                assert await claim(store, "a") == 0.0
                machine.passed_ms += 11_000
            machine.wall_off_ms = -3_600_000
            assert await counted(store, "a") == 1

    async def test_set_forward(self, tmp_path: Path) -> None:
        """With a monotonic clock, setting the wall clock forward permits nothing early."""
        machine = Machine()
        async with on(machine, tmp_path / "q", Limit(3, 10.0)) as store:
            assert await claims(store, 3, "a") == [0.0] * 3
            machine.wall_off_ms = 3_600_000
            assert await claim(store, "a") == pytest.approx(10.026)

    @pytest.mark.parametrize("wall_off_ms", [0, -3_600_000])
    async def test_start_again(self, tmp_path: Path, wall_off_ms: int) -> None:
        """After a restart of the machine the window continues, even if its wall clock is then behind."""
        machine, path = Machine(), tmp_path / "q"
        async with on(machine, path, Limit(3, 60.0)) as store:
            assert await claims(store, 3, "a") == [0.0] * 3
        machine.passed_ms += 20_000
        machine.start_again()
        machine.passed_ms += 20_000
        machine.wall_off_ms = wall_off_ms
        async with on(machine, path, Limit(3, 60.0)) as store:
            wait_s = await claim(store, "a")
            assert wait_s == pytest.approx(60.151 if wall_off_ms else 20.151)
            machine.passed_ms += round(wait_s * 1000)
            assert await claim(store, "a") == 0.0

    @settings(max_examples=25)
    @given(
        st.booleans(),
        st.lists(
            st.tuples(st.integers(0, 4000), st.sampled_from(["", "", "", "set back", "start again"])),
            min_size=5,
            max_size=30,
        ),
    )
    def test_whatever_happens(self, has_steady: bool, steps: list[tuple[int, str]]) -> None:
        """For any changes of the clock and restarts, no window is broken."""
        limits = [Limit(2, 1.0), Limit(4, 5.0)]
        with tempfile.TemporaryDirectory() as folder:
            grants = asyncio.run(self._granted(Machine(has_steady), Path(folder) / "q", limits, steps))
        assert_never_over([Call(at, at) for at in grants], limits)

    async def _granted(
        self, machine: Machine, path: Path, limits: Sequence[Limit], steps: Sequence[tuple[int, str]]
    ) -> list[float]:
        granted = list[float]()
        store = SqliteStore(path, "h:443", merge_limits(limits), LEASE_S, machine.clock())
        await store.open()
        for gap_ms, what in steps:
            machine.passed_ms += gap_ms
            if what == "set back":
                machine.wall_off_ms -= 100_000
            elif what == "start again":
                machine.start_again()
                await store.close()
                store = SqliteStore(path, "h:443", merge_limits(limits), LEASE_S, machine.clock())
                await store.open()
            await claim(store, "b")
            granted += [machine.passed_ms / 1000 for wait_s in await claims(store, 3, "a") if not wait_s]
        await store.close()
        return granted

    @pytest.mark.real
    def test_processes_read_the_same(self) -> None:
        """Two processes of a machine see one clock, under one name."""
        code = "from bulkstop.engine.limits.store_sqlite import machine_clock as m; print(m().name, m().steady_ms())"
        before = machine_clock().steady_ms()
        name, there = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        assert name == machine_clock().name
        assert before <= int(there) <= machine_clock().steady_ms()


class TestFile:
    """The file, and what is not one."""

    async def test_only_for_its_user(self, tmp_path: Path) -> None:
        """The file and its new directories are private to the user."""
        path = tmp_path / "state" / "quota.sqlite"
        async with opened(path) as store:
            await claim(store)
            assert {made.stat().st_mode & 0o777 for made in path.parent.iterdir()} == {0o600}
            assert path.parent.stat().st_mode & 0o777 == 0o700

    async def test_a_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path may start with ~, which no shell has expanded in a file of settings."""
        monkeypatch.setenv("HOME", str(tmp_path))
        async with opened(Path("~/q")) as store:
            await claim(store)
        assert (tmp_path / "q").exists()

    async def test_it_stays_small(self, tmp_path: Path) -> None:
        """Calls that count no more are removed."""
        machine, path = Machine(), tmp_path / "q"
        async with on(machine, path, Limit(10, 1.0)) as store:
            for _ in range(100):
                machine.passed_ms += 1_011
                assert await claims(store, 10, "a") == [0.0] * 10
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("SELECT SUM(calls) FROM calls").fetchone()[0] == 10
            assert file.execute("SELECT COUNT(*) FROM calls").fetchone()[0] < 40
        assert path.stat().st_size < 20_000

    async def test_many_accounts(self, tmp_path: Path) -> None:
        """Accounts that are long unused are removed when another is new; one still in use, by anybody, is kept."""
        machine, path = Machine(), tmp_path / "q"
        async with on(machine, path, Limit(2, 60.0)) as store:
            for number in range(200):
                assert await claim(store, f"a{number}") == 0.0
            machine.passed_ms += UNUSED_MS
            assert await claim(store, "a0") == 0.0
            machine.passed_ms += 61_000
        async with on(machine, path, Limit(2, 60.0)) as other:
            assert await claim(other, "new") == 0.0
        async with on(machine, path, Limit(2, 60.0)) as store:
            assert await claim(store, "a7") == 0.0
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("SELECT COUNT(*) FROM accounts").fetchone()[0] == 3
            assert file.execute("SELECT COUNT(DISTINCT account) FROM calls").fetchone()[0] == 3
        assert path.stat().st_size < 200 * 3000

    async def test_removed_by_another_run(self, tmp_path: Path) -> None:
        """If another run has removed the account meanwhile, the run creates it again."""
        machine, path = Machine(), tmp_path / "q"
        async with on(machine, path, Limit(2, 60.0)) as store:
            assert await claim(store, "a") == 0.0
            machine.passed_ms += 2 * UNUSED_MS
            async with on(machine, path, Limit(2, 60.0)) as other:
                assert await claim(other, "b") == 0.0
            assert await counted(store, "a") == 0
            assert await claims(store, 2, "a") == [0.0, 0.0]
            assert await claim(store, "a") > 0

    @pytest.mark.parametrize(
        "damage",
        [b"campaign_id,name\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000, b"\0" * 4096],
        ids=["text", "bad header", "zeros"],
    )
    async def test_no_database(self, tmp_path: Path, damage: bytes) -> None:
        """A file that is not a database is refused at once, in one line with the remedies, and unchanged."""
        path = tmp_path / "q"
        path.write_bytes(damage)
        with pytest.raises(SettingsError, match=r"^quota_store .*/q: .*remove it.*quota_store=.memory.$") as refused:
            await open_store(str(path), host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == damage

    @pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
    async def test_planted(self, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A link that another user has put in its place, or where SQLite puts a file beside it, is refused."""
        own, folder = tmp_path / "own", tmp_path / "shared"
        own.write_bytes(b"mine")
        folder.mkdir()
        folder.chmod(0o1777)
        link = folder / f"q{ending}"
        link.symlink_to(own)
        make_giver(monkeypatch)(link)
        with pytest.raises(SettingsError, match=rf"/q: cannot be made \(\S+/q: q{ending} is a link of user \S+ in a"):
            await open_store(str(folder / "q"), host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        assert own.read_bytes() == b"mine"
        assert [path.name for path in folder.iterdir()] == [link.name]

    async def test_damaged_in_the_middle(self, tmp_path: Path) -> None:
        """A database whose tables are damaged ends the run; nothing is permitted uncounted."""
        path = tmp_path / "q"
        async with opened(path) as store:
            await claims(store, 50)
        pages = bytearray(path.read_bytes())
        pages[1024:] = b"\xff" * (len(pages) - 1024)
        path.write_bytes(pages)
        async with opened(path) as store:
            with pytest.raises(QuotaError, match=r"^quota_store .*/q: cannot be used .*remove it"):
                await claim(store)

    async def test_a_database_of_something_else(self, tmp_path: Path) -> None:
        """Another program's database is refused, and left as it is."""
        path = tmp_path / "q"
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TABLE theirs (x)")
        before = path.read_bytes()
        with pytest.raises(SettingsError, match=r"^quota_store .*/q: .*something else"):
            await open_store(str(path), host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("where", ["file/q", "file/deeper/q", "folder", "nul\0byte"])
    async def test_no_place_for_a_file(self, tmp_path: Path, where: str) -> None:
        """If no file can be created, the message says so and names the option and the remedy."""
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        with pytest.raises(SettingsError, match=r"^quota_store .*quota_store=.memory.$"):
            await open_store(str(tmp_path / where), host=HOST, limits=[MINUTE], lease_s=LEASE_S)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; test_no_place_for_a_file covers it")
    async def test_no_permission(self, tmp_path: Path) -> None:
        """A directory that may not be written is refused."""
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(SettingsError, match=r"^quota_store .*Permission denied"):
            await open_store(str(tmp_path / "closed" / "q"), host=HOST, limits=[MINUTE], lease_s=LEASE_S)


OLD_TABLES = """
CREATE TABLE accounts (
    calls TEXT PRIMARY KEY, keep_ms INTEGER NOT NULL, clock TEXT NOT NULL, ahead_ms INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id=1651731249;
"""


class TestOldLayout:
    """A file of the version before, which had a table for each account."""

    def _write(
        self, path: Path, machine: Machine, ages_ms: Mapping[str, Sequence[int]], clock: str | None = None
    ) -> None:
        now_ms = machine.clock().steady_ms() + 77
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA journal_mode=WAL")
            file.executescript(OLD_TABLES)
            for name, ages in ages_ms.items():
                table = f"calls_{key_of('h:443', name)}"
                file.execute(f"CREATE TABLE '{table}' (name VARCHAR, item_timestamp INTEGER)")
                file.execute(f"CREATE INDEX '{table}_by_time' ON '{table}' (item_timestamp)")
                file.executemany(f"INSERT INTO '{table}' VALUES ('', ?)", [(now_ms - age,) for age in ages])
                row = (table, 60_150, clock or machine.clock().name, 77)
                file.execute("INSERT INTO accounts VALUES (?, ?, ?, ?)", row)
            file.commit()

    async def test_its_calls_are_taken_over(self, tmp_path: Path) -> None:
        """Its calls count on, each from its time, and its tables are gone."""
        path, machine = tmp_path / "q", Machine()
        self._write(path, machine, {"a": [40_000, 20_000, 20_000], "b": [1_000], "c": []})
        async with on(machine, path, Limit(3, 60.0)) as store:
            assert await store.ages(["a", "b", "c"]) == [[40.0, 20.0, 20.0], [1.0], []]
            assert await claim(store, "a") == 20.151
            assert await claim(store, "b") == 0.0
        async with on(machine, path, Limit(3, 60.0)) as store:
            assert await counted(store, "b") == 2
        with closing(sqlite3.connect(path)) as file:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert tables == {"clock", "accounts", "calls"}

    async def test_two_at_once(self, tmp_path: Path) -> None:
        """If two processes find it at once, one migrates it, and both continue."""
        path, machine = tmp_path / "q", Machine()
        self._write(path, machine, {"a": [40_000, 20_000]})
        stores = [
            SqliteStore(path, "h:443", merge_limits([Limit(3, 60.0)]), LEASE_S, machine.clock()) for _ in range(2)
        ]
        await asyncio.gather(*(store.open() for store in stores))
        assert [await counted(store, "a") for store in stores] == [2, 2]
        assert [await claim(store, "a") for store in stores] == [0.0, 20.151]
        for store in stores:
            await store.close()

    async def test_of_before_the_machine_started(self, tmp_path: Path) -> None:
        """After a restart of its clock, the old times are compared by the wall clock."""
        path, machine = tmp_path / "q", Machine()
        wall_off_ms = T0_MS - machine.clock().steady_ms() - 77
        self._write(path, machine, {"a": [5_000 - wall_off_ms]}, clock="boot0")
        async with on(machine, path, Limit(3, 60.0)) as store:
            assert await store.ages(["a"]) == [[5.0]]


SHARERS = (61_001, 61_002)
GROUP = 61_000
CLAIM_AS = """
import asyncio, concurrent.futures.thread, grp, os, pwd, sys
import bulkstop.engine.limits.store_sqlite
from bulkstop.engine.limits.store import open_store
from bulkstop.errors import BulkstopError
from bulkstop.model import Limit
from tests.engine.limits.claims import claim, LEASE_S
bulkstop.engine.limits.store_sqlite.machine_clock()  # whoever it then is may not be able to import anything
os.umask(int(sys.argv[3], 8))
os.setgroups([int(sys.argv[2])])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))

async def main():
    try:
        store = await open_store(sys.argv[4], host="h", limits=[Limit(3, 60.0)], lease_s=LEASE_S)
        print(await claim(store), flush=True)
        sys.stdin.read()
        await store.close()
    except BulkstopError as error:
        print(error, flush=True)

asyncio.run(main())
"""


@pytest.mark.real
@pytest.mark.skipif(not IS_ROOT, reason="only root can be two users")
class TestShared:
    """A store of several users, with two real ones."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """Create a folder that every user can reach."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            Path(name).chmod(0o755)
            yield Path(name) / "shared"

    def _claim(self, user: int, path: Path, umask: str = "077", group: int = GROUP) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CLAIM_AS, str(user), str(group), umask, str(path)]
        env = environment(HOME="/nowhere", XDG_STATE_HOME=None)
        return subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _said(self, process: "subprocess.Popen[str]") -> str:
        said, faults = process.communicate(timeout=30)
        return said.strip() or faults

    @pytest.mark.parametrize("umasks", [("077", "022"), pytest.param(("002", "077"), marks=pytest.mark.full)])
    def test_in_a_folder_of_a_group(self, folder: Path, umasks: tuple[str, str]) -> None:
        """Two users of a group share the file in its folder, concurrently and in turn, with any umask."""
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2770)
        path = folder / "quota.sqlite"
        first = self._claim(SHARERS[0], path, umasks[0])
        assert first.stdout is not None
        assert first.stdout.readline() == "0.0\n"  # and it holds the file open
        modes = {each.name: (each.stat().st_mode & 0o777, each.stat().st_gid) for each in folder.iterdir()}
        assert modes == dict.fromkeys(["quota.sqlite", "quota.sqlite-wal", "quota.sqlite-shm"], (0o660, GROUP))
        assert self._said(self._claim(SHARERS[1], path, umasks[1])) == "0.0"
        self._said(first)
        assert self._said(self._claim(SHARERS[1], path, umasks[1])) == "0.0"
        assert float(self._said(self._claim(SHARERS[0], path, umasks[0]))) > 50
        assert is_shared(str(path))

    @pytest.mark.full
    def test_not_for_others(self, folder: Path) -> None:
        """A user outside the group gets a message that says so, with the remedy."""
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        path = folder / "quota.sqlite"
        assert self._said(self._claim(SHARERS[0], path)) == "0.0"
        said = self._said(self._claim(SHARERS[1], path, group=SHARERS[1]))
        assert "you may not write it: users of a group share one in a folder of theirs: install -d -m 2770" in said

    @pytest.mark.parametrize("mode", [pytest.param(0o777, marks=pytest.mark.full), 0o1777])
    def test_where_everybody_writes(self, folder: Path, mode: int) -> None:
        """A file in a folder that every user can write belongs to its user; a second user is told how to share."""
        folder.mkdir()
        folder.chmod(mode)
        path = folder / "quota.sqlite"
        assert self._said(self._claim(SHARERS[0], path, "000")) == "0.0"
        assert path.stat().st_mode & 0o777 == 0o600
        for made in (0o600, 0o666):  # also one that its user has opened to all: it may have been planted
            path.chmod(made)
            said = self._said(self._claim(SHARERS[1], path))
            assert "is a file of user" in said
            assert "in a folder that others can write" in said
        assert not is_shared(str(path))

    def test_what_a_member_plants(self, folder: Path, tmp_path: Path) -> None:
        """Even in the group's folder, another user's link is not followed, and a world-writable file is refused."""
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2770)
        own = folder.parent / "own"
        own.write_bytes(b"mine")
        os.chown(own, SHARERS[1], SHARERS[1])
        link, path = folder / "quota.sqlite-wal", folder / "quota.sqlite"
        link.symlink_to(own)
        os.chown(link, SHARERS[0], GROUP, follow_symlinks=False)
        assert "is a link of user" in self._said(self._claim(SHARERS[1], path))
        link.unlink()
        path.write_bytes(b"")
        os.chown(path, SHARERS[0], GROUP)
        path.chmod(0o666)
        assert "is a file of user" in self._said(self._claim(SHARERS[1], path))
        assert own.read_bytes() == b"mine"
