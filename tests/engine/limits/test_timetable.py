"""Calls with a time leave as late as their limits let them, and by it; others leave them their places."""

import itertools
import math
import random
import time

import pytest

from bulkstop.engine.lanes import Lane, Lanes, Turn
from bulkstop.engine.limits.estimate import Places
from bulkstop.engine.limits.quota import AllOf, RollingWindow
from bulkstop.engine.limits.timetable import LEAD_S, Reserve, Timetable, find_late, plan_backwards
from bulkstop.model import Campaign, CampaignType, Limit


def can_be_met(moments: list[int], size: int, hold: int) -> bool:
    """Try all whole times from 0 on, one call at each call's turn: brute force."""
    for times in itertools.combinations_with_replacement(range(max(moments) + 1), len(moments)):
        in_windows = all(times[i + size] - times[i] >= hold for i in range(len(times) - size))
        if in_windows and all(at <= moment for at, moment in zip(times, moments, strict=True)):
            return True
    return False


@pytest.mark.parametrize("seed", range(60))
def test_against_brute_force(seed: int) -> None:
    """A plan begins in time exactly if there is any that meets all times, and it keeps the windows and the times."""
    picked = random.Random(seed)
    size, hold = picked.randint(1, 3), picked.randint(1, 4)
    moments = sorted(picked.randint(0, 7) for _ in range(picked.randint(1, 6)))
    places = [Places(size, float(hold))]
    leaves = plan_backwards([float(each) for each in moments], places, lead_s=0.0)
    assert list(leaves) == sorted(leaves)
    assert all(leaves[i + size] - leaves[i] >= hold for i in range(len(leaves) - size))
    assert all(at <= moment for at, moment in zip(leaves, moments, strict=True))
    met = can_be_met(moments, size, hold)
    assert (leaves[0] >= 0) is met
    assert (not any(find_late(moments, places, 0.0))) is met


def test_ten_thousand() -> None:
    """10,000 campaigns of 20 zones are planned within the quota, by their times, in much less than two seconds."""
    moments = sorted(3600.0 * (number % 20) for number in range(10_000))
    began = time.process_time()
    leaves = plan_backwards(moments, [Places(60, 60.0), Places(1, 1.0)])
    find_late(moments, [Places(60, 60.0)], -20_000.0)
    assert time.process_time() - began < 2
    assert all(after - before >= 60 for before, after in zip(leaves, leaves[60:], strict=False))
    assert all(at <= moment - LEAD_S for at, moment in zip(leaves, moments, strict=True))


def campaign(name: str, stop_at: str | None = None) -> Campaign:
    """Make a campaign."""
    return Campaign.of_row(name, CampaignType.VOICE, "a", "st", "st", "x.csv", 1, stop_at=stop_at)


def test_lanes() -> None:
    """Those without a time leave at once, and leave the places free that the others need at their time."""
    now = 0.0
    quota = RollingWindow([Limit(3, 10.0)])
    timetable = Timetable({"T": plan_backwards([100.0] * 3, [Places(3, 10.0)], lead_s=0.0)})
    timed = Lane(
        "a", [campaign(f"t{n}", "T") for n in range(3)], quota, left=3, due_of=lambda _: timetable.leave_at("T")
    )
    timetable.left = lambda: timed.unsent
    reserve = Reserve(quota, timetable, lambda: now, lambda: now)
    others = Lane("a", [campaign(f"o{n}") for n in range(40)], AllOf((quota, reserve)), left=40)
    lanes, left_at = Lanes([timed, others], 8), dict[str, float]()
    while (drawn := lanes.draw(now)) is not None:
        if isinstance(drawn, Turn):
            left_at[drawn.campaign.campaign_id] = now
            drawn.lane.answered(drawn, now)
            drawn.lane.end(drawn)
            lanes.update(drawn.lane, now)
            lanes.look_again(now)
        else:
            now = min(drawn, now + 1.0) if drawn > now else now + 0.001
    assert [left_at[f"t{n}"] for n in range(3)] == [100.0] * 3
    assert left_at["o0"] == 0.0
    assert sum(at < 91 for name, at in left_at.items() if name[0] == "o") >= 27
    times = sorted(left_at.values())
    assert all(later - at >= 10.0 for at, later in zip(times, times[3:], strict=False))
    assert math.isfinite(now)
