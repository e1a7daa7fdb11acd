"""A hold of a day in virtual time, of campaigns that start, are rescheduled and recur."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from bulkstop.runs.review import review_results
from tests.runs.hold.test_run import DAY_S, Scene, Virtual, World, hold, virtual

__all__ = ["virtual"]

pytestmark = pytest.mark.full

RECURRING, RESCHEDULED, ONCE = 40, 60, 300
AT_REST = 600
LAST_S = DAY_S - 600.0


def make_starts(chance: random.Random) -> list[tuple[float, str]]:
    """Return when which campaign starts: some each hour, some all in one minute, some once at any time."""
    starts = [(3600.0 * hour + chance.uniform(0, 50), f"cd-a{n:x}") for n in range(RECURRING) for hour in range(23)]
    starts += [(at, f"cd-b{n:x}") for n in range(RESCHEDULED) for at in (30_000.0, 30_020.0 + n, 61_000.0)]
    starts += [(chance.uniform(0, LAST_S), f"cd-c{n:x}") for n in range(ONCE)]
    return sorted(starts)


@pytest.mark.parametrize(("seed", "quota"), [(1, (60, 60.0)), (3, (20, 60.0))])
def test_a_day_of_churn(seed: int, quota: tuple[int, float], virtual: Virtual, tmp_path: Path) -> None:
    """Started campaigns are stopped within an interval and the time of the quota; no call exceeds the quota."""
    starts = make_starts(random.Random(seed))
    scene = Scene(World(list(starts), at_rest=AT_REST, quota=quota), tmp_path, hours=24, again=99)
    summary = virtual(hold(scene))
    world = scene.world
    assert (summary.exit_code, summary.running, world.running) == (0, (), {}), [summary.verdict, *scene.said[-5:]]
    assert world.most_in_a_window() <= quota[0]
    most = max(Counter(int(at // 60) for at, _ in starts).values())  # that start in one minute
    windows = math.ceil(most / quota[0])
    assert max(world.lags) <= scene.every_s + windows * quota[1]
    assert sorted(world.lags)[len(world.lags) // 2] <= scene.every_s + quota[1]
    assert len(world.stops) == len(scene.rows) == len(scene.lines)
    seen = Counter((row["sighting"], row["campaign_id"]) for row in scene.rows)
    assert max(seen.values()) == 1
    assert Counter(row["campaign_id"] for row in scene.rows) == Counter(each for _, each in world.stops)
    assert {each for _, each in starts} == {each for _, each in world.stops}
    assert not review_results(str(scene.path)).flaws
