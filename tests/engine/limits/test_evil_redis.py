"""A server that imitates Redis: for any reply, no call is uncounted, nothing hangs, no secret is shown."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat

import pytest

from bulkstop.engine.limits import store_redis
from bulkstop.engine.limits.store import QuotaStore, open_store
from bulkstop.engine.limits.store_redis import SETTLE_SHA1
from bulkstop.engine.limits.windows import Grant, StoreUnavailableError, Take
from bulkstop.errors import QuotaError, SettingsError
from bulkstop.model import Limit
from tests.engine.limits.claims import ACCOUNT, HOST, LEASE_S, claim
from tests.servers import Connection, listening

pytestmark = pytest.mark.real

PASSWORD = "tiger-Hush-77"
MINUTE = Limit(60, 60.0)


def bulk(text: str) -> bytes:
    """Write a text as the answer of a Redis server."""
    return b"$%d\r\n%s\r\n" % (len(text.encode()), text.encode())


OPENED = bulk('["id", 1, 0, {}]')
GRANT = bulk('["id", 2, 0, [[1, 0, 0, false]]]')

Answer = bytes | Callable[[Connection], Awaitable[None]]
"""The replies, or actions in their place; after the last one the connection is closed."""


class Evil:
    """Speaks RESP, and answers as `answers` says for the first word of a command, to EVALSHA once it is opened."""

    def __init__(self, **answers: Answer) -> None:
        self.log: list[list[bytes]] = []
        self._answers = answers
        self._is_open = False

    async def __call__(self, connection: Connection) -> None:
        """Serve a connection."""
        while (command := await self._read(connection)) is not None:
            self.log.append(command)
            answer = self._answers.get(command[0].decode().upper(), self._usual(command))
            if not self._is_open and command[0].upper() == b"EVALSHA":
                self._is_open, answer = True, OPENED
            if not isinstance(answer, bytes):
                await answer(connection)
                return
            await connection.write(answer)

    async def _read(self, connection: Connection) -> list[bytes] | None:
        head = await connection.reader.readline()
        if not head.startswith(b"*"):
            return None
        words = []
        for _ in range(int(head[1:])):
            length = int((await connection.reader.readline())[1:])
            words.append((await connection.reader.readexactly(length + 2))[:-2])
        return words

    def _usual(self, command: list[bytes]) -> bytes:
        if command[0].upper() == b"SCRIPT":
            return b"$40\r\n%s\r\n" % hashlib.sha1(command[2], usedforsecurity=False).hexdigest().encode()
        return b"+OK\r\n"


async def hang(connection: Connection) -> None:
    """Answer nothing."""
    await connection.reader.read(1)


async def close(connection: Connection) -> None:
    """Close the connection."""


async def trickle(connection: Connection) -> None:
    """Answer a byte now and then, without an end."""
    for byte in repeat(b"+"):
        await connection.write(byte)
        await asyncio.sleep(0.05)


async def flood(connection: Connection) -> None:
    """Send a text without an end."""
    for part in repeat(b"x" * 65536):
        await connection.write(part)


async def flood_array(connection: Connection) -> None:
    """Send numbers without an end."""
    await connection.write(b"*2000000000\r\n")
    for part in repeat(b":1\r\n" * 100):
        await connection.write(part)
        await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(evil: Evil) -> AsyncIterator[QuotaStore]:
    """Hold a store open that the server serves."""
    async with listening(evil) as there:
        url = f"redis://u:{PASSWORD}@127.0.0.1:{there.port}/0"
        store = await open_store(url, host=HOST, limits=[MINUTE], lease_s=LEASE_S)
        try:
            yield store
        finally:
            await store.close()


def assert_told_well(error: BaseException) -> None:
    """Hold a message to one line of a bearable length that names the setting and no password."""
    text = str(error)
    assert text.startswith("quota_store redis://127.0.0.1:")
    assert text.isprintable()
    assert len(text) < 400
    assert PASSWORD not in text


NONSENSE: list[Answer] = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\0\1\2\3\r\n",
    b"$-1\r\n",
    b"$-7\r\n",
    b"$x\r\n",
    b":1\r\n",
    b":99999999999999999999999999\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\r\n:-1\r\n",
    b"*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n",
    b"*2\r\n*0\r\n*0\r\n",
    bulk(""),
    bulk("[" * 10_000),
    bulk("{}"),
    bulk('["id", 1, 0, {}]'),
    bulk('["id", 1, 0, [[1, 0, 0, false], [1, 0, 0, false]]]'),
    bulk('["id", "late", 0, [[1, 0, 0, false]]]'),
    bulk('["id", 1, 0, [[2, 0, 0, false]]]'),
    bulk('["id", 1, 0, [[-1, 1, 0, false]]]'),
    bulk('["id", 1, 0, [["1", 0, 0, false]]]'),
    bulk('["id", 1, 0, [[0, 0, 0, false]]]'),
    bulk('["id", 1, 0, [[0, -1, 0, false]]]'),
    bulk('["id", 1, 0, [[0, 3600000, 0, false]]]'),
    bulk('["id", 1, 0, [[0, 1, "few", false]]]'),
    b"*1\r\n" * 5000,
    b"+" + b"x" * 200_000,
    b"$100000000000\r\n",
    b"-MOVED 3999 10.0.0.7:6381\r\n",
    b"-MOVED\r\n",
    b"-ASK x y z\r\n",
    b"-\r\n",
    b"-ERR \x1b[2J\xe2\x80\xae evil " + b"e" * 5000 + b"\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-WRONGPASS invalid username-password pair: " + PASSWORD.encode() + b"\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'\r\n",
    b"-NOSCRIPT No matching script\r\n",
]
"""Answers that no waiting helps against."""


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: repr(answer[:24]))
async def test_nonsense(answer: Answer) -> None:
    """Such an answer to a claim permits nothing and ends the run at once, in one line."""
    async with opened(Evil(EVALSHA=answer)) as store:
        with pytest.raises(QuotaError) as error:
            await claim(store)
    assert_told_well(error.value)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        *(("SCRIPT", answer) for answer in [*NONSENSE, hang, close, trickle, flood, flood_array]),
        *(("AUTH", answer) for answer in [*NONSENSE[::4], hang, close]),
    ],
)
async def test_nonsense_at_first(command: str, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at the opening is an error of the setting, before anything is sent, and takes no longer than it may."""
    monkeypatch.setattr(store_redis, "ASK_S", 0.2)
    async with asyncio.timeout(20):
        with pytest.raises(SettingsError) as error:
            async with opened(Evil(**{command: answer})):
                pass
    assert_told_well(error.value)


@pytest.mark.parametrize(
    "answer",
    [
        hang,
        close,
        trickle,
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-TRYAGAIN Multiple keys\r\n",
        b"-ERR max number of clients reached\r\n",
    ],
)
async def test_away(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it does not answer, or not yet, nothing is permitted, and it is as if the server was away."""
    async with opened(Evil(EVALSHA=answer, EVAL=answer, HGET=answer)) as store:
        monkeypatch.setattr(store_redis, "ASK_S", 0.2)
        for ask in (claim(store), store.ages([ACCOUNT]), store.load_note(ACCOUNT)):
            with pytest.raises(StoreUnavailableError) as error:
                await ask
            assert_told_well(error.value)


@pytest.mark.parametrize("answer", [flood, flood_array])
async def test_an_answer_without_end(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It permits nothing, and is read for no longer than an answer may take."""
    async with asyncio.timeout(20), opened(Evil(EVALSHA=answer)) as store:
        monkeypatch.setattr(store_redis, "ASK_S", 0.2)
        with pytest.raises((QuotaError, StoreUnavailableError)) as error:
            await claim(store)
        assert_told_well(error.value)


@pytest.mark.parametrize("ages", ["[[1e99, -5]]", "[[true]]"])
async def test_ages_that_are_none(ages: str) -> None:
    """Calls of any claimed age are in the window."""
    async with opened(Evil(EVAL=bulk(ages))) as store:
        assert set((await store.ages([ACCOUNT]))[0]) <= {0.0, 0.001, 60.15}


@pytest.mark.parametrize("ages", ["{}", "[]", "[[1], [2]]", "[1]", '[["x"]]', "7"])
async def test_ages_of_nobody(ages: str) -> None:
    """Ages of other accounts than requested end the run."""
    async with opened(Evil(EVAL=bulk(ages))) as store:
        with pytest.raises(QuotaError) as error:
            await store.ages([ACCOUNT])
    assert_told_well(error.value)


async def test_a_wait_that_is_one() -> None:
    """The longest wait that is believed is one window."""
    async with opened(Evil(EVALSHA=bulk('["id", 1, 0, [[0, 60151, 3, 7]]]'))) as store:
        assert await store.settle([Take(ACCOUNT, 1)], [], {}) == [Grant((), 60.151, 3)]


async def test_another_script() -> None:
    """A server that gives the script another name is not believed, and the right one is asked by its own."""
    with pytest.raises(SettingsError, match="no Redis server does"):
        async with opened(Evil(SCRIPT=b"$40\r\n%s\r\n" % (b"0" * 40))):
            pass
    evil = Evil(EVALSHA=GRANT)
    async with opened(evil) as store:
        (grant,) = await store.settle([Take(ACCOUNT, 1)], [], {})
        assert len(grant.places) == 1
    assert evil.log[-1][1].decode() == SETTLE_SHA1
