"""However a run ends, each row has its result once, and nothing is left behind."""

import asyncio
import gc
import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkstop.engine.steering import delivery
from bulkstop.errors import BulkstopError, InputError
from bulkstop.model import Campaign, Outcome, Result
from bulkstop.report.stop.snapshot import RunState
from bulkstop.runs.stop.run import Run
from tests.runs.scene import Service, get_no_token, ids, make_engine, turn, until

MOMENTS = 200
WRITTEN = 10
"""One of this many runs has a result file, which takes ten times as long."""
ROWS = 40
MOST_TURNS = 120
"""Turns of the loop in which such a run is planned, sent and ended."""


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold a test to it that no thread and no file stays, and that nothing was left unawaited."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda left: unraisable.append(left.exc_value))
    gc.collect()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208 - names are enough
    yield
    gc.collect()
    assert unraisable == []
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (files, threads)  # noqa: PTH208


def outcomes(run: Run) -> dict[str, int]:
    """Count the results of a run by outcome; each row has one."""
    assert run.summary is not None
    assert run.summary.stats.lines == run.summary.rows
    return {outcome.value: count for outcome, count in run.summary.stats.outcomes.items()}


async def follow(run: Run) -> None:
    """Take the results of a run."""
    async for _ in run:
        pass


async def wait_for(run: Run) -> None:
    """Await a run."""
    await run


def check_written(path: Path, run: Run, expected: dict[str, int]) -> None:
    """Hold a result file and its manifest to the summary of its run."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["source"] for line in lines) == sorted(f"key {name}" for name in ids(ROWS))
    assert Counter(line["outcome"] for line in lines) == expected
    (section,) = json.loads(path.with_name(f"{path.name}.run.json").read_text())["runs"]
    assert section["outcomes"] == expected
    assert run.summary is not None
    assert section["reason"] == run.summary.reason


async def cancel(task: "asyncio.Task[None]", turns: int, times: int) -> None:
    """Cancel a task after so many turns of the loop, once or twice, and wait for it."""
    await turn(turns)
    for _ in range(times):
        task.cancel()
        await turn(1)
    await asyncio.gather(task, return_exceptions=True)


async def fail_beside(run: Run) -> None:
    """Await a run in a task group, in which another task fails meanwhile."""
    async with asyncio.TaskGroup() as group:
        group.create_task(wait_for(run))
        await until(lambda: run.snapshot().in_flight)
        raise KeyError("sibling")


class TestCancelled:
    """A task that waits for a run is cancelled."""

    @pytest.mark.parametrize("use", [wait_for, follow])
    async def test_at_any_moment(self, use: Callable[[Run], Awaitable[None]], tmp_path: Path) -> None:
        """Every row has one result, one line and one call of `on_result`, and the manifest says how it ended."""
        chance, before = random.Random(14), asyncio.all_tasks()
        for moment in range(MOMENTS // 2):
            taken: list[str | None] = []

            async def take(result: Result, taken: list[str | None] = taken) -> None:
                await asyncio.sleep(0)
                taken.append(result.source)

            campaigns = [Campaign(name, key=f"key {name}") for name in ids(ROWS)]
            path = None if moment % WRITTEN else tmp_path / f"{moment}.jsonl"
            async with make_engine() as engine:
                run = engine.run(campaigns, take, output=path)
                task = asyncio.ensure_future(use(run))
                await cancel(task, chance.randrange(MOST_TURNS), chance.choice((1, 2)))
            if run.summary is None:  # it was cancelled before its first step
                assert (run.state, taken) == (RunState.PLANNED, [])
                continue
            expected = outcomes(run)
            assert Counter(taken) == Counter(f"key {name}" for name in ids(ROWS))
            if path is not None:
                check_written(path, run, expected)
        await turn(2)
        assert asyncio.all_tasks() == before

    async def test_with_its_own_task(self) -> None:
        """A loop that is shut down cancels the run's own task: it is aborted, and its rows have their results."""
        service = Service(is_silent=True)
        async with make_engine(service) as engine:
            run = engine.run(ids(ROWS))
            task = run.start()
            await until(lambda: service.targets)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
        assert outcomes(run) == {"unknown": 1, "not_sent": ROWS - 1}

    async def test_by_time_and_by_a_sibling(self) -> None:
        """`asyncio.timeout` and a task group in which another task fails get their own exceptions."""
        async with make_engine(Service(is_silent=True)) as engine:
            run, other = engine.run(ids(ROWS)), engine.run(ids(ROWS))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await run
            with pytest.raises(ExceptionGroup, match="unhandled errors"):
                await fail_beside(other)
        outcomes(run)
        assert outcomes(other) == {"unknown": 1, "not_sent": ROWS - 1}

    async def test_the_engine(self) -> None:
        """An engine whose block is cancelled while it ends its runs still ends all of them."""
        service, runs = Service(is_silent=True), list[Run]()

        async def hold() -> None:
            async with make_engine(service) as engine:
                runs.extend([engine.run(ids(ROWS)) for _ in range(3)])
                for run in runs:
                    run.start()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(hold())
        await until(lambda: len(service.targets) == 3)
        await cancel(task, 0, 2)
        assert [outcomes(run)["not_sent"] for run in runs] == [ROWS - 1] * 3
        assert not service.is_open


class TestLeftEarly:
    """The loop over a run's results is left early."""

    async def test_break(self) -> None:
        """The run is drained; awaiting it gives the summary."""
        async with make_engine(Service(turns=3)) as engine:
            run = engine.run(ids(ROWS))
            async for _ in run:
                break
            summary = await run
        assert summary.reason == "drained before all were sent"
        assert outcomes(run)["not_sent"] > 0

    async def test_twice(self) -> None:
        """Two iterators get all results, one that begins after the end gets none, and two waiters one summary."""
        async with make_engine() as engine:
            run = engine.run(ids(ROWS))

            async def count() -> int:
                return len([result async for result in run])

            assert [*await asyncio.gather(count(), count())] == [ROWS, ROWS]
            assert await count() == 0
            assert await run is await run

    @pytest.mark.parametrize("end", [Run.drain, Run.abort])
    async def test_nobody_takes_the_results(self, end: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader that stops reading holds the run up, but not its end."""
        monkeypatch.setattr(delivery, "RESULTS_WAITING", 10)
        async with make_engine() as engine:
            run = engine.run(ids(ROWS))
            results = aiter(run)
            await anext(results)
            await turn(100)
            assert run.snapshot().sent < ROWS
            end(run)
            await run
            assert len([result async for result in results]) == ROWS - 1
        outcomes(run)


class TestOnResult:
    """What a caller's function does with the results."""

    async def test_paces(self) -> None:
        """An asynchronous one is awaited before the worker's next call, also for rows that are not sent."""
        busy, most = 0, 0

        async def take(result: Result) -> None:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await turn(5)
            busy -= 1
            taken.append(result.outcome)

        taken: list[Outcome] = []
        async with make_engine() as engine:
            await engine.run([Campaign(name) for name in (*ids(ROWS), "cd-1", "a/b")], take)
        assert most <= 5
        assert Counter(taken) == {Outcome.STOPPED: ROWS, Outcome.DUPLICATE: 1, Outcome.INVALID: 1}

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_raises(self, is_async: bool) -> None:
        """The run is aborted, every row still comes, and the exception is raised by the run, once for each waiter."""
        taken: list[str] = []

        def take(result: Result) -> object:
            taken.append(result.campaign_id)
            if len(taken) == 3:
                raise KeyError("mine")
            return None

        async def take_later(result: Result) -> None:
            await asyncio.sleep(0)
            take(result)

        async with make_engine() as engine:
            run = engine.run(ids(ROWS), take_later if is_async else take)
            for _ in range(2):
                with pytest.raises(KeyError, match="mine"):
                    await run
        assert sorted(taken) == sorted(ids(ROWS))
        assert outcomes(run)["not_sent"] > 0
        assert run.summary is not None
        assert (run.summary.reason, run.summary.unwritten) == ("on_result raised KeyError", ())

    async def test_is_cancelled_from_within(self) -> None:
        """Its own cancellation is not mistaken for one of the task that waits for the run."""

        async def take(result: Result) -> None:
            raise asyncio.CancelledError

        async with make_engine() as engine:
            run = engine.run(ids(ROWS), take)
            with pytest.raises(BulkstopError, match="on_result was cancelled from within"):
                await run
        outcomes(run)

    async def test_never_returns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An abort waits for it for a while only, and the summary says how many results it has not taken."""
        monkeypatch.setattr(delivery, "GRACE_S", 0.05)

        async def take(result: Result) -> None:
            await asyncio.Event().wait()

        async with make_engine() as engine:
            run = engine.run(ids(ROWS), take)
            run.start()
            await until(lambda: run.snapshot().sent)
            run.abort()
            summary = await run
        assert summary.reason == f"on_result did not take {ROWS} results within 0.05 s of the abort"
        outcomes(run)

    @pytest.mark.parametrize("end", ["drain", "abort"])
    async def test_steers(self, end: str) -> None:
        """It may end the run that calls it."""
        async with make_engine() as engine:
            run = engine.run(ids(ROWS), lambda result: getattr(run, end)())
            summary = await run
        assert summary.exit_code == 4
        assert outcomes(run)["not_sent"] > 0


class TestEndedBeforeItSends:
    """A run is drained or aborted before anything is sent."""

    @pytest.mark.parametrize("end", [Run.drain, Run.abort])
    async def test_before_it_starts(self, end: Callable[[Run], None]) -> None:
        """From any thread: every row is reported as not sent."""
        service = Service()
        async with make_engine(service) as engine:
            run = engine.run(ids(ROWS))
            thread = threading.Thread(target=end, args=(run,))
            thread.start()
            thread.join()
            await run
        assert (outcomes(run), service.targets) == ({"not_sent": ROWS}, [])

    @pytest.mark.parametrize("end", [Run.drain, Run.abort])
    async def test_while_a_token_is_fetched(self, end: Callable[[Run], None]) -> None:
        """A token function that hangs does not delay the end."""
        async with make_engine(token=get_no_token) as engine:
            run = engine.run(ids(ROWS))
            run.start()
            await until(lambda: run.state is RunState.RUNNING)
            thread = threading.Thread(target=end, args=(run,))
            thread.start()
            await run
            thread.join()
        assert outcomes(run) == {"not_sent": ROWS}

    @pytest.mark.parametrize("end", [Run.drain, Run.abort, None])
    async def test_while_an_endless_list_is_read(self, end: Callable[[Run], None] | None) -> None:
        """The reading ends at once, and so does the generator; the summary says that the list was not read."""
        closed: list[bool] = []

        async def generate() -> AsyncIterator[Campaign]:
            try:
                yield Campaign("cd-1")
                began.set()
                await asyncio.Event().wait()
            finally:
                closed.append(True)

        began = asyncio.Event()
        async with make_engine() as engine:
            run = engine.run(generate())
            task = asyncio.ensure_future(wait_for(run))
            await began.wait()
            if end is None:
                await cancel(task, 0, 1)
            else:
                end(run)
                await task
            assert run.summary is not None
        assert (outcomes(run), closed, run.summary.is_done) == ({}, [True], False)
        with pytest.raises(InputError, match="before its list was read completely"):
            raise run.summary.fault or AssertionError

    async def test_pause(self) -> None:
        """A paused run can be drained, and one that has ended takes no harm from being steered."""
        async with make_engine() as engine:
            run = engine.run(ids(ROWS))
            run.pause()
            run.start()
            await until(lambda: run.state is RunState.PAUSED)
            run.drain()
            summary = await run
            for steer in (run.pause, run.resume, run.drain, run.abort):
                steer()
            run.set_rate("1/s")
            assert await run is summary
        assert (run.snapshot().state, outcomes(run)) == (RunState.ENDED, {"not_sent": ROWS})


async def test_a_run_that_nobody_awaits(caplog: pytest.LogCaptureFixture) -> None:
    """The error that prevents its start is logged, not left as an exception that was never retrieved."""
    async with make_engine() as engine:
        run = engine.run([])
        run.start()
        await until(lambda: run.state is RunState.ENDED)
        await turn(2)
        engine.run(ids(1))
    assert ["the list is empty" in str(vars(record)["fields"]) for record in caplog.records] == [True]


async def test_events() -> None:
    """Each reader gets all events from its call on; one that stops reading or comes late affects no other."""
    async with make_engine() as engine:
        run = engine.run(ids(ROWS))

        async def names(events: AsyncIterator[Any]) -> list[str]:
            return [type(event).__name__ async for event in events]

        async def first(events: AsyncIterator[Any]) -> str:
            return type(await anext(events)).__name__

        run.events()
        read = [names(run.events()), names(run.events())]
        assert await asyncio.gather(*read, first(run.events()), wait_for(run)) == [
            ["RunBegan", "RunEnded"],
            ["RunBegan", "RunEnded"],
            "RunBegan",
            None,
        ]
        assert await names(run.events()) == []
