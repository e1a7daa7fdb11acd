"""What follows once a campaign is at rest: a call of its own kind, made before the campaign has its line."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from bulkstop.model import Campaign, Result


class FollowUp(NamedTuple):
    """What a follow-up came to: what the line says of it, the calls made, and a fault for which the run ends."""

    schedule: str | None = None
    calls: int = 0
    fault: Exception | None = None


Follow = Callable[[Campaign], Awaitable[FollowUp]]
"""Does what follows for a campaign, within the limits of its account.

It raises nothing, also when it is cancelled: the campaign is at rest, and has a line to be written.
"""
AtRest = Callable[[], Iterable[tuple[Campaign, Result]]]
"""Gives the campaigns that need no call but the one that follows, each with its result but for that."""
