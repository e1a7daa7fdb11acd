"""The early end of a run, and how it reaches whatever the run waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GRACE_S = 5.0
"""How long a run that ends early waits for others: a list being read, results being taken."""
END_S = 1.0
"""How long a cancelled block may take to end."""


class EarlyEnd:
    """Records whether a run ends early, by a drain or an abort, and cancels the blocks that must not delay it."""

    def __init__(self) -> None:
        self.is_drained = False
        self.is_aborted = False
        self._blocks: dict[asyncio.Timeout, tuple[float, bool]] = {}

    @property
    def kind(self) -> str | None:
        """How the run is ended, in one word; None if it is not."""
        return "aborted" if self.is_aborted else "drained" if self.is_drained else None

    def drain(self) -> None:
        """Start nothing more."""
        self.is_drained = True
        self._cut()

    def abort(self) -> None:
        """Start nothing more, and cancel what is under way."""
        self.is_aborted = True
        self.drain()

    @asynccontextmanager
    async def cuts_off(self, grace_s: float = 0.0, *, by_drain: bool = True) -> AsyncIterator[None]:
        """Leave the block silently `grace_s` seconds after an abort; with `by_drain` also after a drain."""
        try:
            async with asyncio.timeout(None) as block:
                self._blocks[block] = grace_s, by_drain
                self._cut()
                try:
                    yield
                finally:
                    del self._blocks[block]
        except TimeoutError:
            if not block.expired():
                raise

    def _cut(self) -> None:
        for block, (grace_s, by_drain) in self._blocks.items():
            if block.when() is None and (self.is_aborted or (by_drain and self.is_drained)):
                block.reschedule(asyncio.get_running_loop().time() + grace_s)
