"""The moment by which a row says to stop its campaign, for any change of its zone's clock."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bulkstop.model import Campaign, CampaignType, Order, Outcome, utc_text
from bulkstop.source.due.stop_at import find_moment, read_stop_time
from bulkstop.source.plan import Plan

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("row", "moment", "zone"),
    [
        ({"stop_at": "2026-03-02T18:00+01:00"}, "2026-03-02T17:00:00", "+01:00"),
        ({"stop_at": "2026-03-02 18:00:30Z"}, "2026-03-02T18:00:30", "UTC"),
        ({"stop_at": "18:00", "timezone": "Europe/Berlin"}, "2026-03-02T17:00:00", "Europe/Berlin"),
        ({"Stop At": "6:00 PM", "Time Zone": "Asia/Kolkata"}, "2026-03-02T12:30:00", "Asia/Kolkata"),
        ({"stopAt": "18:00 Asia/Kolkata"}, "2026-03-02T12:30:00", "Asia/Kolkata"),
        ({"stop_at": "13:00", "timezone": "Europe/Berlin"}, "2026-03-02T12:00:00", "Europe/Berlin"),
        ({"stop_at": "12:59", "timezone": "Europe/Berlin"}, "2026-03-03T11:59:00", "Europe/Berlin"),
        ({"stop_at": "2026-03-01T18:00", "timezone": "UTC"}, "2026-03-01T18:00:00", "UTC"),
        ({"stop_at": "2026-03-02T18:00+01:00", "timezone": "Asia/Tokyo"}, "2026-03-02T17:00:00", "+01:00"),
        ({"stop_at": "12:00 am", "timezone": "UTC"}, "2026-03-03T00:00:00", "UTC"),
    ],
)
def test_moment(row: dict[str, object], moment: str, zone: str) -> None:
    """A time has its own offset, or the zone beside it; one of the day is the next, and a date may have passed."""
    stop = read_stop_time(row, NOW)
    assert stop is not None
    assert (utc_text(stop.at), stop.zone) == (f"{moment}.000Z", zone)


@pytest.mark.parametrize("row", [None, {}, {"stop_at": None}, {"stop_at": " ", "timezone": 5}, {"timezone": "banana"}])
def test_no_time(row: dict[str, object] | None) -> None:
    """A row without a time has none, whatever its other values."""
    assert read_stop_time(row, NOW) is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"stop_at": "banana"}, "stop_at is 'banana'; write it such as 18:00 with"),
        ({"stop_at": "18:00"}, "which has no zone; add a column timezone"),
        ({"stop_at": "18:00", "timezone": "Berlin"}, "timezone 'Berlin' is not a known time zone"),
        ({"stop_at": "25:00Z"}, "a time of the day is 00:00 to 23:59:59"),
        ({"stop_at": "13:00 PM", "timezone": "UTC"}, "a time of the day is 00:00 to 23:59:59"),
        ({"stop_at": "2026-02-30T18:00Z"}, "the calendar has no 2026-02-30"),
        ({"stop_at": "2027-04-01T18:00Z"}, "more than a year away"),
        ({"stop_at": "18:00+15:00"}, "an offset is -12:00 to [+]14:00"),
        ({"stop_at": 1800}, "stop_at is not text"),
    ],
)
def test_fault(row: dict[str, object], why: str) -> None:
    """An invalid time, or one without a zone, is reported and not guessed."""
    with pytest.raises(ValueError, match=why):
        read_stop_time(row, NOW)


@pytest.mark.parametrize(
    ("zone", "local", "moment"),
    [
        ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00"),  # the gap ends at 03:00
        ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30"),
        ("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00"),  # a gap at midnight
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30"),  # a shift of half an hour
        ("Pacific/Apia", "2011-12-30T18:00", "2011-12-30T10:00"),  # a day that was left out
    ],
)
def test_change_of_clocks(zone: str, local: str, moment: str) -> None:
    """A time that the clock leaves out is the first moment after the gap, and one that it shows twice the first."""
    there = datetime.fromisoformat(local)
    found = find_moment(there.date(), there.time(), ZoneInfo(zone))
    assert datetime.fromtimestamp(found, UTC) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_against_a_walk_through_the_year(zone: str) -> None:
    """For any local time it is the first moment, minute by minute, at which the clock there shows that or later."""
    there, picked = ZoneInfo(zone), random.Random(zone)
    for number in range(0, 365, 3):
        local = datetime.fromisoformat("2026-01-01") + timedelta(days=number, minutes=picked.randrange(0, 240))
        at = datetime.fromtimestamp(find_moment(local.date(), local.time(), there), UTC)
        walk = local.replace(tzinfo=UTC) - timedelta(hours=15)
        passed = [walk + timedelta(minutes=number) for number in range(30 * 60)]
        shown = [moment for moment in passed if moment.astimezone(there).replace(tzinfo=None) >= local]
        assert at == shown[0]


def campaign(number: int, stop_at: str | None = None, **more: Any) -> Campaign:
    """Make a campaign of a list."""
    row = None if stop_at is None else {"stop_at": stop_at}
    ids = f"cd-{number}", CampaignType.VOICE, "a", "st", "st"
    return Campaign.of_row(*ids, "x.csv", number, row=row, **more)


def test_plan() -> None:
    """A plan has those first that are due first, then those without a time; a time that cannot be read is invalid."""
    rows = [campaign(1), campaign(2, "18:00Z"), campaign(3, "17:00Z"), campaign(4, "banana"), campaign(5, "17:00Z")]
    with Plan(iter(rows), now=NOW) as plan:
        assert [each.campaign_id for each in plan.campaigns("a")] == ["cd-3", "cd-5", "cd-2", "cd-1"]
        assert [each.stop_at and each.stop_at[11:16] for each in plan.campaigns("a")] == [
            "17:00",
            "17:00",
            "18:00",
            None,
        ]
        assert list(plan.stop_times.moments("a")) == [NOW + 5 * 3600, NOW + 5 * 3600, NOW + 6 * 3600]
        assert plan.stop_times.count_without("a") == 1
        (invalid,) = plan.held_results()
        assert (invalid.outcome, invalid.line) == (Outcome.INVALID, 4)


def test_priority_within_a_time() -> None:
    """Campaigns due at the same time are in the order of the run."""
    rows = [campaign(1, "17:00Z", priority=1), campaign(2, "16:00Z", priority=1), campaign(3, "17:00Z", priority=5)]
    with Plan(iter(rows), now=NOW, order=Order.PRIORITY) as plan:
        assert [each.campaign_id for each in plan.campaigns("a")] == ["cd-2", "cd-3", "cd-1"]


def test_digest_is_that_of_the_row() -> None:
    """The digest of a list does not depend on the day on which a time of day is read."""
    digests = []
    for now in (NOW, NOW + 86_400):
        with Plan(iter([campaign(1, "18:00Z")]), now=now) as plan:
            digests.append(plan.digests)
    assert digests[0] == digests[1]
