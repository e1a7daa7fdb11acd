"""How a connection comes about or does not: look-ups, addresses, tunnels, trust."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkstop.errors import NO_THREAD
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Outcome, RetryHint
from tests.servers import Connection, authority, full_queue, http, listening, replying

pytestmark = [pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"]), pytest.mark.real]

GONE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NAME = "api.campaigns.test"
Addresses = list[tuple[str, int]]


class LookUps:
    """A name service that gives one answer after the other: addresses, or an error."""

    def __init__(self, *answers: Addresses | Exception) -> None:
        self._answers = iter(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int, **kwargs: Any) -> list[Any]:
        """Look a name up."""
        assert host == NAME
        self.asked += 1
        answer = next(self._answers)
        await asyncio.sleep(0.01)  # long enough for all who ask at the same time to have asked
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in answer]


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LookUps]:
    """Put a name service in the place of the real one."""

    def put(*answers: Addresses | Exception) -> LookUps:
        service = LookUps(*answers)
        monkeypatch.setattr("bulkstop.kore.connect.dialer._getaddrinfo", service)
        return service

    return put


def free_address() -> tuple[str, int]:
    """Return an address without a listener."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address: tuple[str, int] = sock.getsockname()
    return address


def failure(response: Response | TransportFailure) -> TransportFailure:
    """Insist on a connection error that is worth another try."""
    assert isinstance(response, TransportFailure), response
    assert (response.outcome, response.again) == (Outcome.CONNECTION_ERROR, RetryHint.LATER)
    return response


class TestLookUps:
    """A name is looked up seldom, and once for all who ask."""

    async def test_kept_for_a_while(self, look_up: Callable[..., LookUps], monkeypatch: pytest.MonkeyPatch) -> None:
        """A recent lookup is reused."""
        monkeypatch.setattr("bulkstop.kore.wire.pool.KEEPALIVE_EXPIRY_S", 0)
        async with listening(replying(http())) as server, WireTransport(f"http://{NAME}:{server.port}") as wire:
            service = look_up([("127.0.0.1", server.port)])
            assert all([isinstance(await wire.post("/", {}), Response) for _ in range(3)])
            assert (service.asked, server.connections) == (1, 3)

    @pytest.mark.parametrize("answer", [GONE, None], ids=["gone", "found"])
    async def test_at_the_same_time(self, look_up: Callable[..., LookUps], answer: Exception | None) -> None:
        """Calls that begin together share one look-up, and its failure."""
        async with listening(replying(http())) as server, WireTransport(f"http://{NAME}:{server.port}") as wire:
            service = look_up(answer or [("127.0.0.1", server.port)])
            response = await asyncio.gather(*(wire.post("/", {}) for _ in range(20)))
        assert {type(each) for each in response} == {TransportFailure if answer else Response}
        assert service.asked == 1

    async def test_real_one(self) -> None:
        """The system's own service is asked: `localhost` is this machine."""
        async with listening(replying(http())) as server, WireTransport(f"http://localhost:{server.port}") as wire:
            assert isinstance(await wire.post("/", {}), Response)

    async def test_name_that_is_none(self) -> None:
        """A name that cannot be looked up at all is reported as such."""
        async with WireTransport(f"http://{'x' * 64}.example") as wire:
            assert "could not be looked up" in failure(await wire.post("/", {})).error


class TestAddresses:
    """One answering address of several is enough."""

    async def test_first_refuses(self, look_up: Callable[..., LookUps]) -> None:
        """An address without a listener is skipped."""
        async with listening(replying(http())) as server, WireTransport(f"http://{NAME}:{server.port}") as wire:
            look_up([free_address(), ("127.0.0.1", server.port)])
            assert isinstance(await wire.post("/", {}), Response)

    async def test_first_is_silent(self, look_up: Callable[..., LookUps]) -> None:
        """An address that does not answer costs a moment, not the call."""
        with full_queue() as silent:
            async with listening(replying(http())) as server, WireTransport(f"http://{NAME}:{server.port}") as wire:
                look_up([silent, ("127.0.0.1", server.port)])
                assert isinstance(await wire.post("/", {}), Response)

    async def test_none_answers(self, look_up: Callable[..., LookUps]) -> None:
        """If all refuse, the place is named."""
        look_up([free_address(), free_address()])
        async with WireTransport(f"http://{NAME}:81") as wire:
            response = failure(await wire.post("/", {}))
        assert response.error == f"no connection to {NAME}:81 (ECONNREFUSED); nothing was sent"

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (OSError(24, "Too many open files"), "no file descriptor left (lower concurrency or raise ulimit -n)"),
            (RuntimeError("can't start new thread"), NO_THREAD),
        ],
    )
    async def test_nothing_left(self, error: Exception, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A lack of file descriptors or threads is reported as such, with the remedy."""

        async def none_left(*args: Any, **kwargs: Any) -> socket.socket:
            raise error

        monkeypatch.setattr("bulkstop.kore.connect.dialer.start_connection", none_left)
        async with WireTransport("http://127.0.0.1:1") as wire:
            response = failure(await wire.post("/", {}))
        assert response.error == f"{text}; nothing was sent"


class TestTunnel:
    """Only the proxy's response to CONNECT decides."""

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (b"HTTP/1.0 502\r\n\r\n", "the proxy answered HTTP 502; nothing was sent"),
            (b"HTTP/1.1 503 Busy\n\n", "the proxy answered HTTP 503; nothing was sent"),
            (b"HTTP/1.1 101 Switching\r\n\r\n", "the proxy answered HTTP 101; nothing was sent"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "the proxy broke off before it answered; nothing was sent"),
            (b"HTTP/1.1 200 OK\r\n", "the proxy broke off before it answered; nothing was sent"),
            (b"HTTP/1.1 20", "the proxy broke off before it answered; nothing was sent"),
            (b"SSH-2.0-x\r\n\r\n", "the proxy's answer is not HTTP; nothing was sent"),
            (b"", "the proxy broke off before it answered; nothing was sent"),
            (b"x" * 20_000, "the proxy's answer is not HTTP; nothing was sent"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "the proxy's answer is not HTTP; nothing was sent"),
            (b"HTTP/1.1 200 OK\r\n\r\nHello", "the proxy spoke into its tunnel; nothing was sent"),
        ],
        ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
    )
    async def test_answer(self, said: bytes, error: str) -> None:
        """Anything but a clean 2xx is not a tunnel; the connection to the proxy is closed."""

        async def serve(connection: Connection) -> None:
            await connection.head()
            await connection.write(said)
            connection.writer.write_eof()
            await connection.gone()

        async with listening(serve) as proxy, WireTransport("https://127.0.0.1:1", proxy=proxy.url) as wire:
            response = failure(await wire.post("/", {}))
            await proxy.all_ended()
        assert response.error == error

    @pytest.mark.parametrize("size", [1, 20])
    async def test_answer_in_pieces(self, size: int, tmp_path: Path) -> None:
        """The answer may come in pieces; the server behind the tunnel is verified as ever."""
        ca, context = authority(tmp_path)

        async def serve(connection: Connection) -> None:
            await connection.head()
            said = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"
            for at in range(0, len(said), size):
                await connection.write(said[at : at + size])
                await asyncio.sleep(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                await asyncio.gather(pump(connection.reader, writer), pump(reader, connection.writer))
            finally:
                writer.close()

        async with listening(replying(http()), context) as server, listening(serve) as proxy:
            for trusted, kind in ((str(ca), Response), (None, TransportFailure)):
                async with WireTransport(f"https://127.0.0.1:{server.port}", proxy=proxy.url, ca=trusted) as wire:
                    assert isinstance(await wire.post("/", {}), kind)

    async def test_silence(self) -> None:
        """A proxy that does not answer has as long as a server that cannot be reached."""
        async with (
            listening(Connection.gone) as proxy,
            WireTransport("https://127.0.0.1:1", proxy=proxy.url, connect_timeout_s=0.05) as wire,
        ):
            response = await wire.post("/", {})
            await proxy.all_ended()
        assert isinstance(response, TransportFailure)
        assert (response.outcome, response.error) == (Outcome.TIMEOUT, "no connection in time; nothing was sent")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until nothing does."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the PEM file of an authority, and its directory with a server's chain in it."""
    directory = tmp_path_factory.mktemp("tls")
    return str(authority(directory)[0]), directory / "server.pem"


def context_for(chain: Path) -> ssl.SSLContext:
    """Make a server's context, to be changed by the test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


class TestTls:
    """A failed or interrupted TLS handshake is reported as such."""

    async def test_names_the_server(self, tls: tuple[str, Path]) -> None:
        """The server gets the wanted name (SNI), and HTTP/1.1 as the protocol (ALPN)."""
        asked: list[str | None] = []
        context = context_for(tls[1])
        context.sni_callback = lambda _, name, __: asked.append(name)
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with listening(replying(http()), context) as server:
            async with WireTransport(f"https://localhost:{server.port}", ca=tls[0]) as wire:
                assert isinstance(await wire.post("/", {}), TransportFailure)  # the certificate is for 127.0.0.1
            async with WireTransport(f"https://127.0.0.1:{server.port}", ca=tls[0]) as wire:
                assert isinstance(await wire.post("/", {}), Response)
        assert "localhost" in asked

    async def test_reset_in_the_handshake(self, tls: tuple[str, Path]) -> None:
        """A server that hangs up within the handshake was not reached."""

        async def slam(connection: Connection) -> None:
            await connection.reader.read(1)
            connection.reset()

        async with listening(slam) as server, WireTransport(f"https://127.0.0.1:{server.port}", ca=tls[0]) as wire:
            response = failure(await wire.post("/", {}))
        assert response.error.startswith(f"no connection to 127.0.0.1:{server.port} (")
        assert response.error.endswith("; nothing was sent")

    @pytest.mark.parametrize("raw", [http(b"", length=9), http(b"part", length=9), b"HTTP/1.1 2"])
    async def test_truncated(self, tls: tuple[str, Path], raw: bytes) -> None:
        """A response that ends early under TLS is invalid."""
        async with (
            listening(replying(raw, "reset"), context_for(tls[1])) as server,
            WireTransport(f"https://127.0.0.1:{server.port}", ca=tls[0]) as wire,
        ):
            response = failure(await wire.post("/", {}))
        assert response.may_have_arrived

    async def test_kept_and_left(self, tls: tuple[str, Path]) -> None:
        """Calls use one connection, which ends with a goodbye when the wire is left."""
        said_goodbye: list[bool] = []

        async def serve(connection: Connection) -> None:
            while await connection.request() is not None:
                await connection.write(http())
            said_goodbye.append(connection.reader.at_eof())

        async with listening(serve, context_for(tls[1])) as server:
            async with WireTransport(f"https://127.0.0.1:{server.port}", ca=tls[0]) as wire:
                for _ in range(3):
                    assert isinstance(await wire.post("/", {}), Response)
            await server.all_ended()
        assert (server.connections, said_goodbye) == (1, [True])

    async def test_no_goodbye(self, tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that does not say goodbye does not hold up the leaving for long."""
        monkeypatch.setattr("bulkstop.kore.connect.dialer.GOODBYE_S", 0.05)
        async with (
            frozen(context_for(tls[1])) as port,
            asyncio.timeout(5),
            WireTransport(f"https://127.0.0.1:{port}", ca=tls[0]) as wire,
        ):
            assert isinstance(await wire.post("/", {}), Response)


@asynccontextmanager
async def frozen(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Run a server in a thread that answers one request by TLS, and then does nothing at all any more."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as secure:
            secure.recv(65536)
            secure.sendall(http())
            done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            await asyncio.to_thread(thread.join)
