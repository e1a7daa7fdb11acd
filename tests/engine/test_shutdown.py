"""Signals, sent for real to this process while a pool runs on a real loop."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import uvloop

from bulkstop.engine.shutdown import Shutdown, handle_signals
from bulkstop.model import SIGNALS, Attempt, Campaign, Outcome
from tests.engine.parts import STOPPED, Job, campaigns

Handler = signal.Handlers | Callable[[int, FrameType | None], object]
LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uv"])


class Held:
    """A service that answers nothing until `release` is set; `all_in` is set with the second call."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.all_in = asyncio.Event()
        self.calls = 0

    async def send(self, campaign: Campaign) -> Attempt:
        """Hold a call."""
        self.calls += 1
        if self.calls == 2:
            self.all_in.set()
        await self.release.wait()
        return STOPPED


class Scene:
    """A pool with two of five campaigns in flight, and what its shutdown said."""

    def __init__(self, grace_s: float = 600.0, say: Callable[[str], None] | None = None) -> None:
        self.service = Held()
        self.job = Job(campaigns(5), self.service.send, concurrency=2)
        self.said: list[str] = []
        self.heard = asyncio.Event()
        self.shutdown = Shutdown(self.job.pool, grace_s=grace_s, say=say or self._say)

    async def run(self, *steps: Callable[[], None]) -> None:
        """Run the pool; with two calls in flight do the steps, each after the last one was heard."""
        with handle_signals(self.shutdown, SIGNALS):
            running = asyncio.ensure_future(self.job.pool.run())
            await self.service.all_in.wait()
            for step in steps:
                self.heard.clear()
                step()
                if step is not steps[-1]:
                    await self.heard.wait()
            await running

    def _say(self, text: str) -> None:
        self.said.append(text)
        self.heard.set()


def kill(signum: int) -> Callable[[], None]:
    """Make a step that sends a signal to this process."""
    return lambda: os.kill(os.getpid(), signum)


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Reset signals to their defaults, however these tests were started (nohup, a script's `&`)."""
    with (
        disposition(signal.SIGINT, signal.default_int_handler),
        disposition(signal.SIGTERM, signal.SIG_DFL),
        disposition(signal.SIGHUP, signal.SIG_DFL),
    ):
        yield


@contextmanager
def disposition(signum: int, handler: Handler) -> Iterator[None]:
    """Set what the process does with a signal while the block runs."""
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


@LOOPS
@pytest.mark.parametrize("signum", SIGNALS)
def test_the_first_signal_drains(signum: int, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Calls in flight get their answer, no further call is sent, and the signal number is kept for the exit code."""

    async def main() -> Scene:
        scene = Scene()
        await scene.run(kill(signum), scene.service.release.set)
        return scene

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        scene = runner.run(main())
    assert scene.job.outcomes() == {Outcome.STOPPED: 2, Outcome.NOT_SENT: 3}
    assert scene.shutdown.signum == signum
    assert "2 calls in flight" in scene.said[0]


@LOOPS
def test_the_second_signal_aborts(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """No answer is waited for any more: calls in flight are unknown; the first signal number remains."""

    async def main() -> Scene:
        scene = Scene()
        await scene.run(kill(signal.SIGTERM), kill(signal.SIGINT))
        return scene

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        scene = runner.run(main())
    assert scene.job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}
    assert scene.shutdown.signum == signal.SIGTERM
    scene.job.check()


async def test_a_third_signal_changes_nothing() -> None:
    """Impatience costs no result line."""
    scene = Scene()

    def all_at_once() -> None:
        for signum in SIGNALS:
            scene.shutdown.request(signum)

    await scene.run(all_at_once)
    assert scene.job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}
    scene.job.check()


@LOOPS
def test_the_end_of_the_grace_aborts(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A call that never ends does not delay the end of a run."""

    async def main() -> Scene:
        scene = Scene(grace_s=0.02)
        await scene.run(kill(signal.SIGTERM))
        return scene

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        scene = runner.run(main())
    assert scene.job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}


async def test_the_grace_holds_also_when_nobody_can_be_told() -> None:
    """After a closed terminal a message may fail; the run still ends."""
    failed = asyncio.Event()

    def say(text: str) -> None:
        failed.set()
        raise OSError("the terminal is gone")

    scene = Scene(grace_s=0.02, say=say)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    await scene.run(kill(signal.SIGHUP))
    assert failed.is_set()
    assert scene.job.outcomes() == {Outcome.UNKNOWN: 2, Outcome.NOT_SENT: 3}


async def test_a_signal_before_the_first_call_sends_nothing() -> None:
    """A run that is ended before it began reports every row as not sent."""
    scene = Scene()
    scene.shutdown.request(signal.SIGTERM)
    await scene.job.pool.run()
    assert scene.service.calls == 0
    assert scene.job.outcomes() == {Outcome.NOT_SENT: 5}


async def test_without_a_signal_nothing_ends() -> None:
    """Listening alone changes nothing."""
    scene = Scene()
    await scene.run(scene.service.release.set)
    assert scene.job.outcomes() == {Outcome.STOPPED: 5}
    assert scene.shutdown.signum is None


@LOOPS
def test_handlers_are_removed(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """After the block, also one that failed, signals do what they did before."""

    async def main() -> list[object]:
        shutdown = Shutdown(Job([], Held().send).pool, grace_s=1.0)
        with pytest.raises(KeyError), handle_signals(shutdown, SIGNALS):
            raise KeyError
        return [signal.getsignal(signum) for signum in SIGNALS]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        after = runner.run(main())
    assert after == [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]


async def test_a_handler_of_the_callers_own_comes_back() -> None:
    """Another program's handler is what it was, after the block."""

    def mine(signum: int, frame: FrameType | None) -> None:
        """Do nothing."""

    with disposition(signal.SIGTERM, mine):
        with handle_signals(Shutdown(Job([], Held().send).pool, grace_s=1.0), SIGNALS):
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine


@LOOPS
def test_other_signals_reach_whom_they_are_for(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Signals that a program handles in its event loop also work during a run."""

    async def main() -> None:
        heard, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        with handle_signals(Shutdown(Job([], Held().send).pool, grace_s=1.0), SIGNALS):
            os.kill(os.getpid(), signal.SIGUSR1)
            await heard.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_a_late_signal_ends_nothing_else() -> None:
    """A signal that the loop comes to only after the block does not cancel what is done next."""
    shutdown = Shutdown(grace_s=1.0)
    with handle_signals(shutdown, SIGNALS):
        os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    assert shutdown.signum is None


async def test_no_signals_means_hands_off() -> None:
    """As a library the engine does not change another program's signals."""
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with handle_signals(Shutdown(Job([], Held().send).pool, grace_s=1.0), ()):
        assert [signal.getsignal(signum) for signum in SIGNALS] == before


async def test_nohup_is_respected() -> None:
    """A hang-up that the process was started to ignore neither drains the run nor is enabled after it."""
    with disposition(signal.SIGHUP, signal.SIG_IGN):
        scene = Scene()
        with handle_signals(scene.shutdown, SIGNALS):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            scene.service.release.set()
            await scene.job.pool.run()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert scene.job.outcomes() == {Outcome.STOPPED: 5}
