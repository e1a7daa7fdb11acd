"""Single calls of an account, one after the other, within its limits.

The pool sends lists of campaigns; a Caller makes the few calls around them, with the same Quota, Claim, Retry and
AccountRest. It starts no tasks; with `run_concurrently` (tasks.py) several accounts call at the same time.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from bulkstop.engine.lanes import Claim
from bulkstop.engine.limits.clock import elapsed_s
from bulkstop.engine.limits.quota import Quota
from bulkstop.engine.pacing.overload import read_unavailable
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.results import unfinished_attempt
from bulkstop.engine.retry import Rest, Retry, RetryAt, Settle, Tries
from bulkstop.engine.tasks import CLOCK_AGAIN_S
from bulkstop.errors import BulkstopError
from bulkstop.model import Allowance, Attempt, RetryHint

T = TypeVar("T")
OnRest = Callable[[float, str], object]
"""Called before each wait with its length in seconds and its reason."""
USED_UP = "its quota is used up"

LOOK_AGAIN_S = 0.25
"""The interval between two looks for a place in the quota that only another call's response can free."""
LEAST_S = 0.001
"""The shortest sleep; event loops count in milliseconds."""


def ignore_rest(seconds: float, why: str) -> None:
    """Ignore the wait."""


class Caller:
    """Makes the calls of one account; each ends with a response, or when Retry gives it up.

    Use it from one task at a time. Once `drained` is set no call is sent and every wait ends; a call in flight is
    awaited. `rests` is called before each wait; `now` is a monotonic clock in seconds.
    """

    def __init__(
        self,
        quota: Quota,
        claim: Claim | None = None,
        *,
        retry: Retry,
        paces_itself: bool = False,
        rest: AccountRest | None = None,
        drained: asyncio.Event | None = None,
        rests: OnRest = ignore_rest,
        now: Callable[[], float] = elapsed_s,
    ) -> None:
        self.calls = 0
        self._quota = quota
        self._claim = claim
        self._retry = retry
        self._paces_itself = paces_itself
        self._drained = drained or asyncio.Event()
        self._rests = rests
        self._now = now
        self._rest = rest or AccountRest()

    async def call(self, make: Callable[[], Awaitable[T | Attempt]]) -> T | Attempt:
        """Call `make` until it returns a value, and return that; else the last failed Attempt, or `not_sent`.

        Raises only what `make` or the quota store raises: a BulkstopError.
        """
        tries, due, last, why = Tries(), -math.inf, unfinished_attempt(None), ""
        while await self._has_place(due, why):
            sent_at = self._now()
            answer = await self._try(make, sent_at)
            if not isinstance(answer, Attempt):
                return answer
            step = self._plan_next(tries, answer, sent_at)
            if isinstance(step, Settle):
                return answer
            tries, due = step.tries, step.at if isinstance(step, RetryAt) else -math.inf
            last, why = unfinished_attempt(answer), f"{answer.error or answer.outcome}; it is tried again"
        return last

    def _plan_next(self, tries: Tries, attempt: Attempt, sent_at: float) -> Settle | RetryAt | Rest:
        """Return what follows a response, and extend the account's wait if the response asks for it."""
        now = self._now()
        event = self._rest.count_throttled(now, sent_at) if attempt.again is RetryHint.THROTTLED else 0
        step = tries.after(attempt, now, self._retry, event=event, is_paced=self._paces_itself)
        if not isinstance(step, RetryAt):
            self._rest.extend(step.rests_until)
        return step

    async def _has_place(self, due: float, why: str) -> bool:
        """Wait until `due`, for the reason `why`, then take a place in the quota; return False if drained."""
        while not self._drained.is_set():
            now = self._now()
            waits = (due, why), (self._rest.until, "the service asks to wait"), (self._quota.ready_at(), USED_UP)
            until, reason = max(waits, key=lambda wait: wait[0])
            wait_s = until - now
            if wait_s <= 0:
                wait_s, reason = await self._take(now), USED_UP
                if wait_s <= 0:
                    return True
            await self._sleep(LOOK_AGAIN_S if wait_s == math.inf else wait_s, reason)
        return False

    async def _take(self, now: float) -> float:
        """Take a place here and in the shared store, and return 0.0 or less; else return the seconds to wait."""
        wait_s = claimed_s = math.inf
        self._quota.take(now)
        try:
            claimed_s = 0.0 if self._claim is None else await self._claim.take(1)
            wait_s = max(claimed_s, self._rest.until - self._now())  # another call may have been throttled meanwhile
        finally:
            if wait_s > 0 or self._drained.is_set():
                self._quota.give_back(now)
                if self._claim is not None and claimed_s <= 0:
                    self._claim.give_back()
        return math.inf if self._drained.is_set() else wait_s

    async def _sleep(self, seconds: float, why: str) -> None:
        self._rests(seconds, why)
        until, left_s = self._now() + seconds, max(seconds, LEAST_S)
        while left_s >= LEAST_S and not self._drained.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, CLOCK_AGAIN_S)):
                    await self._drained.wait()
            left_s = until - self._now()

    async def _try(self, make: Callable[[], Awaitable[T | Attempt]], sent_at: float) -> T | Attempt:
        again: RetryHint | None = RetryHint.LATER  # also if the call is cancelled
        said: Allowance | None = None
        has_left = True
        try:
            answer = await make()
            if isinstance(answer, Attempt):
                answer = read_unavailable(answer, self._quota, sent_at)
                again, has_left = answer.again, answer.has_left
            else:
                again = None
            said = getattr(answer, "allowance", None)  # answers have many types; most have an allowance
        except BulkstopError:  # no token could be obtained
            has_left = False
            raise
        finally:
            self.calls += 1
            now, throttled = self._now(), again is RetryHint.THROTTLED
            if self._claim is not None:
                self._claim.answered() if has_left else self._claim.give_back()
            if has_left:
                self._quota.note_allowance(now, sent_at, said, throttled=throttled, most_s=self._retry.most_stated_s)
                self._quota.answered(now, sent_at, throttled=throttled, failed=again is RetryHint.LATER)
            else:
                self._quota.give_back(sent_at)
            if not throttled:
                self._rest.note_let_through(sent_at)
        return answer
