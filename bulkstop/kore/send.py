"""One try to stop one campaign: a token, an exchange, a meaning."""

from collections.abc import Awaitable, Callable, Mapping

from bulkstop.kore import stop
from bulkstop.kore.token import Tokens
from bulkstop.model import Again, Attempt, Campaign, Outcome, Send

Post = Callable[[str, Mapping[str, str]], Awaitable[stop.Answer | stop.NoAnswer]]
"""A transport: path with query and headers in, what came back out."""

_MASK = "[masked]"
_TOKEN_CHARS = 8  # masking a word such as "test" would tear an answer apart


def stopper(post: Post, tokens: Tokens, *, voice_path: str = stop.VOICE_PATH, sms_path: str = stop.SMS_PATH) -> Send:
    """Make the Send that stops a campaign over `post`; a 401 renews the token and asks for another try at once."""

    async def send(campaign: Campaign) -> Attempt:
        token = await tokens.get()
        path = stop.target(campaign, voice_path=voice_path, sms_path=sms_path)
        answer = await post(path, stop.headers(campaign, token.value))
        attempt = stop.meaning(_without(token.value, answer))
        # 401 alone: a 403 says that the token was understood and is not enough.
        if attempt.http_status == 401 and attempt.outcome is not Outcome.THROTTLED and await tokens.renew(token):
            return attempt._replace(again=Again.NOW)
        return attempt

    return send


def _without(token: str, answer: stop.Answer | stop.NoAnswer) -> stop.Answer | stop.NoAnswer:
    """Mask the token where a server repeats it: its words go into the result line."""
    if isinstance(answer, stop.NoAnswer) or len(token) < _TOKEN_CHARS:
        return answer
    word = token.encode()
    if word in answer.body:
        answer = answer._replace(body=answer.body.replace(word, _MASK.encode()))
    if answer.location is not None and token in answer.location:
        answer = answer._replace(location=answer.location.replace(token, _MASK))
    return answer
