"""One try of a call: a token, an exchange, a meaning."""

from typing import Protocol, TypeVar

from bulkstop.kore.calls import SMS_PATH, VOICE_PATH, Call, headers, target
from bulkstop.kore.exchange import Post, PostBody, Response, TransportFailure
from bulkstop.kore.interpret import interpret
from bulkstop.kore.redaction import redact_response
from bulkstop.kore.token import Tokens
from bulkstop.model import Attempt, Campaign, Outcome, RetryHint, Send

_TOKEN_CHARS = 8  # masking a word such as "test" would tear an answer apart

T = TypeVar("T")


def make_stop(post: Post, tokens: Tokens, *, voice_path: str = VOICE_PATH, sms_path: str = SMS_PATH) -> Send:
    """Make the Send that stops a campaign over `post`; a 401 renews the token and asks for another try at once."""

    async def send(campaign: Campaign) -> Attempt:
        token = tokens.cached or await tokens.get()  # a coroutine less for nearly every call
        path = target(campaign, voice_path=voice_path, sms_path=sms_path)
        response = await post(path, headers(campaign, token.value))
        attempt = interpret(redact_token(token.value, response), campaign_id=campaign.campaign_id)
        if refuses_token(attempt) and await tokens.renew(token):
            return attempt._replace(again=RetryHint.NOW)
        return attempt

    return send


def refuses_token(attempt: Attempt) -> bool:
    """Tell whether another token could help."""
    # 401 alone: a 403 says that the token was understood and is not enough.
    return attempt.http_status == 401 and attempt.outcome is Outcome.UNAUTHORIZED


def redact_token(token: str, response: Response | TransportFailure) -> Response | TransportFailure:
    """Mask the token where a server repeats it: its words go into the result line."""
    if isinstance(response, TransportFailure):
        return response
    return redact_response(response, (token,) if len(token) >= _TOKEN_CHARS else ())


class Perform(Protocol):
    """Makes one try of a call: gives what was asked for, or the Attempt that failed."""

    async def __call__(self, call: Call[T], /) -> T | Attempt:
        """Make the try; raises a BulkstopError only when no token can be had."""
        ...


def make_perform(post: PostBody, tokens: Tokens) -> Perform:
    """Make what goes over `post`; a 401 renews the token and asks for another try at once."""

    async def perform(call: Call[T], /) -> T | Attempt:
        token = await tokens.get()
        response = await post(call.target, headers(call.where, token.value), call.body, call.cap)
        found = call.read(redact_token(token.value, response))
        if isinstance(found, Attempt) and refuses_token(found) and await tokens.renew(token):
            return found._replace(again=RetryHint.NOW)
        return found

    return perform
