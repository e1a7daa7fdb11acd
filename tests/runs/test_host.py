"""The event loop of a run: the fast one where there is one, and what is done on it now and then."""

import asyncio
import gc
import sys

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
    """The collector is as it was once the last of several runs in threads has ended, in whatever order they do."""
    usual, first, second = gc.get_threshold(), host.few_collections(), host.few_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == host.COLLECT_EVERY
    second.__exit__(None, None, None)
    assert gc.get_threshold() == usual


def test_a_fault_is_passed_on() -> None:
    """What a job raises is raised, and the collector is as it was afterwards."""
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


def test_now_and_then() -> None:
    """It is done first after so long, then as often as it says, and no more when the block is left."""
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
