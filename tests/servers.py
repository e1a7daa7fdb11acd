"""Servers on loopback that answer well, badly or never: the other end of every test about the wire.

    listening(handle)        a raw socket server; `handle` is given each Connection
    replying(data, end)      a handler: for every request the same bytes, then keep, close, reset or hang
    proxying(calls)          a handler: a small HTTP proxy, for CONNECT and for plain forwarding
    authority(directory)     a certificate authority of one's own, and a server context signed by it
    receiver(receive)        a raw socket server in a thread of its own; `receive` is given each connection
    nginx(directory)         the real nginx, returning the documented answers

Nothing here imports the package under test.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VOICE_ANSWER = (
    b'{"status":"Stopped","message":"Campaign Stopped","updatedAt":"2025-12-05T12:01:35.312Z",'
    b'"campaignInstanceId":"cid-835ee4a-0000-4000-8000-000000000000"}'
)
SMS_ANSWER = (
    b'{"status":"Stopped","message":"Campaign Stopped","updatedAt":"2025-12-05T12:01:35.312Z",'
    b'"campaignExecutionType":"NORMAL"}'
)
End = Literal["keep", "close", "reset", "hang"]


def http(body: bytes = VOICE_ANSWER, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Write an answer; `length` is what it claims to be long, if not the truth."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One accepted connection: read requests off it, write to it, end it in any way there is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]) -> None:
        self.reader = reader
        self.writer = writer
        self._requests = requests

    async def request(self) -> bytes | None:
        """Read one request, head and body, and note its bytes; None when the client has closed."""
        head = await self.head()
        if head is None:
            return None
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        whole = head + await self.reader.readexactly(length)
        self._requests.append(whole)
        return whole

    async def head(self) -> bytes | None:
        """Read up to the end of a head."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None

    async def write(self, data: bytes) -> None:
        """Write, and wait while the client does not read."""
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        """End in good order: a FIN."""
        self.writer.close()

    def reset(self) -> None:
        """End abruptly: an RST."""
        no_linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed its side."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Handler = Callable[[Connection], Awaitable[None]]


@dataclass(slots=True)
class Listener:
    """A running raw server and what it has seen."""

    port: int
    scheme: str = "http"
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    change: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def all_ended(self) -> None:
        """Wait until the handler of every connection accepted so far has returned."""
        async with self.change:
            await self.change.wait_for(lambda: self.ended == self.connections)


@asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """Serve every connection with `handle` on a free port; at the end, cut what is still open."""
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
    is_over = False

    # No coroutine function: asyncio would make the task, and nobody could end one that has not made its first step.
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_over:
            writer.transport.abort()
            return
        listener.connections += 1
        task = asyncio.ensure_future(serve(Connection(reader, writer, listener.requests)))
        running[task] = writer
        task.add_done_callback(running.pop)

    async def serve(connection: Connection) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handle(connection)
        finally:
            connection.writer.transport.abort() if tls else connection.writer.close()
            with contextlib.suppress(asyncio.CancelledError):
                async with listener.change:
                    listener.ended += 1
                    listener.change.notify_all()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=2**20)
    listener = Listener(server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield listener
    finally:
        await _accepted()
        server.close()
        is_over, cut = True, running.copy()
        for task in cut:
            task.cancel()
        if cut:
            await asyncio.wait(cut)
        for writer in cut.values():
            writer.close()
        await server.wait_closed()


async def _accepted() -> None:
    """Wait until what asyncio has accepted is handed over, or has failed to become a connection.

    It does that in tasks of its own, and one that begins after the server was closed fails an assertion of Python 3.11
    (`Server._attach`) and leaves its socket open.
    """
    while accepting := [task for task in asyncio.all_tasks() if "_accept_connection2" in repr(task.get_coro())]:
        await asyncio.wait(accepting)


@contextmanager
def full_queue() -> Iterator[tuple[str, int]]:
    """Yield an address with a full queue, where no connection is accepted."""
    with socket.socket() as busy, contextlib.ExitStack() as queue:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for _ in range(3):  # more than it takes to fill the queue
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        yield busy.getsockname()


def replying(data: bytes, end: End = "keep") -> Handler:
    """Answer every request with the same bytes, then end the connection in the way given."""

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.write(data)
            if end == "hang":
                await connection.gone()
            if end == "reset":
                connection.reset()
            if end != "keep":
                return

    return handle


def proxying(heads: list[bytes], yes: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Handler:
    """Be an HTTP proxy that says `yes` to tunnels, noting the head of each request that was asked of it."""

    async def handle(connection: Connection) -> None:
        head = await connection.head()
        if head is None:
            return
        heads.append(head)
        method, where, _ = head.split(b"\r\n", 1)[0].split(b" ")
        address = urlsplit(b"//" + where if method == b"CONNECT" else where)
        reader, writer = await asyncio.open_connection((address.hostname or b"").decode(), address.port)
        if method == b"CONNECT":
            await connection.write(yes)
        else:
            path = where.split(b"/", 3)[3]
            writer.write(head.replace(where, b"/" + path, 1))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(connection.reader, writer))
                group.create_task(_pump(reader, connection.writer))
        finally:
            writer.close()

    return handle


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def authority(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """Create an untrusted authority; return its PEM file, and a context for a server that it has signed."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name.from_rfc4514_string("CN=An authority for tests")
    ca = _certificate(ca_name, ca_name, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    server = _certificate(
        x509.Name.from_rfc4514_string("CN=127.0.0.1"),
        ca_name,
        key,
        ca_key,
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )
    ca_file, chain_file = directory / "ca.pem", directory / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    chain_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + server.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    return ca_file, context


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.BasicConstraints | x509.SubjectAlternativeName,
) -> x509.Certificate:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    is_ca = isinstance(extension, x509.BasicConstraints)
    for wanted, critical in (
        (extension, is_ca),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        (x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False), True),
    ):
        builder = builder.add_extension(wanted, critical)
    return builder.sign(signer, hashes.SHA256())


NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
"""The nginx of this machine, if it has one."""

_NGINX_CONF = """
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    merge_slashes off;  # or the double slash of the SMS path would match no location
    keepalive_requests 10;  # so that connections end in the middle of a run, as they do in life
    default_type application/json;
    log_format calls '$request|$status|$http_auth|$http_accountid|$http_iid|$content_type|$content_length';
    log_format times '$msec $http_accountid';
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 404; }}
        location = /ready {{ return 204; }}
        location ~ ^/api/v2/public/[^/]+/campaign/trigger/[^/]+$ {{
            access_log calls.log calls; access_log times.log times; return 200 '{voice}';
        }}
        location ~ ^/campaign/api/v2/public/[^/]+/campaign//trigger/[^/]+$ {{
            access_log calls.log calls; access_log times.log times; return 200 '{sms}';
        }}
    }}
}}
"""


class Nginx:
    """A running nginx."""

    def __init__(self, directory: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log, self._times = directory / "calls.log", directory / "times.log"
        self._process = process

    def stop(self) -> list[str]:
        """Let it finish and end; return the lines of its log (see `log_format calls`)."""
        # Only an ended nginx has surely written the lines of the last calls.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(10)
        return self._log.read_text().splitlines()

    def times(self) -> list[tuple[float, str]]:
        """Give, so far, when each call was answered, in unix seconds, and its account."""
        lines = self._times.read_text().splitlines() if self._times.exists() else []
        return [(float(at), account_id) for at, account_id in map(str.split, lines)]


@contextmanager
def nginx(directory: Path) -> Iterator[Nginx]:
    """Run nginx on a free port with all its files in a new `directory`; it answers both stop calls as documented."""
    assert NGINX is not None, "ask NGINX first"
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = directory / "nginx.conf"
        config.write_text(_NGINX_CONF.format(port=port, voice=VOICE_ANSWER.decode(), sms=SMS_ANSWER.decode()))
        # nginx takes over a socket that already listens (its way of replacing itself): no port can be lost to another.
        process = subprocess.Popen(
            [NGINX, "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # a process group of its own: nginx is a master and a worker
        )
    try:
        _wait_until_ready(port, directory / "error.log")
        yield Nginx(directory, port, process)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(port: int, log: Path) -> None:
    """Make one call: it is answered once nginx is up, and refused or reset if nginx did not start."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 204")
    except (OSError, AssertionError):
        raise AssertionError(f"nginx did not start: {log.read_text() if log.exists() else 'no log'}") from None


@contextmanager
def receiver(receive: Callable[[socket.socket], object]) -> Iterator[str]:
    """Pass each connection to a function, in a thread; yield the URL."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                receive(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/services/T0/secret"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
