"""One try of a call around the stop call: what goes over the wire, and what a 401 sets off."""

from collections.abc import Callable

import orjson
import pytest
from aioresponses import aioresponses

from bulkstop.errors import CredentialsError
from bulkstop.kore.aiohttp_transport import BODY_CAP, AiohttpTransport
from bulkstop.kore.calls import list_call, status_call
from bulkstop.kore.exchange import PageRange, Transport
from bulkstop.kore.interpret import PAGE_CAP, Page, Status
from bulkstop.kore.session import make_perform
from bulkstop.kore.token import Tokens
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Attempt, CampaignType, Outcome, RetryHint, Scope
from tests.servers import http, listening, replying

pytestmark = pytest.mark.real

GROUP = Scope("a1", "st-1", "app-1", CampaignType.VOICE)
LIST = list_call(GROUP, PageRange(0, 50, 1), ["Active"])
STATUS = status_call(GROUP, "cd-1")
GOOD = b'{"status":"success","data":{"results":[{"_id":"cd-1"}],"hasMore":false}}'
TOKEN = "a-token-of-more-than-twenty-characters-"


Make = Callable[[str], Transport]
each_transport = pytest.mark.parametrize("make", [AiohttpTransport, WireTransport], ids=["aiohttp", "wire"])


class Source:
    """A source of tokens, each another one."""

    def __init__(self) -> None:
        self.made = 0

    async def mint(self) -> str:
        """Make the next."""
        self.made += 1
        return f"{TOKEN}{self.made}"


@each_transport
async def test_what_is_sent(make: Make) -> None:
    """Path, headers and body of a call reach the server to the byte, and its answer is read."""
    async with listening(replying(http(GOOD))) as server, make(server.url) as client:
        found = await make_perform(client.post, Tokens(Source().mint, renewable=False))(LIST)
    assert isinstance(found, Page)
    assert [item.campaign_id for item in found.items] == ["cd-1"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(
        b"POST /campaign/api/v2/public/st-1/campaign/getAllCampaignDetails?accountId=a1 HTTP/1.1\r\n"
    )
    for line in (f"auth: {TOKEN}1", "accountid: a1", "iid: app-1", "Content-Type: application/json"):
        assert f"\r\n{line}\r\n".encode() in head + b"\r\n"
    assert body == LIST.body


@each_transport
async def test_long_pages_are_read_whole(make: Make) -> None:
    """A page may be longer than any answer to a stop call; an answer without end is cut at the page's own cap."""
    rows = b",".join(b'{"_id":"cd-%d","name":"%s"}' % (n, b"n" * 1000) for n in range(1000))
    page = b'{"status":"success","data":{"results":[%s]}}' % rows
    assert BODY_CAP < len(page) < PAGE_CAP
    async with listening(replying(http(page))) as server, make(server.url) as client:
        found = await make_perform(client.post, Tokens(Source().mint, renewable=False))(LIST)
    assert isinstance(found, Page)
    assert found.rows == 1000
    async with listening(replying(http(b"[" * (PAGE_CAP + 10)))) as server, make(server.url) as client:
        endless = await make_perform(client.post, Tokens(Source().mint, renewable=False))(LIST)
    assert isinstance(endless, Attempt)
    assert (endless.error, endless.again) == ("HTTP 200, but the answer is longer than 4 MiB", RetryHint.NO)


@each_transport
async def test_a_status_is_read_to_its_own_cap(make: Make) -> None:
    """The other calls read no more than a stop call does."""
    said = b'{"status":"success","data":{"id":"cd-1","status":"Active"},"x":"%s"}' % (b"x" * BODY_CAP)
    async with listening(replying(http(said))) as server, make(server.url) as client:
        found = await make_perform(client.post, Tokens(Source().mint, renewable=False))(STATUS)
    assert isinstance(found, Attempt)


async def test_renewed_and_asked_again(api: aioresponses) -> None:
    """A 401 renews the token and asks for another try at once, which carries the new one; one right after is final."""
    url, source = f"https://kore.test{STATUS.target}", Source()
    for body in (
        {"errors": [{"msg": "Unauthorized", "code": 4002}]},
        {"status": "success", "data": {"status": "Ready"}},
    ):
        api.post(url, status=401 if "errors" in body else 200, payload=body)
    async with AiohttpTransport("https://kore.test") as client:
        ask = make_perform(client.post, Tokens(source.mint, renewable=True))
        first = await ask(STATUS)
        assert isinstance(first, Attempt)
        assert (first.outcome, first.again) == (Outcome.UNAUTHORIZED, RetryHint.NOW)
        assert await ask(STATUS) == Status("cd-1", "Ready")
        api.post(url, status=401)
        second = await ask(STATUS)
    assert isinstance(second, Attempt)
    assert (second.outcome, second.again) == (Outcome.UNAUTHORIZED, RetryHint.NO)
    sent = [call.kwargs["headers"]["auth"] for calls in api.requests.values() for call in calls]
    assert sent == [f"{TOKEN}1", f"{TOKEN}2", f"{TOKEN}2"]
    assert source.made == 2


@pytest.mark.parametrize("status", [403, 429])
async def test_what_renews_nothing(api: aioresponses, status: int) -> None:
    """No other refusal costs a token."""
    source = Source()
    api.post(f"https://kore.test{STATUS.target}", status=status)
    async with AiohttpTransport("https://kore.test") as client:
        found = await make_perform(client.post, Tokens(source.mint, renewable=True))(STATUS)
    assert isinstance(found, Attempt)
    assert found.again is not RetryHint.NOW
    assert source.made == 1


async def test_a_repeated_token_is_masked(api: aioresponses) -> None:
    """A server that repeats the token cannot bring it into a list."""
    api.post(f"https://kore.test{LIST.target}", body=orjson.dumps({"message": f"bad token {TOKEN}1"}), status=400)
    async with AiohttpTransport("https://kore.test") as client:
        found = await make_perform(client.post, Tokens(Source().mint, renewable=False))(LIST)
    assert isinstance(found, Attempt)
    assert found.message == "bad token [masked]"


@each_transport
async def test_without_a_token_nothing_is_sent(make: Make) -> None:
    """A source that fails ends the run; no call is made without a token."""

    async def fail() -> str:
        raise CredentialsError("no token")

    async with listening(replying(http(GOOD))) as server, make(server.url) as client:
        with pytest.raises(CredentialsError):
            await make_perform(client.post, Tokens(fail, renewable=False))(LIST)
    assert server.requests == []


@each_transport
async def test_a_call_that_is_lost(make: Make) -> None:
    """A connection that breaks is a failure worth another try, and nobody speaks of a stop."""
    async with listening(replying(b"", "reset")) as server, make(server.url) as client:
        found = await make_perform(client.post, Tokens(Source().mint, renewable=False))(LIST)
    assert isinstance(found, Attempt)
    assert (found.outcome, found.again) == (Outcome.CONNECTION_ERROR, RetryHint.LATER)
    assert "stop" not in (found.error or "")
