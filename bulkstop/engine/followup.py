"""The call that follows once a campaign is at rest, made before its result line is written."""

from collections.abc import Callable
from typing import NamedTuple

from bulkstop.model import Attempt, Campaign, Result, Send


class FollowUp(NamedTuple):
    """A call that follows: how to send it, and how to make the campaign's result from its last attempt.

    An exception from `send` ends the run after the result is written; `doubt` names what may be true nevertheless.
    """

    send: Send
    result_of: Callable[[Attempt], Result]
    doubt: str


Follow = Callable[[Campaign, Result], FollowUp | Result]
"""Returns the call that follows such a result; if there is none, returns the result to be written."""


def follow_nothing(_campaign: Campaign, result: Result) -> Result:
    """Return the result unchanged."""
    return result
