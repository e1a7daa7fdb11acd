"""One try of a call: a token, an exchange, a meaning."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from bulkstop.kore.calls import V2, Call, Paths, headers, stop_call
from bulkstop.kore.exchange import Post, Response, TransportFailure
from bulkstop.kore.interpret import find_allowance
from bulkstop.kore.redaction import redact_response
from bulkstop.kore.token import Tokens
from bulkstop.model import Attempt, Campaign, Outcome, RetryHint, Send

_TOKEN_CHARS = 8  # masking a word such as "test" would tear an answer apart

T = TypeVar("T")


class Perform(Protocol):
    """Makes one try of a call: gives what was asked for, or the Attempt that failed."""

    async def __call__(self, call: Call[T], /) -> T | Attempt:
        """Make the try; raises a BulkstopError only when no token can be had."""
        ...


Classify = Callable[[Response], Attempt | None]
"""Says what the response to a stop means, or None to leave that to `interpret`."""


def make_perform(post: Post, tokens: Tokens, paths: Paths = V2) -> Perform:
    """Make what performs every call over `post`, at these paths.

    A 401 renews the token and asks for another try at once.
    """

    async def perform(call: Call[T], /) -> T | Attempt:
        token = tokens.cached or await tokens.get()  # a coroutine less for nearly every call
        response = await post(call.at(paths), headers(call.where, token.value), call.body, call.cap)
        result = call.read(redact_token(token.value, response))
        if isinstance(result, Attempt) and refuses_token(result) and await tokens.renew(token):
            return result._replace(again=RetryHint.NOW)
        return result

    return perform


def make_stop(perform: Perform, *, classify: Classify | None = None) -> Send:
    """Make the Send that stops a campaign; `classify` is asked first what a response means."""

    def send(campaign: Campaign) -> Awaitable[Attempt]:
        call = stop_call(campaign)
        return perform(call if classify is None else call._replace(read=partial(_classify, classify, call.read)))

    return send


def _classify(
    classify: Classify,
    read: Callable[[Response | TransportFailure], Attempt],
    response: Response | TransportFailure,
) -> Attempt:
    """Return what `classify` makes of a response, else what `read` does."""
    attempt = None if isinstance(response, TransportFailure) else classify(response)
    if attempt is None:
        return read(response)
    return attempt._replace(
        http_status=attempt.http_status or response.status,
        latency_ms=attempt.latency_ms or response.latency_ms,
        allowance=attempt.allowance or find_allowance(response),
    )


def refuses_token(attempt: Attempt) -> bool:
    """Tell whether another token could help."""
    # 401 alone: a 403 says that the token was understood and is not enough.
    return attempt.http_status == 401 and attempt.outcome is Outcome.UNAUTHORIZED


def redact_token(token: str, response: Response | TransportFailure) -> Response | TransportFailure:
    """Mask the token where a server repeats it: its words go into the result line."""
    if isinstance(response, TransportFailure):
        return response
    return redact_response(response, (token,) if len(token) >= _TOKEN_CHARS else ())
