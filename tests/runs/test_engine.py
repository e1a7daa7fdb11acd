"""What runs share, their sources, and where they can be started."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from bulkstop import stop, stop_async
from bulkstop.errors import BulkstopError, InputError, SettingsError
from bulkstop.model import Campaign, Limit, Result
from bulkstop.runs.engine import Engine
from bulkstop.settings import Settings
from bulkstop.simulator import Simulator, SimulatorOptions
from tests.runs.scene import Service, ids, make_engine, make_settings, turn, until


async def run_of(source: Any, **options: Any) -> dict[str, int]:
    """Run a source to its end, and count its outcomes."""
    async with make_engine() as engine:
        summary = await engine.run(source, **options)
    return {outcome.value: count for outcome, count in summary.stats.outcomes.items()}


class TestSources:
    """The sources of a run."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda folder: str(folder / "a.txt"),
            lambda folder: folder / "a.txt",
            lambda folder: [str(folder / "a.txt")],
            lambda folder: {folder / "a.txt"},
            lambda folder: folder.glob("a.*"),
            lambda folder: ["cd-1", "cd-2"],
            lambda folder: iter(["cd-1", Campaign("cd-2")]),
            lambda folder: deque([Campaign("cd-1"), Campaign("cd-2")]),
            lambda folder: generate(2),
        ],
    )
    async def test_forms(self, make: Callable[[Path], object], tmp_path: Path) -> None:
        """A path or several, ids or campaigns, in any iterable, which may be lazy or asynchronous."""
        (tmp_path / "a.txt").write_text("cd-1\ncd-2\n")
        assert await run_of(make(tmp_path)) == {"stopped": 2}

    async def test_a_cursor(self) -> None:
        """A database's cursor is read in the thread to which it belongs, batch by batch."""
        database = sqlite3.connect(":memory:")
        database.execute("CREATE TABLE campaigns (id INTEGER, name TEXT)")
        database.executemany("INSERT INTO campaigns VALUES (?, ?)", enumerate(ids(1200)))
        rows = database.execute("SELECT id, name FROM campaigns")
        assert await run_of(Campaign(name, key=key) for key, name in rows) == {"stopped": 1200}
        database.close()

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            ([], "the list is empty"),
            (iter(()), "the list is empty"),
            (5, "5 is not a source"),
            (Campaign("cd-1"), "is not a source"),
            ([1], "1 is not a Campaign"),
            ([Path("a.txt"), Campaign("cd-1")], "is not a Campaign; give paths, or campaigns"),
            (["promo"], "promo: cannot be read: No such file"),
            ([Campaign("cd-1", key="k"), Campaign("cd-2", key="k")], "the key 'k' is used twice"),
        ],
    )
    async def test_unusable(self, source: object, why: str) -> None:
        """An invalid source is an InputError that says so."""
        with pytest.raises(InputError, match=why):
            await run_of(source)

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_breaks_off(self, is_async: bool) -> None:
        """An error of a generator is the cause of an InputError, and nothing was sent."""

        def generate_some() -> Iterator[Campaign]:
            yield from map(Campaign, ids(700))
            raise sqlite3.OperationalError("gone")

        async def generate_later() -> AsyncIterator[Campaign]:
            for campaign in generate_some():
                yield campaign

        service = Service()
        async with make_engine(service) as engine:
            with pytest.raises(InputError, match=r"cannot be read completely \(OperationalError\)") as error:
                await engine.run(generate_later() if is_async else generate_some())
        assert isinstance(error.value.__cause__, sqlite3.OperationalError)
        assert service.targets == []

    async def test_values_of_any_type(self) -> None:
        """Campaigns whose values are of a wrong type are invalid rows, and the others are sent."""
        odd: Any = [Campaign("cd-1", "fax"), Campaign(None), Campaign("cd-3", row=5), Campaign("cd-4")]  # type: ignore[arg-type]
        assert await run_of(odd) == {"invalid": 3, "stopped": 1}

    async def test_other_columns(self, tmp_path: Path) -> None:
        """They come back with their types, also those for which JSON has no room."""
        row = {"a": 2**70, "b": "\ud800", "c": [1, {"x": None}], "d": 1.5, "e": True}
        results: list[Result] = []
        await run_of([Campaign("cd-1", row=row)], on_result=results.append, output=tmp_path / "r.jsonl")
        assert [result.row for result in results] == [row]

    async def test_no_number(self, tmp_path: Path) -> None:
        """A value that is not a number is null in a line, beside any others."""
        await run_of([Campaign("cd-1", row={"a": 2**70, "b": float("nan")})], output=tmp_path / "r.jsonl")
        assert '"b":null' in (tmp_path / "r.jsonl").read_text()

    async def test_paths_that_come_late(self, tmp_path: Path) -> None:
        """The result file never replaces an input, even one from a generator."""
        path = tmp_path / "a.txt"
        path.write_text("cd-1\n")
        with pytest.raises(SettingsError, match="is an input; give another file"):
            await run_of(iter([path]), output=path, overwrite=True)
        assert path.read_text() == "cd-1\n"


async def generate(count: int) -> AsyncIterator[Campaign]:
    """Give campaigns one after the other."""
    for name in ids(count):
        await asyncio.sleep(0)
        yield Campaign(name)


class TestResume:
    """A run continues a result file by the keys of its campaigns."""

    @pytest.mark.parametrize("form", ["jsonl", "csv"])
    @pytest.mark.parametrize("key", ["{}", "a\n{}", "=1+{}", "'{}", "\0{}", "\ud800{}", " {} ", "é,{}", "-"])
    async def test_keys(self, form: str, key: str, tmp_path: Path) -> None:
        """With any source, and rows removed, added or reordered, none is sent twice."""
        service, path = Service(), tmp_path / f"r.{form}"
        campaigns = [Campaign(name, key=f"{key}{name}".format(name)) for name in ids(6)]
        async with make_engine(service) as engine:
            run = engine.run(campaigns[:5], lambda result: run.drain(), output=path)
            await run
            sent = len(service.targets)
            summary = await engine.run(campaigns[:0:-1], output=path, resume=True)
        assert 0 < sent < 5
        assert summary.is_done
        assert len(service.targets) == len(set(service.targets)) == 6

    async def test_keys_that_are_numbers(self, tmp_path: Path) -> None:
        """A key may come as a number out of a database, 0 as well."""
        path = tmp_path / "r.jsonl"
        rows = [Campaign(name, key=number) for number, name in enumerate(ids(3))]  # type: ignore[arg-type]
        assert await run_of(rows[:2], output=path) == {"stopped": 2}
        assert await run_of(rows[::-1], output=path, resume=True) == {"stopped": 1}


class TestPlan:
    """A list is read first, and run later."""

    async def test_is_for_one_run(self) -> None:
        """It may be run by another engine, and once: at the same time, later and after its engine it is refused."""
        async with make_engine() as engine, make_engine() as other:
            plan = await engine.plan(ids(3))
            summary = await other.run(plan)
            assert summary.is_done
            plan = await engine.plan(ids(3))
            results = await asyncio.gather(*[engine.run(plan).start() for _ in range(2)], return_exceptions=True)
            assert [type(result) for result in results[1:]] == [InputError]
            plan = await engine.plan(ids(3))
        async with make_engine() as engine:
            with pytest.raises(InputError, match="the plan has been used"):
                await engine.run(plan)

    async def test_cancelled(self) -> None:
        """Planning that is cancelled ends the reading, and leaves neither a thread nor a file."""
        closed: list[bool] = []

        async def endless() -> AsyncIterator[Campaign]:
            try:
                while True:
                    yield Campaign("cd-1")
                    await asyncio.sleep(0)
            finally:
                closed.append(True)

        async with make_engine() as engine:
            gc.collect()  # files that other tests have left are none of ours
            before = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            task = asyncio.ensure_future(engine.plan(endless()))
            await until(lambda: threading.active_count() > before[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gc.collect()
            assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208
        assert closed == [True]


class TestOpen:
    """An engine is used inside its block, in its event loop."""

    async def test_outside(self) -> None:
        """Before and after its block nothing of it can be used, and in the block it cannot be entered again."""
        engine = make_engine()
        for _ in range(2):
            with pytest.raises(SettingsError, match="the engine is not open"):
                engine.run(ids(1))
            with pytest.raises(SettingsError, match="the engine is not open"):
                await engine.plan(ids(1))
            async with engine:
                run = engine.run(ids(1))
                assert (await engine.run(ids(1))).is_done
                with pytest.raises(SettingsError, match="the engine is open already"):
                    await engine.__aenter__()
            with pytest.raises(SettingsError, match="the engine is not open"):
                await run

    async def test_left_while_runs_go_on(self) -> None:
        """They are aborted; none that was not started begins."""
        async with make_engine() as engine:
            runs = [engine.run(ids(500)) for _ in range(3)]
            for run in runs[:2]:
                run.start()
            await turn(30)
        assert [run.summary and run.summary.rows for run in runs] == [500, 500, None]
        assert all(run.summary.stats.lines == 500 for run in runs if run.summary)

    @pytest.mark.real
    async def test_another_loop(self) -> None:
        """A run belongs to the event loop of its engine."""

        async def wait() -> None:
            await run

        async with make_engine() as engine:
            run = engine.run(ids(1))
            with ThreadPoolExecutor(1) as threads, pytest.raises(SettingsError, match="belongs to the event loop"):
                threads.submit(lambda: asyncio.run(wait())).result()


class TestSteer:
    """A run is steered while it goes."""

    @pytest.mark.parametrize("rate", ["x", "", "0/s", 5, True, b"1/s", ("1/s",)])
    async def test_no_rate(self, rate: Any) -> None:
        """An invalid rate is refused at once, and the run continues."""
        async with make_engine() as engine:
            run = engine.run(ids(3))
            with pytest.raises(SettingsError, match=r"^rate: "):
                run.set_rate(rate)
            run.set_rate("1/h")
            run.set_rate(None)
            assert (await run).is_done


@pytest.mark.real
async def test_ten_runs_share_a_quota() -> None:
    """Of ten runs one is paused, one drained, one aborted; both accounts keep their quota, and none stalls."""
    async with Simulator(SimulatorOptions()) as service:
        settings = make_settings(host=service.url, token="t", quota=(Limit(10, 0.5),))
        async with Engine(settings) as engine:
            runs = [
                engine.run([Campaign(f"cd-{10 * number + row}", account_id=f"a{row % 2}") for row in range(8)])
                for number in range(10)
            ]
            runs[0].pause()
            for run in runs:
                run.start()
            await until(lambda: runs[1].snapshot().sent and runs[2].snapshot().sent)
            runs[1].drain()
            runs[2].abort()
            for run in runs[1:]:
                await run
            assert runs[0].snapshot().sent == 0
            runs[0].resume()
            await runs[0]
    for run in runs:
        assert run.summary is not None
        assert run.summary.stats.lines == run.summary.rows == 8
    assert all(run.summary and run.summary.is_done for run in (runs[0], *runs[3:]))
    for account_id in ("a0", "a1"):
        times = sorted(each.arrived_monotonic_s for each in service.requests if each.account_id == account_id)
        assert len(times) > 30
        # A busy machine reads a call later than it came; ten quotas of their own would be ten times as fast.
        assert all(later - first >= 0.4 for first, later in zip(times, times[10:], strict=False))


class Process:
    """Resources that a process has only once."""

    def __init__(self) -> None:
        policy = asyncio.get_event_loop_policy()
        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        self.state = (
            [signal.getsignal(each) for each in names],
            gc.get_threshold(),
            gc.isenabled(),
            list(logging.getLogger().handlers),
            logging.getLogger("bulkstop").level,
            resource.getrlimit(resource.RLIMIT_NOFILE),
            policy,
            threading.active_count(),
        )


def stop_some(url: str, number: int) -> int:
    """Stop some campaigns in a call; return how many of them do not run any more."""
    settings = make_settings(host=url, token="t", account_id=f"a{number}")
    summary = stop([f"cd-{number}{row}" for row in range(10)], settings)
    return summary.stats.done


@pytest.mark.real
class TestInOneCall:
    """`stop` blocks only its caller."""

    async def test_in_threads_and_processes(self) -> None:
        """Ten at once in threads, and in the processes of a pool; what the process has but once stays as it was."""
        loop, before = asyncio.get_running_loop(), Process().state
        async with Simulator(SimulatorOptions()) as service:
            with ThreadPoolExecutor(10) as threads:
                calls = [loop.run_in_executor(threads, stop_some, service.url, number) for number in range(10)]
                assert await asyncio.gather(*calls) == [10] * 10
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
                calls = [loop.run_in_executor(processes, stop_some, service.url, number) for number in range(2)]
                assert await asyncio.gather(*calls) == [10] * 2
        assert Process().state == before

    async def test_in_a_running_loop(self) -> None:
        """It says what to call there, which works."""
        with pytest.raises(BulkstopError, match=r"await stop_async\(\) instead"):
            stop(ids(1), make_settings(token="t"))
        async with Simulator(SimulatorOptions()) as service:
            assert (await stop_async(ids(1), make_settings(host=service.url, token="t"))).is_done

    def test_the_loop_of_a_thread(self) -> None:
        """A thread's own event loop stays its own."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            with pytest.raises(InputError):
                stop([], make_settings(token="t"))
            assert asyncio.get_event_loop_policy().get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)
            loop.close()


@pytest.mark.real
async def test_campaigns_of_several_profiles(tmp_path: Path) -> None:
    """A campaign that names a profile is stopped, and read back, with its settings; one of no profile is `invalid`."""
    secret = "south-0123456789abcdef0123456789abcdef"
    async with Simulator() as north, Simulator(client_id="south", client_secret=secret) as south:
        own = Settings(host=north.url, token="t", account_id="a1", stream_id="st-1", type="voice")
        profiles = {"south": replace(own, host=south.url, token=None, client_id="south", client_secret=secret)}
        given = [Campaign("cd-1"), Campaign("cd-1", profile="south"), Campaign("cd-2", profile="west")]
        results = tmp_path / "r.jsonl"
        async with Engine(own, profiles=profiles) as engine:
            plan = await engine.plan(given)
            assert list(plan.accounts.values()) == [1, 1]
            summary = await engine.run(given, output=results)
            assert summary.outcomes == {"stopped": 2, "invalid": 1}
            asked = len(south.requests)
            await engine.verify(results)
        assert len(south.requests) > asked
        assert [len([each for each in sim.requests if each.operation == "stop"]) for sim in (north, south)] == [1, 1]
        assert {each.status for each in south.requests} <= {200, 404}
    with pytest.raises(SettingsError, match=r"^profiles: is of type str and must be a mapping of names to Settings$"):
        Engine(own, profiles={"south": "south.example"})  # type: ignore[dict-item]
