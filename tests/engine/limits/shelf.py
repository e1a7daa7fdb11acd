"""A store in memory, for the tests of what takes its places from one."""

import time
from collections.abc import Callable, Mapping, Sequence

from bulkstop.engine.limits.windows import Change, Grant, StoreUnavailableError, Take, find_wait_ms, merge_limits
from bulkstop.model import Limit


class Shelf:
    """Keeps the windows of accounts as a store does, records its calls, and fails while `is_away` returns True."""

    def __init__(
        self, limits: Sequence[Limit], *, lease_s: float = 30.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.batches: list[tuple[Sequence[Take], Sequence[Change]]] = []
        self.notes: dict[str, str] = {}
        self.is_away = False
        self.is_closed = False
        self.logs: dict[str, list[int]] = {}
        self._windows = merge_limits(limits)
        self._lease_ms = round(lease_s * 1000)
        self._now = now

    async def settle(self, takes: Sequence[Take], changes: Sequence[Change], notes: Mapping[str, str]) -> list[Grant]:
        """Do it at once."""
        self._be_there()
        self.batches.append((takes, changes))
        self.notes.update(notes)
        now_ms = self._now_ms()
        for account_id, place, answered_s in changes:
            self.logs[account_id].remove(place)
            if answered_s is not None:
                self.logs[account_id].append(now_ms - int(answered_s * 1000))
        return [self._grant(take, now_ms) for take in takes]

    async def ages(self, account_ids: Sequence[str]) -> list[Sequence[float]]:
        """Return the ages of all calls."""
        self._be_there()
        now_ms = self._now_ms()
        return [[max(0, now_ms - at) / 1000 for at in self.logs.get(name, [])] for name in account_ids]

    async def load_note(self, account_id: str) -> str | None:
        """Return the text."""
        self._be_there()
        return self.notes.get(account_id)

    async def close(self) -> None:
        """Be closed."""
        self.is_closed = True

    def in_use(self, account_id: str) -> int:
        """Return how many places are taken whose calls have no answer."""
        return sum(at > self._now_ms() for at in self.logs.get(account_id, []))

    def _grant(self, take: Take, now_ms: int) -> Grant:
        log = self.logs.setdefault(take.account_id, [])
        room = min(window.calls - sum(at >= now_ms - window.ms for at in log) for window in self._windows)
        places = (now_ms + self._lease_ms,) * max(0, min(room, take.want))
        log += places
        log.sort()
        note = self.notes.get(take.account_id)
        if len(places) == take.want:
            return Grant(places, note=note)
        waits = [
            find_wait_ms(window, [(at, 1) for at in log if at >= now_ms - window.ms], now_ms)
            for window in self._windows
        ]
        return Grant(places, max(waits) / 1000, sum(at > now_ms for at in log), note)

    def _be_there(self) -> None:
        if self.is_away:
            raise StoreUnavailableError(" x: locked", setting="quota_store")

    def _now_ms(self) -> int:
        return round(self._now() * 1000)
