"""A request is written to the byte as the other transport writes it, or not at all."""

from collections.abc import Mapping

import pytest

from bulkstop.kore.aiohttp_transport import AiohttpTransport
from bulkstop.kore.calls import headers, target
from bulkstop.kore.connect.fields import LocalProtocolError
from bulkstop.kore.connect.route import find_route
from bulkstop.kore.exchange import TransportFailure
from bulkstop.kore.wire.request import Requests
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Campaign, CampaignType, Outcome, RetryHint
from tests.servers import http, listening, proxying, replying

STREAM = "st-7a1e9c52-0b64-5c1f-9a3e-2d8f6b40c913"
SMS = Campaign.of_row("cd-1 é/%", CampaignType.SMS, "5f8d0d55b54764421b7156d9", STREAM, STREAM, "list.csv", 2)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
LOGIN = "us%20er:p%40ss"


def written(target: str, headers: Mapping[str, str], body: bytes = b"{}") -> bytes:
    """Write one request."""
    return Requests(find_route("https://api.example", None), "bulkstop/1").write(target, headers, body)


class TestSameAsTheOther:
    """The bytes of the wire equal those of the aiohttp client."""

    @pytest.mark.real
    @pytest.mark.parametrize("path", ["", "/gateway", "/gateway/"])
    @pytest.mark.parametrize("body", [b"{}", b"", b'{"limit":50}' * 100])
    async def test_straight(self, path: str, body: bytes) -> None:
        """A call to a server."""
        async with listening(replying(http())) as server:
            for make in (AiohttpTransport, WireTransport):
                async with make(server.url + path, user_agent="bulkstop/1.2") as transport:
                    await transport.post(target(SMS), headers(SMS, TOKEN), body)
        client, wire = server.requests
        assert client == wire

    @pytest.mark.real
    async def test_proxy(self) -> None:
        """A call through a proxy that wants a login."""
        heads: list[bytes] = []
        async with listening(proxying(heads)) as proxy, listening(replying(http())) as server:
            for make in (AiohttpTransport, WireTransport):
                login = proxy.url.replace("//", f"//{LOGIN}@")
                async with make(server.url + "/x", proxy=login, user_agent="bulkstop/1.2") as transport:
                    await transport.post(target(SMS), headers(SMS, TOKEN))
        client, wire = heads
        assert client == wire

    @pytest.mark.real
    async def test_tunnel(self) -> None:
        """The tunnel request is complete; what a proxy need not know is left out."""
        heads: list[bytes] = []
        async with listening(proxying(heads)) as proxy, listening(replying(b"")) as server:
            for make in (AiohttpTransport, WireTransport):
                login = proxy.url.replace("//", f"//{LOGIN}@")
                async with make(
                    f"https://127.0.0.1:{server.port}", proxy=login, user_agent="b/1", timeout_s=0.3
                ) as transport:
                    await transport.post(target(SMS), headers(SMS, TOKEN))
        client, wire = (set(head.split(b"\r\n")) for head in heads)
        assert client == wire


class TestInjection:
    """Nothing that is given can pass for more than it is; what could is refused, and not shown."""

    BAD = ("a\r\nX: y", "a\nb", "a\rb", "a\x00b", "a\x7fb", "é", "\u2028", "\ud800", "a\tb")

    @pytest.mark.parametrize("value", BAD)
    def test_value(self, value: str) -> None:
        """A header's value is one line of ASCII."""
        with pytest.raises(LocalProtocolError, match=r"^the header 'auth' holds a character that cannot be sent"):
            written("/", {"accountid": "1", "auth": value})

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "a:", " a", "a\r\nb", "é", "a\x00"])
    def test_name(self, name: str) -> None:
        """A header's name is a token."""
        with pytest.raises(LocalProtocolError, match=r"^the header '.*' holds a character that cannot be sent"):
            written("/", {name: "1"})

    @pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION"])
    def test_framing(self, name: str) -> None:
        """The caller cannot change where a request ends and goes."""
        with pytest.raises(LocalProtocolError, match=r"^a header tells where a request ends or goes"):
            written("/", {name: "1"})

    @pytest.mark.parametrize("bad", [*BAD, "a b", "/ HTTP/1.1\r\nX: y\r\n\r\n"])
    def test_target(self, bad: str) -> None:
        """A target is visible ASCII."""
        with pytest.raises(LocalProtocolError, match=r"^the path holds a character that cannot be sent"):
            written(f"/{bad}", {})

    @pytest.mark.parametrize("agent", ["a\r\nX: y", "é"])
    def test_user_agent(self, agent: str) -> None:
        """So is the name of the program."""
        with pytest.raises(LocalProtocolError, match="'User-Agent'"):
            Requests(find_route("https://api.example", None), agent).write("/", {}, b"")

    @pytest.mark.real
    @pytest.mark.parametrize(
        ("path", "fields"), [("/a b", {}), ("/", {"auth": f"{TOKEN}\r\nX: y"}), ("/", {"a\r\nb": "x"})]
    )
    async def test_call(self, path: str, fields: Mapping[str, str]) -> None:
        """Such a call is a failure that another try would not change, and not a byte of it is sent."""
        async with listening(replying(http())) as server, WireTransport(server.url) as wire:
            response = await wire.post(path, fields)
        assert isinstance(response, TransportFailure)
        assert (response.outcome, response.again, response.status) == (Outcome.CONNECTION_ERROR, RetryHint.NO, None)
        assert response.error.endswith("; nothing was sent")
        assert response.error.isprintable()
        assert server.connections == 0


class TestKept:
    """Recurring parts are composed once, and never confused."""

    def test_changes(self) -> None:
        """Each request has its own fields, length and body, after any other."""
        requests = Requests(find_route("https://api.example", None), "bulkstop/1")
        for turn in range(3):
            for token in ("t1", "t2"):
                for body in (b"", b"{}", b"[]", b"{...}"):
                    lines = requests.write("/x", {"auth": token}, body).split(b"\r\n")
                    assert lines == [
                        b"POST /x HTTP/1.1" if body else b"GET /x HTTP/1.1",
                        b"Host: api.example",
                        b"User-Agent: bulkstop/1",
                        f"auth: {token}".encode(),
                        b"Accept: */*",
                        b"Accept-Encoding: gzip, deflate",
                        *([f"Content-Length: {len(body)}".encode()] if body else []),
                        b"",
                        body,
                    ], turn

    def test_callers_mapping_changes(self) -> None:
        """A mapping that its owner changes is another one from then on."""
        requests, fields = Requests(find_route("https://api.example", None), "bulkstop/1"), {"auth": "t1"}
        assert b"auth: t1\r\n" in requests.write("/", fields, b"")
        fields["auth"] = "t2"
        assert b"auth: t2\r\n" in requests.write("/", fields, b"")

    def test_tokens_without_end(self) -> None:
        """A token of its own for each call does not pile up."""
        requests = Requests(find_route("https://api.example", None), "bulkstop/1")
        for number in range(2000):
            assert f"auth: {number}\r\n".encode() in requests.write("/", {"auth": str(number)}, b"")
        assert len(requests._rests) < 500
