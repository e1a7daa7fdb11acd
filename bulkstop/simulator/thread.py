"""A simulated service in a thread of its own, for callers without an event loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable


class ServiceThread:
    """Runs `serve` in an event loop of its own until it is closed.

    `serve` is given what to call once the service listens, and what to wait for. `start` raises what kept it from
    listening.
    """

    def __init__(self, serve: Callable[[Callable[[], None], asyncio.Event], Awaitable[None]]) -> None:
        self._serve = serve
        self._listens = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="bulkstop-simulator", daemon=True)

    def start(self) -> None:
        """Start it, and return once it listens."""
        self._thread.start()
        self._listens.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def close(self) -> None:
        """End it, and wait until its thread has ended."""
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            self._error = error
        finally:
            self._listens.set()

    async def _work(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self._serve(self._listens.set, self._over)
