"""One attempt of a call: a token, an exchange, a meaning."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from bulkstop.kore.calls import V2, Call, Paths, StopTargets, headers, stop_call
from bulkstop.kore.exchange import BODY, BODY_CAP, Begin, Came, Post, Response, TransportFailure
from bulkstop.kore.interpret import find_allowance, interpret, read_stopped
from bulkstop.kore.redaction import redact_response
from bulkstop.kore.token import Token, Tokens
from bulkstop.model import AtOnce, Attempt, Campaign, Cancellable, Done, Outcome, RetryHint, Send

_TOKEN_CHARS = 8  # masking a word such as "test" would destroy a response

_KNOWN = 64
"""The most different responses that are remembered, which bounds memory if every response differs."""

T = TypeVar("T")


class Perform(Protocol):
    """Makes one attempt of a call: returns its result, or the Attempt that failed."""

    async def __call__(self, call: Call[T], /) -> T | Attempt:
        """Make the attempt; raises a BulkstopError only if no token can be obtained."""
        ...


Classify = Callable[[Response], Attempt | None]
"""Returns the meaning of the response to a stop, or None to leave that to `interpret`."""


def make_perform(post: Post, tokens: Tokens, paths: Paths = V2) -> Perform:
    """Return a function that performs every call over `post`, at these paths.

    A 401 renews the token and asks for an immediate retry.
    """

    async def perform(call: Call[T], /) -> T | Attempt:
        token = tokens.cached or await tokens.get()  # avoids a coroutine for nearly every call
        response = await post(call.at(paths), headers(call.where, token.value), call.body, call.cap)
        result = call.read(redact_token(token.value, response))
        if isinstance(result, Attempt) and refuses_token(result) and await tokens.renew(token):
            return result._replace(again=RetryHint.NOW)
        return result

    return perform


def make_stop(perform: Perform, *, classify: Classify | None = None) -> Send:
    """Return the Send that stops a campaign; `classify` is the first to interpret a response."""

    def send(campaign: Campaign) -> Awaitable[Attempt]:
        return perform(_stop_call(campaign, classify))

    return send


def make_stop_at_once(
    begin: Begin, tokens: Tokens, paths: Paths = V2, *, classify: Classify | None = None, is_brief: bool = False
) -> AtOnce:
    """Return a function that stops a campaign as `make_stop` does, if neither a token nor a connection is awaited.

    With `is_brief` a stop has only its status: neither its latency nor the texts that would need masking.
    """
    stopped, targets = Stopped(is_brief=is_brief), StopTargets(paths)

    def told(campaign: Campaign, token: Token, done: Done, came: Came) -> None:
        if isinstance(came, CancelledError):
            done(came)
            return
        try:
            known = None if classify is not None else stopped.read(token.value, came)
            attempt = known or _stop_call(campaign, classify).read(redact_token(token.value, came))
        except Exception as error:  # noqa: BLE001 - an error of a `Classify` is passed on
            done(error)
            return
        done(renewed(attempt, token) if known is None and refuses_token(attempt) else attempt)

    async def renewed(attempt: Attempt, token: Token) -> Attempt:
        return attempt._replace(again=RetryHint.NOW) if await tokens.renew(token) else attempt

    def at_once(campaign: Campaign, done: Done) -> Cancellable | None:
        token = tokens.cached
        if token is None:
            return None
        target, fields = targets.write(campaign, token.value)
        return begin(target, fields, BODY, BODY_CAP, partial(told, campaign, token, done))

    return at_once


class Stopped:
    """Reads "Stopped" responses, most of which a service sends byte for byte alike except for their times.

    What was read of a body is reused for equal bodies; it was masked for the same token.
    """

    def __init__(self, *, is_brief: bool) -> None:
        self._is_brief = is_brief
        self._token = ""
        self._known: dict[bytes, Attempt] = {}

    def read(self, token: str, came: Response | TransportFailure) -> Attempt | None:
        """Return what a response proves if it is one of these, else None."""
        if isinstance(came, TransportFailure) or came.rate_limit or came.location is not None or came.status != 200:
            return None
        if token != self._token or len(self._known) >= _KNOWN:
            self._token, self._known = token, {}
        known = self._known.get(came.body)
        if known is None:
            known = read_stopped(came) if self._is_brief else interpret(redact_response(came, _secrets(token)))
            if known is None or known.outcome is not Outcome.STOPPED:
                return None
            self._known[came.body] = known
        if self._is_brief:
            return known
        return Attempt(
            Outcome.STOPPED,
            RetryHint.NO,
            200,
            came.latency_ms,
            known.message,
            known.updated_at,
            known.campaign_instance_id,
            known.campaign_execution_type,
        )


def _stop_call(campaign: Campaign, classify: Classify | None) -> Call[Attempt]:
    call = stop_call(campaign)
    return call if classify is None else call._replace(read=partial(_classify, classify, call.read))


def _classify(
    classify: Classify,
    read: Callable[[Response | TransportFailure], Attempt],
    response: Response | TransportFailure,
) -> Attempt:
    """Return the meaning by `classify`, else by `read`."""
    attempt = None if isinstance(response, TransportFailure) else classify(response)
    if attempt is None:
        return read(response)
    return attempt._replace(
        http_status=attempt.http_status or response.status,
        latency_ms=attempt.latency_ms or response.latency_ms,
        allowance=attempt.allowance or find_allowance(response),
    )


def refuses_token(attempt: Attempt) -> bool:
    """Return whether another token could help."""
    # 401 alone: a 403 means that the token was understood but is not sufficient.
    return attempt.http_status == 401 and attempt.outcome is Outcome.UNAUTHORIZED


def redact_token(token: str, response: Response | TransportFailure) -> Response | TransportFailure:
    """Mask the token if a server repeats it: its words go into the result line."""
    if isinstance(response, TransportFailure):
        return response
    return redact_response(response, _secrets(token))


def _secrets(token: str) -> tuple[str, ...]:
    return (token,) if len(token) >= _TOKEN_CHARS else ()
