"""The time to finish by is a moment of the wall clock, even if that is changed meanwhile."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bulkstop.kore.exchange import Response
from bulkstop.model import Outcome
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs import wiring
from bulkstop.runs.stop import run as run_module
from bulkstop.settings import Settings
from tests.runs.scene import STOPPED, Service, ids, make_engine

TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"
LEFT_S = 100.0
"""From the start of a run to the time to finish by."""
ROWS = 60


class Clock(Service):
    """A service whose n-th call moves the wall clock by `moves_s[n]`; otherwise the clock stands still."""

    def __init__(self, moves_s: Mapping[int, float], after_s: float = 0.0) -> None:
        super().__init__()
        self.wall_s = 1_764_892_800.0
        self._moves_s = moves_s
        self._after_s = after_s

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer a call."""
        self.targets.append(target)
        moves_s = self._moves_s.get(len(self.targets), 0.0)
        if self._after_s:
            asyncio.get_running_loop().call_later(self._after_s, self._move, moves_s)
        else:
            self._move(moves_s)
        return STOPPED

    def _move(self, by_s: float) -> None:
        self.wall_s += by_s


async def run_beside(clock: Clock, monkeypatch: pytest.MonkeyPatch, **options: Any) -> StopSummary:
    """Run beside a wall clock, one call at a time."""
    for module in (wiring, run_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.wall_s, monotonic=time.monotonic))
    monkeypatch.setattr(Settings, "seconds_left", lambda self, now: LEFT_S)
    async with make_engine(clock, finish_by=TOMORROW, tz="UTC", concurrency=1, **options) as engine:
        return await engine.run(ids(ROWS))


@pytest.mark.parametrize("by_s", [LEFT_S, LEFT_S + 0.001, 3600.0, 86_400.0 * 3])
async def test_a_clock_that_moves_past_it(by_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After that moment no call is sent, even after a sleep of days: exit code 4, and every row has a line."""
    clock = Clock({40: by_s})
    summary = await run_beside(clock, monkeypatch)
    assert (summary.exit_code, summary.reason) == (4, "at the time to finish by, before all were sent")
    assert len(clock.targets) == 40
    assert (summary.stats.outcomes[Outcome.STOPPED], summary.stats.outcomes[Outcome.NOT_SENT]) == (40, ROWS - 40)


async def test_the_end_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forecast end is never later than the deadline, with any quota."""
    clock = Clock({})
    for module in (wiring, run_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.wall_s, monotonic=time.monotonic))
    monkeypatch.setattr(Settings, "seconds_left", lambda self, now: LEFT_S)
    async with make_engine(clock, finish_by=TOMORROW, tz="UTC", quota="1/60s", quota_store="memory") as engine:
        run = engine.run(ids(ROWS))
        async for _ in run:
            seen = run.snapshot()
            break
    assert (seen.left_s, seen.ends_at_deadline) == (LEFT_S, True)


async def test_a_clock_that_moves_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the time all is sent."""
    summary = await run_beside(Clock({40: LEFT_S - 0.001}), monkeypatch)
    assert (summary.exit_code, summary.stats.outcomes[Outcome.STOPPED]) == (0, ROWS)


async def test_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time moves with the clock, and the run has that much longer."""
    clock = Clock({10: -3600.0, 30: 3600.0, 50: LEFT_S})
    summary = await run_beside(clock, monkeypatch)
    assert (summary.exit_code, len(clock.targets)) == (4, 50)


async def test_a_clock_that_moves_while_the_run_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that only waits looks at the clock again and again."""
    monkeypatch.setattr(run_module, "LOOK_AT_CLOCK_S", 0.01)
    clock = Clock({1: 3600.0}, after_s=0.05)
    summary = await run_beside(clock, monkeypatch, quota="1/1000s")
    assert (summary.exit_code, len(clock.targets)) == (4, 1)
