"""By when campaigns are to be stopped by their calling hours: which moment, and what it takes to know them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bulkstop.kore.details.calling_hours import CallingHours, Window
from bulkstop.kore.exchange import Response
from bulkstop.model import CampaignType, ListedCampaign, Scope
from bulkstop.report.lists.calling_hours import UNKNOWN, HoursCost, StopCells
from bulkstop.report.lists.discovery import Discovery
from bulkstop.runs.lists.calling_hours import FAILED_AT_FIRST, add_stop_times, find_end
from bulkstop.runs.lists.hours_cache import HoursCache
from bulkstop.runs.parts import Hooks, open_parts
from tests.runs.scene import AlwaysOpen, get_token, make_settings, until

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
WORKDAYS = tuple(Window(day, 540, 1080) for day in range(5))
BERLIN = "Europe/Berlin"
DAYS = [{"day": day, "start": "9:00 AM", "end": "6:00 PM"} for day in ("MO", "TU", "WE", "TH", "FR", "SA", "SU")]
MONDAY_NOON = datetime.fromisoformat("2026-03-02T12:00+01:00").timestamp()


@pytest.mark.parametrize(
    ("windows", "now", "end", "is_later"),
    [
        (WORKDAYS, "2026-03-02T17:59+01:00", "2026-03-02T18:00", False),
        (WORKDAYS, "2026-03-02T18:00+01:00", "2026-03-03T18:00", True),
        (WORKDAYS, "2026-03-06T23:30+01:00", "2026-03-09T18:00", True),  # a Friday
        (WORKDAYS, "2026-03-01T23:30Z", "2026-03-02T18:00", False),  # Monday already, where it calls
        ((Window(0, 540, 0),), "2026-03-02T20:00+01:00", "2026-03-03T00:00", False),
        ((Window(0, 1080, 180),), "2026-03-03T02:00+01:00", "2026-03-03T03:00", False),
        ((Window(0, 540, 1080),), "2026-03-02T18:30+01:00", "2026-03-09T18:00", True),
    ],
)
def test_next_end(windows: tuple[Window, ...], now: str, end: str, is_later: bool) -> None:
    """A campaign is stopped at the next end of a day of its own zone: this one's, else that of the next with hours."""
    found = find_end(CallingHours(BERLIN, windows), datetime.fromisoformat(now).timestamp())
    assert found == (StopCells(end, BERLIN), False, is_later)


@pytest.mark.parametrize("now", ["08:00", "10:00", "12:30", "17:00"])
def test_last_end(now: str) -> None:
    """A day with several windows has one end, the last, in any order of the windows."""
    hours = CallingHours(BERLIN, (Window(0, 800, 1080), Window(0, 540, 720)))
    found = find_end(hours, datetime.fromisoformat(f"2026-03-02T{now}+01:00").timestamp())
    assert (found.cells.stop_at, found.has_several) == ("2026-03-02T18:00", True)


class Hours(AlwaysOpen):
    """A service that tells calling hours; of those in `silent` it never does."""

    def __init__(self, hours: Mapping[str, object], *, status: int = 200, silent: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self._hours, self._status, self._silent = hours, status, silent

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer the call about one campaign."""
        campaign_id = target.partition("?")[0].rpartition("/")[2]
        self.asked.append(campaign_id)
        if campaign_id in self._silent:
            await asyncio.Event().wait()
        data = {"_id": campaign_id, "dialingStrategy": {"callingHours": self._hours.get(campaign_id)}}
        return Response(self._status, json.dumps({"data": data}).encode(), 1.0)


def in_zone(zone: str, days: object = DAYS) -> dict[str, object]:
    """Return calling hours as the service tells them."""
    return {"frequency": "CUSTOM", "timezone": zone, "days": days}


def listed(*campaign_ids: str, updated_at: str | None = "2026-03-01T00:00:00.000Z") -> Discovery:
    """Return a list in which campaigns were found."""
    items = [ListedCampaign(each, CampaignType.VOICE, updated_at=updated_at) for each in campaign_ids]
    return Discovery(tuple((VOICE, item) for item in items), calls=1)


async def told(
    service: Hours, discovery: Discovery, path: Path, costs: list[HoursCost] | None = None, **options: Any
) -> Discovery:
    """Add what calling hours say."""

    def note(cost: HoursCost) -> None:
        assert not service.asked
        (costs if costs is not None else []).append(cost)

    settings = make_settings(**{"quota": "none", "attempts": 1} | options)
    async with open_parts(settings, Hooks(token=get_token, transport=service)) as parts:
        cache = HoursCache(path)
        return await add_stop_times(parts, discovery, on_cost=note, cache=cache, now=lambda: MONDAY_NOON)


async def test_each_by_its_own(tmp_path: Path) -> None:
    """Each campaign has the time of its own hours, or none; malformed hours are reported with the id."""
    noon = DAYS[0] | {"end": "noon"}
    service = Hours(
        {
            "cd-1": in_zone(BERLIN),
            "cd-2": in_zone("Asia/Kolkata", [*DAYS, DAYS[0] | {"end": "11:00 AM"}]),
            "cd-4": in_zone(BERLIN, [noon]),
            "cd-5": in_zone("Mars/Olympus"),
        }
    )
    found = await told(service, listed("cd-1", "cd-2", "cd-3", "cd-4", "cd-5"), tmp_path / "hours.json")
    assert found.hours is not None
    assert found.hours.cells == (
        ("2026-03-02T18:00", BERLIN),
        ("2026-03-02T18:00", "Asia/Kolkata"),
        (None, None),
        (UNKNOWN, None),
        (UNKNOWN, None),
    )
    assert (found.exit_code, found.sendable, found.calls) == (1, 3, 1 + 5)
    assert found.notes == (
        "calling hours of cd-4: end is 'noon'",
        "calling hours of cd-5: timezone is 'Mars/Olympus', which is not a known time zone",
        "2 campaigns have stop_at 'unknown': `stop` sends them nothing until you write a time there",
        "without calling hours, so `stop` stops them at once: cd-3",
        "several windows on a day, of which the last end counts: cd-2",
    )


async def test_the_next_night(tmp_path: Path) -> None:
    """Only new or changed campaigns need a call; the number is reported before the first call."""
    path, costs, hours = tmp_path / "hours.json", list[HoursCost](), {"cd-1": in_zone(BERLIN), "cd-2": {"days": 1}}
    first = await told(Hours(hours), listed("cd-1", "cd-2"), path, costs)
    assert first.hours is not None
    changed = listed("cd-3", updated_at="2026-03-02T00:00:00.000Z")
    service = Hours({})
    second = await told(service, Discovery((*listed("cd-1", "cd-2").rows, *changed.rows)), path, costs)
    assert second.hours is not None
    assert second.hours.cells[:2] == first.hours.cells
    assert (service.asked, second.hours.calls) == (["cd-3"], 1)
    assert [cost.describe() for cost in costs] == [
        "calling hours of 2 campaigns: 2 calls",
        "calling hours of 3 campaigns: 1 call; 2 unchanged since the last time",
    ]


async def test_cost_within_the_quota(tmp_path: Path) -> None:
    """The cost includes the duration under the quota, the longest of all accounts."""

    class EnoughError(Exception):
        """Ends it before any call is made."""

    def end(cost: HoursCost) -> None:
        assert cost.describe() == "calling hours of 131 campaigns: 131 calls, at least 2 min with the quota"
        raise EnoughError

    rows = [row._replace(campaign_id=f"cd-{n}") for n, (_, row) in enumerate(listed("cd-1").rows * 130)]
    other = (VOICE._replace(account_id="a2"), rows[0])
    found = Discovery((*((VOICE, row) for row in rows), other))
    async with open_parts(
        make_settings(quota="60/60s", quota_store="memory"), Hooks(token=get_token, transport=Hours({}))
    ) as parts:
        with pytest.raises(EnoughError):
            await add_stop_times(parts, found, on_cost=end, cache=HoursCache(tmp_path / "hours.json"))


async def test_without_a_time_of_change(tmp_path: Path) -> None:
    """A campaign without a time of change in the list needs a call each time."""
    for _ in range(2):
        service = Hours({"cd-1": in_zone(BERLIN)})
        await told(service, listed("cd-1", updated_at=None), tmp_path / "hours.json")
        assert service.asked == ["cd-1"]


async def test_refused(tmp_path: Path) -> None:
    """Repeated failures end the calls soon; no time is known or cached, and the list remains valid."""
    service = Hours({}, status=404)
    found = await told(service, listed(*(f"cd-{number}" for number in range(20))), tmp_path / "hours.json")
    assert len(service.asked) == FAILED_AT_FIRST
    assert found.hours is not None
    assert set(found.hours.cells) == {(UNKNOWN, None)}
    assert (found.sendable, found.exit_code, len(found.rows)) == (0, 1, 20)
    assert found.hours.faults[-1] == "cd-19: not asked for, as the calls before it failed"
    assert HoursCache(tmp_path / "hours.json").find(("", "a1", "st-1", "cd-0", "")) is None  # type: ignore[arg-type]


async def test_cut_off(tmp_path: Path) -> None:
    """Hours that were read before an interruption are in the cache the next time."""
    hours = {"cd-1": in_zone(BERLIN), "cd-2": in_zone(BERLIN)}
    service = Hours(hours, silent=["cd-2"])
    task = asyncio.create_task(told(service, listed("cd-1", "cd-2"), tmp_path / "hours.json"))
    await until(lambda: len(service.asked) == 2)
    task.cancel()
    await asyncio.wait([task])
    again = Hours(hours)
    await told(again, listed("cd-1", "cd-2"), tmp_path / "hours.json")
    assert again.asked == ["cd-2"]
