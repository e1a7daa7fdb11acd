"""Notices that leave from a thread of their own: a command waits for all of them once, when it has ended."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from bulkstop.errors import BulkstopError

if TYPE_CHECKING:
    import asyncio

    from bulkstop.events import Event
    from bulkstop.runs.notify import Notice, Notifier
    from bulkstop.settings import Settings

CLOSE_S = 5.0
"""How long the end of a command waits for notices that are under way, all together."""
JOIN_S = 0.5
"""How long a thread may take to end once it has given its notices up."""


class _Loose(ThreadPoolExecutor):
    """Does each piece of work in a thread that nobody waits for: to look up a name may take as long as it likes."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> "Future[Any]":
        future = Future[Any]()
        future.set_running_or_notify_cancel()  # from here on nobody takes it away

        def do() -> None:
            try:
                future.set_result(work(*args, **options))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is given it
                future.set_exception(error)

        Thread(target=do, name="look-up", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for none."""


class Courier:
    """Sends notices to those whom settings name, from a thread that begins with the first.

    `post` returns at once and never raises, in whatever thread; a notice for which there is no thread is lost.
    `find_settings` is called in the thread: what nobody is told of need not wait for it.
    """

    def __init__(self, find_settings: Callable[[], "Settings"]) -> None:
        self._find_settings = find_settings
        self._lock = Lock()
        self._waiting: list[Callable[[Settings], Notice]] = []
        self._wake: Callable[[], object] | None = None
        self._give_up_at: float | None = None
        self._thread: Thread | None = None
        self._faults: list[str] = []

    def post(self, notice: "Notice") -> None:
        """Let a notice leave."""
        self.post_made(lambda _: notice)

    def post_made(self, make: "Callable[[Settings], Notice]") -> None:
        """Let a notice leave that is made in the thread, of the settings."""
        with self._lock:
            self._waiting.append(make)
            if self._thread is None:
                self._thread = self._start()
            elif self._wake is not None:
                self._wake()

    def _start(self) -> Thread | None:
        thread = Thread(target=self._run, name="notices", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # this machine has no thread left
            self._faults = [f"notices were not sent: {error}"]
            return None
        return thread

    def _run(self) -> None:
        from bulkstop.runs import host

        try:
            host.run_beside(self._serve())
        except (BulkstopError, OSError) as error:
            self._faults.append(f"notices were not sent: {error}")

    async def _serve(self) -> None:
        import asyncio

        from bulkstop.runs.notify import Notifier

        settings, changed, loop = self._find_settings(), asyncio.Event(), asyncio.get_running_loop()
        loop.set_default_executor(_Loose())
        notifier = Notifier(settings, observe=self._note)
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(changed.set)
        try:
            await self._send_all(notifier, settings, changed)
        finally:
            with self._lock:
                self._wake = None

    async def _send_all(self, notifier: "Notifier", settings: "Settings", changed: "asyncio.Event") -> None:
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, []
                give_up_at = self._give_up_at
            for make in waiting:
                notifier.post(make(settings))
            if give_up_at is not None:
                await notifier.close(max(0.0, give_up_at - monotonic()))
                return
            await changed.wait()
            changed.clear()

    def _note(self, event: "Event") -> None:
        self._faults.append(getattr(event, "message", str(event)))

    def end(self, give_up_at: float) -> None:
        """Have the thread end once its notices have arrived, or at this moment of the clock that only goes on."""
        with self._lock:
            self._give_up_at = give_up_at
            if self._wake is not None:
                self._wake()

    def wait(self) -> list[str]:
        """Wait for that; return what is wrong with each notice that did not arrive."""
        if self._thread is not None and self._give_up_at is not None:
            self._thread.join(max(0.0, self._give_up_at - monotonic()) + JOIN_S)
        return self._faults


def close_all(couriers: Sequence[Courier]) -> list[str]:
    """Wait for the notices of all, `CLOSE_S` together; return what is wrong with each that did not arrive."""
    give_up_at = monotonic() + CLOSE_S
    for each in couriers:
        each.end(give_up_at)
    return [fault for each in couriers for fault in each.wait()]
