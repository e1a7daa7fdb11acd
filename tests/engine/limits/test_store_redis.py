"""The windows in a Redis server: a real one, started here without any disk."""

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path

import pytest
import redis

from bulkstop.engine.limits import store_redis
from bulkstop.engine.limits.store import QuotaStore, open_store
from bulkstop.engine.limits.store_redis import ANSWER_S, META, UNUSED_MS
from bulkstop.engine.limits.windows import Change, StoreUnavailableError, Take, key_of, server_of
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.events import Event, QuotaStoreEmptied
from bulkstop.model import Limit
from tests.engine.limits.claims import (
    ACCOUNT,
    HOST,
    LEASE_S,
    assert_never_over,
    claim,
    claim_until,
    claims,
    counted,
    read_grants,
    start_claimers,
    windows_used,
)
from tests.servers import Connection, listening

pytestmark = [pytest.mark.real, pytest.mark.full]

SERVER = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/usr/sbin")
PASSWORD = "tiger-Hush-77"
KEY = f"bulkstop:{{{key_of(server_of(HOST), ACCOUNT)}}}"
MINUTE = Limit(60, 60.0)


class Server:
    """A Redis server on a free port that can be stopped and started anew there, with nothing in it."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert SERVER is not None
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        socket_file = ["--unixsocket", str(self._folder / "redis.sock")]
        command = [SERVER, *where, *socket_file, "--save", "", "--appendonly", "no", *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = (line for line in self.process.stdout if "eady to accept connections" in line)
        assert len(list(islice(ready, 2))) == 2, "redis-server does not listen, on the port and on the file"

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()

    def client(self) -> "redis.Redis":
        """Return a client, to look into it."""
        return redis.Redis(port=self.port, decode_responses=True, protocol=2)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """Hold a server."""
    if SERVER is None:
        pytest.skip("redis-server is not installed here; nothing else can stand for it")
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a server that asks for no password."""
    with running(tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(url: str, *limits: Limit) -> AsyncIterator[QuotaStore]:
    """Hold a store open."""
    store = await open_store(url, host=HOST, limits=limits or [MINUTE], lease_s=LEASE_S)
    try:
        yield store
    finally:
        await store.close()


async def claim_each(store: QuotaStore, count: int) -> None:
    """Claim until this many calls are permitted, with the requested waits."""
    while count:
        wait_s = await claim(store)
        count -= not wait_s
        await asyncio.sleep(wait_s)


class TestWindow:
    """Which calls are permitted, and when."""

    async def test_calls_are_counted_over_openings(self, server: Server) -> None:
        """A reopened store continues the same window, and returns the time until it has a place."""
        async with opened(server.url, Limit(3, 20.0)) as store:
            assert await counted(store) == 0
            assert await claims(store, 2) == [0.0, 0.0]
        async with opened(f"unix://{server.client().config_get('unixsocket')['unixsocket']}", Limit(3, 20.0)) as store:
            assert await counted(store) == 2
            assert await claim(store) == 0.0
            assert 19 < await claim(store) <= 20.051
            assert [len(ages) for ages in await store.ages(["another", ACCOUNT])] == [0, 3]

    def test_two_processes_share_one_window(self, server: Server) -> None:
        """Two that claim as fast as they can never break a window together, and use all that it permits."""
        limits = [Limit(20, 0.5), Limit(60, 2.5)]
        both = start_claimers(2, server.url, limits)
        claim_until(ends_at := time.monotonic() + 2.6, both)
        shares = [read_grants(process) for process in both]
        assert [process.returncode for process in both] == [0, 0]
        grants = [grant for share in shares for grant in share]
        assert_never_over(grants, limits)
        assert len(grants) >= 0.98 * 20 * windows_used(grants, ends_at, 0.5)
        assert all(shares), "one of them got nothing at all"

    async def test_many_at_once(self, server: Server) -> None:
        """More claims at once than there are connections are all answered, and no more are permitted than may be."""
        async with opened(server.url, Limit(30, 60.0)) as store:
            waits = await asyncio.gather(*[claim(store) for _ in range(100)])
        assert sum(wait_s == 0.0 for wait_s in waits) == 30

    async def test_another_quota_forgets_nothing(self, server: Server) -> None:
        """A run with a short window leaves a long one what it needs."""
        async with opened(server.url, Limit(9, 3600.0)) as long, opened(server.url, Limit(1, 0.001)) as short:
            assert await claim(long) == 0.0
            await claim_each(short, 7)
            assert await counted(long) == 8

    async def test_ages(self, server: Server) -> None:
        """The ages of the calls that still count are those of this account, whoever made them."""
        async with opened(server.url, Limit(5, 20.0)) as store:
            assert await store.ages([ACCOUNT]) == [[]]
            assert await claims(store, 3) == [0.0] * 3
            with server.client() as client:
                oldest, older, _ = client.zrange(KEY, 0, -1)
                client.zincrby(KEY, -60_000, oldest)
                client.zincrby(KEY, -5_000, older)
        async with opened(server.url, Limit(5, 20.0)) as store:
            ((first, second), others) = map(sorted, await store.ages([ACCOUNT, "another"]))
            assert 0 <= first <= second - 4
            assert 5 <= second <= 20.05
            assert others == []

    async def test_ages_of_a_clock_that_is_set_back(self, server: Server) -> None:
        """A call of a time to come counts as one of now."""
        async with opened(server.url, Limit(3, 20.0)) as store:
            assert await claims(store, 1) == [0.0]
            with server.client() as client:
                client.zincrby(KEY, 3_600_000, client.zrange(KEY, 0, -1)[0])
            assert await store.ages([ACCOUNT]) == [[0.0]]

    async def test_it_stays_small(self, server: Server) -> None:
        """Expired calls are removed, and all data when the store is no longer used."""
        async with opened(server.url, Limit(2, 0.002)) as store:
            await claim_each(store, 40)
        with server.client() as client:
            assert client.zcard(KEY) <= 2
            assert sorted(client.keys()) == [META, KEY, f"{KEY}:notes"]
            assert all(0 < client.pttl(key) < LEASE_S * 1000 + 2000 for key in (KEY, f"{KEY}:notes"))
            assert 0 < client.pttl(META) <= UNUSED_MS + LEASE_S * 1000 + 10

    async def test_a_clock_that_is_set_back(self, server: Server) -> None:
        """A server's clock that goes back an hour permits nothing early, and delays nothing by more than a window."""
        async with opened(server.url, Limit(3, 1.0)) as store:
            await claim_each(store, 3)
            with server.client() as client:  # the clock cannot be set here: what was counted is set forward instead
                for call in client.zrange(KEY, 0, -1):
                    client.zincrby(KEY, 3_600_000, call)
                client.hincrby(META, "seen", 3_600_000)
            assert await counted(store) == 3
            wait_s = await claim(store)
            assert 0.5 < wait_s <= 1.006
            await asyncio.sleep(wait_s)
            assert await claim(store) == 0.0
            await claim_each(store, 2)  # as far apart as the first three were
            assert await claim(store) > 0

    async def test_a_place_counts_from_the_answer(self, server: Server) -> None:
        """A place that is taken is busy until its answer, and free at once when it was not used."""
        async with opened(server.url, Limit(3, 20.0)) as store, opened(server.url, Limit(3, 20.0)) as other:
            (grant,) = await store.settle([Take(ACCOUNT, 5)], [], {})
            assert (len(grant.places), grant.busy) == (3, 3)
            assert 20.05 < grant.wait_s <= 20.051
            answered, unused, _ = grant.places
            await store.settle([], [Change(ACCOUNT, answered, 15.0), Change(ACCOUNT, unused, None)], {})
            assert sorted(round(age) for age in (await other.ages([ACCOUNT]))[0]) == [0, 15]
            one, another = await other.settle([Take(ACCOUNT, 2), Take("another", 1)], [], {})
            assert (len(one.places), one.busy, len(another.places)) == (1, 2, 1)
            assert 5 < one.wait_s < 5.3

    async def test_notes(self, server: Server) -> None:
        """The text of an account is the last one written, by whomever, and comes with its places."""
        async with opened(server.url) as one, opened(server.url) as two:
            assert await one.load_note(ACCOUNT) is None
            await one.settle([], [], {ACCOUNT: "first", "b": '{"burst": 5}'})
            await two.settle([], [], {ACCOUNT: "längst"})
            grants = await one.settle([Take(name, 1) for name in (ACCOUNT, "b", "c")], [], {})
            assert [grant.note for grant in grants] == ["längst", '{"burst": 5}', None]
            assert await two.load_note("b") == '{"burst": 5}'


class TestAway:
    """A server that stops, hangs, or forgets."""

    async def test_started_anew(self, server: Server) -> None:
        """A server that restarts without data counts as full for a window, with a message."""
        events = list[Event]()
        limits = [Limit(3, 1.0)]
        store = await open_store(server.url, host=HOST, limits=limits, lease_s=LEASE_S, observe=events.append)
        async with opened(server.url, *limits) as other:
            assert await claims(store, 2) == [0.0, 0.0]
            server.stop()
            server.start()
            wait_s = await claim(store)
            assert 0.9 < wait_s <= 1.006
            assert await claim(other) > 0
            async with opened(server.url, *limits) as new:
                assert await claim(new) > 0
            await claim_each(store, 3)
            await claim_each(other, 1)
        assert events == [QuotaStoreEmptied(1.005)]
        await store.close()

    async def test_emptied(self, server: Server) -> None:
        """The same after FLUSHALL, with outstanding answers, and when another process opened it in between."""
        async with opened(server.url, Limit(3, 60.0)) as store:
            (grant,) = await store.settle([Take(ACCOUNT, 2)], [], {})
            with server.client() as client:
                client.flushall()
            async with opened(server.url, Limit(3, 60.0)) as new:
                assert await claim(new) == 0.0  # it cannot know
                await store.settle([], [Change(ACCOUNT, place, 0.0) for place in grant.places], {})
                assert await counted(store) == 3
                for each in (store, new):
                    assert 59 < await claim(each, "b") <= 60.151

    async def test_an_old_copy(self, server: Server) -> None:
        """A server that comes back with what it had some time ago has lost calls, too."""
        async with opened(server.url, Limit(3, 60.0)) as store:
            await claim(store)
            with server.client() as client:
                copy = {key: client.dump(key) for key in client.keys("*")}
                await asyncio.sleep(0.01)
                await claim(store)
                client.flushall()
                for key, value in copy.items():
                    client.restore(key, 100_000, value)
            assert await claim(store, "b") > 59

    async def test_gone(self, server: Server) -> None:
        """While it is gone nothing is permitted, in one line that says why."""
        async with opened(server.url) as store:
            assert await claim(store) == 0.0
            server.stop()
            for ask in (claim(store), store.ages([ACCOUNT]), store.load_note(ACCOUNT)):
                with pytest.raises(
                    StoreUnavailableError, match=r"^quota_store redis://127.0.0.1:\d+/0: cannot be re"
                ) as away:
                    await ask
                assert "\n" not in str(away.value)
            server.start()

    async def test_hanging(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that does not answer at all counts as gone."""
        monkeypatch.setattr(store_redis, "ANSWER_S", 0.3)
        async with opened(server.url) as store:
            assert await claim(store) == 0.0
            server.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await claim(store)
            assert time.monotonic() - began < ANSWER_S
            server.process.send_signal(signal.SIGCONT)
            await claim_each(store, 1)

    async def test_refusing(self, server: Server) -> None:
        """An error that no waiting cures ends the run at once; nothing is permitted uncounted."""
        async with opened(server.url) as store:
            assert await claim(store) == 0.0
            with server.client() as client:
                client.delete(KEY)
                client.set(KEY, "not a log of calls")
            with pytest.raises(QuotaError, match=r"^quota_store redis://127.0.0.1:\d+/0: cannot be used \(WRONGTYPE"):
                await claim(store)


class TestOpening:
    """What is checked before anything is sent, and what is never shown."""

    async def test_nobody_there(self) -> None:
        """An unreachable server is reported at once, with its address but not the password."""
        with socket.socket() as taken:  # bound and not listening
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(SettingsError, match=rf"^quota_store redis://{address}/1: .*refused") as refused:
                await open_store(f"redis://user:{PASSWORD}@{address}/1", host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        assert PASSWORD not in str(refused.value)

    async def test_passwords(self, tmp_path: Path) -> None:
        """The right password opens the store, a wrong or missing one is reported at once, and no repr shows it."""
        with running(tmp_path, "--requirepass", PASSWORD) as server:
            address = server.url.removeprefix("redis://")
            async with (
                opened(f"redis://:{PASSWORD}@{address}") as store,
                opened(f"redis://{address}?password={PASSWORD}"),
            ):
                assert await claim(store) == 0.0
                assert PASSWORD not in repr(store) + repr(store._client)  # type: ignore[attr-defined]
            for given in (f"redis://:{PASSWORD}2@{address}", server.url):
                with pytest.raises(SettingsError, match=rf"^quota_store redis://{address}: cannot be used") as refused:
                    await open_store(given, host=HOST, limits=[MINUTE], lease_s=LEASE_S)
                assert PASSWORD not in str(refused.value)

    async def test_a_server_that_repeats_what_it_is_told(self) -> None:
        """A server that quotes the password in its error does not bring it into the message."""

        async def quote(connection: Connection) -> None:
            line = await connection.reader.readuntil(b"\n")
            while PASSWORD.encode() not in line:
                line = await connection.reader.readuntil(b"\n")
            connection.writer.write(f"-ERR unknown command 'AUTH', beginning with: '{PASSWORD}'\r\n".encode())
            await connection.writer.drain()

        async with listening(quote) as there:
            url = f"redis://u:{PASSWORD}@127.0.0.1:{there.port}"
            with pytest.raises(SettingsError, match="AUTH") as refused:
                await open_store(url, host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        assert PASSWORD not in str(refused.value)

    async def test_a_wrong_setting(self, server: Server) -> None:
        """An invalid setting in the URL is reported, but not quoted."""
        for query in (f"?nonsense={PASSWORD}", f"?max_connections={PASSWORD}"):
            with pytest.raises(SettingsError, match=r"^quota_store redis://127") as refused:
                await open_store(server.url + query, host=HOST, limits=[MINUTE], lease_s=LEASE_S)
            assert PASSWORD not in str(refused.value)

    async def test_an_account_is_not_named(self, server: Server) -> None:
        """The data in the server name no account and no host."""
        async with opened(server.url) as store:
            await claim(store, "topsecretaccount")
        with server.client() as client:
            told = " ".join([*client.keys(), *client.zrange(client.keys("*}")[0], 0, -1)])
        assert "secret" not in told
        assert "kore" not in told
