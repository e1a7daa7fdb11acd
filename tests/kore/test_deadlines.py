"""Calls that take too long are ended, and nothing else is; in virtual time."""

import asyncio

import pytest

from bulkstop.kore.deadlines import Deadlines
from tests.virtual_time import run

TIMEOUT_S = 10.0


async def call(deadlines: Deadlines, takes_s: float) -> bool:
    """Make a call as the client does: tell whether it was cut off; a cancelling from outside is passed on."""
    task = deadlines.begin()
    try:
        await asyncio.sleep(takes_s)
    except asyncio.CancelledError:
        if not deadlines.cut_off(task):
            raise
        return True
    else:
        return False
    finally:
        deadlines.end(task)


def test_each_call_has_its_own_time() -> None:
    """Calls that began at different times end each when its own time is up, not before and not after."""

    async def main() -> list[tuple[bool, float]]:
        deadlines, loop = Deadlines(TIMEOUT_S), asyncio.get_running_loop()

        async def timed(begins_at: float, takes_s: float) -> tuple[bool, float]:
            await asyncio.sleep(begins_at)
            return await call(deadlines, takes_s), loop.time()

        calls = [(0, 99), (0.5, 99), (3, 9.9), (3, 10.1), (7, 1), (8, 99), (40, 99)]
        ends = await asyncio.gather(*(timed(begins_at, takes_s) for begins_at, takes_s in calls))
        deadlines.close()
        return ends

    assert run(main())[0] == [(True, 10), (True, 10.5), (False, 12.9), (True, 13), (False, 8), (True, 18), (True, 50)]


def test_one_after_the_other_in_one_task() -> None:
    """A task continues after a call was cut off: it is not left cancelled, and each next call has its full time."""

    async def main() -> list[bool]:
        deadlines = Deadlines(TIMEOUT_S)
        ends = [await call(deadlines, takes_s) for takes_s in (99, 9, 99, 99, 9)]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1000)  # nothing of the calls comes after them
        deadlines.close()
        return ends

    assert run(main()) == ([True, False, True, True, False], 10 + 9 + 10 + 10 + 9 + 1000)


@pytest.mark.parametrize("when", [5.0, 10.0, 10.5])
def test_cancelled_from_outside(when: float) -> None:
    """A task that is cancelled from outside is cancelled, before its call, with its deadline and behind it."""

    async def main() -> bool:
        deadlines = Deadlines(TIMEOUT_S)

        async def go_on() -> None:
            await call(deadlines, 99)
            await asyncio.sleep(99)

        task = asyncio.ensure_future(go_on())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(when, task.cancel)
        await asyncio.wait([task])
        deadlines.close()
        return task.cancelled()

    assert run(main()) == (True, when)


@pytest.mark.parametrize("first", ["outside", "deadline"])
def test_cancelled_in_the_same_round(first: str) -> None:
    """A call that is cancelled from outside and by its deadline at once is cancelled, whichever was first."""

    async def main() -> bool:
        deadlines, loop = Deadlines(TIMEOUT_S), asyncio.get_running_loop()
        task = asyncio.ensure_future(call(deadlines, 99))
        if first == "deadline":
            await asyncio.sleep(0)  # it begins, and arms its timer
        loop.call_at(TIMEOUT_S, task.cancel)
        await asyncio.wait([task])
        deadlines.close()
        return task.cancelled()

    assert run(main()) == (True, TIMEOUT_S)


def test_timeout_of_the_caller() -> None:
    """A timeout around the call that is due first is raised by its owner."""

    async def main() -> None:
        deadlines = Deadlines(TIMEOUT_S)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await call(deadlines, 99)
        deadlines.close()

    assert run(main())[1] == 4


def test_close() -> None:
    """close() leaves no timer behind, whether one was armed or not."""

    async def main(calls: int) -> None:
        deadlines = Deadlines(TIMEOUT_S)
        for _ in range(calls):
            await call(deadlines, 1)
        deadlines.close()
        deadlines.close()

    assert [run(main(calls))[1] for calls in (0, 1, 2)] == [0, 1, 2]
