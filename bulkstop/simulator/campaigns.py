"""The campaigns of the service: generated from a seed, or there because somebody asked for them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from bulkstop.model import CampaignType

STOPPED: Final = "Stopped"
_WEIGHTS: Final = {
    "Active": 40,
    "Completed": 15,
    "Ready": 10,
    "Paused": 5,
    "Preparing": 5,
    STOPPED: 5,
    "Scheduled": 15,
    "Rescheduled": 5,
}
_WITH_SCHEDULE: Final = frozenset({"Scheduled", "Rescheduled"})
_AT_REST: Final = frozenset({STOPPED, "Completed", "Ready"})
_NEXT: Final = {
    "Active": ("Completed", "Paused"),
    "Preparing": ("Active",),
    "Ready": ("Active",),
    "Paused": ("Active",),
    "Scheduled": ("Active",),
    "Rescheduled": ("Active",),
    "Completed": ("Active",),
    STOPPED: (STOPPED,),
}
_DIALING_MODES: Final = ("Agentless", "Progressive", "Preview", "Power")
_NEVER_RAN: Final = frozenset({"Ready", "Scheduled", "Preparing"})
CALLING: Final = frozenset({"Active", "Preparing"})
"""Statuses of campaigns that contact somebody."""
_EPOCH: Final = datetime(2025, 12, 1, tzinfo=UTC)


@dataclass(slots=True)
class SimulatedCampaign:
    """One campaign as the service holds it; its type is None until a stop call tells it."""

    campaign_id: str
    campaign_type: CampaignType | None
    name: str
    status: str
    created_at: str
    updated_at: str
    priority: int = 3
    scheduled: bool = False
    recurring: bool = False
    messages_sent: int = 0
    generated: bool = False

    @property
    def dialing_mode(self) -> str | None:
        """How a voice campaign dials, which depends on its id; SMS campaigns have no mode."""
        return _DIALING_MODES[sum(self.campaign_id.encode()) % 4] if self.campaign_type is CampaignType.VOICE else None

    @property
    def instance_updated_at(self) -> str | None:
        """When its instance changed last; None for one that never ran."""
        return None if self.status in _NEVER_RAN else self.updated_at

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to stop."""
        return self.status in _AT_REST


class Campaigns:
    """Every campaign by its id, which is the same for all accounts and streams; `any_id` makes every id exist."""

    def __init__(self, *, count: int, seed: int, any_id: bool) -> None:
        self._any_id = any_id
        self._seed = seed
        self._turns = 0
        self.by_id = {campaign.campaign_id: campaign for campaign in _population(count, seed)}
        self._by_name = {campaign.name: campaign for campaign in self.by_id.values()}

    def find(self, campaign_id: str, at: str) -> SimulatedCampaign | None:
        """Return a campaign; one that is asked for first is created now, active, if any id may exist."""
        campaign = self.by_id.get(campaign_id)
        if campaign is None and self._any_id:
            campaign = SimulatedCampaign(campaign_id, None, campaign_id, "Active", at, at)
            self.by_id[campaign_id] = campaign
        return campaign

    def find_to_stop(self, campaign_id: str, campaign_type: CampaignType, at: str) -> SimulatedCampaign | None:
        """Return a campaign of this type; one that was created on demand is of the type it is first stopped as."""
        campaign = self.find(campaign_id, at)
        if campaign is None or (campaign.generated and campaign.campaign_type is not campaign_type):
            return None
        campaign.campaign_type = campaign.campaign_type or campaign_type
        return campaign

    def find_named(self, name: str, at: str) -> SimulatedCampaign | None:
        """Return a campaign by its name; where any id may exist, an unknown name belongs to a new one."""
        campaign = self._by_name.get(name) or self.by_id.get(name)
        if campaign is None and self._any_id:
            campaign = self.find(f"cd-{uuid5(NAMESPACE_OID, name)}", at)
            if campaign is not None:
                campaign.name = name
        return campaign

    def churn(self, number: int, at: str) -> None:
        """Let so many of them move on to the next status; which, depends on the seed and on how often it was asked."""
        self._turns += 1
        chance = random.Random(f"churn {self._seed} {self._turns}")  # noqa: S311 - reproducible on purpose
        for campaign in chance.sample(list(self.by_id.values()), min(number, len(self.by_id))):
            campaign.status = chance.choice(_NEXT[campaign.status])
            campaign.updated_at = at


def _population(count: int, seed: int) -> Iterator[SimulatedCampaign]:
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    for number in range(1, count + 1):
        yield _generate(number, chance)


def _generate(number: int, chance: random.Random) -> SimulatedCampaign:
    campaign_type = chance.choice(tuple(CampaignType))
    status = chance.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
    created_at = stamp((_EPOCH + timedelta(minutes=number)).timestamp())
    return SimulatedCampaign(
        campaign_id=_generate_id(campaign_type, chance),
        campaign_type=campaign_type,
        name=f"Campaign {number}",
        status=status,
        created_at=created_at,
        updated_at=created_at,
        priority=chance.randint(1, 5),
        scheduled=status in _WITH_SCHEDULE,
        recurring=status in _WITH_SCHEDULE and chance.random() < 0.5,
        messages_sent=chance.randrange(10_000) if campaign_type is CampaignType.SMS else 0,
        generated=True,
    )


def _generate_id(campaign_type: CampaignType, chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    # The documented voice ids have only seven digits in their first group.
    first = digits[1:8] if campaign_type is CampaignType.VOICE else digits[:8]
    return f"cd-{first}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def stamp(unix_s: float) -> str:
    """Write a time as the service does: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
