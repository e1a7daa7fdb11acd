"""That a run is to end early, and how that reaches whatever it waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GRACE_S = 5.0
"""How long a run that is to end waits for what others do in it: a list that is read, results that are taken in."""
END_S = 1.0
"""How long what was cut off may take to end."""


class EarlyEnd:
    """Says whether a run is to end early, by a drain or an abort, and cuts off the blocks that must not hold it up."""

    def __init__(self) -> None:
        self.is_drained = False
        self.is_aborted = False
        self._blocks: dict[asyncio.Timeout, tuple[float, bool]] = {}

    @property
    def kind(self) -> str | None:
        """How the run is ended, in a word; None for one that is not."""
        return "aborted" if self.is_aborted else "drained" if self.is_drained else None

    def drain(self) -> None:
        """Begin nothing more."""
        self.is_drained = True
        self._cut()

    def abort(self) -> None:
        """Begin nothing more, and cut off what is under way."""
        self.is_aborted = True
        self.drain()

    @asynccontextmanager
    async def cuts_off(self, grace_s: float = 0.0, *, by_drain: bool = True) -> AsyncIterator[None]:
        """Leave the block so many seconds after the run was told to end, silently; with `by_drain` also by a drain."""
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
