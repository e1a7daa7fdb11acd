"""One try of a call: a token, an exchange, a meaning."""

from typing import Protocol, TypeVar

from bulkstop.kore import calls, exchange, interpret
from bulkstop.kore.calls import Call
from bulkstop.kore.exchange import Post, PostBody
from bulkstop.kore.redaction import masked
from bulkstop.kore.token import Tokens
from bulkstop.model import Again, Attempt, Campaign, Outcome, Send

_TOKEN_CHARS = 8  # masking a word such as "test" would tear an answer apart

T = TypeVar("T")


def stopper(post: Post, tokens: Tokens, *, voice_path: str = calls.VOICE_PATH, sms_path: str = calls.SMS_PATH) -> Send:
    """Make the Send that stops a campaign over `post`; a 401 renews the token and asks for another try at once."""

    async def send(campaign: Campaign) -> Attempt:
        token = tokens.at_hand or await tokens.get()  # a coroutine less for nearly every call
        path = calls.target(campaign, voice_path=voice_path, sms_path=sms_path)
        answer = await post(path, calls.headers(campaign, token.value))
        attempt = interpret.meaning(without(token.value, answer), campaign_id=campaign.campaign_id)
        if refuses_token(attempt) and await tokens.renew(token):
            return attempt._replace(again=Again.NOW)
        return attempt

    return send


def refuses_token(attempt: Attempt) -> bool:
    """Tell whether another token could help."""
    # 401 alone: a 403 says that the token was understood and is not enough.
    return attempt.http_status == 401 and attempt.outcome is Outcome.UNAUTHORIZED


def without(token: str, answer: exchange.Answer | exchange.NoAnswer) -> exchange.Answer | exchange.NoAnswer:
    """Mask the token where a server repeats it: its words go into the result line."""
    if isinstance(answer, exchange.NoAnswer):
        return answer
    return masked(answer, (token,) if len(token) >= _TOKEN_CHARS else ())


class Ask(Protocol):
    """Makes one try of a call: gives what was asked for, or the Attempt that failed."""

    async def __call__(self, call: Call[T], /) -> T | Attempt:
        """Make the try; raises a BulkstopError only when no token can be had."""
        ...


def asker(post: PostBody, tokens: Tokens) -> Ask:
    """Make the Ask that goes over `post`; a 401 renews the token and asks for another try at once."""

    async def ask(call: Call[T], /) -> T | Attempt:
        token = await tokens.get()
        answer = await post(call.target, calls.headers(call.where, token.value), call.body, call.cap)
        found = call.read(without(token.value, answer))
        if isinstance(found, Attempt) and refuses_token(found) and await tokens.renew(token):
            return found._replace(again=Again.NOW)
        return found

    return ask
