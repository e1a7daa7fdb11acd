"""Runs a simulated service in its own thread, for callers without an event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

Serve = Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
"""Serves; it gets a function to call once it listens, and an event to wait for."""


class ServiceThread:
    """A service that runs in its own event loop, from `start` to `close`."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listens = threading.Event()
        self._is_closing = False
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="bulkstop-simulator", daemon=True)

    def start(self) -> None:
        """Start the service, and return once it listens; raises the error that prevents it."""
        self._thread.start()
        try:
            self._listens.wait()
        except BaseException:  # such as Ctrl-C
            self.close()
            raise
        if self._error is not None:
            self.close()

    def close(self) -> None:
        """End the service, and wait for its thread; raises the service's error."""
        self._is_closing = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended, and its loop is closed
                self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - `start` or `close` raises it
            self._error = error
        finally:
            self._listens.set()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._is_closing:
            await self._serve(self._listens.set, self._over)
