"""Counts the unusual ids of a list, and keeps the first ones; none is refused."""

from bulkstop.ids import LIKELY
from bulkstop.impact import execution_type_of, is_normal
from bulkstop.model import Campaign
from bulkstop.source.rows import unreadable_priority

CAMPAIGN_ID = "cd-"
"""Prefix of campaign ids in the vendor's documents, followed by groups of hex digits."""
INSTANCE_ID = "cid-"
"""Prefix of instance ids, which the response to a stop contains; a stop call does not accept them."""
FIRST = 3

_is_likely = LIKELY.fullmatch


class Sample:
    """A count, and the first few texts."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, text: str) -> None:
        """Count a text."""
        self.count += 1
        if self.count <= FIRST:
            self.first.append(text)


class UnusualIds:
    """The unusual campaigns of a list; `not_normal` counts those of another execution type."""

    __slots__ = ("instance_ids", "nameless", "not_normal", "odd_ids", "odd_priorities")

    def __init__(self) -> None:
        self.instance_ids = Sample()
        self.odd_ids = Sample()
        self.odd_priorities = Sample()
        self.nameless = 0
        self.not_normal = 0

    def add(self, campaign: Campaign) -> None:
        """Check the next campaign."""
        if campaign.name is None:
            self.nameless += 1
        if campaign.row:
            if not is_normal(execution_type_of(campaign)):
                self.not_normal += 1
            if campaign.priority is None and (text := unreadable_priority(campaign)) is not None:
                self.odd_priorities.add(f"{campaign.source} line {campaign.line}: {text!r}")
        campaign_id = campaign.campaign_id
        if not _is_likely(campaign_id):
            (self.instance_ids if campaign_id.startswith(INSTANCE_ID) else self.odd_ids).add(campaign_id)
