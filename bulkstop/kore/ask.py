"""One try of a call around the stop call: a token, an exchange, a value or the failure."""

from collections.abc import Awaitable, Mapping
from typing import Protocol, TypeVar

from bulkstop.kore import interpret
from bulkstop.kore.calls import Call
from bulkstop.kore.session import refuses_token, without
from bulkstop.kore.token import Tokens
from bulkstop.model import Again, Attempt

T = TypeVar("T")


class PostBody(Protocol):
    """A transport for calls that say something: path with query, headers, body and cap in, what came back out."""

    def __call__(
        self, target: str, headers: Mapping[str, str], body: bytes, cap: int, /
    ) -> Awaitable[interpret.Answer | interpret.NoAnswer]:
        """Make one exchange and read up to `cap` bytes of its answer."""
        ...


class Ask(Protocol):
    """Makes one try of a call: gives what was asked for, or the Attempt that failed."""

    async def __call__(self, call: Call[T], /) -> T | Attempt:
        """Make the try; raises a BulkstopError only when no token can be had."""
        ...


def asker(post: PostBody, tokens: Tokens) -> Ask:
    """Make the Ask that goes over `post`; a 401 renews the token and asks for another try at once."""

    async def ask(call: Call[T], /) -> T | Attempt:
        token = await tokens.get()
        answer = await post(call.target, interpret.headers(call.where, token.value), call.body, call.cap)
        found = call.read(without(token.value, answer))
        if isinstance(found, Attempt) and refuses_token(found) and await tokens.renew(token):
            return found._replace(again=Again.NOW)
        return found

    return ask
