"""Sends notices from a thread of their own; a command waits for all of them once, at its end."""

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
"""Seconds that the end of a command waits for all of its notices together."""
JOIN_S = 0.5
"""Seconds that a thread may take to end after it has given up its notices."""


class _Loose(ThreadPoolExecutor):
    """Does each piece of work in a daemon thread; a name lookup that never ends cannot delay the exit."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> "Future[Any]":
        future = Future[Any]()
        future.set_running_or_notify_cancel()  # running, so that nothing can cancel it

        def do() -> None:
            try:
                future.set_result(work(*args, **options))
            except BaseException as error:  # noqa: BLE001 - the future carries it to its caller
                future.set_exception(error)

        Thread(target=do, name="look-up", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Return without waiting for the threads."""


class Courier:
    """Sends notices to the receivers that settings name, from a thread that starts with the first notice.

    `post` may be called from any thread, returns at once and raises nothing; if no thread can be started, the notice is
    lost. `find_settings` is called in the thread, so that a command without notices need not wait for it.
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
        """Send a notice; return at once."""
        self.post_made(lambda _: notice)

    def post_made(self, make: "Callable[[Settings], Notice]") -> None:
        """Send a notice that `make` builds from the settings, in the thread; return at once."""
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
        except RuntimeError as error:  # this machine cannot start another thread
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
        """Ask the thread to end when its notices have arrived, at the latest at `give_up_at` on the monotonic clock."""
        with self._lock:
            self._give_up_at = give_up_at
            if self._wake is not None:
                self._wake()

    def wait(self) -> list[str]:
        """Wait for the thread after `end`; return a message for each notice that did not arrive."""
        if self._thread is not None and self._give_up_at is not None:
            self._thread.join(max(0.0, self._give_up_at - monotonic()) + JOIN_S)
        return self._faults


def close_all(couriers: Sequence[Courier]) -> list[str]:
    """Wait at most `CLOSE_S` for all notices; return a message for each one that did not arrive."""
    give_up_at = monotonic() + CLOSE_S
    for each in couriers:
        each.end(give_up_at)
    return [fault for each in couriers for fault in each.wait()]
