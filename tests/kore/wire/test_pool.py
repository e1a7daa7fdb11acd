"""Connections are shared, bounded, kept and watched; in virtual time, without sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from bulkstop.kore.connect.dialer import ConnectError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.connection import Connection
from bulkstop.kore.wire.pool import KEEPALIVE_EXPIRY_S, ConnectionPool
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Outcome
from tests.kore.wire.imitated import Transport, answering, imitated, soon
from tests.servers import VOICE_ANSWER, http
from tests.virtual_time import run

TIMEOUT_S = 10.0


def wire(connections: int = 2, timeout_s: float = TIMEOUT_S) -> WireTransport:
    """Return a wire whose clock is that of its loop."""
    clock = asyncio.get_running_loop().time
    return WireTransport("http://api.example", connections=connections, timeout_s=timeout_s, clock=clock)


def silent(transport: Transport, number: int) -> None:
    """Say nothing."""


def later(after_s: float) -> Callable[[Transport, int], None]:
    """Answer after a time."""

    def serve(transport: Transport, number: int) -> None:
        asyncio.get_running_loop().call_later(after_s, transport.give, http())

    return serve


async def timed(call: Awaitable[Response | TransportFailure]) -> tuple[Response | TransportFailure, float]:
    """Make a call and note when it ended."""
    response = await call
    return response, asyncio.get_running_loop().time()


async def after(
    delay_s: float, call: Callable[[], Coroutine[Any, Any, Response | TransportFailure]]
) -> Response | TransportFailure:
    """Make a call later."""
    await asyncio.sleep(delay_s)
    return await call()


class TestDeadlines:
    """Each call ends when its own time is up, and says how far it came."""

    @pytest.mark.parametrize(
        ("given", "status", "error"),
        [
            (b"", None, "no answer within 10 s"),
            (b"HTTP/1.1 200 OK\r\n", None, "no answer within 10 s"),
            (http(b"", length=9), 200, "the answer was not complete within 10 s"),
        ],
    )
    def test_how_far_it_came(self, given: bytes, status: int | None, error: str) -> None:
        """Nothing, a part of the head, or the head has come; the connection is dropped."""

        async def main() -> Response | TransportFailure:
            with imitated(answering(given)) as made:
                async with wire() as transport:
                    response = await transport.post("/", {})
                    assert [each.was_aborted for each in made] == [True]
            return response

        failure = TransportFailure(Outcome.TIMEOUT, error, TIMEOUT_S * 1000, status, may_have_arrived=True)
        assert run(main()) == (failure, TIMEOUT_S)

    def test_each_call_has_its_own_time(self) -> None:
        """Calls that began at different times end each when its own time is up, not before and not after."""

        async def main() -> list[float]:
            with imitated(silent):
                async with wire(connections=9) as transport:

                    async def call(begins_s: float) -> float:
                        await asyncio.sleep(begins_s)
                        _, ended_s = await timed(transport.post("/", {}))
                        return ended_s

                    return await asyncio.gather(*map(call, (0, 0.5, 3, 3, 9.9, 10, 10.1, 40)))

        assert run(main())[0] == pytest.approx([10, 10.5, 13, 13, 19.9, 20, 20.1, 50])

    @pytest.mark.parametrize("takes_s", [0.0, 5.0, 9.99])
    def test_in_time(self, takes_s: float) -> None:
        """A call that ends in time is not cut off, nor is the next one on its connection."""

        async def main() -> list[Response | TransportFailure]:
            with imitated(later(takes_s)) as made:
                async with wire() as transport:
                    response = [await transport.post("/", {}) for _ in range(5)]
                    assert len(made) == 1
            return response

        response, took_s = run(main())
        assert response == [Response(200, VOICE_ANSWER, takes_s * 1000)] * 5
        assert took_s == pytest.approx(5 * takes_s)

    def test_the_wait_counts(self) -> None:
        """The time of a call includes its wait for a connection, whether it then gets one or not."""

        async def main() -> list[tuple[str | None, float]]:
            with imitated(later(6)):
                async with wire(connections=1) as transport:
                    calls = [timed(transport.post("/", {})) for _ in range(3)]
                    ends = await asyncio.gather(*calls)
            await asyncio.sleep(99)  # what the server still wants to say is said to nobody
            return [(getattr(response, "error", None), at) for response, at in ends]

        assert run(main())[0] == [
            (None, 6),
            ("no answer within 10 s", 10),
            ("no connection within 10 s; nothing was sent", 10),
        ]

    def test_drip(self) -> None:
        """A byte now and then does not prolong a call."""

        def drip(transport: Transport, number: int) -> None:
            for at, byte in enumerate(http()):
                asyncio.get_running_loop().call_later(at, transport.give, bytes([byte]))

        async def main() -> float:
            with imitated(drip):
                async with wire() as transport:
                    _, ended_s = await timed(transport.post("/", {}))
            await asyncio.sleep(1000)
            return ended_s

        assert run(main())[0] == TIMEOUT_S

    @pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test_due_at_once(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        """A call that is already overdue when it gets its connection has a timeout like others, on both event loops."""

        async def main() -> None:
            async def dial(make: Callable[[], Connection]) -> Connection:
                return make()

            clock = asyncio.get_running_loop().time
            pool = ConnectionPool(dial, 2, timeout_s=TIMEOUT_S, clock=clock)
            for late_s in (0, 1):
                await pool.acquire(clock() - TIMEOUT_S - late_s)
            await pool.close()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    def test_nothing_is_left_behind(self) -> None:
        """A wire that is left has no timer any more, used or not (`run` sees to that)."""

        async def main(calls: int) -> None:
            with imitated(answering(http())):
                async with wire() as transport:
                    for _ in range(calls):
                        await transport.post("/", {})

        assert [run(main(calls))[1] for calls in (0, 1, 2)] == [0, 0, 0]

    @pytest.mark.parametrize("given", [b"", http()])
    def test_cancelled(self, given: bytes) -> None:
        """A call that is cancelled is so at once, with its answer just there or not, and nothing hangs on it."""

        async def main() -> None:
            with imitated(silent) as made:
                async with wire(connections=1) as transport:
                    call = asyncio.ensure_future(transport.post("/", {}))
                    await asyncio.sleep(1)
                    made[0].give(given) if given else None
                    call.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await call
                    assert made[0].was_aborted is not bool(given)
                    assert isinstance(await transport.post("/", {}), TransportFailure)

        assert run(main())[1] == 1 + TIMEOUT_S


class TestLimit:
    """There are never more connections than allowed, and who waited longest comes first."""

    def test_in_turn(self) -> None:
        """Calls get the connections in the order in which they began."""

        async def main() -> list[float]:
            with imitated(later(1)) as made:
                async with wire(connections=2) as transport:
                    ends = await asyncio.gather(*(timed(transport.post("/", {})) for _ in range(7)))
                assert len(made) == 2
            return [at for _, at in ends]

        assert run(main())[0] == [1, 1, 2, 2, 3, 3, 4]

    @pytest.mark.parametrize("end", ["abort", "half_close"])
    def test_ended_connections_make_room(self, end: str) -> None:
        """A connection that ends makes room for another, however it ends."""
        most = 0

        def serve(transport: Transport, number: int) -> None:
            nonlocal most
            most = max(most, sum(not each.is_closing() for each in made))
            soon(getattr(transport, end))

        with imitated(serve) as made:

            async def main() -> list[Response | TransportFailure]:
                async with wire(connections=2) as transport:
                    return await asyncio.gather(*(transport.post("/", {}) for _ in range(9)))

            response, _ = run(main())
        assert all(isinstance(each, TransportFailure) for each in response)
        assert (len(made), most) == (9, 2)

    def test_failed_dialling_makes_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So does one that could not be made."""
        dialled = 0

        async def dial(make: Callable[[], Connection]) -> Connection:
            nonlocal dialled
            dialled += 1
            await asyncio.sleep(1)
            raise ConnectError("no way; nothing was sent")

        async def main() -> list[Response | TransportFailure]:
            async with wire(connections=2) as transport:
                assert transport._pool is not None
                monkeypatch.setattr(transport._pool, "_dial", dial)
                return await asyncio.gather(*(transport.post("/", {}) for _ in range(6)))

        response, took_s = run(main())
        assert response == [
            TransportFailure(Outcome.CONNECTION_ERROR, "no way; nothing was sent", ms * 1000)
            for ms in (1, 1, 2, 2, 3, 3)
        ]
        assert (dialled, took_s) == (6, 3)

    def test_cut_off_at_the_last_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So does one that was made and never used, whose end is not reported: uvloop's, cut off in between."""

        async def main() -> None:
            with imitated(answering(http())) as made:
                async with wire(connections=1) as transport:
                    pool = transport._pool
                    assert pool is not None
                    dial = pool._dial

                    async def cut_off(make: Callable[[], Connection]) -> Connection:
                        line = await dial(make)
                        monkeypatch.setattr(made[0], "lose", lambda error: None)
                        await asyncio.sleep(99)
                        return line

                    monkeypatch.setattr(pool, "_dial", cut_off)
                    call = asyncio.ensure_future(transport.post("/", {}))
                    await asyncio.sleep(1)
                    call.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await call
                    monkeypatch.setattr(pool, "_dial", dial)
                    assert isinstance(await transport.post("/", {}), Response)

        assert run(main())[1] == 1

    @pytest.mark.parametrize("step", range(1, 40))
    def test_cancelled_while_waiting(self, step: int) -> None:
        """Wherever a call that waits is cancelled, its turn is not lost: the others all end as they would have."""

        async def main() -> list[object]:
            with imitated(later(1)) as made:
                async with wire(connections=1) as transport:
                    calls = [asyncio.ensure_future(transport.post("/", {})) for _ in range(5)]
                    asyncio.get_running_loop().at_step(step, calls[1].cancel)  # type: ignore[attr-defined]
                    response = await asyncio.gather(*calls, return_exceptions=True)
                    assert sum(not each.is_closing() for each in made) <= 1
            return [type(each) for each in response]

        first, cut, *others = run(main())[0]
        assert (first, others) == (Response, [Response] * 3)
        assert cut in (Response, asyncio.CancelledError)

    def test_timed_out_while_waiting(self) -> None:
        """Calls whose time runs out in the queue do not take a turn from those behind them."""

        async def main() -> list[bool]:
            with imitated(later(4)):
                async with wire(connections=1) as transport:
                    early = [transport.post("/", {}) for _ in range(4)]
                    late = [after(delay_s, lambda: transport.post("/", {})) for delay_s in (9, 12)]
                    response = await asyncio.gather(*early, *late)
            return [isinstance(each, Response) for each in response]

        assert run(main())[0] == [True, True, False, False, True, True]


class TestKeeping:
    """A connection is kept for the next call while nothing speaks against it."""

    @pytest.mark.parametrize(
        ("rest_s", "connections"), [(0.0, 1), (KEEPALIVE_EXPIRY_S - 0.1, 1), (KEEPALIVE_EXPIRY_S, 2)]
    )
    def test_rest(self, rest_s: float, connections: int) -> None:
        """A connection that was idle too long is not used again."""

        async def main() -> int:
            with imitated(answering(http())) as made:
                async with wire() as transport:
                    for _ in range(2):
                        assert isinstance(await transport.post("/", {}), Response)
                        await asyncio.sleep(rest_s)
                assert all(each.is_closing() for each in made)
            return len(made)

        assert run(main())[0] == connections

    @pytest.mark.parametrize(
        "act",
        [
            lambda made: made.give(http(b"unasked")),
            lambda made: made.give(b"\r\n"),
            lambda made: made.half_close(),
            lambda made: made.lose(ConnectionResetError()),
        ],
        ids=["answer", "empty-line", "fin", "reset"],
    )
    def test_what_happens_while_it_rests(self, act: Callable[[Transport], object]) -> None:
        """One over which anything came is not used again."""

        async def main() -> None:
            with imitated(answering(http())) as made:
                async with wire() as transport:
                    for calls in (1, 2, 3):
                        assert await transport.post("/", {}) == Response(200, VOICE_ANSWER, 0.0)
                        act(made[-1])
                        assert len(made) == calls

        run(main())

    def test_the_latest_first(self) -> None:
        """Few calls use few connections: the others may grow old."""

        async def main() -> list[int]:
            with imitated(later(1)) as made:
                async with wire(connections=3) as transport:
                    await asyncio.gather(*(transport.post("/", {}) for _ in range(3)))
                    for _ in range(5):
                        await transport.post("/", {})
            return [len(each.written) for each in made]

        assert sorted(run(main())[0]) == [1, 1, 6]

    @pytest.mark.parametrize(
        ("spoken", "why"),
        [(b"220 hello\r\n", "the server spoke before it was asked"), (b"", "the connection broke before the request")],
    )
    def test_before_the_request(self, monkeypatch: pytest.MonkeyPatch, spoken: bytes, why: str) -> None:
        """A new connection that speaks or ends before anything was asked is not written to."""

        async def main() -> Response | TransportFailure:
            with imitated(silent) as made:
                async with wire() as transport:
                    pool = transport._pool
                    assert pool is not None
                    dial = pool._dial

                    async def unlucky(make: Callable[[], Connection]) -> Connection:
                        line = await dial(make)
                        made[0].give(spoken) if spoken else made[0].lose(None)
                        await asyncio.sleep(0)
                        return line

                    monkeypatch.setattr(pool, "_dial", unlucky)
                    response = await transport.post("/", {})
                assert made[0].written == []
            return response

        assert run(main())[0] == TransportFailure(Outcome.CONNECTION_ERROR, f"{why}; nothing was sent", 0.0)


class TestLeaving:
    """Leaving a wire ends all its connections."""

    @pytest.mark.parametrize(("unsent", "was_aborted"), [(0, False), (1, True)])
    def test_resting(self, unsent: int, was_aborted: bool) -> None:
        """An idle connection ends in order; one that cannot send its request does not delay the others."""

        async def main() -> list[Transport]:
            with imitated(answering(http())) as made:
                async with wire() as transport:
                    await transport.post("/", {})
                    made[0].unsent = unsent
            return made

        (made,) = run(main())[0]
        assert (made.is_closing(), made.was_aborted) == (True, was_aborted)

    def test_in_flight(self) -> None:
        """A call in flight of another caller is notified."""

        async def main() -> Response | TransportFailure:
            with imitated(silent):
                async with wire() as transport:
                    call = asyncio.ensure_future(transport.post("/", {}))
                    await asyncio.sleep(1)
                return await call

        error = "the connection broke (closed)"
        assert run(main()) == (TransportFailure(Outcome.CONNECTION_ERROR, error, 1000.0, may_have_arrived=True), 1.0)
