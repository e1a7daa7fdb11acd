"""Failures while the real command runs: disks, readers, tokens, names, servers, clocks, open files.

In each case, the service's own count of calls agrees with what the command reports about them. Requirements of a fault
(root, a mount namespace, nginx, libfaketime) are checked first; without them the test is skipped with the reason.
"""

import asyncio
import json
import os
import random
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import pytest

from bulkstop.model import Limit
from tests.processes import (
    COMMAND,
    WAIT_S,
    Ended,
    bulkstop,
    campaigns,
    ended,
    environment,
    results,
    simulator,
    started,
)
from tests.servers import NGINX, VOICE_ANSWER, Connection, http, listening, nginx

pytestmark = [pytest.mark.real, pytest.mark.full]

LINE = "campaigns.csv.results.jsonl"
FEW = 4
"""Calls in flight at once, where their number matters."""
UNPACED = ("--yes", "--quota", "none", "--concurrency", str(FEW))
STEADFAST = ("--attempts", "30")
"""More attempts than a server that is briefly away can use up."""
NAMESPACE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
"""Mounts in a private namespace, which end with its last process."""
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def listed(folder: Path, count: int) -> list[str]:
    """Write `campaigns.csv` and return its ids."""
    ids = [f"cd-{uuid.uuid4()}" for _ in range(count)]
    campaigns(folder / "campaigns.csv", ids)
    return ids


async def stopped(host: str, *args: str, cwd: Path, prefix: Sequence[str] = (), **variables: str | None) -> Ended:
    """Stop `campaigns.csv`, in a process of its own that `prefix` prepares the environment for."""
    with begun(*prefix, *COMMAND, "stop", "campaigns.csv", "--host", host, *args, cwd=cwd, **variables) as process:
        return await asyncio.to_thread(ended, process)


@contextmanager
def begun(*command: str, cwd: Path, **variables: str | None) -> Iterator["subprocess.Popen[str]"]:
    """Run any command with the environment of a run."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(run: Ended) -> list[str]:
    """Return the ids of the results that were listed on standard error."""
    return [json.loads(line)["campaign_id"] for line in run.err.splitlines() if line.startswith("{")]


def sent_of(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of the lines whose campaign was sent."""
    return [line["campaign_id"] for line in lines if line["outcome"] != "not_sent"]


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read a result file, without an incomplete last line."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def script(text: str) -> tuple[str, ...]:
    """Return a shell script that runs a command as its `"$@"`."""
    return ("sh", "-c", text, "sh")


def needs(*command: str, cwd: Path) -> None:
    """Skip the test if this command fails, with its output as the reason."""
    try:
        tried = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=WAIT_S)
    except FileNotFoundError as error:
        pytest.skip(f"not to be had here: {error}")
    if tried.returncode:
        pytest.skip(f"not permitted here: {command[0]}: {tried.stderr.strip() or tried.returncode}")


Event = Callable[[], Awaitable[None] | None]


@dataclass
class Service:
    """A service that stops every campaign; before the response to the n-th call, `events[n]` happens."""

    events: dict[int, Event] = field(default_factory=dict)
    closes: bool = False
    ids: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    async def __call__(self, connection: Connection) -> None:
        """Answer a connection's calls, or with `closes` one of them."""
        while (request := await connection.request()) is not None:
            self.at.append(time.monotonic())
            self.ids.append(id_of(request))
            if (event := self.events.get(len(self.ids))) and (waiting := event()):
                await waiting
            await connection.write(http(VOICE_ANSWER, *(["Connection: close"] if self.closes else [])))
            if self.closes:
                return


def id_of(request: bytes) -> str:
    """Return the campaign id in a stop request."""
    found = re.search(rb"/trigger/([^?]+)\?", request)
    assert found is not None, request
    return found[1].decode()


class TestResultsThatCannotBeWritten:
    """Sending stops at once, and each call that was sent is either in the file or on standard error."""

    def check(self, run: Ended, lines: list[dict[str, Any]], service: Service, said: str) -> None:
        """Compare what the command reports with what the service has received."""
        assert run.code == 3, run.err
        assert f"cannot write results ({said}); sending stops" in run.err
        assert sorted(sent_of(lines) + told(run)) == sorted(service.ids)
        assert len(set(service.ids)) == len(service.ids)
        assert 1 <= len(told(run)) <= FEW  # the calls in flight; none was sent since

    async def test_full_disk(self, tmp_path: Path) -> None:
        """A file system that fills up during the run."""
        listed(tmp_path, 400)
        (tmp_path / "disk").mkdir()
        mount = "mount -t tmpfs -o size=64k tmpfs disk"
        needs(*NAMESPACE, "sh", "-c", mount, cwd=tmp_path)
        keep = script(f'{mount} && "$@"; code=$?; cp -R disk kept; exit $code')
        service = Service()
        async with listening(service) as server:
            run = await stopped(
                server.url, *UNPACED, "-o", "disk/results.jsonl", cwd=tmp_path, prefix=(*NAMESPACE, *keep)
            )
        lines = whole_lines(tmp_path / "kept" / "results.jsonl")
        assert len(lines) > 20
        self.check(run, lines, service, "No space left on device")

    async def test_file_size_limit(self, tmp_path: Path) -> None:
        """A process that may not write a larger file (`ulimit -f`)."""
        listed(tmp_path, 400)
        service = Service()
        async with listening(service) as server:
            limited = script('ulimit -f 128; exec "$@"')  # blocks of 512 bytes
            run = await stopped(server.url, *UNPACED, cwd=tmp_path, prefix=limited)
        lines = whole_lines(tmp_path / LINE)
        assert len(lines) > 20
        self.check(run, lines, service, "File too large")

    async def test_full_device(self, tmp_path: Path) -> None:
        """A device that is always full."""
        listed(tmp_path, 400)
        service = Service()
        async with listening(service) as server:
            run = await stopped(server.url, *UNPACED, "-o", "/dev/full", cwd=tmp_path)
        self.check(run, [], service, "No space left on device")

    async def test_read_only_disk(self, tmp_path: Path) -> None:
        """A file system that the kernel makes read-only during the run, as after a disk error.

        One with a file open for writing cannot be remounted read-only by hand.
        """
        listed(tmp_path, 400)
        (tmp_path / "disk").mkdir()
        mount = (
            "truncate -s 8M image && mkfs.ext4 -q -F image && mount -o loop,errors=remount-ro image disk"
            " && findmnt -n -o SOURCE disk >device && test -w /sys/fs/ext4/$(basename $(cat device))/trigger_fs_error"
        )
        needs(*NAMESPACE, "sh", "-c", mount, cwd=tmp_path)
        keep = script(f'{mount} && "$@"; code=$?; cp -R disk kept; exit $code')

        def fail() -> None:
            device = (tmp_path / "device").read_text().strip()
            assert re.fullmatch(r"/dev/loop\d+", device)
            Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")

        service = Service({50: fail})
        async with listening(service) as server:
            run = await stopped(
                server.url, *UNPACED, "-o", "disk/results.jsonl", cwd=tmp_path, prefix=(*NAMESPACE, *keep)
            )
        lines = whole_lines(tmp_path / "kept" / "results.jsonl")
        assert 50 - FEW <= len(lines) < 50
        self.check(run, lines, service, "Read-only file system")

    async def test_reader_that_goes(self, tmp_path: Path) -> None:
        """`-o -` with a reader that closes after ten lines."""
        listed(tmp_path, 400)
        gone = asyncio.Event()

        async def wait() -> None:
            await gone.wait()

        # Ten calls are answered, the others only when the reader has closed, so that it has read all that was written.
        service = Service(dict.fromkeys(range(11, 11 + FEW), wait))
        async with listening(service) as server:
            process = started("stop", "campaigns.csv", "--host", server.url, *UNPACED, "-o", "-", cwd=tmp_path)
            assert process.stdout is not None
            read = [await asyncio.to_thread(process.stdout.readline) for _ in range(10)]
            process.stdout.close()
            process.stdout = None
            gone.set()
            run = await asyncio.to_thread(ended, process)
        self.check(run, [json.loads(line) for line in read], service, "Broken pipe")


MINT = """
import pathlib, sys, time
import jwt

minted = pathlib.Path("minted")
if minted.exists():
    sys.exit("the vault is sealed")
minted.touch()
print(jwt.encode({"sub": "u", "appId": "cs-1", "exp": time.time() + 2}, "a-secret-of-32-characters-or-more", "HS256"))
"""


def test_token_command(tmp_path: Path) -> None:
    """A token command that fails at a renewal ends the run; the rest is `not_sent`."""
    ids = listed(tmp_path, 400)
    (tmp_path / "mint.py").write_text(MINT)
    secret = {"BULKSTOP_CLIENT_SECRET": "a-secret-of-32-characters-or-more"}
    with simulator(tmp_path, "--latency", "50", **secret) as strict:
        command = ("--token-command", f"{sys.executable} mint.py", "--host", strict.url)
        run = bulkstop("stop", "campaigns.csv", *UNPACED, *command, cwd=tmp_path, BULKSTOP_TOKEN=None)
        arrived = strict.ids()
    assert run.code == 3
    assert "token command failed with exit code 1; its words may hold a secret" in run.err
    lines = results(tmp_path / LINE)
    assert sorted(line["campaign_id"] for line in lines) == sorted(ids)
    assert sorted(sent_of(lines)) == sorted(arrived)
    assert {line["outcome"] for line in lines} >= {"stopped", "not_sent"}
    # A call that was sent in the token's last moment may have come too late.
    assert sum(line["outcome"] == "unauthorized" for line in lines) <= FEW


class Names(asyncio.DatagramProtocol):
    """A name server: every name is at `address`, or fails if that is None."""

    def __init__(self) -> None:
        self.address: str | None = "127.0.0.1"
        self.failed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer the one question of a message (https://www.rfc-editor.org/rfc/rfc1035#section-4)."""
        question = data[12 : data.index(b"\0", 12) + 5]
        is_a, answer = question[-4:-2] == b"\0\1", b""
        if self.address is None:
            self.failed.set()
        elif is_a:
            answer = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 0, 4, socket.inet_aton(self.address))
        code = 0x8182 if self.address is None else 0x8180
        head = data[:2] + struct.pack("!5H", code, 1, bool(answer), 0, 0)
        self._transport.sendto(head + question + answer, addr)


@asynccontextmanager
async def name_server(address: str) -> AsyncIterator[Names]:
    """Run a name server on an address of this machine."""
    try:
        transport, names = await asyncio.get_running_loop().create_datagram_endpoint(Names, (address, 53))
    except OSError as error:
        pytest.skip(f"no name server can be had on {address}: {error}")
    try:
        yield names
    finally:
        transport.close()


class TestNames:
    """The host's name cannot be resolved for a while."""

    async def test_gone_and_back(self, tmp_path: Path) -> None:
        """Each connection is new; while the name server fails the run continues, and all end stopped."""
        listed(tmp_path, 500)  # enough for the fast event loop, which resolves names in its own way
        address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.53"  # not that of another test run
        (tmp_path / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
        (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
        mount = " && ".join(f"mount --bind {name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
        needs(*NAMESPACE, "sh", "-c", mount, cwd=tmp_path)
        async with name_server(address) as names:

            async def go() -> None:
                names.address = None

            async def slowly() -> None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(names.failed.wait(), 0.1)

            async def come_back() -> None:
                names.address = "127.0.0.1"

            service = Service({20: go, **dict.fromkeys(range(21, 480), slowly), 480: come_back}, closes=True)
            async with listening(service) as server:
                host = f"http://api.campaigns.test:{server.port}"
                prefix = (*NAMESPACE, *script(f'{mount} && exec "$@"'))
                run = await stopped(host, *UNPACED, "--insecure-http", cwd=tmp_path, prefix=prefix)
        assert run.code == 0, run.err
        assert names.failed.is_set()
        assert len(service.ids) == 500
        assert {line["attempts"] for line in results(tmp_path / LINE)} == {1}


class TestServers:
    """A server that ends or breaks during a run."""

    async def test_restart(self, tmp_path: Path) -> None:
        """A real nginx is stopped, and later started again on its port: all end stopped."""
        if NGINX is None:
            pytest.skip("nginx is not installed here")
        ids = listed(tmp_path, 600)
        with nginx(tmp_path / "nginx") as server:
            paced = ("--yes", "--quota", "300/s", "--pace", "even", "--quota-store", "memory")
            words = (*COMMAND, "stop", "campaigns.csv", "--host", server.url, *paced, *STEADFAST)
            with begun(*words, cwd=tmp_path) as process:
                await asyncio.to_thread(wait_until, lambda: len(server.times()) >= 20)
                first = len(await asyncio.to_thread(server.stop))
                await asyncio.to_thread(read_until, process.stderr, "breaker_opened")
                with nginx_again(NGINX, tmp_path / "nginx") as again:
                    run = await asyncio.to_thread(ended, process)
                    again.send_signal(signal.SIGQUIT)
                    again.wait(WAIT_S)
        assert run.code == 0, run.err
        calls = (tmp_path / "nginx" / "calls.log").read_text().splitlines()
        assert 20 <= first < len(calls)
        assert {re.findall(r"/trigger/([^?]+)", call)[0] for call in calls} == set(ids)
        lines = results(tmp_path / LINE)
        assert len(lines) == 600
        assert sum(line["attempts"] - 1 for line in lines) >= 10  # so many failures open the breaker

    async def test_resets_in_mid_body(self, tmp_path: Path) -> None:
        """Connections are reset within a response, on random calls: all end stopped, and every call is counted."""
        ids = listed(tmp_path, 100)
        chance, asked, answer = random.Random(4), list[str](), http()

        async def handle(connection: Connection) -> None:
            while (request := await connection.request()) is not None:
                asked.append(id_of(request))
                if chance.random() < 0.2:
                    await connection.write(answer[: chance.randrange(len(answer))])
                    connection.reset()
                    return
                await connection.write(answer)

        async with listening(handle) as server:
            run = await stopped(server.url, *UNPACED, *STEADFAST, cwd=tmp_path)
        assert run.code == 0, run.err
        lines = results(tmp_path / LINE)
        assert sorted(line["campaign_id"] for line in lines) == sorted(ids)
        assert len(asked) > 100
        assert {line["campaign_id"]: line["attempts"] for line in lines} == {each: asked.count(each) for each in ids}


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until a file shows that an event has happened."""
    until = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.005)  # there is no other way to wait for a file


def read_until(stream: IO[str] | None, word: str) -> None:
    """Read lines until one has this word."""
    assert stream is not None
    assert any(word in line for line in stream)


@contextmanager
def nginx_again(command: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a stopped nginx again, with the same files, on the same port."""
    process = subprocess.Popen(
        [command, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the master and its worker


async def test_clock_jumps(tmp_path: Path) -> None:
    """The wall clock is set back an hour, then forward two, during a run: no window exceeds its limit or is delayed."""
    if FAKETIME is None:
        pytest.skip("libfaketime (the package faketime) is not installed here")
    window = Limit(20, 1.0)
    listed(tmp_path, 100)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    service = Service({30: lambda: jump(offset, "-3600"), 70: lambda: jump(offset, "+3600")})
    async with listening(service) as server:
        options = ("--yes", "--quota", str(window), "--quota-store", "quota.sqlite")
        run = await stopped(server.url, *options, cwd=tmp_path, prefix=set_by(offset))
    assert run.code == 0, run.err
    times = sorted(service.at)
    assert len(times) == 100
    assert all(later - earlier > window.window_s - 0.01 for earlier, later in zip(times, times[20:], strict=False))
    assert times[-1] - times[0] < 4 * window.window_s + 10  # a jump that counted would cost an hour
    clock = [datetime.fromisoformat(line["finished_at"]) for line in results(tmp_path / LINE)]
    assert max(clock) - min(clock) > timedelta(hours=2)


def set_by(offset: Path) -> tuple[str, ...]:
    """Return the beginning of a command whose wall clock, and its children's, is set by this file."""
    variables = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": offset,
        "FAKETIME_NO_CACHE": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,  # the monotonic clock cannot be set
        "FAKETIME_FORCE_MONOTONIC_FIX": 0,  # otherwise it makes Python's threads wait for seconds
    }
    return ("env", *(f"{name}={value}" for name, value in variables.items()))


def jump(offset: Path, by: str) -> None:
    """Set the clock of the run to another time."""
    offset.write_text(by)


async def test_a_clock_that_moves_past_the_time_to_finish_by(tmp_path: Path) -> None:
    """If the wall clock jumps an hour ahead, as after a sleep of the machine, no call is sent after the deadline."""
    if FAKETIME is None:
        pytest.skip("libfaketime (the package faketime) is not installed here")
    listed(tmp_path, 100)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    service = Service({30: lambda: jump(offset, "+3600")})
    at = datetime.now(UTC) + timedelta(minutes=2)
    if at.hour == 0 and at.minute < 3:
        pytest.skip("at midnight, UTC, two minutes from now are tomorrow")
    async with listening(service) as server:
        options = ("--yes", "--quota", "none", "--concurrency", "1", "--finish-by", f"{at:%H:%M:%S}", "--tz", "UTC")
        run = await stopped(server.url, *options, cwd=tmp_path, prefix=set_by(offset))
    assert run.code == 4, run.err
    assert len(service.ids) == 30
    assert len(sent_of(results(tmp_path / LINE))) == 30


async def test_a_token_that_ends_while_the_machine_sleeps(tmp_path: Path) -> None:
    """After the wall clock jumps beyond a token's expiry, the next call has a new token at the first attempt."""
    if FAKETIME is None:
        pytest.skip("libfaketime (the package faketime) is not installed here")
    listed(tmp_path, 40)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    service = Service({20: lambda: jump(offset, "+3600")})
    claims = """base64.b64encode(b'{"exp":%d}' % (time.time() + 900)).decode()"""
    printed = f"import base64, time; print('e30.' + {claims} + '.c2ln')"
    command = f"{sys.executable} -c {shlex.quote(printed)}"
    async with listening(service) as server:
        options = ("--yes", "--quota", "none", "--concurrency", "1", "--token-command", command)
        run = await stopped(server.url, *options, cwd=tmp_path, prefix=set_by(offset), BULKSTOP_TOKEN=None)
        tokens = [re.search(rb"(?i)\nauth: *(\S+)", request) for request in server.requests]
    assert run.code == 0, run.err
    assert {line["attempts"] for line in results(tmp_path / LINE)} == {1}
    words = [found[1] for found in tokens if found is not None]
    assert len(set(words[:20])) == len(set(words[20:])) == 1
    assert words[19] != words[20]


@pytest.mark.parametrize("concurrency", ["32", "200"])
async def test_few_open_files(concurrency: str, tmp_path: Path) -> None:
    """With 64 open files at most (`ulimit -n`) no attempt fails, at any concurrency; 32 is the default."""
    listed(tmp_path, 400)
    limited = script('ulimit -n 64; exec "$@"')
    quota = ("--quota", "1000/60s", "--quota-store", "quota.sqlite")
    options = ("--yes", *quota, "--token-command", "echo t", "--concurrency", concurrency)
    with simulator(tmp_path, "--latency", "50") as slow:
        run = await stopped(slow.url, *options, cwd=tmp_path, prefix=limited, BULKSTOP_TOKEN=None)
        assert run.code == 0, run.err
        assert {line["attempts"] for line in results(tmp_path / LINE)} == {1}
        assert len(slow.ids()) == 400


@pytest.mark.parametrize("files", range(8, 16))
async def test_hardly_any_open_files(files: int, tmp_path: Path) -> None:
    """With far too few open files, one line says what is wrong, wherever the next file is needed."""
    listed(tmp_path, 3)
    async with listening(Service()) as server:
        limited = script(f'ulimit -n {files}; exec "$@"')
        run = await stopped(server.url, "--yes", "--quota-store", "quota.sqlite", cwd=tmp_path, prefix=limited)
    assert run.code in {0, 2, 3}
    assert "internal error" not in run.err
    if run.code and "To go on" not in run.err:
        said = r"bulkstop: (.*\(unable to open database file\).*|.*Too many open files.*|no more files can be opened.*)"
        assert re.fullmatch(said, run.err.splitlines()[-1])
