"""The list of a hold: which campaigns are the same, and when a failed stop is sent again."""

from dataclasses import dataclass
from pathlib import Path

from bulkstop.model import Campaign, CampaignType, ListedCampaign, Outcome, Result, Row, Scope
from bulkstop.report.lists.discovery import Discovery
from bulkstop.runs.hold.backoff import LONGEST_S, Backoff
from bulkstop.runs.hold.sightings import Sighting, Sightings
from bulkstop.runs.stop.plan import make_plan
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles

NORTH = Scope("a1", "st-1", "st-1", CampaignType.VOICE, "north")
SOUTH = NORTH._replace(profile="south")
ITEM = ListedCampaign("cd-1", CampaignType.VOICE, status="Active")
BOTH = Discovery(((NORTH, ITEM), (SOUTH, ITEM)))


def end(sightings: Sightings, sighting: Sighting, *outcomes: Outcome) -> None:
    """Store a sighting, and record the outcomes of its rows."""
    sightings.keep(sighting)
    for row, outcome in zip(sighting.rows, outcomes, strict=True):
        place = row.campaign_id, row.campaign_type, row.account_id, row.stream_id
        sightings.record(Result(*place, outcome, source=row.source, line=row.line, row=row.row))


def profiles(sighting: Sighting) -> list[str | None]:
    """Return the profiles of the campaigns that are to be stopped."""
    return [row.profile for row in sighting.rows if isinstance(row, Campaign)]


def test_two_hosts(tmp_path: Path) -> None:
    """The same ids under two profiles are two campaigns, also when the list is read again."""
    path = str(tmp_path / "list.jsonl")
    with Sightings(path, again=1) as sightings:
        sightings.open(is_new=True)
        first = sightings.choose(BOTH)
        assert (profiles(first), sightings.count_campaigns(first)) == (["north", "south"], 2)
        end(sightings, first, Outcome.STOPPED, Outcome.SERVER_ERROR)
        second = sightings.choose(BOTH)
        assert (profiles(second), [scope.profile for scope, _ in second.left_alone]) == (["south"], ["north"])
        assert list(sightings.latest.values()) == [Outcome.STOPPED, Outcome.SERVER_ERROR]
    settings = Settings(host="https://h", token="t")
    known = Profiles(settings, None, lambda _: settings)
    with Sightings(path, again=1) as sightings:
        outcomes = {"north": Outcome.STOPPED, "south": None}

        def note(row: Row) -> Outcome | None:
            assert isinstance(row, Campaign)
            sightings.note(row, outcome := outcomes[row.profile or ""])
            return outcome

        with make_plan([path], settings, settled=note, repeats=True, profiles=known) as plan:
            assert [campaign.profile for campaign in plan.campaigns("a1")] == ["south"]
        assert profiles(sightings.choose(BOTH)) == ["south"]
        assert sightings.count_campaigns(sightings.choose(BOTH)) == 2


def test_own_profile(tmp_path: Path) -> None:
    """A campaign is the same whether the profile of the command is named or not."""
    with Sightings(str(tmp_path / "list.jsonl"), again=1, own_profile="north") as sightings:
        sightings.open(is_new=True)
        end(sightings, sightings.choose(Discovery(((NORTH, ITEM),))), Outcome.STOPPED)
        assert not sightings.choose(Discovery(((NORTH._replace(profile=None), ITEM),))).rows


def test_only_done_stops_count(tmp_path: Path) -> None:
    """Only successful stops count for --again, not those that failed or were never sent."""
    found = Discovery(((NORTH, ITEM),))
    outcomes = [Outcome.SERVER_ERROR, Outcome.STOPPED, Outcome.NOT_SENT, Outcome.TIMEOUT, Outcome.ALREADY_STOPPED]
    with Sightings(str(tmp_path / "list.jsonl"), again=2) as sightings:
        sightings.open(is_new=True)
        for outcome in outcomes:
            sighting = sightings.choose(found)
            assert (len(sighting.rows), sighting.left_alone) == (1, [])
            end(sightings, sighting, outcome)
        assert sightings.choose(found).left_alone == [(NORTH, ITEM)]


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_intervals() -> None:
    """After each failure it takes twice as many looks, up to a longest interval; then it begins anew."""
    clock = Clock()
    backoff, tried = Backoff[str](60.0, clock), []
    for look in range(60):
        clock.now = 60.0 * look + look % 2  # no look is quite in time
        if backoff.is_due("cd-1"):
            tried.append(look)
            backoff.note_failed("cd-1")
    assert tried == [0, 1, 3, 7, 15, 30, 45]
    backoff.forget(["cd-1"])
    assert backoff.is_due("cd-1")
    seldom = Backoff[str](2 * LONGEST_S, clock)
    for _ in range(100):
        seldom.note_failed("cd-1")
    clock.now += 2 * LONGEST_S
    assert seldom.is_due("cd-1")
