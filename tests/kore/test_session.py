"""One try of a call: which token goes out, what a 401 sets off, how much of the answer is read."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from bulkstop.errors import CredentialsError
from bulkstop.kore.aiohttp_transport import AiohttpTransport
from bulkstop.kore.calls import V2, list_call, status_call
from bulkstop.kore.exchange import BODY_CAP, PageRange, Post, Response, Transport, TransportFailure
from bulkstop.kore.interpret import PAGE_CAP, Page
from bulkstop.kore.session import Perform, make_perform, make_stop
from bulkstop.kore.token import Tokens, static_source
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Allowance, Attempt, Campaign, CampaignType, Outcome, RetryHint, Scope, Send
from tests.servers import VOICE_ANSWER, http, listening, replying

VOICE = Campaign.of_row("cd-1", CampaignType.VOICE, "a" * 24, "st-1", "app-1", "list.csv", 2)
SMS = VOICE._replace(campaign_type=CampaignType.SMS)
SECRET = "a client secret of more than thirty-two characters"
STOPPED = Response(200, VOICE_ANSWER, 1.0)
UNAUTHORIZED = Response(401, b'{"errors":[{"msg":"Unauthorized","code":4002}]}', 1.0)


class Service:
    """A transport and a source of tokens in one: it returns prepared responses, and records requests."""

    def __init__(self, response: Callable[[str], Response | TransportFailure] = lambda token: STOPPED) -> None:
        self.answer = response
        self.calls: list[tuple[str, str]] = []
        self.made = 0

    async def post(self, target: str, headers: Mapping[str, str], body: bytes, cap: int) -> Response | TransportFailure:
        """Be the transport."""
        self.calls.append((target, headers["auth"]))
        await asyncio.sleep(0)
        return self.answer(headers["auth"])

    async def mint(self) -> str:
        """Be the source of tokens: each is another one."""
        self.made += 1
        made = self.made
        await asyncio.sleep(0)
        return f"token-{made}"

    @property
    def tokens_sent(self) -> list[str]:
        """Return the token of each call."""
        return [token for _, token in self.calls]


def stopping(post: Post, tokens: Tokens) -> Send:
    """Make the Send that stops at the documented paths."""
    return make_stop(make_perform(post, tokens))


def good_from(number: int) -> Callable[[str], Response]:
    """Answer 401 to every token older than this one."""
    return lambda token: STOPPED if int(token.removeprefix("token-")) >= number else UNAUTHORIZED


class TestTarget:
    """Each type has its own path, which the user may replace."""

    async def test_documented_paths(self) -> None:
        """Without templates the documented paths are sent."""
        service = Service()
        send = stopping(service.post, Tokens(service.mint, renewable=True))
        await send(VOICE)
        await send(SMS)
        assert [target.partition("?")[0] for target, _ in service.calls] == [
            path.format(streamId="st-1", campaignId="cd-1") for path in (V2.voice, V2.sms)
        ]

    async def test_own_paths(self) -> None:
        """A template of the user's is used for its type."""
        service = Service()
        paths = V2._replace(voice="/v/{campaignId}", sms="/s/{campaignId}")
        send = make_stop(make_perform(service.post, Tokens(service.mint, renewable=True), paths))
        await send(VOICE)
        await send(SMS)
        assert [target.partition("?")[0] for target, _ in service.calls] == ["/v/cd-1", "/s/cd-1"]


class TestUnauthorized:
    """A 401 renews the token once and asks again at once; nothing else does."""

    async def test_renewed_and_asked_again(self) -> None:
        """A refused token is renewed, the attempt says NOW, and the next one carries the new token."""
        service = Service(good_from(2))
        send = stopping(service.post, Tokens(service.mint, renewable=True))
        first, second = await send(VOICE), await send(VOICE)
        assert (first.outcome, first.again, first.http_status) == (Outcome.UNAUTHORIZED, RetryHint.NOW, 401)
        assert (second.outcome, second.again) == (Outcome.STOPPED, RetryHint.NO)
        assert (service.tokens_sent, service.made) == (["token-1", "token-2"], 2)

    async def test_ready_made(self) -> None:
        """A token that cannot be renewed ends the campaign at its first 401."""
        service = Service(lambda token: UNAUTHORIZED)
        send = stopping(service.post, Tokens(static_source("a-token"), renewable=False))
        attempt = await send(VOICE)
        assert (attempt.outcome, attempt.again) == (Outcome.UNAUTHORIZED, RetryHint.NO)

    @pytest.mark.parametrize(
        "answer",
        [
            Response(403, b"", 1.0),
            Response(400, b"401 Unauthorized", 1.0),
            Response(200, b'{"status":"error","message":"Unauthorized"}', 1.0),
            Response(401, b'{"errors":[{"msg":"You\'ve exceeded the per-minute rate limit."}]}', 1.0),
            Response(500, b"", 1.0),
            TransportFailure(Outcome.TIMEOUT, "why", 1.0),
        ],
        ids=["403", "400", "200", "401-over-the-limit", "500", "timeout"],
    )
    async def test_what_renews_nothing(self, answer: Response | TransportFailure) -> None:
        """Other failures keep the token; over the limit, at any status, an immediate retry would be wrong."""
        service = Service(lambda token: answer)
        send = stopping(service.post, Tokens(service.mint, renewable=True))
        attempts = [await send(VOICE), await send(VOICE)]
        assert RetryHint.NOW not in {attempt.again for attempt in attempts}
        assert service.tokens_sent == ["token-1", "token-1"]


class TestTokens:
    """Every attempt carries the token that is right at that moment."""

    async def test_at_rest_is_no_refusal(self) -> None:
        """A 401 that says that this campaign is at rest needs no other token; one about another campaign does."""
        for campaign_id, outcome, made in (("cd-1", Outcome.ALREADY_STOPPED, 1), ("cd-2", Outcome.UNAUTHORIZED, 2)):
            service = Service(lambda token: Response(401, b'{"message":"Campaign cd-1 already stopped"}', 1.0))
            attempt = await stopping(service.post, Tokens(service.mint, renewable=True))(
                VOICE._replace(campaign_id=campaign_id)
            )
            assert (attempt.outcome, service.made) == (outcome, made)

    async def test_no_token(self) -> None:
        """Without a token nothing is sent, and the run learns why."""

        async def fail() -> str:
            raise CredentialsError("no token")

        service = Service()
        with pytest.raises(CredentialsError, match="no token"):
            await stopping(service.post, Tokens(fail, renewable=True))(VOICE)
        assert service.calls == []


class TestSecrecy:
    """A token that a server repeats is masked, because result lines contain its words."""

    TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"

    async def attempt(self, response: Response) -> Attempt:
        """Make an attempt with the token."""
        service = Service(lambda token: response)
        return await stopping(service.post, Tokens(static_source(self.TOKEN), renewable=False))(VOICE)

    @pytest.mark.parametrize("status", [200, 400, 401, 500])
    async def test_body(self, status: int) -> None:
        """No part of the token is in the attempt, for any status."""
        attempt = await self.attempt(Response(status, b'{"message":"jwt malformed: %b"}' % self.TOKEN.encode(), 1.0))
        assert "eyJhbGciOi" not in repr(attempt)
        assert "mask" in repr(attempt)

    async def test_location(self) -> None:
        """Nor when it comes back in the place of a redirect."""
        attempt = await self.attempt(Response(302, b"", 1.0, location=f"https://login.example/?jwt={self.TOKEN}"))
        assert attempt.error == "HTTP 302: a redirect to https://login.example/?jwt=[masked] is not followed"

    @pytest.mark.parametrize("token", ["t", "Stopped", "status"])
    async def test_word_for_a_token(self, token: str) -> None:
        """A word used as a token, as with a simulator, tears no answer apart."""
        service = Service()
        attempt = await stopping(service.post, Tokens(static_source(token), renewable=False))(VOICE)
        assert (attempt.outcome, attempt.message) == (Outcome.STOPPED, "Campaign Stopped")


TOKEN = "a-token-of-more-than-twenty-characters"
LIST = list_call(Scope("a1", "st-1", "app-1", CampaignType.VOICE), PageRange(0, 50, 1), ["Active"])
STATUS = status_call(VOICE, "cd-1")
GOOD = b'{"status":"success","data":{"results":[{"_id":"cd-1"}],"hasMore":false}}'

Make = Callable[[str], Transport]
each_transport = pytest.mark.parametrize("make", [AiohttpTransport, WireTransport], ids=["aiohttp", "wire"])


def perform_over(transport: Transport) -> Perform:
    """Make what performs calls with the token."""
    return make_perform(transport.post, Tokens(static_source(TOKEN), renewable=False))


@pytest.mark.real
@each_transport
async def test_what_is_sent(make: Make) -> None:
    """Path, headers and body of a call reach the server to the byte, and its answer is read."""
    async with listening(replying(http(GOOD))) as server, make(server.url) as client:
        result = await perform_over(client)(LIST)
    assert isinstance(result, Page)
    assert [item.campaign_id for item in result.items] == ["cd-1"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(
        b"POST /campaign/api/v2/public/st-1/campaign/getAllCampaignDetails?accountId=a1 HTTP/1.1\r\n"
    )
    for line in (f"auth: {TOKEN}", "accountid: a1", "iid: app-1", "Content-Type: application/json"):
        assert f"\r\n{line}\r\n".encode() in head + b"\r\n"
    assert body == LIST.body


@pytest.mark.real
@each_transport
async def test_long_pages_are_read_whole(make: Make) -> None:
    """A page may be longer than any answer to a stop call; an answer without end is cut at the page's own cap."""
    rows = b",".join(b'{"_id":"cd-%d","name":"%s"}' % (n, b"n" * 1000) for n in range(1000))
    page = b'{"status":"success","data":{"results":[%s]}}' % rows
    assert BODY_CAP < len(page) < PAGE_CAP
    async with listening(replying(http(page))) as server, make(server.url) as client:
        result = await perform_over(client)(LIST)
    assert isinstance(result, Page)
    assert result.rows == 1000
    async with listening(replying(http(b"[" * (PAGE_CAP + 10)))) as server, make(server.url) as client:
        endless = await perform_over(client)(LIST)
    assert isinstance(endless, Attempt)
    assert (endless.error, endless.again) == ("HTTP 200, but the answer is longer than 4 MiB", RetryHint.NO)


@pytest.mark.real
@each_transport
async def test_a_status_is_read_to_its_own_cap(make: Make) -> None:
    """The other calls read no more than a stop call does."""
    answer = b'{"status":"success","data":{"id":"cd-1","status":"Active"},"x":"%s"}' % (b"x" * BODY_CAP)
    async with listening(replying(http(answer))) as server, make(server.url) as client:
        result = await perform_over(client)(STATUS)
    assert isinstance(result, Attempt)


@pytest.mark.real
@each_transport
async def test_a_call_that_is_lost(make: Make) -> None:
    """A broken connection is a failure worth another attempt, and its message does not mention a stop."""
    async with listening(replying(b"", "reset")) as server, make(server.url) as client:
        result = await perform_over(client)(LIST)
    assert isinstance(result, Attempt)
    assert (result.outcome, result.again) == (Outcome.CONNECTION_ERROR, RetryHint.LATER)
    assert "stop" not in (result.error or "")


async def test_what_is_left_comes_with_the_words_of_a_hook() -> None:
    """The remaining calls are read from headers even if a hook interprets the response."""
    service = Service(lambda token: STOPPED._replace(rate_limit=(("ratelimit-remaining", "3"),)))
    perform = make_perform(service.post, Tokens(service.mint, renewable=True))
    send = make_stop(perform, classify=lambda response: Attempt(Outcome.REJECTED))
    assert await send(VOICE) == Attempt(Outcome.REJECTED, http_status=200, latency_ms=1.0, allowance=Allowance(3))
