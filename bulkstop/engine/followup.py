"""What follows once a campaign is at rest: a call of its own kind, made before the campaign has its line."""

from collections.abc import Callable
from typing import NamedTuple

from bulkstop.model import Attempt, Campaign, Result, Send


class FollowUp(NamedTuple):
    """A call that follows: how it is made, and the line of its campaign once the last attempt at it is known.

    What `send` raises ends the run, but the line comes first; `doubt` is what may then be true all the same.
    """

    send: Send
    result_of: Callable[[Attempt], Result]
    doubt: str


Follow = Callable[[Campaign, Result], FollowUp | Result]
"""Returns the call that follows for a campaign with such a result; without one, the result as it is written."""


def follow_nothing(_campaign: Campaign, result: Result) -> Result:
    """Return the result as it is."""
    return result
