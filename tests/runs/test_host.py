"""The event loop of a run: the fast one where there is one, and what is done on it now and then."""

import asyncio
import gc
import math
import sys
from types import SimpleNamespace

import pytest
import uvloop

from bulkstop.runs import host
from tests.virtual_time import run


@pytest.mark.parametrize(("fast", "there", "kind"), [(True, True, True), (False, True, False), (True, False, False)])
def test_the_fast_one_if_there_is_one(fast: bool, there: bool, kind: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs on uvloop if that is wanted and installed, and the collector is as it was afterwards."""
    if not there:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    usual = gc.get_threshold()

    async def job() -> tuple[bool, int]:
        return isinstance(asyncio.get_running_loop(), uvloop.Loop), gc.get_threshold()[0]

    assert host.run(job(), fast=fast) == (kind, host.COLLECT_EVERY)
    assert gc.get_threshold() == usual


def test_overlapping_runs_leave_the_collector_as_it_was() -> None:
    """The collector is reset when the last of several runs in threads has ended, in any order."""
    usual, first, second = gc.get_threshold(), host.few_collections(), host.few_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == host.COLLECT_EVERY
    second.__exit__(None, None, None)
    assert gc.get_threshold() == usual


def test_a_fault_is_passed_on() -> None:
    """The error of a job is raised, and the collector is reset."""
    usual = gc.get_threshold()

    async def job() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        host.run(job())
    assert gc.get_threshold() == usual


def test_ended_before_it_begins(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    """A Ctrl-C that comes before the job began is all that is heard of it."""

    def interrupted() -> asyncio.AbstractEventLoop:
        raise KeyboardInterrupt

    async def job() -> None:
        pass

    monkeypatch.setattr(host, "fast_loop", lambda: interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.run(job())
    gc.collect()
    assert not recwarn.list


@pytest.mark.parametrize(("set_by_s", "after_s"), [(0.0, 100.0), (3600.0, 41.0), (-30.0, 130.0), (50.0, 50.0)])
def test_until_a_moment_of_the_wall_clock(set_by_s: float, after_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block ends when the wall clock says so, within a second of a clock that is set while nothing happens."""
    offset_s = [0.0]
    monkeypatch.setattr(host, "time", SimpleNamespace(time=lambda: asyncio.get_running_loop().time() + offset_s[0]))

    async def main() -> None:
        asyncio.get_running_loop().call_later(40.5, offset_s.__setitem__, 0, set_by_s)
        with pytest.raises(TimeoutError):
            async with host.until(100.0):
                await asyncio.sleep(1000.0)

    assert run(main())[1] == pytest.approx(after_s)


def test_a_moment_that_does_not_come() -> None:
    """A block that is left before its time leaves nothing behind; without a time there is no end to it."""

    async def main() -> None:
        async with host.until(math.inf), host.until(2e9 + 1e9):
            await asyncio.sleep(5.0)

    assert run(main())[1] == 5.0


def test_now_and_then() -> None:
    """It is called first after the given time, then at the returned intervals, and not after the block."""
    done: list[float] = []

    def do() -> float:
        done.append(asyncio.get_running_loop().time())
        return 2.0 * len(done)

    async def main() -> None:
        with host.every(do, 0.5):
            await asyncio.sleep(10.0)
        await asyncio.sleep(100.0)

    run(main())
    assert done == [0.5, 2.5, 6.5]
