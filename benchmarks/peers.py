"""The servers and peers of the benchmarks; nothing of bulkstop's engine is used here."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
"""The nginx of this machine, or None."""

VOICE_ANSWER = json.dumps(
    {
        "status": "Stopped",
        "message": "Campaign Stopped",
        "updatedAt": "2025-12-05T12:01:35.312Z",
        "campaignInstanceId": "cid-835ee4a-0000-4000-8000-000000000000",
    }
)

NGINX = """\
worker_processes {workers};
daemon off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type application/json; return 200 '{answer}'; }}
        location = /status {{ stub_status; }}
    }}
}}
"""


def free_port() -> int:
    """Return a free port."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return free ports; all are held at once, so that none is returned twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def await_port(port: int, timeout_s: float = 10.0) -> None:
    """Wait until a process listens on a port."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


SETTLED_S = 0.02


class Nginx:
    """A running nginx that returns the documented response to everything, counts its requests, and can freeze."""

    def __init__(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.url = url
        self._process = process
        self._looks = 0

    def requests(self) -> int:
        """Return the number of requests from clients, once no more arrive."""
        seen, now = -1, self._status()
        while now != seen:  # it may still read the last bytes of a process that has ended
            time.sleep(SETTLED_S)
            seen, now = now, self._status()
        return now

    def _status(self) -> int:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        connection.request("GET", "/status")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        self._looks += 1
        return int(lines[2].split()[2]) - self._looks

    def freeze(self, seconds: float) -> None:
        """Suspend all its processes for some seconds; requests wait meanwhile."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(self._process.pid, signal.SIGCONT)


@contextmanager
def counting_nginx(workers: int = 1) -> Iterator[Nginx]:
    """Run nginx with this many workers, without a log or a limit of requests per connection."""
    port = free_port()
    with running_nginx(NGINX.format(port=port, answer=VOICE_ANSWER, workers=workers), port) as (process, _):
        yield Nginx(f"http://127.0.0.1:{port}", process)


@contextmanager
def nginx() -> Iterator[str]:
    """Run nginx with one worker that returns the documented response to everything; yields its URL."""
    with counting_nginx() as server:
        yield server.url


@contextmanager
def running_nginx(config: str, port: int) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """Run nginx in its own process group until the block ends; yields its first process and its folder."""
    if BINARY is None:
        raise SystemExit("nginx is not installed: benchmarks/README.md says how")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nginx.conf").write_text(config)
        command = [BINARY, "-p", name, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        process = subprocess.Popen(command, cwd=name, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            await_port(port)
            yield process, folder
        finally:
            process.terminate()
            process.wait()


@contextmanager
def slow_server(latency_s: float, fail_first: float = 0.0) -> Iterator[str]:
    """Run a bare asyncio server that answers after `latency_s` in its own process; yields its URL.

    The share `fail_first` of the ids, spread evenly, get 503 at their first request.
    """
    port = free_port()
    with running([sys.executable, __file__, str(port), str(latency_s), str(fail_first)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(command: Sequence[str], port: int, stdout: BinaryIO | None = None) -> Iterator[None]:
    """Run a server that listens on a port until the block ends."""
    server = subprocess.Popen(command, stdout=stdout, stderr=None if stdout is None else subprocess.DEVNULL)
    try:
        await_port(port)
        yield
    finally:
        server.terminate()
        server.wait()


class _Slow(asyncio.Protocol):
    """Answers each request of a connection after the same time."""

    seen: set[bytes] = set()  # noqa: RUF012 - shared by all connections

    def __init__(self, latency_s: float, fail_first: float) -> None:
        self.latency_s, self.every = latency_s, round(1 / fail_first) if fail_first else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        target = data.split(b" ", 2)[1]
        status, body = b"200 OK", VOICE_ANSWER.encode()
        if self.every and target not in self.seen:
            self.seen.add(target)
            if len(self.seen) % self.every == 0:
                status, body = b"503 Service Unavailable", b"busy"
        answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        asyncio.get_running_loop().call_later(self.latency_s, self.transport.write, answer)


async def _serve(port: int, latency_s: float, fail_first: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Slow(latency_s, fail_first), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
