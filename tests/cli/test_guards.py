"""The guards of an operator: the real command at real servers, judged by the servers' records."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.processes import WAIT_S, Ended, bulkstop, checked, results, started
from tests.servers import Connection, Handler, http, listening

pytestmark = pytest.mark.real

LINE = "campaigns.csv.results.jsonl"
BROKEN = http(b'{"status":"failure","message":"campaign service is broken"}', status="422 Unprocessable Content")
DOWN = http(b"<html>503 Service Unavailable</html>", status="503 Service Unavailable")
REFUSED = http(b'{"errors":[{"msg":"unauthorized","code":4002}]}', status="401 Unauthorized")
ABSENT = http(b"<html>404</html>", status="404 Not Found")


@dataclass(frozen=True)
class Call:
    """One call as the server saw it."""

    campaign_id: str
    account_id: str
    at: float


@dataclass
class Service:
    """Answers each stop call with `answer` for it and the number of calls so far; it has no list."""

    answer: Callable[[Call, int], bytes] = lambda call, number: http()
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, connection: Connection) -> None:
        """Answer the calls of a connection."""
        while (request := await connection.request()) is not None:
            if b"/getAllCampaignDetails?" in request:
                await connection.write(http(b"<html>404</html>", status="404 Not Found"))
                continue
            self.calls.append(call := read_call(request))
            await connection.write(self.answer(call, len(self.calls)))

    @property
    def ids(self) -> list[str]:
        """The ids in the order of the calls."""
        return [call.campaign_id for call in self.calls]


def read_call(request: bytes) -> Call:
    """Return campaign and account of a request."""
    found = re.search(r"/trigger/([^?]+)\?accountId=(\w+)", request.decode())
    assert found is not None, request
    return Call(found[1], found[2], time.monotonic())


def after(calls: int, answer: bytes = BROKEN) -> Service:
    """Return a service that fails everything after some calls."""
    return Service(lambda call, number: http() if number <= calls else answer)


def listed(folder: Path, *groups: tuple[str, int]) -> list[str]:
    """Write `campaigns.csv` with some campaigns of each account, in turn, and return the ids."""
    turns = sorted((number, account) for account, count in groups for number in range(count))
    rows = [f"cd-{account}-{number:04},voice,{account},st-1" for number, account in turns]
    text = "\n".join(["campaign_id,campaign_type,account_id,stream_id", *rows, ""])
    (folder / "campaigns.csv").write_text(text)
    return [row.split(",")[0] for row in rows]


async def stop(host: str, *args: str, cwd: Path) -> Ended:
    """Stop `campaigns.csv` without a limiting quota."""
    words = ("stop", "campaigns.csv", "--host", host, "--yes", "--quota", "none", *args)
    return await asyncio.to_thread(bulkstop, *words, cwd=cwd)


def profile(folder: Path, **keys: str) -> None:
    """Write a default profile; the values are TOML."""
    text = "".join(f"{key} = {value}\n" for key, value in keys.items())
    (folder / "bulkstop.toml").write_text(f"[profile.default]\n{text}")


def outcomes(folder: Path) -> Counter[str]:
    """Count the outcomes in the result file, which has one line per id."""
    lines = results(folder / LINE)
    assert len({line["campaign_id"] for line in lines}) == len(lines)
    return Counter(line["outcome"] for line in lines)


def reason(run: Ended) -> str:
    """Return the one line that says how a run ended."""
    (said,) = re.findall(r"^  ended +(\S.*)$", run.err, re.MULTILINE)
    return str(said)


class TestFailureCap:
    """`--max-failures` is reached but never exceeded, despite calls in flight."""

    @pytest.mark.parametrize(("cap", "most", "concurrency"), [("10", 10, 64), ("5%", 5, 8)])
    async def test_never_passed(self, cap: str, most: int, concurrency: int, tmp_path: Path) -> None:
        """If all fails after 100 calls, exactly the cap fails, the rest is not sent, and one line says why."""
        listed(tmp_path, ("a", 300))
        service = after(100)
        async with listening(service) as server:
            run = await stop(server.url, "--max-failures", cap, "--concurrency", str(concurrency), cwd=tmp_path)
        assert run.code == 3
        assert f"guards    ends at {cap}" in run.err
        assert outcomes(tmp_path) == {"stopped": 100, "rejected": most, "not_sent": 300 - 100 - most}
        assert len(service.calls) == 100 + most
        assert reason(run).startswith(f"--max-failures {cap}: {most} of {100 + most} campaigns failed, the first cd-a-")
        assert "rejected (HTTP 422)" in reason(run)
        assert "--resume" in reason(run)


class TestWaves:
    """`--waves`: the next wave begins only if the last one passed."""

    async def test_canary(self, tmp_path: Path) -> None:
        """A first campaign that fails is the only call."""
        listed(tmp_path, ("a", 200))
        service = after(0)
        async with listening(service) as server:
            run = await stop(server.url, "--waves", "1,10%,100%", cwd=tmp_path)
        assert (run.code, len(service.calls)) == (3, 1)
        assert outcomes(tmp_path) == {"rejected": 1, "not_sent": 199}
        assert reason(run).startswith("--waves: wave 1 of 3 did not pass: 1 of its first 1 campaign failed, the first")

    async def test_soak(self, tmp_path: Path) -> None:
        """Passing waves are `--soak` apart, and all are stopped."""
        ids = listed(tmp_path, ("a", 25), ("b", 15))
        service = Service()
        async with listening(service) as server:
            run = await stop(server.url, "--waves", "1,10%,100%", "--soak", "400ms", cwd=tmp_path)
        assert run.code == 0, run.err
        assert sorted(service.ids) == sorted(ids)
        at = [call.at for call in service.calls]
        for size in (1, 4):
            assert at[size] - at[size - 1] >= 0.4
        assert "waves up to 1, 4, 40, 0.4 s apart" in run.err


class Running:
    """A running command, which ends with its block at the latest."""

    def __init__(self, *args: str, cwd: Path) -> None:
        self._process = started("stop", "campaigns.csv", "--yes", "--quota", "none", *args, cwd=cwd)
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        self._said = ""

    def __enter__(self) -> Self:
        """Return the run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    async def says(self, word: str) -> None:
        """Wait for a line with this word."""
        while word not in self._said:
            line = await asyncio.wait_for(asyncio.to_thread(self._stderr.readline), WAIT_S)
            assert line, self._said
            self._said += line

    async def end(self) -> Ended:
        """Wait for its end; return its output."""
        self._said += await asyncio.wait_for(asyncio.to_thread(self._stderr.read), WAIT_S)
        return checked(Ended(self._process.wait(WAIT_S), "", self._said))


class Address:
    """A port at which `handle` answers, or none."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.come()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        self.go()

    @property
    def url(self) -> str:
        """The URL."""
        return f"http://127.0.0.1:{self._port}"

    async def come(self) -> None:
        """Listen at the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def go(self) -> None:
        """Close the port and reset all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._open:
            connection.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, [])
        self._open.add(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.handle(connection)
        self._open.discard(connection)
        writer.close()


@asynccontextmanager
async def leaving(service: Service) -> AsyncIterator[Address]:
    """Answer until the 100th call, which gets no response."""

    def answer(call: Call, number: int) -> bytes:
        if number == 100:
            address.go()
        return http()

    service.answer = answer
    async with Address(service) as address:
        yield address


@pytest.mark.full
class TestBreaker:
    """A service that does not answer gets only one probe at a time."""

    async def test_away_and_back(self, tmp_path: Path) -> None:
        """The port is closed, a probe is reset, the next one waits: no other call is sent; then all end stopped."""
        ids = listed(tmp_path, ("a", 300))
        service, probes, held = Service(), list[float](), list[int]()

        async def come_back(connection: Connection) -> None:
            if not probes and time.monotonic() - opened_at < 0.5:
                connection.reset()  # sent before the breaker opened; the first probe follows a second later
                return
            probes.append(time.monotonic())
            if len(probes) == 1:
                await connection.request()
                connection.reset()
                return
            await asyncio.sleep(0.3)  # any other call would arrive in this time
            held.append(len(probes))
            address.handle = service
            await service(connection)

        async with leaving(service) as address:
            with Running("--host", address.url, "--concurrency", "32", cwd=tmp_path) as running:
                await running.says("breaker_opened")
                address.handle, opened_at = come_back, time.monotonic()
                await address.come()
                run = await running.end()
        assert run.code == 0, run.err
        assert held == [2]
        assert probes[1] - probes[0] >= 1.9
        assert outcomes(tmp_path) == {"stopped": 300}
        assert len(set(service.ids)) >= 299
        assert set(service.ids) <= set(ids)
        assert re.findall(r"^\S+Z WARNING (\w+)", run.err, re.MULTILINE) == ["breaker_opened", "breaker_closed"]

    async def test_away_for_too_long(self, tmp_path: Path) -> None:
        """After `--max-outage` the run ends with exit 3, and `--resume` finishes it when the service is back."""
        ids = listed(tmp_path, ("a", 300))
        service = Service()
        async with leaving(service) as address:
            run = await stop(address.url, "--max-outage", "2s", cwd=tmp_path)
            assert run.code == 3
            said = r"--max-outage 2s: every probe has failed for [2-9] s, the last with "
            assert re.match(said, reason(run))
            assert "(ECONNREFUSED); nothing was sent" in reason(run)
            assert outcomes(tmp_path)["stopped"] == 99
            assert outcomes(tmp_path).total() == 300
            await address.come()
            run = await stop(address.url, "--max-outage", "2s", "--resume", cwd=tmp_path)
        assert run.code == 0, run.err
        latest = {line["campaign_id"]: line["outcome"] for line in results(tmp_path / LINE)}
        assert latest == dict.fromkeys(ids, "stopped")
        assert Counter(service.ids).most_common(1)[0][1] <= 2  # the calls in flight when the service left


class TestGroups:
    """A part of the list that is refused as a whole costs a few calls, and does not delay the others."""

    @pytest.mark.parametrize(
        ("answer", "outcome", "why"),
        [
            (REFUSED, "unauthorized", 'wrong token, wrong stream id, or missing scope "Campaign Management"'),
            (ABSENT, "not_found", "the path template may be wrong for your deployment (--voice-path)"),
        ],
    )
    async def test_one_account_of_two(self, answer: bytes, outcome: str, why: str, tmp_path: Path) -> None:
        """Five campaigns of the refused account are sent; the other account is stopped."""
        listed(tmp_path, ("a", 100), ("b", 100))
        service = Service(lambda call, number: answer if call.account_id == "b" else http())
        async with listening(service) as server:
            run = await stop(server.url, "--concurrency", "4", cwd=tmp_path)
        assert run.code == 3
        sent = Counter(call.account_id for call in service.calls)
        assert sent["a"] == 100
        assert sent["b"] == 5
        assert outcomes(tmp_path) == {"stopped": 100, outcome: sent["b"], "not_sent": 100 - sent["b"]}
        assert reason(run).startswith("the first calls of account b, stream st-1, voice failed (5 ")
        assert why in reason(run)
        assert f"{100 - sent['b']} more of them were not sent" in reason(run)

    async def test_goes_on_when_put_right(self, tmp_path: Path) -> None:
        """Once the scope is published, the refused and unsent campaigns are sent."""
        listed(tmp_path, ("a", 20), ("b", 20))
        service = Service(lambda call, number: REFUSED if call.account_id == "b" else http())
        async with listening(service) as server:
            assert (await stop(server.url, "--concurrency", "2", cwd=tmp_path)).code == 3
            service.answer = lambda call, number: http()
            run = await stop(server.url, "--resume", cwd=tmp_path)
        assert run.code == 0
        latest = Counter({line["campaign_id"]: line["outcome"] for line in results(tmp_path / LINE)}.values())
        assert latest == {"stopped": 40}


class TestSize:
    """`--max-campaigns` refuses longer lists, whatever is confirmed."""

    async def test_as_long(self, tmp_path: Path) -> None:
        """A list of exactly that length is stopped; duplicates and protected rows do not count."""
        ids = listed(tmp_path, ("a", 20))
        with (tmp_path / "campaigns.csv").open("a") as file:
            file.write(f"{ids[3]},voice,a,st-1\n")
        (tmp_path / "keep.txt").write_text(ids[0])
        service = Service()
        async with listening(service) as server:
            run = await stop(server.url, "--max-campaigns", "19", "--protect", "keep.txt", cwd=tmp_path)
        assert (run.code, len(service.calls)) == (0, 19), run.err


class TestProtect:
    """`--protect`: protected campaigns are never called, and their lines name the rule."""

    async def test_ids_and_patterns(self, tmp_path: Path) -> None:
        """Ids and patterns from several files, of the profile, a variable and options, all apply."""
        ids = listed(tmp_path, ("a", 30), ("b", 30))
        (tmp_path / "profile.txt").write_text(f"# always\n{ids[0]}  # the hotline\n")
        (tmp_path / "variable.txt").write_text("cd-b-002?\n")
        (tmp_path / "option.txt").write_text("cd-a-000[5-9]\n\ncd-none-*\n")
        profile(tmp_path, protect='["profile.txt"]')
        service = Service()
        async with listening(service) as server:
            words = ("stop", "campaigns.csv", "--host", server.url, "--yes", "--protect", "option.txt")
            run = await asyncio.to_thread(bulkstop, *words, cwd=tmp_path, BULKSTOP_PROTECT="variable.txt")
        assert run.code == 0
        kept = [ids[0], *(f"cd-a-000{n}" for n in range(5, 10)), *(f"cd-b-002{n}" for n in range(10))]
        assert not set(service.ids) & set(kept)
        assert sorted(service.ids + kept) == sorted(ids)
        why = {
            line["campaign_id"]: line["error"] for line in results(tmp_path / LINE) if line["outcome"] == "protected"
        }
        assert sorted(why) == sorted(kept)
        assert why[ids[0]] == f"protected by profile.txt line 2 ({ids[0]})"
        assert why["cd-a-0005"] == "protected by option.txt line 1 (cd-a-000[5-9])"
        assert why["cd-b-0020"] == "protected by variable.txt line 1 (cd-b-002?)"
        assert "guards    4 rules of --protect: 16 campaigns protected" in run.err
        assert "1 of 4 rules of --protect matches no campaign of this list: option.txt line 3 (cd-none-*)" in run.err

    async def test_all(self, tmp_path: Path) -> None:
        """A list of which all is protected is no failure; the summary says so, and no call is made."""
        listed(tmp_path, ("a", 3))
        (tmp_path / "keep.txt").write_text("cd-*")
        service = Service()
        async with listening(service) as server:
            run = await stop(server.url, "--protect", "keep.txt", cwd=tmp_path)
        assert (run.code, service.calls) == (0, [])
        assert "warning: every campaign is protected, so nothing will be sent" in run.err
        assert outcomes(tmp_path) == {"protected": 3}
