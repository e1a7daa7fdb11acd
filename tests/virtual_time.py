"""An event loop whose clock jumps to the next timer instead of waiting for it: hours pass in milliseconds."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time; `step` counts its rounds, and `faults` what its tasks left unsaid.

    Sockets and signals that are ready are served, but never waited for: what only a thread or another process can
    bring does not exist here. A run in which nothing can happen any more fails instead of hanging.
    """

    def __init__(self) -> None:
        self.step = 0
        self.faults: list[Mapping[str, Any]] = []
        self._passed_s = 0.0
        self._at_step: dict[int, Callable[[], object]] = {}
        super().__init__(_Jumping(self._idle))
        self.set_exception_handler(lambda loop, context: self.faults.append(context))

    def time(self) -> float:
        """Tell the virtual seconds since the loop was made."""
        return self._passed_s

    def at_step(self, step: int, act: Callable[[], object]) -> None:
        """Call `act` before round number `step` of the loop."""
        self._at_step[step] = act

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still set."""
        return [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    def _idle(self, wait_s: float | None) -> None:
        """Be where a real loop would sleep: `wait_s` until the next timer, 0 with callbacks ready, None for ever."""
        self.step += 1
        if act := self._at_step.pop(self.step, None):
            act()  # what it makes ready comes before any time passes
        elif wait_s is None:
            raise RuntimeError("everything waits, and nothing is due: this run would hang")
        else:
            self._passed_s += wait_s


class _Jumping(selectors.SelectSelector):
    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self._idle(0.0 if ready else timeout)
        return ready


def run(main: Coroutine[Any, Any, T], *, loop: VirtualLoop | None = None) -> tuple[T, float]:
    """Run a coroutine in virtual time; return its result and the virtual seconds.

    Raises the error of `main`; fails when `main` leaves a task, a timer or an unretrieved exception behind.
    """
    virtual = loop or VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: virtual) as runner:
        try:
            result = runner.run(main)
        finally:
            left = [*asyncio.all_tasks(virtual), *virtual.timers()]
        took_s = virtual.time()
    assert not left, f"left behind: {left}"
    assert not virtual.faults, virtual.faults
    return result, took_s
