"""The campaigns of the service, generated from a seed or created on demand."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
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
CALLING: Final = ("Active", "Preparing")
"""Statuses in which a campaign calls, or is about to."""
_QUIET: Final = _WEIGHTS.keys() - set(CALLING)
NORMAL: Final = "NORMAL"
EMERGENCY: Final = "EMERGENCY"
_EPOCH: Final = datetime(2025, 12, 1, tzinfo=UTC)


@dataclass(slots=True)
class SimulatedCampaign:
    """A campaign of the service; its type is None until a stop call names it."""

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
    place: "Place | None" = None
    execution_type: str = NORMAL

    @property
    def dialing_mode(self) -> str | None:
        """The dialing mode of a voice campaign, which depends on its id; SMS campaigns have none."""
        return _DIALING_MODES[sum(self.campaign_id.encode()) % 4] if self.campaign_type is CampaignType.VOICE else None

    @property
    def instance_updated_at(self) -> str | None:
        """When its instance last changed; None if it never ran."""
        return None if self.status in _NEVER_RAN else self.updated_at

    @property
    def at_rest(self) -> bool:
        """Whether it needs no stop."""
        return self.status in _AT_REST

    @property
    def is_calling(self) -> bool:
        """Whether it contacts people, which an undocumented status implies."""
        return self.status not in _QUIET


class Place(NamedTuple):
    """The place of a campaign: a stream of an account."""

    account_id: str
    stream_id: str


@dataclass(frozen=True, slots=True)
class Population:
    """The distribution of generated campaigns over accounts and streams; without accounts, they are in any stream.

    `running` is the number of running ones; None leaves that to chance. `other_status` is an undocumented status. With
    `emergency`, an SMS campaign of each account runs as an emergency, the last of its list.
    """

    accounts: int = 0
    streams: int = 1
    running: int | None = None
    other_status: str | None = None
    emergency: bool = False

    def list_places(self) -> list[Place]:
        """Return the streams of all accounts: account-01 has stream-01-1, stream-01-2 and so on."""
        digits = max(2, len(str(self.accounts)))
        numbers = [f"{number:0{digits}}" for number in range(1, self.accounts + 1)]
        return [Place(f"account-{n}", f"stream-{n}-{each}") for each in range(1, self.streams + 1) for n in numbers]


class Campaigns:
    """Every campaign by id; with `any_id`, every id exists. Without places, campaigns are in all streams."""

    def __init__(self, *, count: int, seed: int, any_id: bool, population: Population | None = None) -> None:
        population = population or Population()
        self._any_id = any_id
        self._seed = seed
        self._turns = 0
        self.by_id = {campaign.campaign_id: campaign for campaign in _populate(count, seed, population)}
        self._by_name = {campaign.name: campaign for campaign in self.by_id.values()}
        self._by_place: dict[Place, list[SimulatedCampaign]] = {place: [] for place in population.list_places()}
        for campaign in self.by_id.values():
            if campaign.place is not None:
                self._by_place[campaign.place].append(campaign)

    def has(self, place: Place) -> bool:
        """Return whether a stream exists; without places, all do."""
        return not self._by_place or place in self._by_place

    def list_in(self, place: Place) -> Collection[SimulatedCampaign]:
        """Return the campaigns of a stream."""
        return self._by_place[place] if self._by_place else self.by_id.values()

    def find(self, campaign_id: str, place: Place, at: str) -> SimulatedCampaign | None:
        """Return a campaign of a stream; with `any_id`, an unknown one is created now, as active."""
        campaign = self.by_id.get(campaign_id)
        if campaign is None and self._any_id:
            campaign = SimulatedCampaign(campaign_id, None, campaign_id, "Active", at, at)
            self.by_id[campaign_id] = campaign
            if self._by_place:
                campaign.place = place
                self._by_place[place].append(campaign)
        return campaign if campaign is None or campaign.place in (None, place) else None

    def find_to_stop(
        self, campaign_id: str, campaign_type: CampaignType, place: Place, at: str
    ) -> SimulatedCampaign | None:
        """Return a campaign of this type; one created on demand gets the type of its first stop."""
        campaign = self.find(campaign_id, place, at)
        if campaign is None or (campaign.generated and campaign.campaign_type is not campaign_type):
            return None
        campaign.campaign_type = campaign.campaign_type or campaign_type
        return campaign

    def find_named(self, name: str, place: Place, at: str) -> SimulatedCampaign | None:
        """Return a campaign by name; with `any_id`, an unknown name belongs to a new campaign."""
        known = self._by_name.get(name) or self.by_id.get(name)
        if known is not None:
            return self.find(known.campaign_id, place, at)
        campaign = self.find(f"cd-{uuid5(NAMESPACE_OID, name)}", place, at)
        if campaign is not None:
            campaign.name = name
        return campaign

    def churn(self, number: int, at: str) -> None:
        """Move this many campaigns to their next status; the choice depends on the seed and the number of turns."""
        self._turns += 1
        chance = random.Random(f"churn {self._seed} {self._turns}")  # noqa: S311 - reproducible on purpose
        for campaign in chance.sample(list(self.by_id.values()), min(number, len(self.by_id))):
            campaign.status = chance.choice(_NEXT.get(campaign.status, ("Active",)))
            campaign.updated_at = at


def _populate(count: int, seed: int, population: Population) -> Iterator[SimulatedCampaign]:
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    running = random.Random(f"running {seed}").sample(range(count), min(count, population.running or 0))  # noqa: S311 - so is this
    numbers, places, served = frozenset(running), population.list_places(), set[str]()
    for number in range(1, count + 1):
        runs = None if population.running is None else number - 1 in numbers
        campaign = _generate(number, chance, _weigh(population, runs=runs))
        campaign.place = places[number % len(places)] if places else None
        account_id = campaign.place.account_id if campaign.place else ""
        if population.emergency and campaign.campaign_type is CampaignType.SMS and account_id not in served:
            served.add(account_id)
            campaign.status, campaign.execution_type = "Active", EMERGENCY
        yield campaign


def _weigh(population: Population, *, runs: bool | None) -> dict[str, int]:
    """Return the weight of each status: of running campaigns, of the others, or of all for None."""
    weights = _WEIGHTS | ({population.other_status: 5} if population.other_status else {})
    return {each: weight for each, weight in weights.items() if runs is None or runs == (each not in _QUIET)}


def _generate(number: int, chance: random.Random, weights: dict[str, int]) -> SimulatedCampaign:
    campaign_type = chance.choice(tuple(CampaignType))
    status = chance.choices(tuple(weights), tuple(weights.values()))[0]
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
    # Documented voice ids have only seven digits in their first group.
    first = digits[1:8] if campaign_type is CampaignType.VOICE else digits[:8]
    return f"cd-{first}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def stamp(unix_s: float) -> str:
    """Return a time in the service's format: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
