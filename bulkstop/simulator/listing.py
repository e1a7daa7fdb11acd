"""The list call: filters, an order, one page."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from bulkstop.model import CampaignType
from bulkstop.simulator.campaigns import SimulatedCampaign

_SORT_KEYS: Final[Mapping[str, Callable[[SimulatedCampaign], str]]] = {
    "createdAt": lambda campaign: campaign.created_at,
    "updatedAt": lambda campaign: campaign.updated_at,
    "name": lambda campaign: campaign.name,
    "status": lambda campaign: campaign.status,
    "priority": lambda campaign: str(campaign.priority),
}
_FILTERS: Final[Mapping[str, Callable[[SimulatedCampaign], object]]] = {
    "status": lambda campaign: campaign.status,
    "priority": lambda campaign: campaign.priority,
    "dialingMode": lambda _: None,  # no simulated campaign has one, so a filter on it finds none
}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list call asks for; `offset` is what `skip` and `page` together mean."""

    campaign_type: CampaignType
    limit: int = 50
    offset: int = 0
    sort_by: Mapping[str, bool] = field(default_factory=lambda: {"createdAt": True})
    filters: Mapping[str, list[object]] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None

    def wants(self, campaign: SimulatedCampaign) -> bool:
        """Tell whether a campaign belongs into the list."""
        return (
            campaign.campaign_type is self.campaign_type
            and all(_FILTERS[name](campaign) in wanted for name, wanted in self.filters.items())
            and (self.start is None or _read_time(campaign.created_at) >= self.start)
            and (self.end is None or _read_time(campaign.created_at) <= self.end)
        )


def read_listing(body: Mapping[str, object]) -> Listing:
    """Read the body of a list call; raises ValueError, naming the field, for one that makes no sense."""
    limit = _read_count(body, "limit", 50, at_least=1)
    skip = _read_count(body, "skip", 0, at_least=0)
    page = _read_count(body, "page", 1, at_least=1)
    return Listing(
        campaign_type=_read_type(body.get("type")),
        limit=limit,
        # The page does not say how the two combine: whichever leads further was moved by the caller.
        offset=max(skip, (page - 1) * limit),
        sort_by=_read_order(body.get("sortBy")),
        filters=_read_filters(body.get("filters")),
        start=_read_date(body, "startDate"),
        end=_read_date(body, "endDate"),
    )


def list_page(listing: Listing, campaigns: Iterable[SimulatedCampaign]) -> dict[str, object]:
    """Return the `data` of the answer: one page and where it stands in the whole."""
    found = [campaign for campaign in campaigns if listing.wants(campaign)]
    for name, descending in reversed(tuple(listing.sort_by.items())):
        found.sort(key=_SORT_KEYS[name], reverse=descending)
    end = listing.offset + listing.limit
    return {
        "results": [_row(campaign) for campaign in found[listing.offset : end]],
        "skip": listing.offset,
        "limit": listing.limit,
        "hasMore": end < len(found),
        "totalPages": -(-len(found) // listing.limit),
        "totalResults": len(found),
    }


def _row(campaign: SimulatedCampaign) -> dict[str, object]:
    row: dict[str, object] = {
        "name": campaign.name,
        "status": campaign.status,
        "priority": str(campaign.priority),
        "schedule": {"isSchedulingEnabled": campaign.scheduled, "isRecurrenceEnabled": campaign.recurring},
        "createdAt": campaign.created_at,
        "updatedAt": campaign.updated_at,
    }
    if campaign.campaign_type is CampaignType.VOICE:
        return {"_id": campaign.campaign_id, **row}
    sent = {"totalMessagesSent": campaign.messages_sent, "campaignExecutionType": "NORMAL"}
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


def _read_order(value: object) -> dict[str, bool]:
    if value is None:
        return {"createdAt": True}
    if not isinstance(value, dict) or any(order not in ("asc", "desc") for order in value.values()):
        raise ValueError("sortBy must be an object of fields to asc or desc")
    if unknown := value.keys() - _SORT_KEYS.keys():
        raise ValueError(f"sortBy cannot be {min(unknown)}")
    return {name: order == "desc" for name, order in value.items()}


def _read_filters(value: object) -> dict[str, list[object]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(wanted, list) for wanted in value.values()):
        raise ValueError("filters must be an object of fields to lists")
    if unknown := value.keys() - _FILTERS.keys():
        raise ValueError(f"filters cannot be {min(unknown)}")
    return {name: wanted for name, wanted in value.items() if wanted}


def _read_date(body: Mapping[str, object], name: str) -> datetime | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return _read_time(str(value))
    except ValueError:
        raise ValueError(f"{name} must be an ISO 8601 date") from None


def _read_time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
