"""The list call: filters, newest first, one page."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bulkstop.model import CampaignType
from bulkstop.simulator.campaigns import SimulatedCampaign

_FILTERS: Final[Mapping[str, Callable[[SimulatedCampaign], object]]] = {
    "status": lambda campaign: campaign.status,
    "priority": lambda campaign: campaign.priority,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The request of a list call; `offset` combines `skip` and `page`."""

    campaign_type: CampaignType
    limit: int = 50
    offset: int = 0
    filters: Mapping[str, list[object]] = field(default_factory=dict)

    def wants(self, campaign: SimulatedCampaign) -> bool:
        """Return whether a campaign belongs in the list."""
        return campaign.campaign_type is self.campaign_type and all(
            _FILTERS[name](campaign) in wanted for name, wanted in self.filters.items()
        )


def read_listing(body: Mapping[str, object]) -> Listing:
    """Return the request in a list call's body; raises ValueError, naming the field, for an invalid one."""
    if body.get("sortBy") not in (None, {"createdAt": "desc"}):
        raise ValueError('sortBy can only be {"createdAt": "desc"}')
    if body.keys() & {"startDate", "endDate"}:
        raise ValueError("startDate and endDate are not imitated")
    limit = _read_count(body, "limit", 50, at_least=1)
    skip = _read_count(body, "skip", 0, at_least=0)
    page = _read_count(body, "page", 1, at_least=1)
    return Listing(
        campaign_type=_read_type(body.get("type")),
        limit=limit,
        # The documentation does not say how the two combine; the one that leads further was moved by the caller.
        offset=max(skip, (page - 1) * limit),
        filters=_read_filters(body.get("filters")),
    )


def list_page(listing: Listing, campaigns: Iterable[SimulatedCampaign]) -> dict[str, object]:
    """Return the `data` of the response: one page, and its place in the whole list."""
    rows = [campaign for campaign in campaigns if listing.wants(campaign)]
    rows.sort(key=lambda campaign: campaign.created_at, reverse=True)
    end = listing.offset + listing.limit
    return {
        "results": [format_row(campaign) for campaign in rows[listing.offset : end]],
        "skip": listing.offset,
        "limit": listing.limit,
        "hasMore": end < len(rows),
        "totalPages": -(-len(rows) // listing.limit),
        "totalResults": len(rows),
    }


def format_row(campaign: SimulatedCampaign) -> dict[str, object]:
    """Return a campaign as lists have it."""
    row: dict[str, object] = {
        "name": campaign.name,
        "status": campaign.status,
        "priority": str(campaign.priority),
        "schedule": {"isSchedulingEnabled": campaign.scheduled, "isRecurrenceEnabled": campaign.recurring},
        "createdAt": campaign.created_at,
        "updatedAt": campaign.updated_at,
    }
    if campaign.instance_updated_at:
        row["campaignInstanceUpdatedAt"] = campaign.instance_updated_at
    if campaign.campaign_type is CampaignType.VOICE:
        return {"_id": campaign.campaign_id, **row, "dialingMode": campaign.dialing_mode}
    sent = {"totalMessagesSent": campaign.messages_sent, "campaignExecutionType": campaign.execution_type}
    return {"id": campaign.campaign_id, **row, **sent}


def _read_type(value: object) -> CampaignType:
    if not isinstance(value, str) or value not in tuple(CampaignType):
        raise ValueError("type must be voice or sms")
    return CampaignType(value)


def _read_count(body: Mapping[str, object], name: str, default: int, *, at_least: int) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number from {at_least}")
    return value


def _read_filters(value: object) -> dict[str, list[object]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(wanted, list) for wanted in value.values()):
        raise ValueError("filters must be an object of fields to lists")
    if unknown := value.keys() - _FILTERS.keys():
        raise ValueError(f"filters cannot be {min(unknown)}")
    return {name: wanted for name, wanted in value.items() if wanted}
