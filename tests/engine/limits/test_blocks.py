"""Places taken in blocks, in virtual time: as few transactions as may be, and no place lost or used twice."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.caller import Caller
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.lanes import Lane
from bulkstop.engine.limits.blocks import ASK_AGAIN_S, CHANGES_S, HOLD_S, MOST_PLACES, NOTE_CHARS, PATIENCE_S, Blocks
from bulkstop.engine.limits.quota import EvenPacer, NoQuota, RollingWindow
from bulkstop.engine.limits.windows import Change, Grant, Take
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.retry import Retry
from bulkstop.errors import CredentialsError, QuotaError
from bulkstop.events import Event, QuotaStoreAway, QuotaStoreBack
from bulkstop.model import Attempt, Campaign, Limit, Outcome
from tests.engine.limits.claims import Call, assert_never_over_whenever
from tests.engine.limits.shelf import Shelf
from tests.engine.parts import BUSY, STOPPED, Job, Reply, Service, always, campaigns, now_s
from tests.virtual_time import VirtualLoop, run

MANY = Limit(1000, 60.0)
LOST = Attempt(Outcome.CONNECTION_ERROR, error="broke")
UNSENT = Attempt(Outcome.CONNECTION_ERROR, error="refused", has_left=False)
Counted = tuple[Job, Blocks]
Work = Callable[[Blocks, Shelf], Awaitable[object]]


class Slow(Shelf):
    """A store that takes its time."""

    async def settle(self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]) -> list[Grant]:
        """Do it after a while."""
        await asyncio.sleep(0.1)
        return await super().settle(takes, changes, notes)


class Creeping(VirtualLoop):
    """A loop whose clock always advances a little, so that no wait is too short."""

    def _idle(self, wait_s: float | None) -> None:
        super()._idle(wait_s)
        self._passed_s += 1e-7


def in_time(work: Work, *limits: Limit, kind: type[Shelf] = Shelf) -> Shelf:
    """Do something with a store in virtual time, and return the store once all is closed."""
    shelf = kind(limits or [MANY], now=now_s)

    async def main() -> None:
        blocks = Blocks(shelf, now=now_s)
        try:
            await work(blocks, shelf)
        finally:
            await blocks.close()

    run(main())
    assert shelf.is_closed
    return shelf


def wanted(shelf: Shelf) -> list[list[int]]:
    """Return the number of requested places in each transaction that requested any."""
    return [[take.want for take in takes] for takes, _ in shelf.batches if takes]


class TestTransactions:
    """How often the store is asked."""

    def test_a_turn_of_the_loop_asks_once(self) -> None:
        """The requests of all lanes in one turn of the loop are one transaction."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            waits = await asyncio.gather(*(blocks.account(f"a{n}").take(3) for n in range(100)))
            assert set(waits) == {0.0}

        assert wanted(in_time(work)) == [[3] * 100]

    def test_what_is_asked_for_meanwhile_goes_together(self) -> None:
        """While the store is busy, requests and answers wait for one another."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            async def call(name: str, after_s: float) -> None:
                await asyncio.sleep(after_s)
                assert await blocks.account(name).take(1) == 0.0
                blocks.account(name).answered()

            await asyncio.gather(*(call(f"a{n}", n / 100) for n in range(9)))

        shelf = in_time(work, kind=Slow)
        assert wanted(shelf) == [[1], [1] * 8]
        assert [len(changes) for _, changes in shelf.batches] == [0, 1, 8]

    def test_a_block_is_used_up_first(self) -> None:
        """A lane that has places does not request more; its next request is for no more than it was given."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            for _ in range(MOST_PLACES + 1):
                assert await blocks.account("a").take(50) == 0.0
                blocks.account("a").answered()

        assert wanted(in_time(work)) == [[MOST_PLACES], [MOST_PLACES]]

    def test_those_who_wait_each_get_one(self) -> None:
        """One place is requested for each waiting caller, whatever the size of a block."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            waits = await asyncio.gather(*(blocks.account("a").take(1) for _ in range(20)))
            assert sorted(waits)[:12] == [0.0] * 12
            assert all(waits[12:])

        assert wanted(in_time(work, Limit(12, 60.0))) == [[20]]

    def test_a_fleet(self) -> None:
        """Many accounts with some campaigns each take a transaction for several of them, not one for each call.

        A lane uses its block before the next one begins: no place goes back though there are more lanes than workers.
        """
        shelf = Shelf([MANY], now=now_s)
        rows = {f"a{n}": campaigns(5, f"a{n}") for n in range(200)}

        async def main() -> Counted:
            return await counted(rows, shelf, always(STOPPED, 0.1))

        (job, _), _ = run(main())
        assert job.outcomes() == {Outcome.STOPPED: 1000}
        assert sum(len(takes) for takes, _ in shelf.batches) == 200
        assert len([1 for takes, _ in shelf.batches if takes]) <= 200 / 5
        assert all(change.answered_s is not None for _, changes in shelf.batches for change in changes)


class TestGivenBack:
    """Places that are not used."""

    def test_after_a_second(self) -> None:
        """Places unused within a second are returned, and fewer are taken the next time until all are used again."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            one = blocks.account("a")
            for _ in range(3):
                assert await one.take(50) == 0.0
                one.answered()
                assert one.held
                await asyncio.sleep(HOLD_S + CHANGES_S + 0.26)
                assert (one.held, shelf.in_use("a")) == (0, 0)
            for _ in range(6):
                assert await one.take(50) == 0.0
                one.answered()

        assert wanted(in_time(work)) == [[8], [4], [2], [1], [1], [2], [4]]

    def test_a_place_is_not_used_late(self) -> None:
        """After a sleep of the machine a place that is in hand may count no more: another is taken."""
        late_s = 0.0
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            nonlocal late_s
            blocks = Blocks(shelf, now=lambda: now_s() + late_s)
            await blocks.account("a").take(4)
            late_s = 1000.0
            assert not blocks.account("a").take_now()
            assert await blocks.account("a").take(1) == 0.0
            await blocks.close()

        run(main())
        assert wanted(shelf) == [[4], [1]]

    def test_at_the_end_of_a_lane(self) -> None:
        """When a lane has nothing more to send its places are returned at once, while the run continues."""
        shelf = Shelf([Limit(12, 60.0)], now=now_s)
        rows = {"a": campaigns(1, "a"), "b": campaigns(3, "b")}

        async def main() -> None:
            blocks = Blocks(shelf, now=now_s)
            job = Job(
                rows,
                always(STOPPED, 0.3).send,
                make_lane=lambda name, own: Lane(name, own, NoQuota(), blocks.account(name), left=5),
                concurrency=2,
            )
            task = asyncio.ensure_future(job.pool.run())
            await asyncio.sleep(0.2)
            assert shelf.in_use("a") == 5
            await asyncio.sleep(0.2)
            assert shelf.in_use("a") == 0
            await task
            await blocks.close()

        run(main())

    def test_at_the_end_of_the_run(self) -> None:
        """After closing, only places without an answer are in use, and all answers are recorded."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            for name in "abc":
                await blocks.account(name).take(5)
            blocks.account("a").answered()
            blocks.account("b").give_back()

        shelf = in_time(work)
        assert [len(shelf.logs[name]) for name in "abc"] == [1, 0, 1]

    def test_a_pace_takes_one_at_a_time(self) -> None:
        """A lane whose own limits let no more leave right now takes no block that it could not use."""
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            await counted({"a": campaigns(5)}, shelf, always(STOPPED, 0.01), EvenPacer([Limit(1, 2.0)]))

        run(main())
        assert wanted(shelf) == [[1]] * 5

    @pytest.mark.parametrize("cut_after_s", [0.05, 0.15])
    def test_cut_off_while_it_waits(self, cut_after_s: float) -> None:
        """A caller that is cut off while the store is called leaves no place behind."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            taking = asyncio.ensure_future(blocks.account("a").take(3))
            asyncio.get_running_loop().call_later(cut_after_s, taking.cancel)
            await asyncio.sleep(0.3)
            assert taking.cancelled() == (cut_after_s < 0.1)

        shelf = in_time(work, kind=Slow)
        assert len(shelf.logs["a"]) == (cut_after_s > 0.1)

    def test_cut_off_in_the_turn_of_the_answer(self) -> None:
        """A place that has come in the same turn of the loop as the end goes back."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            taking = asyncio.ensure_future(blocks.account("a").take(1))
            while not blocks.account("a").in_use:  # noqa: ASYNC110 - in the very turn of the loop
                await asyncio.sleep(0)
            taking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await taking
            assert (blocks.account("a").in_use, blocks.account("a").held) == (0, 1)

        assert in_time(work).logs["a"] == []

    @pytest.mark.parametrize(("fault", "kept"), [(LOST, 1), (UNSENT, 0), (CredentialsError("no token"), 0)])
    def test_a_call_that_never_left(self, fault: Attempt | Exception, kept: int) -> None:
        """A place goes back whose call could not be sent, however long that took; one that may have arrived counts."""
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            with suppress(CredentialsError):
                await counted({"a": campaigns(1)}, shelf, Service(lambda one, call: Reply(10.0, fault)))

        run(main())
        assert len(shelf.logs["a"]) == kept

    def test_single_calls(self) -> None:
        """Calls around a list use a place each, which counts from the answer, or goes back if they never left."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            caller = Caller(NoQuota(), blocks.account("a"), retry=Retry(1), now=now_s)
            for answer, counted in (("page", 1), (LOST, 2), (UNSENT, 2), (CredentialsError("no token"), 2)):

                async def call(answer: str | Attempt | Exception = answer) -> str | Attempt:
                    await asyncio.sleep(5)
                    if isinstance(answer, Exception):
                        raise answer
                    return answer

                with suppress(CredentialsError):
                    assert await caller.call(call) == answer
                await asyncio.sleep(2)
                assert (len(shelf.logs["a"]), shelf.in_use("a")) == (counted, 0)

        in_time(work)

    def test_the_oldest_place_goes_back(self) -> None:
        """Places count for too long rather than too short: a call in flight keeps the one that was taken last."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            await blocks.account("a").take(1)
            await asyncio.sleep(10)
            await blocks.account("a").take(1)
            blocks.account("a").give_back()
            await asyncio.sleep(1)
            assert shelf.logs["a"] == [40_000]

        in_time(work)

    def test_the_breaker_opens_meanwhile(self) -> None:
        """A call that waits for its place while the service goes down does not leave; it does when that is over."""
        shelf, rest = Slow([MANY], now=now_s), AccountRest()
        rest.extend(0.05)  # so b asks while a is served, and has its place at 0.2
        service = Service(lambda one, call: Reply(0.05, BUSY if now_s() < 1.0 else STOPPED))

        async def main() -> None:
            blocks = Blocks(shelf, now=now_s)
            job = Job(
                {"a": campaigns(1, "a"), "b": campaigns(1, "b")},
                service,
                make_lane=lambda name, own: Lane(
                    name, own, NoQuota(), blocks.account(name), left=1, rest=rest if name == "b" else None
                ),
                concurrency=2,
                breaker=Breaker(1),
            )
            await job.pool.run()
            await blocks.close()
            assert job.outcomes() == {Outcome.STOPPED: 2}

        run(main())
        assert [call.began_s > 1.1 for call in service.log] == [False, True, True]
        assert [len(shelf.logs[name]) for name in "ab"] == [2, 1]


class TestAnswers:
    """From when on a place counts."""

    def test_from_the_answer(self) -> None:
        """A place counts until its lease ends and a window more, and from its answer once that is known."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            await blocks.account("a").take(1)
            assert shelf.logs["a"] == [30_000]
            await asyncio.sleep(5)
            blocks.account("a").answered()
            await asyncio.sleep(CHANGES_S + 0.01)
            assert shelf.logs["a"] == [pytest.approx(5_000, abs=1)]

        in_time(work)

    def test_others_have_some_in_use(self) -> None:
        """A place in use by others may be free soon, so it is requested again soon; own ones are known."""
        shelf = Shelf([Limit(1, 60.0)], now=now_s)

        async def main() -> None:
            one, other = Blocks(shelf, now=now_s), Blocks(shelf, now=now_s)
            assert await one.account("a").take(1) == 0.0
            assert await other.account("a").take(1) == ASK_AGAIN_S
            assert await one.account("a").take(1) == 60.151
            one.account("a").give_back()
            await one.close()
            assert await other.account("a").take(1) == 0.0
            await other.close()

        run(main())


class TestAway:
    """A store that does not answer."""

    def test_nothing_is_lost_meanwhile(self) -> None:
        """While the store is away no call is permitted, with one warning; answers are recorded when it is back."""
        events = list[Event]()
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            blocks = Blocks(shelf, events.append, now=now_s)
            one = blocks.account("a")
            assert await one.take(1) == 0.0
            shelf.is_away = True
            one.answered()
            blocks.save_note("a", "x")
            for _ in range(3):
                assert await blocks.account("b").take(1) == ASK_AGAIN_S
                assert one.is_away
                await asyncio.sleep(1)
            assert await blocks.read_ages(["a", "b"]) == [(), ()]
            assert await blocks.load_note("b") is None
            shelf.is_away = False
            assert await blocks.account("b").take(1) == 0.0
            assert not one.is_away
            await blocks.close()

        run(main())
        assert events == [QuotaStoreAway("quota_store x: locked"), QuotaStoreBack(3.0)]
        assert (len(shelf.logs["a"]), shelf.notes) == (1, {"a": "x"})
        assert shelf.logs["a"][0] < 1000

    def test_for_too_long(self) -> None:
        """After 30 s in a row, callers get an error that says so; an answer starts the time anew."""
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            blocks = Blocks(shelf, now=now_s)
            for away_s in (PATIENCE_S - 1, PATIENCE_S):
                shelf.is_away = True
                assert await blocks.account("a").take(1) == ASK_AGAIN_S
                await asyncio.sleep(away_s)
                if away_s < PATIENCE_S:
                    assert await blocks.account("a").take(1) == ASK_AGAIN_S
                    shelf.is_away = False
                    assert await blocks.account("b").take(1) == 0.0
            asked = [blocks.account(name).take(1) for name in "abc"]
            errors = await asyncio.gather(*asked, return_exceptions=True)
            assert [str(error) for error in errors] == [
                "quota_store x: locked; nothing is sent uncounted, so the run ends after 30 s of this"
            ] * 3
            assert {type(error) for error in errors} == {QuotaError}
            with pytest.raises(QuotaError):
                await blocks.read_ages(["a"])
            await blocks.close()

        run(main())
        assert shelf.is_closed

    def test_a_fault_of_the_store_is_theirs_who_ask(self) -> None:
        """An error of the store reaches every waiting caller, and the next one calls it again."""
        faults: list[BaseException] = [ValueError("slip"), asyncio.CancelledError()]

        class Faulty(Shelf):
            async def settle(
                self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]
            ) -> list[Grant]:
                if faults:
                    raise faults.pop(0)
                return await super().settle(takes, changes, notes)

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            for kind in (ValueError, asyncio.CancelledError):
                asked = [blocks.account(name).take(1) for name in "ab"]
                raised = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(each) for each in raised] == [kind] * 2
            assert await blocks.account("a").take(1) == 0.0

        in_time(work, kind=Faulty)


class TestNotes:
    """The text that is kept of an account."""

    def test_all_who_share_the_store_have_it(self) -> None:
        """It comes with the next places taken, the last writer's, and can be read without taking any."""
        shelf = Shelf([MANY], now=now_s)

        async def main() -> None:
            one, other = Blocks(shelf, now=now_s), Blocks(shelf, now=now_s)
            assert await other.load_note("a") is None
            one.account("a").save_note('{"burst": 5}')
            assert await one.load_note("a") == '{"burst": 5}'
            await asyncio.sleep(CHANGES_S + 0.01)
            assert await other.account("a").take(1) == 0.0
            assert other.account("a").note == '{"burst": 5}'
            other.account("a").save_note("later")
            await other.close()
            assert await one.load_note("a") == "later"
            await one.close()

        run(main())

    def test_it_is_short(self) -> None:
        """A text that is too long for its place is a slip."""

        async def work(blocks: Blocks, shelf: Shelf) -> None:
            with pytest.raises(ValueError, match="at most"):
                blocks.account("a").save_note("x" * (NOTE_CHARS + 1))

        in_time(work)


async def counted(
    rows: Mapping[str, Sequence[Campaign]],
    shelf: Shelf,
    service: Service,
    pacer: EvenPacer | None = None,
) -> Counted:
    """Work through lanes whose calls a store counts."""
    blocks = Blocks(shelf, now=now_s)
    job = Job(
        rows,
        service,
        make_lane=lambda name, own: Lane(name, own, pacer or NoQuota(), blocks.account(name), left=len(rows[name])),
    )
    try:
        await job.pool.run()
    finally:
        await blocks.close()
    return job, blocks


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from([0.0, 0.01, 0.4, 3.0]), min_size=4, max_size=12),
    st.integers(1, 5),
    st.sampled_from([None, 0.5, 2.0, 4.0]),
)
def test_two_who_share_an_account(latencies_s: list[float], concurrency: int, cut_s: float | None) -> None:
    """Even if calls are cut off, no window has more calls than the limit, and all are made.

    A service may count a call at any moment between its departure and its answer.
    """
    limits = [Limit(5, 2.0), Limit(12, 10.0)]
    shelf = Shelf(limits, lease_s=5.0, now=now_s)
    services = [Service(lambda one, call: Reply(latencies_s[one.line % len(latencies_s)], STOPPED)) for _ in range(2)]

    async def one_of(service: Service) -> Job:
        blocks = Blocks(shelf, now=now_s)
        job = Job(
            {"a": campaigns(20, "a")},
            service,
            make_lane=lambda name, own: Lane(name, own, RollingWindow(limits), blocks.account(name), left=20),
            concurrency=concurrency,
        )
        if cut_s is not None and service is services[0]:
            asyncio.get_running_loop().call_later(cut_s, job.pool.abort)
        await job.pool.run()
        await blocks.close()
        return job

    async def main() -> list[Job]:
        return await asyncio.gather(*map(one_of, services))

    jobs, _ = run(main(), loop=Creeping())
    assert jobs[1].outcomes() == {Outcome.STOPPED: 20}
    assert cut_s is not None or jobs[0].outcomes() == {Outcome.STOPPED: 20}
    calls = [
        Call(each.began_s, cut_s or 0.0 if each.ended_s is None else each.ended_s)
        for service in services
        for each in service.log
    ]
    assert_never_over_whenever(calls, limits)
