"""One try to stop one campaign: a token, an exchange, a meaning."""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from bulkstop.kore import interpret
from bulkstop.kore.redaction import masked
from bulkstop.kore.token import Tokens
from bulkstop.model import Again, Attempt, Campaign, Outcome, Send

Post = Callable[[str, Mapping[str, str]], Awaitable[interpret.Answer | interpret.NoAnswer]]
"""A transport: path with query and headers in, what came back out."""


class Transport(Protocol):
    """What carries calls: `Client` over aiohttp, and the wire; it connects only inside its `async with`."""

    async def __aenter__(self) -> Self:
        """Get ready; raises SettingsError when a setting of it is unusable."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End all connections."""
        ...

    async def post(
        self, target: str, headers: Mapping[str, str], body: bytes = ..., cap: int = ...
    ) -> interpret.Answer | interpret.NoAnswer:
        """Make one exchange and read up to `cap` bytes of its answer; without a body it is that of a stop call."""
        ...


_TOKEN_CHARS = 8  # masking a word such as "test" would tear an answer apart


def stopper(
    post: Post, tokens: Tokens, *, voice_path: str = interpret.VOICE_PATH, sms_path: str = interpret.SMS_PATH
) -> Send:
    """Make the Send that stops a campaign over `post`; a 401 renews the token and asks for another try at once."""

    async def send(campaign: Campaign) -> Attempt:
        token = tokens.at_hand or await tokens.get()  # a coroutine less for nearly every call
        path = interpret.target(campaign, voice_path=voice_path, sms_path=sms_path)
        answer = await post(path, interpret.headers(campaign, token.value))
        attempt = interpret.meaning(without(token.value, answer), campaign_id=campaign.campaign_id)
        if refuses_token(attempt) and await tokens.renew(token):
            return attempt._replace(again=Again.NOW)
        return attempt

    return send


def refuses_token(attempt: Attempt) -> bool:
    """Tell whether another token could help."""
    # 401 alone: a 403 says that the token was understood and is not enough.
    return attempt.http_status == 401 and attempt.outcome is Outcome.UNAUTHORIZED


def without(token: str, answer: interpret.Answer | interpret.NoAnswer) -> interpret.Answer | interpret.NoAnswer:
    """Mask the token where a server repeats it: its words go into the result line."""
    if isinstance(answer, interpret.NoAnswer):
        return answer
    return masked(answer, (token,) if len(token) >= _TOKEN_CHARS else ())
